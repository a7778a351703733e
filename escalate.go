package carewire

import (
	"context"
	"strconv"
	"sync"
	"time"
)

// Policy says whom to tell of an alert at a step, which counts from 1; false
// means that there is no such step. It is asked when the step is due, so that
// shifts and on-call duty hold. It must be safe for concurrent use; it is
// given Options.CallTimeout and may panic without harm: whoever the alert is
// addressed to or was told last is told instead, and the step is asked for again
// after 5 s, then more and more seldom, down to once a minute.
type Policy func(ctx context.Context, a Alert, step int) (Step, bool)

// Step is one step of a Policy. When nobody has accepted After (0: 60 s) it
// was told, the next one is due.
type Step struct {
	To    []string // person:ID, group:ID, role:NAME
	After time.Duration
}

// Pager tells people beyond carewire: by SMS, pager or push. An error means
// that nobody was reached; a Page may come again with the same Key. It must be
// safe for concurrent use; it is given Options.CallTimeout and may panic
// without harm.
type Pager interface {
	Page(ctx context.Context, p Page) error
}

// Page is one message that a Pager is to bring to one recipient.
type Page struct {
	Key   string // names alert, level and recipient: the same Key is the same Page
	To    string // person:ID, group:ID or role:NAME
	Level int    // counts the alert's escalations
	Alert Alert
}

const (
	claimFor   = 10 * time.Second // a level that was claimed and not told by then is taken up again
	pollEvery  = time.Second
	atOnce     = 32 // entries worked on at the same time
	waitingMax = 1000
)

// escalate looks every second, and when something is raised, for what is due;
// while the Store fails, in what this node knows, too.
func (h *Hub) escalate() {
	every := time.NewTicker(pollEvery)
	defer every.Stop()
	stored, known := newWorkers(h), newWorkers(h)
	for {
		select {
		case <-every.C:
			if state, _ := h.store.state(); state == storeFailing || h.unrecorded.blind.Load() {
				known.round(func() ([]Entry, error) { return h.overdue(), nil }, h.happenBlind)
			} else {
				h.unrecorded.forget()
			}
		case <-h.index.due:
		case <-h.quit:
			return
		}
		stored.round(func() ([]Entry, error) {
			due, err := h.store.Waiting(h.ctx, h.now(), waitingMax)
			h.unrecorded.blind.Store(err != nil)
			return due, err
		}, h.happen)
	}
}

// workers do what is due, each entry once at a time.
type workers struct {
	hub    *Hub
	places chan struct{}

	mu    sync.Mutex
	asked bool // a round is under way
	again bool // and another one is to follow
	busy  map[openKey]bool
}

func newWorkers(h *Hub) *workers {
	return &workers{hub: h, places: make(chan struct{}, atOnce), busy: make(map[openKey]bool)}
}

// round asks what is due and has it done. It does not wait: if the Store hangs,
// so does the round, and nothing else.
func (w *workers) round(due func() ([]Entry, error), do func(context.Context, *Entry)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.again = w.asked; w.asked {
		return
	}
	w.asked = true
	w.hub.start(func() {
		for more := true; more; {
			list, err := due()
			if err == nil {
				w.start(list, do)
			}
			w.mu.Lock()
			more = w.again && err == nil
			w.asked, w.again = more, false
			w.mu.Unlock()
		}
	})
}

// start has entries done, as many at the same time as there are places.
func (w *workers) start(list []Entry, do func(context.Context, *Entry)) {
	for i := range list {
		e := &list[i]
		k := openKey{e.Patient, e.Key}
		w.mu.Lock()
		skip := w.busy[k]
		w.busy[k] = true
		w.mu.Unlock()
		if skip {
			continue
		}
		select {
		case w.places <- struct{}{}:
		case <-w.hub.quit:
			return
		}
		w.hub.start(func() {
			defer func() {
				w.mu.Lock()
				delete(w.busy, k)
				w.mu.Unlock()
				<-w.places
			}()
			do(w.hub.ctx, e)
		})
	}
}

// happen does what is due for an entry.
func (h *Hub) happen(ctx context.Context, e *Entry) {
	switch e.Kind {
	case KindAlert:
		a, err := decodeAlert(e)
		if err != nil {
			h.unreadable(ctx, e, "a stored alert cannot be read", "A stored alert cannot be read, and nobody is told of it.")
			return
		}
		h.happenAlert(ctx, a)
	case KindTimer:
		h.happenTimer(ctx, e)
	case KindAccess:
		if ev, err := e.event(); err == nil && ev.Access.Kind == "emergency" {
			h.endEmergency(ctx, e.Patient, ev.Access.Principal, e.Rev) // it may have been prolonged
			return
		}
		c := *e
		c.Rev, c.Open, c.Due, c.Received = e.Rev+1, false, time.Time{}, h.now()
		c.ID = ""
		h.append(ctx, c, true)
	}
}

// happenAlert ends an acceptance that has run out, and tells the level that is due.
func (h *Hub) happenAlert(ctx context.Context, a *Alert) {
	c := change{patient: a.Patient, key: a.Key, test: a.Test}
	expired, err := h.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		return expire(prev, now)
	}))
	if err != nil || expired.Responsibility.State == ResponsibilityAccepted {
		return
	}
	c.quiet = true
	claimed := false
	mine, err := h.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		next, ok := claim(prev, now, now.Add(claimFor))
		claimed = ok
		return h.untold(next), ok
	}))
	if err != nil || !claimed || !mine.Open() || mine.ID != a.ID { // it may have ended before a second try to claim it
		return
	}
	w := h.step(ctx, &mine)
	w.paged = h.page(ctx, &mine, w.to)
	c.quiet = false
	level := mine.Escalation.Level
	// Before the level is recorded: a node that dies in between, or cannot write
	// the complaint, leaves it to be taken up again, complaint included. If that
	// fails for long, the telling goes on, and later levels complain.
	switch {
	case w.exhausted:
		err = h.complainOnce(ctx, mine.Ref(), "policy-exhausted", "An alert has gone through all steps of the policy and nobody has accepted it.")
	case len(w.to) == 0:
		err = h.complainOnce(ctx, mine.Ref(), "no-recipient", "There is nobody to be told of an alert.")
	}
	if err != nil && h.now().Before(mine.Escalation.began.Add(claimFor)) {
		return
	}
	h.audit.recordHost(Record{Event: AuditEscalation, Patient: mine.Patient, Key: mine.Key, ID: mine.ID, Level: level, To: w.to, Test: mine.Test}, nil)
	now, err := h.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		x := prev.Escalation
		if x.State != EscalationClaimed || x.Level != level {
			return *prev, false
		}
		return told(prev, w, h.receipt.of(prev)), true
	}))
	if err == nil {
		h.relieve(&now) // it may have been accepted while the complaint was written
	}
}

// unlessEnded applies f to the occurrence with the given ID while it is open.
func unlessEnded(id string, f func(*Alert, time.Time) (Alert, bool)) func(*Alert, time.Time) (Alert, error) {
	return func(prev *Alert, now time.Time) (Alert, error) {
		if prev == nil {
			return Alert{}, ErrForbidden
		}
		if prev.ID != id || !prev.Open() {
			return *prev, errUnchanged
		}
		next, ok := f(prev, now)
		if !ok {
			return *prev, errUnchanged
		}
		return next, nil
	}
}

// step says whom the claimed level of a is to be told, and for how long to wait then.
func (h *Hub) step(ctx context.Context, a *Alert) telling {
	x := &a.Escalation
	if x.assigned != "" {
		return telling{to: []string{x.assigned}, after: repeatEvery}
	}
	ask := func(step int) (Step, bool, error) {
		if h.opt.Policy == nil || step < 1 {
			return Step{}, false, nil
		}
		type answer struct {
			Step
			ok bool
		}
		s, err := callHost(ctx, h.calls.policy, func(ctx context.Context) (answer, error) {
			s, ok := h.opt.Policy(ctx, *a, step)
			return answer{s, ok}, nil
		})
		if s.After <= 0 {
			s.After = repeatEvery
		}
		return s.Step, s.ok && len(s.To) > 0 && checkTo(s.To, 64) == nil, err
	}
	s, ok, err := ask(x.Step)
	if ok {
		return telling{to: s.To, after: s.After}
	}
	if err == nil && x.Step > 1 {
		if s, ok, err = ask(x.Step - 1); ok {
			return telling{to: s.To, after: s.After, exhausted: true, last: true}
		}
	}
	w := telling{to: a.To, after: repeatEvery, last: true, failed: err != nil}
	if len(x.told) > 0 {
		w.to = x.told
	}
	return w
}

// page has everybody told who is to be, and reports whether anybody was reached.
func (h *Hub) page(ctx context.Context, a *Alert, to []string) bool {
	if a.Test {
		to = h.opt.TestRecipients
	}
	if h.opt.Pager == nil || len(to) == 0 {
		return false
	}
	results := make(chan error, len(to))
	for _, t := range to {
		p := Page{Key: a.ID + "/" + strconv.Itoa(a.Escalation.Level) + "/" + t, To: t, Level: a.Escalation.Level, Alert: *a}
		go func() {
			_, err := callHost(ctx, h.calls.notify, func(ctx context.Context) (struct{}, error) {
				return struct{}{}, h.opt.Pager.Page(ctx, p)
			})
			h.audit.recordHost(Record{Event: AuditPage, Patient: a.Patient, Key: a.Key, ID: a.ID, Level: p.Level, To: []string{t}, Test: a.Test}, err)
			results <- err
		}()
	}
	reached := false
	for range to {
		if err := <-results; err == nil {
			reached = true
		} else {
			h.log.Warn("carewire: a page could not be sent")
		}
	}
	return reached
}
