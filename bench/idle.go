package main

import "time"

// idle connects clients that watch some patients each and returns the
// memory that the server holds for each of them: a pause later, and once the process has given
// back the memory that it does not need, as Go does by itself within minutes.
func idle(s settings, clients, watch, burst int, pause time.Duration) (values, error) {
	p, err := start(s)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	c := &crowd{server: p, dialect: find(s.Contender).dialect, watch: watch}
	defer c.leave()
	if err := c.join(min(clients, 20)); err != nil { // the memory that every process has, once
		return nil, err
	}
	empty, err := p.do(order{Do: "settle"})
	if err != nil {
		return nil, err
	}
	if err := c.join(clients - len(c.clients)); err != nil {
		return nil, err
	}
	each := func(r report) float64 { return float64(r.RSS-empty.RSS) / float64(clients-min(clients, 20)) / 1024 }
	v := values{}
	time.Sleep(pause)
	for _, name := range []string{"idle_kb", "burst_kb"} {
		if name == "burst_kb" {
			if burst == 0 {
				break
			}
			if _, err := p.do(order{Do: "publish", First: 1, N: burst}); err != nil {
				return nil, err
			}
			if err := c.all(burst, patience); err != nil {
				return nil, err
			}
			time.Sleep(pause)
		}
		plain, err := p.do(order{Do: "measure"})
		if err != nil {
			return nil, err
		}
		settled, err := p.do(order{Do: "settle"})
		if err != nil {
			return nil, err
		}
		v[name], v["settled_"+name] = each(plain), each(settled)
	}
	return v, nil
}
