// Package prom exports the metrics of a carewire Hub, and of the components
// around it, to Prometheus.
package prom

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/metrics"
	"github.com/carewire/carewire/rules"
)

// A Source has numbers. *carewire.Hub is one.
type Source interface{ Stats() carewire.Stats }

// Collector returns a collector for a Hub. Each number of carewire.Stats
// becomes a metric whose name begins with carewire_: counters end in _total,
// durations are in seconds. It asks the Hub at each collection and keeps
// nothing. No label holds health data or an ID of a person.
//
// Register it once for each Hub; with several Hubs in one process wrap the
// registerer by prometheus.WrapRegistererWith and a label for the Hub.
func Collector(hub Source) prometheus.Collector {
	return collector(func() []metrics.Metric { return metrics.Of(hub.Stats()) })
}

// A RulesSource has numbers of rules. *rules.Judge is one.
type RulesSource interface{ Stats() rules.Stats }

// RulesCollector returns a collector for a Judge. The numbers of rules.Stats
// begin with carewire_rules_, and those of each rule with carewire_rule_; their
// label rule is the rule's key. It is used as Collector is.
func RulesCollector(judge RulesSource) prometheus.Collector {
	return collector(func() []metrics.Metric { return metrics.OfRules(judge.Stats()) })
}

// IssuerStats has the fields of smartauth.Stats, and is converted from them: so
// that this module does not require the other.
type IssuerStats metrics.Issuer

// IssuerCollector returns a collector for a smartauth.Authenticator, whose
// numbers begin with carewire_issuer_:
//
//	prom.IssuerCollector(func() prom.IssuerStats { return prom.IssuerStats(auth.Stats()) })
//
// It is used as Collector is.
func IssuerCollector(stats func() IssuerStats) prometheus.Collector {
	return collector(func() []metrics.Metric { return metrics.OfIssuer(metrics.Issuer(stats())) })
}

type collector func() []metrics.Metric

// Describe sends nothing: which labels there are depends on the Hub.
func (collector) Describe(chan<- *prometheus.Desc) {}

func (c collector) Collect(ch chan<- prometheus.Metric) {
	for _, m := range c() {
		var names, values []string
		if m.Label != "" {
			names, values = []string{m.Label}, []string{m.Value}
		}
		desc := prometheus.NewDesc(m.Name, m.Help, names, nil)
		switch m.Kind {
		case metrics.Counter:
			ch <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, m.Number, values...)
		case metrics.Gauge:
			ch <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, m.Number, values...)
		case metrics.Histogram:
			count, buckets := cumulative(m.Hist)
			ch <- prometheus.MustNewConstHistogram(desc, count, m.Hist.Sum.Seconds(), buckets, values...)
		}
	}
}

// cumulative counts as Prometheus does: each bucket holds the smaller ones too.
func cumulative(h carewire.Histogram) (count uint64, buckets map[float64]uint64) {
	buckets = make(map[float64]uint64, len(h.Bounds))
	for i, n := range h.Counts {
		count += n
		if i < len(h.Bounds) {
			buckets[h.Bounds[i].Seconds()] = count
		}
	}
	return count, buckets
}
