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
