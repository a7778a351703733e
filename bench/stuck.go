package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
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
// read again, and their first events then show the age of the events.
func withStuck(s settings, clients, n int, rate float64) (values, error) {
	bad := max(clients/10, 2)
	s.Queue = 2000
	p, others, err := meet(s, clients-bad, 1, 16<<10)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	defer others.leave()
	others.mayBeCut = true
	c := &crowd{server: p, dialect: others.dialect, watch: 1, receive: 4 << 10, mayBeCut: true}
	if s.Contender == "carewire" { // as a screen asks for
		c.dialect.hello = func(_, patients int) []string { return watchRequests(0, patients, carewire.DeliverLatest) }
	}
	defer c.leave()
	if err := c.join(bad); err != nil {
		return nil, err
	}
	if _, err := p.do(order{Do: "publish", First: 1, N: n / 3, Rate: rate}); err != nil {
		return nil, err
	}
	if err := errors.Join(others.current(n/3), c.current(n/3)); err != nil {
		return nil, err
	}
	v := values{"p50_before_ms": others.delay.quantile(0.5), "p99_before_ms": others.delay.quantile(0.99)}
	before, err := p.do(order{Do: "settle"})
	if err != nil {
		return nil, err
	}
	kernel := socketMemory()
	others.delay.reset()
	for i, cl := range c.clients {
		cl.mode.Store(stuck + int32(i%2))
	}
	if _, err := p.do(order{Do: "publish", First: n/3 + 1, N: n, Rate: rate}); err != nil {
		return nil, err
	}
	if err := others.current(n/3 + n); err != nil {
		return nil, err
	}
	v["p50_ms"], v["p99_ms"] = others.delay.quantile(0.5), others.delay.quantile(0.99)
	v["p99_ratio"] = v["p99_ms"] / v["p99_before_ms"]
	v["others_lost"] = float64((n/3+n)*len(others.clients)) - float64(others.got.Load())
	v["others_cut"] = float64(others.cut.Load())
	v["kernel_kb"] = max(0, float64(socketMemory()-kernel)/float64(bad)/1024)
	after, err := p.do(order{Do: "settle"})
	if err != nil {
		return nil, err
	}
	v["held_kb"] = max(0, float64(after.RSS-before.RSS)/float64(bad)/1024)
	for _, counter := range []*atomic.Int64{&c.gaps, &c.old} {
		counter.Store(0)
	}
	c.delay.reset()
	for _, cl := range c.clients {
		cl.mode.Store(reading)
	}
	if err := c.current(n/3 + n); err != nil {
		v["never_current"] = 1
	}
	v["cut_share"] = float64(c.cut.Load()) / float64(bad)
	v["oldest_s"] = c.delay.quantile(1) / 1e3
	v["old_values"] = float64(c.old.Load()) / float64(bad)
	v["left_out"] = float64(c.gaps.Load()) / float64(bad)
	return v, nil
}

// current waits until all clients whose line is not cut have event n.
func (c *crowd) current(n int) error {
	return c.until(func() bool {
		for _, cl := range c.clients {
			if !cl.over.Load() && int(cl.newest.Load()) != n {
				return false
			}
		}
		return true
	}, 20*time.Second, "the newest value")
}

// socketMemory is the memory that the kernel holds for all TCP connections of the machine.
func socketMemory() int64 {
	b, _ := os.ReadFile("/proc/net/sockstat")
	var pages int64
	if _, rest, ok := strings.Cut(string(b), "TCP: "); ok {
		if _, rest, ok = strings.Cut(rest, " mem "); ok {
			fmt.Sscan(rest, &pages)
		}
	}
	return pages * int64(os.Getpagesize())
}
