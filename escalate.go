package carewire

import (
	"context"
	"log/slog"
	"math"
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

// An escalator does what is due: it tells people of alerts, level by level, and
// passes timers and grants that end on to their owners. While the Store fails
// it goes by what this node knows.
type escalator struct {
	*background
	logs       *logs
	alerts     *alertLog
	open       *openIndex
	receipts   *receipts
	complaints *complaints
	policy     Policy // nil: none
	pager      Pager  // nil: nobody is told beyond carewire
	calls      hostCalls
	testTo     []string // who is paged for test alerts
	record     func(Record, error)
	log        *slog.Logger
	act        map[Kind]func(context.Context, *Entry) // what is done with entries other than alerts

	unrecorded unrecorded
}

// run looks every second, and when something is raised, for what is due.
func (x *escalator) run() {
	every := time.NewTicker(pollEvery)
	defer every.Stop()
	stored, known := newWorkers(x.background), newWorkers(x.background)
	for {
		select {
		case <-every.C:
			if state, _ := x.logs.store.state(); state == storeFailing || x.unrecorded.blind.Load() {
				known.round(func() ([]Entry, error) { return x.overdue(), nil }, x.tellBlind)
			} else {
				x.unrecorded.forget()
			}
		case <-x.open.due:
		case <-x.quit:
			return
		}
		stored.round(func() ([]Entry, error) {
			due, err := x.logs.store.Waiting(x.ctx, x.logs.now(), waitingMax)
			x.unrecorded.blind.Store(err != nil)
			return due, err
		}, x.do)
	}
}

// workers do what is due, each entry once at a time.
type workers struct {
	*background
	places chan struct{}

	mu    sync.Mutex
	asked bool // a round is under way
	again bool // and another one is to follow
	busy  map[openKey]bool
}

func newWorkers(b *background) *workers {
	return &workers{background: b, places: make(chan struct{}, atOnce), busy: make(map[openKey]bool)}
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
	w.start(func() {
		for more := true; more; {
			list, err := due()
			if err == nil {
				w.begin(list, do)
			}
			w.mu.Lock()
			more = w.again && err == nil
			w.asked, w.again = more, false
			w.mu.Unlock()
		}
	})
}

// begin has entries done, as many at the same time as there are places.
func (w *workers) begin(list []Entry, do func(context.Context, *Entry)) {
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
		case <-w.quit:
			return
		}
		w.start(func() {
			defer func() {
				w.mu.Lock()
				delete(w.busy, k)
				w.mu.Unlock()
				<-w.places
			}()
			do(w.ctx, e)
		})
	}
}

// do does what is due for an entry.
func (x *escalator) do(ctx context.Context, e *Entry) {
	if e.Kind != KindAlert {
		if act := x.act[e.Kind]; act != nil {
			act(ctx, e)
		}
		return
	}
	a, err := decodeAlert(e)
	if err != nil {
		x.complaints.unreadable(ctx, e, "a stored alert cannot be read", "A stored alert cannot be read, and nobody is told of it.")
		return
	}
	x.tell(ctx, a)
}

// tell ends an acceptance that has run out, and tells the level that is due.
func (x *escalator) tell(ctx context.Context, a *Alert) {
	c := change{patient: a.Patient, key: a.Key, test: a.Test}
	expired, err := x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		return expire(prev, now)
	}))
	if err != nil || expired.Responsibility.State == ResponsibilityAccepted {
		return
	}
	c.quiet = true
	claimed := false
	mine, err := x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		next, ok := claim(prev, now, now.Add(claimFor))
		claimed = ok
		return x.untold(next), ok
	}))
	if err != nil || !claimed || !mine.Open() || mine.ID != a.ID { // it may have ended before a second try to claim it
		return
	}
	w := x.step(ctx, &mine)
	w.paged = x.pageAll(ctx, &mine, w.to)
	c.quiet = false
	level := mine.Escalation.Level
	// Before the level is recorded: a node that dies in between, or cannot write
	// the complaint, leaves it to be taken up again, complaint included. If that
	// fails for long, the telling goes on, and later levels complain.
	switch {
	case w.exhausted:
		err = x.complaints.complainOnce(ctx, mine.Ref(), "policy-exhausted", "An alert has gone through all steps of the policy and nobody has accepted it.")
	case len(w.to) == 0:
		err = x.complaints.complainOnce(ctx, mine.Ref(), "no-recipient", "There is nobody to be told of an alert.")
	}
	if err != nil && x.logs.now().Before(mine.Escalation.began.Add(claimFor)) {
		return
	}
	x.record(Record{Event: AuditEscalation, Patient: mine.Patient, Key: mine.Key, ID: mine.ID, Level: level, To: w.to, Test: mine.Test}, nil)
	now, err := x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		if prev.Escalation.State != EscalationClaimed || prev.Escalation.Level != level {
			return *prev, false
		}
		return told(prev, w, x.receipts.of(prev)), true
	}))
	if err == nil {
		x.complaints.relieve(&now) // it may have been accepted while the complaint was written
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
func (x *escalator) step(ctx context.Context, a *Alert) telling {
	at := &a.Escalation
	if at.assigned != "" {
		return telling{to: []string{at.assigned}, after: repeatEvery}
	}
	s, ok, err := x.ask(ctx, a, at.Step)
	if ok {
		return telling{to: s.To, after: s.After}
	}
	if err == nil && at.Step > 1 {
		if s, ok, err = x.ask(ctx, a, at.Step-1); ok {
			return telling{to: s.To, after: s.After, exhausted: true, last: true}
		}
	}
	w := telling{to: a.To, after: repeatEvery, last: true, failed: err != nil}
	if len(at.told) > 0 {
		w.to = at.told
	}
	return w
}

// ask asks the policy for one step.
func (x *escalator) ask(ctx context.Context, a *Alert, step int) (Step, bool, error) {
	if x.policy == nil || step < 1 {
		return Step{}, false, nil
	}
	type answer struct {
		Step
		ok bool
	}
	s, err := callHost(ctx, x.calls.policy, func(ctx context.Context) (answer, error) {
		s, ok := x.policy(ctx, *a, step)
		return answer{s, ok}, nil
	})
	if s.After <= 0 {
		s.After = repeatEvery
	}
	return s.Step, s.ok && len(s.To) > 0 && checkTo(s.To, 64) == nil, err
}

// untold stops the escalation of a test alert that nobody is to be paged for.
func (x *escalator) untold(a Alert) Alert {
	if a.Test && len(x.testTo) == 0 {
		a.stop()
	}
	return a
}

// pageAll has everybody told who is to be, and reports whether anybody was reached.
func (x *escalator) pageAll(ctx context.Context, a *Alert, to []string) bool {
	if a.Test {
		to = x.testTo
	}
	if x.pager == nil || len(to) == 0 {
		return false
	}
	results := make(chan error, len(to))
	for _, t := range to {
		p := Page{Key: a.ID + "/" + strconv.Itoa(a.Escalation.Level) + "/" + t, To: t, Level: a.Escalation.Level, Alert: *a}
		go func() {
			_, err := callHost(ctx, x.calls.page, func(ctx context.Context) (struct{}, error) { return struct{}{}, x.pager.Page(ctx, p) })
			x.record(Record{Event: AuditPage, Patient: a.Patient, Key: a.Key, ID: a.ID, Level: p.Level, To: []string{t}, Test: a.Test}, err)
			results <- err
		}()
	}
	reached := false
	for range to {
		if err := <-results; err == nil {
			reached = true
		} else {
			x.log.Warn("carewire: a page could not be sent")
		}
	}
	return reached
}

// bringForward makes what was put off until a time of a clock that has been
// set back due as much earlier: by how far in the future it was written, or was
// begun to be told. It reports whether there may be more: what it has found may
// not be written.
func (x *escalator) bringForward(ctx context.Context) (more bool) {
	now := x.logs.now()
	waiting, err := x.logs.store.Waiting(ctx, now.AddDate(100, 0, 0), math.MaxInt32)
	if err != nil {
		return true
	}
	places := make(chan struct{}, atOnce)
	for i := range waiting {
		e := waiting[i]
		by := e.Received.Sub(now)
		if a, err := decodeAlert(&e); e.Kind == KindAlert && err == nil { // it may have been raised again since
			by = max(by, a.Escalation.began.Sub(now))
		}
		if by <= stall {
			continue
		}
		more = true
		places <- struct{}{}
		x.start(func() {
			defer func() { <-places }()
			switch e.Kind {
			case KindAlert:
				if a, err := decodeAlert(&e); err == nil {
					c := change{patient: a.Patient, key: a.Key, test: a.Test, quiet: true}
					x.alerts.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, _ time.Time) (Alert, bool) {
						return earlier(prev, by), prev.due().Equal(e.Due)
					}))
				}
			case KindTimer:
				x.do(ctx, &e)
			}
		})
	}
	return more
}
