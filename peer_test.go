package carewire

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/memnet"
)

// The first byte of frames: the opcode, and that this is the last of its message.
const (
	opMore   = 0x00
	opText   = 0x81
	opBinary = 0x82
	opClose  = 0x88
	opPing   = 0x89
	opPong   = 0x8a
)

// upgrade is a handshake without credentials.
const upgrade = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"

func hello(token string) string { return upgrade + "Authorization: Bearer " + token + "\r\n\r\n" }

// header is a masked frame's header that announces n bytes.
func header(first byte, n uint64) []byte {
	b := []byte{first}
	switch {
	case n < 126:
		b = append(b, 0x80|byte(n))
	case n < 1<<16:
		b = binary.BigEndian.AppendUint16(append(b, 0x80|126), uint16(n))
	default:
		b = binary.BigEndian.AppendUint64(append(b, 0x80|127), n)
	}
	return append(b, mask[:]...)
}

var mask = [4]byte{0x11, 0x22, 0x33, 0x44}

// masked is a client's frame.
func masked(first byte, payload string) []byte {
	b := header(first, uint64(len(payload)))
	for i := range len(payload) {
		b = append(b, payload[i]^mask[i%4])
	}
	return b
}

// closing is the payload of a close frame.
func closing(code uint16, reason string) string {
	return string(binary.BigEndian.AppendUint16(nil, code)) + reason
}

// A peer is a client at the level of bytes. It sends anything, and takes
// nothing but whole, final, unmasked frames, with nothing behind a close frame.
type peer struct {
	t      testing.TB
	conn   net.Conn
	r      *bufio.Reader
	status *http.Response // the answer to the handshake
	closed time.Time      // when the close frame came
	mu     sync.Mutex     // held while writing
}

// shake sends a handshake, and more in the same write, and reads the answer.
func shake(t testing.TB, conn net.Conn, request string) *peer {
	t.Helper()
	p := &peer{t: t, conn: conn, r: bufio.NewReader(conn)}
	t.Cleanup(func() { conn.Close() })
	go p.write([]byte(request))
	conn.SetReadDeadline(time.Now().Add(30 * time.Second))
	var err error
	p.status, err = http.ReadResponse(p.r, nil)
	require.NoError(t, err)
	return p
}

// join connects as the person of the given token.
func join(t testing.TB, conn net.Conn, token string, more ...[]byte) *peer {
	t.Helper()
	p := shake(t, conn, hello(token)+string(bytes.Join(more, nil)))
	require.Equal(t, 101, p.status.StatusCode)
	return p
}

func (p *peer) write(b []byte) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.conn.SetWriteDeadline(time.Now().Add(10 * time.Minute))
	_, err := p.conn.Write(b)
	return err
}

func (p *peer) send(text string) { p.write(masked(opText, text)) }

// frame reads one frame.
func (p *peer) frame() (first byte, payload []byte, err error) {
	p.conn.SetReadDeadline(time.Now().Add(time.Minute))
	if first, err = p.r.ReadByte(); err != nil {
		return 0, nil, err
	}
	second, err := p.r.ReadByte()
	if err != nil {
		return 0, nil, errHalf
	}
	n := uint64(second)
	var b [8]byte
	switch second {
	case 126:
		_, err = io.ReadFull(p.r, b[6:])
		n = binary.BigEndian.Uint64(b[:])
	case 127:
		_, err = io.ReadFull(p.r, b[:])
		n = binary.BigEndian.Uint64(b[:])
	}
	if err != nil {
		return 0, nil, errHalf
	}
	if n > 64<<10 {
		return 0, nil, fmt.Errorf("a frame of %d bytes: the server frames must be masked, too long, or the stream is torn", n)
	}
	payload = make([]byte, n)
	if _, err := io.ReadFull(p.r, payload); err != nil {
		return 0, nil, errHalf
	}
	switch {
	case first != opText && first != opClose && first != opPing && first != opPong:
		return 0, nil, fmt.Errorf("a frame that begins with %#x", first)
	case first == opText && !json.Valid(payload):
		return 0, nil, fmt.Errorf("a text that is no JSON: %.60q", payload)
	}
	return first, payload, nil
}

var errHalf = errors.New("half a frame, then the end")

// text returns the next text frame of the given type, and answers pings.
func (p *peer) text(typ string) object {
	p.t.Helper()
	for {
		first, b, err := p.frame()
		require.NoError(p.t, err, "waiting for %s", typ)
		require.NotEqual(p.t, opClose, int(first), "waiting for %s: %q", typ, b)
		switch first {
		case opPing:
			p.write(masked(opPong, string(b)))
		case opText:
			var o object
			require.NoError(p.t, json.Unmarshal(b, &o))
			if o["type"] == typ {
				return o
			}
		}
	}
}

// end reads to the end and returns the close code and reason; 0 if there was no
// close frame. Half a frame, or anything behind a close frame, fails the test.
func (p *peer) end() (code CloseCode, reason string) {
	p.t.Helper()
	for {
		first, b, err := p.frame()
		if code != 0 {
			require.Error(p.t, err, "a frame after the close frame: %#x %q", first, b)
		}
		if err != nil {
			require.False(p.t, errors.Is(err, errHalf) || strings.HasPrefix(err.Error(), "a "), "%v", err)
			return code, reason
		}
		if first == opClose {
			require.GreaterOrEqual(p.t, len(b), 2)
			code, reason, p.closed = CloseCode(binary.BigEndian.Uint16(b)), string(b[2:]), time.Now()
		}
	}
}

// A venue is a kind of connection between clients and a Hub.
type venue struct {
	name   string
	memory bool // works in a bubble
	open   func(*world) (dial func() net.Conn)
}

var venues = []venue{
	{"memory", true, func(w *world) func() net.Conn { return dialler(w, w.net, nil) }},
	{"memory TLS", true, func(w *world) func() net.Conn { return dialler(w, memnet.Listen(), certificate()) }},
	{"TCP", false, func(w *world) func() net.Conn { return dialler(w, loopbackListener(w.t), nil) }},
	{"TLS", false, func(w *world) func() net.Conn { return dialler(w, loopbackListener(w.t), certificate()) }},
	{"hidden TCP", false, func(w *world) func() net.Conn { return dialler(w, wrapped{loopbackListener(w.t), 1 << 20}, nil) }},
	{"sliced", false, func(w *world) func() net.Conn { return dialler(w, wrapped{loopbackListener(w.t), 1}, nil) }},
}

func dialler(w *world, l net.Listener, cfg *tls.Config) func() net.Conn {
	serve := l
	if cfg != nil {
		serve = tls.NewListener(l, cfg)
	}
	if l != net.Listener(w.net) {
		go w.srv.Serve(serve)
	}
	return func() net.Conn {
		w.t.Helper()
		var c net.Conn
		var err error
		if m, ok := l.(*memnet.Listener); ok {
			c, err = m.Dial(context.Background())
		} else {
			c, err = net.Dial("tcp", l.Addr().String())
		}
		require.NoError(w.t, err)
		if cfg != nil {
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true})
		}
		return c
	}
}

func loopbackListener(t testing.TB) net.Listener {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	return l
}

// wrapped hides the type of its connections, as netutil.LimitListener does, and
// reads at most so many bytes at once.
type wrapped struct {
	net.Listener
	atOnce int
}

func (l wrapped) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &wrappedConn{c, l.atOnce}, err
}

type wrappedConn struct {
	net.Conn
	atOnce int
}

func (c *wrappedConn) Read(p []byte) (int, error) { return c.Conn.Read(p[:min(len(p), c.atOnce)]) }

var certificate = sync.OnceValue(func() *tls.Config {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(1)}, &x509.Certificate{SerialNumber: big.NewInt(1)}, &key.PublicKey, key)
	if err != nil {
		panic(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}
})

// everywhere runs f on all kinds of connections; those in memory in a bubble.
func everywhere(t *testing.T, o *Options, f func(t *testing.T, w *world, dial func() net.Conn)) {
	certificate()
	for _, v := range venues {
		t.Run(v.name, func(t *testing.T) {
			run := func(t *testing.T) {
				w := newWorld(t, nil, o)
				t.Cleanup(w.close) // after the clients have gone
				f(t, w, v.open(w))
			}
			if v.memory {
				synctest.Test(t, run)
			} else {
				run(t)
			}
		})
	}
}

// A flood of everything at once, on every kind of connection: the client sees
// whole frames in order, its own pings echoed, and one close frame at the end.
func TestFramesStayWholeUnderFlood(t *testing.T) {
	everywhere(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		const rounds = 40 // below the limit on pings
		p := join(t, dial(), "service")
		p.send(`{"type":"watch","req":"w","patients":["p1"],"delivery":"every"}`)
		p.text("synced")
		go func() {
			for i := range rounds {
				p.write(masked(opPing, fmt.Sprint("ping ", i)))
				p.send(fmt.Sprintf(`{"type":"publish","req":"v%d","vitals":[{"patient":"p1","code":"8867-4","value":%d,"unit":"/min"}]}`, i, 60+i))
				p.send(fmt.Sprintf(`{"type":"raise","req":"r%d","event_id":"e%d","alert":{"patient":"p1","key":"k%d","text":"%s","priority":"low"}}`,
					i, i, i, strings.Repeat("x", 1+20*i)))
			}
		}()
		pongs, replies, seq := 0, 0, 0.0
		for pongs < rounds || replies < 2*rounds || seq < 2*rounds {
			first, b, err := p.frame()
			require.NoError(t, err)
			switch first {
			case opPong:
				require.Equal(t, fmt.Sprint("ping ", pongs), string(b))
				pongs++
			case opText:
				var o object
				require.NoError(t, json.Unmarshal(b, &o))
				switch o["type"] {
				case "ok":
					replies++
				case "vital", "alert", "gap":
					require.Equal(t, seq+1, o["seq"])
					seq++
				case "error":
					t.Fatal(string(b))
				}
			}
		}
		p.write(masked(opClose, closing(1001, "canary")))
		code, reason := p.end()
		require.Equal(t, CloseGoingAway, code)
		require.Equal(t, "going away", reason)
	})
}

func TestCloseFramesCarryNothingOfThePeer(t *testing.T) {
	for _, c := range []struct {
		name, payload string
		code          CloseCode
		reason        string
	}{
		{"canary in the reason", closing(1000, "canary"), 1000, ""},
		{"the longest canary", closing(1000, strings.Repeat("canary.", 17)), 1000, ""},
		{"reason of bad UTF-8", closing(1000, "\xc0\xaf\xed\xa0\x80"), 1007, "not UTF-8"},
		{"code of our own", closing(1012, "canary"), 1012, "restart"},
		{"private code", closing(4999, "canary"), 4999, ""},
		{"empty", "", 1000, ""},
		{"one byte", "c", 1002, "protocol error"},
		{"code 0", closing(0, "canary"), 1002, "protocol error"},
		{"code 999", closing(999, "canary"), 1002, "protocol error"},
		{"code 1005", closing(1005, "canary"), 1002, "protocol error"},
		{"code 1006", closing(1006, "canary"), 1002, "protocol error"},
		{"code 1015", closing(1015, "canary"), 1002, "protocol error"},
		{"code 2999", closing(2999, "canary"), 1002, "protocol error"},
		{"code 5000", closing(5000, "canary"), 1002, "protocol error"},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				t.Cleanup(w.close)
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				p.text("inbox")
				go p.write(masked(opClose, c.payload))
				code, reason := p.end()
				require.Equal(t, c.code, code)
				require.Equal(t, c.reason, reason)
			})
		})
	}
}

// A client that sends pings and reads nothing is not closed within the five
// seconds that the library gives its own pongs, and gets its pongs later.
func TestPingsOfAClientThatDoesNotRead(t *testing.T) {
	for _, c := range []struct {
		pause time.Duration
		cut   bool
	}{{9 * time.Second, false}, {15 * time.Second, true}} {
		for _, v := range venues[:2] {
			t.Run(fmt.Sprint(v.name, " ", c.pause), func(t *testing.T) {
				certificate()
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil, nil)
					t.Cleanup(w.close)
					p := join(t, v.open(w)(), "nurse")
					for i := range 3 {
						p.write(masked(opPing, fmt.Sprint("payload ", i)))
						time.Sleep(c.pause / 3)
					}
					if c.cut {
						_, _, err := p.frame()
						require.Error(t, err, "the clock ends the connection")
						return
					}
					for i := 0; i < 3; {
						first, b, err := p.frame()
						require.NoError(t, err)
						if first == opPong {
							require.Equal(t, fmt.Sprint("payload ", i), string(b))
							i++
						}
					}
				})
			})
		}
	}
}

// A request that a client sends right behind its handshake is not lost.
func TestFramesBehindTheHandshake(t *testing.T) {
	slow := AuthenticatorFunc(func(r *http.Request) (Principal, error) { // long enough for the server to read ahead
		select {
		case <-time.After(50 * time.Millisecond):
		case <-r.Context().Done():
		}
		return byToken(r)
	})
	for _, size := range []int{1, 100, 3000, 4096, 9000} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			everywhere(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
				w.hub.auth = slow
				long := fmt.Sprintf(`{"type":"history","req":"early","patient":"p1","pad":"%s"}`, strings.Repeat("x", size))
				p := join(t, dial(), "nurse", masked(opPing, "early"), masked(opText, long))
				first, b := byte(0), []byte(nil)
				for first != opPong {
					var err error
					first, b, err = p.frame()
					require.NoError(t, err)
				}
				require.Equal(t, "early", string(b))
				require.Equal(t, "early", p.text("error")["req"])
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
