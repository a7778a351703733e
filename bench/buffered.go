package main

import (
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// A bufferedFloor has a buffer and a goroutine for each client: publish copies a
// ready frame into the buffer of each, and the goroutine writes what it finds. It is
// the least that a server does that gathers events which come one at a time.
type bufferedFloor struct {
	mu      sync.Mutex
	clients []*bufferedClient
}

// A bufferedClient gathers frames until its goroutine writes them.
type bufferedClient struct {
	conn   net.Conn
	mu     sync.Mutex
	frames []byte
	wake   chan struct{}
	gone   bool
}

func newBufferedClient(conn net.Conn) *bufferedClient {
	c := &bufferedClient{conn: conn, wake: make(chan struct{}, 1)}
	go c.run()
	return c
}

func newBuffered(settings) (contender, error) { return &bufferedFloor{}, nil }

func (f *bufferedFloor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, _, err := upgrade(w, r)
	if err != nil {
		return
	}
	c := newBufferedClient(conn)
	f.mu.Lock()
	f.clients = append(f.clients, c)
	f.mu.Unlock()
	c.add(textFrame([]byte(readyMessage)))
	go func() {
		var b [128]byte
		for {
			if _, err := conn.Read(b[:]); err != nil {
				f.leave(c)
				return
			}
		}
	}()
}

func (f *bufferedFloor) publish(patient, first, n int, at time.Time) error {
	for i := range n {
		frame := textFrame(event(patient, first+i, at, 0))
		f.mu.Lock()
		for _, c := range f.clients {
			c.add(frame)
		}
		f.mu.Unlock()
	}
	return nil
}

func (f *bufferedFloor) leave(c *bufferedClient) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if i := slices.Index(f.clients, c); i >= 0 {
		f.clients = slices.Delete(f.clients, i, i+1)
		c.close()
	}
}

// add puts a frame in line.
func (c *bufferedClient) add(frame []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return
	}
	c.frames = append(c.frames, frame...)
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

func (c *bufferedClient) close() {
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	close(c.wake)
}

// run writes until the client leaves. It has two buffers: one is filled while
// the other is written.
func (c *bufferedClient) run() {
	var buf []byte
	for range c.wake {
		c.mu.Lock()
		buf, c.frames = c.frames, buf[:0]
		c.mu.Unlock()
		c.conn.Write(buf)
	}
}
