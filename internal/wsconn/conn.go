// Package wsconn is the connection under coder/websocket. It decides who may
// write to it (whole frames only), and when no more output may follow.
package wsconn

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
	"unicode/utf8"
)

const (
	readBuffer  = 512       // bytes read ahead per connection
	writeBuffer = 128       // bytes of the library's: a whole close frame, for Conn.Write sees it in one piece
	sendBuffer  = 128 << 10 // bytes the kernel may hold for a client, where the connection lets us say so
	drainFast   = 64 << 10  // bytes after Drain in which the peer's close frame is looked for
	drainMost   = 4 << 20   // bytes that are then thrown away as they come: the rest of a message that was too long
	unsent      = 16 << 10  // of these, bytes that are not on their way yet, once a client is slow
)

const drainPause = 50 * time.Millisecond // between the reads behind drainMost

// WriteWithin is how long a write may take.
const WriteWithin = 10 * time.Second

// ErrSealed is returned by writes after a close frame, or after a frame that was
// written in part.
var ErrSealed = errors.New("carewire: nothing more may be written")

// ErrFlood is returned by reads when a message takes more bytes than it may.
var ErrFlood = errors.New("carewire: too many bytes for one message")

// A Conn is one client's connection, shared with coder/websocket. The
// library reads frames from it and writes nothing but close frames; everything
// else is written by the outbox, in whole frames. The library does not close
// it either: it does not know which frames are still to be written.
//
// A part that has been written is final: after a short write nothing follows,
// not even a close frame. After a close frame nothing follows either.
type Conn struct {
	net.Conn
	closeFrame func(code uint16) []byte
	early      []byte // bytes that net/http has read already

	direct syscall.RawConn // to write without waiting; nil: not possible, as under TLS

	// The reader's own: how many bytes it may still read for the message under
	// way, its frames' headers included; a message of empty frames ends here.
	message bool
	left    int

	draining atomic.Bool
	drained  int // the reader's: bytes read since

	mu     sync.Mutex // held for each Write, so that frames stay whole
	sealed bool       // a close frame was written, or a frame in part
	broken bool       // a frame was written in part
}

// Read returns the bytes that net/http had read first.
func (n *Conn) Read(p []byte) (c int, err error) {
	if n.message && n.left <= 0 {
		return 0, ErrFlood
	}
	if n.draining.Load() {
		if n.drained >= drainFast {
			return 0, n.discard()
		}
		defer func() { n.drained += c }()
	}
	if len(n.early) > 0 {
		c = copy(p, n.early)
		if n.early = n.early[c:]; len(n.early) == 0 {
			n.early = nil
		}
	} else {
		c, err = n.Conn.Read(p)
	}
	n.left -= c
	return c, err
}

// discard throws away input until the connection ends: at first as it comes, so
// that nothing unread resets the close frame away, then slowly.
func (n *Conn) discard() error {
	buf := make([]byte, 16<<10)
	for {
		if n.drained >= drainMost {
			time.Sleep(drainPause)
			buf = buf[:readBuffer]
		}
		c, err := n.Conn.Read(buf)
		if n.drained += c; err != nil {
			return err
		}
	}
}

// Drain discards all later input. A close frame of the peer at its beginning ends the
// connection; the rest is not looked at.
func (n *Conn) Drain() { n.draining.Store(true) }

// Close does nothing: the connection is the outbox's to end.
func (n *Conn) Close() error { return nil }

// Cut closes the connection beneath everything: TLS would first wait to say goodbye.
func (n *Conn) Cut() {
	c := n.Conn
	for range 8 {
		w, ok := c.(interface{ NetConn() net.Conn })
		if !ok {
			break
		}
		c = w.NetConn()
	}
	c.Close()
}

// Write is called by coder/websocket alone. It passes close frames on, with
// nothing of the peer's in them, and pretends to have written anything else.
func (n *Conn) Write(p []byte) (int, error) {
	if len(p) == 0 || p[0]&0x0f != 0x8 {
		return len(p), nil
	}
	code := uint16(1000)
	if len(p) >= 4 {
		code = binary.BigEndian.Uint16(p[2:])
		if !utf8.Valid(p[4:]) { // the library looks at the code only
			code = 1007
		}
	}
	n.Conn.SetWriteDeadline(time.Now().Add(WriteWithin))
	if err := n.WriteFrames(n.closeFrame(code), true); err != nil && err != ErrSealed {
		return 0, err
	}
	return len(p), nil
}

// WriteFrames writes whole frames, of which the last is a close frame if seal is
// set. It may wait for as long as the client does not read.
func (n *Conn) WriteFrames(p []byte, seal bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sealed {
		return ErrSealed
	}
	c, err := n.Conn.Write(p)
	if err == nil && c < len(p) {
		err = errors.New("carewire: short write")
	}
	if err != nil {
		n.sealed, n.broken = true, true
		return err
	}
	n.sealed = seal
	return nil
}

// TryFrames writes as much of whole frames as the kernel takes without waiting.
// If there is a rest, FinishFrames must write it: until then nobody else can
// write. It reports false if it could not try.
func (n *Conn) TryFrames(p []byte, a *Attempt) (rest []byte, err error, tried bool) {
	if n.direct == nil || !n.mu.TryLock() {
		return p, nil, false
	}
	if n.sealed {
		n.mu.Unlock()
		return nil, ErrSealed, true
	}
	a.p = p
	if err = n.direct.Write(a.write); err == nil {
		err = a.err
	}
	if err != nil {
		n.sealed, n.broken = true, true
		n.mu.Unlock()
		return nil, err, true
	}
	if rest = p[a.n:]; len(rest) == 0 {
		n.mu.Unlock()
	}
	return rest, nil, true
}

// FinishFrames writes the rest that TryFrames has left.
func (n *Conn) FinishFrames(rest []byte) error {
	defer n.mu.Unlock()
	_, err := n.Conn.Write(rest)
	if err != nil {
		n.sealed, n.broken = true, true
	}
	return err
}

// CanTry reports whether TryFrames can write without waiting.
func (n *Conn) CanTry() bool { return n.direct != nil }

// Broken reports whether a frame was written in part.
func (n *Conn) Broken() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.broken
}

// BeginMessage lets the reader read so many bytes for the message that begins;
// it is the reader's to call, as is EndMessage.
func (n *Conn) BeginMessage(most int) { n.message, n.left = true, most }

// EndMessage ends the bound of BeginMessage.
func (n *Conn) EndMessage() { n.message = false }

// An Attempt is one goroutine's means to write without waiting.
type Attempt struct {
	p     []byte
	n     int
	err   error
	write func(fd uintptr) bool // kept, so that trying makes no garbage
}

// Init makes a ready for use.
func (a *Attempt) Init() {
	a.write = func(fd uintptr) bool {
		a.n, a.err = writeNow(fd, a.p)
		return true
	}
}

// A Hijacker hands coder/websocket a Conn in place of the connection that
// the server gives away. It takes the connection over before the answer is
// written, and writes that itself: some middleware cannot be hijacked after.
type Hijacker struct {
	http.ResponseWriter
	header     http.Header
	closeFrame func(code uint16) []byte

	Conn *Conn // the client's, once Hijack has succeeded; nil before
}

// NewHijacker returns a Hijacker that answers with w's header. closeFrame makes
// the frames that replace the library's own.
func NewHijacker(w http.ResponseWriter, closeFrame func(code uint16) []byte) *Hijacker {
	return &Hijacker{ResponseWriter: w, header: w.Header().Clone(), closeFrame: closeFrame}
}

// Header returns the answer's header.
func (h *Hijacker) Header() http.Header { return h.header }

// WriteHeader does nothing: Hijack writes the only answer.
func (h *Hijacker) WriteHeader(int) {}

// Write does nothing: the caller of Accept answers errors.
func (h *Hijacker) Write(p []byte) (int, error) { return len(p), nil }

// Hijack takes the connection over from the server, and answers 101.
func (h *Hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	n := &Conn{Conn: raw, closeFrame: h.closeFrame}
	if rw.Reader != nil {
		early, _ := rw.Reader.Peek(rw.Reader.Buffered())
		n.early = append([]byte(nil), early...)
	}
	if t := tcp(raw); t != nil {
		t.SetWriteBuffer(sendBuffer)
	}
	var answer bytes.Buffer
	answer.WriteString("HTTP/1.1 101 Switching Protocols\r\n")
	h.header.Write(&answer)
	answer.WriteString("\r\n")
	if t, ok := raw.(*net.TCPConn); ok && canWriteNow {
		n.direct, _ = t.SyscallConn()
	}
	h.Conn = n
	raw.SetDeadline(time.Time{})
	raw.SetWriteDeadline(time.Now().Add(WriteWithin))
	if _, err := raw.Write(answer.Bytes()); err != nil {
		return nil, nil, err
	}
	raw.SetWriteDeadline(time.Time{})
	return n, bufio.NewReadWriter(bufio.NewReaderSize(n, readBuffer), bufio.NewWriterSize(n, writeBuffer)), nil
}

// A tcpConn has the methods of a *net.TCPConn for its buffers.
type tcpConn interface {
	SetWriteBuffer(int) error
	syscall.Conn
}

// tcp returns the TCP connection beneath c; nil if a wrapper hides it.
func tcp(c net.Conn) tcpConn {
	for range 8 {
		switch t := c.(type) {
		case tcpConn:
			return t
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return nil
		}
	}
	return nil
}

// Slow limits the unsent data in the kernel for a client that turned out to be
// slow. Older data then stays in our queue, where it can be replaced, and pongs
// arrive in time. For all clients this would cost half as much again in a
// burst.
func (n *Conn) Slow() {
	if t := tcp(n.Conn); t != nil {
		limitUnsent(t, unsent)
	}
}
