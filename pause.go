package carewire

import (
	"context"
	"sync"
	"time"
)

// A Pause suspends the escalation of one patient's alerts for a short time, as
// during a procedure or a transport (alarm paused, in IEC 60601-1-8).
type Pause struct {
	Patient string        // required
	For     time.Duration // required; at most Options.MaxPause
	Reason  string        // required
	Silence bool          // also alerts about silent devices; false: physiological alerts only
}

// Pause begins a pause or replaces the running one. by needs ActionPause. The
// patient's log gets an access event "pause", which shows all watchers the
// person and the end. A pause ends by itself, or by Unpause.
//
// Meanwhile alerts are accepted, stored and shown. When the pause ends, people
// are told of the alerts whose condition is still present. Unpausable alerts
// are told at once, and so are technical alerts; with p.Silence, alerts about
// silent devices wait as well.
//
// The errors are a *ValidationError, ErrForbidden, ErrUndecided and those of
// the Store.
func (h *Hub) Pause(ctx context.Context, by Principal, p Pause) error {
	if !by.valid() {
		return invalid("principal", "must be usable")
	}
	if err := p.validate(); err != nil {
		return err
	}
	err := h.pause(ctx, &by, p)
	h.audit.recordHost(p.record(&by), err)
	return err
}

// Unpause ends a patient's pause. Any clinician with ActionPause may end it.
// Without a pause it has no effect and returns nil.
func (h *Hub) Unpause(ctx context.Context, by Principal, patient string) error {
	switch {
	case !by.valid():
		return invalid("principal", "must be usable")
	case !validID(patient):
		return invalid("patient", "must be an ID")
	}
	err := h.unpause(ctx, &by, patient)
	h.audit.recordHost(Record{Event: AuditPauseEnded, Who: by.person(), Session: by.Session, Patient: patient}, err)
	return err
}

func (p *Pause) validate() error {
	switch {
	case !validID(p.Patient):
		return invalid("patient", "must be an ID")
	case p.For <= 0 || p.For > 24*time.Hour:
		return invalid("for_s", "required, at most a day")
	case blank(p.Reason) || !validWriting(p.Reason, 1000):
		return invalid("reason", "must be printable text of 1 to 1000 characters")
	}
	return nil
}

func (p *Pause) record(by *Principal) Record {
	return Record{Event: AuditPause, Who: by.person(), Session: by.Session, Patient: p.Patient, Reason: cleanText(p.Reason)}
}

func (h *Hub) pause(ctx context.Context, by *Principal, p Pause) error {
	if err := h.access.decide(ctx, by, ActionPause, []string{p.Patient})[p.Patient]; err != nil {
		return err
	}
	if p.For > h.opt.MaxPause {
		return invalid("for_s", "longer than the host allows")
	}
	return h.pauses.begin(ctx, by.ID, p)
}

func (h *Hub) unpause(ctx context.Context, by *Principal, patient string) error {
	if err := h.access.decide(ctx, by, ActionPause, []string{patient})[patient]; err != nil {
		return err
	}
	return h.pauses.end(ctx, patient, by.ID, 0)
}

// pauses knows the pauses that are running. They stand in the patients' logs,
// where every node finds them.
type pauses struct {
	*core

	mu        sync.Mutex
	byPatient map[string]AccessChange // patient
	revs      map[string]uint64       // the revision of that
}

func newPauses(c *core) *pauses {
	return &pauses{core: c, byPatient: make(map[string]AccessChange), revs: make(map[string]uint64)}
}

const pauseKey = "x/pause"

// note takes a revision of a pause in, unless a newer one is known.
func (x *pauses) note(e *Entry, c *AccessChange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.revs[e.Patient] > e.Rev {
		return
	}
	if e.Open {
		x.byPatient[e.Patient], x.revs[e.Patient] = *c, e.Rev
	} else {
		delete(x.byPatient, e.Patient)
		delete(x.revs, e.Patient)
	}
}

// covers returns the time until which the escalation of a is paused.
func (x *pauses) covers(a *Alert, now time.Time) (until time.Time, yes bool) {
	x.mu.Lock()
	c, ok := x.byPatient[a.Patient]
	x.mu.Unlock()
	silence := a.Kind == AlertTechnical && a.Source.Rule == noDataRule && a.Source.By == hostSender
	if !ok || !c.Until.After(now) || a.Unpausable || a.Kind == AlertAdvisory || a.Kind == AlertTechnical && !(silence && c.Silence) {
		return time.Time{}, false
	}
	return c.Until, true
}

func (x *pauses) begin(ctx context.Context, by string, p Pause) error {
	return x.set(ctx, p.Patient, func(_ *Entry, now time.Time) (*AccessChange, error) {
		return &AccessChange{Kind: "pause", Principal: by, Reason: cleanText(p.Reason), Silence: p.Silence, Until: now.Add(p.For)}, nil
	})
}

// end ends a pause, if it is still of the given revision; 0: of any. Its
// suspended alerts are due now.
func (x *pauses) end(ctx context.Context, patient, by string, rev uint64) error {
	err := x.set(ctx, patient, func(old *Entry, now time.Time) (*AccessChange, error) {
		if !old.Open || rev != 0 && rev != old.Rev {
			return nil, errUnchanged
		}
		return &AccessChange{Kind: "pause_ended", Principal: by, Until: now}, nil
	})
	if err != nil {
		return err
	}
	for _, e := range x.open.entriesOf(patient) {
		a, err := decodeAlert(&e)
		if err != nil || !a.Escalation.held {
			continue
		}
		c := change{patient: patient, key: a.Key, test: a.Test, quiet: true}
		if _, err := x.alerts.change(ctx, c, unlessEnded(a.ID, resumeEscalation)); err != nil {
			return err
		}
	}
	return nil
}

func (x *pauses) set(ctx context.Context, patient string, next func(old *Entry, now time.Time) (*AccessChange, error)) error {
	var c *AccessChange
	e, _, err := x.logs.revise(ctx, false, func() (Entry, error) { return x.logs.newest(ctx, patient, pauseKey) }, func(old *Entry, now time.Time) (e Entry, err error) {
		if c, err = next(old, now); err != nil {
			return Entry{}, err
		}
		var data encoder
		c.encode(&data)
		e = Entry{Patient: patient, Kind: KindAccess, Key: pauseKey, Audience: AudienceAll, Sender: hostSender, Time: now, Data: data.b}
		if c.Kind == "pause" {
			e.Open, e.Due = true, c.Until
		}
		return e, nil
	})
	switch err {
	case nil:
		x.note(&e, c)
	case errUnchanged:
		return nil
	}
	return err
}
