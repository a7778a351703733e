package carewire

import (
	"bufio"
	"encoding/binary"
	"errors"
	"net"
	"net/http"
	"sync"
	"time"
)

const (
	readBuffer  = 1024      // bytes read ahead per connection
	sendBuffer  = 128 << 10 // bytes the kernel may hold for a client, where the connection lets us say so
	writeWithin = 10 * time.Second
)

var errSealed = errors.New("carewire: nothing more may be written")

// A netConn is one client's connection, shared with coder/websocket. The
// library reads frames from it and writes nothing but close frames; everything
// else is written by the outbox, in whole frames.
//
// What has been written in part is final: after a short write nothing follows,
// not even a close frame. After a close frame nothing follows either.
type netConn struct {
	net.Conn
	early []byte // what net/http had read already

	mu     sync.Mutex // held for each Write, so that frames stay whole
	sealed bool       // a close frame was written, or a frame in part
}

// Read returns what net/http had read first.
func (n *netConn) Read(p []byte) (int, error) {
	if len(n.early) > 0 {
		c := copy(p, n.early)
		if n.early = n.early[c:]; len(n.early) == 0 {
			n.early = nil
		}
		return c, nil
	}
	return n.Conn.Read(p)
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
	if err := n.writeFrames(closeFrame(code), true); err != nil && err != errSealed {
		return 0, err
	}
	return len(p), nil
}

// writeFrames writes whole frames, of which the last is a close frame if seal is set.
func (n *netConn) writeFrames(p []byte, seal bool) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.sealed {
		return errSealed
	}
	n.Conn.SetWriteDeadline(time.Now().Add(writeWithin))
	c, err := n.Conn.Write(p)
	if err == nil && c < len(p) {
		err = errors.New("carewire: short write")
	}
	if err != nil {
		n.sealed = true
		return err
	}
	n.sealed = seal
	// One left behind would end TLS's own writes, such as a key update.
	n.Conn.SetWriteDeadline(time.Time{})
	return nil
}

// A hijacker hands coder/websocket our netConn in place of the connection that
// the server gives away.
type hijacker struct {
	http.ResponseWriter
	conn *netConn
}

// Hijack takes the connection over from the server.
func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	raw.SetDeadline(time.Time{})
	if rw.Writer != nil {
		if err := rw.Writer.Flush(); err != nil {
			raw.Close()
			return nil, nil, err
		}
	}
	h.conn = &netConn{Conn: raw}
	if rw.Reader != nil {
		early, _ := rw.Reader.Peek(rw.Reader.Buffered())
		h.conn.early = append([]byte(nil), early...)
	}
	boundSendBuffer(raw)
	return h.conn, bufio.NewReadWriter(bufio.NewReaderSize(h.conn, readBuffer), bufio.NewWriterSize(h.conn, 256)), nil
}

// Unwrap lets http.ResponseController find what is beneath.
func (h *hijacker) Unwrap() http.ResponseWriter { return h.ResponseWriter }

// WriteHeaderNow is what gin wants called before a Hijack.
func (h *hijacker) WriteHeaderNow() {
	if w, ok := h.ResponseWriter.(interface{ WriteHeaderNow() }); ok {
		w.WriteHeaderNow()
	}
}

// canHijack reports whether w, or what it wraps, can give its connection away.
func canHijack(w http.ResponseWriter) bool {
	for {
		switch t := w.(type) {
		case http.Hijacker:
			return true
		case interface{ Unwrap() http.ResponseWriter }:
			w = t.Unwrap()
		default:
			return false
		}
	}
}

// boundSendBuffer limits what the kernel holds back for a slow client, so that
// what is old stays with us, where it can be replaced. Wrappers that hide the
// TCP connection keep the kernel's default.
func boundSendBuffer(c net.Conn) {
	for range 8 {
		switch t := c.(type) {
		case interface{ SetWriteBuffer(int) error }:
			t.SetWriteBuffer(sendBuffer)
			return
		case interface{ NetConn() net.Conn }:
			c = t.NetConn()
		default:
			return
		}
	}
}
