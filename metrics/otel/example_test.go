package otel_test

import (
	"context"
	"fmt"

	sdk "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/metrics/otel"
)

// A host's numbers and traces. A real one exports them by OTLP.
func Example() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Trace: otel.Trace(sdktrace.NewTracerProvider())})
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	reader := sdk.NewManualReader(sdk.WithProducer(otel.Producer(hub))) // or sdk.NewPeriodicReader(exporter, …)
	meters := sdk.NewMeterProvider(sdk.WithReader(reader))
	defer meters.Shutdown(ctx)
	var got metricdata.ResourceMetrics
	err = reader.Collect(ctx, &got)
	fmt.Println(len(got.ScopeMetrics[0].Metrics) > 20, err)
	// Output: true <nil>
}
