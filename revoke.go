package carewire

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// A Revocation ends access that was given. Principal is required.
type Revocation struct {
	Principal string
	Session   string    // "": all sessions
	Patients  []string  // none: everything; the connections are closed (3003)
	Until     time.Time // until when the old tokens are refused; zero: for a day
}

// Revoke ends access at once: what is still queued, events as well as replies,
// is not delivered; the principal is refused until the old tokens have run out,
// on every node; and alerts that the principal had accepted are escalated
// again, unless only a session ends. What a write to the socket has taken
// already, 64 KB and what the kernel holds, is out of reach. The logs of the
// patients named get an access event that shows it to the team, unless only a
// session ends.
//
// This node has carried it out when Revoke returns; an error says what of the
// rest did not succeed, and Revoke may be called again. The errors are a
// ValidationError, ErrUnknownOutcome, ErrUnavailable and ErrClosed.
func (h *Hub) Revoke(ctx context.Context, r Revocation) error {
	if r.Until.IsZero() {
		r.Until = h.now().Add(24 * time.Hour)
	}
	err := h.revokeEverywhere(ctx, r)
	for _, p := range scopes(r.Patients) {
		h.audit.recordHost(Record{Event: AuditRevocation, About: r.Principal, Session: r.Session, Patient: p, Until: r.Until}, err)
	}
	return err
}

func (h *Hub) revokeEverywhere(ctx context.Context, r Revocation) error {
	if !validName(r.Principal) {
		return invalid("principal", "required")
	}
	for i, p := range r.Patients {
		if !validPatient(p) {
			return invalid(indexed("patients", i), "must be an ID")
		}
	}
	now := h.now()
	h.revoke(r)
	var err error
	for _, p := range scopes(r.Patients) {
		c := &AccessChange{Kind: "revoked", Principal: r.Principal, Session: r.Session, Until: r.Until}
		if p != "" {
			c.Patients = []string{p}
		}
		err = errors.Join(err, h.tellNodes(ctx, c, "revoked/"+seal(r.Principal, r.Session, p), now))
	}
	if r.Session == "" {
		for _, p := range r.Patients {
			err = errors.Join(err, h.showAccess(ctx, p, &AccessChange{Kind: "revoked", Principal: r.Principal, Until: r.Until}, now))
		}
		err = errors.Join(err, h.endEmergencies(ctx, r.Principal, r.Patients))
	}
	return errors.Join(err, h.loseAlerts(ctx, r))
}

// showAccess writes an access event into a patient's log, for the team to see.
func (h *Hub) showAccess(ctx context.Context, patient string, c *AccessChange, now time.Time) error {
	if patient == SystemPatient {
		return nil // it stands there already
	}
	var e encoder
	c.encode(&e)
	_, err := h.append(ctx, Entry{Patient: patient, Kind: KindAccess, Key: "x/" + c.Kind + "/" + rand.Text(), Rev: 1, Audience: AudienceStaff,
		Sender: host, Time: now, Received: now, Data: e.b}, false)
	return err
}

// revoke carries a revocation out on this node.
func (h *Hub) revoke(r Revocation) {
	h.revoked.add(r, h.now())
	h.generation.Add(1)
	for _, c := range h.registry.of(r.Principal) {
		if r.Session != "" && c.who.Session != r.Session {
			continue
		}
		if len(r.Patients) == 0 {
			c.forbid()
		}
		for _, p := range r.Patients {
			c.revokePatient(p)
		}
	}
}

// forbid ends the connection of somebody whose access has ended. Nothing that
// waits is written any more but the close frame.
func (c *conn) forbid() {
	c.close(CloseForbidden)
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.control, o.held = nil, 0
	o.dropAll()
}

// revokePatient ends what c has of a patient.
func (c *conn) revokePatient(patient string) {
	c.mu.Lock()
	again := c.out.purge(patient)
	c.revokeWatch(patient)
	c.mu.Unlock()
	if again {
		c.hub.start(func() { c.inbox(c.hub.ctx) })
	}
}

// purge drops the replies and inbox pages that wait and tell of a patient. A
// reply is replaced by one that asks for the request once more; it reports
// whether the inbox is to be shown again.
func (o *outbox) purge(patient string) (again bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	tells := []byte(`"patient":"` + patient + `"`)
	kept := make([][]byte, 0, len(o.control))
	o.held = 0
	for _, f := range o.control {
		if bytes.Contains(f, tells) {
			for text := range wsconn.Texts(f) {
				switch peekType(text) {
				case "inbox":
					again, f = true, nil
				case "ok", "error":
					f = errorFrame(reqOf(text), ErrUnknownOutcome)
				}
			}
		}
		if f != nil {
			kept = append(kept, f)
			o.held += len(f)
		}
	}
	o.control = kept
	return again
}

// reqOf returns the req of a reply.
func reqOf(text []byte) (req string) {
	s := scanner{b: text, open: true}
	s.members(func(name []byte) bool {
		if string(name) == "req" && s.depth == 1 {
			req = s.str()
		} else {
			s.skip()
		}
		return true
	})
	return req
}

// loseAlerts makes those alerts nobody's that the principal had accepted.
func (h *Hub) loseAlerts(ctx context.Context, r Revocation) error {
	if r.Session != "" {
		return nil // the person is still there
	}
	var errs []error
	for _, e := range h.open.all() {
		if e.Kind != KindAlert || len(r.Patients) > 0 && !slices.Contains(r.Patients, e.Patient) {
			continue
		}
		if a, err := decodeAlert(&e); err != nil || a.Responsibility.By.ID != r.Principal {
			continue
		} else if _, err := h.alerts.change(ctx, change{patient: a.Patient, key: a.Key, test: a.Test}, func(prev *Alert, now time.Time) (Alert, error) {
			if prev == nil {
				return Alert{}, ErrForbidden
			}
			next, ok := lose(prev, r.Principal, now)
			if !ok {
				return next, errUnchanged
			}
			return h.escalator.untold(next), nil
		}); err != nil {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// loseKey names the losing of a principal's alerts, to be tried again.
func loseKey(principal string, patients []string) string {
	return "lose/" + principal + "/" + strings.Join(patients, "/")
}

// disown makes an alert nobody's whose accepter's access had ended meanwhile, as
// this node or another has it: who took the access away did not know of it.
func (h *Hub) disown(e *Entry) {
	if e.Kind != KindAlert || !e.Open || !h.revoked.any() {
		return
	}
	a, err := decodeAlert(e)
	if err != nil || a.Responsibility.State != ResponsibilityAccepted {
		return
	}
	r := Revocation{Principal: a.Responsibility.By.ID, Patients: []string{e.Patient}}
	if h.revoked.covers(&Principal{ID: r.Principal}, e.Patient, h.now()) {
		h.startInsisting(loseKey(r.Principal, r.Patients), func(ctx context.Context) error { return h.loseAlerts(ctx, r) })
	}
}

// tellNodes writes an access entry into the system's log, where every node sees it.
func (h *Hub) tellNodes(ctx context.Context, c *AccessChange, key string, now time.Time) error {
	key = "x/" + key
	_, _, err := h.logs.revise(ctx, false, func() (Entry, error) { return h.logs.newest(ctx, SystemPatient, key) }, func(old *Entry, _ time.Time) (Entry, error) {
		if c.Kind == "revoked" && old.Open && old.Due.After(c.Until) { // the longer one counts
			c.Until = old.Due
		}
		var e encoder
		c.encode(&e)
		return Entry{Patient: SystemPatient, Kind: KindAccess, Key: key, Open: true, Due: c.Until, Audience: AudienceStaff, Sender: host, Time: now, Data: e.b}, nil
	})
	return err
}

// scopes lists patients one by one; "" stands for everything.
func scopes(patients []string) []string {
	if len(patients) == 0 {
		return []string{""}
	}
	return patients
}

// apply carries out an access entry, once for each revision.
func (h *Hub) apply(e *Entry) {
	ev, err := e.event()
	if err != nil || ev.Access == nil {
		h.applyUnreadable(e)
		return
	}
	switch c := ev.Access; c.Kind {
	case "emergency", "emergency_ended":
		h.emergencies.note(e, c)
	case "revoked":
		if e.Open {
			h.revoke(Revocation{Principal: c.Principal, Session: c.Session, Patients: c.Patients, Until: c.Until})
		}
	case "members":
		if e.Open && e.Sender == host {
			h.start(func() { h.regroup(h.ctx, c.Group) })
		}
	}
}

// applyUnreadable is for an access entry that the Store has damaged. A grant is
// not given then, and groups are asked for anyway. A revocation counts by its
// key, which says no name, but can be compared with any.
func (h *Hub) applyUnreadable(e *Entry) {
	key, ok := strings.CutPrefix(e.Key, "x/revoked/")
	if !ok || !e.Open || e.Patient != SystemPatient {
		return
	}
	h.log.Error("carewire: a stored revocation cannot be read; it counts by its key")
	about := AlertRef{Key: e.Key}
	h.startInsisting("unreadable/"+e.Key, func(ctx context.Context) error {
		return h.complaints.complain(ctx, about, "unreadable", "A stored revocation cannot be read. It counts all the same. Give it again, and look after the store.")
	})
	h.revoked.addSealed(key, e.Due, h.now())
	h.generation.Add(1)
	open := h.open.all()
	for _, c := range h.registry.list() {
		if h.revoked.covers(c.who, "", h.now()) {
			c.forbid()
			continue
		}
		c.mu.Lock()
		patients := slices.Collect(maps.Keys(c.watches))
		c.mu.Unlock()
		for i := range open { // they may be in the inbox
			patients = append(patients, open[i].Patient)
		}
		slices.Sort(patients)
		for _, p := range slices.Compact(patients) {
			if h.revoked.covers(c.who, p, h.now()) {
				c.revokePatient(p)
			}
		}
	}
}

// revocations are those that still count.
type revocations struct {
	mu     sync.Mutex
	list   []Revocation
	sealed map[string]time.Time // those that cannot be read: until when
}

func (r *revocations) add(v Revocation, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = slices.DeleteFunc(r.list, func(o Revocation) bool { return o.Until.Before(now) })
	r.list = append(r.list, v)
}

func (r *revocations) addSealed(key string, until, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.sealed == nil {
		r.sealed = make(map[string]time.Time)
	}
	maps.DeleteFunc(r.sealed, func(_ string, until time.Time) bool { return until.Before(now) })
	r.sealed[key] = until
}

// any reports whether there are revocations at all.
func (r *revocations) any() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.list)+len(r.sealed) > 0
}

// covers reports whether p's access to patient ("": to anything) has ended.
func (r *revocations) covers(p *Principal, patient string, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i := range r.list {
		v := &r.list[i]
		if v.Principal == p.ID && (v.Session == "" || v.Session == p.Session) && v.Until.After(now) &&
			(len(v.Patients) == 0 || patient != "" && slices.Contains(v.Patients, patient)) {
			return true
		}
	}
	if len(r.sealed) == 0 {
		return false
	}
	for _, session := range []string{"", p.Session} {
		for _, scope := range []string{"", patient} {
			if r.sealed[seal(p.ID, session, scope)].After(now) {
				return true
			}
		}
	}
	return false
}

// seal names a revocation without saying whose it is. patient is "" for everything.
func seal(principal, session, patient string) string {
	return hexOf(digest([]byte(principal + "\x00" + session + "\x00" + patient)))
}

func hexOf(sum [16]byte) string {
	const digits = "0123456789abcdef"
	b := make([]byte, 0, 32)
	for _, c := range sum {
		b = append(b, digits[c>>4], digits[c&15])
	}
	return string(b)
}
