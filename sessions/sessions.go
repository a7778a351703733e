// Package sessions authenticates pages of the host's own origin by the cookie
// of the host's existing sessions. A connection lives for as long as the
// session does, including prolonged ones. Logging out ends it on every node.
//
// The Hub accepts a cookie only from pages of its own origin and of
// Options.Origins.
package sessions

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// Find returns the principal of a session, by the value of its cookie. Expires
// is when the session ends unless it is prolonged; zero: not known, then Cookies
// has it end an hour later, unless it is prolonged. Issued is when it began;
// Cookies sets Session. carewire.ErrUnauthenticated means that there is no such
// session, or that it has ended. It must be safe for concurrent use, and does
// not prolong the session itself.
type Find func(ctx context.Context, value string) (carewire.Principal, error)

// Cookies is a carewire.Authenticator and carewire.Renewer for sessions with a
// cookie. It is safe for concurrent use.
type Cookies struct {
	name string
	find Find

	mu    sync.Mutex
	live  map[string]session // by Principal.Session
	swept int
}

// A session is one that somebody has come in by.
type session struct {
	value string // of its cookie
	until time.Time
}

// New returns an Authenticator for cookies of the given name.
func New(name string, find Find) *Cookies {
	return &Cookies{name: name, find: find, live: make(map[string]session)}
}

// ID returns the Principal.Session for a cookie's value: its SHA-256, because a
// credential must not be in an audit trail.
func ID(value string) string {
	sum := sha256.Sum256([]byte(value))
	return hex.EncodeToString(sum[:])
}

// Authenticate implements carewire.Authenticator. Without the cookie it is
// carewire.ErrUnauthenticated; errors of Find are passed on.
func (c *Cookies) Authenticate(r *http.Request) (carewire.Principal, error) {
	cookie, err := r.Cookie(c.name)
	if err != nil || cookie.Value == "" {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	}
	return c.look(r.Context(), cookie.Value)
}

// Renew implements carewire.Renewer: a session that the host has ended ends the
// connection.
func (c *Cookies) Renew(ctx context.Context, p carewire.Principal) (carewire.Principal, error) {
	c.mu.Lock()
	s, ok := c.live[p.Session]
	c.mu.Unlock()
	if !ok {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	}
	now, err := c.look(ctx, s.value)
	if errors.Is(err, carewire.ErrUnauthenticated) {
		err = carewire.ErrForbidden
	}
	return now, err
}

const endlessFor = time.Hour // until a session without an end is looked for again

func (c *Cookies) look(ctx context.Context, value string) (carewire.Principal, error) {
	p, err := c.find(ctx, value)
	if err != nil {
		return carewire.Principal{}, err
	}
	p.Session = ID(value)
	if p.Expires.IsZero() {
		p.Expires = time.Now().Add(endlessFor)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.live) >= 2*max(c.swept, 100) {
		for id, s := range c.live {
			if time.Since(s.until) > time.Minute {
				delete(c.live, id)
			}
		}
		c.swept = len(c.live)
	}
	c.live[p.Session] = session{value, p.Expires}
	return p, nil
}

// A Revoker ends sessions. *carewire.Hub is one.
type Revoker interface {
	Revoke(context.Context, carewire.Revocation) error
}

// Logout ends the connections of the session that r's cookie names, on every node.
// The host calls it before it ends the session itself, and clears the cookie. That
// there is no such session is no error; the others are those of Find and of
// Hub.Revoke.
//
// To log somebody out everywhere the host ends all of their sessions and calls
// Hub.Revoke with Principal only: a session that begins afterwards is valid.
func (c *Cookies) Logout(r *http.Request, hub Revoker) error {
	p, err := c.Authenticate(r)
	if errors.Is(err, carewire.ErrUnauthenticated) {
		return nil
	}
	if err != nil {
		return err
	}
	c.mu.Lock()
	delete(c.live, p.Session)
	c.mu.Unlock()
	return hub.Revoke(r.Context(), carewire.Revocation{Principal: p.ID, Session: p.Session, Until: p.Expires})
}

var (
	_ carewire.Authenticator = (*Cookies)(nil)
	_ carewire.Renewer       = (*Cookies)(nil)
)
