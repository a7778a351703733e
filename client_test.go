package carewire

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"
)

// script is a server that does what a test says, in a synctest bubble.
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

// A lost connection is made anew after pauses that double, and the watch goes
// on where it stood.
func TestClientResumes(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{Delivery: DeliverEvery}, 7, 3)
		conn.send(entry("alert", "p", 8, 4), entry("gap", "p", 9, 5), entry("gap", "p", 10, 5), entry("vital", "p", 11, 5))
		reads(t, c, "alert 8", "gap 9", "gap 10", "vital 11")

		s.refuse(503, 500, 404, 0)
		lost := time.Since(s.started)
		conn.ws.CloseNow()
		ev := read(t, c)
		require.Equal(t, EventLost, ev.Type)
		require.Equal(t, CloseAbnormal, ev.Code)
		conn = <-s.conns
		var pauses []time.Duration
		for _, at := range s.attempts[1:] {
			pauses = append(pauses, at-lost)
			lost = at
		}
		require.Equal(t, []time.Duration{500 * time.Millisecond, time.Second, 2 * time.Second, 4 * time.Second}, pauses)

		q := conn.next(reqWatch)
		require.Equal(t, []string{"p"}, q.Patients)
		require.Equal(t, DeliverEvery, q.Delivery)
		require.Equal(t, map[string]Position{"p": {"E", 11}}, q.Since)
		conn.send(entry("alert", "p", 99, 99)) // before its sync: of no connection's making
		conn.ok(q, `,"watching":["p"]`)
		conn.send(entry("sync+", "p", 11, 5), entry("alert", "p", 12, 6), entry("synced", "p", 12, 6))
		reads(t, c, "live", "welcome", "sync 11", "alert 12", "synced 12")

		// The doubling begins anew only after a connection that lasted.
		conn.close(CloseRestart)
		reads(t, c, "lost")
		lost = time.Since(s.started)
		conn = <-s.conns
		require.Equal(t, 8*time.Second, time.Since(s.started)-lost)
		for range 2 {
			time.Sleep(20 * time.Second)
			conn.send(`{"type":"heartbeat","inbox":2}`)
		}
		conn.close(CloseGoingAway)
		reads(t, c, "live", "welcome", "heartbeat", "heartbeat", "lost")
		lost = time.Since(s.started)
		<-s.conns
		require.Equal(t, 500*time.Millisecond, time.Since(s.started)-lost)
		require.NoError(t, c.Close())
	})
}

// Retry-After is kept, and an overloaded server is given more time.
func TestClientBackoff(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.after = "60"
		s.refuse(429, 0)
		conn.close(CloseTryLater)
		<-s.conns
		require.Equal(t, 4*time.Second, s.attempts[1])
		require.Equal(t, 64*time.Second, s.attempts[2])
		require.NoError(t, c.Close())

		for n, want := range []time.Duration{500, 1000, 2000, 4000, 8000, 16000, 30000, 30000} {
			require.Equal(t, want*time.Millisecond, c.backoff(n))
		}
		require.Equal(t, 30*time.Second, c.backoff(100))
		c.o.random = func() float64 { return 0.5 }
		require.Equal(t, 250*time.Millisecond, c.backoff(0))
	})
}

// Whatever shows that something is missing resumes the patient from the last
// position that was right.
func TestClientMissed(t *testing.T) {
	for name, test := range map[string]struct {
		delivery Delivery
		frames   []string
		missed   bool
	}{
		"alert":               {"", []string{entry("alert", "p", 9, 5)}, true},
		"alert, not counted":  {"", []string{entry("alert", "p", 9, 3)}, true},
		"vital":               {"", []string{entry("vital", "p", 9, 4)}, true},
		"gap":                 {"", []string{entry("gap", "p", 9, 5)}, true},
		"count shrinks":       {"", []string{entry("vital", "p", 9, 2)}, true},
		"head":                {"", []string{heads("p", 9, 4)}, true},
		"head at ours":        {"", []string{heads("p", 7, 4)}, true},
		"repetition":          {"", []string{entry("vital", "p", 7, 3)}, true},
		"head of another log": {"", []string{strings.Replace(heads("p", 5, 3), `"E"`, `"F"`, 1)}, true},
		"another log":         {"", []string{strings.Replace(entry("alert", "p", 5, 4), `"E"`, `"F"`, 1)}, true},
		"every: a number":     {DeliverEvery, []string{entry("vital", "p", 9, 3)}, true},
		"every: head":         {DeliverEvery, []string{heads("p", 8, 3)}, true},

		"replaced vitals":   {"", []string{entry("vital", "p", 19, 3), entry("alert", "p", 22, 4)}, false},
		"gap of an alert":   {"", []string{entry("gap", "p", 8, 4), entry("alert", "p", 9, 5)}, false},
		"gap of a vital":    {"", []string{entry("gap", "p", 8, 3), entry("alert", "p", 9, 4)}, false},
		"head ahead":        {"", []string{heads("p", 30, 3)}, false},
		"old head":          {"", []string{entry("alert", "p", 8, 4), heads("p", 7, 3)}, false},
		"new epoch goes on": {"", []string{strings.Replace(entry("alert", "p", 8, 4), `"E"`, `"F"`, 1), entry("alert", "p", 9, 5)}, false},
		"every":             {DeliverEvery, []string{entry("vital", "p", 8, 3), entry("gap", "p", 9, 3), heads("p", 9, 3)}, false},
		"another patient":   {"", []string{entry("alert", "q", 1, 9), heads("q", 9, 9)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			scriptTest(t, func(t *testing.T, s *script) {
				c, conn := s.dial(nil)
				s.follow(c, conn, WatchOptions{Delivery: test.delivery}, 7, 3)
				conn.send(test.frames...)
				if test.missed {
					q := conn.next(reqWatch)
					require.Equal(t, []string{"p"}, q.Patients)
					require.Equal(t, map[string]Position{"p": {"E", 7}}, q.Since)
				}
				conn.none()
				require.NoError(t, c.Close())
				require.Equal(t, test.missed, strings.Contains(s.log.String(), "missed"))
			})
		})
	}
}

// A resumed patient shows what was missed; if that does not make the count
// right, the next attempt begins with a snapshot, later and later.
func TestClientMissedAgain(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		conn.send(entry("alert", "p", 9, 5))
		q := conn.next(reqWatch)
		require.Equal(t, map[string]Position{"p": {"E", 7}}, q.Since)
		conn.send(entry("alert", "p", 10, 6), entry("sync", "p", 50, 50), entry("alert", "p", 51, 51)) // still on their way
		conn.ok(q, `,"watching":["p"]`)
		conn.send(entry("sync+", "p", 7, 3), entry("alert", "p", 8, 4), entry("alert", "p", 9, 5), entry("alert", "p", 10, 6), entry("synced", "p", 10, 6))
		reads(t, c, "stale", "sync 7", "alert 8", "alert 9", "alert 10", "synced 10")
		nothing(t, c)

		start := time.Now()
		conn.send(heads("p", 12, 7))
		q = conn.next(reqWatch)
		require.Nil(t, q.Since)
		require.Equal(t, 2*time.Second, time.Since(start))
		conn.ok(q, `,"watching":["p"]`)
		conn.send(entry("sync", "p", 12, 7), entry("alert", "p", 11, 7), entry("vital", "p", 12, 7), entry("synced", "p", 12, 7), heads("p", 12, 7))
		reads(t, c, "stale", "sync 12", "alert 11", "vital 12", "synced 12")

		// A count that is wrong at synced is wrong too.
		time.Sleep(45 * time.Second)
		conn.send(`{"type":"heartbeat"}`, heads("p", 12, 7))
		time.Sleep(45 * time.Second)
		conn.send(heads("p", 12, 8))
		q = conn.next(reqWatch)
		require.Equal(t, map[string]Position{"p": {"E", 12}}, q.Since)
		conn.ok(q, `,"watching":["p"]`)
		start = time.Now()
		conn.send(entry("sync+", "p", 12, 7), entry("synced", "p", 13, 8))
		require.Nil(t, conn.next(reqWatch).Since)
		require.Equal(t, 2*time.Second, time.Since(start))
		reads(t, c, "heartbeat", "stale", "sync 12")
		nothing(t, c)
		require.NoError(t, c.Close())
	})
}

// A snapshot that was cut short is no position to resume from.
func TestClientSnapshotCutShort(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		conn.send(entry("sync", "p", 40, 9), entry("alert", "p", 20, 5)) // the server found another log
		reads(t, c, "sync 40", "alert 20")
		conn.ws.CloseNow()
		conn = <-s.conns
		require.Nil(t, conn.next(reqWatch).Since)
		require.NoError(t, c.Close())
	})
}

// A publish without an answer is repeated under the same ID on the next
// connection, and the caller learns that it had arrived the first time.
func TestClientRepeats(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		var got []PublishResult
		done := make(chan error, 1)
		go func() {
			var err error
			got, err = c.Publish(t.Context(), HeartRate.Of("p", 72), Vital{}, HeartRate.Of("p", 73), Vital{Value: "x"}, Vital{Site: "\xff"})
			done <- err
		}()
		q := conn.next(reqPublish)
		require.Len(t, q.Vitals, 3)
		ids := []string{q.Vitals[0].ID, q.Vitals[1].ID, q.Vitals[2].ID}
		require.True(t, validID(ids[0]))
		require.NotEqual(t, ids[0], ids[2])
		conn.ws.CloseNow()
		conn = <-s.conns
		q = conn.next(reqPublish)
		for i := range ids {
			require.Equal(t, ids[i], q.Vitals[i].ID)
		}
		conn.ok(q, `,"results":[{"seq":4,"repeated":true},{"error":{"code":"invalid","retry":"never","field":"patient"}},{"seq":5}]`)
		require.NoError(t, <-done)
		require.Equal(t, PublishResult{Seq: 4, Repeated: true}, got[0])
		require.Equal(t, PublishResult{Seq: 5}, got[2])
		var refused *RequestError
		require.ErrorAs(t, got[1].Err, &refused)
		require.Equal(t, "patient", refused.Field)
		for _, i := range []int{3, 4} {
			var wrong *ValidationError
			require.ErrorAs(t, got[i].Err, &wrong)
		}
		conn.none()
		require.NoError(t, c.Close())
	})
}

// "Later" is done later, at the time the server asks for, under the same ID.
func TestClientLater(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		start := time.Now()
		done := make(chan error, 1)
		go func() {
			a, err := c.Raise(t.Context(), Raise{Patient: "p", Key: "k", Text: "t", Priority: PriorityHigh, Source: Source{By: "me", Rule: "r"}})
			require.Equal(t, "k", a.Key)
			done <- err
		}()
		q := conn.next(reqRaise)
		id := q.EventID
		conn.fail(q, `"code":"busy","retry":"later","retry_ms":3000`)
		q = conn.next(reqRaise)
		require.Equal(t, 3500*time.Millisecond, time.Since(start))
		require.Equal(t, id, q.EventID)
		conn.fail(q, `"code":"unknown","retry":"later"`)
		q = conn.next(reqRaise)
		require.Equal(t, 4500*time.Millisecond, time.Since(start))
		require.Equal(t, id, q.EventID)
		conn.ok(q, `,"alert":{"patient":"p","key":"k"}`)
		require.NoError(t, <-done)

		// Of a publish only those are sent again that wait.
		go func() {
			got, err := c.Publish(t.Context(), HeartRate.Of("p", 1), HeartRate.Of("p", 2), HeartRate.Of("p", 3))
			require.Equal(t, []PublishResult{{Seq: 1}, {Seq: 4, Repeated: true}, {Seq: 3}}, got)
			done <- err
		}()
		start = time.Now()
		q = conn.next(reqPublish)
		id = q.Vitals[1].ID
		conn.ok(q, `,"results":[{"seq":1},{"error":{"code":"unknown","retry":"later","retry_ms":1000}},{"seq":3}]`)
		q = conn.next(reqPublish)
		require.Equal(t, 1500*time.Millisecond, time.Since(start))
		require.Len(t, q.Vitals, 1)
		require.Equal(t, id, q.Vitals[0].ID)
		conn.ok(q, `,"results":[{"seq":4,"repeated":true}]`)
		require.NoError(t, <-done)
		require.NoError(t, c.Close())
	})
}

// A call ends with its context, and says what it was told last.
func TestClientContext(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		done := make(chan error, 1)
		go func() {
			_, err := c.Answer(ctx, AlertRef{Patient: "p", Key: "k", ID: "a"}, Answer{Do: AnswerAccept, For: time.Minute})
			done <- err
		}()
		q := conn.next(reqAnswer)
		require.Equal(t, time.Minute, q.Answer.For)
		conn.fail(q, `"code":"busy","retry":"later","retry_ms":600000`)
		err := <-done
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.ErrorIs(t, err, ErrBusy)
		require.ErrorIs(t, c.Receipt(ctx, Receipt{}), context.DeadlineExceeded)

		// What never succeeds is not repeated.
		go func() {
			_, err := c.Clear(t.Context(), AlertRef{Patient: "p", Key: "k", ID: "a"})
			done <- err
		}()
		conn.fail(conn.next(reqClear), `"code":"ended","retry":"never","alert":{"patient":"p","key":"k"}`)
		err = <-done
		require.ErrorIs(t, err, ErrEnded)
		var f *RequestError
		require.ErrorAs(t, err, &f)
		require.Equal(t, "k", f.Alert.Key)

		// Whoever waits for a turn can give up too.
		for range cap(c.slots) {
			c.slots <- struct{}{}
		}
		ctx, cancel = context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = c.Notify(ctx, Notice{})
		require.ErrorIs(t, err, context.DeadlineExceeded)

		// A reader whose context ends leaves the events to the next.
		for ev, err := range c.Events(ctx) {
			require.ErrorIs(t, err, context.DeadlineExceeded)
			require.Zero(t, ev)
		}
		reads(t, c, "live", "welcome")
		require.NoError(t, c.Close())
	})
}

// A Watch whose caller has given up counts if the server's ok comes, and is not
// repeated if the connection is lost before.
func TestClientWatchGivenUp(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		watch := func(p string) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Watch(ctx, WatchOptions{Patients: []string{p}})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		watch("a")
		conn.ok(conn.next(reqWatch), `,"watching":["a"]`)
		conn.send(entry("sync", "a", 1, 1), entry("synced", "a", 1, 1))
		reads(t, c, "live", "welcome", "sync 1", "synced 1")
		watch("b")
		conn.next(reqWatch)

		// What is watched goes before what waits.
		done := make(chan error, 1)
		go func() {
			_, err := c.Publish(t.Context(), HeartRate.Of("p", 1))
			done <- err
		}()
		conn.next(reqPublish)
		conn.close(CloseRestart)
		conn = <-s.conns
		require.Equal(t, []string{"a"}, conn.next(reqWatch).Patients)
		conn.ok(conn.next(reqPublish), `,"results":[{"seq":1}]`)
		require.NoError(t, <-done)
		conn.none()
		require.Empty(t, c.calls["2"])
		require.NoError(t, c.Close())
	})
}

// A request that would cost the connection is not sent.
func TestClientHarmful(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		s.welcome = `{"type":"welcome","limits":{"frame":1000}}`
		c, conn := s.dial(nil)
		var f *RequestError
		_, err := c.Raise(t.Context(), Raise{Text: strings.Repeat("x", 1000)})
		require.ErrorAs(t, err, &f)
		require.Equal(t, CodeLimit, f.Code)
		_, err = c.Raise(t.Context(), Raise{Source: Source{Value: "1e3,"}})
		require.Error(t, err)
		_, err = c.Raise(t.Context(), Raise{Text: "\xff"})
		require.ErrorIs(t, err, errNotUTF8)
		conn.none()
		require.NoError(t, c.Close())
	})
}

// History, receipts and notices go over the wire as they were meant.
func TestClientCalls(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		done := make(chan error, 1)
		go func() {
			n, err := c.Notify(t.Context(), Notice{Patient: "p", To: []string{"patient"}, Text: "t", From: "x", Time: time.Now()})
			require.Equal(t, "n", n.ID)
			done <- err
		}()
		q := conn.next(reqNotify)
		require.True(t, validID(q.Notice.ID))
		conn.ok(q, `,"notice":{"notice_id":"n"}`)
		require.NoError(t, <-done)

		go func() {
			done <- c.Receipt(t.Context(), Receipt{Patient: "p", NoticeID: "n", Stage: StageRead, Level: 3, By: Person{ID: "x"}})
		}()
		q = conn.next(reqReceipt)
		require.Equal(t, Receipt{Patient: "p", NoticeID: "n", Stage: StageRead}, q.Receipt)
		conn.ok(q, "")
		require.NoError(t, <-done)

		from := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
		query := HistoryQuery{Patient: "p", Kinds: []Kind{KindVital, KindAlert}, Key: "k", From: from, To: from.Add(time.Hour), Cursor: 3, Limit: 9}
		go func() {
			page, err := c.History(t.Context(), query)
			require.Equal(t, uint64(5), page.Next)
			require.Len(t, page.Events, 1)
			done <- err
		}()
		q = conn.next(reqHistory)
		require.Equal(t, query, q.History)
		conn.ok(q, `,"next":5,"events":[`+entry("alert", "p", 4, 1)+`]`)
		require.NoError(t, <-done)
		require.NoError(t, c.Close())
	})
}

// Tokens are renewed at four fifths of their life by the server's clock; what
// fails is tried again.
func TestClientRenews(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		s.welcome = `{"type":"welcome","heartbeat_s":3600,"time":"2040-03-01T08:00:00Z","expires":"2040-03-01T08:10:00Z"}`
		o := s.options()
		tokens := 0
		o.Token = func(context.Context) (string, error) {
			if tokens++; tokens == 2 {
				return "", errors.New("not now")
			}
			return fmt.Sprint("t", tokens), nil
		}
		c, conn := s.dial(o)
		require.Equal(t, []string{"t1"}, s.tokens)
		q := conn.next(reqToken)
		require.Equal(t, 8*time.Minute+time.Second+500*time.Millisecond, time.Since(s.started))
		require.Equal(t, "t3", q.Token)
		conn.fail(q, `"code":"unauthorized","retry":"reauth"`)
		q = conn.next(reqToken)
		require.Equal(t, "t4", q.Token)
		at := time.Since(s.started)
		conn.ok(q, fmt.Sprintf(`,"expires":%q`, time.Date(2040, 3, 1, 9, 0, 0, 0, time.UTC).Add(at).Format(time.RFC3339Nano)))
		q = conn.next(reqToken)
		require.Equal(t, 48*time.Minute, (time.Since(s.started) - at).Truncate(time.Minute))
		conn.ok(q, "")
		conn.none()

		// A call that needs a new token gets one.
		done := make(chan error, 1)
		go func() { done <- c.Receipt(t.Context(), Receipt{Patient: "p", NoticeID: "n", Stage: StageRead}) }()
		conn.fail(conn.next(reqReceipt), `"code":"unauthorized","retry":"reauth"`)
		conn.ok(conn.next(reqToken), "")
		conn.ok(conn.next(reqReceipt), "")
		require.NoError(t, <-done)

		// After 3000 a new token is fetched for every attempt.
		s.refuse(401, 401, 0)
		s.tokens, tokens = nil, 9
		conn.close(CloseUnauthorized)
		<-s.conns
		require.Equal(t, []string{"t10", "t11", "t12"}, s.tokens)
		require.NoError(t, c.Close())
		require.NotContains(t, s.log.String(), "t10")
	})
}

// The end is the end: no new attempt, and an error that says why.
func TestClientEnds(t *testing.T) {
	for name, test := range map[string]struct {
		code    CloseCode
		refusal int
		token   error
		want    error
	}{
		"forbidden":     {code: CloseForbidden, want: ErrForbidden},
		"policy":        {code: ClosePolicy},
		"too big":       {code: CloseTooBig},
		"normal":        {code: 1000},
		"no token":      {code: CloseUnauthorized, refusal: 401, want: ErrUnauthenticated},
		"logged out":    {code: CloseUnauthorized, token: ErrUnauthenticated, want: ErrUnauthenticated},
		"refused":       {code: CloseRestart, refusal: 403, want: ErrForbidden},
		"other version": {code: CloseRestart, refusal: 426},
	} {
		t.Run(name, func(t *testing.T) {
			scriptTest(t, func(t *testing.T, s *script) {
				o := s.options()
				if test.token != nil {
					first := true
					o.Token = func(context.Context) (string, error) {
						if first {
							first = false
							return "t", nil
						}
						return "", test.token
					}
				}
				c, conn := s.dial(o)
				done := make(chan error, 1)
				go func() {
					_, err := c.Publish(t.Context(), HeartRate.Of("p", 1))
					done <- err
				}()
				conn.next(reqPublish)
				if test.refusal != 0 {
					s.refuse(test.refusal)
				}
				conn.close(test.code)
				err := <-done
				require.Error(t, err)
				<-c.Done()
				require.Equal(t, err, c.Err())
				if test.want != nil {
					require.ErrorIs(t, err, test.want)
				}
				var got []string
				for ev, err := range c.Events(t.Context()) {
					if err != nil {
						require.Equal(t, c.Err(), err)
						break
					}
					got = append(got, string(ev.Type))
					if ev.Type == EventLost {
						require.Equal(t, test.code, ev.Code)
					}
				}
				require.Equal(t, []string{"live", "welcome", "lost"}, got)
				n := len(s.attempts)
				time.Sleep(time.Hour)
				require.Len(t, s.attempts, n)
				_, err = c.History(t.Context(), HistoryQuery{})
				require.Equal(t, c.Err(), err)
				require.NoError(t, c.Close())
				require.Equal(t, err, c.Err())
			})
		})
	}
}

// 50 s of silence are a dead line, whatever pings still come.
func TestClientStale(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		reads(t, c, "live", "welcome")
		time.Sleep(45 * time.Second)
		conn.send(`{"type":"heartbeat","inbox":3}`)
		ev := read(t, c)
		require.Equal(t, 3, ev.Open)
		start := time.Now()
		time.Sleep(30 * time.Second)
		require.NoError(t, conn.ws.Ping(t.Context()))
		reads(t, c, "stale", "lost")
		require.Equal(t, 50*time.Second, time.Since(start))
		<-s.conns
		reads(t, c, "live", "welcome")
		require.NoError(t, c.Close())
	})
}

// Close takes leave of the server and ends whatever is under way.
func TestClientClose(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		reads(t, c, "live", "welcome")
		done := make(chan error, 2)
		go func() { _, err := c.Watch(t.Context(), WatchOptions{Patients: []string{"p"}}); done <- err }()
		go func() {
			for _, err := range c.Events(t.Context()) {
				done <- err
			}
		}()
		conn.next(reqWatch)
		require.NoError(t, c.Err())
		require.NoError(t, c.Close())
		require.ErrorIs(t, <-done, ErrClosed)
		require.ErrorIs(t, <-done, ErrClosed)
		require.ErrorIs(t, c.Err(), ErrClosed)
		<-conn.frames
		require.Equal(t, websocket.StatusNormalClosure, websocket.CloseStatus(conn.err))
		require.NoError(t, c.Close())
	})
}

// Close does not wait for a server that stalls, before or while it takes leave.
func TestClientCloseStalled(t *testing.T) {
	for _, during := range []bool{false, true} {
		t.Run(fmt.Sprint(during), func(t *testing.T) {
			scriptTest(t, func(t *testing.T, s *script) {
				conns := make(chan net.Conn, 1)
				l := memnet.Listen()
				server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{Subprotocols: []string{Protocol}})
					if err == nil {
						ws.Write(context.Background(), websocket.MessageText, []byte(plainWelcome)) // and never reads
					}
				}), ConnContext: func(ctx context.Context, c net.Conn) context.Context { conns <- c; return ctx }}
				go server.Serve(l)
				defer server.Close()
				o := s.options()
				o.HTTPClient.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}
				c, err := Dial(t.Context(), "ws://localhost/", o)
				require.NoError(t, err)
				raw := <-conns
				defer raw.Close()
				frames := []byte{0x81, 2, '{', '}', 0x81, 126, 1, 0, 'x'} // the second never ends
				if during {
					go io.Copy(io.Discard, raw)
					go func() {
						time.Sleep(time.Second)
						raw.Write(frames)
					}()
				} else {
					go c.Publish(t.Context(), HeartRate.Of("p", 1))
					raw.Write(frames)
					synctest.Wait()
				}
				start := time.Now()
				require.NoError(t, c.Close())
				require.Equal(t, clientCloseGrace, time.Since(start))
			})
		})
	}
}

// Close does not wait for a server that is away.
func TestClientCloseAway(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.refuse(503, 503, 503, 503, 503, 503, 503)
		conn.ws.CloseNow()
		time.Sleep(10 * time.Second)
		start := time.Now()
		require.NoError(t, c.Close())
		require.Zero(t, time.Since(start))
	})
}

// The newest vital is the one measured last, whenever it came.
func TestBacklog(t *testing.T) {
	t.Parallel()
	b := newView().queue
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	vital := func(seq uint64, patient, code string, seconds int) Event {
		return Event{Type: EventVital, Patient: patient, Position: Position{Seq: seq},
			Vital: &Vital{Patient: patient, Code: code, Time: at.Add(time.Duration(seconds) * time.Second), Received: at.Add(time.Minute)}}
	}
	b.pushVital(vital(1, "p", "a", 10))
	b.pushVital(vital(2, "p", "b", 10))
	b.pushVital(vital(1, "q", "a", 10))
	b.pushVital(vital(3, "p", "a", 5))   // late
	b.pushVital(vital(4, "p", "b", 10))  // as new
	b.pushVital(vital(5, "p", "c", 200)) // ahead of time
	b.pushVital(vital(6, "p", "c", 100))
	var got []string
	for ev, ok := b.pop(); ok; ev, ok = b.pop() {
		got = append(got, fmt.Sprint(ev.Patient, ev.Seq))
	}
	require.Equal(t, []string{"p1", "q1", "p3", "p4", "p6"}, got)
	require.Empty(t, b.newest)
	b.pushVital(vital(7, "p", "a", 0))
	b.push(Event{Type: EventAlert, Patient: "q"})
	b.purge("p")
	require.Empty(t, b.newest)
	require.Equal(t, 1, b.len())
}

// Patients with a slow reader: newer vitals take the place of older ones, what
// counts is all there, calls are answered, and what found no room is fetched
// when there is some.
func TestClientSlowReader(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Buffer = 4
		c, conn := s.dial(o)
		s.follow(c, conn, WatchOptions{}, 1, 0)
		for seq := 2; seq < 100; seq++ {
			conn.send(entry("vital", "p", seq, 0))
		}
		synctest.Wait()
		reads(t, c, "vital 99")
		nothing(t, c)

		for seq := 100; seq < 110; seq++ {
			conn.send(entry("alert", "p", seq, seq-99))
		}
		for range 5 {
			conn.send(`{"type":"heartbeat"}`, `{"type":"status","store":"ok"}`)
		}
		q := conn.next(reqUnwatch) // until there is room
		require.Equal(t, []string{"p"}, q.Patients)
		conn.ok(q, "")
		done := make(chan error, 1)
		go func() { done <- c.Receipt(t.Context(), Receipt{Patient: "p", NoticeID: "n", Stage: StageRead}) }()
		conn.ok(conn.next(reqReceipt), "")
		require.NoError(t, <-done)
		conn.none()
		require.Equal(t, 7, c.queue.len())
		reads(t, c, "alert 100", "alert 101", "alert 102", "alert 103", "stale")
		q = conn.next(reqWatch)
		require.Equal(t, map[string]Position{"p": {"E", 103}}, q.Since)
		conn.ok(q, `,"watching":["p"]`)
		conn.send(entry("sync+", "p", 103, 4), entry("alert", "p", 104, 5))
		reads(t, c, "heartbeat", "status", "sync 103", "alert 104")

		// An inbox that found no room is fetched by connecting anew.
		for range 20 {
			conn.send(`{"type":"inbox","items":[]}`)
		}
		synctest.Wait()
		require.Equal(t, 8, c.queue.len())
		reads(t, c, "inbox", "inbox", "inbox", "inbox", "inbox")
		require.Equal(t, 3, c.queue.len())
		reads(t, c, "inbox", "inbox", "inbox", "lost")
		<-s.conns
		require.NoError(t, c.Close())
	})
}

// A Watch that was on its way when the patient was left is not lost.
func TestClientWatchWhileBehind(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Buffer = 4
		c, conn := s.dial(o)
		s.follow(c, conn, WatchOptions{}, 1, 0)
		done := make(chan error, 1)
		go func() {
			_, err := c.Watch(t.Context(), WatchOptions{Patients: []string{"p"}, Delivery: DeliverAlerts})
			done <- err
		}()
		watch := conn.next(reqWatch)
		for seq := 2; seq < 8; seq++ {
			conn.send(entry("alert", "p", seq, seq-1))
		}
		unwatch := conn.next(reqUnwatch)
		conn.ok(watch, `,"watching":["p"]`)
		require.NoError(t, <-done)
		conn.ok(unwatch, "")
		reads(t, c, "alert 2", "alert 3", "alert 4", "alert 5", "stale")
		q := conn.next(reqWatch)
		require.Equal(t, []string{"p"}, q.Patients)
		require.Equal(t, DeliverAlerts, q.Delivery)
		require.NoError(t, c.Close())
	})
}

// A reader that has caught up before the server has answered the Unwatch does
// not wait for what it is owed.
func TestClientReaderFasterThanUnwatch(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Buffer = 4
		c, conn := s.dial(o)
		s.follow(c, conn, WatchOptions{}, 1, 0)
		for seq := 2; seq < 8; seq++ {
			conn.send(entry("alert", "p", seq, seq-1))
		}
		unwatch := conn.next(reqUnwatch)
		reads(t, c, "alert 2", "alert 3", "alert 4", "alert 5", "stale")
		synctest.Wait()
		began := time.Now()
		conn.ok(unwatch, "")
		require.Equal(t, map[string]Position{"p": {"E", 5}}, conn.next(reqWatch).Since)
		require.Zero(t, time.Since(began))
		require.NoError(t, c.Close())
	})
}

// A large snapshot is let in whole, however small the buffer.
func TestClientLargeSnapshot(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Buffer = 2
		c, conn := s.dial(o)
		s.follow(c, conn, WatchOptions{}, 1, 0)
		conn.send(entry("sync", "p", 50, 50))
		for seq := 1; seq <= 50; seq++ {
			conn.send(entry("alert", "p", seq, seq))
		}
		conn.send(entry("synced", "p", 50, 50))
		reads(t, c, "sync 50")
		for seq := 1; seq <= 50; seq++ {
			reads(t, c, fmt.Sprint("alert ", seq))
		}
		reads(t, c, "synced 50")
		conn.none()
		require.NoError(t, c.Close())
	})
}

// With groups the server says who is watched, now and after an absence.
func TestClientGroups(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{Groups: []string{"w"}}, 7, 3)
		conn.send(`{"type":"granted","patient":"q"}`, entry("sync", "q", 2, 1), entry("alert", "q", 2, 1), entry("synced", "q", 2, 1))
		reads(t, c, "granted", "sync 2", "alert 2", "synced 2")

		// A member of whom something is missing is resumed by name.
		conn.send(heads("q", 3, 2))
		q := conn.next(reqWatch)
		require.Equal(t, []string{"q"}, q.Patients)
		require.Nil(t, q.Groups)
		require.Equal(t, map[string]Position{"q": {"E", 2}}, q.Since)
		conn.ok(q, `,"watching":["q"]`)
		conn.send(entry("sync+", "q", 2, 1), entry("alert", "q", 3, 2), entry("synced", "q", 3, 2))
		reads(t, c, "stale", "sync 2", "alert 3", "synced 3")

		// p left the ward, r came.
		conn.close(CloseRestart)
		conn = <-s.conns
		q = conn.next(reqWatch)
		require.Equal(t, []string{"w"}, q.Groups)
		require.Equal(t, map[string]Position{"p": {"E", 7}, "q": {"E", 3}}, q.Since)
		conn.ok(q, `,"watching":["q","r"]`)
		conn.send(entry("sync+", "q", 3, 2), entry("synced", "q", 3, 2), entry("sync", "r", 1, 1), entry("synced", "r", 1, 1), entry("alert", "p", 8, 4))
		reads(t, c, "lost", "live", "welcome")
		ev := read(t, c)
		require.Equal(t, "p", ev.Patient)
		require.Equal(t, EventRevoked, ev.Type)
		reads(t, c, "sync 3", "synced 3", "sync 1", "synced 1")
		nothing(t, c)
		require.Equal(t, []string{"p"}, conn.next(reqUnwatch).Patients)

		// Whoever is revoked takes what waits along.
		conn.send(entry("alert", "q", 4, 3), entry("alert", "r", 2, 2), `{"type":"revoked","patient":"q"}`, entry("alert", "q", 5, 4))
		synctest.Wait()
		reads(t, c, "alert 2", "revoked")
		nothing(t, c)

		// Without groups and names nothing is left.
		done := make(chan error, 1)
		go func() { done <- c.Unwatch(t.Context(), nil, []string{"w"}) }()
		q = conn.next(reqUnwatch)
		require.Equal(t, []string{"r"}, q.Patients)
		conn.ok(q, "")
		q = conn.next(reqUnwatch)
		require.Equal(t, []string{"w"}, q.Groups)
		conn.ok(q, "")
		require.NoError(t, <-done)
		conn.send(entry("alert", "r", 3, 3), entry("sync", "r", 3, 3))
		require.Equal(t, Event{Type: EventRevoked, Patient: "r"}, read(t, c))
		nothing(t, c)
		conn.close(CloseRestart)
		conn = <-s.conns
		conn.none()
		require.Empty(t, c.follows)
		require.NoError(t, c.Close())
	})
}

// What is refused when resuming is revoked, or asked for again if it was not decided.
func TestClientRefusedLater(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		done := make(chan error, 1)
		go func() {
			got, err := c.Watch(t.Context(), WatchOptions{Patients: []string{"a", "b", "x"}, Groups: []string{"g", "h"}, Emergency: true, Reason: "why"})
			require.Equal(t, WatchResult{Patients: []string{"a", "b"}, Refused: []Refusal{{Patient: "x", Code: CodeForbidden}}}, got)
			done <- err
		}()
		conn.ok(conn.next(reqWatch), `,"watching":["a","b"],"refused":[{"patient":"x","code":"forbidden"}]`)
		require.NoError(t, <-done)
		conn.close(CloseRestart)
		conn = <-s.conns
		q := conn.next(reqWatch)
		require.Equal(t, []string{"g", "h"}, q.Groups)
		conn.ok(q, `,"refused":[{"group":"g","code":"undecided"},{"group":"h","code":"forbidden"}]`)
		q = conn.next(reqWatch)
		require.Equal(t, []string{"a", "b"}, q.Patients)
		require.Equal(t, "why", q.Reason)
		conn.ok(q, `,"refused":[{"patient":"a","code":"undecided"},{"patient":"b","code":"forbidden"}]`)
		reads(t, c, "live", "welcome", "lost", "live", "welcome", "revoked")
		start := time.Now()
		q = conn.next(reqWatch)
		require.Equal(t, 2*time.Second, time.Since(start))
		if q.Groups == nil { // asked for a moment before the group
			require.Equal(t, []string{"a"}, q.Patients)
			conn.fail(q, `"code":"busy","retry":"later","retry_ms":100`)
			q = conn.next(reqWatch)
		}
		require.Equal(t, []string{"g"}, q.Groups)
		conn.ok(q, "")
		q = conn.next(reqWatch)
		require.Equal(t, []string{"a"}, q.Patients)
		conn.fail(q, `"code":"forbidden","retry":"never"`)
		reads(t, c, "revoked")
		conn.none()
		require.NoError(t, c.Close())
	})
}

// Many patients are resumed in several requests that a server takes.
func TestClientResumesMany(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		s.welcome = `{"type":"welcome","limits":{"frame":4000}}`
		c, conn := s.dial(nil)
		var patients, quoted []string
		for i := range 100 {
			patients = append(patients, fmt.Sprintf("patient-%02d", i))
			quoted = append(quoted, `"`+patients[i]+`"`)
		}
		done := make(chan error, 1)
		go func() {
			_, err := c.Watch(t.Context(), WatchOptions{Patients: patients})
			done <- err
		}()
		conn.ok(conn.next(reqWatch), `,"watching":[`+strings.Join(quoted, ",")+`]`)
		require.NoError(t, <-done)
		for _, p := range patients {
			conn.send(entry("sync", p, 3, 3), entry("synced", p, 3, 3))
		}
		synctest.Wait()
		conn.close(CloseRestart)
		conn = <-s.conns
		var got []string
		requests := 0
		for ; len(got) < 100; requests++ {
			q := conn.next(reqWatch)
			require.Len(t, q.Since, len(q.Patients))
			got = append(got, q.Patients...)
		}
		require.Equal(t, patients, got)
		require.Greater(t, requests, 2)
		require.NoError(t, c.Close())
	})
}

// A patient of whom nothing comes is told as not current, though the line lives.
func TestClientStalePatient(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		for range 4 {
			time.Sleep(25 * time.Second)
			conn.send(heads("p", 7, 3))
		}
		for range 4 {
			time.Sleep(25 * time.Second)
			conn.send(`{"type":"inbox","items":[]}`)
		}
		reads(t, c, "inbox", "inbox")
		ev := read(t, c)
		require.Equal(t, Event{Type: EventStale, Patient: "p"}, ev)
		reads(t, c, "inbox", "inbox")
		require.Equal(t, map[string]Position{"p": {"E", 7}}, conn.next(reqWatch).Since)

		// A catching up that stops half-way is no better.
		conn.ok(&request{Req: "2"}, `,"watching":["p"]`)
		conn.send(entry("sync+", "p", 7, 3))
		for range 4 {
			time.Sleep(25 * time.Second)
			conn.send(`{"type":"inbox","items":[]}`)
		}
		require.Equal(t, map[string]Position{"p": {"E", 7}}, conn.next(reqWatch).Since)

		// While the server's store fails, that is the reason.
		require.NoError(t, c.Close())
		c, conn = s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		for range 4 {
			conn.send(`{"type":"status","store":"failing"}`)
			time.Sleep(25 * time.Second)
		}
		reads(t, c, "status", "status", "status")
		require.Equal(t, Event{Type: EventStale, Patient: "p"}, read(t, c))
		conn.send(heads("p", 7, 3))
		reads(t, c, "status")
		require.Equal(t, Event{Type: EventLive, Patient: "p"}, read(t, c))
		nothing(t, c)
		conn.none()
		require.NoError(t, c.Close())
	})
}

// What was recovered is of no use to who holds only part of a snapshot.
func TestClientRecoveredFromNothing(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		conn.send(entry("sync", "p", 9, 5), entry("alert", "p", 8, 4), entry("sync+", "p", 9, 5))
		require.Nil(t, conn.next(reqWatch).Since)
		reads(t, c, "sync 9", "alert 8", "stale")
		require.NoError(t, c.Close())
	})
}

// A sync that never comes does not go unnoticed.
func TestClientNoSync(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		done := make(chan error, 1)
		go func() {
			_, err := c.Watch(t.Context(), WatchOptions{Patients: []string{"p"}, Since: map[string]Position{"p": {"E", 4}}})
			done <- err
		}()
		conn.ok(conn.next(reqWatch), `,"watching":["p"]`)
		require.NoError(t, <-done)
		conn.send(`{"type":"status","store":"failing"}`) // that explains it
		for range 6 {
			time.Sleep(20 * time.Second)
			conn.send(`{"type":"status","store":"failing"}`)
		}
		require.Empty(t, s.conns)
		conn.send(`{"type":"status","store":"ok"}`)
		conn = <-s.conns
		q := conn.next(reqWatch)
		require.Equal(t, map[string]Position{"p": {"E", 4}}, q.Since)
		conn.ok(q, `,"watching":["p"]`)
		// The count at a position of the application's own is not known.
		conn.send(entry("sync+", "p", 4, 2), entry("alert", "p", 5, 3), entry("alert", "p", 6, 5))
		require.Equal(t, map[string]Position{"p": {"E", 5}}, conn.next(reqWatch).Since)
		require.NoError(t, c.Close())
	})
}

// Many goroutines publish over a line that breaks, and each vital gets its answer.
func TestClientManyCalls(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Outstanding = 16
		c, conn := s.dial(o)
		answered := make(map[string]int)
		stop := make(chan struct{})
		go func() { // the server
			defer close(stop)
			for n := 0; ; {
				q, ok := <-conn.frames
				if !ok {
					select {
					case conn = <-s.conns:
						continue
					case <-c.Done():
						return
					}
				}
				if n++; n%50 == 0 {
					conn.ws.CloseNow()
					continue
				}
				id := q.Vitals[0].ID
				answered[id]++
				conn.ok(q, fmt.Sprintf(`,"results":[{"seq":%s,"repeated":%v}]`, q.Vitals[0].Value, answered[id] > 1))
			}
		}()
		var wg sync.WaitGroup
		for g := range 40 {
			wg.Go(func() {
				for i := range 20 {
					n := 1 + g*20 + i
					got, err := c.Publish(t.Context(), HeartRate.Of("p", float64(n)))
					if err != nil || got[0].Err != nil || got[0].Seq != uint64(n) {
						t.Error(n, got, err)
					}
				}
			})
		}
		wg.Wait()
		require.NoError(t, c.Close())
		<-stop
		require.Len(t, answered, 800)
		require.Empty(t, c.slots)
	})
}

func TestDial(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		dial := func(url string, o *DialOptions) error {
			c, err := Dial(t.Context(), url, o)
			require.Nil(t, c)
			require.Error(t, err)
			return err
		}
		for status, want := range map[int]error{401: ErrUnauthenticated, 403: ErrForbidden, 429: ErrBusy, 503: ErrUnavailable, 302: nil, 404: nil} {
			s.refuse(status)
			err := dial("ws://localhost/", s.options())
			require.ErrorContains(t, err, fmt.Sprint(status))
			if want != nil {
				require.ErrorIs(t, err, want)
			}
		}
		o := s.options()
		o.Token = func(context.Context) (string, error) { return "", ErrUnauthenticated }
		require.ErrorIs(t, dial("ws://localhost/", o), ErrUnauthenticated)
		o.Token = func(context.Context) (string, error) { return "a\nb", nil }
		n := len(s.attempts)
		dial("ws://localhost/", o)
		dial("ws://hospital.example/", s.options())
		dial("http://localhost/", s.options())
		dial("ws://", nil)
		require.Len(t, s.attempts, n)

		o = s.options()
		o.AllowPlaintext = true
		c, err := Dial(t.Context(), "ws://hospital.example/", o)
		require.NoError(t, err)
		require.NoError(t, c.Close())

		s.welcome = `{"type":"status"}`
		dial("ws://localhost/", s.options())

		// Nobody answers: the caller's context ends it.
		l := memnet.Listen()
		o = s.options()
		o.HTTPClient.Transport = &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return l.Dial(ctx) }}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		_, err = Dial(ctx, "ws://localhost/", o)
		require.ErrorIs(t, err, context.DeadlineExceeded)
		l.Close() // net/http goes on dialling
	})
}
