package main

import (
	"errors"
	"time"

	"github.com/carewire/carewire"
)

// How a client reads.
const (
	reading  int32 = iota
	stuck          // not at all
	dripping       // one byte a second
)

// withStuck publishes to clients who all read, and then while a tenth of them
// does not (half of these not at all, half one byte a second). In the end these
// read again, and what they are given then shows how old it is.
func withStuck(s settings, clients, n int, rate float64) (values, error) {
	bad := max(clients/10, 2)
	p, others, err := meet(s, clients-bad, 1, 16<<10)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	defer others.leave()
	c := &crowd{server: p, dialect: others.dialect, watch: 1, receive: 4 << 10, mayBeCut: true}
	if s.Contender == "carewire" { // what a screen asks for
		c.dialect.hello = func(_, patients int) []string { return watchRequests(0, patients, carewire.DeliverLatest) }
	}
	defer c.leave()
	if err := c.join(bad); err != nil {
		return nil, err
	}
	if _, err := p.do(order{Do: "publish", First: 1, N: n / 2, Rate: rate}); err != nil {
		return nil, err
	}
	if err := others.all(n/2, 20*time.Second); err != nil {
		return nil, err
	}
	v := values{"p50_before_ms": others.delay.quantile(0.5), "p99_before_ms": others.delay.quantile(0.99)}
	before, err := p.do(order{Do: "settle"})
	if err != nil {
		return nil, err
	}
	others.delay.reset()
	for i, cl := range c.clients {
		cl.mode.Store(stuck + int32(i%2))
	}
	if _, err := p.do(order{Do: "publish", First: n/2 + 1, N: n, Rate: rate}); err != nil {
		return nil, err
	}
	if err := others.all(n/2+n, 20*time.Second); err != nil {
		return nil, err
	}
	v["p50_ms"], v["p99_ms"] = others.delay.quantile(0.5), others.delay.quantile(0.99)
	v["p99_ratio"] = v["p99_ms"] / v["p99_before_ms"]
	after, err := p.do(order{Do: "settle"})
	if err != nil {
		return nil, err
	}
	v["held_kb"] = max(0, float64(after.RSS-before.RSS)/float64(bad)/1024)
	c.delay.reset()
	c.gaps.Store(0)
	for _, cl := range c.clients {
		cl.mode.Store(reading)
	}
	newest := int32(n/2 + n)
	current := func() bool { // those that are still there have the newest
		for _, cl := range c.clients {
			if !cl.over.Load() && cl.newest.Load() != newest {
				return false
			}
		}
		return true
	}
	if err := c.until(current, 15*time.Second, "the newest value"); err != nil {
		v["never_current"] = 1
	}
	cut := float64(c.cut.Load())
	v["cut_share"] = cut / float64(bad)
	v["oldest_s"] = c.delay.quantile(1) / 1e3
	v["left_out"] = float64(c.gaps.Load()) / float64(bad)
	if v["p99_before_ms"] == 0 {
		return nil, errors.New("nothing was measured")
	}
	return v, nil
}
