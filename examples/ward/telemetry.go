package main

import (
	"context"
	"errors"
	"os"

	"go.opentelemetry.io/otel/exporters/stdout/stdoutmetric"
	"go.opentelemetry.io/otel/exporters/stdout/stdouttrace"
	sdk "go.opentelemetry.io/otel/sdk/metric"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/metrics/otel"
)

// telemetry writes the numbers and traces of OpenTelemetry to a file, as JSON. A
// real host takes the OTLP exporters in place of these two. Nil writes nothing.
type telemetry struct {
	file   *os.File
	spans  *sdktrace.TracerProvider
	meters *sdk.MeterProvider // nil until measure
}

// openTelemetry returns nil for no file.
func openTelemetry(name string) (*telemetry, error) {
	if name == "" {
		return nil, nil
	}
	file, err := os.OpenFile(name, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, err
	}
	exporter, err := stdouttrace.New(stdouttrace.WithWriter(file))
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &telemetry{file: file, spans: sdktrace.NewTracerProvider(sdktrace.WithBatcher(exporter))}, nil
}

// trace is for carewire.Options.
func (t *telemetry) trace() carewire.Trace {
	if t == nil {
		return nil
	}
	return otel.Trace(t.spans)
}

// measure begins to write the ward's numbers, once a minute.
func (t *telemetry) measure(w *ward) error {
	if t == nil {
		return nil
	}
	exporter, err := stdoutmetric.New(stdoutmetric.WithWriter(t.file))
	if err != nil {
		return err
	}
	t.meters = sdk.NewMeterProvider(sdk.WithReader(sdk.NewPeriodicReader(exporter, sdk.WithProducer(otel.Producer(w.hub)), sdk.WithProducer(otel.RulesProducer(w.judge)))))
	return nil
}

// close writes the remaining numbers and traces.
func (t *telemetry) close(ctx context.Context) error {
	if t == nil {
		return nil
	}
	err := t.spans.Shutdown(ctx)
	if t.meters != nil {
		err = errors.Join(err, t.meters.Shutdown(ctx))
	}
	return errors.Join(err, t.file.Close())
}
