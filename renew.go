package carewire

import (
	"context"
	"errors"
	"time"
)

// A Renewer is an Authenticator whose sessions are prolonged elsewhere, while a
// connection lives: those of cookies, that slide with what somebody does on the
// host's pages. Renew is asked 30 s before Principal.Expires of a connection, or
// after half of the time that is left, who its principal is now. If Expires is
// later then, the connection goes on with that; its ID and Role must be the same.
// ErrForbidden ends the connection; after any other error, or if nothing is later, it
// is asked again every five seconds until Expires. It must be safe for concurrent
// use; it is given Options.CallTimeout and may panic without harm.
type Renewer interface {
	Renew(ctx context.Context, p Principal) (Principal, error)
}

const renewBefore = 30 * time.Second

// renewBy asks r for a later end than until, left from now. Under c.mu.
func (c *conn) renewBy(r Renewer, until time.Time, left time.Duration) {
	c.renewal = time.AfterFunc(left-min(renewBefore, left/2), func() {
		c.hub.start(func() { c.askRenewer(r, until) })
	})
}

func (c *conn) askRenewer(r Renewer, until time.Time) {
	was := c.principal()
	p, err := callHost(c.hub.ctx, c.hub.calls.authenticate, func(ctx context.Context) (Principal, error) { return r.Renew(ctx, *was) })
	switch {
	case errors.Is(err, ErrForbidden):
		c.forbid()
		return
	case err == nil && p.valid() && p.ID == was.ID && p.Role == was.Role && (p.Expires.IsZero() || p.Expires.After(until)):
		c.use(&p)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hub.now().Add(askAgain).Before(until) && !c.ended && c.principal() == was {
		c.renewal = time.AfterFunc(askAgain, func() { c.hub.start(func() { c.askRenewer(r, until) }) })
	}
}
