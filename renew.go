package carewire

import (
	"context"
	"errors"
	"time"
)

// A Renewer is an Authenticator whose sessions are prolonged elsewhere while a
// connection lives, such as cookie sessions that slide with the user's activity
// on the host's pages. The Hub calls Renew 30 s before Principal.Expires of a
// connection, or after half of the remaining time. Renew returns the present
// principal. If its Expires is later, the connection continues until then; its
// ID and Role must be unchanged. ErrForbidden ends the connection. After any
// other error, or without a later Expires, the Hub asks again every five
// seconds until Expires.
//
// A Renewer must be safe for concurrent use. Each call is bounded by
// Options.CallTimeout. A panic counts as an error.
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
		c.endForbidden()
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
