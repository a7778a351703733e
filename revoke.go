package carewire

import (
	"bytes"
	"context"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// A Revocation names the principal whose access is revoked, suspended or
// restored. Principal is required.
type Revocation struct {
	Principal string
	Session   string    // only this session's, and for good; "": of all sessions
	Patients  []string  // only to these; none: to everything, and the connections are closed (3003)
	Until     time.Time // how long it counts; zero: Revoke says
	Issued    time.Time // Revoke, of all sessions: only of those issued until then; zero: until now
}

func (r *Revocation) validate() error {
	if !validName(r.Principal) {
		return invalid("principal", "required")
	}
	for i, p := range r.Patients {
		if !validPatient(p) {
			return invalid(indexedField("patients", i), "must be an ID")
		}
	}
	return nil
}

// spares reports whether a change of access leaves alone a token, session or
// watch that began at a time.
func (r *Revocation) spares(began time.Time) bool { return !r.Issued.IsZero() && began.After(r.Issued) }

// Revoke ends sessions, not people. It ends, at once, the access of a principal
// by tokens issued until now (Principal.Issued), or by one session. It refuses
// these until Until (zero: for a day), which should be the expiry of the last
// of them. Queued events and replies are not delivered. A session that begins
// afterwards is accepted. Unless only a session ends, the principal's accepted
// alerts are escalated again, and their emergencies end. To keep a person out,
// use Suspend.
//
// With r.Issued, as for a logout that is heard of late, tokens and sessions
// issued after it stay, and so do acceptances and emergencies that began after
// it. It is read as the issuer's clock, so it may be ahead of the Hub's. Access
// that an earlier call has ended stays ended.
//
// Revoke takes effect on every node, and after a restart. A further call
// replaces Until, also by an earlier time. The bytes that a write to the socket
// has taken already, 64 KB and the kernel's buffer, cannot be recalled. The
// logs of the named patients get an access event for the team, unless only a
// session ends.
//
// This node has done all of it when Revoke returns. An error tells which part
// failed; Revoke may be called again. The errors are a ValidationError,
// ErrUnknownOutcome, ErrUnavailable and ErrClosed.
func (h *Hub) Revoke(ctx context.Context, r Revocation) error {
	if r.Until.IsZero() {
		r.Until = h.now().Add(24 * time.Hour)
	}
	err := h.changes.take(ctx, r, false)
	h.recordAccess(AuditRevocation, r, err)
	return err
}

// Suspend keeps a person out until Until (zero: until Restore), with any token,
// present or later. With Patients it applies to these patients only. r.Session
// must be empty, and r.Issued is ignored. In all else it is like Revoke.
func (h *Hub) Suspend(ctx context.Context, r Revocation) error {
	if r.Session != "" {
		return invalid("session", "must be empty: a person is suspended")
	}
	if r.Until.IsZero() {
		r.Until = h.now().AddDate(100, 0, 0)
	}
	r.Issued = time.Time{}
	err := h.changes.take(ctx, r, true)
	h.recordAccess(AuditSuspension, r, err)
	return err
}

// Restore lifts the revocation and the suspension with the same Principal,
// Session and Patients, on every node. It ignores r.Until and r.Issued. Revocations for
// other patients stay. Revoked tokens that have not expired are accepted again.
// Ended state, such as acceptances, does not come back. It is no error if there
// is nothing to lift. The errors are those of Revoke; Restore may be called
// again.
func (h *Hub) Restore(ctx context.Context, r Revocation) error {
	r.Until = time.Time{}
	err := h.changes.restore(ctx, r)
	h.recordAccess(AuditRestoration, r, err)
	return err
}

func (h *Hub) recordAccess(event AuditEvent, r Revocation, err error) {
	for _, p := range scopesOf(r.Patients) {
		h.audit.recordHost(Record{Event: event, About: r.Principal, Session: r.Session, Patient: p, Until: r.Until}, err)
	}
}

// endForbidden ends the connection of a principal whose access has ended. It writes
// only the close frame.
func (c *conn) endForbidden() {
	c.close(CloseForbidden)
	o := &c.out
	o.mu.Lock()
	defer o.mu.Unlock()
	o.control, o.held = nil, 0
	o.dropAll()
}

// revokePatients ends c's access to patients.
func (c *conn) revokePatients(patients map[string]bool) {
	c.mu.Lock()
	again := c.out.purge(patients)
	for p := range patients {
		c.revokeWatch(p)
	}
	c.mu.Unlock()
	if again {
		c.hub.start(c.inbox.begin)
	}
}

// purge drops the replies and inbox pages that wait and tell of patients. A
// reply is replaced by one that asks for the request once more; it reports
// whether the inbox is to be shown again.
func (o *outbox) purge(patients map[string]bool) (again bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	kept := make([][]byte, 0, len(o.control))
	o.held = 0
	for _, f := range o.control {
		if tellsOf(f, patients) {
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

// tellsOf reports whether a frame names any of patients.
func tellsOf(f []byte, patients map[string]bool) bool {
	for {
		_, rest, found := bytes.Cut(f, []byte(`"patient":"`))
		if !found {
			return false
		}
		id, _, _ := bytes.Cut(rest, []byte(`"`)) // an ID needs no escapes
		if patients[string(id)] {
			return true
		}
		f = rest
	}
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
