package carewire

import (
	"context"
	"errors"
	"slices"
	"time"
)

// Discharge ends the pending state of a patient who leaves. It closes open
// alerts and notices, drops the deadlines of devices, and ends running
// break-glass grants and watches. Vitals measured until now are no longer among
// the newest vitals and do not count in Options.MaxKeys. The log stays. An
// access event "discharged" in it shows the time.
//
// The Authorizer and the Directory decide about later access to the patient.
// Call MembersChanged for the patient's former groups. Later events are
// accepted as before: the patient may come back.
//
// This node has done all of it when Discharge returns; other nodes follow
// within a second. An error tells which part failed, and Discharge may be
// called again. The errors are a *ValidationError and those of the Store.
func (h *Hub) Discharge(ctx context.Context, patient string) error {
	if !validID(patient) {
		return invalid("patient", "must be an ID")
	}
	err := h.discharge(ctx, patient)
	h.audit.recordHost(Record{Event: AuditDischarge, Patient: patient}, err)
	return err
}

const dischargeKey = "x/discharge"

func (h *Hub) discharge(ctx context.Context, patient string) error {
	var c AccessChange
	c.Kind = "discharged"
	var data encoder
	c.encode(&data)
	e, _, err := h.logs.revise(ctx, false, func() (Entry, error) { return h.logs.newest(ctx, patient, dischargeKey) }, func(_ *Entry, now time.Time) (Entry, error) {
		return Entry{Patient: patient, Kind: KindAccess, Key: dischargeKey, Open: true, Audience: AudienceAll, Sender: hostSender, Time: now, Data: data.b}, nil
	})
	if err != nil {
		return err
	}
	open, _, err := h.store.Latest(ctx, patient)
	if err != nil {
		return unavailable(err)
	}
	var errs []error
	for i := range open {
		if x := &open[i]; x.Open && x.Key != dischargeKey {
			errs = append(errs, h.endOpen(ctx, x))
		}
	}
	errs = append(errs, h.silences.drop(ctx, patient))
	h.changes.endWatches(&e)
	errs = append(errs, h.signals.forget(ctx, patient))
	return errors.Join(errs...)
}

// endOpen ends an open entry of a patient who is discharged.
func (h *Hub) endOpen(ctx context.Context, e *Entry) error {
	switch e.Kind {
	case KindAlert:
		a, err := decodeAlert(e)
		if err != nil {
			return err
		}
		_, err = h.alerts.change(ctx, change{patient: a.Patient, key: a.Key, test: a.Test, sender: hostSender}, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
			return dischargeAlert(prev, now), true
		}))
		return err
	case KindAccess:
		if ev, err := e.event(); err == nil && ev.Access.Kind == "emergency" {
			return h.access.emergencies.end(ctx, e.Patient, ev.Access.Principal, 0)
		} else if err == nil && ev.Access.Kind == "pause" {
			return h.pauses.end(ctx, e.Patient, "", 0)
		}
	}
	return h.closeEntry(ctx, *e)
}

// closeEntry writes that an entry is open no more, for nobody to see.
func (h *Hub) closeEntry(ctx context.Context, e Entry) error {
	e.Rev, e.Open, e.Due, e.ID, e.Received = e.Rev+1, false, time.Time{}, "", h.now()
	_, err := h.append(ctx, e, true)
	if errors.Is(err, ErrConflict) { // it was closed meanwhile
		return nil
	}
	return err
}

// endWatches ends the watches of a patient that began before the discharge.
func (x *accessChanges) endWatches(e *Entry) {
	x.access.generations.nextOfAll()
	for _, c := range x.registry.list() {
		before := ticksAfter(c.hub.ticks(), e.Received.Sub(x.logs.now()))
		c.mu.Lock()
		w := c.watches[e.Patient]
		old := w != nil && w.began <= before
		c.mu.Unlock()
		if old {
			c.revokePatients(map[string]bool{e.Patient: true})
		}
	}
}

// drop ends the deadlines of a patient's devices.
func (s *silences) drop(ctx context.Context, patient string) error {
	now := s.clock.now()
	waiting, err := s.logs.store.waitingOf(ctx, s.logs.store.memberOf(patient), now.AddDate(100, 0, 0), 1<<30)
	if err != nil {
		return unavailable(err)
	}
	var errs []error
	for _, e := range waiting {
		if e.Kind != KindTimer || e.Patient != patient {
			continue
		}
		s.forget(openKey{patient, e.Key})
		e.Rev, e.Open, e.Due, e.ID, e.Received = e.Rev+1, false, time.Time{}, "", now
		if _, err := s.logs.append(ctx, e, true); err != nil && !errors.Is(err, ErrConflict) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// sinceDischarge leaves out of the newest entries of a patient the vitals from
// before the last discharge.
func sinceDischarge(entries []Entry) []Entry {
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Kind == KindAccess && e.Key == dischargeKey && e.Open })
	if i < 0 {
		return entries
	}
	at := entries[i].Seq
	return slices.DeleteFunc(entries, func(e Entry) bool { return e.Kind == KindVital && e.Seq < at })
}
