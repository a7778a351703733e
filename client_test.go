package carewire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"
)

// A lost connection is made again after pauses that double, and the watch resumes.
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

// Tokens are renewed at four fifths of their life by the server's clock; a
// failed renewal is tried again.
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

// 50 s of silence are a dead line, even if pings still come.
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

// Close takes leave of the server and ends all calls under way.
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
