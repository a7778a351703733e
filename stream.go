package carewire

import (
	"encoding/binary"
	"errors"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// A stream is the reply to a POST that asks for events: the events of a
// WebSocket connection, as server-sent events. Only the goroutine that serves
// the request writes, and none after that has returned.
type stream struct {
	events  chan []byte   // the next output
	written chan error    // its result
	over    chan struct{} // closed: no more is to be written
	once    sync.Once     // closes over
	gone    chan struct{} // closed: no more is written
}

func (s *stream) WriteFrames(p []byte, _ bool) error {
	select {
	case s.events <- appendEvents(nil, p):
	case <-s.gone:
		return wsconn.ErrSealed
	}
	select {
	case err := <-s.written:
		return err
	case <-s.gone:
		return wsconn.ErrSealed
	}
}

func (s *stream) Cut() { s.once.Do(func() { close(s.over) }) }

// appendEvents appends frames as events, of which the last may be closed. A
// ping becomes a comment.
func appendEvents(b, frames []byte) []byte {
	for len(frames) > 0 {
		first, text, rest := wsconn.CutFrame(frames)
		frames = rest
		switch first {
		case wsconn.FirstText:
			b = append(b, "data: "...)
			for _, c := range text {
				if c == '\n' || c == '\r' { // between members: it would end the event
					c = ' '
				}
				b = append(b, c)
			}
		case wsconn.FirstClose:
			b = append(b, `data: {"type":"closed","code":`...)
			b = append(strconv.AppendUint(b, uint64(binary.BigEndian.Uint16(text)), 10), '}')
		default:
			b = append(b, ':')
		}
		b = append(b, "\n\n"...)
	}
	return b
}

// stream carries out a watch. It writes events until the connection, which the
// stream is to the Hub, ends.
func (c *conn) stream(w http.ResponseWriter, r *http.Request, watch []byte, g *guest) {
	h := c.hub
	rc := http.NewResponseController(w)
	w.Header().Set("Content-Type", eventStream)
	w.Header().Set("X-Accel-Buffering", "no") // nginx would hold events back
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // the deadline of the last write stays on it
	}
	err := rc.SetWriteDeadline(time.Now().Add(wsconn.WriteWithin))
	if err == nil {
		err = rc.Flush()
	}
	switch {
	case errors.Is(err, http.ErrNotSupported):
		h.log.Error("carewire: the http.ResponseWriter, perhaps a middleware's, has no Flush or no SetWriteDeadline")
		h.refuse(w, r, g.who, http.StatusNotImplemented, &h.stats.refused)
		return
	case err != nil: // the client has gone
		h.stats.refused.Add(1)
		return
	}
	h.stats.accepted.Add(1)
	s := &stream{events: make(chan []byte), written: make(chan error, 1), over: make(chan struct{}), gone: make(chan struct{})}
	joined := c.start(s, g)
	defer c.end()
	defer close(s.gone)
	defer func() { rc.SetWriteDeadline(time.Now().Add(wsconn.WriteWithin)) }() // for the server's last write
	if joined {
		h.start(func() {
			c.greet()
			c.handle(watch)
		})
	}
	for {
		select {
		case b := <-s.events:
			rc.SetWriteDeadline(time.Now().Add(wsconn.WriteWithin)) // instead of the server's WriteTimeout
			_, err := w.Write(b)
			if err == nil {
				err = rc.Flush()
			}
			rc.SetWriteDeadline(time.Time{})
			c.alive.Store(h.ticks())
			s.written <- err
		case <-s.over:
			return
		case <-r.Context().Done():
			return
		}
	}
}
