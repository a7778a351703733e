package carewire

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"sync"
	"syscall"
	"time"
)

const (
	readBuffer  = 512       // bytes read ahead per connection
	writeBuffer = 128       // bytes of the library's: a whole close frame, for netConn.Write sees it in one piece
	sendBuffer  = 128 << 10 // bytes the kernel may hold for a client, where the connection lets us say so
	unsent      = 16 << 10  // of these, bytes that are not on their way yet, once a client is slow
	writeWithin = 10 * time.Second
)

var errSealed = errors.New("carewire: nothing more may be written")

var errFlood = errors.New("carewire: too many bytes for one message")

// A netConn is one client's connection, shared with coder/websocket. The
// library reads frames from it and writes nothing but close frames; everything
// else is written by the outbox, in whole frames. The library does not close
// it either: it does not know what is still to be written.
//
// What has been written in part is final: after a short write nothing follows,
// not even a close frame. After a close frame nothing follows either.
type netConn struct {
	net.Conn
	early []byte // what net/http had read already

	direct syscall.RawConn // to write without waiting; nil: not possible, as under TLS

	// The reader's own: how many bytes it may still read for the message under
	// way, its frames' headers included; a message of empty frames ends here.
	message bool
	left    int

	mu     sync.Mutex // held for each Write, so that frames stay whole
	sealed bool       // a close frame was written, or a frame in part
	broken bool       // a frame was written in part
}

// Read returns what net/http had read first.
func (n *netConn) Read(p []byte) (c int, err error) {
	if n.message && n.left <= 0 {
		return 0, errFlood
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

// Close does nothing: the connection is the outbox's to end.
func (n *netConn) Close() error { return nil }

// cut closes the connection beneath everything: TLS would first wait to say goodbye.
func (n *netConn) cut() {
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
func (n *netConn) Write(p []byte) (int, error) {
	if len(p) == 0 || p[0]&0x0f != 0x8 {
		return len(p), nil
	}
	code := CloseCode(1000)
	if len(p) >= 4 {
		code = CloseCode(binary.BigEndian.Uint16(p[2:]))
	}
	n.Conn.SetWriteDeadline(time.Now().Add(writeWithin))
	if err := n.writeFrames(closeFrame(code), true); err != nil && err != errSealed {
		return 0, err
	}
	return len(p), nil
}

// writeFrames writes whole frames, of which the last is a close frame if seal is
// set. It may wait for as long as the client does not read: see outbox.writingFor.
func (n *netConn) writeFrames(p []byte, seal bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sealed {
		return errSealed
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

// tryFrames writes what the kernel takes of whole frames without waiting. If
// there is a rest, finishFrames must write it: until then nobody else can write.
// It reports false if it could not try.
func (n *netConn) tryFrames(p []byte, a *attempt) (rest []byte, err error, tried bool) {
	if n.direct == nil || !n.mu.TryLock() {
		return p, nil, false
	}
	if n.sealed {
		n.mu.Unlock()
		return nil, errSealed, true
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

// finishFrames writes the rest that tryFrames has left.
func (n *netConn) finishFrames(rest []byte) error {
	defer n.mu.Unlock()
	_, err := n.Conn.Write(rest)
	if err != nil {
		n.sealed, n.broken = true, true
	}
	return err
}

// An attempt is one goroutine's means to write without waiting.
type attempt struct {
	p     []byte
	n     int
	err   error
	write func(fd uintptr) bool // kept, so that trying makes no garbage
}

func (a *attempt) init() {
	a.write = func(fd uintptr) bool {
		a.n, a.err = writeNow(fd, a.p)
		return true
	}
}

// A hijacker hands coder/websocket our netConn in place of the connection that
// the server gives away. It takes the connection over before the answer is
// written, and writes that itself: some middleware cannot be hijacked after.
type hijacker struct {
	http.ResponseWriter
	header http.Header
	conn   *netConn
}

// Header returns the answer's header.
func (h *hijacker) Header() http.Header { return h.header }

// WriteHeader does nothing: Hijack writes the only answer.
func (h *hijacker) WriteHeader(int) {}

// Write does nothing: whoever called Accept answers what went wrong.
func (h *hijacker) Write(p []byte) (int, error) { return len(p), nil }

// Hijack takes the connection over from the server, and answers 101.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	n := &netConn{Conn: raw}
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
	h.conn = n
	raw.SetDeadline(time.Time{})
	raw.SetWriteDeadline(time.Now().Add(writeWithin))
	if _, err := raw.Write(answer.Bytes()); err != nil {
		return nil, nil, err
	}
	raw.SetWriteDeadline(time.Time{})
	return n, bufio.NewReadWriter(bufio.NewReaderSize(n, readBuffer), bufio.NewWriterSize(n, writeBuffer)), nil
}

// A tcpConn is what a *net.TCPConn can do about its buffers.
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

// slow limits what the kernel holds back for a client that turned out to be
// slow: what is old stays with us, where it can be replaced, and its pongs come
// in time. For all clients this would cost half as much again in a burst.
func (n *netConn) slow() {
	if t := tcp(n.Conn); t != nil {
		limitUnsent(t, unsent)
	}
}
