// Package carewiretest helps hosts to test what they build on carewire: it
// serves their handler in memory, connects any principal to it, plays slow
// clients by script, records pages, and waits for events without sleeping.
// Everything works inside a testing/synctest bubble, too.
package carewiretest

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/memnet"
)

// patience bounds every waiting of this package.
const patience = 30 * time.Second

// Door is an Authenticator that lets in whom it has given a token to. Its zero
// value lets in nobody. It is safe for concurrent use.
type Door struct {
	mu     sync.Mutex
	people map[string]carewire.Principal
}

// Token returns a token for p: its ID. Calling it again with the same ID
// changes what the next connection with that token gets.
func (d *Door) Token(p carewire.Principal) string {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.people == nil {
		d.people = make(map[string]carewire.Principal)
	}
	d.people[p.ID] = p
	return p.ID
}

// Authenticate returns the principal whose token r carries.
func (d *Door) Authenticate(r *http.Request) (carewire.Principal, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	p, ok := d.people[carewire.Token(r)]
	if !ok {
		return p, carewire.ErrUnauthenticated
	}
	return p, nil
}

// Server serves a handler in memory.
type Server struct {
	t   testing.TB
	net *memnet.Listener
	srv *http.Server
}

// Serve serves h, a Hub or what a host has mounted it in, until the test ends
// or Close. It does not shut the Hub down.
func Serve(t testing.TB, h http.Handler) *Server {
	s := &Server{t: t, net: memnet.Listen(), srv: &http.Server{Handler: h, ReadHeaderTimeout: patience}}
	go s.srv.Serve(s.net)
	t.Cleanup(s.Close)
	return s
}

// Close ends the server; its connections stay until the Hub ends them.
func (s *Server) Close() { s.srv.Close() }

// client makes handshakes over the server's network in memory.
func (s *Server) client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.net.Dial(ctx) }}}
}

// Dial connects to the path with a token. The Client is closed when the test ends.
func (s *Server) Dial(path, token string) *carewire.Client {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	c, err := carewire.Dial(ctx, "ws://localhost"+path, &carewire.DialOptions{HTTPClient: s.client(),
		Token: func(context.Context) (string, error) { return token, nil }})
	if err != nil {
		s.t.Fatalf("carewiretest: dial: %v", err)
	}
	s.t.Cleanup(func() { c.Close() })
	return c
}

// Await returns the next event of c for which match says so; events before it
// are dropped. The test fails if none comes.
func Await(t testing.TB, c *carewire.Client, match func(carewire.Event) bool) carewire.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for e, err := range c.Events(ctx) {
		if err != nil {
			t.Fatalf("carewiretest: the event awaited did not come: %v", err)
		}
		if match(e) {
			return e
		}
	}
	t.Fatal("carewiretest: the event awaited did not come")
	return carewire.Event{}
}

// OfType matches events of a type.
func OfType(typ carewire.EventType) func(carewire.Event) bool {
	return func(e carewire.Event) bool { return e.Type == typ }
}

// Slow is a client that does only what a test tells it to: it reads nothing
// that is not asked for, so that the server's writes to it wait.
type Slow struct {
	t  testing.TB
	ws *websocket.Conn
}

// DialSlow connects a Slow to the path with a token. It is closed when the test ends.
func (s *Server) DialSlow(path, token string) *Slow {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://localhost"+path, &websocket.DialOptions{HTTPClient: s.client(),
		HTTPHeader: http.Header{"Authorization": {"Bearer " + token}}, Subprotocols: []string{carewire.Protocol}})
	if err != nil {
		s.t.Fatalf("carewiretest: dial: %v", err)
	}
	ws.SetReadLimit(1 << 20)
	s.t.Cleanup(func() { ws.CloseNow() })
	return &Slow{s.t, ws}
}

// Send sends one frame, as JSON text.
func (s *Slow) Send(frame string) {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	if err := s.ws.Write(ctx, websocket.MessageText, []byte(frame)); err != nil {
		s.t.Fatalf("carewiretest: send: %v", err)
	}
}

// Next reads one frame, as JSON text.
func (s *Slow) Next() string {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	_, b, err := s.ws.Read(ctx)
	if err != nil {
		s.t.Fatalf("carewiretest: read: %v", err)
	}
	return string(b)
}

// CloseCode reads on until the connection ends, and returns why.
func (s *Slow) CloseCode() carewire.CloseCode {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	for {
		if _, _, err := s.ws.Read(ctx); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				s.t.Fatal("carewiretest: the connection did not end")
			}
			if code := websocket.CloseStatus(err); code != -1 {
				return carewire.CloseCode(code)
			}
			return carewire.CloseAbnormal
		}
	}
}

// Recorder is a Pager that keeps the pages it is given. Its zero value is
// ready; it is safe for concurrent use.
type Recorder struct {
	// Fail, if set, decides by a page whether it fails. Set it before use.
	Fail func(carewire.Page) error

	mu    sync.Mutex
	pages []carewire.Page
	more  chan struct{}
}

// Page records p, unless Fail says that it fails.
func (r *Recorder) Page(_ context.Context, p carewire.Page) error {
	if r.Fail != nil {
		if err := r.Fail(p); err != nil {
			return err
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.pages = append(r.pages, p)
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return nil
}

// Pages returns the first n pages, once there are as many. The test fails if
// they do not come within half a minute.
func (r *Recorder) Pages(t testing.TB, n int) []carewire.Page {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		r.mu.Lock()
		if len(r.pages) >= n {
			pages := append([]carewire.Page(nil), r.pages[:n]...)
			r.mu.Unlock()
			return pages
		}
		if r.more == nil {
			r.more = make(chan struct{})
		}
		more := r.more
		r.mu.Unlock()
		select {
		case <-more:
		case <-late.C:
			t.Fatalf("carewiretest: %d pages did not come", n)
		}
	}
}

var (
	_ carewire.Authenticator = (*Door)(nil)
	_ carewire.Pager         = (*Recorder)(nil)
)
