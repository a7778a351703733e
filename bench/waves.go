package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

const (
	waveGateways = 10
	waveWatchers = 20
	waveRate     = 250 // samples a second
	wavesASecond = 4   // chunks
)

// withWaves has each of some patients send leads electrocardiograms, a vital each
// second, and now and then an alert; all are watched by twenty clinicians, and by twenty
// who want no waves. Two things count: the work of the server's processor, and the
// delays of the alerts and vitals of both kinds of clients.
func withWaves(s settings, patients, leads, seconds int) (values, error) {
	p, err := start(s)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	var chunks atomic.Int64
	staff := &crowd{server: p, watch: patients, dialect: carewireDialect, buffer: 64 << 10, seen: func(_ *client, b []byte) {
		if bytes.HasPrefix(b, []byte(`{"type":"wave",`)) {
			chunks.Add(1)
		}
	}}
	staff.dialect.hello = func(_, _ int) []string {
		requests := watchRequests(0, patients, carewire.DeliverLatest)
		for i := range requests {
			requests[i] = strings.Replace(requests[i], `"delivery"`, `"waves":["*"],"delivery"`, 1)
		}
		return requests
	}
	defer staff.leave()
	if err := staff.join(waveWatchers); err != nil {
		return nil, err
	}
	plain := &crowd{server: p, watch: patients, dialect: carewireDialect, buffer: 64 << 10}
	plain.dialect.hello = func(_, _ int) []string { return watchRequests(0, patients, carewire.DeliverLatest) }
	defer plain.leave()
	if err := plain.join(waveWatchers); err != nil {
		return nil, err
	}
	each := patients / waveGateways
	devices := newDevices(p, func(*client, []byte) {})
	devices.dialect.header = func(i, _ int) string { return carewireHeader("device", i, i*each, each) }
	defer devices.leave()
	if err := devices.join(waveGateways); err != nil {
		return nil, err
	}
	before, err := p.do(order{Do: "mark"})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	var sending sync.WaitGroup
	errs := make(chan error, waveGateways)
	for i, gateway := range devices.clients {
		sending.Go(func() { errs <- playWaves(gateway, i*each, each, leads, seconds, begin, false) })
	}
	for i := range 2 * seconds {
		time.Sleep(time.Until(begin.Add(time.Duration(i) * 500 * time.Millisecond)))
		if _, err := p.do(order{Do: "raise", Patient: i % patients, First: 1 + i/patients, N: 1}); err != nil {
			return nil, err
		}
	}
	sending.Wait()
	for range devices.clients {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	for _, c := range []*crowd{staff, plain} {
		if err := c.all(patients*seconds, patience); err != nil {
			return nil, err
		}
	}
	after, err := p.do(order{Do: "measure"})
	if err != nil {
		return nil, err
	}
	want := int64(patients * leads * wavesASecond * seconds * waveWatchers)
	if err := staff.until(func() bool {
		return chunks.Load() >= want*99/100 && staff.alerts.Load() == int64(2*seconds*waveWatchers)
	}, patience, "waves and alerts"); err != nil {
		return nil, fmt.Errorf("%w; %d of %d chunks, %d alerts", err, chunks.Load(), want, staff.alerts.Load())
	}
	took := time.Since(begin).Seconds()
	return values{"core_pct": 100 * (after.CPU - before.CPU).Seconds() / took, "chunks_per_s": float64(chunks.Load()) / took,
		"alert_p50_ms": staff.alertDelay.quantile(0.5), "alert_p99_ms": staff.alertDelay.quantile(0.99),
		"p50_ms": staff.delay.quantile(0.5), "p99_ms": staff.delay.quantile(0.99),
		"plain_alert_p50_ms": plain.alertDelay.quantile(0.5), "plain_alert_p99_ms": plain.alertDelay.quantile(0.99),
		"plain_p50_ms": plain.delay.quantile(0.5), "plain_p99_ms": plain.delay.quantile(0.99)}, nil
}

// playWaves sends the measurements of a gateway's patients: each quarter of a second a
// chunk of each lead, and each second a vital, the patients evenly one after the other.
// If they alternate, seconds without waves come between those with.
func playWaves(gateway *client, first, patients, leads, seconds int, begin time.Time, alternate bool) error {
	waves := make([]carewire.Wave, leads)
	for i := range waves {
		waves[i] = carewire.Wave{Code: fmt.Sprint(131329 + i), System: carewire.MDC, Device: "mon-1", Unit: "mV", Factor: "0.005", Rate: waveRate,
			Samples: make([]int32, waveRate/wavesASecond)}
	}
	for i := range wavesASecond * patients * seconds {
		chunk, patient := i/patients, first+i%patients
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(wavesASecond*patients))
		time.Sleep(time.Until(at))
		for k := range waves {
			w := &waves[k]
			w.Patient, w.Number, w.Time = patientID(patient), uint64(chunk+1), begin.Add(time.Duration(chunk)*time.Second/wavesASecond)
			for n, sample := 0, 0.0; n < len(w.Samples); n++ {
				sample += 25 * rand.NormFloat64() // of a real one most differences, too, fit into a byte, some into two
				w.Samples[n] = int32(sample)
			}
		}
		if leads > 0 && (!alternate || chunk/wavesASecond%2 == 1) {
			b, err := json.Marshal(map[string]any{"type": "wave", "waves": waves})
			if err != nil {
				return err
			}
			if err := gateway.send(0x1, b); err != nil {
				return err
			}
		}
		if chunk%wavesASecond == 0 {
			if err := gateway.send(0x1, publishRequest(patient, 1+chunk/wavesASecond, time.Now())); err != nil {
				return err
			}
		}
	}
	return nil
}
