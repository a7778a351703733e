package hl7v2

import (
	"cmp"
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// Watching is what a Reporter follows; a *carewire.Hub is one.
type Watching interface {
	Watch(context.Context, carewire.WatchOptions) iter.Seq2[carewire.Event, error]
}

// Reporter tells an alarm manager of alerts by ORU^R40 (IHE PCD-04): of each
// that it watches, every phase, in order. While the manager is away it keeps the
// newest state of each alert, and afterwards tells that, what is most urgent
// first; an alert that came and went meanwhile is told nobody.
type Reporter struct {
	Client *Client // required
	Writer Writer

	// Told is called when the manager has taken a message (err nil), and when it
	// refuses one, which is then not sent again. May be nil.
	Told func(a *carewire.Alert, phase Phase, err error)
	// Logger gets no health data. Nil: slog.Default().
	Logger *slog.Logger
}

// Follow tells of the alerts of what o names until ctx ends or the Hub is shut
// down, and returns why. Of what was open before, the manager is told by the
// phase continue. Where o.Since says up to where an earlier Follow had come,
// alerts that have ended since then are told too.
func (r *Reporter) Follow(ctx context.Context, hub Watching, o carewire.WatchOptions) error {
	if r.Client == nil {
		return errors.New("hl7v2: a Client is required")
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	q := &reports{entries: make(map[string]*report), woken: make(chan struct{}, 1)}
	done := make(chan struct{})
	go func() { defer close(done); r.send(ctx, q) }()
	defer func() { cancel(nil); <-done }()
	o.Delivery = carewire.DeliverAlerts
	snapshot := make(map[string]bool) // of whom what comes was there before
	for e, err := range hub.Watch(ctx, o) {
		if err != nil {
			return err
		}
		switch e.Type {
		case carewire.EventSync:
			snapshot[e.Patient] = !e.Recovered
		case carewire.EventSynced:
			delete(snapshot, e.Patient)
		case carewire.EventAlert:
			q.put(e.Alert, snapshot[e.Patient])
		}
	}
	return context.Cause(ctx)
}

// reports are the alerts that are known, and what is to be told of them.
type reports struct {
	mu      sync.Mutex
	entries map[string]*report
	woken   chan struct{}
	count   uint64 // of what there was to tell, so that the oldest is known
}

// report is what is known of one alert.
type report struct {
	told   *carewire.Alert // what the manager was told last; nil: nothing
	next   *carewire.Alert // what it is to be told; nil: nothing
	before bool            // it was there when the watch began
	since  uint64          // its place in the order of what there is to tell
}

// put notes a new state.
func (q *reports) put(a *carewire.Alert, before bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	key := a.Patient + "\x00" + a.Key
	if a.Test {
		key += "\x00test"
	}
	e := q.entries[key]
	if e == nil {
		e = &report{before: before}
		q.entries[key] = e
	}
	newest := e.next
	if newest == nil {
		newest = e.told
	}
	if newest != nil && newest.ID == a.ID && newest.Rev == a.Rev {
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
	select {
	case q.woken <- struct{}{}:
	default:
	}
}

// take returns what is most urgent to tell, and its phase; nil if there is nothing.
func (q *reports) take() (key string, e *report, a *carewire.Alert, phase Phase) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for k, c := range q.entries {
		if c.next == nil {
			continue
		}
		if e == nil || cmp.Or(cmp.Compare(rank[c.next.Priority], rank[e.next.Priority]), cmp.Compare(e.since, c.since)) > 0 {
			key, e = k, c
		}
	}
	if e == nil {
		return "", nil, nil, ""
	}
	a, phase = e.next, PhaseOf(e.told, e.next)
	if e.told == nil && e.before && phase == PhaseStart {
		phase = PhaseContinue
	}
	return key, e, a, phase
}

// done notes that a has been told.
func (q *reports) done(key string, e *report, a *carewire.Alert) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if e.next == a {
		e.next = nil
	}
	e.told = a
	if !a.Open() && e.next == nil {
		delete(q.entries, key)
	}
}

// send tells the manager until ctx ends.
func (r *Reporter) send(ctx context.Context, q *reports) {
	log := r.Logger
	if log == nil {
		log = slog.Default()
	}
	for {
		key, e, a, phase := q.take()
		if e == nil {
			select {
			case <-q.woken:
				continue
			case <-ctx.Done():
				return
			}
		}
		_, err := r.Client.Send(ctx, r.Writer.Message(phase, a, time.Now()))
		if errors.Is(err, ErrNoAck) {
			return // ctx has ended
		}
		if err != nil {
			log.Error("hl7v2: the alarm manager refuses an alert", "error", err)
		}
		q.done(key, e, a)
		if r.Told != nil {
			r.Told(a, phase, err)
		}
	}
}
