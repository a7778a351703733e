package main

import (
	"fmt"
	"time"
)

// meet starts a server and connects clients to it.
func meet(s settings, clients, watch, buffer int) (*server, *crowd, error) {
	p, err := start(s)
	if err != nil {
		return nil, nil, err
	}
	c := &crowd{server: p, dialect: find(s.Contender).dialect, watch: watch, buffer: buffer}
	if err := c.join(clients); err != nil {
		c.leave()
		p.stop()
		return nil, nil, err
	}
	return p, c, nil
}

// all waits until every client has events 1 … n, each once.
func (c *crowd) all(n int, within time.Duration) error {
	want := int64(n) * int64(len(c.clients))
	if err := c.until(func() bool { return c.got.Load() >= want }, within, fmt.Sprintf("%d events", want)); err != nil {
		return err
	}
	return c.exactly(want)
}

// exactly fails unless so many events have come, without holes, none twice.
func (c *crowd) exactly(want int64) error {
	if got, gaps, repeats := c.got.Load(), c.gaps.Load(), c.repeats.Load(); got != want || gaps != 0 || repeats != 0 {
		return fmt.Errorf("%d events of %d came, %d were left out, %d came again", got, want, gaps, repeats)
	}
	return nil
}

// fanOut publishes n events at a rate (0: all at once) to all clients, after
// some to warm up, and returns the cost of a delivery for the server. publishers
// make one call for each event, each for a patient of its own; 0: one call for all.
func fanOut(s settings, clients, warm, n int, rate float64, publishers int) (values, error) {
	patients := max(publishers, 1)
	warm, n = warm/patients*patients, n/patients*patients
	p, c, err := meet(s, clients, patients, 64<<10)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	defer c.leave()
	if _, err := p.do(order{Do: "publish", First: 1, N: warm, Rate: rate, Publishers: publishers}); err != nil {
		return nil, err
	}
	if err := c.all(warm, patience); err != nil {
		return nil, err
	}
	c.delay.reset()
	size := c.bytes.Load()
	before, err := p.do(order{Do: "mark"})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if _, err := p.do(order{Do: "publish", First: warm/patients + 1, N: n, Rate: rate, Publishers: publishers}); err != nil {
		return nil, err
	}
	if err := c.all(warm+n, patience); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := p.do(order{Do: "measure"})
	if err != nil {
		return nil, err
	}
	deliveries := float64(n) * float64(clients)
	return values{
		"cpu_ns": float64(after.CPU-before.CPU) / deliveries, "bytes": float64(c.bytes.Load()-size) / deliveries, "took_ms": ms(took),
		"p50_ms": c.delay.quantile(0.5), "p99_ms": c.delay.quantile(0.99), "p999_ms": c.delay.quantile(0.999), "rss_mb": float64(after.RSS) / 1e6,
	}, nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
