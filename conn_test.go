package carewire

import (
	"bufio"
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"weak"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// eventually waits, in real time, for something to become true.
func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patienceOfTests); !f(); {
		require.True(t, time.Now().Before(end), "not within %v: %s", patienceOfTests, what)
		runtime.Gosched()
	}
}

// A connection that ended in any way is forgotten: nothing of it stays in memory.
func TestEndedConnectionsAreCollected(t *testing.T) {
	for _, c := range []struct {
		name string
		end  func(w *world, p *peer)
	}{
		{"the client's close frame", func(w *world, p *peer) { p.write(masked(opClose, closing(1000, ""))) }},
		{"the client hangs up", func(w *world, p *peer) { p.conn.Close() }},
		{"a protocol error", func(w *world, p *peer) { p.write(masked(0x83, "")) }},
		{"revoked", func(w *world, p *peer) { w.hub.Revoke(context.Background(), Revocation{Principal: "nurse"}) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.send(`{"type":"watch","req":"1","patients":["p1"]}`)
				p.text("synced")
				var left weak.Pointer[conn]
				for _, c := range w.hub.registry.list() {
					left = weak.Make(c)
				}
				c.end(w, p)
				p.end()
				p.conn.Close()
				for i := 0; left.Value() != nil; i++ {
					require.Less(t, i, 100, "still in memory")
					time.Sleep(time.Second)
					runtime.GC()
				}
			})
		})
	}
}

// A client that floods is ended once: not a timer, nor anything else, for each
// of its frames.
func TestFloodsAfterTheEndCostNothing(t *testing.T) {
	for _, c := range []struct {
		name  string
		frame []byte
	}{
		{"pings", masked(opPing, "")},
		{"malformed requests", masked(opText, "[")},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.text("inbox")
				go io.Copy(io.Discard, p.conn)
				flood := bytes.Repeat(c.frame, 60000)
				before := heapBytes()
				p.write(flood)
				synctest.Wait()
				require.Less(t, heapBytes()-before, int64(3<<20))
			})
		})
	}
}

func heapBytes() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// The limit on connections holds when many arrive at once.
func TestMaxConnectionsHoldsWhenManyArrive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxConnections: 5})
		t.Cleanup(w.close)
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			time.Sleep(time.Second)
			return byToken(r)
		})
		var in, out atomic.Int64
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				p := shake(t, dialler(w, w.net, nil)(), hello("nurse"))
				if p.status.StatusCode == 101 {
					in.Add(1)
					go io.Copy(io.Discard, p.conn)
				} else {
					out.Add(1)
				}
			})
		}
		wg.Wait()
		require.EqualValues(t, 5, in.Load())
	})
}

// slowStore is a Store whose maintenance and clock hang.
type slowStore struct {
	Store
	hang func(ctx context.Context, what string)
}

func (s *slowStore) Prune(ctx context.Context, now time.Time, r Retention) error {
	s.hang(ctx, "prune")
	return nil
}

func (s *slowStore) Now(ctx context.Context) (time.Time, error) {
	s.hang(ctx, "now")
	return time.Now(), nil
}

func (s *slowStore) Durable() bool { s.hang(context.Background(), "durable"); return true }

func (s *slowStore) Latest(ctx context.Context, p string) ([]Entry, Head, error) {
	s.hang(ctx, "latest "+p)
	if ctx.Err() != nil {
		return nil, Head{}, ctx.Err()
	}
	return s.Store.Latest(ctx, p)
}

func TestHeartbeatsWhileTheStoreHangs(t *testing.T) {
	for _, what := range []string{"prune", "now", "latest p2"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var hanging atomic.Bool
				w := newWorld(t, &slowStore{Store: NewMemoryStore(nil), hang: func(ctx context.Context, s string) {
					if s == what && hanging.Load() {
						<-ctx.Done()
					}
				}}, &Options{Retention: Retention{Vitals: time.Hour}})
				t.Cleanup(func() {
					w.hub.stop() // ends what hangs
					w.close()
				})
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.send(`{"type":"watch","req":"1","patients":["p1"]}`)
				p.text("synced")
				l := p.listen()
				time.Sleep(time.Second)
				hanging.Store(true)
				p.send(`{"type":"watch","req":"2","patients":["p2"]}`)
				for i := range 30 { // past the time to prune
					time.Sleep(25 * time.Second)
					_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
					require.NoError(t, err)
					time.Sleep(6 * time.Second)
					require.Equal(t, i+1, l.count("vital"), "events of one patient wait for another's log")
				}
				require.LessOrEqual(t, l.silence(), 20*time.Second)
			})
		})
	}
}

// listening reads in the background and answers pings.
type listening struct {
	mu    sync.Mutex
	last  time.Time
	worst time.Duration
	got   map[string]int
	deaf  bool // answers no pings
	ended chan struct{}
	at    time.Time // when the last frame, or the end, came
	code  CloseCode
}

func (p *peer) listen() *listening {
	return p.listenOr(false)
}

// listenOr is listen, but answers no pings if deaf.
func (p *peer) listenOr(deaf bool) *listening {
	l := &listening{deaf: deaf, last: time.Now(), got: make(map[string]int), ended: make(chan struct{})}
	go func() {
		defer close(l.ended)
		for {
			first, b, err := p.frame()
			l.mu.Lock()
			now := time.Now()
			l.at = now
			l.worst, l.last = max(l.worst, now.Sub(l.last)), now
			if err == nil {
				switch first {
				case opPing:
					if !l.deaf {
						go p.write(masked(opPong, string(b)))
					}
				case opText:
					l.got[peekType(b)]++
				case opClose:
					l.code = CloseCode(b[0])<<8 | CloseCode(b[1])
				}
			}
			l.mu.Unlock()
			if err != nil {
				return
			}
		}
	}()
	return l
}

func (l *listening) endedAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.at
}

func (l *listening) closeCode() CloseCode {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.code
}

func (l *listening) count(typ string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.got[typ]
}

// silence is the longest time in which nothing came.
func (l *listening) silence() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	return max(l.worst, time.Since(l.last))
}

// The first frame is welcome, whatever happens meanwhile.
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

// Once the token has ended nothing is taken from the client any more.
func TestNothingIsTakenAfterTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			p, err := byToken(r)
			p.Expires = time.Now().Add(10 * time.Second)
			return p, err
		})
		p := join(t, dialler(w, w.net, nil)(), "device")
		l := p.listen()
		time.Sleep(9 * time.Second)
		p.send(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":1,"unit":"/min"}]}`)
		time.Sleep(2 * time.Second)
		require.Equal(t, CloseUnauthorized, l.closeCode())
		go p.send(`{"type":"publish","req":"2","vitals":[{"patient":"p1","code":"8867-4","value":2,"unit":"/min"}]}`)
		time.Sleep(20 * time.Second)
		_, head, err := w.store.Latest(t.Context(), "p1")
		require.NoError(t, err)
		require.EqualValues(t, 1, head.Seq)
	})
}

// A watched patient's position is shown at least every 15 s.
func TestHeadsOfQuietPatients(t *testing.T) {
	for offset := range 12 {
		t.Run(fmt.Sprint(offset), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.send(`{"type":"watch","req":"1","patients":["p1"]}`)
				p.text("synced")
				go func() {
					time.Sleep(30*time.Second + time.Duration(offset)*time.Second)
					w.hub.Publish(context.Background(), HeartRate.Of("p1", 60))
				}()
				last, worst := time.Now(), time.Duration(0)
				for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); {
					first, b, err := p.frame()
					require.NoError(t, err)
					switch {
					case first == opPing:
						p.write(masked(opPong, ""))
					case strings.Contains(string(b), `"p1"`):
						worst, last = max(worst, time.Since(last)), time.Now()
					}
				}
				require.LessOrEqual(t, worst, 15*time.Second)
			})
		})
	}
}

// Framing violations and what must come of them; 0: the end without a close frame.
func TestFramingViolations(t *testing.T) {
	type violation struct {
		name  string
		bytes []byte
		code  CloseCode
	}
	join2 := func(frames ...[]byte) []byte { return bytes.Join(frames, nil) }
	list := []violation{
		{"unmasked", []byte{opText, 2, '{', '}'}, 1002},
		{"unmasked ping", []byte{opPing, 0}, 1002},
		{"reserved bit 1", masked(opText|0x40, "{}"), 1002},
		{"reserved bit 2", masked(opText|0x20, "{}"), 1002},
		{"reserved bit 3", masked(opText|0x10, "{}"), 1002},
		{"fragmented ping", masked(0x09, ""), 1002},
		{"fragmented pong", masked(0x0a, ""), 1002},
		{"fragmented close", masked(0x08, ""), 1002},
		{"ping of 126 bytes", masked(opPing, strings.Repeat("x", 126)), 1002},
		{"pong of 126 bytes", masked(opPong, strings.Repeat("x", 126)), 1002},
		{"close of 126 bytes", masked(opClose, strings.Repeat("x", 126)), 1002},
		{"continuation first", masked(opMore|0x80, "{}"), 1002},
		{"unfinished continuation first", masked(opMore, "{}"), 1002},
		{"a message inside another", join2(masked(0x01, "{"), masked(opText, "{}")), 1002},
		{"length 2^63", header(opText, 1<<63), 1002},
		{"length 2^64-1", header(opText, 1<<64-1), 1002},
		{"length 2^63-1, then silence", header(opText, 1<<63-1), 3008},
		{"1 GiB announced, then silence", header(opText, 1<<30), 3008},
		{"1 GiB ping", header(opPing, 1<<30), 1002},
		{"half a header, then silence", []byte{opText}, 3008},
		{"half a ping, then silence", masked(opPing, "payload")[:8], 3008},
		{"too big by one byte", masked(opText, strings.Repeat("x", 65537)), 1009},
		{"too big in fragments", join2(masked(0x01, strings.Repeat("x", 40000)), masked(0x80, strings.Repeat("x", 40000))), 1009},
		{"binary", masked(opBinary, "{}"), 1003},
		{"empty binary", masked(opBinary, ""), 1003},
		{"lone 0xC0", masked(opText, "\xc0"), 1007},
		{"overlong", masked(opText, "\xc0\xaf"), 1007},
		{"surrogate", masked(opText, "\xed\xa0\x80"), 1007},
		{"beyond Unicode", masked(opText, "\xf4\x90\x80\x80"), 1007},
		{"half a code point", masked(opText, "{\"type\":\"\xf0\x9f"), 1007},
		{"half a code point, then an end", join2(masked(0x01, "\xf0\x9f"), masked(0x80, "")), 1007},
		{"half a code point, then another", join2(masked(0x01, "\xf0\x9f"), masked(0x80, "\xc3\xa9")), 1007},
	}
	for _, op := range []byte{3, 4, 5, 6, 7, 0xb, 0xc, 0xd, 0xe, 0xf} {
		list = append(list, violation{fmt.Sprintf("opcode %X", op), masked(0x80|op, ""), 1002})
	}
	for _, v := range venues[:2] {
		t.Run(v.name, func(t *testing.T) {
			certificate()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				dial := v.open(w)
				healthy := join(t, dial(), "nurse")
				healthy.send(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every"}`)
				healthy.text("synced")
				c := healthy.listen()
				for i, f := range list {
					p := join(t, dial(), "nurse")
					p.text("inbox")
					begun := time.Now()
					go p.write(f.bytes)
					code, _ := p.end()
					assert.Equal(t, f.code, code, f.name)
					if strings.Contains(f.name, "silence") {
						assert.Less(t, time.Since(begun), 45*time.Second, f.name)
					} else {
						assert.Less(t, p.closed.Sub(begun), time.Second, f.name)
						assert.LessOrEqual(t, time.Since(begun), 6*time.Second, f.name)
					}
					_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", float64(i)))
					require.NoError(t, err)
				}
				synctest.Wait()
				require.Equal(t, len(list), c.count("vital"), "the healthy client lost something")
			})
		})
	}
}

// The close frame stands behind the replies that wait.
func TestRepliesComeBeforeTheCloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxRequests: -1})
		t.Cleanup(w.close)
		p := join(t, dialler(w, w.net, nil)(), "nurse")
		p.text("inbox")
		const requests = 3000 // with replies of more than one write
		go p.write(append(bytes.Repeat(masked(opText, `{"type":"unwatch","req":"1","patients":["p1"]}`), requests), masked(opBinary, "")...))
		time.Sleep(time.Second)
		for range requests {
			p.text("ok")
		}
		code, _ := p.end()
		require.Equal(t, CloseBinary, code)
	})
}

// A client that answers our close frame sees the end at once.
func TestAnsweredCloseEndsAtOnce(t *testing.T) {
	for _, v := range venues[:2] {
		t.Run(v.name, func(t *testing.T) {
			certificate()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				dial := v.open(w)
				for code, end := range map[CloseCode]func(*peer){
					CloseForbidden: func(*peer) {
						w.hub.Revoke(context.Background(), Revocation{Principal: "nurse", Until: time.Now().Add(time.Second)})
					},
					ClosePolicy:  func(p *peer) { p.write(bytes.Repeat(masked(opText, "["), 2*mistakes)) },
					CloseBinary:  func(p *peer) { p.write(masked(opBinary, "{}")) },
					CloseNotUTF8: func(p *peer) { p.write(masked(opText, "\xc0")) },
				} {
					time.Sleep(2 * time.Second)
					p := join(t, dial(), "nurse")
					p.text("inbox")
					go end(p)
					first, err := byte(0), error(nil)
					for first != opClose {
						first, _, err = p.frame()
						require.NoError(t, err)
					}
					answered := time.Now()
					go p.write(masked(opClose, closing(uint16(code), "")))
					_, _, err = p.frame()
					require.Error(t, err)
					require.Less(t, time.Since(answered), time.Second, "%d", code)
				}
			})
		})
	}
}

// A close frame is not followed by a reset, which could overtake it, although
// the client is still sending.
func TestCloseFramesAreNotLostToAReset(t *testing.T) {
	for _, c := range []struct {
		bytes []byte
		code  CloseCode
	}{
		{masked(opText, strings.Repeat("x", 2<<20)), CloseTooBig},
		{append(masked(0x83, ""), make([]byte, 2<<20)...), CloseProtocolError},
		{append(masked(opBinary, ""), bytes.Repeat(masked(opText, "{}"), 1000)...), CloseBinary},
		{append(masked(opText, "\xc0"), bytes.Repeat(masked(opText, "{}"), 1000)...), CloseNotUTF8},
	} {
		t.Run(fmt.Sprint(c.code), func(t *testing.T) {
			w := newWorld(t, nil, nil)
			t.Cleanup(w.close)
			dial := dialler(w, loopbackListener(t), nil)
			for range 10 {
				p := join(t, dial(), "nurse")
				p.text("inbox")
				go p.write(c.bytes)
				first, err := byte(0), error(nil)
				for err == nil && first != opClose {
					first, _, err = p.frame()
				}
				require.NoError(t, err)
				p.write(masked(opClose, closing(uint16(c.code), "")))
				p.conn.(*net.TCPConn).CloseWrite()
				_, _, err = p.frame()
				require.Equal(t, io.EOF, err)
			}
		})
	}
}

// Frames that cost the client next to nothing are not taken without end.
func TestFloodsAreCutAtOnce(t *testing.T) {
	for name, flood := range map[string][]byte{
		"pings":                         bytes.Repeat(masked(opPing, ""), 1000),
		"pongs":                         bytes.Repeat(masked(opPong, ""), 1000),
		"empty continuations":           append(masked(0x01, "{"), bytes.Repeat(masked(opMore, ""), 500000)...),
		"pongs and empty continuations": append(masked(0x01, "{"), bytes.Repeat(append(masked(opMore, ""), masked(opPong, "")...), 1000)...),
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.text("inbox")
				begun := time.Now()
				go p.write(flood)
				code, _ := p.end()
				require.Equal(t, ClosePolicy, code)
				require.Equal(t, begun, p.closed)
				require.LessOrEqual(t, time.Since(begun), 6*time.Second)
			})
		})
	}
}

// What is large or odd, and allowed.
func TestFramesThatAreAllowed(t *testing.T) {
	long := func(n int) string { // a request of n bytes
		s := `{"type":"unwatch","req":"x","patients":[` + strings.Repeat(" ", n)
		return s[:n-2] + "]}"
	}
	euro := strings.Split(`{"type":"euro €","req":"x"}`, "\x82")
	for name, frames := range map[string][][]byte{
		"as long as a frame may be":    {masked(opText, long(65536))},
		"in many fragments":            {masked(0x01, long(1000)[:500]), bytes.Repeat(masked(opMore, ""), 100), masked(opMore, long(1000)[500:900]), masked(0x80, long(1000)[900:])},
		"pings and pongs in a message": {masked(0x01, long(100)[:50]), masked(opPing, "1"), masked(opPong, "2"), masked(0x80, long(100)[50:])},
		"a code point in two frames":   {masked(0x01, euro[0]), masked(0x80, "\x82"+euro[1])},
		"40 pongs nobody asked for":    {bytes.Repeat(masked(opPong, "payload"), 40), masked(opText, long(100))},
	} {
		t.Run(name, func(t *testing.T) {
			everywhere(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
				p := join(t, dial(), "nurse")
				p.text("inbox")
				go p.write(bytes.Join(frames, nil))
				for {
					first, b, err := p.frame()
					require.NoError(t, err)
					require.NotEqual(t, opClose, int(first), "%q", b)
					if first == opText && strings.Contains(string(b), `"req":"x"`) {
						return
					}
				}
			})
		})
	}
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

// A lockedBuffer is a buffer that a logger may write to.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
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
func (e *early) WriteHeaderNow()        { e.written = true }

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

// A peer that stalls inside a frame when its connection is being closed holds
// it for seconds at most, whoever closes and why.
func TestPeersThatStallWhileBeingClosed(t *testing.T) {
	for _, c := range []struct {
		name string
		code CloseCode
		each func(p *peer)
		once func(w *world)
	}{
		{"abuse", ClosePolicy, func(p *peer) { p.write(bytes.Repeat(masked(opText, "["), 2*mistakes)) }, nil},
		{"binary", CloseBinary, func(p *peer) { p.write(masked(opBinary, "")) }, nil},
		{"protocol error", CloseProtocolError, func(p *peer) { p.write(masked(0x83, "")) }, nil},
		{"revoked", CloseForbidden, func(*peer) {}, func(w *world) { w.hub.Revoke(context.Background(), Revocation{Principal: "nurse"}) }},
		{"restart", CloseRestart, func(*peer) {}, func(w *world) { w.hub.Shutdown(context.Background()) }},
	} {
		for _, reads := range []bool{true, false} {
			for _, v := range venues[:2] {
				t.Run(fmt.Sprintf("%s/reads=%v/%s", c.name, reads, v.name), func(t *testing.T) {
					certificate()
					synctest.Test(t, func(t *testing.T) {
						peers := 200
						if v.name != "memory" {
							peers = 5
						}
						w := newWorld(t, nil, nil)
						t.Cleanup(w.close)
						dial := v.open(w)
						var all []*peer
						for range peers {
							p := join(t, dial(), "nurse")
							p.text("inbox")
							all = append(all, p)
						}
						begun := time.Now()
						var wg sync.WaitGroup
						if c.once != nil {
							go c.once(w)
						}
						for _, p := range all {
							go func() {
								c.each(p)
								p.write(header(opText, 1<<30))
							}()
							if reads {
								wg.Go(func() {
									code, reason := p.end()
									assert.Equal(t, c.code, code)
									assert.Equal(t, c.code.reason(), reason)
								})
							}
						}
						wg.Wait()
						for w.hub.Stats().Connections > 0 {
							time.Sleep(100 * time.Millisecond)
						}
						within := 15 * time.Second
						if reads {
							within = 7 * time.Second
						}
						assert.LessOrEqual(t, time.Since(begun), within)
						for _, p := range all {
							p.conn.Close()
						}
						time.Sleep(time.Millisecond)
						require.Equal(t, "0 0 0", running())
					})
				})
			}
		}
	}
}

// A client that takes a little at a time, so that each write succeeds, is cut
// all the same once its connection is being closed, and its requests are not
// taken any more.
func TestClosingDoesNotWaitForASlowReader(t *testing.T) {
	const request = `{"type":"unwatch","req":"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx","patients":["p1"]}`
	for _, c := range []struct {
		name     string
		requests int
		revoke   bool
	}{
		{"revoked while replies wait", 5000, true},
		{"more replies than may wait", 20000, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.text("inbox")
				go p.write(append(bytes.Repeat(masked(opText, request), c.requests),
					masked(opText, `{"type":"raise","req":"1","event_id":"e1","alert":{"patient":"p1","key":"late","text":"x","priority":"low"}}`)...))
				synctest.Wait()
				if c.revoke {
					w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"})
				}
				begun := time.Now()
				for {
					if _, err := p.conn.Read(make([]byte, 2000)); err != nil {
						break
					}
					time.Sleep(time.Second)
				}
				require.LessOrEqual(t, time.Since(begun), 16*time.Second)
				if !c.revoke {
					_, head, err := w.store.Latest(t.Context(), "p1")
					require.NoError(t, err)
					require.Zero(t, head.Seq, "taken after the close")
				}
			})
		})
	}
}

// Who is alive stays, who is not goes.
func TestDeadAndAlive(t *testing.T) {
	drip := func(frame []byte) func(*peer) { // a byte each half second, inside one message
		return func(p *peer) {
			for i := 0; p.write(frame[i%len(frame):i%len(frame)+1]) == nil; i++ {
				time.Sleep(500 * time.Millisecond)
			}
		}
	}
	flood := func(frame []byte) func(*peer) {
		return func(p *peer) {
			p.write(masked(0x01, "{"))
			for b := bytes.Repeat(frame, 100); p.write(b) == nil; {
				time.Sleep(100 * time.Millisecond)
			}
		}
	}
	for _, c := range []struct {
		name   string
		pong   bool // the client answers pings
		do     func(p *peer)
		code   CloseCode // 0: it stays
		within time.Duration
	}{
		{"idle, answers pings", true, func(*peer) {}, 0, time.Hour},
		{"reads, but answers nothing", false, func(*peer) {}, CloseTimeout, 40 * time.Second},
		{"reads and drips a frame", true, drip(masked(opText, strings.Repeat("x", 1000))), CloseTimeout, 20 * time.Second},
		{"drips a frame's header", true, drip(header(opText, 1<<30)[:8]), CloseTimeout, 40 * time.Second},
		{"floods with empty continuations", true, flood(masked(opMore, "")), CloseTimeout, 15 * time.Second},
		{"floods with continuations of a byte", true, flood(masked(opMore, "x")), CloseTimeout, 15 * time.Second},
		{"sends pings, but answers none", false, func(p *peer) {
			for p.write(masked(opPing, "")) == nil {
				time.Sleep(5 * time.Second)
			}
		}, CloseTimeout, 40 * time.Second},
		{"sends requests, but answers no pings", false, func(p *peer) {
			for range 3000 / 30 {
				p.send(`{"type":"unwatch","req":"1","patients":["p1"]}`)
				time.Sleep(30 * time.Second)
			}
			p.conn.Close()
		}, CloseAbnormal, time.Hour},
		{"sends pings often, for a while", true, func(p *peer) {
			for range 600 {
				p.write(masked(opPing, ""))
				time.Sleep(time.Second / 8)
			}
		}, 0, time.Hour},
		{"sends pings too often", true, func(p *peer) {
			for p.write(masked(opPing, "")) == nil {
				time.Sleep(time.Second / 50)
			}
		}, ClosePolicy, 10 * time.Second},
	} {
		for _, v := range venues[:2] {
			t.Run(c.name+"/"+v.name, func(t *testing.T) {
				certificate()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil, nil)
					t.Cleanup(w.close)
					p := join(t, v.open(w)(), "nurse")
					p.text("inbox")
					l := p.listenOr(!c.pong)
					begun, done := time.Now(), make(chan bool)
					t.Cleanup(func() { p.conn.Close(); <-done })
					go func() { c.do(p); close(done) }()
					select {
					case <-l.ended:
					case <-time.After(c.within):
					}
					if c.code == 0 {
						require.Equal(t, 1, w.hub.Stats().Connections)
						require.LessOrEqual(t, l.silence(), 20*time.Second)
						return
					}
					require.LessOrEqual(t, l.endedAt().Sub(begun), c.within)
					if c.code != CloseAbnormal {
						require.Equal(t, c.code, l.closeCode())
					}
				})
			})
		}
	}
}

// A client that stops reading holds a bounded amount, and is cut; one beside it
// is not even delayed; on its return it gets every alert.
func TestStuckClient(t *testing.T) {
	for _, v := range venues[:2] {
		t.Run(v.name, func(t *testing.T) {
			certificate()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, &Options{MaxOutboxBytes: 16 << 10})
				t.Cleanup(w.close)
				dial := v.open(w)
				watch := `{"type":"watch","req":"1","patients":["p1"]%s}`
				stuck, healthy := join(t, dial(), "doctor"), join(t, dial(), "nurse")
				for p, how := range map[*peer]string{stuck: "", healthy: `,"delivery":"every"`} {
					p.send(fmt.Sprintf(watch, how))
					p.text("synced")
				}
				l := healthy.listen()
				var c *conn
				for _, x := range w.hub.registry.of("doctor") {
					c = x
				}
				begun := time.Now()
				const alerts = 100
				for i := range alerts {
					sent := time.Now()
					for n := range 10 {
						_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", float64(i)), SpO2.Of("p1", float64(n)))
						require.NoError(t, err)
					}
					_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint(i), Text: strings.Repeat("x", 3000), Priority: PriorityLow, To: []string{"person:pat"}})
					require.NoError(t, err)
					synctest.Wait()
					require.GreaterOrEqual(t, l.count("alert"), i+1)
					require.Equal(t, time.Now(), sent, "the healthy client waited")
					c.out.mu.Lock()
					events, replies := c.out.bytes, c.out.held
					c.out.mu.Unlock()
					require.LessOrEqual(t, events, 16<<10)
					require.LessOrEqual(t, replies, 64<<10)
					time.Sleep(200 * time.Millisecond)
				}
				require.EqualValues(t, 20*alerts, l.count("vital"))
				for w.hub.Stats().Connections > 1 {
					time.Sleep(100 * time.Millisecond)
				}
				require.LessOrEqual(t, time.Since(begun), 30*time.Second)
				require.NotZero(t, w.hub.Stats().Replaced)

				back := join(t, dial(), "doctor")
				back.send(fmt.Sprintf(watch, `,"since":{"p1":{"epoch":"","seq":0}}`))
				seen := make(map[any]bool)
				for done := false; !done; {
					first, b, err := back.frame()
					require.NoError(t, err)
					if first == opText {
						var o object
						require.NoError(t, json.Unmarshal(b, &o))
						if o["type"] == "alert" {
							seen[o["alert"].(object)["key"]] = true
						}
						done = o["type"] == "synced"
					}
				}
				require.Len(t, seen, alerts)
			})
		})
	}
}

// The kernel holds only so much for a client that does not read; the rest
// stays with the Hub, where new replaces old.
func TestSendBufferIsBounded(t *testing.T) {
	for _, v := range venues[2:4] {
		t.Run(v.name, func(t *testing.T) {
			w := newWorld(t, nil, nil)
			t.Cleanup(w.close)
			p := join(t, v.open(w)(), "nurse")
			p.send(`{"type":"watch","req":"1","patients":["p1"]}`)
			p.text("synced")
			many := make([]Vital, 50)
			for sent := 0; ; sent += len(many) * 250 {
				for i := range many {
					many[i] = HeartRate.Of("p1", float64(60+i))
					many[i].Device = fmt.Sprintf("device-%02d", i)
				}
				_, err := w.hub.Publish(t.Context(), many...)
				require.NoError(t, err)
				c := w.hub.registry.list()[0]
				if c.out.idleFor(20 * time.Millisecond) {
					continue
				}
				require.Less(t, sent, 2<<20)
				return
			}
		})
	}
}

// idleFor reports whether the outbox is empty at some time within d.
func (o *outbox) idleFor(d time.Duration) bool {
	for end := time.Now().Add(d); time.Now().Before(end); runtime.Gosched() {
		o.mu.Lock()
		busy := o.busy
		o.mu.Unlock()
		if !busy {
			return true
		}
	}
	return false
}

// running counts the goroutines of connections: readers, writers and net/http's.
func running() string {
	b := make([]byte, 4<<20)
	s := string(b[:runtime.Stack(b, true)])
	return fmt.Sprint(strings.Count(s, "carewire.(*conn).read("), strings.Count(s, "(*outbox).run("), strings.Count(s, "net/http.(*conn).serve("))
}

// An idle connection is one goroutine, and none once it has ended.
func TestGoroutinesOfConnections(t *testing.T) {
	const n = 50
	for _, v := range venues[2:] {
		t.Run(v.name, func(t *testing.T) {
			w := newWorld(t, nil, nil)
			t.Cleanup(w.close)
			dial := v.open(w)
			eventually(t, "a quiet beginning", func() bool { return running() == "0 0 0" })
			var all []*peer
			for range n {
				p := join(t, dial(), "nurse")
				p.send(`{"type":"watch","req":"1","patients":["p1"]}`)
				p.text("synced")
				all = append(all, p)
			}
			eventually(t, "one goroutine each", func() bool { return running() == "50 0 0" })
			for _, p := range all {
				p.conn.Close()
			}
			eventually(t, "none", func() bool { return running() == "0 0 0" })
		})
	}
}

// Nothing is left of thousands of connections, however they have ended.
func TestNothingIsLeftOfConnections(t *testing.T) {
	const n = 5000
	w := newWorld(t, nil, nil)
	t.Cleanup(w.close)
	dial := dialler(w, loopbackListener(t), nil)
	descriptors := func() int {
		list, err := os.ReadDir("/proc/self/fd")
		if err != nil {
			return 0
		}
		return len(list)
	}
	hostile := []string{
		hello("nobody's"), // refused
		strings.Replace(upgrade, "13", "8", 1) + "\r\n",
		hello("nurse") + string(masked(0x83, "")), // protocol error
		hello("nurse") + string(header(opText, 1<<30)),
		hello("nurse") + string(masked(opPing, "")[:3]),
		hello("nurse") + string(masked(opClose, closing(1000, ""))),
		hello("nurse") + string(masked(opText, `{"type":"watch","req":"1","patients":["p1","p2"]}`)),
		hello("nurse") + strings.Repeat(string(masked(opText, `{"type":"watch","req":"1","patients":["p1"]}`)), 30),
		upgrade, // half a handshake
		"",
	}
	run := func(n int) {
		var wg sync.WaitGroup
		for worker := range 20 {
			wg.Go(func() {
				for i := range n / 20 {
					c := dial()
					c.Write([]byte(hostile[(i+worker)%len(hostile)]))
					if i%2 == 0 {
						c.SetReadDeadline(time.Now().Add(5 * time.Millisecond))
						c.Read(make([]byte, 4096))
					}
					if t, ok := c.(*net.TCPConn); ok && i%3 == 0 {
						t.SetLinger(0) // a reset
					}
					c.Close()
				}
			})
		}
		wg.Wait()
	}
	run(200)
	settled := func() bool { return w.hub.Stats().Connections == 0 && w.hub.Stats().Watches == 0 }
	eventually(t, "settled", settled)
	goroutines, open := runtime.NumGoroutine(), descriptors()
	run(n)
	eventually(t, "gone", func() bool {
		return settled() && runtime.NumGoroutine() <= goroutines && descriptors() <= open
	})
}

// Something comes at least every 20 s, and not for all at once.
func TestHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		const n = 80
		var idle []*listening
		for range n {
			idle = append(idle, join(t, dialler(w, w.net, nil)(), "nurse").listen())
		}
		pinging := join(t, dialler(w, w.net, nil)(), "nurse") // which gets pongs, but must get texts too
		l := pinging.listen()
		t.Cleanup(func() { pinging.conn.Close(); time.Sleep(time.Minute) })
		go func() {
			for pinging.write(masked(opPing, "")) == nil {
				time.Sleep(5 * time.Second)
			}
		}()
		time.Sleep(10 * time.Minute)
		for _, l := range append(idle, l) {
			require.GreaterOrEqual(t, l.count("heartbeat"), 10*60/20)
			require.LessOrEqual(t, l.silence(), 20*time.Second)
		}
		for i := range visits {
			require.InDelta(t, n/visits, len(w.hub.registry.inSlot(i)), 1)
		}
	})
}
