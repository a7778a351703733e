package drive

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

const withMillis = "2006-01-02T15:04:05.000Z07:00"

// Bed is one patient, with a device that publishes and raises, and two
// clinicians who answer, each on a connection of its own, to any of the nodes.
// It remembers everything that it has sent, and everything that was confirmed.
type Bed struct {
	Patient string
	t       testing.TB
	opt     *Options
	rng     *rand.Rand
	device  *Caller
	staff   []*Caller

	mu     sync.Mutex
	vitals map[string]*vitalSent // by vital_id
	alerts map[string]*Alert     // by alert_id

	log     []entry                 // the part of the log that was read
	last    Frame                   // the last of it
	numbers map[string]uint64       // in it: of vitals
	newest  map[string]moment       // in it: of the newest vital of each device
	states  map[string][]*AlertText // in it: the states of each alert, in order

	// the load's own:
	order  []*vitalSent // confirmed ones
	unsent []*vitalSent // refused for now
	raised []*Alert     // confirmed ones
	open   []*Alert     // those that nobody has closed
	todo   []*task
	n      int
	resent int // requests that had to be sent again
	asked  int // repeated sends of confirmed requests
	full   int // vitals that were refused for now
}

type vitalSent struct {
	id        string
	text      map[string]any
	value     string
	seq       uint64 // once it is confirmed
	confirmed bool
}

// Alert is one that was raised.
type Alert struct {
	request map[string]any
	reply   string // the alert, once it is confirmed
	answers []*answerSent
}

type answerSent struct {
	request map[string]any
	by      *Caller
	do      string
	reply   string
	code    string // ok, or why it was refused; empty until it is known
}

// A task is an answer that somebody will give.
type task struct {
	at    time.Time
	alert *Alert
	do    []string // one after the other
	race  bool     // both clinicians do it at once
}

func newBed(t testing.TB, o *Options, patient string, rng *rand.Rand) *Bed {
	b := &Bed{t: t, opt: o, Patient: patient, rng: rng, vitals: make(map[string]*vitalSent), alerts: make(map[string]*Alert),
		numbers: make(map[string]uint64), newest: make(map[string]moment), states: make(map[string][]*AlertText),
		device: o.caller("device-" + patient)}
	for _, token := range []string{"nurse-ada", "dr-bell"} {
		b.staff = append(b.staff, o.caller(token))
	}
	return b
}

func (b *Bed) id(kind string) string {
	b.n++
	return fmt.Sprintf("%s.%s.%d", b.Patient, kind, b.n)
}

// call makes a request that must have a final reply sooner or later.
func (b *Bed) call(ctx context.Context, c *Caller, request map[string]any) *Frame {
	f, sent, err := c.Call(ctx, request)
	if err != nil {
		if ctx.Err() == nil {
			b.t.Error(request["type"], err)
		}
		return nil
	}
	b.mu.Lock()
	b.resent += sent - 1
	b.mu.Unlock()
	return f
}

// load sends until stop is closed, and then gives the answers that are still due.
func (b *Bed) load(ctx context.Context, stop <-chan struct{}) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for stopped := false; ctx.Err() == nil; {
		select {
		case <-stop:
			stopped = true
		default:
		}
		b.answerDue(ctx, stopped)
		if stopped {
			for len(b.unsent) > 0 && ctx.Err() == nil {
				b.send(ctx)
			}
			return
		}
		switch x := b.rng.Float64(); {
		case x < b.opt.Raises:
			b.raise(ctx)
		case x < 0.75:
			b.publish(ctx)
		case x < 0.97:
			b.repeat(ctx)
		default:
			b.reuse(ctx)
			b.device.Move()
		}
		pause.Reset(Between(b.rng, 0, b.opt.Pause))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

func (b *Bed) publish(ctx context.Context) {
	b.mu.Lock()
	for range 1 + b.rng.IntN(6) {
		id := b.id("v")
		v := &vitalSent{id: id, value: strconv.Itoa(60 + b.n%40)}
		v.text = map[string]any{"patient": b.Patient, "code": "8867-4", "value": json.Number(v.value), "unit": "/min", "vital_id": id,
			"time": time.Now().UTC().Format(withMillis), "device": "d" + strconv.Itoa(b.n%3)}
		b.vitals[id] = v
		b.unsent = append(b.unsent, v)
	}
	b.mu.Unlock()
	b.send(ctx)
}

// send sends the requests that have not been accepted yet, unchanged.
func (b *Bed) send(ctx context.Context) {
	list := b.unsent[:min(len(b.unsent), 100)]
	var texts []map[string]any
	for _, v := range list {
		texts = append(texts, v.text)
	}
	f := b.call(ctx, b.device, map[string]any{"type": "publish", "vitals": texts})
	if f == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !assert.Len(b.t, f.Results, len(list), f.Code) {
		b.unsent = nil
		return
	}
	var later []*vitalSent
	for i, r := range f.Results {
		switch {
		case r.Error == nil:
			list[i].seq, list[i].confirmed = r.Seq, true
			b.order = append(b.order, list[i])
		case r.Error.Retry == "later":
			b.full++
			later = append(later, list[i])
		default:
			b.t.Errorf("a vital was refused: %s %s", r.Error.Code, r.Error.Field)
		}
	}
	b.unsent = append(later, b.unsent[len(list):]...)
}

// raise raises an alert, and plans people's answers to it. Of many that
// are open the oldest is closed.
func (b *Bed) raise(ctx context.Context) {
	if len(b.open) > b.opt.Open {
		if i := slices.IndexFunc(b.todo, func(x *task) bool { return x.alert == b.open[0] }); i < 0 {
			b.todo = append(b.todo, &task{alert: b.open[0], do: []string{"close"}})
		}
	}
	a := b.Raise(ctx)
	if a == nil {
		return
	}
	plan := &task{at: time.Now().Add(Between(b.rng, 0, 2500*time.Millisecond)), alert: a}
	switch x := b.rng.Float64(); {
	case x < b.opt.Unanswered:
		return
	case x < 0.65:
		plan.do = []string{"accept"}
	case x < 0.75:
		plan.do, plan.race = []string{"accept"}, true
	case x < 0.85:
		plan.do = []string{"reject", "accept"}
	default:
		plan.do = []string{"close"}
	}
	b.todo = append(b.todo, plan)
}

// Raise raises an alert and returns it once it is confirmed, or nil when ctx
// has ended. Raise and Answer are for the one goroutine that uses the bed.
func (b *Bed) Raise(ctx context.Context) *Alert {
	b.mu.Lock()
	id := b.id("a")
	a := &Alert{request: map[string]any{"type": "raise", "event_id": id,
		"alert": map[string]any{"patient": b.Patient, "key": "k" + strconv.Itoa(b.n), "text": "text of " + id, "priority": "high"}}}
	b.alerts[id] = a
	b.mu.Unlock()
	f := b.call(ctx, b.device, a.request)
	if f == nil {
		return nil
	}
	if f.Type != "ok" {
		b.t.Errorf("an alert was refused: %s", f.Code)
		return nil
	}
	b.mu.Lock()
	a.reply = string(f.Alert)
	b.mu.Unlock()
	b.raised, b.open = append(b.raised, a), append(b.open, a)
	return a
}

// answerDue gives the answers whose time has come, or all.
func (b *Bed) answerDue(ctx context.Context, all bool) {
	var later []*task
	for _, x := range b.todo {
		if !all && time.Now().Before(x.at) {
			later = append(later, x)
			continue
		}
		for _, do := range x.do {
			if !x.race {
				b.Answer(ctx, x.alert, do)
				continue
			}
			codes := make(chan string, len(b.staff))
			for _, c := range b.staff {
				go func() {
					if a := b.answer(ctx, x.alert, c, do); a != nil {
						codes <- a.code
					} else {
						codes <- ""
					}
				}()
			}
			got := []string{<-codes, <-codes}
			if slices.Sort(got); ctx.Err() == nil {
				assert.Equal(b.t, []string{"conflict", "ok"}, got, "two accepted at once")
			}
		}
	}
	b.todo = later
}

// Answer gives an answer, which must be taken.
func (b *Bed) Answer(ctx context.Context, to *Alert, do string) {
	if a := b.answer(ctx, to, b.staff[b.n%2], do); a != nil {
		assert.Equal(b.t, "ok", a.code, do)
	}
}

func (b *Bed) answer(ctx context.Context, to *Alert, by *Caller, do string) *answerSent {
	b.mu.Lock()
	id := b.id("w")
	a := &answerSent{by: by, do: do, request: map[string]any{"type": "answer", "patient": b.Patient,
		"key": to.request["alert"].(map[string]any)["key"], "alert_id": to.request["event_id"], "event_id": id, "do": do, "reason": id}}
	if do == "close" {
		a.request["force"] = true
	}
	to.answers = append(to.answers, a)
	b.mu.Unlock()
	f := b.call(ctx, by, a.request)
	if f == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a.reply, a.code = string(f.Alert), f.Code
	if f.Type == "ok" {
		a.code = "ok"
	}
	if do == "close" {
		b.open = slices.DeleteFunc(b.open, func(x *Alert) bool { return x == to })
	}
	return a
}

// repeat sends confirmed requests again: the reply is that of the first time.
func (b *Bed) repeat(ctx context.Context) {
	b.asked++
	if b.rng.IntN(2) == 0 && len(b.order) > 0 && !b.opt.Pruned {
		v := b.order[b.rng.IntN(len(b.order))]
		if r := b.publishOne(ctx, v.text); r != nil {
			assert.Equal(b.t, Result{Seq: v.seq, Repeated: true}, *r, "a vital that was confirmed")
		}
		return
	}
	if len(b.raised) == 0 {
		return
	}
	a := b.raised[b.rng.IntN(len(b.raised))]
	b.mu.Lock()
	request, by, want := a.request, b.device, a.reply
	if n := len(a.answers); n > 0 && a.answers[n-1].code == "ok" {
		w := a.answers[n-1]
		request, by, want = w.request, w.by, w.reply
	}
	b.mu.Unlock()
	if f := b.call(ctx, by, request); f != nil {
		assert.Equal(b.t, "ok", f.Type, f.Code)
		assert.Equal(b.t, want, string(f.Alert), "%s that was confirmed", request["type"])
	}
}

// reuse sends another vital under the ID of one that was confirmed.
func (b *Bed) reuse(ctx context.Context) {
	if len(b.order) == 0 || b.opt.Pruned { // pruned entries are not known any more
		return
	}
	v := b.order[b.rng.IntN(len(b.order))]
	text := map[string]any{"value": 30}
	for k, x := range v.text {
		if k != "value" {
			text[k] = x
		}
	}
	if r := b.publishOne(ctx, text); r != nil && assert.NotNil(b.t, r.Error, "an ID was used twice") {
		assert.Equal(b.t, "id_reused", r.Error.Code)
	}
}

// publishOne sends one vital until the result is final.
func (b *Bed) publishOne(ctx context.Context, text map[string]any) *Result {
	for {
		f := b.call(ctx, b.device, map[string]any{"type": "publish", "vitals": []any{text}})
		if f == nil || !assert.Len(b.t, f.Results, 1) {
			return nil
		}
		if r := f.Results[0]; r.Error == nil || r.Error.Retry != "later" {
			return &r
		}
		if pause(ctx, 50*time.Millisecond) != nil {
			return nil
		}
	}
}
