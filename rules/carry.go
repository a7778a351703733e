package rules

import (
	"context"
	"errors"
	"time"

	"github.com/carewire/carewire"
)

// callTimeout bounds each call of the Hub, and of Options.Settings.
const callTimeout = 5 * time.Second

// carryOut has the owed alerts raised and cleared, in order, beside the judging. If the
// Store fails, they stay owed, and are retried each second.
func (b *bed) carryOut() {
	if !b.carrying && b.mayCarry() {
		b.carrying = true
		b.row.wards.Go(b.carry)
	}
}

func (b *bed) mayCarry() bool {
	return len(b.c.owed) > 0 && b.row.judge.onDuty() && !b.ended.Load() && !time.Now().Before(b.late)
}

func (b *bed) carry() {
	r, j := b.row, b.row.judge
	r.mu.Lock()
	defer r.mu.Unlock()
	for b.mayCarry() {
		c, t := b.c, b.c.owed[0]
		r.mu.Unlock()
		a, err := j.do(r.ctx, &t)
		r.mu.Lock()
		if hindered(err) {
			b.late = time.Now().Add(time.Second)
			j.stats.failed.Add(1)
			break
		}
		if err != nil && !errors.Is(err, carewire.ErrIDReused) && !errors.Is(err, carewire.ErrEnded) && !errors.Is(err, carewire.ErrNotFound) {
			j.log.Error("rules: an alert was refused", "rule", t.Rule, "error", err)
		}
		if err == nil && t.Kind != Published {
			c.confirm(&t, &a)
		}
		c.settle(&t)
	}
	b.carrying = false
}

// settle forgets what was owed, unless the log has shown it meanwhile.
func (c *Case) settle(t *Transition) {
	if len(c.owed) > 0 && c.owed[0].number == t.number {
		c.owed = c.owed[1:]
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
