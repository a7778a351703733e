package sessions

import (
	"context"
	"crypto/rand"
	"maps"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// Memory keeps sessions in this process, for a host of one node. After a
// restart people sign in again. A host of several nodes needs a table that all
// nodes read. It is safe for concurrent use.
type Memory struct {
	mu    sync.Mutex
	all   map[string]began // by the value of the cookie
	swept int
	ended map[endedAt]time.Time // sessions that the provider has ended, and the end of the issue times that this covers, for an hour
}

// A began is a session, and when it began at the provider, by the provider's
// clock; if that is not known, when it began here.
type began struct {
	carewire.Principal
	there time.Time
}

// An endedAt is a session that the provider has ended; with session "", all of a
// person that began before.
type endedAt struct{ principal, session string }

const endedFor = time.Hour // longer than a sign-in is under way

// NewMemory returns a Memory without sessions.
func NewMemory() *Memory {
	return &Memory{all: make(map[string]began), ended: make(map[endedAt]time.Time)}
}

// Begin begins a session of p with the given duration, and returns the value of its
// cookie. p.Session is the identity provider's name of the session, for Revoker; ""
// if there is none. p.Issued is when it began there, by the ID token; zero: not
// known. If the provider has ended it meanwhile, by Revoker, the session does not
// begin: Find returns carewire.ErrUnauthenticated for its value. Tokens tell time
// in seconds: where all sessions of a person were ended, a sign-in of the same
// second counts as one before, and the person signs in again.
func (m *Memory) Begin(p carewire.Principal, lasts time.Duration) (value string) {
	now := time.Now()
	value = rand.Text()
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.isEnded(&p) {
		return value
	}
	there := p.Issued
	if there.IsZero() {
		there = now
	}
	p.Issued, p.Expires = now, now.Add(lasts)
	if len(m.all) >= 2*max(m.swept, 100) {
		for v, p := range m.all {
			if now.After(p.Expires) {
				delete(m.all, v)
			}
		}
		m.swept = len(m.all)
	}
	m.all[value] = began{p, there}
	return value
}

// isEnded reports whether the provider has ended p's session there. Under m.mu.
func (m *Memory) isEnded(p *carewire.Principal) bool {
	if _, one := m.ended[endedAt{p.ID, p.Session}]; one && p.Session != "" {
		return true
	}
	at, all := m.ended[endedAt{p.ID, ""}]
	return all && !p.Issued.IsZero() && !p.Issued.After(at)
}

// end notes that the provider has ended x, and returns the sessions that came of
// it, with when they expire.
func (m *Memory) end(x carewire.Revocation) map[string]time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	now := time.Now()
	at := x.Issued
	if at.IsZero() {
		at = now
	}
	maps.DeleteFunc(m.ended, func(_ endedAt, at time.Time) bool { return now.Sub(at) > endedFor })
	if which := (endedAt{x.Principal, x.Session}); m.ended[which].Before(at) {
		m.ended[which] = at
	}
	ending := make(map[string]time.Time)
	for value, p := range m.all {
		if p.ID == x.Principal && (x.Session == "" && !p.there.After(at) || x.Session != "" && p.Session == x.Session) {
			ending[value] = p.Expires
		}
	}
	return ending
}

// Find implements the type Find, for New.
func (m *Memory) Find(_ context.Context, value string) (carewire.Principal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p, ok := m.all[value]
	if !ok || time.Now().After(p.Expires) {
		delete(m.all, value)
		return carewire.Principal{}, carewire.ErrUnauthenticated
	}
	return p.Principal, nil
}

// Prolong extends a session to last that long from now. An ended session stays
// ended. A host calls it when the user acts on its pages; a connection with the
// session's cookie then continues.
func (m *Memory) Prolong(value string, lasts time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p, ok := m.all[value]; ok && !time.Now().After(p.Expires) {
		p.Expires = time.Now().Add(lasts)
		m.all[value] = p
	}
}

// End ends a session here. Cookies.Logout, before it, ends its connections.
func (m *Memory) End(value string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.all, value)
}

// Revoker returns a Revoker that also ends the sessions that came from an
// identity provider: one by the provider's name for it, or all of a person that
// began there until Issued (zero: until now). It also ends those whose sign-in is
// under way, see Begin.
// Give it to smartauth's BackChannelLogout.
func (m *Memory) Revoker(hub Revoker) Revoker { return revoker{m, hub} }

type revoker struct {
	sessions *Memory
	hub      Revoker
}

// Revoke ends connections first: after an error the provider tries again.
func (r revoker) Revoke(ctx context.Context, x carewire.Revocation) error {
	for value, until := range r.sessions.end(x) {
		if err := r.hub.Revoke(ctx, carewire.Revocation{Principal: x.Principal, Session: ID(value), Until: until}); err != nil {
			return err
		}
		r.sessions.End(value)
	}
	return r.hub.Revoke(ctx, x)
}
