package main

import (
	"bytes"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

const besideAlerts = 8 // a second

// beside holds the measurements of alerts in seconds without waves (0) and in
// seconds with waves (1). Alerts of the first are of patients with an even number.
type beside struct {
	delays [2][2]histogram // of clinicians with waves, and of those without
	alerts atomic.Int64
}

// alertsBesideWaves tells when alerts come to clinicians while 100 leads come in, and
// when they come while none do. Seconds with waves alternate with seconds without, so
// that both have the same machine. In every second each patient has a vital.
func alertsBesideWaves(s settings, patients, leads, seconds int) (values, error) {
	p, err := start(s)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	var b beside
	crowds := [2]*crowd{}
	for who := range crowds {
		crowds[who] = b.crowd(p, who, patients)
		defer crowds[who].leave()
		if err := crowds[who].join(waveWatchers); err != nil {
			return nil, err
		}
	}
	each := patients / waveGateways
	devices := newDevices(p, func(*client, []byte) {})
	devices.dialect.header = func(i, _ int) string { return carewireHeader("device", i, i*each, each) }
	defer devices.leave()
	if err := devices.join(waveGateways); err != nil {
		return nil, err
	}
	begin := time.Now()
	var sending sync.WaitGroup
	errs := make(chan error, waveGateways+1)
	for i, gateway := range devices.clients {
		from := begin.Add(time.Duration(i) * time.Second / time.Duration(wavesASecond*patients)) // one gateway after the other
		sending.Go(func() { errs <- playWaves(gateway, i*each, each, leads, seconds, from, true) })
	}
	v, err := raiseBeside(p, patients, seconds, begin)
	sending.Wait()
	errs <- err
	for range waveGateways + 1 {
		if err := <-errs; err != nil {
			return nil, err
		}
	}
	want := int64(seconds * besideAlerts * 2 * waveWatchers)
	if err := crowds[0].until(func() bool { return b.alerts.Load() == want }, patience, "alerts"); err != nil {
		return nil, err
	}
	for who, prefix := range []string{"", "plain_"} {
		v.delays(prefix+"quiet_", &b.delays[who][0])
		v.delays(prefix, &b.delays[who][1])
	}
	v["p50_ratio"] = v["p50_ms"] / v["quiet_p50_ms"]
	return v, nil
}

// crowd is of the clinicians with waves (0), or of those without.
func (b *beside) crowd(p *server, who, patients int) *crowd {
	c := &crowd{server: p, watch: patients, dialect: carewireDialect, buffer: 64 << 10, seen: func(_ *client, frame []byte) {
		if _, id, ok := bytes.Cut(frame, alertMark); ok {
			now, sent := time.Now().UnixNano()%clockRound, digits(id[11:idLength])
			b.delays[who][digits(id[:5])%2].add(time.Duration((now - sent + clockRound) % clockRound))
			b.alerts.Add(1)
		}
	}}
	c.dialect.hello = func(_, _ int) []string {
		requests := watchRequests(0, patients, carewire.DeliverLatest)
		for i := range requests {
			if who == 0 {
				requests[i] = strings.Replace(requests[i], `"delivery"`, `"waves":["*"],"delivery"`, 1)
			}
		}
		return requests
	}
	return c
}

// raiseBeside raises alerts at random moments of each second, but for its beginning,
// when frames of the second before are still being written. It returns the cost of
// each kind of second for the server.
func raiseBeside(p *server, patients, seconds int, begin time.Time) (values, error) {
	var spent [2]time.Duration
	var last report
	for second := range seconds + 1 {
		time.Sleep(time.Until(begin.Add(time.Duration(second) * time.Second)))
		r, err := p.do(order{Do: "stats"})
		if err != nil {
			return nil, err
		}
		if second > 0 {
			spent[(second-1)%2] += r.CPU - last.CPU
		}
		last = r
		for i := range besideAlerts {
			if second == seconds {
				break
			}
			at := float64(second) + 0.2 + 0.7*(float64(i)+rand.Float64())/besideAlerts
			time.Sleep(time.Until(begin.Add(time.Duration(at * float64(time.Second)))))
			n := second*besideAlerts + i
			if _, err := p.do(order{Do: "raise", Patient: (2*n + second%2) % patients, First: 1 + n, N: 1}); err != nil {
				return nil, err
			}
		}
	}
	each := float64(seconds) / 2
	return values{"core_pct": 100 * spent[1].Seconds() / each, "quiet_core_pct": 100 * spent[0].Seconds() / each}, nil
}
