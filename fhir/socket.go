package fhir

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/carewire/carewire"
)

const (
	bindWithin  = 15 * time.Second // of connecting
	unboundMost = 1000             // sockets that have not bound
	writeWithin = 10 * time.Second
	pingEvery   = 30 * time.Second
	maxRequest  = 8 << 10 // bytes of a client's message
	maxBindings = 500     // of one socket
	closedToken = websocket.StatusCode(carewire.CloseUnauthorized)
)

// sockets are the connections over which notifications go.
type sockets struct {
	s       *Server
	mu      sync.Mutex
	all     map[*socket]bool // whether it has bound
	unbound int
}

func (x *sockets) init(s *Server) { x.s, x.all = s, make(map[*socket]bool) }

// A socket is one connection. Without a token, a client's messages on it have
// no effect.
type socket struct {
	s    *Server
	conn *websocket.Conn
	who  *carewire.Principal // whom the handshake was from, for the old channel; nil: not said
	ctx  context.Context
	wg   sync.WaitGroup

	mu       sync.Mutex
	bindings map[string]*bound // by subscription
	tokens   map[string][]string
}

type bound struct {
	cancel context.CancelFunc
	done   chan struct{}
	b      *binding
}

// serve takes a socket in and serves it until it ends. A handshake that carries
// credentials is refused where they are not good; one without can bind with a
// token.
func (x *sockets) serve(w http.ResponseWriter, r *http.Request) {
	k := &socket{s: x.s, bindings: make(map[string]*bound), tokens: make(map[string][]string)}
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
	// what Identify has looked at, counts here.
	conn, err := websocket.Accept(outcomes{w}, r, &websocket.AcceptOptions{InsecureSkipVerify: true})
	if err != nil {
		return // it was answered
	}
	k.conn = conn
	conn.SetReadLimit(maxRequest)
	ctx, cancel := context.WithCancel(x.s.ctx)
	k.ctx = ctx
	late := time.AfterFunc(bindWithin, func() {
		if !x.isBound(k) {
			conn.Close(websocket.StatusPolicyViolation, "nothing bound")
		}
	})
	k.wg.Go(k.ping)
	k.read()
	late.Stop()
	cancel()
	conn.CloseNow()
	k.wg.Wait()
}

// outcomes answers a handshake that is refused by an OperationOutcome.
type outcomes struct{ http.ResponseWriter }

func (w outcomes) Unwrap() http.ResponseWriter { return w.ResponseWriter }

func (w outcomes) WriteHeader(status int) {
	if status < http.StatusBadRequest {
		w.ResponseWriter.WriteHeader(status)
		return
	}
	refuse(w.ResponseWriter, fail(status, "not-supported", "this is for WebSocket handshakes"))
}

// Write drops the text in whose place the OperationOutcome is.
func (w outcomes) Write(b []byte) (int, error) { return len(b), nil }

func (x *sockets) add(k *socket) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.s.ctx.Err() != nil || len(x.all) >= x.s.opt.MaxSockets || x.unbound >= unboundMost {
		return false
	}
	x.all[k] = false
	x.unbound++
	x.s.wg.Add(1)
	return true
}

func (x *sockets) remove(k *socket) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.all[k] {
		x.unbound--
	}
	delete(x.all, k)
	x.s.wg.Done()
}

func (x *sockets) isBound(k *socket) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.all[k]
}

func (x *sockets) bound(k *socket) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if bound, ok := x.all[k]; ok && !bound {
		x.all[k] = true
		x.unbound--
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
		if k.conn != nil {
			go k.conn.Close(websocket.StatusServiceRestart, "restart")
		}
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

// read takes what the client sends until the connection ends.
func (k *socket) read() {
	pace := rate.NewLimiter(20, 200)
	for {
		typ, text, err := k.conn.Read(k.ctx)
		switch {
		case err != nil:
			return
		case typ != websocket.MessageText || !pace.Allow():
			k.conn.Close(websocket.StatusPolicyViolation, "policy violation")
			return
		}
		k.handle(string(text))
	}
}

// ping finds out that the client has gone.
func (k *socket) ping() {
	t := time.NewTicker(pingEvery)
	defer t.Stop()
	for {
		select {
		case <-k.ctx.Done():
			return
		case <-t.C:
		}
		ctx, cancel := context.WithTimeout(k.ctx, writeWithin)
		err := k.conn.Ping(ctx)
		cancel()
		if err != nil {
			k.conn.CloseNow()
			return
		}
	}
}

// handle carries out one request: any of the three forms of binding with a token,
// the old channel's bind, or a JSON ping.
func (k *socket) handle(text string) {
	var request struct {
		Type    string
		Payload struct{ Token string }
	}
	switch token, ok := bindText(text); {
	case ok:
		k.bind(token, versionR4)
	case strings.HasPrefix(text, "bind "):
		k.bindOld(strings.TrimSpace(text[len("bind "):]))
	case json.Unmarshal([]byte(text), &request) != nil:
		k.complain(fail(400, "structure", "not understood"))
	case request.Type == "bind-with-token":
		k.bind(request.Payload.Token, versionJSON)
	case request.Type == "unbind-from-token":
		k.unbindToken(request.Payload.Token)
	case request.Type == "ping":
		k.write([]byte(`{"type":"pong"}`))
	default:
		k.complain(fail(400, "not-supported", "not understood"))
	}
}

// bindText reads the two forms of text: with a colon after the word, and without.
func bindText(text string) (token string, ok bool) {
	rest, ok := strings.CutPrefix(text, "bind-with-token")
	if !ok || rest == "" || rest[0] != ' ' && rest[0] != ':' {
		return "", false
	}
	return strings.TrimSpace(strings.TrimPrefix(rest, ":")), true
}

// complain tells the client by an OperationOutcome.
func (k *socket) complain(err error) { k.write(encode(failureOf(err).outcome())) }

// write sends one message. Only the connection's end breaks it off: a write that
// is broken off ends the connection.
func (k *socket) write(text []byte) error {
	ctx, cancel := context.WithTimeout(k.ctx, writeWithin)
	defer cancel()
	err := k.conn.Write(ctx, websocket.MessageText, text)
	if err != nil {
		k.conn.CloseNow()
	}
	return err
}

// tell sends a notification, or, on the old channel, its ping. That channel has no
// word for an end, so it is told by an OperationOutcome.
func (k *socket) tell(_ context.Context, b *binding, m message) error {
	if m.kind == typeEvent {
		k.s.stats.told.Add(1)
	}
	if b.version == "" { // the old channel
		switch m.kind {
		case typeHandshake:
			return k.write([]byte("bound " + b.sub.ID))
		case typeEvent:
			return k.write([]byte("ping " + b.sub.ID))
		}
		if m.status == statusActive {
			return nil
		}
		why := cmp.Or(failureTexts[m.failure], "It was changed or has ended.")
		return k.write(encode(fail(410, "deleted", "No longer bound: Subscription/"+b.sub.ID+". "+why).outcome()))
	}
	return k.write(encode(k.s.notification(b.sub, b.version, m)))
}

// bind binds the subscriptions that a token is for, once.
func (k *socket) bind(token, version string) {
	ticket, list, _ := strings.Cut(token, ".")
	ids := strings.Split(list, ".")
	if ticket == "" || list == "" || len(ids) > maxBindings {
		k.complain(carewire.ErrUnauthenticated)
		return
	}
	r, _ := http.NewRequestWithContext(k.ctx, http.MethodGet, k.s.opt.Base, nil)
	r.Header.Set("Sec-WebSocket-Protocol", "carewire.ticket."+ticket)
	who, err := k.s.identifyTicket(r)
	if err != nil {
		k.complain(err)
		return
	}
	bound := false
	for _, id := range ids {
		if err := k.bindOne(id, who, version); err != nil {
			k.complain(err)
			continue
		}
		bound = true
	}
	if bound {
		k.mu.Lock()
		if len(k.tokens) < maxBindings {
			k.tokens[digestID(token)] = ids
		}
		k.mu.Unlock()
	}
}

// bindOld binds on the channel of R4 before topics, as whoever the handshake was from.
func (k *socket) bindOld(id string) {
	if k.who == nil {
		k.complain(carewire.ErrUnauthenticated)
		return
	}
	if err := k.bindOne(id, *k.who, ""); err != nil {
		k.complain(err)
	}
}

// bindOne binds one subscription of who's; one that is bound already anew.
func (k *socket) bindOne(id string, who carewire.Principal, version string) error {
	ctx := k.ctx
	sub, err := k.s.subscriptions.get(ctx, id)
	switch {
	case err != nil:
		return err
	case sub.Owner.ID != who.ID || sub.Channel != channelSocket:
		return errNotFound
	case sub.over(time.Now()):
		return fail(410, "deleted", "the subscription is off")
	case sub.Status == statusError:
		return fail(409, "conflict", failureTexts[sub.Failure])
	}
	if _, err := k.s.hub.Disclose(ctx, carewire.Access{Principal: who, Action: carewire.ActionWatch, Patients: []string{sub.Patient}}); err != nil {
		return err
	}
	if version != "" && sub.Version != "" {
		version = sub.Version
	}
	k.unbind(id)
	bctx, cancel := context.WithCancel(ctx)
	b := &bound{cancel: cancel, done: make(chan struct{}), b: &binding{s: k.s, sub: sub, who: who, to: k, version: version, beats: version != "", greet: true,
		poked: make(chan struct{}, 1)}}
	k.mu.Lock()
	if len(k.bindings) >= maxBindings {
		k.mu.Unlock()
		cancel()
		return fail(429, "too-costly", "too many subscriptions on one socket")
	}
	k.bindings[id] = b
	k.mu.Unlock()
	k.s.sockets.bound(k)
	k.s.resends.once.Do(func() { k.s.wg.Go(k.s.resends.follow) })
	k.wg.Go(func() {
		defer close(b.done)
		defer cancel()
		k.ended(id, b, b.b.run(bctx))
	})
	return nil
}

// ended forgets a binding, and closes the socket after the last one if its token
// has ended, or on the old channel, where nothing else would be noticed.
func (k *socket) ended(id string, b *bound, err error) {
	k.mu.Lock()
	if k.bindings[id] == b {
		delete(k.bindings, id)
	}
	last := len(k.bindings) == 0
	k.mu.Unlock()
	switch expires := b.b.who.Expires; {
	case !last:
	case !expires.IsZero() && !expires.After(time.Now()):
		go k.conn.Close(closedToken, "token expired")
	case b.b.version == "" && errors.Is(err, errEnded):
		go k.conn.Close(websocket.StatusNormalClosure, "subscription ended")
	}
}

// unbind ends a binding and waits until it says nothing more.
func (k *socket) unbind(id string) {
	k.mu.Lock()
	b := k.bindings[id]
	delete(k.bindings, id)
	k.mu.Unlock()
	if b != nil {
		b.cancel()
		<-b.done
	}
}

func (k *socket) unbindToken(token string) {
	k.mu.Lock()
	ids := k.tokens[digestID(token)]
	delete(k.tokens, digestID(token))
	k.mu.Unlock()
	for _, id := range ids {
		k.unbind(id)
	}
}

// binding returns the binding of a subscription; nil if it is not bound here.
func (k *socket) binding(id string) *binding {
	k.mu.Lock()
	defer k.mu.Unlock()
	if b := k.bindings[id]; b != nil {
		return b.b
	}
	return nil
}
