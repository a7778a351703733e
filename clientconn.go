package carewire

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	clientConnectTimeout = 30 * time.Second // token, handshake and welcome together
	clientRenewTimeout   = 30 * time.Second // for Token, on a connection
	clientWriteTimeout   = 9 * time.Second  // for one frame; a server takes ten for abuse
	clientCloseGrace     = 2 * time.Second  // for taking leave
	clientSilence        = 50 * time.Second // without a frame the line is dead
	clientPatience       = time.Minute      // for anything of a patient, and for a sync
	clientTick           = 10 * time.Second
	clientReadLimit      = 1 << 20 // servers send up to 64 KB
	clientSmallFrame     = 1 << 10 // bytes of a frame that its event's texts share, so that one text keeps no more
)

// link is one connection of a Client.
type link struct {
	ws      *websocket.Conn
	ctx     context.Context
	cancel  context.CancelFunc
	welcome Event
	began   time.Time
	quiet   time.Duration // how long without a frame is too long

	stale    *time.Timer
	renew    *time.Timer // nil: nothing to renew
	renewing bool
	renewals int // failed renewals in a row

	done chan struct{} // closed when the reading has ended
	code CloseCode     // then: why

	rawMu sync.Mutex
	raw   net.Conn // the connection under ws, for a hard cut; nil if the transport hides it
}

// cut closes a connection at once, in any state.
func (l *link) cut() {
	l.cancel()
	l.rawMu.Lock()
	raw := l.raw
	l.rawMu.Unlock()
	if raw != nil {
		raw.Close() // the library's closing can hang on a stalled peer
	}
	l.ws.CloseNow()
}

// serverNow is the time by the server's clock.
func (l *link) serverNow() time.Time { return l.welcome.Time.Add(time.Since(l.began)) }

// read reads one frame into buf.
func (l *link) read(ctx context.Context, buf *bytes.Buffer) ([]byte, error) {
	_, r, err := l.ws.Reader(ctx)
	if err != nil {
		return nil, err
	}
	buf.Reset()
	if _, err := buf.ReadFrom(r); err != nil {
		return nil, err
	}
	return buf.Bytes(), nil
}

// connect makes one attempt, up to and including the welcome.
func (c *Client) connect(ctx context.Context) (*link, error) {
	ctx, cancel := context.WithTimeout(ctx, clientConnectTimeout)
	defer cancel()
	header := c.o.Header.Clone()
	if c.o.Token != nil {
		token, err := c.token(ctx)
		if err != nil {
			return nil, err
		}
		header.Set("Authorization", "Bearer "+token)
	}
	l := &link{done: make(chan struct{}), quiet: clientSilence}
	trace := &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
		l.rawMu.Lock()
		l.raw = info.Conn
		l.rawMu.Unlock()
	}}
	ws, resp, err := websocket.Dial(httptrace.WithClientTrace(ctx, trace), c.url, &websocket.DialOptions{
		HTTPClient: c.o.HTTPClient, HTTPHeader: header, Subprotocols: []string{Protocol}})
	if err != nil {
		switch u := (*url.Error)(nil); {
		case resp != nil && resp.StatusCode != http.StatusSwitchingProtocols:
			return nil, refusal(resp)
		case resp != nil: // the library quotes its headers
			return nil, errors.New("carewire: the server's answer is not a WebSocket handshake")
		case errors.As(err, &u): // without the URL
			err = u.Err
		}
		return nil, fmt.Errorf("carewire: connecting: %w", err)
	}
	ws.SetReadLimit(clientReadLimit)
	l.ws = ws
	l.ctx, l.cancel = context.WithCancel(context.Background())
	if err := c.greeted(ctx, l); err != nil {
		l.cut()
		return nil, err
	}
	return l, nil
}

func (c *Client) token(ctx context.Context) (string, error) {
	token, err := c.o.Token(ctx)
	if err != nil {
		return "", &tokenError{err}
	}
	if token == "" || !validText(token, 8192) {
		return "", errors.New("carewire: the token must be printable text of 1 to 8192 bytes")
	}
	return token, nil
}

// greeted reads the welcome.
func (c *Client) greeted(ctx context.Context, l *link) error {
	if l.ws.Subprotocol() != Protocol {
		return errors.New("carewire: the server does not speak " + Protocol)
	}
	b, err := l.read(ctx, new(bytes.Buffer))
	switch code := closeCode(err); {
	case err != nil && !code.ComeBack():
		return &closedError{code}
	case websocket.CloseStatus(err) != -1: // without its reason, which is the server's
		return fmt.Errorf("carewire: closed instead of a welcome: %d", code)
	case err != nil:
		return fmt.Errorf("carewire: waiting for the welcome: %w", err)
	}
	ev, _, err := decodeEvent(b)
	if err != nil || ev.Welcome == nil {
		return errors.New("carewire: the server's first frame is not a welcome")
	}
	l.welcome, l.began = ev, time.Now()
	l.quiet = max(clientSilence, ev.Welcome.Heartbeat*5/2)
	return nil
}

// final reports whether a failed attempt is the last.
func (c *Client) final(err error) bool {
	var refused *handshakeError
	var closed *closedError
	switch {
	case errors.As(err, &closed):
		return true
	case errors.As(err, &refused):
		switch refused.status {
		case http.StatusBadRequest, http.StatusForbidden, http.StatusMethodNotAllowed, http.StatusMisdirectedRequest,
			http.StatusUpgradeRequired, http.StatusRequestHeaderFieldsTooLarge:
			return true
		case http.StatusUnauthorized:
			return c.o.Token == nil // the next token may be better
		}
		return false // a gateway amid a restart says anything
	}
	return errors.Is(err, ErrUnauthenticated)
}

// run keeps the Client connected until it ends.
func (c *Client) run(l *link) {
	for {
		c.serve(l)
		if c.ctx.Err() != nil {
			c.end(ErrClosed)
			return
		}
		c.o.Logger.Warn("carewire: connection lost", "code", int(l.code))
		if !l.code.ComeBack() {
			c.end(&closedError{l.code})
			return
		}
		if time.Since(l.began) >= c.o.MaxBackoff {
			c.attempts = 0
		}
		if l.code == CloseTryLater { // the server is overloaded: start further up
			c.attempts = max(c.attempts, 3)
		}
		var err error
		if l, err = c.reconnect(); err != nil {
			c.end(err)
			return
		}
		c.attach(l)
	}
}

// reconnect tries until it is connected; its error ends the Client.
func (c *Client) reconnect() (*link, error) {
	wait := time.Duration(0)
	for {
		timer := time.NewTimer(max(wait, c.backoff(c.attempts)))
		select {
		case <-timer.C:
		case <-c.ctx.Done():
			timer.Stop()
			return nil, ErrClosed
		}
		c.attempts++
		l, err := c.connect(c.ctx)
		switch {
		case err == nil:
			return l, nil
		case c.ctx.Err() != nil:
			return nil, ErrClosed
		case c.final(err):
			return nil, err
		}
		wait = 0
		var refused *handshakeError
		if errors.As(err, &refused) {
			wait = refused.after
		}
		c.o.Logger.Warn("carewire: could not connect", "attempt", c.attempts, "error", err)
	}
}

// end is the last thing that happens to a Client.
func (c *Client) end(err error) {
	c.mu.Lock()
	c.err = err
	c.calls, c.ready = nil, nil
	if err == ErrClosed {
		c.queue.clear()
	}
	c.mu.Unlock()
	c.cancel()
	close(c.done)
}

// attach takes a new connection into use: it resumes the watches and repeats
// the unanswered calls.
func (c *Client) attach(l *link) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.link, c.limits = l, l.welcome.Welcome.Limits
	c.push(Event{Type: EventLive})
	c.push(l.welcome)
	c.wavesOut.count, c.wavesOut.done = 0, 0
	c.resumeAll()
	for _, k := range c.calls {
		if !k.waiting {
			c.ready = append(c.ready, k)
		}
	}
	slices.SortFunc(c.ready, func(a, b *call) int { return cmp.Compare(a.id, b.id) })
	if !l.welcome.Welcome.Expires.IsZero() {
		c.renewBefore(l, l.welcome.Welcome.Expires)
	}
	l.stale = time.AfterFunc(l.quiet, func() {
		c.mu.Lock()
		if c.link == l {
			c.push(Event{Type: EventStale})
		}
		c.mu.Unlock()
		l.cut()
	})
	go c.reading(l)
}

// detach is the end of a connection that was attached.
func (c *Client) detach(l *link) {
	l.cut()
	<-l.done
	l.stale.Stop()
	c.mu.Lock()
	defer c.mu.Unlock()
	if l.renew != nil {
		l.renew.Stop()
	}
	c.link, c.ready = nil, nil
	for req, k := range c.calls {
		if k.internal {
			delete(c.calls, req)
		}
	}
	if c.ctx.Err() == nil {
		c.push(Event{Type: EventLost, Code: l.code})
	}
}

// reading is the one goroutine that reads from a connection. It waits for nobody.
func (c *Client) reading(l *link) {
	defer close(l.done)
	var buf bytes.Buffer
	for {
		b, err := l.read(context.Background(), &buf) // cut ends it; a context that can end costs eight allocations a frame
		if err != nil {
			l.code = closeCode(err)
			return
		}
		l.stale.Reset(l.quiet)
		s := scanner{b: b, open: true}
		if len(b) <= clientSmallFrame {
			s.b, s.borrow = bytes.Clone(b), true // one allocation for all its texts
		}
		ev, r, err := decodeEventFrom(s)
		if err != nil {
			// If it was one that counts, the next count tells.
			if !sent[ev.Type] {
				ev.Type = ""
			}
			c.o.Logger.Error("carewire: unreadable frame from the server", "type", string(ev.Type), "error", err)
			continue
		}
		c.mu.Lock()
		if r != nil {
			c.takeReply(l, r)
		} else {
			c.take(ev)
		}
		c.mu.Unlock()
	}
}

// serve writes to a connection until it ends.
func (c *Client) serve(l *link) {
	defer c.detach(l)
	ticker := time.NewTicker(clientTick)
	defer ticker.Stop()
	for c.ctx.Err() == nil {
		c.mu.Lock()
		c.askWaiting()
		frame := c.nextFrame()
		missed, cut := c.missed, c.refetch()
		c.missed = 0
		c.mu.Unlock()
		if missed > 0 {
			c.o.Logger.Warn("carewire: events were missed and are fetched again", "patients", missed)
		}
		if cut {
			return
		}
		if frame != nil {
			ctx, cancel := context.WithTimeout(l.ctx, clientWriteTimeout)
			err := l.ws.Write(ctx, websocket.MessageText, frame)
			cancel()
			if err != nil {
				select {
				case <-l.done: // it may know the code
				case <-time.After(time.Second):
				}
				return
			}
			continue
		}
		select {
		case <-c.wake:
		case <-l.done:
			return
		case <-c.ctx.Done():
		case <-ticker.C:
			c.mu.Lock()
			stuck := c.checkPatients()
			c.mu.Unlock()
			if stuck {
				return
			}
		}
	}
	l.ws.Close(websocket.StatusNormalClosure, "") // Close cuts it if it takes too long
}

// nextFrame returns the next frame to write, nil for none.
func (c *Client) nextFrame() []byte {
	for len(c.ready) > 0 {
		k := c.ready[0]
		c.ready = c.ready[1:]
		switch {
		case c.calls[k.req] != k:
		case k.gone:
			delete(c.calls, k.req)
		default:
			return k.frame
		}
	}
	return c.nextWaves()
}

// renewBefore has the token renewed when four fifths of its life have passed.
// The caller holds mu.
func (c *Client) renewBefore(l *link, expires time.Time) {
	if c.o.Token != nil {
		c.renewIn(l, max(expires.Sub(l.serverNow())*4/5, time.Second))
	}
}

// renewIn has the token renewed after d. The caller holds mu.
func (c *Client) renewIn(l *link, d time.Duration) {
	if l.renew == nil {
		l.renew = time.AfterFunc(d, func() { c.renewToken(l) })
	} else {
		l.renew.Reset(d)
	}
}

func (c *Client) renewToken(l *link) {
	c.mu.Lock()
	if c.link != l || l.renewing {
		c.mu.Unlock()
		return
	}
	l.renewing = true
	c.mu.Unlock()

	ctx, cancel := context.WithTimeout(l.ctx, clientRenewTimeout)
	token, err := c.token(ctx)
	cancel()
	if err != nil && l.ctx.Err() == nil {
		c.o.Logger.Warn("carewire: could not renew the token", "error", err)
	}

	c.mu.Lock()
	defer c.mu.Unlock()
	if c.link != l {
		return
	}
	again := func(after time.Duration) {
		l.renewing = false
		c.renewIn(l, after+c.backoff(l.renewals))
		l.renewals++
	}
	if err != nil {
		again(time.Second)
		return
	}
	c.post(c.callOwn(reqToken, func(e *encoder) { e.str("token", token) }, func(r *reply) {
		switch {
		case r.Err != nil:
			again(max(r.Err.RetryAfter, time.Second))
		default:
			l.renewing, l.renewals = false, 0
			if !r.Expires.IsZero() {
				c.renewBefore(l, r.Expires)
			}
		}
	}))
}
