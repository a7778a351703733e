package carewire

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"

	"github.com/carewire/carewire/internal/wsconn"
)

const watchP1 = `{"type":"watch","req":"1","patients":["p1"]}`

// A stream shows the same events as a WebSocket connection, in the same order,
// and is resumed like one.
func TestStreamShowsTheEventsOfAConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		_, err := w.hub.Notify(t.Context(), Notice{Patient: "p1", ID: "n", To: []string{"person:nurse"}, Text: "line one\nline two"})
		require.NoError(t, err)
		screen := w.dial("nurse")
		defer screen.ws.CloseNow()
		screen.send(watchP1)
		s := w.poster("nurse").watch(watchP1)
		require.Contains(t, s.res.Header.Get("Cache-Control"), "no-store")
		require.Equal(t, "no", s.res.Header.Get("X-Accel-Buffering"))
		same := func(n int) (last object) {
			t.Helper()
			for range n {
				want := screen.read()
				got, ok := s.next()
				require.True(t, ok)
				if got["type"] == "welcome" {
					require.Contains(t, got["features"], "post")
					delete(want, "session")
					delete(got, "session")
				}
				require.Equal(t, want, got)
				last = got
			}
			return last
		}
		require.Equal(t, "synced", same(6)["type"]) // welcome, inbox, ok, sync, the notice
		require.Equal(t, 2, w.hub.Stats().Connections)
		require.Equal(t, 2, w.hub.Stats().Watches)
		for i := range 3 {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", float64(60+i)))
			require.NoError(t, err)
			require.Equal(t, float64(60+i), valueAt(same(1), "vital", "value"))
		}
		s.stop()
		synctest.Wait()
		require.Equal(t, 1, w.hub.Stats().Connections, "a client that goes is forgotten")
		require.Equal(t, 1, w.hub.Stats().Watches)

		_, err = w.hub.Publish(t.Context(), SpO2.Of("p1", 97))
		require.NoError(t, err)
		epoch := screen.read()["epoch"].(string)
		s = w.poster("nurse").watch(strings.TrimSuffix(watchP1, "}") + `,"delivery":"every","since":{"p1":{"epoch":"` + epoch + `","seq":3}}}`)
		require.Equal(t, true, s.until("sync")["recovered"])
		for _, seq := range []float64{4, 5} {
			o, _ := s.next()
			require.Equal(t, seq, o["seq"])
		}
		require.Equal(t, true, s.until("synced")["recovered"])
	})
}

// A stream ends when a connection would, with the code of that.
func TestStreamEnds(t *testing.T) {
	for _, c := range []struct {
		name  string
		after time.Duration
		end   func(w *world)
		code  CloseCode
	}{
		{"token expired", 3 * time.Minute, func(*world) {}, CloseUnauthorized},
		{"revoked", 90 * time.Second, func(w *world) { w.hub.Revoke(context.Background(), Revocation{Principal: "nurse"}) }, CloseForbidden},
		{"shutdown", 90 * time.Second, func(w *world) { w.hub.Shutdown(context.Background()) }, CloseRestart},
	} {
		for version := 1; version <= 2; version++ {
			t.Run(fmt.Sprint(c.name, ", HTTP/", version), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil, nil)
					t.Cleanup(w.close)
					// Timeouts that are meant for ordinary requests.
					w.srv.Close()
					w.net = memnet.Listen()
					w.srv = &http.Server{Handler: w.hub, ReadTimeout: 5 * time.Second, WriteTimeout: 5 * time.Second, Protocols: new(http.Protocols)}
					p := w.poster("nurse3")
					both := p.http.Transport.(*http.Transport)
					both.Protocols = w.srv.Protocols
					w.srv.Protocols.SetHTTP1(version == 1)
					w.srv.Protocols.SetUnencryptedHTTP2(version == 2)
					go w.srv.Serve(w.net)
					w.hub.auth = AuthenticatorFunc(leases)
					begun := time.Now()
					s := p.watch(watchP1)
					require.Equal(t, version, s.res.ProtoMajor)
					time.AfterFunc(90*time.Second, func() { c.end(w) })
					require.Equal(t, c.code, s.end())
					require.Equal(t, c.after, time.Since(begun).Round(time.Second))
					synctest.Wait()
					require.Zero(t, w.hub.Stats().Connections)
					if c.code == CloseForbidden {
						require.Equal(t, http.StatusForbidden, p.do(t.Context(), "").StatusCode)
					}
				})
			})
		}
	}
}

// A stream is never silent for longer than a heartbeat, shows where quiet logs
// end, and lives for as long as its client reads.
func TestStreamStaysAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		s := w.poster("nurse").watch(watchP1)
		s.until("synced")
		last, heads := time.Now(), 0
		for end := last.Add(10 * time.Minute); time.Now().Before(end); {
			o, ok := s.next()
			require.True(t, ok)
			require.LessOrEqual(t, time.Since(last), heartbeat)
			last = time.Now()
			if o["type"] == "head" {
				heads++
			}
		}
		require.GreaterOrEqual(t, heads, 40)
	})
}

// A right that ends takes the patient out of a stream.
func TestStreamIsRevoked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		s := w.poster("nurse").watch(`{"type":"watch","req":"1","patients":["p1","p2"]}`)
		s.until("synced")
		s.until("synced")
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Patients: []string{"p1"}}))
		for _, p := range []string{"p1", "p2"} {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of(p, 60))
			require.NoError(t, err)
		}
		require.Equal(t, "p1", s.until("revoked")["patient"])
		require.Equal(t, "p2", s.until("vital")["patient"])

		// Nor does resuming bring back events that were lost meanwhile.
		s = w.poster("nurse").watch(`{"type":"watch","req":"1","patients":["p1","p2"],"since":{"p1":{"epoch":"","seq":0},"p2":{"epoch":"","seq":0}}}`)
		require.Equal(t, []any{object{"patient": "p1", "code": "forbidden"}}, s.until("ok")["refused"])
		for end := time.Now().Add(time.Minute); time.Now().Before(end); {
			o, ok := s.next()
			require.True(t, ok)
			require.NotContains(t, fmt.Sprint(o), "p1")
		}
	})
}

// A client that does not read its stream costs itself, and is forgotten.
func TestStreamOfAStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		healthy := w.watching("doctor", "latest")
		defer healthy.ws.CloseNow()
		conn := dialler(w, w.net, nil)()
		defer conn.Close()
		_, err := fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer nurse\r\nContent-Type: application/json\r\n"+
			"Accept: text/event-stream\r\nContent-Length: %d\r\n\r\n%s", len(watchP1), watchP1)
		require.NoError(t, err)
		res, err := http.ReadResponse(bufio.NewReader(conn), nil)
		require.NoError(t, err)
		require.Equal(t, http.StatusOK, res.StatusCode)
		for i := range 200 {
			sent := time.Now()
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", float64(i)))
			require.NoError(t, err)
			require.Equal(t, float64(i), valueAt(healthy.until("vital"), "vital", "value"))
			require.Equal(t, sent, time.Now(), "the healthy client waited")
		}
		time.Sleep(wsconn.WriteWithin + 2*time.Second)
		require.Equal(t, 1, w.hub.Stats().Connections)
	})
}

// Streams take places among the connections, one each.
func TestStreamsAreLimited(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxConnections: 2})
		t.Cleanup(w.close)
		first := w.poster("nurse").watch(watchP1)
		first.until("synced")
		w.poster("nurse").watch(watchP1).until("synced")
		for _, body := range []string{watchP1, ""} {
			require.Equal(t, http.StatusTooManyRequests, w.poster("nurse").do(t.Context(), body, "Accept: text/event-stream").StatusCode)
		}
		_, err := w.tryDial("nurse")
		require.Error(t, err)
		first.stop()
		synctest.Wait()
		w.poster("nurse").watch(watchP1).until("synced")
	})
}

// A server whose ResponseWriter cannot flush says so, and one behind a middleware
// that can be unwrapped streams.
func TestStreamBehindMiddleware(t *testing.T) {
	for _, c := range []struct {
		name   string
		wrap   func(http.ResponseWriter) http.ResponseWriter
		status int
	}{
		{"unwrapping", func(w http.ResponseWriter) http.ResponseWriter { return unwrapping{unwrapping{w}} }, 200},
		{"opaque", func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }, 501},
		{"opaque inside", func(w http.ResponseWriter) http.ResponseWriter { return unwrapping{opaque{w}} }, 501},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lockedBuffer
				w := newWorld(t, nil, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				t.Cleanup(w.close)
				w.srv.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.hub.ServeHTTP(c.wrap(rw), r) })
				if c.status == 200 {
					w.poster("nurse").watch(watchP1).until("synced")
					return
				}
				res := w.poster("nurse").do(t.Context(), watchP1, "Accept: application/json, Text/Event-Stream;q=1")
				require.Equal(t, c.status, res.StatusCode)
				require.Contains(t, log.String(), "Flush")
				require.Zero(t, w.hub.Stats().Connections)
				require.Equal(t, "ok", w.poster("nurse").ask(`{"type":"history","req":"1","patient":"p1"}`)["type"])
			})
		})
	}
}

// A middleware whose Write panics ends its own stream only.
func TestStreamWhoseWriterPanics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		w.srv.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, 0)
		w.srv.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.hub.ServeHTTP(panicking{unwrapping{rw}}, r) })
		s := w.poster("nurse").watch(watchP1)
		_, err := io.ReadAll(s.r)
		require.Error(t, err)
		synctest.Wait()
		require.Zero(t, w.hub.Stats().Connections)

		w.srv.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			r.Body = panicking{}
			w.hub.ServeHTTP(rw, r)
		})
		r, err := http.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader("{}"))
		require.NoError(t, err)
		r.Header = http.Header{"Authorization": {"Bearer nurse"}, "Content-Type": {"application/json"}}
		_, err = w.poster("nurse").http.Do(r)
		require.Error(t, err)
		synctest.Wait()
		require.Zero(t, w.hub.registry.joining, "the place is given back")
	})
}

type panicking struct{ unwrapping }

func (panicking) Write([]byte) (int, error) { panic("canary") }
func (panicking) Read([]byte) (int, error)  { panic("canary") }
func (panicking) Close() error              { return nil }

// Requests and streams share one HTTP/2 connection, past the server's timeouts.
func TestPostOverHTTP2(t *testing.T) {
	w := newWorld(t, nil, nil)
	t.Cleanup(w.close)
	srv := httptest.NewUnstartedServer(w.hub)
	srv.EnableHTTP2 = true
	const timeout = 4 * time.Second // of each request, on a machine that may stand still for a while
	srv.Config.ReadTimeout, srv.Config.WriteTimeout = timeout, timeout
	srv.StartTLS()
	t.Cleanup(srv.Close)
	ctx, cancel := context.WithTimeout(t.Context(), patienceOfTests)
	defer cancel()
	post := func(token, body, accept string) *http.Response {
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, srv.URL, strings.NewReader(body))
		require.NoError(t, err)
		r.Header = http.Header{"Authorization": {"Bearer " + token}, "Content-Type": {"application/json"}, "Accept": {accept}}
		res, err := srv.Client().Do(r)
		require.NoError(t, err)
		require.Equal(t, 2, res.ProtoMajor)
		require.Equal(t, http.StatusOK, res.StatusCode)
		return res
	}
	res := post("nurse", watchP1, "text/event-stream")
	s := newReading(t, res, func() {})
	s.until("synced")
	every := time.NewTicker(50 * time.Millisecond)
	defer every.Stop()
	for begun, n := time.Now(), 0; time.Since(begun) < timeout+time.Second; n++ {
		<-every.C
		published := post("device", fmt.Sprintf(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":%d,"unit":"/min"}]}`, n), "")
		reply, err := io.ReadAll(published.Body)
		require.NoError(t, err)
		published.Body.Close()
		require.Contains(t, string(reply), `"type":"ok"`)
		require.Equal(t, float64(n), valueAt(s.until("vital"), "vital", "value"))
	}
	closed := make(chan CloseCode)
	go func() { closed <- s.end() }()
	require.NoError(t, w.hub.Shutdown(t.Context()))
	require.Equal(t, CloseRestart, <-closed)
}

// Each frame becomes one event, with any length and content.
func TestFramesAsEvents(t *testing.T) {
	text := func(s string) []byte { return textFrame(append(newFrame(8).b, s...)) }
	long := `{"x":"` + strings.Repeat("é", 40000) + `"}`
	for _, n := range []int{125, 126, 127, 65535, 65536} {
		s := strings.Repeat("y", n)
		require.Equal(t, "data: "+s+"\n\n", string(appendEvents(nil, text(s))))
	}
	all := bytes.Join([][]byte{text(`{}`), pingFrame, text("{\n\"a\":\r1}"), text(long), closeFrame(CloseTryLater)}, nil)
	require.Equal(t, "data: {}\n\n:\n\ndata: { \"a\": 1}\n\ndata: "+long+"\n\ndata: {\"type\":\"closed\",\"code\":1013}\n\n", string(appendEvents(nil, all)))
}
