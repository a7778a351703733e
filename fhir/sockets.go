package fhir

import (
	"bufio"
	"context"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/carewire/carewire"
)

const (
	bindWithin   = 15 * time.Second // of connecting
	idleMost     = 1000             // sockets without a binding
	bindingsMost = 1000             // of one principal
)

// sockets are the connections over which notifications go.
type sockets struct {
	s        *Server
	mu       sync.Mutex
	all      map[*socket]bool // false: it has given its place to another, and is being closed
	places   int              // how many of all have theirs
	idle     []*socket        // those without a binding, the longest first
	bindings map[string]int   // by principal
}

func (x *sockets) init(s *Server) {
	x.s, x.all, x.bindings = s, make(map[*socket]bool), make(map[string]int)
}

// serve takes a socket in and serves it until it ends. A handshake that carries
// credentials is refused where they are not good; one without can bind with a
// token.
func (x *sockets) serve(w http.ResponseWriter, r *http.Request) {
	k := &socket{s: x.s, bindings: make(map[string]*bound)}
	k.ctx, k.end = context.WithCancel(context.Background())
	defer k.end()
	if r.Header.Get("Authorization") != "" || r.Header.Get("Cookie") != "" || carewire.Token(r) != "" {
		who, err := x.s.hub.Identify(r)
		if err != nil {
			refuse(w, err)
			return
		}
		k.who = &who
	}
	if !x.add(k) {
		f := failures[carewire.CodeBusy]
		f.status = http.StatusServiceUnavailable
		refuse(w, &f)
		return
	}
	defer x.remove(k)
	// Pages of any origin may connect: only a token, which no page has by itself, or
	// a principal that Identify returns, counts here.
	out := &outcomes{ResponseWriter: w}
	conn, err := websocket.Accept(out, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // it was answered
	}
	conn.SetReadLimit(maxRequest)
	k.mu.Lock()
	k.conn, k.raw = conn, out.raw
	k.mu.Unlock()
	late := time.AfterFunc(bindWithin, func() {
		if x.isIdle(k) {
			k.close(websocket.StatusPolicyViolation, "nothing bound")
		}
	})
	k.wg.Go(k.ping)
	k.read()
	late.Stop()
	k.end()
	conn.CloseNow()
	k.wg.Wait()
}

// outcomes answers a handshake that is refused by an OperationOutcome.
type outcomes struct {
	http.ResponseWriter
	raw net.Conn // the client's, once it was hijacked
}

// Hijack takes the connection over from the server, and keeps it.
func (w *outcomes) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	raw, rw, err := http.NewResponseController(w.ResponseWriter).Hijack()
	w.raw = raw
	return raw, rw, err
}

func (w *outcomes) WriteHeader(status int) {
	if status < http.StatusBadRequest {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	refuse(w.ResponseWriter, fail(status, "not-supported", "this is for WebSocket handshakes"))
}

// Write drops the text in whose place the OperationOutcome is.
func (w *outcomes) Write(b []byte) (int, error) { return len(b), nil }

// add takes a socket in. Where there is no place, the one that has had no binding
// for longest gives its own: so nobody keeps others out by binding nothing. Those
// that are being closed for that count until they are gone, in room of their own.
func (x *sockets) add(k *socket) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	full := x.places >= x.s.opt.MaxSockets
	if x.s.ctx.Err() != nil || full && len(x.idle) == 0 || len(x.all) >= x.s.opt.MaxSockets+idleMost {
		return false
	}
	if full || len(x.idle) >= idleMost {
		oldest := x.idle[0]
		x.idle = x.idle[1:]
		x.all[oldest] = false
		x.places--
		go oldest.close(websocket.StatusTryAgainLater, "nothing bound")
	}
	x.all[k] = true
	x.places++
	x.idle = append(x.idle, k)
	x.s.wg.Add(1)
	return true
}

func (x *sockets) remove(k *socket) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.unidle(k)
	if x.all[k] {
		x.places--
	}
	delete(x.all, k)
	x.s.wg.Done()
}

func (x *sockets) unidle(k *socket) {
	x.idle = slices.DeleteFunc(x.idle, func(o *socket) bool { return o == k })
}

func (x *sockets) isIdle(k *socket) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return k.bound == 0
}

// take counts one more binding of a socket, by a principal.
func (x *sockets) take(k *socket, who string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	if k.bound >= maxBindings || x.bindings[who] >= bindingsMost {
		return fail(http.StatusTooManyRequests, "too-costly", "too many subscriptions are bound")
	}
	x.bindings[who]++
	if k.bound++; k.bound == 1 {
		x.unidle(k)
	}
	return nil
}

// give is take's reverse.
func (x *sockets) give(k *socket, who string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.bindings[who]--; x.bindings[who] == 0 {
		delete(x.bindings, who)
	}
	if k.bound--; k.bound == 0 && x.all[k] {
		x.idle = append(x.idle, k)
	}
}

func (x *sockets) list() (list []*socket) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k := range x.all {
		list = append(list, k)
	}
	return list
}

// closeAll asks all clients to come back elsewhere.
func (x *sockets) closeAll() {
	for _, k := range x.list() {
		go k.close(websocket.StatusServiceRestart, "restart")
	}
}

// changed has a subscription's bindings here look at it: it was deleted or changed.
func (x *sockets) changed(id string) {
	for _, k := range x.list() {
		if b := k.binding(id); b != nil {
			select {
			case b.poked <- struct{}{}:
			default:
			}
		}
	}
}
