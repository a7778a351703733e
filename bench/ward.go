package main

import (
	"bytes"
	"fmt"
	"strings"
	"sync/atomic"
	"time"
)

// ward is a small hospital: each patient has a device that publishes once a
// second, each clinician watches 40 patients. The time from the device's
// sending to the clinician's receipt counts.
func ward(s settings, patients, clinicians, watch, seconds int) (values, error) {
	p, err := start(s)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	first := func(clinician int) int { return clinician * (patients - watch) / max(clinicians-1, 1) }
	d := find(s.Contender).dialect
	staff := &crowd{server: p, watch: watch, dialect: d}
	staff.dialect.hello = func(i, _ int) []string { return d.watch(first(i), watch) }
	if d.header != nil {
		staff.dialect.header = func(i, _ int) string { return carewireHeader("clinician", i, first(i), watch) }
	}
	defer staff.leave()
	if err := staff.join(clinicians); err != nil {
		return nil, err
	}
	var refused atomic.Int64
	devices := newDevices(p, func(_ *client, answer []byte) {
		if !d.accepted(answer) {
			refused.Add(1)
		}
	})
	defer devices.leave()
	if err := devices.join(patients); err != nil {
		return nil, err
	}
	before, err := p.do(order{Do: "mark"})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	for i := range patients * seconds {
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(patients))
		time.Sleep(time.Until(at))
		if err := devices.clients[i%patients].send(0x1, d.send(i%patients, 1+i/patients, at)); err != nil {
			return nil, err
		}
	}
	if err := staff.all(watch*seconds, patience); err != nil {
		return nil, err
	}
	after, err := p.do(order{Do: "measure"})
	if err != nil {
		return nil, err
	}
	if n := refused.Load(); n > 0 {
		return nil, fmt.Errorf("%d vitals were refused", n)
	}
	return values{"p50_ms": staff.delay.quantile(0.5), "p99_ms": staff.delay.quantile(0.99), "p999_ms": staff.delay.quantile(0.999),
		"cpu_us": float64(after.CPU-before.CPU) / 1e3 / float64(patients*seconds)}, nil
}

// newDevices returns the devices of patients 0, 1, 2 …, to join. Each answer
// to a publish is given to answered.
func newDevices(p *server, answered func(*client, []byte)) *crowd {
	c := &crowd{server: p}
	if find(p.Contender).header != nil {
		c.dialect.header = func(i, _ int) string { return carewireHeader("device", i, i, 1) }
	} else if strings.HasPrefix(p.Contender, "centrifuge") {
		c.dialect.hello = func(int, int) []string { return subscribe(0, 0) }
	}
	c.seen = func(cl *client, b []byte) {
		if bytes.Contains(b, []byte(`"req":`)) || bytes.Contains(b, []byte(`"publish":`)) {
			answered(cl, b)
		}
	}
	return c
}

func publishRequest(patient, number int, at time.Time) []byte {
	return fmt.Appendf(nil, `{"type":"publish","req":"1","vitals":[{"patient":"%s","code":"8867-4","value":72,"unit":"/min","vital_id":"%s"}]}`,
		patientID(patient), eventID(patient, number, at))
}

func accepted(answer []byte) bool {
	return bytes.Contains(answer, []byte(`"type":"ok"`)) && bytes.Contains(answer, []byte(`"seq":`))
}
