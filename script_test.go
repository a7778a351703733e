package carewire

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carewire/carewire/internal/memnet"
	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// script is a server under the control of a test, in a synctest bubble.
type script struct {
	t         *testing.T
	welcome   string
	conns     chan *scripted
	transport *http.Transport
	log       bytes.Buffer
	clients   []*Client
	started   time.Time

	mu       sync.Mutex
	refusals []int // statuses of the next handshakes; 0 accepts
	after    string
	attempts []time.Duration
	tokens   []string
}

// scripted is one connection of a script.
type scripted struct {
	s      *script
	ws     *websocket.Conn
	frames chan *request
	err    error // why reading ended, once frames is closed
}

const plainWelcome = `{"type":"welcome","session":"s","time":"2026-03-01T08:00:00Z","heartbeat_s":20}`

func scriptTest(t *testing.T, f func(t *testing.T, s *script)) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &script{t: t, welcome: plainWelcome, conns: make(chan *scripted, 100), started: time.Now()}
		l := memnet.Listen()
		server := &http.Server{Handler: s}
		served := make(chan error)
		go func() { served <- server.Serve(l) }()
		s.transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}
		defer func() {
			for _, c := range s.clients {
				c.Close()
			}
			s.transport.CloseIdleConnections()
			server.Close()
			<-served
		}()
		f(t, s)
	})
}

func (s *script) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.attempts = append(s.attempts, time.Since(s.started))
	s.tokens = append(s.tokens, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	status := 0
	if len(s.refusals) > 0 {
		status, s.refusals = s.refusals[0], s.refusals[1:]
	}
	after := s.after
	s.mu.Unlock()
	if status != 0 {
		if after != "" {
			w.Header().Set("Retry-After", after)
		}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		return
	}
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}})
	if err != nil {
		return
	}
	c := &scripted{s: s, ws: ws, frames: make(chan *request, 1000)}
	c.send(s.welcome)
	go func() {
		defer close(c.frames)
		for {
			_, b, err := ws.Read(context.Background())
			if err != nil {
				c.err = err
				ws.CloseNow()
				return
			}
			q, err := decodeRequest(b, 1000)
			if err != nil {
				s.t.Errorf("%v: %s", err, b)
			}
			c.frames <- q
		}
	}()
	s.conns <- c
}

func (s *script) refuse(statuses ...int) {
	s.mu.Lock()
	s.refusals = statuses
	s.mu.Unlock()
}

func (s *script) options() *DialOptions {
	return &DialOptions{HTTPClient: &http.Client{Transport: s.transport}, Logger: slog.New(slog.NewTextHandler(&s.log, nil)),
		random: func() float64 { return 1 }}
}

// dial connects a Client, which ends with the test.
func (s *script) dial(o *DialOptions) (*Client, *scripted) {
	if o == nil {
		o = s.options()
	}
	c, err := Dial(s.t.Context(), "ws://localhost/carewire", o)
	require.NoError(s.t, err)
	s.clients = append(s.clients, c)
	return c, <-s.conns
}

func (c *scripted) send(frames ...string) {
	for _, f := range frames {
		c.ws.Write(context.Background(), websocket.MessageText, []byte(f))
	}
}

// next returns the next request, which must be of the given type.
func (c *scripted) next(typ requestType) *request {
	c.s.t.Helper()
	select {
	case q := <-c.frames:
		require.NotNil(c.s.t, q, "the connection ended: %v", c.err)
		require.Equal(c.s.t, typ, q.Type)
		return q
	case <-time.After(time.Hour):
		require.Fail(c.s.t, "no request", string(typ))
		return nil
	}
}

func (c *scripted) none() {
	c.s.t.Helper()
	synctest.Wait()
	select {
	case q, ok := <-c.frames:
		if ok {
			require.Fail(c.s.t, "unexpected request", string(q.Type))
		}
	default:
	}
}

func (c *scripted) ok(q *request, members string) {
	c.send(`{"type":"ok","req":"` + q.Req + `"` + members + `}`)
}

func (c *scripted) fail(q *request, members string) {
	c.send(`{"type":"error","req":"` + q.Req + `",` + members + `}`)
}

// close ends the connection with a close code.
func (c *scripted) close(code CloseCode) {
	go c.ws.Close(websocket.StatusCode(code), "")
}

func entry(typ, patient string, seq, must int) string {
	switch typ {
	case "vital":
		return fmt.Sprintf(`{"type":"vital","patient":%q,"epoch":"E","seq":%d,"must":%d,"vital":{"patient":%[1]q,"code":"8867-4","value":%d,"unit":"/min","time":"2026-03-01T08:00:00Z"}}`,
			patient, seq, must, seq)
	case "sync+":
		return fmt.Sprintf(`{"type":"sync","patient":%q,"epoch":"E","seq":%d,"must":%d,"recovered":true}`, patient, seq, must)
	case "alert":
		return fmt.Sprintf(`{"type":"alert","patient":%q,"epoch":"E","seq":%d,"must":%d,"alert":{"patient":%[1]q,"key":"k","text":"t"}}`, patient, seq, must)
	}
	return fmt.Sprintf(`{"type":%q,"patient":%q,"epoch":"E","seq":%d,"must":%d}`, typ, patient, seq, must)
}

func heads(patient string, seq, must int) string {
	return fmt.Sprintf(`{"type":"head","heads":[{"patient":%q,"epoch":"E","seq":%d,"must":%d}]}`, patient, seq, must)
}

// read returns the next event.
func read(t *testing.T, c *Client) Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Hour)
	defer cancel()
	for ev, err := range c.Events(ctx) {
		require.NoError(t, err)
		return ev
	}
	panic("no pair")
}

// reads checks the next events, as "type" or "type seq".
func reads(t *testing.T, c *Client, want ...string) {
	t.Helper()
	for _, w := range want {
		ev := read(t, c)
		got := string(ev.Type)
		if ev.Seq > 0 {
			got = fmt.Sprint(got, " ", ev.Seq)
		}
		require.Equal(t, w, got)
	}
}

// nothing checks that no event waits.
func nothing(t *testing.T, c *Client) {
	t.Helper()
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if e := c.queue.events.Front(); e != nil {
		require.Fail(t, "unexpected event", "%s %d", e.Value.(*Event).Type, e.Value.(*Event).Seq)
	}
}

// follow watches patient p and brings it live at the given position.
func (s *script) follow(c *Client, conn *scripted, o WatchOptions, seq, must int) {
	s.t.Helper()
	if o.Patients == nil && o.Groups == nil {
		o.Patients = []string{"p"}
	}
	done := make(chan error, 1)
	go func() {
		_, err := c.Watch(s.t.Context(), o)
		done <- err
	}()
	conn.ok(conn.next(reqWatch), `,"watching":["p"]`)
	require.NoError(s.t, <-done)
	reads(s.t, c, "live", "welcome")
	conn.send(entry("sync", "p", seq, must), entry("vital", "p", seq, must), entry("synced", "p", seq, must))
	reads(s.t, c, fmt.Sprint("sync ", seq), fmt.Sprint("vital ", seq), fmt.Sprint("synced ", seq))
}
