package carewire

import (
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

// accessChanges carries out changes of access: revocations, changed groups, and
// the begin and end of emergencies. It acts on this node's changes and on those
// that other nodes wrote into the log of the system.
type accessChanges struct {
	*core
	access     *accessControl
	registry   *registry
	complaints *complaints
	pauses     *pauses
	clinicians *clinicians
	testTo     []string // Options.TestRecipients
	hosts      bells    // bells of the host's own watches
}

func newAccessChanges(c *core, a *accessControl, r *registry, x *complaints, p *pauses, k *clinicians, testTo []string) *accessChanges {
	return &accessChanges{core: c, access: a, registry: r, complaints: x, pauses: p, clinicians: k, testTo: testTo}
}

// take ends access on every node until r.Until: for older tokens and sessions
// or, if suspended, for all.
func (x *accessChanges) take(ctx context.Context, r Revocation, suspended bool) error {
	if err := r.validate(); err != nil {
		return err
	}
	kind := "revoked"
	if suspended {
		kind = "suspended"
	}
	now := x.logs.now()
	r.Issued = r.Issued.UTC().Truncate(time.Millisecond)
	at := now
	if !r.Issued.IsZero() {
		at = r.Issued
	}
	var err error
	var all []revokedScope
	for _, p := range scopesOf(r.Patients) {
		s := revokedScope{r.Session, p, suspended}
		x.access.revoked.add(r.Principal, s, revoked{until: r.Until, issuedUntil: at}, now)
		all = append(all, s)
	}
	x.carryOut(r.Principal, all, at)
	for _, p := range scopesOf(r.Patients) {
		s := revokedScope{r.Session, p, suspended}
		c := &AccessChange{Kind: kind, Principal: r.Principal, Session: r.Session, Until: r.Until}
		if p != "" {
			c.Patients = []string{p}
		}
		e, failed := x.tellNodes(ctx, c, s.key(r.Principal), func(old *Entry) time.Time {
			if !r.Issued.IsZero() && old.Open && old.Due.After(now) && old.Time.After(at) {
				return old.Time // an older logout takes nothing back
			}
			return at
		})
		if err = errors.Join(err, failed); failed == nil {
			x.access.revoked.set(r.Principal, s, revoked{r.Until, e.Time, e.Rev}, now)
		}
	}
	if r.Session == "" {
		for _, p := range r.Patients {
			err = errors.Join(err, x.showAccess(ctx, p, &AccessChange{Kind: kind, Principal: r.Principal, Until: r.Until}, now))
		}
		err = errors.Join(err, x.access.emergencies.endAll(ctx, r))
	}
	return errors.Join(err, x.loseAlerts(ctx, r))
}

// restore gives back the access that take has ended, here and on every node.
func (x *accessChanges) restore(ctx context.Context, r Revocation) error {
	if err := r.validate(); err != nil {
		return err
	}
	now := x.logs.now()
	var err error
	for _, p := range scopesOf(r.Patients) {
		lifted := false
		for _, suspended := range []bool{false, true} {
			s := revokedScope{r.Session, p, suspended}
			rev, failed := x.lift(ctx, r.Principal, s, now)
			if err = errors.Join(err, failed); failed == nil && rev > 0 {
				x.access.revoked.set(r.Principal, s, revoked{rev: rev}, now)
				x.access.revoked.unseal(s.key(r.Principal))
				lifted = true
			}
		}
		if lifted && p != "" && r.Session == "" {
			err = errors.Join(err, x.showAccess(ctx, p, &AccessChange{Kind: "restored", Principal: r.Principal}, now))
		}
	}
	return err
}

// lift ends the entry of a revocation or suspension; rev is 0 if there is none.
func (x *accessChanges) lift(ctx context.Context, principal string, s revokedScope, now time.Time) (rev uint64, err error) {
	key := s.key(principal)
	e, _, err := x.logs.revise(ctx, false, func() (Entry, error) { return x.logs.newest(ctx, SystemPatient, key) }, func(old *Entry, _ time.Time) (Entry, error) {
		if !old.Open {
			return Entry{}, errUnchanged
		}
		c := &AccessChange{Kind: "restored", Principal: principal, Session: s.session}
		if s.patient != "" {
			c.Patients = []string{s.patient}
		}
		var e encoder
		c.encode(&e)
		return Entry{Patient: SystemPatient, Kind: KindAccess, Key: key, Audience: AudienceStaff, Sender: hostSender, Time: now, Data: e.b}, nil
	})
	if errors.Is(err, errUnchanged) {
		return 0, nil
	}
	return e.Rev, err
}

// showAccess writes an access event into a patient's log, for the team to see.
func (x *accessChanges) showAccess(ctx context.Context, patient string, c *AccessChange, now time.Time) error {
	if patient == SystemPatient {
		return nil // it stands there already
	}
	var e encoder
	c.encode(&e)
	_, err := x.logs.append(ctx, Entry{Patient: patient, Kind: KindAccess, Key: "x/" + c.Kind + "/" + rand.Text(), Rev: 1, Audience: AudienceStaff,
		Sender: hostSender, Time: now, Received: now, Data: e.b}, false)
	return err
}

// carryOut carries out a principal's revocations on this node, as of at.
func (x *accessChanges) carryOut(principal string, all []revokedScope, at time.Time) {
	x.access.generations.next(principal)
	for _, c := range x.registry.of(principal) {
		patients := make(map[string]bool)
		for _, s := range all {
			if s.ends(c.principal(), at) {
				patients[s.patient] = true
			}
		}
		switch {
		case patients[""]:
			c.endForbidden()
		case len(patients) > 0:
			c.revokePatients(patients)
		}
	}
}

// moveAlerts tells the open alerts of patients who were transferred from the first
// step on: another team is responsible for them now.
func (x *accessChanges) moveAlerts(ctx context.Context, patients []string) error {
	var errs []error
	for _, patient := range patients {
		for _, e := range x.open.entriesOf(patient) {
			a, err := decodeAlert(&e)
			if e.Kind != KindAlert || err != nil {
				continue
			}
			_, err = x.alerts.change(ctx, change{patient: a.Patient, key: a.Key, test: a.Test}, unlessEnded(a.ID, func(prev *Alert, now time.Time) (Alert, bool) {
				next, ok := moveAlert(prev, now)
				return muteTest(next, x.testTo), ok
			}))
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// loseAlerts ends the principal's acceptances of alerts, but those that r spares.
func (x *accessChanges) loseAlerts(ctx context.Context, r Revocation) error {
	if r.Session != "" {
		return nil // the person is still there
	}
	var errs []error
	for _, a := range x.open.acceptedBy(r.Principal) {
		if r.Patients != nil && !slices.Contains(r.Patients, a.Patient) || r.spares(a.Responsibility.At) {
			continue
		}
		if _, err := x.alerts.change(ctx, change{patient: a.Patient, key: a.Key, test: a.Test}, func(prev *Alert, now time.Time) (Alert, error) {
			if prev == nil {
				return Alert{}, ErrForbidden
			}
			next, ok := loseAcceptance(prev, r.Principal, now)
			if !ok || r.spares(prev.Responsibility.At) {
				return next, errUnchanged
			}
			return muteTest(next, x.testTo), nil
		}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// run checks periodically whether the holders of accepted alerts may still
// answer for the patients, even if no client watches them.
func (x *accessChanges) run(every time.Duration) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			x.recheckHolders(x.ctx)
		case <-x.quit:
			return
		}
	}
}

// recheckHolders ends the acceptances of persons who may no longer answer. A
// person whom this node has not seen since, and the host does not name, is asked for
// as they were when they accepted.
func (x *accessChanges) recheckHolders(ctx context.Context) {
	for person := range x.open.holders() {
		seen, known := x.clinicians.since(person)
		var lost, now []string // now: patients for whom the person is asked for as they are now
		for _, a := range x.open.acceptedBy(person) {
			switch as := a.acceptedAs(); {
			case known && (as == nil || !seen.Add(time.Minute).Before(a.Responsibility.At)): // seen in the minute before it, or since
				now = append(now, a.Patient)
			case as != nil:
				lost = append(lost, x.mayNotAnswer(ctx, as, []string{a.Patient})...)
			}
		}
		if len(now) > 0 {
			if p, err := x.clinicians.find(ctx, person); err == nil { // else it is undecided
				lost = append(lost, x.mayNotAnswer(ctx, &p, now)...)
			}
		}
		if len(lost) > 0 {
			slices.Sort(lost)
			lost = slices.Compact(lost)
			x.retryUntilDone(ctx, loseKey(person, lost), func(ctx context.Context) error {
				return x.loseAlerts(ctx, Revocation{Principal: person, Patients: lost})
			})
		}
	}
}

// mayNotAnswer returns those of the patients for whom p may not answer.
func (x *accessChanges) mayNotAnswer(ctx context.Context, p *Principal, patients []string) []string {
	rights := x.access.decide(ctx, p, ActionAnswer, patients)
	return slices.DeleteFunc(patients, func(patient string) bool { return p.mayAnswer() && !errors.Is(rights[patient], ErrForbidden) })
}

// loseKey names the losing of a principal's alerts, to be tried again.
func loseKey(principal string, patients []string) string {
	return "lose/" + principal + "/" + strings.Join(patients, "/")
}

// disown releases an alert whose accepter's access ended meanwhile, on this or
// another node: the node that ended the access did not know of the acceptance.
func (x *accessChanges) disown(e *Entry) {
	if e.Kind != KindAlert || !e.Open || !x.access.revoked.any() {
		return
	}
	a, err := decodeAlert(e)
	if err != nil || a.Responsibility.State != ResponsibilityAccepted {
		return
	}
	r := Revocation{Principal: a.Responsibility.By.ID, Patients: []string{e.Patient}}
	if x.access.revoked.covers(&Principal{ID: r.Principal, Issued: a.Responsibility.At}, e.Patient, x.logs.now()) {
		x.startRetrying(loseKey(r.Principal, r.Patients), func(ctx context.Context) error { return x.loseAlerts(ctx, r) })
	}
}

// tellNodes writes an access entry into the system's log, where every node sees
// it. Its Time is the result of at, which gets the last one.
func (x *accessChanges) tellNodes(ctx context.Context, c *AccessChange, key string, at func(old *Entry) time.Time) (Entry, error) {
	e, _, err := x.logs.revise(ctx, false, func() (Entry, error) { return x.logs.newest(ctx, SystemPatient, key) }, func(old *Entry, _ time.Time) (Entry, error) {
		var e encoder
		c.encode(&e)
		return Entry{Patient: SystemPatient, Kind: KindAccess, Key: key, Open: true, Due: c.Until, Audience: AudienceStaff, Sender: hostSender, Time: at(old), Data: e.b,
			Urgent: c.Kind == "revoked" || c.Kind == "suspended"}, nil
	})
	return e, err
}

// scopesOf lists patients one by one; "" stands for everything.
func scopesOf(patients []string) []string {
	if len(patients) == 0 {
		return []string{""}
	}
	return patients
}

// regroup asks the Directory again and updates the watches of the group.
func (x *accessChanges) regroup(ctx context.Context, group string) error {
	x.access.groups.forget(group)
	_, err := x.access.groups.members(ctx, group)
	if err != nil {
		return err
	}
	x.access.generations.nextOfAll()
	x.hosts.ring()
	var wg sync.WaitGroup
	for _, c := range x.registry.list() {
		if x.access.authorizer != nil || slices.Contains(c.principal().Groups, group) {
			wg.Go(func() { c.recheck(ctx) })
		}
	}
	wg.Wait()
	return nil
}

// apply carries out an access entry, once for each revision.
func (x *accessChanges) apply(e *Entry) {
	ev, err := e.event()
	if err != nil || ev.Access == nil {
		x.applyUnreadable(e)
		return
	}
	switch c := ev.Access; c.Kind {
	case "emergency", "emergency_ended":
		x.access.emergencies.noteRevision(e, c)
	case "revoked", "suspended", "restored":
		x.applyRevoked(e, c)
	case "pause", "pause_ended":
		x.pauses.note(e, c)
	case "discharged":
		x.endWatches(e)
	case "members":
		if e.Open && e.Sender == hostSender {
			x.start(func() { x.regroup(x.ctx, c.Group) })
		}
	}
}

// applyRevoked carries out a revocation or a suspension, or that it has ended.
func (x *accessChanges) applyRevoked(e *Entry, c *AccessChange) {
	if e.Patient != SystemPatient {
		return // it is only shown there
	}
	now := x.logs.now()
	for _, p := range scopesOf(c.Patients) {
		s := revokedScope{c.Session, p, strings.HasPrefix(e.Key, suspendedKey)}
		v := revoked{rev: e.Rev}
		if e.Open {
			v.until, v.issuedUntil = c.Until, e.Time
		}
		if x.access.revoked.set(c.Principal, s, v, now) && e.Open {
			x.carryOut(c.Principal, []revokedScope{s}, e.Time)
		}
	}
}

// applyUnreadable is for an access entry that the Store has damaged. A grant is
// not given then, and groups are asked for anyway. A revocation counts by its
// key, which contains no name, but can be compared with any.
func (x *accessChanges) applyUnreadable(e *Entry) {
	if !strings.HasPrefix(e.Key, revokedKey) && !strings.HasPrefix(e.Key, suspendedKey) || !e.Open || e.Patient != SystemPatient {
		return
	}
	x.log.Error("carewire: a stored revocation cannot be read; its key alone takes effect")
	about := AlertRef{Key: e.Key}
	x.startRetrying("unreadable/"+e.Key, func(ctx context.Context) error {
		return x.complaints.complain(ctx, about, "unreadable", "A stored revocation cannot be read. It counts all the same. Give it again, and look after the store.")
	})
	x.access.revoked.addSealed(e.Key, e.Due, x.logs.now())
	x.access.generations.nextOfAll()
	open := x.open.patients()
	for _, c := range x.registry.list() {
		if x.access.revoked.covers(c.principal(), "", x.logs.now()) {
			c.endForbidden()
			continue
		}
		c.mu.Lock()
		patients := slices.AppendSeq(slices.Clone(open), maps.Keys(c.watches)) // those with something open may be in the inbox
		c.mu.Unlock()
		slices.Sort(patients)
		lost := make(map[string]bool)
		for _, p := range slices.Compact(patients) {
			if x.access.revoked.covers(c.principal(), p, x.logs.now()) {
				lost[p] = true
			}
		}
		c.revokePatients(lost)
	}
}

// end ends an access entry whose time has come.
func (x *accessChanges) end(ctx context.Context, e *Entry) {
	if ev, err := e.event(); err == nil && ev.Access.Kind == "emergency" {
		x.access.emergencies.end(ctx, e.Patient, ev.Access.Principal, e.Rev) // it may have been prolonged
		return
	} else if err == nil && ev.Access.Kind == "pause" {
		x.pauses.end(ctx, e.Patient, "", e.Rev)
		return
	}
	c := *e
	c.Rev, c.Open, c.Due, c.Received = e.Rev+1, false, time.Time{}, x.logs.now()
	c.ID = ""
	x.logs.append(ctx, c, true)
}
