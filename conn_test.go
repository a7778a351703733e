package carewire

import (
	"bytes"
	"context"
	"fmt"
	"io"
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

// Framing violations and their consequences; 0: the end without a close frame.
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

// Frames that are large or odd, and allowed.
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

// Nothing is left of thousands of connections, for each way of ending.
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
