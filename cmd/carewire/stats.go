package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// stats shows the numbers that metrics/prom gives to Prometheus.
func (t *tool) stats(ctx context.Context, args []string) error {
	all := t.flags.Bool("all", false, "numbers that are 0, too")
	if _, err := t.parse(args, 0, 0); err != nil {
		return err
	}
	families, err := t.metrics(ctx)
	if err != nil {
		return err
	}
	n := 0
	for _, name := range slices.Sorted(maps.Keys(families)) {
		if !strings.HasPrefix(name, "carewire_") {
			continue
		}
		for _, m := range families[name].GetMetric() {
			n++
			if s := sampleOf(name, families[name].GetHelp(), m); s.Value != 0 || *all || t.json {
				t.print(s, s.line())
			}
		}
	}
	if n == 0 {
		return errors.New("there are no numbers of carewire: the host registers prom.Collector(hub), see docs/operations.md")
	}
	return nil
}

// metrics fetches the page for Prometheus. The token goes to the Hub's own
// origin only, by TLS or on this machine; redirects are not followed.
func (t *tool) metrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	hub, err := t.address()
	at := t.env("CAREWIRE_METRICS")
	if at == "" {
		if err != nil {
			return nil, errors.New("set CAREWIRE_METRICS to where Prometheus finds the host's numbers, such as http://10.0.0.11:9090/metrics")
		}
		at = strings.Replace(hub.Scheme, "ws", "http", 1) + "://" + hub.Host + "/metrics"
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, at, nil)
	if err != nil {
		return nil, errors.New("CAREWIRE_METRICS is no URL")
	}
	name := r.URL.Scheme + "://" + r.URL.Host + r.URL.Path // without secrets
	r.Header.Set("Accept", "text/plain; version=0.0.4")
	sameOrigin := hub != nil && r.URL.Host == hub.Host && (r.URL.Scheme == "https") == (hub.Scheme == "wss")
	if token, err := t.token(ctx); err == nil && sameOrigin && (r.URL.Scheme == "https" || loopback(r.URL)) {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	resp, err := client.Do(r)
	if err != nil {
		return nil, fmt.Errorf("%s does not answer: %s", name, cause(err))
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s answers %s: set CAREWIRE_METRICS to where Prometheus finds the host's numbers", name, resp.Status)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.LimitReader(resp.Body, 16<<20))
	if err != nil {
		return nil, fmt.Errorf("%s is no page for Prometheus", name)
	}
	return families, nil
}

// A sample is one number. Of a histogram Value is the count, and Mean in seconds.
type sample struct {
	Name   string            `json:"name"`
	Labels map[string]string `json:"labels,omitempty"`
	Value  float64           `json:"value"`
	Mean   float64           `json:"mean,omitempty"`
	Help   string            `json:"help"`
}

func sampleOf(name, help string, m *dto.Metric) sample {
	s := sample{Name: name, Help: help}
	for _, l := range m.GetLabel() {
		if s.Labels == nil {
			s.Labels = make(map[string]string)
		}
		s.Labels[l.GetName()] = l.GetValue()
	}
	if h := m.GetHistogram(); h != nil {
		if s.Value = float64(h.GetSampleCount()); s.Value > 0 {
			s.Mean = h.GetSampleSum() / s.Value
		}
		return s
	}
	s.Value = cmp.Or(m.GetCounter().GetValue(), m.GetGauge().GetValue(), m.GetUntyped().GetValue())
	return s
}

func (s *sample) line() string {
	name := strings.TrimPrefix(s.Name, "carewire_")
	for _, label := range slices.Sorted(maps.Keys(s.Labels)) {
		name += " " + clean(s.Labels[label])
	}
	value := fmt.Sprintf("%.6g", s.Value)
	if s.Mean > 0 {
		value += fmt.Sprintf(", on average %s", time.Duration(s.Mean*float64(time.Second)).Round(time.Microsecond))
	}
	return fmt.Sprintf("%-40s %-14s %s", name, value, s.Help)
}
