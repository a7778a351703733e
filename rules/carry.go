package rules

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// callTimeout bounds each call of the Hub, and of Options.Settings.
const callTimeout = 5 * time.Second

// An errand carries out what a patient's Case owes: the alerts in one, the vitals of
// scores in the other, so that no vital holds up an alert.
type errand struct {
	vitals bool
	going  bool
	late   time.Time // it is retried then
}

// carryOut has the owed alerts raised and cleared, in order, and scores published, beside
// the judging. If the Store fails, they stay owed, and are retried each second.
func (b *bed) carryOut() {
	for i := range b.errands {
		if x := &b.errands[i]; !x.going && b.mayCarry(x) && b.c.next(x.vitals) != nil {
			x.going = true
			b.row.wards.Go(func() { b.carry(x) })
		}
	}
}

func (b *bed) mayCarry(x *errand) bool {
	return len(b.c.owed) > 0 && b.row.judge.onDuty() && !b.ended.Load() && !time.Now().Before(x.late)
}

func (b *bed) carry(x *errand) {
	r, j := b.row, b.row.judge
	r.mu.Lock()
	defer r.mu.Unlock()
	defer func() { x.going = false }()
	for b.mayCarry(x) {
		c := b.c
		next := c.next(x.vitals)
		if next == nil {
			return
		}
		t := *next
		r.mu.Unlock()
		a, err := j.do(r.ctx, &t)
		r.mu.Lock()
		if hindered(err) {
			x.late = time.Now().Add(time.Second)
			j.stats.failed.Add(1)
			return
		}
		crowded := t.Kind != Published && isCrowded(err)
		if err != nil && !errors.Is(err, carewire.ErrIDReused) && !errors.Is(err, carewire.ErrEnded) && !errors.Is(err, carewire.ErrNotFound) &&
			(!crowded || t.again.IsZero()) { // it is said once
			j.log.Error("rules: an alert was refused", "rule", t.Rule, "error", err)
		}
		if crowded {
			j.stats.failed.Add(1)
			c.putOff(&t)
			continue
		}
		if err == nil && t.Kind != Published {
			c.confirm(&t, &a)
		}
		c.settle(&t)
	}
}

// next returns what is to be carried out next: the first vitals, or the first alert of
// which no earlier change is owed.
func (c *Case) next(vitals bool) *Transition {
	if !vitals {
		c.dropRefused()
	}
	now := time.Now()
	for k := range c.owed {
		if t := &c.owed[k]; (t.Kind == Published) == vitals && !now.Before(t.again) && (vitals || c.owes(t.index) == k) {
			return t
		}
	}
	return nil
}

// putOff has a raise that was refused for lack of room tried again in a second, beside
// what else is owed.
func (c *Case) putOff(t *Transition) {
	if k := c.placeOf(t); k >= 0 {
		c.owed[k].again = time.Now().Add(time.Second)
	}
}

// dropRefused forgets raises that were refused for lack of room, where a later change of
// the alert is owed. A clear of an alert that was never raised does nothing.
func (c *Case) dropRefused() {
	c.owed = slices.DeleteFunc(c.owed, func(t Transition) bool {
		return !t.again.IsZero() && slices.ContainsFunc(c.owed, func(l Transition) bool { return l.index == t.index && l.Kind != Published && l.number > t.number })
	})
}

// placeOf is where t is owed; -1: the log has shown it meanwhile.
func (c *Case) placeOf(t *Transition) int {
	return slices.IndexFunc(c.owed, func(o Transition) bool { return o.number == t.number })
}

// settle forgets what was owed, unless the log has shown it meanwhile.
func (c *Case) settle(t *Transition) {
	if k := c.placeOf(t); k >= 0 {
		c.owed = slices.Delete(c.owed, k, k+1)
	}
	if len(c.owed) == 0 {
		c.owed = nil
	}
}

// owe notes that t is to be carried out.
func (c *Case) owe(t Transition) {
	c.numbers++
	t.number = c.numbers
	c.owed = append(c.owed, t)
}

// do carries out a transition.
func (j *Judge) do(ctx context.Context, t *Transition) (carewire.Alert, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	switch t.Kind {
	case Published:
		_, err := j.hub.Publish(ctx, t.Vitals...)
		return carewire.Alert{}, err
	case Cleared:
		return j.hub.ClearOnce(ctx, carewire.AlertRef{Patient: t.Alert.Patient, Key: t.Alert.Key, ID: t.Alert.ID}, t.event)
	}
	a, err := j.hub.Raise(ctx, t.Alert)
	var refused *carewire.ValidationError
	if errors.As(err, &refused) && len(t.Alert.Source.Inputs) > 0 { // better an alert that explains less than none
		j.log.Error("rules: an alert is raised without its source, which was refused", "rule", t.Rule, "error", err)
		t.Alert.Source = carewire.Source{Rule: t.Alert.Source.Rule}
		return j.hub.Raise(ctx, t.Alert)
	}
	return a, err
}

// hindered reports whether a failed transition may succeed later.
func hindered(err error) bool {
	for _, e := range []error{carewire.ErrUnavailable, carewire.ErrUnknownOutcome, carewire.ErrBusy, carewire.ErrFull, carewire.ErrClosed,
		context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// isCrowded reports whether a raise was refused because too many alerts are open.
func isCrowded(err error) bool {
	var refused *carewire.RequestError
	return errors.As(err, &refused) && refused.Code == carewire.CodeLimit
}

// renew applies the patient's new Settings. If they are the first ones, because the host
// could not give them before, all is judged anew with them.
func (b *bed) renew() {
	r := b.row
	s, ok := b.ask()
	r.mu.Lock()
	var changes []settingsChange
	first, join := ok && b.c.unset, b.joins
	switch {
	case first:
		b.settings = &s
	case ok:
		changes = b.c.renew(s)
		b.carryOut()
	}
	r.mu.Unlock()
	if first {
		b.judgeAnew(join)
	}
	ctx, cancel := context.WithTimeout(r.ctx, callTimeout)
	defer cancel()
	for _, x := range changes {
		r.judge.audit(ctx, b.patient, &x)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	b.asking, b.settings = false, nil
	if b.c.unset {
		b.unset.Store(true)
	}
}

// judgeAnew makes the Case from the log, while the one without Settings goes on.
func (b *bed) judgeAnew(join int) {
	ctx, cancel := context.WithTimeout(b.row.ctx, callTimeout)
	defer cancel()
	snapshot, head, err := b.row.judge.hub.Latest(ctx, b.patient)
	if err == nil {
		_, err = b.read(join, snapshot, head.Position, readAll)
	}
	if err != nil {
		b.row.judge.log.Warn("rules: a patient's log could not be read", "error", err)
	}
}

// ask asks for the patient's Settings. If that fails, it is to be done again.
func (b *bed) ask() (s Settings, ok bool) {
	j := b.row.judge
	if j.opt.Settings == nil {
		return s, false
	}
	ctx, cancel := context.WithTimeout(b.row.ctx, callTimeout)
	defer cancel()
	s, err := j.settings(ctx, b.patient)
	if err != nil {
		b.unset.Store(true)
		j.log.Warn("rules: a patient's Settings could not be had", "error", err)
		return s, false
	}
	for key, why := range j.set.unheeded(&s) {
		j.log.Warn("rules: a part of a patient's Settings has no effect", "rule", key, "because", why)
	}
	return s, true
}

// to calls the host's code, which may panic: the alerts are then nobody's in particular.
func (j *Judge) to(patient string) (list []string) {
	defer func() {
		if recover() != nil {
			j.log.Warn("rules: Options.To has panicked")
		}
	}()
	if j.opt.To == nil {
		return nil
	}
	return j.opt.To(patient)
}

// settings calls the host's code, which may panic.
func (j *Judge) settings(ctx context.Context, patient string) (s Settings, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("rules: Options.Settings has panicked")
		}
	}()
	return j.opt.Settings(ctx, patient)
}
