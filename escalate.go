package carewire

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Policy says whom to tell of an alert at a step, which counts from 1; false
// means that there is no such step. It is asked when the step is due, so that
// shifts and on-call duty hold. It must be safe for concurrent use; it is
// given Options.CallTimeout and may panic without harm.
type Policy func(ctx context.Context, a Alert, step int) (Step, bool)

// Step is one step of a Policy. When nobody has accepted After (0: 60 s) it
// was told, the next one is due.
type Step struct {
	To    []string // person:ID, group:ID, role:NAME
	After time.Duration
}

// Notifier tells people beyond carewire: by SMS, pager or push. An error means
// that nobody was reached; a Page may come again with the same Key. It must be
// safe for concurrent use; it is given Options.CallTimeout and may panic
// without harm.
type Notifier interface {
	Notify(ctx context.Context, p Page) error
}

// Page is one message that a Notifier is to bring to one recipient.
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

// escalate looks every second, and when something is raised, for what is due.
func (h *Hub) escalate() {
	every := time.NewTicker(pollEvery)
	defer every.Stop()
	places := make(chan struct{}, atOnce)
	var mu sync.Mutex
	busy := make(map[openKey]bool)
	for {
		select {
		case <-every.C:
		case <-h.index.due:
		case <-h.quit:
			return
		}
		due, err := h.store.Waiting(h.ctx, h.now(), waitingMax)
		if err != nil {
			due = h.overdue()
		}
		for i := range due {
			e := due[i]
			k := openKey{e.Patient, e.Key}
			mu.Lock()
			skip := busy[k]
			busy[k] = true
			mu.Unlock()
			if skip {
				continue
			}
			select {
			case places <- struct{}{}:
			case <-h.quit:
				return
			}
			h.wg.Go(func() {
				defer func() {
					mu.Lock()
					delete(busy, k)
					mu.Unlock()
					<-places
				}()
				h.happen(h.ctx, &e, err != nil)
			})
		}
	}
}

// overdue returns the alerts that this node knows to be due, for when the
// Store cannot be asked: a page that comes twice is better than none. Each is
// paged once a minute so.
func (h *Hub) overdue() []Entry {
	now := h.now()
	return slices.DeleteFunc(h.index.all(), func(e Entry) bool {
		return e.Kind != KindAlert || e.Due.IsZero() || e.Due.After(now) || !h.receipt.blind(e.Patient, e.Key, now)
	})
}

// happen does what is due for an entry.
func (h *Hub) happen(ctx context.Context, e *Entry, blind bool) {
	switch e.Kind {
	case KindAlert:
		a, err := decodeAlert(e)
		switch {
		case err != nil:
			h.log.Error("carewire: a stored alert cannot be read")
		case blind:
			if a.Responsibility.State != Accepted {
				h.page(ctx, a, h.step(ctx, a).to)
			}
		default:
			h.happenAlert(ctx, a)
		}
	case KindTimer:
		h.happenTimer(ctx, e)
	case KindAccess:
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
	if err != nil || expired.Responsibility.State == Accepted {
		return
	}
	c.quiet = true
	claimed := false
	mine, err := h.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		next, ok := claim(prev, now, now.Add(claimFor))
		claimed = ok
		return h.untold(next), ok
	}))
	if err != nil || !claimed {
		return
	}
	w := h.step(ctx, &mine)
	w.paged = h.page(ctx, &mine, w.to)
	c.quiet = false
	level := mine.Escalation.Level
	_, err = h.change(ctx, c, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
		x := prev.Escalation
		if x.State != EscalationClaimed || x.Level != level {
			return *prev, false
		}
		return told(prev, w, h.receipt.of(prev)), true
	}))
	switch {
	case err != nil:
	case w.exhausted && mine.Escalation.repeats == 0:
		h.complain(ctx, mine.Ref(), "policy-exhausted", "An alert has gone through all steps of the policy and nobody has accepted it.")
	case len(w.to) == 0 && level == 1:
		h.complain(ctx, mine.Ref(), "no-recipient", "There is nobody to be told of an alert.")
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
		s, err := callHost(ctx, h, h.calls.policy, func(ctx context.Context) (answer, error) {
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
		if s, ok, _ = ask(x.Step - 1); ok {
			return telling{to: s.To, after: s.After, exhausted: true, last: true}
		}
	}
	if len(x.told) > 0 {
		return telling{to: x.told, after: repeatEvery, last: true}
	}
	return telling{to: a.To, after: repeatEvery, last: true}
}

// page has everybody told who is to be, and reports whether anybody was reached.
func (h *Hub) page(ctx context.Context, a *Alert, to []string) bool {
	if a.Test {
		to = h.opt.TestRecipients
	}
	if h.opt.Notifier == nil || len(to) == 0 {
		return false
	}
	results := make(chan error, len(to))
	for _, t := range to {
		p := Page{Key: a.ID + "/" + strconv.Itoa(a.Escalation.Level) + "/" + t, To: t, Level: a.Escalation.Level, Alert: *a}
		go func() {
			_, err := callHost(ctx, h, h.calls.notify, func(ctx context.Context) (struct{}, error) {
				return struct{}{}, h.opt.Notifier.Notify(ctx, p)
			})
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

// complain raises a technical alert in the system's own log about an alert
// that reaches or moves nobody.
func (h *Hub) complain(ctx context.Context, about AlertRef, rule, text string) {
	if about.Patient == System {
		return // no complaints about complaints
	}
	sum := digest([]byte(about.Patient + "\x00" + about.Key))
	h.raise(ctx, host, Alert{Patient: System, Key: rule + "." + hexOf(sum)[:16], ID: rand.Text(), Kind: KindTechnical, Priority: PriorityHigh,
		Text: text, Source: Source{Rule: rule}})
}

// receivers remembers who sent a receipt for the present level of open alerts,
// and what was paged while the Store could not be asked.
type receivers struct {
	mu     sync.Mutex
	by     map[string][]string // alert ID and level: principals
	order  []string
	blinds map[openKey]time.Time
}

func (r *receivers) init() {
	r.by, r.blinds = make(map[string][]string), make(map[openKey]time.Time)
}

const receiversKept = 10000

func levelKey(a *Alert) string { return a.ID + "/" + strconv.Itoa(a.Escalation.Level) }

func (r *receivers) add(a *Alert, principal string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := levelKey(a)
	if _, ok := r.by[k]; !ok {
		if r.order = append(r.order, k); len(r.order) > receiversKept {
			delete(r.by, r.order[0])
			r.order = r.order[1:]
		}
	}
	if !slices.Contains(r.by[k], principal) {
		r.by[k] = append(r.by[k], principal)
	}
}

func (r *receivers) of(a *Alert) []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.by[levelKey(a)])
}

// blind reports whether an alert may be paged without the Store now, and notes it.
func (r *receivers) blind(patient, key string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	k := openKey{patient, key}
	if last, ok := r.blinds[k]; ok && now.Sub(last) < repeatEvery {
		return false
	}
	if len(r.blinds) > receiversKept {
		clear(r.blinds)
	}
	r.blinds[k] = now
	return true
}

// takeReceipt takes a receipt in. The log keeps the first of each stage per
// alert and level from those told, and the reading of a notice by each addressee.
func (h *Hub) takeReceipt(ctx context.Context, p *Principal, r Receipt) error {
	if err := h.decide(ctx, p, ActionWatch, []string{r.Patient})[r.Patient]; err != nil {
		return err
	}
	now := h.now()
	r.By, r.At = p.person(), now
	if r.NoticeID != "" {
		return h.takeReading(ctx, p, r)
	}
	a, _, err := h.alert(ctx, change{patient: r.Patient, key: r.Key, alertID: r.AlertID})
	switch {
	case err != nil:
		return err
	case a == nil || a.ID != r.AlertID || !p.sees(&Entry{Audience: a.Audience, To: a.To, Patient: a.Patient}) && !p.addressed(a.Escalation.told, a.Patient):
		return ErrForbidden
	}
	r.Level = a.Escalation.Level
	if !p.addressed(a.Escalation.told, a.Patient) && !p.addressed(a.To, a.Patient) {
		return nil
	}
	if err := h.logReceipt(ctx, r, "r/"+r.AlertID+"/"+strconv.Itoa(r.Level)+"/"+string(r.Stage), AudienceStaff, nil); err != nil {
		return err
	}
	if !p.mayAnswer() {
		return nil
	}
	h.receipt.add(a, p.ID)
	if a.Escalation.reached {
		return nil
	}
	_, err = h.change(ctx, change{patient: a.Patient, key: a.Key, test: a.Test}, unlessEnded(a.ID, func(prev *Alert, _ time.Time) (Alert, bool) {
		if prev.Escalation.Level != r.Level {
			return *prev, false
		}
		return reached(prev)
	}))
	return err
}

// takeReading takes in that p has got a notice; when everyone addressed has
// read it, it is open no more.
func (h *Hub) takeReading(ctx context.Context, p *Principal, r Receipt) error {
	e, err := h.store.Get(ctx, r.Patient, "n/"+r.NoticeID)
	if errors.Is(err, ErrNotFound) || err == nil && !p.sees(&e) {
		return ErrForbidden
	}
	if err != nil {
		return unavailable(err)
	}
	if r.Stage != Read || !p.addressed(e.To, e.Patient) {
		return nil
	}
	all := true
	for _, to := range e.To {
		key := "r/" + r.NoticeID + "/" + to
		if p.addressed([]string{to}, e.Patient) {
			if err := h.logReceipt(ctx, r, key, AudienceNamed, append([]string{"person:" + e.Sender}, e.To...)); err != nil {
				return err
			}
			h.index.noteReading(openKey{e.Patient, e.Key}, to)
		} else if _, err := h.store.Get(ctx, r.Patient, key); errors.Is(err, ErrNotFound) {
			all = false
		} else if err != nil {
			return unavailable(err)
		}
	}
	if !all || !e.Open {
		return nil
	}
	var n Notice
	if n.UnmarshalJSON(e.Data) != nil {
		return errStored
	}
	closed := noticeEntry(&n, e.Rev+1)
	closed.Sender, closed.Received = e.Sender, r.At
	if _, err = h.append(ctx, closed, true); errors.Is(err, ErrConflict) {
		return nil // another reader closed it
	}
	return err
}

// logReceipt appends a receipt unless there is one under its key.
func (h *Hub) logReceipt(ctx context.Context, r Receipt, key string, audience Audience, to []string) error {
	var e encoder
	r.encode(&e)
	_, err := h.append(ctx, Entry{Patient: r.Patient, Kind: KindReceipt, Key: key, Rev: 1, Audience: audience, To: to, Sender: r.By.ID,
		Time: r.At, Received: r.At, Data: e.b}, false)
	if errors.Is(err, ErrConflict) {
		return nil
	}
	return err
}

// silences knows which devices are being listened for: their timers are armed.
type silences struct {
	mu    sync.Mutex
	armed map[openKey]time.Time // patient and device: until when this need not be looked at again
}

func (s *silences) init() { s.armed = make(map[openKey]time.Time) }

func (s *silences) forget(k openKey) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.armed, k)
}

// quietAfter is how long a device that sends every so often may be silent.
func quietAfter(every time.Duration) time.Duration { return max(3*every, 10*time.Second) }

func timerKey(device string, test bool) string {
	if test {
		return "t/" + device + "!test"
	}
	return "t/" + device
}

// noData is the key of the alert that a device is silent.
func noData(device string) string {
	key := strings.TrimSuffix("no-data."+device, ".")
	if len(key) > 64 {
		key = "no-data." + hexOf(digest([]byte(device)))
	}
	return key
}

// listen sees to it that the silence of v's device is noticed, and ends the
// alert that says so. The timer is written once; it is put off only when it
// comes due and the device has been heard since.
func (h *Hub) listen(v *Vital, now time.Time) {
	k := openKey{v.Patient, timerKey(v.Device, v.Test)}
	s := &h.silence
	s.mu.Lock()
	until, ok := s.armed[k]
	if ok && now.Before(until) {
		s.mu.Unlock()
		return
	}
	wait := quietAfter(v.Every)
	s.armed[k] = now.Add(wait)
	s.mu.Unlock()
	patient, device, test := v.Patient, v.Device, v.Test
	go func() {
		old, err := h.store.Get(h.ctx, patient, k.key)
		if err != nil && !errors.Is(err, ErrNotFound) {
			s.forget(k)
			return
		}
		if err == nil && old.Open && old.Due.After(now) {
			return
		}
		if err := h.arm(h.ctx, patient, device, test, old.Rev+1, wait, now.Add(wait)); err != nil && !errors.Is(err, ErrConflict) {
			s.forget(k)
		}
		c := change{patient: patient, key: noData(device), test: test, sender: host}
		h.change(h.ctx, c, func(prev *Alert, now time.Time) (Alert, error) {
			if prev == nil || !prev.Open() || prev.Condition == ConditionOver {
				return Alert{}, ErrForbidden
			}
			return over(prev, now), nil
		})
	}()
}

// arm writes the timer by whose Due the device must have been heard.
func (h *Hub) arm(ctx context.Context, patient, device string, test bool, rev uint64, wait time.Duration, due time.Time) error {
	now := h.now()
	var e encoder
	e.b = append(e.b, '{')
	e.str("device", device)
	e.float("wait_s", wait.Seconds())
	e.bool("test", test)
	e.b = append(e.b, '}')
	_, err := h.append(ctx, Entry{Patient: patient, Kind: KindTimer, Key: timerKey(device, test), Rev: rev, Open: !due.IsZero(), Due: due,
		Audience: AudienceNamed, Sender: host, Time: now, Received: now, Data: e.b}, true)
	return err
}

// happenTimer puts a timer off if its device was heard, and else raises the alert.
func (h *Hub) happenTimer(ctx context.Context, e *Entry) {
	var device string
	var wait time.Duration
	var test bool
	s := scanner{b: e.Data, open: true}
	s.object(func(name []byte) bool {
		switch string(name) {
		case "device":
			device = s.str()
		case "wait_s":
			wait = s.seconds()
		case "test":
			test = s.bool()
		default:
			return false
		}
		return true
	})
	latest, _, err := h.store.Latest(ctx, e.Patient)
	if err != nil || s.err != nil {
		return
	}
	var heard time.Time
	for i := range latest {
		if latest[i].Kind != KindVital {
			continue
		}
		if ev, err := latest[i].event(); err == nil && ev.Vital.Device == device && ev.Vital.Test == test && ev.Vital.Received.After(heard) {
			heard = ev.Vital.Received
		}
	}
	// While this Hub did not run it could hear nobody: no device is blamed for that.
	if awake := time.Unix(0, h.awake.Load()).UTC(); heard.Before(awake) {
		heard = awake
	}
	k := openKey{e.Patient, e.Key}
	if due := heard.Add(wait); due.After(h.now()) {
		if h.arm(ctx, e.Patient, device, test, e.Rev+1, wait, due) == nil {
			h.silence.mu.Lock()
			h.silence.armed[k] = due
			h.silence.mu.Unlock()
		}
		return
	}
	_, err = h.raise(ctx, host, Alert{Patient: e.Patient, Key: noData(device), ID: rand.Text(), Kind: KindTechnical, Priority: PriorityMedium, Test: test,
		Text: "No data from a device that should be sending.", Source: Source{Rule: "no-data", Limits: wait.String()}})
	if err == nil {
		h.silence.forget(k)
		h.arm(ctx, e.Patient, device, test, e.Rev+1, wait, time.Time{})
	}
}
