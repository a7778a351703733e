package main

import (
	"cmp"
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	gorilla "github.com/gorilla/websocket"
	"github.com/lxzan/gws"
	"github.com/olahol/melody"
)

// queue is how many messages may wait for one client in servers that count
// them: the choice of gorilla's and melody's authors, or enough for a burst.
func (s settings) queue() int { return cmp.Or(s.Queue, 256) }

type melodyHost struct{ *melody.Melody }

func newMelody(s settings) (contender, error) {
	m := melody.New()
	m.Config.MessageBufferSize = s.queue()
	m.HandleConnect(func(s *melody.Session) { s.Write([]byte(readyMessage)) })
	return melodyHost{m}, nil
}

func (m melodyHost) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.HandleRequest(w, r) }

func (m melodyHost) publish(patient, first, n int, at time.Time) error {
	for i := range n {
		if err := m.Broadcast(event(patient, first+i, at, 0)); err != nil {
			return err
		}
	}
	return nil
}

// gwsHost broadcasts as gws's documentation does it.
type gwsHost struct {
	gws.BuiltinEventHandler
	upgrader *gws.Upgrader
	conns    *gws.ConcurrentMap[*gws.Conn, bool]
}

func newGWS(settings) (contender, error) {
	h := &gwsHost{conns: gws.NewConcurrentMap[*gws.Conn, bool]()}
	h.upgrader = gws.NewUpgrader(h, nil)
	return h, nil
}

func (h *gwsHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if conn, err := h.upgrader.Upgrade(w, r); err == nil {
		go conn.ReadLoop()
	}
}

func (h *gwsHost) OnOpen(c *gws.Conn) {
	h.conns.Store(c, true)
	c.WriteString(readyMessage)
}

func (h *gwsHost) OnClose(c *gws.Conn, _ error) { h.conns.Delete(c) }

func (h *gwsHost) publish(patient, first, n int, at time.Time) error {
	for i := range n {
		b := gws.NewBroadcaster(gws.OpcodeText, event(patient, first+i, at, 0))
		h.conns.Range(func(c *gws.Conn, _ bool) bool {
			b.Broadcast(c)
			return true
		})
		b.Close()
	}
	return nil
}

// A plainHub has a channel for each client and cuts off whose channel is full,
// as the chat examples of gorilla and coder do.
type plainHub[T any] struct {
	queue int
	mu    sync.Mutex
	subs  map[chan T]func()
}

func newPlainHub[T any](s settings) plainHub[T] {
	return plainHub[T]{queue: s.queue(), subs: make(map[chan T]func())}
}

func (h *plainHub[T]) join(cut func()) chan T {
	ch := make(chan T, h.queue)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.subs[ch] = cut
	return ch
}

func (h *plainHub[T]) leave(ch chan T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	delete(h.subs, ch)
}

func (h *plainHub[T]) send(m T) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for ch, cut := range h.subs {
		select {
		case ch <- m:
		default:
			delete(h.subs, ch)
			go cut()
		}
	}
}

type gorillaHost struct {
	plainHub[*gorilla.PreparedMessage]
	upgrader gorilla.Upgrader
}

func newGorilla(s settings) (contender, error) {
	return &gorillaHost{newPlainHub[*gorilla.PreparedMessage](s), gorilla.Upgrader{WriteBufferPool: &sync.Pool{}}}, nil
}

func (h *gorillaHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := h.upgrader.Upgrade(w, r, nil)
	if err != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	ch := h.join(func() { conn.Close() })
	go func() {
		defer h.leave(ch)
		defer conn.Close()
		if conn.WriteMessage(gorilla.TextMessage, []byte(readyMessage)) != nil {
			return
		}
		for {
			select {
			case m := <-ch:
				conn.SetWriteDeadline(time.Now().Add(10 * time.Second))
				if conn.WritePreparedMessage(m) != nil {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	go func() {
		defer cancel()
		for {
			if _, _, err := conn.NextReader(); err != nil {
				return
			}
		}
	}()
}

func (h *gorillaHost) publish(patient, first, n int, at time.Time) error {
	for i := range n {
		m, err := gorilla.NewPreparedMessage(gorilla.TextMessage, event(patient, first+i, at, 0))
		if err != nil {
			return err
		}
		h.send(m)
	}
	return nil
}

type coderHost struct{ plainHub[[]byte] }

func newCoder(s settings) (contender, error) { return &coderHost{newPlainHub[[]byte](s)}, nil }

func (h *coderHost) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer conn.CloseNow()
	ctx := conn.CloseRead(context.Background())
	ch := h.join(func() { conn.CloseNow() })
	defer h.leave(ch)
	write := func(b []byte) error {
		ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
		defer cancel()
		return conn.Write(ctx, websocket.MessageText, b)
	}
	for err = write([]byte(readyMessage)); err == nil; {
		select {
		case m := <-ch:
			err = write(m)
		case <-ctx.Done():
			return
		}
	}
}

func (h *coderHost) publish(patient, first, n int, at time.Time) error {
	for i := range n {
		h.send(event(patient, first+i, at, 0))
	}
	return nil
}
