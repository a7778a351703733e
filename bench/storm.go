package main

import (
	"fmt"
	"time"

	"github.com/carewire/carewire"
)

// storm cuts all clients at once. While they are away, and while they come
// back, alerts are raised for the patients they watch. It returns how long it
// takes until all have everything.
func storm(s settings, clients, patients, alerts int) (values, error) {
	p, err := start(s)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	old := &crowd{server: p, watch: 1, follows: true, dialect: stormDialect(s.Contender, patients, func(int) (string, string) { return "", "" })}
	defer old.leave()
	if err := old.join(clients); err != nil {
		return nil, err
	}
	for i := range patients {
		if _, err := p.do(order{Do: "publish", Patient: i, First: 1, N: 1}); err != nil {
			return nil, err
		}
	}
	if err := old.all(1, patience); err != nil {
		return nil, err
	}
	before, err := p.do(order{Do: "mark"})
	if err != nil {
		return nil, err
	}
	begin := time.Now()
	old.leave()
	if _, err := p.do(order{Do: "raise", First: 1, N: alerts / 2, Patients: patients}); err != nil {
		return nil, err
	}
	raised := make(chan error, 1)
	go func() {
		_, err := p.do(order{Do: "raise", First: alerts/2 + 1, N: alerts - alerts/2, Patients: patients})
		raised <- err
	}()
	c := &crowd{server: p, watch: 1, follows: true, dialect: stormDialect(s.Contender, patients, func(i int) (string, string) {
		return old.clients[i].position()
	})}
	defer c.leave()
	if err := c.connect(clients); err != nil {
		return nil, err
	}
	if err := <-raised; err != nil {
		return nil, err
	}
	everything := func() bool {
		for _, cl := range c.clients {
			if int(cl.alert.Load()) < alerts {
				return false
			}
		}
		return true
	}
	err = c.until(everything, patience, "all alerts")
	took := time.Since(begin)
	lost := c.alertGaps.Load()
	for _, cl := range c.clients {
		lost += int64(max(0, alerts-int(cl.alert.Load())))
	}
	if lost > 0 {
		return nil, fmt.Errorf("%d alerts were lost: %v", lost, err)
	}
	after, err := p.do(order{Do: "measure"})
	if err != nil {
		return nil, err
	}
	return values{"caught_up_s": took.Seconds(), "cpu_us": float64(after.CPU-before.CPU) / 1e3 / float64(clients),
		"alerts_lost": 0, "not_recovered": float64(c.afresh.Load())}, nil
}

// stormDialect has client i watch patient i modulo the number of patients, from
// a position (epoch and number) on.
func stormDialect(contender string, patients int, position func(int) (string, string)) dialect {
	d := find(contender).dialect
	if d.header == nil { // centrifuge
		d.hello = func(i, _ int) []string {
			recover := ""
			if epoch, number := position(i); epoch != "" {
				recover = fmt.Sprintf(`,"recover":true,"epoch":"%s","offset":%s`, epoch, number)
			}
			return []string{`{"id":1,"connect":{}}`, fmt.Sprintf(`{"id":2,"subscribe":{"channel":"%s"%s}}`, patientID(i%patients), recover)}
		}
		return d
	}
	d.header = func(i, _ int) string { return carewireHeader("clinician", i, i%patients, 1) }
	d.hello = func(i, _ int) []string {
		epoch, number := position(i)
		if epoch == "" {
			return watchRequests(i%patients, 1, carewire.DeliverLatest)
		}
		return []string{fmt.Sprintf(`{"type":"watch","req":"1","patients":["%s"],"since":{"%[1]s":{"epoch":"%s","seq":%s}}}`, patientID(i%patients), epoch, number)}
	}
	return d
}
