package hl7v2

import (
	"cmp"
	"maps"
	"slices"
	"sync"

	"github.com/carewire/carewire"
)

// reports are the known alerts, and the messages that are to be sent of them.
type reports struct {
	mu      sync.Mutex
	entries map[string]*report
	pages   map[string][]*asked // by the alert's name
	woken   chan struct{}
	count   uint64 // numbers the reports, to find the oldest
}

// report is the state of one alert.
type report struct {
	told   *carewire.Alert // the last state sent to the manager; nil: none
	next   *carewire.Alert // the state to send; nil: none
	before bool            // it was there when the watch began
	since  uint64          // its place in the order of reports
}

// asked is a page that waits for the manager to be told.
type asked struct {
	key   string // the page's
	alert string // the ID of the alert's occurrence
	done  chan error
}

func pageKey(p *asked) string {
	if p == nil {
		return ""
	}
	return p.key
}

// newest is the newest state that is known.
func (e *report) newest() *carewire.Alert {
	if e.next != nil {
		return e.next
	}
	return e.told
}

func nameOf(a *carewire.Alert) string {
	name := a.Patient + "\x00" + a.Key
	if a.Test {
		name += "\x00test"
	}
	return name
}

func (r *Reporter) reports() *reports {
	r.once.Do(func() {
		r.queue = &reports{entries: make(map[string]*report), pages: make(map[string][]*asked), woken: make(chan struct{}, 1)}
	})
	return r.queue
}

// drop forgets a patient's alerts.
func (q *reports) drop(patient string) {
	q.mu.Lock()
	defer q.mu.Unlock()
	maps.DeleteFunc(q.entries, func(_ string, e *report) bool { return e.newest().Patient == patient })
}

// ask notes a page of an alert.
func (q *reports) ask(name string, p *asked) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.pages[name] = append(q.pages[name], p)
	if e := q.entries[name]; e != nil && e.next == nil {
		q.count++
		e.since = q.count
	}
	q.wake()
}

// forget takes a page back that nobody waits for any more.
func (q *reports) forget(name string, p *asked) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.pages[name] = slices.DeleteFunc(q.pages[name], func(o *asked) bool { return o == p }); len(q.pages[name]) == 0 {
		delete(q.pages, name)
	}
}

// page is the first page that waits for the manager to be told of a; nil if none does.
func (q *reports) page(name string, a *carewire.Alert) *asked {
	for _, p := range q.pages[name] {
		if p.alert == a.ID {
			return p
		}
	}
	return nil
}

func (q *reports) wake() {
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// put notes a new state.
func (q *reports) put(a *carewire.Alert, before bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := nameOf(a)
	e := q.entries[key]
	if e == nil {
		e = &report{before: before}
		q.entries[key] = e
	}
	if newest := e.newest(); newest != nil && newest.ID == a.ID && newest.Rev == a.Rev {
		return // only the escalation has changed
	}
	if e.told != nil && e.told.ID != a.ID {
		if e.told.Open() {
			// The occurrence before must be told to have ended, and nobody has said so.
			gone := *e.told
			gone.Ended = a.Raised
			q.entries[key+"\x00"+gone.ID] = &report{told: e.told, next: &gone, since: q.count}
		}
		e.told, e.before = nil, false
	}
	if e.told == nil && !a.Open() && (before || e.next != nil) {
		delete(q.entries, key)
		return
	}
	c := *a
	if e.next == nil {
		q.count++
		e.since = q.count
	}
	e.next = &c
	q.wake()
}

// take returns the most urgent alert to tell, its phase, and the page that asks
// for it, if one does; nil if there is nothing.
func (q *reports) take() (key string, e *report, a *carewire.Alert, phase Phase, page *asked) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for k, c := range q.entries {
		s := c.newest()
		if c.next == nil && q.page(k, s) == nil {
			continue
		}
		if e == nil || cmp.Or(cmp.Compare(rank[s.Priority], rank[a.Priority]), cmp.Compare(e.since, c.since)) > 0 {
			key, e, a = k, c, s
		}
	}
	if e == nil {
		return "", nil, nil, "", nil
	}
	phase = PhaseOf(e.told, a)
	if e.told == nil && e.before && phase == PhaseStart {
		phase = PhaseContinue
	}
	return key, e, a, phase, q.page(key, a)
}

// done notes that a has been told, or refused, which is no more to be told.
func (q *reports) done(key string, e *report, a *carewire.Alert, page *asked, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if page != nil {
		page.done <- err
		page.alert = "" // it waits no longer
	}
	if e.next == a {
		e.next = nil
	}
	e.told = a
	if !a.Open() && e.next == nil && q.entries[key] == e {
		delete(q.entries, key)
	}
}
