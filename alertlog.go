package carewire

import (
	"context"
	"errors"
	"slices"
	"time"
)

// errUnchanged says that nothing is to be appended.
var errUnchanged = errors.New("carewire: unchanged")

// A change is something that happens to one alert.
type change struct {
	patient, key string
	alertID      string // the occurrence meant, if it matters
	test         bool
	sender, id   string
	sum          [16]byte
	quiet        bool
	afresh       bool // an alert that cannot be read counts as none
	answer       bool // it is a person's
}

// alertLog changes alerts: each change is a new revision in the patient's log.
type alertLog struct {
	logs     *logs
	due      func(*Entry, *Alert) // called with a revision that is due at once; nil: nobody is told
	withdraw func(Alert)          // called when nobody needs to be told any more: the alert was accepted, or has ended; nil: pages cannot be withdrawn
}

// change applies f to the newest state of an alert (nil if there is none) and
// appends the result. After a lost race it runs again with the new state. A
// repeated event is answered as the first time.
func (l *alertLog) change(ctx context.Context, c change, f func(*Alert, time.Time) (Alert, error)) (Alert, error) {
	var prev *Alert
	var next Alert
	var refused error // by f
	e, r, err := l.logs.revise(ctx, c.quiet, func() (Entry, error) { return l.read(ctx, c) }, func(old *Entry, now time.Time) (e Entry, err error) {
		prev = nil
		if old.Rev > 0 {
			if prev, err = decodeAlert(old); err != nil && !c.afresh {
				return Entry{}, err
			} else if err != nil {
				prev = nil
			}
		}
		if next, refused = f(prev, now); refused != nil {
			return Entry{}, refused
		}
		e = alertEntry(&next, now)
		e.Sender, e.ID, e.Sum = c.sender, c.id, c.sum
		e.Urgent = c.answer || next.Priority == PriorityHigh
		return e, nil
	})
	switch {
	case refused != nil:
		return l.refuse(ctx, c, prev, refused)
	case err != nil:
		return Alert{}, err
	case r.Repeated:
		return l.readAt(ctx, c.patient, r.Position)
	}
	if l.due != nil && !e.Due.IsZero() && !e.Due.After(e.Received) {
		l.due(&e, &next)
	}
	if prev != nil && prev.waitsForPerson() && !next.waitsForPerson() && l.withdraw != nil {
		l.withdraw(next)
	}
	return next, nil
}

// refuse answers a change that the alert's present state does not allow: as the
// first time if it was made before.
func (l *alertLog) refuse(ctx context.Context, c change, prev *Alert, why error) (Alert, error) {
	if c.afresh && why == ErrEnded { // the ID opened an occurrence that is over
		return Alert{}, &alertError{why, prev}
	}
	if at, repeated, err := l.repeated(ctx, c); err != nil {
		return Alert{}, err
	} else if repeated {
		return l.readAt(ctx, c.patient, at)
	}
	switch {
	case why == errUnchanged:
		return *prev, nil
	case prev != nil && why != ErrForbidden && why != ErrUndecided:
		why = &alertError{why, prev}
	}
	return Alert{}, why
}

// repeated reports whether the event was taken in before.
func (l *alertLog) repeated(ctx context.Context, c change) (at Position, yes bool, err error) {
	if c.id == "" {
		return Position{}, false, nil
	}
	now := l.logs.now()
	return l.logs.known(ctx, Entry{Patient: c.patient, Kind: KindAlert, Key: alertKey(c.key, c.test), Audience: AudienceNamed,
		Sender: c.sender, ID: c.id, Sum: c.sum, Time: now, Received: now, Data: []byte("{}")})
}

// endCondition ends the condition of an alert that the Hub has raised.
func (l *alertLog) endCondition(ctx context.Context, patient, key string, test bool) error {
	c := change{patient: patient, key: key, test: test, sender: hostSender}
	_, err := l.change(ctx, c, func(prev *Alert, now time.Time) (Alert, error) {
		if prev == nil || !prev.Open() || prev.Condition == ConditionOver {
			return Alert{}, ErrForbidden
		}
		return withdrawAssertion(prev, hostSender, now), nil
	})
	return err
}

// read reads the newest state of the alert that c is about.
func (l *alertLog) read(ctx context.Context, c change) (Entry, error) {
	e, err := l.logs.newest(ctx, c.patient, alertKey(c.key, c.test))
	if err != nil || c.test || c.alertID == "" {
		return e, err
	}
	if a, _ := decodeAlert(&e); a.ID == c.alertID {
		return e, nil
	}
	if t, err := l.logs.newest(ctx, c.patient, alertKey(c.key, true)); err == nil { // it may be a test alert that is meant
		if a, _ := decodeAlert(&t); a.ID == c.alertID {
			return t, nil
		}
	}
	return e, nil
}

// newest returns the newest state of the alert that c is about; nil if there is none.
func (l *alertLog) newest(ctx context.Context, c change) (*Alert, error) {
	e, err := l.read(ctx, c)
	if err != nil || e.Rev == 0 {
		return nil, err
	}
	return decodeAlert(&e)
}

func (l *alertLog) readAt(ctx context.Context, patient string, p Position) (Alert, error) {
	e, err := l.logs.readAt(ctx, patient, p, KindAlert)
	if err != nil {
		return Alert{}, err
	}
	a, err := decodeAlert(&e)
	return *a, err
}

func alertKey(key string, test bool) string {
	if test {
		return "a/" + key + "!test"
	}
	return "a/" + key
}

func decodeAlert(e *Entry) (*Alert, error) {
	a := new(Alert)
	if len(e.Data) == 0 {
		return a, errStored
	}
	if a.UnmarshalJSON(e.Data) != nil {
		return a, errStored
	}
	return a, nil
}

var errStored = errors.New("carewire: a stored event cannot be read")

// alertEntry makes the entry of a revision of a. It is addressed to a.To, to
// the people told in this occurrence, and to the next addressee.
func alertEntry(a *Alert, now time.Time) Entry {
	var e encoder
	a.encode(&e)
	to := slices.Clone(a.To)
	for _, list := range [][]string{{a.Escalation.assigned}, a.Escalation.addressed, a.Escalation.recipients} {
		for _, t := range list {
			if t != "" && !slices.Contains(to, t) {
				to = append(to, t)
			}
		}
	}
	return Entry{Patient: a.Patient, Kind: KindAlert, Key: alertKey(a.Key, a.Test), Open: a.Open(), Due: a.due(),
		Audience: a.Audience, To: to, Time: now, Received: now, Data: e.b}
}
