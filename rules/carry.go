package rules

import (
	"context"
	"errors"
	"time"

	"github.com/carewire/carewire"
)

// callTimeout bounds each call of the Hub, and of Options.Settings.
const callTimeout = 5 * time.Second

// carryOut raises and clears the owed alerts, in order. If the Store fails,
// they stay owed, and are retried each second.
func (b *bed) carryOut() {
	j := b.row.judge
	for len(b.c.owed) > 0 {
		if !j.onDuty() || b.ended.Load() || time.Now().Before(b.late) {
			return
		}
		t := &b.c.owed[0]
		a, err := j.do(b.row.ctx, t)
		if hindered(err) {
			b.late = time.Now().Add(time.Second)
			j.stats.failed.Add(1)
			return
		}
		if err != nil && !errors.Is(err, carewire.ErrIDReused) && !errors.Is(err, carewire.ErrEnded) && !errors.Is(err, carewire.ErrNotFound) {
			j.log.Error("rules: an alert was refused", "rule", t.Rule, "error", err)
		}
		if err == nil && t.Kind != Published {
			b.c.confirm(t, &a)
		}
		b.c.owed = b.c.owed[1:]
	}
	b.c.owed = nil
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

// set asks for the patient's Settings, and applies them.
func (b *bed) set() {
	j := b.row.judge
	if j.opt.Settings == nil {
		return
	}
	ctx, cancel := context.WithTimeout(b.row.ctx, callTimeout)
	defer cancel()
	s, err := j.settings(ctx, b.patient)
	if err != nil {
		b.unset.Store(true)
		j.log.Warn("rules: a patient's Settings could not be had", "error", err)
		return
	}
	for _, x := range b.c.renew(s) {
		j.audit(ctx, b.patient, &x)
	}
	for key, why := range j.set.unheeded(&s) {
		j.log.Warn("rules: a part of a patient's Settings has no effect", "rule", key, "because", why)
	}
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
