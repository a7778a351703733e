package carewire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The first frame is welcome, in all circumstances.
func TestWelcomeComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &slowStore{Store: NewMemoryStore(nil), hang: func(_ context.Context, what string) {
			if what == "durable" {
				time.Sleep(3 * time.Second)
			}
		}}, nil)
		t.Cleanup(w.close)
		p := join(t, dialler(w, w.net, nil)(), "nurse")
		time.Sleep(time.Second)
		_, err := w.hub.Notify(t.Context(), Notice{Patient: "p1", To: []string{"person:nurse"}, Text: "hello"})
		require.NoError(t, err)
		_, b, err := p.frame()
		require.NoError(t, err)
		require.Equal(t, "welcome", peekType(b), "%s", b)
	})
}

// handshake sends a handshake and returns the answer with its body.
func handshake(t testing.TB, conn net.Conn, request string) (*http.Response, string) {
	t.Helper()
	defer conn.Close()
	go conn.Write([]byte(request))
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	r, err := http.ReadResponse(bufio.NewReader(conn), nil)
	require.NoError(t, err)
	if r.StatusCode == 101 {
		return r, ""
	}
	b, err := io.ReadAll(r.Body)
	require.NoError(t, err)
	return r, string(b)
}

func TestHandshakes(t *testing.T) {
	const bearer = "Authorization: Bearer nurse\r\n"
	with := func(lines ...string) string { return upgrade + bearer + strings.Join(append(lines, "", ""), "\r\n") }
	without := func(line string) string { return strings.Replace(with(), line+"\r\n", "", 1) }
	instead := func(old, line string) string { return strings.Replace(with(), old, line, 1) }
	key := "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="
	offer := func(token string) string {
		return "Sec-WebSocket-Protocol: " + Protocol + ", " + bearerProtocol + base64.RawURLEncoding.EncodeToString([]byte(token))
	}
	o := &Options{Origins: []string{"https://ehr.test", "https://ehr.test:8443"}, Hosts: []string{"localhost", "carewire.test"}}
	requests := []struct {
		name, request string
		status        int
	}{
		{"plain client", with(), 101},
		{"protocol offered", with("Sec-WebSocket-Protocol: carewire.v1"), 101},
		{"protocol offered among others", with("Sec-WebSocket-Protocol: canary.v9, carewire.v1"), 101},
		{"protocol offered in a second header", with("Sec-WebSocket-Protocol: canary.v9", "Sec-WebSocket-Protocol: carewire.v1"), 101},
		{"token in a subprotocol", upgrade + offer("nurse") + "\r\n\r\n", 101},
		{"only other protocols", with("Sec-WebSocket-Protocol: canary.v9, mqtt"), 426},
		{"10,000 protocols", with("Sec-WebSocket-Protocol: " + strings.Repeat("canary,", 10000)), 426},
		{"compression offered", with("Sec-WebSocket-Extensions: permessage-deflate; client_max_window_bits"), 101},
		{"odd extensions", with("Sec-WebSocket-Extensions: canary; " + strings.Repeat(",;=\"", 1000)), 101},
		{"other connection tokens", instead("Connection: Upgrade", "Connection: keep-alive, UPGRADE"), 101},

		{"PUT", instead("GET", "PUT"), 405},
		{"POST that is no JSON", strings.Replace(with("Content-Type: text/plain", "Content-Length: 1"), "GET", "POST", 1) + "x", 415},
		{"HTTP/1.0", instead("HTTP/1.1", "HTTP/1.0"), 426},
		{"plain GET", "GET /canary HTTP/1.1\r\nHost: localhost\r\n\r\n", 426},
		{"no Connection", without("Connection: Upgrade"), 426},
		{"no Upgrade", without("Upgrade: websocket"), 426},
		{"another Upgrade", instead("Upgrade: websocket", "Upgrade: canary"), 426},
		{"no version", without("Sec-WebSocket-Version: 13"), 426},
		{"version 8", instead("Version: 13", "Version: 8"), 426},
		{"version canary", instead("Version: 13", "Version: canary"), 426},
		{"no key", without(key), 400},
		{"two keys", with(key), 400},
		{"short key", instead(key, "Sec-WebSocket-Key: Y2FuYXJ5"), 400},
		{"long key", instead(key, "Sec-WebSocket-Key: "+base64.StdEncoding.EncodeToString(make([]byte, 17))), 400},
		{"no base64", instead(key, "Sec-WebSocket-Key: canary!"), 400},

		{"no token", upgrade + "\r\n", 401},
		{"unknown token", hello("canary"), 401},
		{"token of 8 KB", hello(strings.Repeat("canary", 1400)), 401},
		{"token in the URL", strings.Replace(upgrade, "GET /", "GET /?access_token=nurse&canary", 1) + "\r\n", 401},
		{"another scheme", upgrade + "Authorization: Basic nurse\r\n\r\n", 401},
		{"bad base64 in a subprotocol", upgrade + "Sec-WebSocket-Protocol: carewire.v1, carewire.bearer.%canary\r\n\r\n", 401},
		{"unknown token in a subprotocol", upgrade + offer("canary") + "\r\n\r\n", 401},
		{"unusable principal", hello("unusable"), 503},
		{"expired principal", hello("expired"), 401},
		{"Authenticator fails", hello("fails"), 503},
		{"Authenticator panics", hello("panics"), 503},
		{"Authenticator hangs", hello("hangs"), 503},

		{"listed origin", with("Origin: https://ehr.test"), 101},
		{"listed origin with port", with("Origin: https://ehr.test:8443"), 101},
		{"own host over https", with("Origin: https://localhost"), 101},
		{"own loopback host over http", with("Origin: http://localhost"), 101},
		{"own host over http", strings.Replace(with("Origin: http://carewire.test"), "Host: localhost", "Host: carewire.test", 1), 403},
		{"foreign", with("Origin: https://evil.test"), 403},
		{"foreign, with cookie", with("Origin: https://evil.test", "Cookie: s=canary"), 403},
		{"foreign, not authenticated", upgrade + "Origin: https://evil.test\r\n\r\n", 403},
		{"null", with("Origin: null"), 403},
		{"empty", with("Origin: "), 403},
		{"prefix", with("Origin: https://ehr.test.evil.test"), 403},
		{"suffix", with("Origin: https://evil-ehr.test"), 403},
		{"in the query", with("Origin: https://evil.test/?ehr.test"), 403},
		{"in the user", with("Origin: https://ehr.test@evil.test"), 403},
		{"with a path", with("Origin: https://ehr.test/"), 403},
		{"upper case", with("Origin: HTTPS://EHR.TEST"), 403},
		{"another port", with("Origin: https://ehr.test:444"), 403},
		{"own host, another port", with("Origin: https://localhost:444"), 403},
		{"http for https", with("Origin: http://ehr.test"), 403},
		{"ftp of the own host", with("Origin: ftp://localhost"), 403},
		{"a good and a bad one", with("Origin: https://ehr.test", "Origin: https://evil.test"), 403},
		{"a bad and a good one", with("Origin: https://evil.test", "Origin: https://ehr.test"), 403},
		{"two in one", with("Origin: https://ehr.test https://evil.test"), 403},
		{"none, but a cookie", upgrade + "Cookie: s=nurse\r\n\r\n", 403},
		{"none, a cookie and a token", with("Cookie: s=canary"), 101},

		{"another host", strings.Replace(with("Origin: https://evil.test"), "Host: localhost", "Host: evil.test", 1), 421},
		{"another port of the host", strings.Replace(with(), "Host: localhost", "Host: localhost:81", 1), 421},
		{"headers of 1.5 MB", with("X-Canary: " + strings.Repeat("canary", 250000)), 431},
	}
	for _, v := range venues[:2] {
		t.Run(v.name, func(t *testing.T) {
			certificate()
			synctest.Test(t, func(t *testing.T) {
				var log lockedBuffer
				o := *o
				o.Logger = slog.New(slog.NewTextHandler(&log, nil))
				w := newWorld(t, nil, &o)
				t.Cleanup(w.close)
				w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
					p, err := byToken(r)
					switch Token(r) {
					case "unusable":
						return Principal{ID: "canary", Role: "canary"}, nil
					case "expired":
						return Principal{ID: "canary", Role: RoleViewer, Expires: time.Now()}, nil
					case "fails":
						err = errors.New("canary")
					case "panics":
						panic("canary")
					case "hangs":
						time.Sleep(time.Hour)
					}
					return p, err
				})
				dial := v.open(w)
				tried := 0
				for _, c := range requests {
					begun := time.Now()
					r, body := handshake(t, dial(), c.request)
					if !assert.Equal(t, c.status, r.StatusCode, c.name) {
						continue
					}
					assert.LessOrEqual(t, time.Since(begun), 5*time.Second, c.name)
					var all bytes.Buffer
					r.Header.Write(&all)
					assert.NotContains(t, all.String()+body, "canary", c.name)
					assert.NotContains(t, all.String(), bearerProtocol, c.name)
					assert.Empty(t, r.Header.Get("Sec-WebSocket-Extensions"), c.name)
					if c.status != 431 { // which is net/http's
						tried++
					}
					switch c.status {
					case 101:
						if strings.Contains(c.request, "Sec-WebSocket-Protocol") {
							assert.Equal(t, Protocol, r.Header.Get("Sec-WebSocket-Protocol"), c.name)
						} else {
							assert.Empty(t, r.Header.Values("Sec-WebSocket-Protocol"), c.name)
						}
						continue
					case 431:
						continue
					case 426:
						assert.Equal(t, "13", r.Header.Get("Sec-WebSocket-Version"), c.name)
						assert.Equal(t, Protocol, r.Header.Get("Sec-WebSocket-Protocol"), c.name)
					case 429, 503:
						assert.NotEmpty(t, r.Header.Get("Retry-After"), c.name)
					}
					assert.Equal(t, http.StatusText(c.status)+"\n", body, c.name)
					assert.Equal(t, "no-store", r.Header.Get("Cache-Control"), c.name)
				}
				assert.EqualValues(t, tried, w.hub.Stats().Handshakes.Tried)
				assert.NotContains(t, log.String(), "canary")
				time.Sleep(time.Hour) // until the hanging Authenticator has come back
			})
		})
	}
}

// unwrapping is a middleware's writer that has nothing of its own but Unwrap.
type unwrapping struct{ http.ResponseWriter }

func (u unwrapping) Unwrap() http.ResponseWriter { return u.ResponseWriter }

// opaque is a middleware's writer that cannot be hijacked.
type opaque struct{ http.ResponseWriter }

// pretending is a middleware's writer that has a Hijack which fails.
type pretending struct{ http.ResponseWriter }

func (pretending) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, errors.New("canary")
}

// early is a middleware's writer that cannot be hijacked once a status is
// written, as gin 1.11.0 has it.
type early struct {
	http.ResponseWriter
	written bool
}

func (e *early) WriteHeader(status int) { e.written = true }

func (e *early) WriteHeaderNow() { e.written = true }

func (e *early) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	if e.written {
		return nil, nil, errors.New("already written")
	}
	return e.ResponseWriter.(http.Hijacker).Hijack()
}

func TestMiddleware(t *testing.T) {
	for _, c := range []struct {
		name   string
		wrap   func(http.ResponseWriter) http.ResponseWriter
		status int
	}{
		{"unwrapping", func(w http.ResponseWriter) http.ResponseWriter { return unwrapping{unwrapping{w}} }, 101},
		{"before a status only", func(w http.ResponseWriter) http.ResponseWriter { return &early{ResponseWriter: w} }, 101},
		{"opaque", func(w http.ResponseWriter) http.ResponseWriter { return opaque{w} }, 503},
		{"opaque inside", func(w http.ResponseWriter) http.ResponseWriter { return unwrapping{opaque{w}} }, 503},
		{"pretending", func(w http.ResponseWriter) http.ResponseWriter { return pretending{w} }, 503},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var log lockedBuffer
				w := newWorld(t, nil, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
				t.Cleanup(w.close)
				w.srv.Handler = http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { w.hub.ServeHTTP(c.wrap(rw), r) })
				conn := dialler(w, w.net, nil)()
				if c.status == 101 {
					p := join(t, conn, "nurse", masked(opPing, "early"))
					for first := byte(0); first != opPong; {
						var err error
						first, _, err = p.frame()
						require.NoError(t, err)
					}
					return
				}
				r, body := handshake(t, conn, hello("nurse"))
				require.Equal(t, c.status, r.StatusCode)
				require.Equal(t, "Service Unavailable\n", body)
				require.Contains(t, log.String(), "hijack")
				require.NotContains(t, log.String(), "canary")
			})
		})
	}
}
