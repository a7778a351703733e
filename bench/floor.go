package main

import (
	"bufio"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"runtime"
	"sync"
	"time"
)

// A floor does only the work that cannot be left out: frames are ready,
// each connection belongs to one of as many writers as there are processors, and a
// writer copies the frames that are ready into one buffer and writes it
// (gathered), or makes one write for each (single).
type floor struct {
	chunk   int // bytes of a write, at most, but at least one frame
	writers []*floorWriter
	mu      sync.Mutex
	joined  int
}

type floorWriter struct {
	mu     sync.Mutex
	conns  []net.Conn
	frames [][]byte
	wake   chan struct{}
}

// gatherSize was found by trying: in a burst 16 KB cost about half as much
// again, more saves nothing, and writev over the same frames costs twice as much.
const gatherSize = 64 << 10

func newGathered(settings) (contender, error) { return newFloor(gatherSize), nil }
func newSingle(settings) (contender, error)   { return newFloor(1), nil }

func newFloor(chunk int) *floor {
	f := &floor{chunk: chunk}
	for range runtime.GOMAXPROCS(0) {
		w := &floorWriter{wake: make(chan struct{}, 1)}
		f.writers = append(f.writers, w)
		go w.run(chunk)
	}
	return f
}

func (f *floor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _, err := upgrade(w, r)
	if err != nil {
		return
	}
	f.mu.Lock()
	writer := f.writers[f.joined%len(f.writers)]
	f.joined++
	f.mu.Unlock()
	writer.mu.Lock()
	writer.conns = append(writer.conns, conn)
	writer.mu.Unlock()
	conn.Write(textFrame([]byte(readyMessage)))
	go func() { // one waiting reader, as every server needs
		var b [128]byte
		for {
			if _, err := conn.Read(b[:]); err != nil {
				writer.leave(conn)
				return
			}
		}
	}()
}

func (f *floor) publish(patient, first, n int, at time.Time) error {
	frames := make([][]byte, n)
	for i := range frames {
		frames[i] = textFrame(event(patient, first+i, at, 0))
	}
	for _, w := range f.writers {
		w.mu.Lock()
		w.frames = append(w.frames, frames...)
		w.mu.Unlock()
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
	return nil
}

func (w *floorWriter) run(chunk int) {
	buf := make([]byte, 0, chunk+2*eventSize)
	for range w.wake {
		w.mu.Lock()
		frames, conns := w.frames, w.conns
		w.frames = nil
		w.mu.Unlock()
		for _, c := range conns {
			for rest := frames; len(rest) > 0; {
				if chunk <= len(rest[0]) {
					c.Write(rest[0])
					rest = rest[1:]
					continue
				}
				buf = buf[:0]
				for len(rest) > 0 && len(buf)+len(rest[0]) <= chunk {
					buf = append(buf, rest[0]...)
					rest = rest[1:]
				}
				c.Write(buf)
			}
		}
	}
}

// leave forgets a connection. The list that run may be using is left as it is.
func (w *floorWriter) leave(conn net.Conn) {
	conn.Close()
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := make([]net.Conn, 0, len(w.conns))
	for _, c := range w.conns {
		if c != conn {
			kept = append(kept, c)
		}
	}
	w.conns = kept
}

// upgrade answers a WebSocket handshake and takes the connection over.
func upgrade(w http.ResponseWriter, r *http.Request) (net.Conn, *bufio.Reader, error) {
	conn, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil, nil, err
	}
	_, err = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: "+
		acceptKey(r.Header.Get("Sec-WebSocket-Key"))+"\r\n\r\n")
	return conn, rw.Reader, err
}

func acceptKey(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// textFrame makes a whole message of a server.
func textFrame(b []byte) []byte {
	head := []byte{0x81, byte(len(b))}
	if len(b) > 125 {
		head = binary.BigEndian.AppendUint16([]byte{0x81, 126}, uint16(len(b)))
	}
	return append(head, b...)
}
