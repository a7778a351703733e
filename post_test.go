package carewire

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// A poster is a client that knows nothing but HTTP.
type poster struct {
	w     *world
	token string
	http  *http.Client
}

func (w *world) poster(token string) *poster {
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) { return w.net.Dial(ctx) }}
	w.t.Cleanup(func() {
		tr.CloseIdleConnections()
		time.Sleep(time.Second) // net/http waits half of it before it closes some connections
	})
	return &poster{w, token, &http.Client{Transport: tr}}
}

// do posts a body, with headers "Name: value" on top of the usual ones; one
// without a value takes the usual one away.
func (p *poster) do(ctx context.Context, body string, headers ...string) *http.Response {
	p.w.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://localhost/", strings.NewReader(body))
	require.NoError(p.w.t, err)
	r.Header.Set("Authorization", "Bearer "+p.token)
	r.Header.Set("Content-Type", "application/json")
	seen := make(map[string]bool)
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		switch {
		case name == "Host":
			r.Host = value
		case name == "Method":
			r.Method = value
		case name == "Chunked":
			r.ContentLength = -1
		case value == "":
			r.Header.Del(name)
		case seen[name]:
			r.Header.Add(name, value)
		default:
			r.Header.Set(name, value)
			seen[name] = true
		}
	}
	res, err := p.http.Do(r)
	require.NoError(p.w.t, err)
	return res
}

// ask posts a request and returns its reply.
func (p *poster) ask(body string) object {
	p.w.t.Helper()
	res := p.do(context.Background(), body)
	require.Equal(p.w.t, http.StatusOK, res.StatusCode)
	require.Equal(p.w.t, "application/json", res.Header.Get("Content-Type"))
	require.Contains(p.w.t, res.Header.Get("Cache-Control"), "no-store")
	return newReply(p.w.t, res)
}

func newReply(t testing.TB, res *http.Response) (o object) {
	t.Helper()
	defer res.Body.Close()
	require.NoError(t, json.NewDecoder(res.Body).Decode(&o))
	return o
}

// A reading is an event stream as its client reads it.
type reading struct {
	t    testing.TB
	res  *http.Response
	r    *bufio.Reader
	stop context.CancelFunc
}

func (p *poster) watch(body string, headers ...string) *reading {
	p.w.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	res := p.do(ctx, body, append(headers, "Accept: text/event-stream")...)
	require.Equal(p.w.t, http.StatusOK, res.StatusCode)
	require.Equal(p.w.t, "text/event-stream", res.Header.Get("Content-Type"))
	return newReading(p.w.t, res, cancel)
}

func newReading(t testing.TB, res *http.Response, stop context.CancelFunc) *reading {
	t.Cleanup(func() { stop(); res.Body.Close() })
	return &reading{t, res, bufio.NewReader(res.Body), stop}
}

// next returns the next event; false after the last.
func (s *reading) next() (object, bool) {
	s.t.Helper()
	for {
		line, err := s.r.ReadString('\n')
		if err == io.EOF && line == "" {
			return nil, false
		}
		require.NoError(s.t, err)
		data, ok := strings.CutPrefix(line, "data: ")
		if !ok {
			require.Contains(s.t, []string{":\n", "\n"}, line)
			continue
		}
		var o object
		require.NoError(s.t, json.Unmarshal([]byte(data), &o), data)
		return o, true
	}
}

func (s *reading) until(typ string) object {
	s.t.Helper()
	for {
		o, ok := s.next()
		require.True(s.t, ok, "the stream has ended before %s", typ)
		if o["type"] == typ {
			return o
		}
	}
}

// end reads to the end and returns the code that the stream was closed with; 0
// if it just broke off.
func (s *reading) end() (code CloseCode) {
	s.t.Helper()
	for {
		o, ok := s.next()
		if !ok {
			return code
		}
		require.Zero(s.t, code, "an event after closed")
		if o["type"] == "closed" {
			code = CloseCode(o["code"].(float64))
		}
	}
}

// A phone whose app does not run gets a push, and answers it without a
// WebSocket; so does everything else that is one request and one reply.
func TestPostAnswersAPush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		screen := w.watching("doctor", "latest")
		defer screen.ws.CloseNow()
		device, nurse := w.poster("device"), w.poster("nurse")
		ok := device.ask(`{"type":"publish","req":"a","vitals":[{"patient":"p1","code":"8867-4","value":172,"unit":"/min"},{"patient":"p1","code":"8867-4","value":1,"unit":"kg"}]}`)
		require.Equal(t, "a", ok["req"])
		require.Equal(t, 1.0, valueAt(ok, "results", 0, "seq"))
		require.Equal(t, "invalid", valueAt(ok, "results", 1, "error", "code"))
		require.Equal(t, 172.0, valueAt(screen.until("vital"), "vital", "value"))

		raised := device.ask(`{"type":"raise","req":"b","event_id":"e1","alert":{"patient":"p1","key":"hr","text":"HR high","priority":"high","to":["person:nurse"]}}`)
		require.Equal(t, "e1", valueAt(raised, "alert", "alert_id"))
		time.Sleep(2 * time.Second) // told
		require.Equal(t, object{"type": "ok", "req": "c"}, nurse.ask(`{"type":"receipt","req":"c","patient":"p1","key":"hr","alert_id":"e1","stage":"read"}`))
		accept := `{"type":"answer","req":"d","patient":"p1","key":"hr","alert_id":"e1","event_id":"e2","do":"accept"}`
		accepted := nurse.ask(accept)
		require.Equal(t, "nurse", valueAt(accepted, "alert", "responsibility", "by", "id"))
		require.Equal(t, accepted, nurse.ask(accept), "a repeated answer")
		require.Equal(t, "conflict", w.poster("doctor").ask(strings.Replace(accept, "e2", "e3", 1))["code"])
		for valueAt(screen.until("alert"), "alert", "responsibility", "state") != "accepted" {
		}
		require.Equal(t, "over", valueAt(device.ask(`{"type":"clear","req":"e","patient":"p1","key":"hr","alert_id":"e1","event_id":"e4"}`), "alert", "condition"))
		require.Equal(t, "nurse", valueAt(nurse.ask(`{"type":"notify","req":"f","notice":{"patient":"p1","notice_id":"n1","to":["patient"],"text":"On my way."}}`), "notice", "from"))
		history := nurse.ask(`{"type":"history","req":"g","patient":"p1","kinds":["vital","notice"]}`)
		require.Len(t, history["events"], 2)
		require.Zero(t, w.hub.Stats().Connections-1, "requests leave nothing behind")
	})
}

// Many answer at the same time: one person is responsible, and everybody is told the same.
func TestPostAnswersRace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "hr", ID: "e1", Text: "x", Priority: PriorityHigh})
		require.NoError(t, err)
		replies := make(chan object, 100)
		for i := range cap(replies) {
			p := w.poster([]string{"nurse", "doctor"}[i%2])
			go func() {
				for {
					o := p.ask(fmt.Sprintf(`{"type":"answer","req":"1","patient":"p1","key":"hr","alert_id":"e1","event_id":"a%d","do":"accept"}`, i))
					if o["code"] != "busy" { // lost too many races
						replies <- o
						return
					}
					time.Sleep(time.Second)
				}
			}()
		}
		won := make(map[any]int)
		for range cap(replies) {
			o := <-replies
			by := valueAt(o, "alert", "responsibility", "by", "id")
			won[by]++
			if o["type"] == "error" {
				require.Equal(t, "conflict", o["code"])
			}
		}
		require.Len(t, won, 1)
	})
}

// A request by POST may do no more than one over WebSocket.
func TestPostErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxPatients: 2})
		t.Cleanup(w.close)
		alert := `"req":"1","patient":"p1","key":"hr","alert_id":"e1","event_id":"e2"`
		for _, c := range []struct{ name, token, body, code, field string }{
			{"no JSON", "nurse", `canary`, "malformed", ""},
			{"two frames", "nurse", `{"type":"history","req":"1","patient":"p1"}{}`, "malformed", ""},
			{"a member twice", "nurse", `{"type":"history","req":"1","patient":"p1","patient":"p9"}`, "malformed", ""},
			{"unknown", "nurse", `{"type":"canary","req":"1"}`, "unknown_type", ""},
			{"no req", "nurse", `{"type":"history","patient":"p1"}`, "invalid", "req"},
			{"watch", "nurse", `{"type":"watch","req":"1","patients":["p1"]}`, "invalid", "type"},
			{"unwatch", "nurse", `{"type":"unwatch","req":"1","patients":["p1"]}`, "invalid", "type"},
			{"token", "nurse", `{"type":"token","req":"1","token":"canary"}`, "invalid", "type"},
			{"another's patient", "pat", `{"type":"history","req":"1","patient":"p2"}`, "forbidden", ""},
			{"an unknown patient", "pat", `{"type":"history","req":"1","patient":"p9"}`, "forbidden", ""},
			{"an answer of a device", "device", `{"type":"answer",` + alert + `,"do":"accept"}`, "forbidden", ""},
			{"an answer to nothing", "nurse", `{"type":"answer",` + alert + `,"do":"accept"}`, "forbidden", ""},
		} {
			for _, accept := range []string{"", "text/event-stream"} { // only a good watch gets a stream
				if c.name == "watch" && accept != "" {
					continue
				}
				res := w.poster(c.token).do(t.Context(), c.body, "Accept: "+accept)
				b, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.Equal(t, http.StatusOK, res.StatusCode, c.name)
				require.Equal(t, "application/json", res.Header.Get("Content-Type"), c.name)
				require.NotContains(t, string(b), "canary")
				var o object
				require.NoError(t, json.Unmarshal(b, &o))
				require.Equal(t, "error", o["type"], c.name)
				require.Equal(t, c.code, o["code"], c.name)
				require.Equal(t, "never", o["retry"], c.name)
				if c.field != "" {
					require.Equal(t, c.field, o["field"], c.name)
				}
			}
		}
		s := w.poster("nurse").watch(`{"type":"watch","req":"1","patients":["p1","p2","p3"]}`)
		require.Equal(t, "limit", s.until("error")["code"])
	})
}

// A client that may not come in by WebSocket may not by POST, and a foreign
// page cannot make a browser ask in its user's name.
func TestPostRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		w := newWorld(t, nil, &Options{Origins: []string{"https://ehr.test"}, Hosts: []string{"localhost"}, MaxFrame: 1000, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		t.Cleanup(w.close)
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			b, err := io.ReadAll(r.Body)
			assert.Empty(t, b, "the body is not the Authenticator's")
			assert.NoError(t, err)
			if c, err := r.Cookie("s"); err == nil && r.Header.Get("Authorization") == "" {
				return people[c.Value], nil
			}
			return byToken(r)
		})
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "viewer"}))
		history := `{"type":"history","req":"1","patient":"p1"}`
		cookie := []string{"Authorization", "Cookie: s=nurse"}
		tried := 0
		for _, c := range []struct {
			name, token, body string
			headers           []string
			status            int
		}{
			{"good", "nurse", history, nil, 200},
			{"charset", "nurse", history, []string{"Content-Type: application/json; charset=UTF-8"}, 200},
			{"a probe", "nurse", "", nil, 204},
			{"a probe without a type", "nurse", "", []string{"Content-Type"}, 204},

			{"plain text", "nurse", history, []string{"Content-Type: text/plain"}, 415},
			{"a form", "nurse", history, []string{"Content-Type: application/x-www-form-urlencoded"}, 415},
			{"two types", "nurse", history, []string{"Content-Type: application/json", "Content-Type: text/plain"}, 415},
			{"another JSON", "nurse", history, []string{"Content-Type: application/jsonp"}, 415},
			{"no type", "nurse", history, []string{"Content-Type"}, 415},
			{"another charset", "nurse", history, []string{"Content-Type: application/json; charset=utf-16"}, 415},
			{"packed", "nurse", history, []string{"Content-Encoding: gzip"}, 415},
			{"too long", "nurse", history + strings.Repeat(" ", 1000), nil, 413},
			{"too long, in chunks", "nurse", history + strings.Repeat(" ", 1000), []string{"Chunked: yes"}, 413},
			{"not UTF-8", "nurse", "{\"type\":\"\xc0\"}", nil, 400},

			{"no token", "", history, []string{"Authorization"}, 401},
			{"no token, a probe", "", "", []string{"Authorization"}, 401},
			{"a bad token", "canary", history, nil, 401},
			{"revoked", "viewer", history, nil, 403},
			{"another host", "nurse", history, []string{"Host: evil.test"}, 421},

			{"own cookie", "", history, append(cookie, "Origin: https://localhost"), 200},
			{"own cookie, listed origin", "", history, append(cookie, "Origin: https://ehr.test"), 200},
			{"foreign page with the user's cookie", "", history, append(cookie, "Origin: https://evil.test"), 403},
			{"the same, disguised as a form", "", history, append(cookie, "Origin: https://evil.test", "Content-Type: text/plain"), 415},
			{"the same, a probe", "", "", append(cookie, "Origin: https://evil.test"), 403},
			{"cookie and null", "", history, append(cookie, "Origin: null"), 403},
			{"cookie and no origin", "", history, cookie, 403},
			{"cookie and a longer origin", "", history, append(cookie, "Origin: https://ehr.test.evil.test"), 403},
			{"cookie and two origins", "", history, append(cookie, "Origin: https://ehr.test", "Origin: https://evil.test"), 403},
			{"cookie and another scheme", "", history, append(cookie, "Origin: http://ehr.test"), 403},
		} {
			for _, accept := range []string{"*/*", "text/event-stream"} {
				tried++
				res := w.poster(c.token).do(t.Context(), c.body, append(slices.Clone(c.headers), "Accept: "+accept)...)
				b, err := io.ReadAll(res.Body)
				require.NoError(t, err)
				require.Equal(t, c.status, res.StatusCode, c.name)
				if c.status > 204 {
					require.Equal(t, http.StatusText(c.status)+"\n", string(b), c.name)
				}
				require.Contains(t, res.Header.Get("Cache-Control"), "no-store", c.name)
				var all strings.Builder
				res.Header.Write(&all)
				require.NotContains(t, all.String(), "evil.test", c.name)
			}
		}
		require.EqualValues(t, tried, w.hub.Stats().Handshakes.Tried)
		require.NotContains(t, log.String(), "canary")
	})
}

// A page of an allowed origin, and no other, may ask and read the answer.
func TestPostCORS(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Origins: []string{"https://ehr.test"}, Hosts: []string{"localhost"}})
		t.Cleanup(w.close)
		p := w.poster("nurse")
		for _, c := range []struct {
			name, origin, host string
			status             int
		}{
			{"listed", "https://ehr.test", "localhost", 204},
			{"own", "https://localhost", "localhost", 204},
			{"foreign", "https://evil.test", "localhost", 403},
			{"null", "null", "localhost", 403},
			{"none", "", "localhost", 403},
			{"another host", "https://evil.test", "evil.test", 421},
		} {
			res := p.do(t.Context(), "", "Method: OPTIONS", "Authorization", "Content-Type", "Host: "+c.host, "Origin: "+c.origin,
				"Access-Control-Request-Method: POST", "Access-Control-Request-Headers: authorization,content-type")
			require.Equal(t, c.status, res.StatusCode, c.name)
			require.Contains(t, res.Header.Values("Vary"), "Origin", c.name)
			if c.status != 204 {
				require.Empty(t, res.Header.Get("Access-Control-Allow-Origin"), c.name)
				continue
			}
			require.Equal(t, c.origin, res.Header.Get("Access-Control-Allow-Origin"), c.name)
			require.Equal(t, "POST", res.Header.Get("Access-Control-Allow-Methods"))
			require.Equal(t, "Authorization, Content-Type", res.Header.Get("Access-Control-Allow-Headers"))
		}
		for _, token := range []string{"nurse", "thief"} { // the page sees why it is refused
			res := w.poster(token).do(t.Context(), "", "Origin: https://ehr.test")
			require.Equal(t, map[string]int{"nurse": 204, "thief": 401}[token], res.StatusCode)
			require.Equal(t, "https://ehr.test", res.Header.Get("Access-Control-Allow-Origin"))
			require.Equal(t, "Retry-After", res.Header.Get("Access-Control-Expose-Headers"))
		}
	})
}

// Requests by POST count among the connections, also those whose client has gone
// while the Store still works on them, and the reply comes in time.
func TestPostWhileTheStoreHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hang := make(chan struct{})
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			<-hang
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, &Options{MaxConnections: 2})
		t.Cleanup(w.close)
		publish := `{"type":"publish","req":"7","vitals":[{"patient":"p1","code":"8867-4","value":1,"unit":"/min"}]}`
		raise := `{"type":"raise","req":"8","event_id":"e1","alert":{"patient":"p1","text":"x","priority":"info"}}`
		replies := make(chan object)
		begun := time.Now()
		for _, body := range []string{publish, raise} {
			p := w.poster("device")
			go func() { replies <- p.ask(body) }()
		}
		synctest.Wait()
		busy := w.poster("device").do(t.Context(), publish)
		require.Equal(t, http.StatusTooManyRequests, busy.StatusCode)
		require.NotEmpty(t, busy.Header.Get("Retry-After"))
		for range 2 {
			o := <-replies
			require.Equal(t, "unknown", o["code"])
			require.Equal(t, "later", o["retry"])
			require.Contains(t, []any{"7", "8"}, o["req"])
		}
		require.Equal(t, replyWithin, time.Since(begun))
		require.Equal(t, http.StatusTooManyRequests, w.poster("device").do(t.Context(), publish).StatusCode, "they are still under way")
		close(hang)
		synctest.Wait()
		require.Equal(t, object{"seq": 3.0}, valueAt(w.poster("device").ask(publish), "results", 0))
	})
}

// A body that comes slowly holds its place for ten seconds, and only until its
// refusal if it is refused.
func TestPostSlowBody(t *testing.T) {
	for token, status := range map[string]int{"nurse": 408, "thief": 401} {
		t.Run(token, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, &Options{MaxConnections: 1})
				t.Cleanup(w.close)
				conn := dialler(w, w.net, nil)()
				defer conn.Close()
				begun := time.Now()
				go func() {
					fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n", token)
					for {
						if _, err := conn.Write([]byte{' '}); err != nil {
							return
						}
						time.Sleep(time.Second)
					}
				}()
				r := bufio.NewReader(conn)
				res, err := http.ReadResponse(r, nil)
				require.NoError(t, err)
				require.Equal(t, status, res.StatusCode)
				io.Copy(io.Discard, r)
				require.LessOrEqual(t, time.Since(begun), 11*time.Second)
				require.Equal(t, http.StatusNoContent, w.poster("nurse").do(t.Context(), "").StatusCode, "the place is free")
			})
		})
	}
}

// Shutdown lets accepted POSTs be carried out, and takes no more.
func TestPostAndShutdown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			time.Sleep(5 * time.Second)
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, nil)
		reply := make(chan object)
		go func() {
			reply <- w.poster("device").ask(`{"type":"raise","req":"8","event_id":"e1","alert":{"patient":"p1","text":"x","priority":"info"}}`)
		}()
		time.Sleep(time.Second)
		ended := make(chan error)
		go func() { ended <- w.hub.Shutdown(t.Context()) }()
		synctest.Wait()
		require.Equal(t, http.StatusServiceUnavailable, w.poster("nurse").do(t.Context(), "").StatusCode)
		require.Equal(t, "ok", (<-reply)["type"])
		require.NoError(t, <-ended)
		w.srv.Close()
	})
	synctest.Test(t, func(t *testing.T) { // also events that have not come to the Store yet
		w := newWorld(t, nil, &Options{Authorizer: authorizer(func(context.Context, Access) ([]Decision, error) {
			time.Sleep(4 * time.Second)
			return []Decision{{Allow: true}}, nil
		})})
		reply := make(chan object, 1)
		go func() { reply <- w.poster("nurse").ask(`{"type":"history","req":"8","patient":"p1"}`) }()
		time.Sleep(time.Second)
		require.NoError(t, w.hub.Shutdown(t.Context()))
		synctest.Wait()
		require.Len(t, reply, 1, "the Store may be closed now")
		w.srv.Close()
	})
}
