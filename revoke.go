package carewire

import (
	"bytes"
	"context"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// A Revocation says whose access ends, is suspended, or is given back. Principal
// is required.
type Revocation struct {
	Principal string
	Session   string    // only this session's, and for good; "": of all sessions
	Patients  []string  // only to these; none: to everything, and the connections are closed (3003)
	Until     time.Time // how long it counts; zero: Revoke says
}

func (r *Revocation) validate() error {
	if !validName(r.Principal) {
		return invalid("principal", "required")
	}
	for i, p := range r.Patients {
		if !validPatient(p) {
			return invalid(indexed("patients", i), "must be an ID")
		}
	}
	return nil
}

// Revoke ends sessions, not people: it ends at once what a principal has by
// tokens that were issued until now (Principal.Issued), or by one session, and
// refuses these until Until (zero: for a day), which should be when the last of
// them has run out. What is still queued, events as well as replies, is not
// delivered. A session that begins afterwards is good. Alerts that the principal
// had accepted are escalated again, unless only a session ends, and their
// emergencies end. Suspend keeps a person out.
//
// It counts on every node, and after a restart. Calling it again begins it anew, so
// that another Until counts, a shorter one too. What a write to the socket has
// taken already, 64 KB and what the kernel holds, is out of reach. The logs of the
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
	err := h.changes.take(ctx, r, false)
	h.recordAccess(AuditRevocation, r, err)
	return err
}

// Suspend keeps a person out until Until (zero: until Restore), whatever tokens
// they have or get; with Patients, away from these. r.Session must be empty. All
// else is as with Revoke.
func (h *Hub) Suspend(ctx context.Context, r Revocation) error {
	if r.Session != "" {
		return invalid("session", "must be empty: a person is suspended")
	}
	if r.Until.IsZero() {
		r.Until = h.now().AddDate(100, 0, 0)
	}
	err := h.changes.take(ctx, r, true)
	h.recordAccess(AuditSuspension, r, err)
	return err
}

// Restore lifts the revocation and the suspension with the same Principal, Session
// and Patients, on every node; r.Until is not looked at. Those of other patients
// stay. Tokens that were revoked, and have not run out, are good again; what had
// ended, such as acceptances, does not come back. That there is nothing to lift is
// no error. The errors are those of Revoke; it may be called again.
func (h *Hub) Restore(ctx context.Context, r Revocation) error {
	r.Until = time.Time{}
	err := h.changes.restore(ctx, r)
	h.recordAccess(AuditRestoration, r, err)
	return err
}

func (h *Hub) recordAccess(event AuditEvent, r Revocation, err error) {
	for _, p := range scopes(r.Patients) {
		h.audit.recordHost(Record{Event: event, About: r.Principal, Session: r.Session, Patient: p, Until: r.Until}, err)
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
		c.hub.start(c.inbox.begin)
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
