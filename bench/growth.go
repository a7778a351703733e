package main

import (
	"time"

	"github.com/carewire/carewire"
)

// moreWatchers publishes batches of 20 events of one patient until there were
// enough deliveries.
func moreWatchers(s settings, watchers, deliveries int) (values, error) {
	p, c, err := meet(s, watchers, 1, 8<<10)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	defer c.leave()
	return inBatches(p, c, 1, 1, max(5, deliveries/watchers/20))
}

// morePatients has ten clients watch each of the patients, of whom a client
// watches at most 250, and publishes batches of 20 events of different patients.
func morePatients(s settings, patients, deliveries int) (values, error) {
	p, err := start(s)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	const each = 10
	watch := min(patients, 250)
	first := func(i int) int { return i / each * watch }
	c := &crowd{server: p, watch: watch, buffer: 8 << 10, dialect: carewireDialect}
	c.dialect.header = func(i, _ int) string { return carewireHeader("clinician", i, first(i), watch) }
	c.dialect.hello = func(i, _ int) []string { return watchRequests(first(i), watch, carewire.DeliverEvery) }
	defer c.leave()
	if err := c.join(patients / watch * each); err != nil {
		return nil, err
	}
	return inBatches(p, c, patients, patients/watch, max(1, deliveries/each/20))
}

// inBatches publishes batches of 20 events over so many patients, each batch
// once the one before has been delivered. One client in shares gets an event.
func inBatches(p *server, c *crowd, patients, shares, batches int) (values, error) {
	const batch = 20
	each := int64(len(c.clients) / shares)
	run := func(from, to int) error {
		for i := from; i < to; i++ {
			if _, err := p.do(order{Do: "publish", First: i * batch, N: batch, Patients: patients}); err != nil {
				return err
			}
			want := int64(i+1) * batch * each
			if err := c.until(func() bool { return c.got.Load() >= want }, patience, "a batch"); err != nil {
				return err
			}
		}
		return nil
	}
	warm := max(1, batches/10)
	if err := run(0, warm); err != nil {
		return nil, err
	}
	before, err := p.do(order{Do: "mark"})
	if err != nil {
		return nil, err
	}
	if err := run(warm, warm+batches); err != nil {
		return nil, err
	}
	after, err := p.do(order{Do: "measure"})
	if err != nil {
		return nil, err
	}
	if err := c.exactly(int64((warm+batches)*batch) * each); err != nil {
		return nil, err
	}
	return values{"cpu_ns": float64(after.CPU-before.CPU) / float64(int64(batches*batch)*each)}, nil
}

// moreAlerts raises alerts, and returns the cost of the Hub while they are open.
func moreAlerts(s settings, alerts int, pause time.Duration) (values, error) {
	p, c, err := meet(s, 50, 1, 8<<10)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	defer c.leave()
	empty, err := p.do(order{Do: "settle"})
	if err != nil {
		return nil, err
	}
	of := min(alerts, 1000)
	raised, err := p.do(order{Do: "raise", Patient: 1, First: 1, N: alerts / of, Patients: of})
	if err != nil {
		return nil, err
	}
	full, err := p.do(order{Do: "settle"})
	if err != nil {
		return nil, err
	}
	v, err := inBatches(p, c, 1, 1, 100)
	if err != nil {
		return nil, err
	}
	stats, err := p.do(order{Do: "stats", N: 100})
	if err != nil {
		return nil, err
	}
	time.Sleep(pause)
	idle, err := p.do(order{Do: "measure"})
	if err != nil {
		return nil, err
	}
	v["raise_us"] = float64(raised.CPU-empty.CPU) / 1e3 / float64(alerts)
	v["held_kb"] = float64(full.RSS-empty.RSS) / 1024 / float64(alerts)
	v["stats_us"] = float64(stats.Took) / 1e3 / 100
	v["idle_cpu_ms_per_s"] = ms(idle.CPU-stats.CPU) / pause.Seconds()
	return v, nil
}
