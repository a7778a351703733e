// Package carewiretest helps hosts to test their code. It serves their handler
// in memory, connects any principal to it, scripts slow clients, records pages,
// and waits for events without sleeping. Everything also works inside a
// testing/synctest bubble.
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

// Door is an Authenticator that admits the principals to which it has given a
// token. Its zero value admits nobody. It is safe for concurrent use.
type Door struct {
	mu     sync.Mutex
	people map[string]carewire.Principal
}

// Token returns a token for p: its ID. Calling it again with the same ID
// changes the principal of the next connection with that token.
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

// Serve serves h, a Hub or a handler of the host, until the test ends or Close.
// It does not shut the Hub down.
func Serve(t testing.TB, h http.Handler) *Server {
	s := &Server{t: t, net: memnet.Listen(), srv: &http.Server{Handler: h, ReadHeaderTimeout: patience}}
	go s.srv.Serve(s.net)
	t.Cleanup(s.Close)
	return s
}

// Close ends the server; its connections stay until the Hub ends them.
func (s *Server) Close() { s.srv.Close() }

// Client returns an HTTP client whose requests, to any host and port, go to the
// server: for POSTs, for a host's own handlers, and as DialOptions.HTTPClient.
func (s *Server) Client() *http.Client {
	return &http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return s.net.Dial(ctx) }}}
}

// Dial connects to the path with a token. The Client is closed when the test ends.
func (s *Server) Dial(path, token string) *carewire.Client {
	s.t.Helper()
	c, err := s.TryDial(path, &carewire.DialOptions{Token: func(context.Context) (string, error) { return token, nil }})
	if err != nil {
		s.t.Fatalf("carewiretest: dial: %v", err)
	}
	return c
}

// TryDial connects to the path as o says, such as with headers: a browser's Cookie
// and Origin, for example. o.HTTPClient is the server's. The Client is closed when
// the test ends.
func (s *Server) TryDial(path string, o *carewire.DialOptions) (*carewire.Client, error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var own carewire.DialOptions
	if o != nil {
		own = *o
	}
	own.HTTPClient = s.Client()
	c, err := carewire.Dial(ctx, "ws://localhost"+path, &own)
	if err == nil {
		s.t.Cleanup(func() { c.Close() })
	}
	return c, err
}

// Browser returns the headers that a page of the server's own origin sends, with a
// cookie: for TryDial and Client.
func Browser(cookie *http.Cookie) http.Header {
	return http.Header{"Origin": {"http://localhost"}, "Cookie": {cookie.Name + "=" + cookie.Value}}
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

// Nothing fails the test if an event of c for which match says so comes within d;
// events before it are dropped. In a synctest bubble this takes no time.
func Nothing(t testing.TB, c *carewire.Client, d time.Duration, match func(carewire.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	for e, err := range c.Events(ctx) {
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.Fatalf("carewiretest: the client has ended: %v", err)
		case match(e):
			t.Fatalf("carewiretest: an event came that was not to come: %s", e.Type)
		}
	}
}

// OfType matches events of a type.
func OfType(typ carewire.EventType) func(carewire.Event) bool {
	return func(e carewire.Event) bool { return e.Type == typ }
}

// Slow is a client that acts only on a test's calls: it reads nothing that is
// not asked for, so that the server's writes to it wait.
type Slow struct {
	t  testing.TB
	ws *websocket.Conn
}

// DialSlow connects a Slow to the path with a token. It is closed when the test ends.
func (s *Server) DialSlow(path, token string) *Slow {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://localhost"+path, &websocket.DialOptions{HTTPClient: s.Client(),
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

	mu            sync.Mutex
	pages, failed []carewire.Page
	more          chan struct{}
}

// Page records p, as one that Fail says has failed or as a good one.
func (r *Recorder) Page(_ context.Context, p carewire.Page) error {
	var err error
	if r.Fail != nil {
		err = r.Fail(p)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if err != nil {
		r.failed = append(r.failed, p)
	} else {
		r.pages = append(r.pages, p)
	}
	if r.more != nil {
		close(r.more)
		r.more = nil
	}
	return err
}

// Pages returns the first n pages that did not fail, once there are as many. The
// test fails if they do not come within half a minute.
func (r *Recorder) Pages(t testing.TB, n int) []carewire.Page {
	t.Helper()
	return r.await(t, n, &r.pages)
}

// Failed returns the first n pages that failed, as Pages does those that did not. A
// page that is tried again comes again.
func (r *Recorder) Failed(t testing.TB, n int) []carewire.Page {
	t.Helper()
	return r.await(t, n, &r.failed)
}

func (r *Recorder) await(t testing.TB, n int, list *[]carewire.Page) []carewire.Page {
	t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		r.mu.Lock()
		if len(*list) >= n {
			pages := append([]carewire.Page(nil), (*list)[:n]...)
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
