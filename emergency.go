package carewire

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"time"
)

// emergencyFor is how long an emergency lasts if the Authorizer does not say.
const emergencyFor = time.Hour

// emergencies are the break-glass grants that are running, by principal and
// patient. They stand in the patients' logs, where every node finds them.
type emergencies struct {
	mu sync.Mutex
	by map[string]map[string]emergency
}

type emergency struct {
	AccessChange
	rev uint64
}

func (x *emergencies) init() { x.by = make(map[string]map[string]emergency) }

// note takes a revision of an emergency in, unless a newer one is known.
func (x *emergencies) note(e *Entry, c *AccessChange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	of := x.by[c.Principal]
	if of[e.Patient].rev > e.Rev {
		return
	}
	if !e.Open {
		if delete(of, e.Patient); len(of) == 0 {
			delete(x.by, c.Principal)
		}
		return
	}
	if of == nil {
		of = make(map[string]emergency)
		x.by[c.Principal] = of
	}
	of[e.Patient] = emergency{*c, e.Rev}
}

// of returns a principal's running emergencies, by patient.
func (x *emergencies) of(principal string, now time.Time) map[string]emergency {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.by[principal]) == 0 {
		return nil
	}
	running := maps.Clone(x.by[principal])
	maps.DeleteFunc(running, func(_ string, e emergency) bool { return !e.Until.After(now) })
	return running
}

// askEmergency asks again for what the Authorizer has refused, with the reason
// that the request gives or that of an emergency that is running.
func (h *Hub) askEmergency(ctx context.Context, a Access, rights map[string]right) {
	now := h.now()
	running := h.emergencies.of(a.Principal.ID, now)
	if !a.Emergency && len(running) == 0 {
		return
	}
	fresh := a
	fresh.Patients = nil
	for _, p := range a.Patients {
		e, runs := running[p]
		switch {
		case rights[p].err != ErrForbidden:
		case a.Emergency:
			fresh.Patients = append(fresh.Patients, p)
		case runs:
			again := a
			again.Emergency, again.Reason, again.Patients = true, e.Reason, []string{p}
			h.ask(ctx, again, rights)
			if r := rights[p]; r.err == nil && (r.until.IsZero() || r.until.After(e.Until)) {
				rights[p] = right{until: e.Until} // asking again does not prolong it
			}
		}
	}
	if len(fresh.Patients) == 0 {
		return
	}
	h.ask(ctx, fresh, rights)
	for _, p := range fresh.Patients {
		if r := rights[p]; r.err == nil {
			r.emergency = true
			if r.until.IsZero() {
				r.until = now.Add(emergencyFor)
			}
			rights[p] = r
		}
	}
}

func emergencyKey(principal string) string {
	return "x/emergency/" + hexOf(digest([]byte(principal)))
}

// breakGlass writes into a patient's log that an emergency begins, or goes on
// until later. It is open until it ends.
func (h *Hub) breakGlass(ctx context.Context, p *Principal, patient, reason string, until time.Time) error {
	c := &AccessChange{Kind: "emergency", Principal: p.ID, Reason: reason, Until: until.UTC().Truncate(time.Millisecond)}
	return h.setEmergency(ctx, patient, c, func(*Entry) bool { return true })
}

// endEmergency writes into a patient's log that an emergency has ended, if it is
// still of the given revision; 0: of any.
func (h *Hub) endEmergency(ctx context.Context, patient, principal string, rev uint64) error {
	c := &AccessChange{Kind: "emergency_ended", Principal: principal, Until: h.now()}
	was := false
	err := h.setEmergency(ctx, patient, c, func(old *Entry) bool {
		was = old.Open && (rev == 0 || rev == old.Rev)
		return was
	})
	if was || err != nil {
		h.audit.recordHost(Record{Event: AuditEmergencyEnded, Patient: patient, About: principal}, err)
	}
	return err
}

// setEmergency appends the next state of an emergency if apply, which is given
// the last one, says so.
func (h *Hub) setEmergency(ctx context.Context, patient string, c *AccessChange, apply func(old *Entry) bool) error {
	key := emergencyKey(c.Principal)
	var data encoder
	c.encode(&data)
	e, _, err := h.logs.revise(ctx, false, func() (Entry, error) { return h.logs.newest(ctx, patient, key) }, func(old *Entry, now time.Time) (Entry, error) {
		if !apply(old) {
			return Entry{}, errUnchanged
		}
		e := Entry{Patient: patient, Kind: KindAccess, Key: key, Audience: AudienceStaff, Sender: host, Time: now, Data: data.b}
		if c.Kind == "emergency" {
			e.Open, e.Due = true, c.Until
		}
		return e, nil
	})
	switch err {
	case nil:
		h.emergencies.note(&e, c)
	case errUnchanged:
		return nil
	}
	return err
}

// endAccess ends an access entry whose time has come.
func (h *Hub) endAccess(ctx context.Context, e *Entry) {
	if ev, err := e.event(); err == nil && ev.Access.Kind == "emergency" {
		h.endEmergency(ctx, e.Patient, ev.Access.Principal, e.Rev) // it may have been prolonged
		return
	}
	c := *e
	c.Rev, c.Open, c.Due, c.Received = e.Rev+1, false, time.Time{}, h.now()
	c.ID = ""
	h.append(ctx, c, true)
}

// endEmergencies ends a principal's running emergencies of patients (none: of all).
func (h *Hub) endEmergencies(ctx context.Context, principal string, patients []string) error {
	var errs []error
	for p := range h.emergencies.of(principal, h.now()) {
		if len(patients) == 0 || slices.Contains(patients, p) {
			errs = append(errs, h.endEmergency(ctx, p, principal, 0))
		}
	}
	return errors.Join(errs...)
}
