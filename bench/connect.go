package main

import "time"

// connect has clients connect, each of a principal of its own, and watch, and
// returns what one costs the server.
func connect(s settings, clients, watch int) (values, error) {
	p, err := start(s)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	c := &crowd{server: p, dialect: find(s.Contender).dialect, watch: watch}
	defer c.leave()
	if err := c.join(clients / 10); err != nil { // to warm up
		return nil, err
	}
	before, err := p.do(order{Do: "mark"})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	if err := c.connect(clients); err != nil {
		return nil, err
	}
	took := time.Since(begin)
	after, err := p.do(order{Do: "measure"})
	if err != nil {
		return nil, err
	}
	return values{"cpu_us": float64(after.CPU-before.CPU) / 1e3 / float64(clients), "took_ms": ms(took)}, nil
}
