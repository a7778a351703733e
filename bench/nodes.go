package main

import (
	"bytes"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// across lets devices send to the first node, events of all patients in turn at
// a rate, of which each alertEvery-th is an alert (0: none), and clinicians
// watch so many of the patients at the last node. If there is another node, and
// few patients, one watches them at the first too. The time from the moment at
// which an event was due to the clinician's receipt counts.
func across(s settings, patients, watched, rate, alertEvery int, lasting time.Duration) (values, error) {
	nodes, err := startNodes(s)
	if err != nil {
		return nil, err
	}
	defer stop(nodes)
	first, last := nodes[0], nodes[len(nodes)-1]
	far, near := newStaff(last, watched), newStaff(first, watched)
	defer far.leave()
	defer near.leave()
	if err := far.join(watched / max(far.watch, 1)); err != nil {
		return nil, err
	}
	staff := []*crowd{far}
	if first != last && watched > 0 && watched == far.watch {
		staff = append(staff, near)
		if err := near.join(1); err != nil {
			return nil, err
		}
	}
	d := newSenders(first, patients, watched)
	defer d.leave()
	if err := d.join(senders); err != nil {
		return nil, err
	}
	// One vital of each patient first: the Hub then knows them.
	if _, err := first.do(order{Do: "publish", Patients: patients, N: patients}); err != nil {
		return nil, err
	}
	n := int(lasting.Seconds() * float64(rate))
	if err := d.send(n/4, rate, alertEvery, staff); err != nil { // to warm up
		return nil, err
	}
	for _, c := range staff {
		c.delay.reset()
		c.alertDelay.reset()
	}
	before, err := used(nodes, "mark")
	if err != nil {
		return nil, err
	}
	if err := d.send(n, rate, alertEvery, staff); err != nil {
		return nil, err
	}
	after, err := used(nodes, "measure")
	if err != nil {
		return nil, err
	}
	spent, each := after.since(before), func(t time.Duration) float64 { return ms(t) / lasting.Seconds() }
	v := values{"cpu_ms_per_s": each(spent.nodes[0])}
	if first != last {
		v["far_cpu_ms_per_s"] = each(spent.nodes[len(nodes)-1])
	}
	if s.DSN != "" {
		v["pg_cpu_ms_per_s"] = each(spent.postgres)
	}
	for i, c := range staff {
		prefix := []string{"", "near_"}[i]
		v.delays(prefix, &c.delay)
		v.delays(prefix+"alert_", &c.alertDelay)
	}
	return v, nil
}

// delays adds the figures of a histogram, unless it is empty.
func (v values) delays(prefix string, h *histogram) {
	if h.quantile(1) > 0 {
		v[prefix+"p50_ms"], v[prefix+"p99_ms"], v[prefix+"p999_ms"] = h.quantile(0.5), h.quantile(0.99), h.quantile(0.999)
	}
}

// newStaff returns clinicians, to join, each of whom watches at most 250 of so
// many patients, and no other one the same.
func newStaff(p *server, patients int) *crowd {
	c := &crowd{server: p, watch: min(patients, 250), dialect: carewireDialect}
	c.dialect.header = func(i, _ int) string { return carewireHeader("clinician", i, i*c.watch, c.watch) }
	c.dialect.hello = func(i, _ int) []string { return watchRequests(i*c.watch, c.watch, carewire.DeliverEvery) }
	return c
}

const senders = 10

// sending runs the devices, as many as senders, each for its share of the patients.
type sending struct {
	*crowd
	share          int   // patients of one device
	watched        int   // patients that are
	vitals, alerts []int // how many there are of each patient
	shown, raised  int64 // vitals and alerts that the staff is to get
	events         int
	refused        atomic.Int64
}

// newSenders returns the devices of so many patients, each of whom has one vital already.
func newSenders(p *server, patients, watched int) *sending {
	d := &sending{share: (patients + senders - 1) / senders, watched: watched, vitals: make([]int, patients), alerts: make([]int, patients), shown: int64(watched)}
	for i := range d.vitals {
		d.vitals[i] = 1
	}
	d.crowd = newDevices(p, func(_ *client, answer []byte) {
		if !bytes.Contains(answer, []byte(`"type":"ok"`)) {
			d.refused.Add(1)
		}
	})
	d.dialect.header = func(i, _ int) string { return carewireHeader("device", i, i*d.share, d.share) }
	return d
}

// send sends n more events at a rate, and waits until all staff has all.
func (d *sending) send(n, rate, alertEvery int, staff []*crowd) error {
	begin := time.Now()
	for i := range n {
		at := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(at))
		if err := d.sendOne(at, alertEvery); err != nil {
			return err
		}
	}
	for _, c := range staff {
		done := func() bool { return c.got.Load() >= d.shown && c.alerts.Load() >= d.raised }
		if err := c.until(done, patience, fmt.Sprintf("%d vitals and %d alerts", d.shown, d.raised)); err != nil {
			return err
		}
		if err := c.exactly(d.shown); err != nil {
			return err
		}
	}
	if n := d.refused.Load(); n > 0 {
		return fmt.Errorf("%d events were refused", n)
	}
	return nil
}

func (d *sending) sendOne(at time.Time, alertEvery int) error {
	patient := d.events % len(d.vitals)
	d.events++
	numbers, seen, request := d.vitals, &d.shown, publishRequest
	if alertEvery > 0 && d.events%alertEvery == 0 {
		numbers, seen, request = d.alerts, &d.raised, raiseRequest
	}
	numbers[patient]++
	if patient < d.watched {
		*seen++
	}
	return d.clients[patient/d.share].send(0x1, request(patient, numbers[patient], at))
}

func raiseRequest(patient, number int, at time.Time) []byte {
	id := eventID(patient, number, at)
	return fmt.Appendf(nil, `{"type":"raise","req":"1","event_id":"%s","alert":{"patient":"%s","key":"%s","text":"Low oxygen saturation","priority":"info"}}`,
		id, patientID(patient), id)
}
