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

// prolongBy is by how much an emergency is prolonged at least: less is not written.
const prolongBy = 10 * time.Second

// emergencies are the break-glass grants that are running, by principal and
// patient. They stand in the patients' logs, where every node finds them.
type emergencies struct {
	logs   *logs
	record func(Record, error)

	mu          sync.Mutex
	byPrincipal map[string]map[string]emergency
}

type emergency struct {
	AccessChange
	rev  uint64
	from time.Time // when it began, or was prolonged last
}

func newEmergencies(l *logs, record func(Record, error)) *emergencies {
	return &emergencies{logs: l, record: record, byPrincipal: make(map[string]map[string]emergency)}
}

// noteRevision takes a revision of an emergency in, unless a newer one is known.
func (x *emergencies) noteRevision(e *Entry, c *AccessChange) {
	x.mu.Lock()
	defer x.mu.Unlock()
	of := x.byPrincipal[c.Principal]
	if of[e.Patient].rev > e.Rev {
		return
	}
	if !e.Open {
		if delete(of, e.Patient); len(of) == 0 {
			delete(x.byPrincipal, c.Principal)
		}
		return
	}
	if of == nil {
		of = make(map[string]emergency)
		x.byPrincipal[c.Principal] = of
	}
	of[e.Patient] = emergency{*c, e.Rev, e.Time}
}

// running returns a principal's running emergencies, by patient.
func (x *emergencies) running(principal string, now time.Time) map[string]emergency {
	x.mu.Lock()
	defer x.mu.Unlock()
	if len(x.byPrincipal[principal]) == 0 {
		return nil
	}
	running := maps.Clone(x.byPrincipal[principal])
	maps.DeleteFunc(running, func(_ string, e emergency) bool { return !e.Until.After(now) })
	return running
}

func emergencyKey(principal string) string {
	return "x/emergency/" + hexOf(digest([]byte(principal)))
}

// begin writes into a patient's log that an emergency begins, or goes on
// until later. It is open until it ends.
func (x *emergencies) begin(ctx context.Context, p *Principal, patient, reason string, until time.Time) error {
	c := &AccessChange{Kind: "emergency", Principal: p.ID, Reason: reason, Until: until.UTC().Truncate(time.Millisecond)}
	if e, runs := x.running(p.ID, x.logs.now())[patient]; runs && e.Reason == reason && c.Until.Sub(e.Until).Abs() < prolongBy {
		return nil // to say so again would fill the log
	}
	return x.set(ctx, patient, c, func(*Entry) bool { return true })
}

// end writes into a patient's log that an emergency has ended, if it is
// still of the given revision; 0: of any.
func (x *emergencies) end(ctx context.Context, patient, principal string, rev uint64) error {
	c := &AccessChange{Kind: "emergency_ended", Principal: principal, Until: x.logs.now()}
	was := false
	err := x.set(ctx, patient, c, func(old *Entry) bool {
		was = old.Open && (rev == 0 || rev == old.Rev)
		return was
	})
	if was || err != nil {
		x.record(Record{Event: AuditEmergencyEnded, Patient: patient, About: principal}, err)
	}
	return err
}

// set appends the next state of an emergency if apply, which gets the last one,
// returns true.
func (x *emergencies) set(ctx context.Context, patient string, c *AccessChange, apply func(old *Entry) bool) error {
	key := emergencyKey(c.Principal)
	var data encoder
	c.encode(&data)
	e, _, err := x.logs.revise(ctx, false, func() (Entry, error) { return x.logs.newest(ctx, patient, key) }, func(old *Entry, now time.Time) (Entry, error) {
		if !apply(old) {
			return Entry{}, errUnchanged
		}
		e := Entry{Patient: patient, Kind: KindAccess, Key: key, Audience: AudienceStaff, Sender: hostSender, Time: now, Data: data.b}
		if c.Kind == "emergency" {
			e.Open, e.Due = true, c.Until
		}
		return e, nil
	})
	switch err {
	case nil:
		x.noteRevision(&e, c)
	case errUnchanged:
		return nil
	}
	return err
}

// endAll ends the principal's running emergencies, but those that r spares.
func (x *emergencies) endAll(ctx context.Context, r Revocation) error {
	var errs []error
	for p, e := range x.running(r.Principal, x.logs.now()) {
		if (len(r.Patients) == 0 || slices.Contains(r.Patients, p)) && !r.spares(e.from) {
			errs = append(errs, x.end(ctx, p, r.Principal, 0))
		}
	}
	return errors.Join(errs...)
}
