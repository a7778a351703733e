package main

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// across lets devices send to the first node, events of all patients in turn
// at a rate, of which each alertEvery-th is an alert (0: none), and clinicians
// watch at the last node, so many of the patients. If there is another node,
// and not too many patients, the same watch at the first. What counts is the
// time from the moment at which an event was due to the clinician's receipt.
func across(s settings, patients, watched, rate, alertEvery int, lasting time.Duration) (values, error) {
	nodes, err := startNodes(s)
	if err != nil {
		return nil, err
	}
	defer stop(nodes)
	first, last := nodes[0], nodes[len(nodes)-1]
	near, far := newStaff(first, watched), newStaff(last, watched)
	defer near.leave()
	defer far.leave()
	staffs := []*crowd{far}
	if err := far.join(watched / max(far.watch, 1)); err != nil {
		return nil, err
	}
	if first != last && watched == far.watch && watched > 0 {
		staffs = append(staffs, near)
		if err := near.join(1); err != nil {
			return nil, err
		}
	}
	var refused atomic.Int64
	const devices = 10
	each := (patients + devices - 1) / devices
	senders := newDevices(first, func(_ *client, answer []byte) {
		if !bytes.Contains(answer, []byte(`"type":"ok"`)) {
			refused.Add(1)
		}
	})
	senders.dialect.header = func(i, _ int) string { return carewireHeader("device", i, i*each, each) }
	defer senders.leave()
	if err := senders.join(devices); err != nil {
		return nil, err
	}
	// One vital of each patient first: the Hub then knows them.
	if _, err := first.do(order{Do: "publish", Patients: patients, N: patients}); err != nil {
		return nil, err
	}
	vitals, alerts := make([]int, patients), make([]int, patients)
	sent, raised := 0, 0 // of those who are watched
	for i := range vitals {
		vitals[i] = 1
	}
	sent += watched
	all := func() error {
		for _, c := range staffs {
			done := func() bool { return c.got.Load() >= int64(sent) && c.alerts.Load() >= int64(raised) }
			if err := c.until(done, 20*time.Second, fmt.Sprintf("%d vitals and %d alerts, of which %d came", sent, raised, c.alerts.Load())); err != nil {
				return err
			}
			if err := c.exactly(int64(sent)); err != nil {
				return err
			}
		}
		return nil
	}
	run := func(from, to int) error {
		begin := time.Now()
		for i := from; i < to; i++ {
			at := begin.Add(time.Duration(i-from) * time.Second / time.Duration(rate))
			time.Sleep(time.Until(at))
			patient := i % patients
			var text []byte
			if alertEvery > 0 && i%alertEvery == 0 {
				alerts[patient]++
				text = raiseRequest(patient, alerts[patient], at)
				raised += min(1, max(0, watched-patient))
			} else {
				vitals[patient]++
				text = publishRequest(patient, vitals[patient], at)
				sent += min(1, max(0, watched-patient))
			}
			if err := senders.clients[patient/each].send(0x1, text); err != nil {
				return err
			}
		}
		return all()
	}
	if err := all(); err != nil {
		return nil, err
	}
	n := int(lasting.Seconds() * float64(rate))
	if err := run(0, n/4); err != nil { // to warm up
		return nil, err
	}
	for _, c := range staffs {
		c.delay.reset()
		c.alertDelay.reset()
	}
	before, err := used(nodes, "mark")
	if err != nil {
		return nil, err
	}
	if err := run(n/4, n/4+n); err != nil {
		return nil, err
	}
	after, err := used(nodes, "measure")
	if err != nil {
		return nil, err
	}
	if n := refused.Load(); n > 0 {
		return nil, fmt.Errorf("%d events were refused", n)
	}
	seconds := lasting.Seconds() // of sending
	sum, there, postgres := after.since(before)
	v := values{"cpu_ms_per_s": ms(sum-there) / seconds, "far_cpu_ms_per_s": ms(there) / seconds, "pg_cpu_ms_per_s": ms(postgres) / seconds}
	if len(nodes) == 1 {
		v["cpu_ms_per_s"] = v["far_cpu_ms_per_s"]
		delete(v, "far_cpu_ms_per_s")
	}
	if first.DSN == "" {
		delete(v, "pg_cpu_ms_per_s")
	}
	add := func(prefix string, h *histogram) {
		v[prefix+"p50_ms"], v[prefix+"p99_ms"], v[prefix+"p999_ms"] = h.quantile(0.5), h.quantile(0.99), h.quantile(0.999)
	}
	if watched > 0 {
		add("", &far.delay)
	}
	if raised > 0 {
		add("alert_", &far.alertDelay)
	}
	if len(staffs) > 1 {
		add("near_", &near.delay)
		if raised > 0 {
			add("near_alert_", &near.alertDelay)
		}
	}
	return v, nil
}

// newStaff returns clinicians, to join, each of whom watches so many of the patients that
// together they watch each once.
func newStaff(p *server, patients int) *crowd {
	c := &crowd{server: p, watch: min(patients, 250), dialect: carewireDialect}
	c.dialect.header = func(i, _ int) string { return carewireHeader("clinician", i, i*c.watch, c.watch) }
	c.dialect.hello = func(i, _ int) []string { return watchRequests(i*c.watch, c.watch, carewire.DeliverEvery) }
	return c
}

func raiseRequest(patient, number int, at time.Time) []byte {
	id := eventID(patient, number, at)
	return fmt.Appendf(nil, `{"type":"raise","req":"1","event_id":"%s","alert":{"patient":"%s","key":"%s","text":"Low oxygen saturation","priority":"info"}}`,
		id, patientID(patient), id)
}
