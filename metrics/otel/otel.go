// Package otel exports the metrics of a carewire Hub to OpenTelemetry, and
// traces its appends, pages and calls of the host's code.
package otel

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/instrumentation"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	"go.opentelemetry.io/otel/trace"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/metrics"
	"github.com/carewire/carewire/rules"
)

const scope = "github.com/carewire/carewire"

// A Source has numbers. *carewire.Hub is one.
type Source interface{ Stats() carewire.Stats }

// Producer returns a producer of a Hub's metrics, for a reader of the SDK:
//
//	metric.NewPeriodicReader(exporter, metric.WithProducer(otel.Producer(hub)))
//
// Each number of carewire.Stats becomes a metric with the name that module
// metrics/prom gives it. No attribute holds health data or an ID of a person.
func Producer(hub Source) sdk.Producer {
	return &producer{of: func() []metrics.Metric { return metrics.Of(hub.Stats()) }, began: time.Now()}
}

// A RulesSource has numbers of rules. *rules.Judge is one.
type RulesSource interface{ Stats() rules.Stats }

// RulesProducer returns a producer of a Judge's metrics, as Producer does of a Hub's.
func RulesProducer(judge RulesSource) sdk.Producer {
	return &producer{of: func() []metrics.Metric { return metrics.OfRules(judge.Stats()) }, began: time.Now()}
}

// IssuerStats has the fields of smartauth.Stats, and is converted from them: so
// that this module does not require the other.
type IssuerStats metrics.Issuer

// IssuerProducer returns a producer of a smartauth.Authenticator's metrics, as
// Producer does of a Hub's:
//
//	otel.IssuerProducer(func() otel.IssuerStats { return otel.IssuerStats(auth.Stats()) })
func IssuerProducer(stats func() IssuerStats) sdk.Producer {
	return &producer{of: func() []metrics.Metric { return metrics.OfIssuer(metrics.Issuer(stats())) }, began: time.Now()}
}

type producer struct {
	of    func() []metrics.Metric
	began time.Time
}

// Produce implements the SDK's Producer.
func (p *producer) Produce(context.Context) ([]metricdata.ScopeMetrics, error) {
	now := time.Now()
	var list []metricdata.Metrics
	byName := map[string]int{}
	for _, m := range p.of() {
		var attrs attribute.Set
		if m.Label != "" {
			attrs = attribute.NewSet(attribute.String(m.Label, m.Value))
		}
		i, ok := byName[m.Name]
		if !ok {
			i = len(list)
			byName[m.Name] = i
			list = append(list, metricdata.Metrics{Name: m.Name, Description: m.Help, Data: p.empty(m.Kind)})
		}
		switch data := list[i].Data.(type) {
		case metricdata.Sum[float64]:
			data.DataPoints = append(data.DataPoints, metricdata.DataPoint[float64]{Attributes: attrs, StartTime: p.began, Time: now, Value: m.Number})
			list[i].Data = data
		case metricdata.Gauge[float64]:
			data.DataPoints = append(data.DataPoints, metricdata.DataPoint[float64]{Attributes: attrs, Time: now, Value: m.Number})
			list[i].Data = data
		case metricdata.Histogram[float64]:
			data.DataPoints = append(data.DataPoints, p.histogram(m.Hist, attrs, now))
			list[i].Data, list[i].Unit = data, "s"
		}
	}
	return []metricdata.ScopeMetrics{{Scope: instrumentation.Scope{Name: scope}, Metrics: list}}, nil
}

func (p *producer) empty(k metrics.Kind) metricdata.Aggregation {
	switch k {
	case metrics.Counter:
		return metricdata.Sum[float64]{Temporality: metricdata.CumulativeTemporality, IsMonotonic: true}
	case metrics.Histogram:
		return metricdata.Histogram[float64]{Temporality: metricdata.CumulativeTemporality}
	}
	return metricdata.Gauge[float64]{}
}

func (p *producer) histogram(h carewire.Histogram, attrs attribute.Set, now time.Time) metricdata.HistogramDataPoint[float64] {
	point := metricdata.HistogramDataPoint[float64]{Attributes: attrs, StartTime: p.began, Time: now, Sum: h.Sum.Seconds(), BucketCounts: h.Counts}
	for _, b := range h.Bounds {
		point.Bounds = append(point.Bounds, b.Seconds())
	}
	for _, n := range h.Counts {
		point.Count += n
	}
	return point
}

// Trace returns a carewire.Options.Trace that makes a span for each append,
// page and call of the host's code, named "carewire append" and so on. A span
// holds no health data and no IDs: of an error it holds the type.
func Trace(provider trace.TracerProvider) carewire.Trace {
	tracer := provider.Tracer(scope)
	return func(ctx context.Context, operation string) (context.Context, func(error)) {
		ctx, span := tracer.Start(ctx, "carewire "+operation)
		return ctx, func(err error) {
			if err != nil {
				span.SetStatus(codes.Error, "failed")
				span.SetAttributes(attribute.String("error.type", kind(err)))
			}
			span.End()
		}
	}
}

// kind names an error without its text, which may hold anything.
func kind(err error) string {
	for name, known := range map[string]error{"timeout": context.DeadlineExceeded, "canceled": context.Canceled, "full": carewire.ErrFull, "unavailable": carewire.ErrUnavailable, "forbidden": carewire.ErrForbidden, "unauthenticated": carewire.ErrUnauthenticated} {
		if errors.Is(err, known) {
			return name
		}
	}
	return fmt.Sprintf("%T", err)
}
