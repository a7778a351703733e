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

// carryOut raises and clears what is owed, in order. What the Store hinders
// stays owed, and is tried again each second.
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
		return j.hub.Clear(ctx, carewire.AlertRef{Patient: t.Alert.Patient, Key: t.Alert.Key, ID: t.Alert.ID})
	}
	return j.hub.Raise(ctx, t.Alert)
}

// hindered reports whether what has failed may succeed later.
func hindered(err error) bool {
	for _, e := range []error{carewire.ErrUnavailable, carewire.ErrUnknownOutcome, carewire.ErrBusy, carewire.ErrFull, carewire.ErrClosed,
		context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, e) {
			return true
		}
	}
	return false
}

// AuditSettings is the AuditEvent of a change of one rule for one patient: Key is
// the rule, Who has changed it, Until and Reason as the Settings say.
const AuditSettings carewire.AuditEvent = "rule_settings"

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
	if b.c.started {
		j.audit(ctx, b.patient, b.c.settings, s)
	}
	b.c.started = true
	b.c.Apply(s)
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

// audit records what has changed between two Settings.
func (j *Judge) audit(ctx context.Context, patient string, old, now Settings) {
	for i := range j.set.rules {
		key := j.set.rules[i].Key
		r := carewire.Record{Time: j.hub.Now(), Event: AuditSettings, Outcome: carewire.OutcomeDone, Asserted: true, Patient: patient, Key: key}
		limit, off, scale := now.Limits[key], now.Off[key], now.Scales[key]
		switch {
		case !limit.equal(old.Limits[key]):
			r.Who.ID, r.Reason = limit.By, limit.Reason
		case off != old.Off[key]:
			r.Who.ID, r.Reason, r.Until = off.By, off.Reason, off.Until
		case scale != old.Scales[key]:
			r.Who.ID = scale.By
		case slices.Contains(now.On, key) != slices.Contains(old.On, key):
		default:
			continue
		}
		if r.Who.ID == "" {
			r.Who.ID = host
		}
		if err := j.opt.Auditor.Record(ctx, r); err != nil {
			j.log.Error("rules: a change of Settings could not be recorded", "error", err)
		}
	}
}

// equal reports whether two limits are the same.
func (s LimitSetting) equal(o LimitSetting) bool {
	same := func(a, b *float64) bool { return a == nil && b == nil || a != nil && b != nil && *a == *b }
	return same(s.At, o.At) && same(s.Margin, o.Margin) && same(s.Severe, o.Severe) && s.By == o.By && s.Reason == o.Reason
}
