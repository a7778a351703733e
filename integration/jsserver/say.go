package main

import (
	"context"
	"errors"
	"net"
	"net/http"
	"sync"

	"github.com/carewire/carewire/internal/wsconn"
)

// A speaker is a connection of the Hub on which frames can be said: a test's own
// between the Hub's.
type speaker interface{ say(text string) error }

// say writes a frame on all connections. One that is gone is forgotten.
func (s *server) say(text string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	heard := 0
	for x := range s.said {
		if x.say(text) == nil {
			heard++
		} else {
			delete(s.said, x)
		}
	}
	if heard == 0 {
		return errors.New("nobody is connected")
	}
	return nil
}

// listen has a WebSocket, or a stream until forget, hear what is said.
func (s *server) listen(w http.ResponseWriter, r *http.Request) (_ http.ResponseWriter, forget func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.said == nil:
		return w, func() {}
	case r.Method == http.MethodGet:
		s.said[r.Context().Value(connKey{}).(*socket)] = true
		return w, func() {} // the connection outlives the request
	case r.Header.Get("Accept") != "text/event-stream":
		return w, func() {}
	}
	x := &eventStream{ResponseWriter: w}
	s.said[x] = true
	return x, func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.said, x)
	}
}

// said is a listener whose connections are sockets.
type said struct{ net.Listener }

func (l said) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	return &socket{Conn: c}, err
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	return context.WithValue(ctx, connKey{}, c)
}

// A socket is a connection with a WebSocket, on which each Write has whole frames.
type socket struct {
	net.Conn
	mu sync.Mutex
}

func (c *socket) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.Conn.Write(p)
}

func (c *socket) say(text string) error {
	_, err := c.Write(wsconn.Frame(append(make([]byte, wsconn.HeaderSize), text...), wsconn.FirstText))
	return err
}

// An eventStream is the reply to a POST that asks for events, of which each Write has
// whole ones.
type eventStream struct {
	http.ResponseWriter
	mu sync.Mutex
}

func (x *eventStream) Write(p []byte) (int, error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.ResponseWriter.Write(p)
}

// Flush implements http.Flusher. It is not called while say writes.
func (x *eventStream) Flush() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.ResponseWriter.(http.Flusher).Flush()
}

// Unwrap is for http.ResponseController.
func (x *eventStream) Unwrap() http.ResponseWriter { return x.ResponseWriter }

func (x *eventStream) say(text string) error {
	if _, err := x.Write([]byte("data: " + text + "\n\n")); err != nil {
		return err
	}
	x.Flush()
	return nil
}
