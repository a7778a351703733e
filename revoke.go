package carewire

import (
	"bytes"
	"context"
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
	err := h.changes.revokeEverywhere(ctx, r)
	for _, p := range scopes(r.Patients) {
		h.audit.recordHost(Record{Event: AuditRevocation, About: r.Principal, Session: r.Session, Patient: p, Until: r.Until}, err)
	}
	return err
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
