package carewire

import (
	"context"
	"fmt"
	"strconv"
	"time"
	"unicode/utf8"
)

// call is a request until it is answered.
type call struct {
	id       uint64
	req      string
	frame    []byte
	internal bool         // the Client's own; it ends with the connection
	gone     bool         // nobody waits for the reply
	waiting  bool         // to be sent later
	tries    int          // how often the server said "later"
	last     error        // its error
	then     func(*reply) // called with mu held; nil: nothing
	reply    *reply
	done     chan struct{}
}

// call sends a request and waits for its reply. then is called with mu held as
// soon as an ok is read, before any later frame, even if ctx has ended by then.
func (c *Client) call(ctx context.Context, typ requestType, members func(*encoder), then func(*reply)) (*reply, error) {
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}
	select {
	case c.slots <- struct{}{}:
		defer func() { <-c.slots }()
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-c.done:
		return nil, c.Err()
	}
	c.mu.Lock()
	err := c.err
	k := c.newCall(typ, members, then)
	switch {
	case err != nil:
	case !utf8.Valid(k.frame):
		err = errNotUTF8
	case c.limits.Frame > 0 && len(k.frame) > c.limits.Frame:
		err = &RequestError{Code: CodeLimit, Retry: RetryNever} // sending it would cost the connection
	default:
		c.post(k)
	}
	c.mu.Unlock()
	if err != nil {
		return nil, err
	}
	select {
	case <-k.done:
	case <-ctx.Done():
	case <-c.done:
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case k.reply != nil && k.reply.Err != nil:
		return nil, k.reply.Err
	case k.reply != nil:
		return k.reply, nil
	}
	k.gone = true
	if k.then == nil || c.link == nil || k.waiting {
		delete(c.calls, k.req)
	}
	if c.err != nil {
		return nil, c.err
	}
	return nil, outOfTime(ctx, k.last)
}

// newCall makes a call. The caller holds mu.
func (c *Client) newCall(typ requestType, members func(*encoder), then func(*reply)) *call {
	c.lastID++
	k := &call{id: c.lastID, req: strconv.FormatUint(c.lastID, 10), then: then, done: make(chan struct{})}
	e := encoder{b: append(make([]byte, 0, 256), '{')}
	e.str("type", string(typ))
	e.str("req", k.req)
	members(&e)
	k.frame = append(e.b, '}')
	return k
}

// callOwn makes a call of the Client's own, which ends with the connection. then is
// called with errors, too. The caller holds mu.
func (c *Client) callOwn(typ requestType, members func(*encoder), then func(*reply)) *call {
	k := c.newCall(typ, members, then)
	k.internal = true
	return k
}

// post has a call sent. The caller holds mu.
func (c *Client) post(k *call) {
	c.calls[k.req] = k
	if c.link != nil {
		c.ready = append(c.ready, k)
		signal(c.wake)
	}
}

// takeReply takes the reply to a call. The caller holds mu.
func (c *Client) takeReply(l *link, r *reply) {
	k := c.calls[r.Req]
	if k == nil {
		return
	}
	if r.Err != nil && !k.internal && !k.gone {
		later := r.Err.Retry == RetryLater
		if r.Err.Retry == RetryReauth && c.o.Token != nil {
			later = true
			c.renewIn(l, 0)
		}
		if later {
			k.last, k.waiting = r.Err, true
			c.runAfter(r.Err.RetryAfter+c.backoff(k.tries), func() {
				if k.waiting = false; c.calls[k.req] == k {
					c.post(k)
				}
			})
			k.tries++
			return
		}
	}
	delete(c.calls, k.req)
	if k.then != nil && (r.Err == nil || k.internal) {
		k.then(r)
		signal(c.wake) // it may have left something to be asked for
	}
	k.reply = r
	close(k.done)
}

// runAfter calls f after d, with mu held, and wakes the run loop.
func (c *Client) runAfter(d time.Duration, f func()) {
	time.AfterFunc(d, func() {
		c.mu.Lock()
		f()
		c.mu.Unlock()
		signal(c.wake)
	})
}

// backoff is the pause after n failures: with full jitter.
func (c *Client) backoff(n int) time.Duration {
	d := c.o.MaxBackoff
	if n < 30 {
		d = min(d, c.o.MinBackoff<<n)
	}
	return time.Duration(c.o.random() * float64(d))
}

// outOfTime is the error of a call whose context ended after it was told last.
func outOfTime(ctx context.Context, last error) error {
	if last == nil {
		return ctx.Err()
	}
	return fmt.Errorf("%w; last answer: %w", ctx.Err(), last)
}
