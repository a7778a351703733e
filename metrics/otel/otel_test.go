package otel_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/metrics/otel"
	"github.com/carewire/carewire/rules"
)

type fixed carewire.Stats

func (f fixed) Stats() carewire.Stats { return carewire.Stats(f) }

func TestNumbers(t *testing.T) {
	s := carewire.Stats{EventsIn: 7, StoreState: "failing",
		Delay: carewire.Histogram{Bounds: []time.Duration{time.Millisecond, time.Second}, Counts: []uint64{5, 2, 1}, Sum: 4 * time.Second}}
	s.Handshakes.Accepted, s.Handshakes.TooMany = 4, 2
	reader := sdk.NewManualReader(sdk.WithProducer(otel.Producer(fixed(s))))
	sdk.NewMeterProvider(sdk.WithReader(reader))
	var got metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &got))
	found := map[string]metricdata.Aggregation{}
	for _, m := range got.ScopeMetrics[0].Metrics {
		require.NotContains(t, found, m.Name, "a name comes once")
		found[m.Name] = m.Data
	}
	require.Equal(t, 7.0, found["carewire_events_in_total"].(metricdata.Sum[float64]).DataPoints[0].Value)
	sum := 0.0
	for _, p := range found["carewire_handshakes_total"].(metricdata.Sum[float64]).DataPoints {
		sum += p.Value
	}
	require.Equal(t, 6.0, sum)
	require.Len(t, found["carewire_store_state"].(metricdata.Gauge[float64]).DataPoints, 3)
	h := found["carewire_delay_seconds"].(metricdata.Histogram[float64]).DataPoints[0]
	require.Equal(t, []float64{0.001, 1}, h.Bounds)
	require.Equal(t, []uint64{5, 2, 1}, h.BucketCounts)
	require.Equal(t, uint64(8), h.Count)
	require.Equal(t, 4.0, h.Sum)
}

type judged rules.Stats

func (j judged) Stats() rules.Stats { return rules.Stats(j) }

// numbersOf collects a producer's numbers: of each name the values by the value of
// their attribute.
func numbersOf(t *testing.T, p sdk.Producer) map[string]map[string]float64 {
	reader := sdk.NewManualReader(sdk.WithProducer(p))
	sdk.NewMeterProvider(sdk.WithReader(reader))
	var all metricdata.ResourceMetrics
	require.NoError(t, reader.Collect(t.Context(), &all))
	got := make(map[string]map[string]float64)
	for _, m := range all.ScopeMetrics[0].Metrics {
		var points []metricdata.DataPoint[float64]
		switch data := m.Data.(type) {
		case metricdata.Sum[float64]:
			require.True(t, data.IsMonotonic, m.Name)
			points = data.DataPoints
		case metricdata.Gauge[float64]:
			points = data.DataPoints
		}
		got[m.Name] = make(map[string]float64)
		for _, p := range points {
			label := ""
			for _, a := range p.Attributes.ToSlice() {
				label = string(a.Key) + "=" + a.Value.AsString()
			}
			got[m.Name][label] = p.Value
		}
	}
	return got
}

// A Judge's counters reach OpenTelemetry, by rule.
func TestRules(t *testing.T) {
	got := numbersOf(t, otel.RulesProducer(judged{Vitals: 9, Patients: 2, Failed: 1, Rules: map[string]rules.Counts{
		"spo2-low": {Raised: 7, Accepted: 5, ToAcceptance: 90 * time.Second}, "hr-high": {Raised: 1}}}))
	require.Equal(t, map[string]float64{"": 9}, got["carewire_rules_vitals_total"])
	require.Equal(t, map[string]float64{"": 2}, got["carewire_rules_patients"])
	require.Equal(t, map[string]float64{"": 1}, got["carewire_rules_failed_total"])
	require.Equal(t, map[string]float64{"rule=spo2-low": 7, "rule=hr-high": 1}, got["carewire_rule_raised_total"])
	require.Equal(t, map[string]float64{"rule=spo2-low": 5, "rule=hr-high": 0}, got["carewire_rule_accepted_total"])
	require.Equal(t, 90.0, got["carewire_rule_to_acceptance_seconds"]["rule=spo2-low"])
}

// So do the counts of an Authenticator.
func TestIssuer(t *testing.T) {
	got := numbersOf(t, otel.IssuerProducer(func() otel.IssuerStats {
		return otel.IssuerStats{Accepted: 1, Refused: 2, Forbidden: 3, Undecided: 4, Refusals: map[string]uint64{"expired": 11, "audience": 12}, Powerless: 13, KeysAge: 5 * time.Second, KeysFailed: 6, Introspected: 7, Remembered: 8, Logouts: 9, LogoutsRefused: 10}
	}))
	require.Equal(t, map[string]map[string]float64{
		"carewire_issuer_tokens_total":         {"kind=accepted": 1, "kind=refused": 2, "kind=forbidden": 3, "kind=undecided": 4},
		"carewire_issuer_keys_age_seconds":     {"": 5},
		"carewire_issuer_keys_failed_total":    {"": 6},
		"carewire_issuer_introspections_total": {"kind=asked": 7, "kind=remembered": 8},
		"carewire_issuer_logouts_total":        {"kind=ended": 9, "kind=refused": 10},
		"carewire_issuer_refusals_total":       {"reason=audience": 12, "reason=expired": 11},
		"carewire_issuer_powerless_total":      {"": 13},
	}, got)
}

// The spans of a real Hub name nobody, though everything in it has a name.
func TestSpans(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	pager := &carewiretest.Recorder{Fail: func(carewire.Page) error { return errors.New("canary gateway") }}
	hub, err := carewire.New(&carewiretest.Door{}, carewire.NewMemoryStore(nil), &carewire.Options{Trace: otel.Trace(provider), Pager: pager})
	require.NoError(t, err)
	_, err = hub.Raise(t.Context(), carewire.Raise{Patient: "canary-p", Key: "canary", Text: "canary", Priority: carewire.PriorityHigh, To: []string{"person:canary"}})
	require.NoError(t, err)
	require.Eventually(t, func() bool {
		for _, s := range spans.GetSpans() {
			if s.Name == "carewire page" {
				return true
			}
		}
		return false
	}, time.Minute, time.Millisecond)
	require.NoError(t, hub.Shutdown(t.Context()))
	var names []string
	for _, s := range spans.GetSpans() {
		names = append(names, s.Name)
		if s.Name == "carewire page" {
			require.Equal(t, "failed", s.Status.Description)
		}
	}
	require.Contains(t, names, "carewire append")
	text, err := json.Marshal(spans.GetSpans())
	require.NoError(t, err)
	require.False(t, bytes.Contains(text, []byte("canary")), "a span names somebody")
}
