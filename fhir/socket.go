package fhir

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/carewire/carewire"
)

const (
	writeWithin = 10 * time.Second // also of a close, both ways
	pingEvery   = 30 * time.Second
	maxRequest  = 8 << 10 // bytes of a client's message
	maxBindings = 500     // of one socket
	refusedMost = 10      // tokens of one socket that are not good
	closedToken = websocket.StatusCode(carewire.CloseUnauthorized)
)

// A socket is one connection. Without a token, a client's messages on it have
// no effect.
type socket struct {
	s    *Server
	who  *carewire.Principal // the sender of the handshake, for the old channel; nil: not said
	ctx  context.Context     // ends with the socket
	end  context.CancelFunc
	conn *websocket.Conn // set with mu held: close looks at it from elsewhere
	raw  net.Conn        // beneath conn, set with it
	wg   sync.WaitGroup

	refused int // tokens that were not good

	mu       sync.Mutex
	bindings map[string]*bound // by subscription

	bound int // how many bindings; guarded by sockets.mu
}

type bound struct {
	cancel context.CancelFunc
	done   chan struct{}
	b      *binding
	token  string // a digest of the token that has bound it; "": none
}

// close ends the connection with a code; one that is still being made, without.
// A client that does not let it close in time is cut off: [websocket.Conn.Close]
// waits for all of a message that the client has begun, without a limit.
func (k *socket) close(code websocket.StatusCode, reason string) {
	k.mu.Lock()
	conn, raw := k.conn, k.raw
	k.mu.Unlock()
	if conn == nil {
		k.end()
		return
	}
	cut := time.AfterFunc(writeWithin, func() { raw.Close() })
	defer cut.Stop()
	conn.Close(code, reason)
}

// read takes the client's messages until the connection ends.
func (k *socket) read() {
	pace := rate.NewLimiter(20, 200)
	for {
		typ, text, err := k.conn.Read(k.ctx)
		switch {
		case err != nil:
			return
		case typ != websocket.MessageText || !pace.Allow():
			k.close(websocket.StatusPolicyViolation, "policy violation")
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
		if k.refused++; k.refused >= refusedMost { // each costs a look into the Store, and nobody knows whose
			k.close(websocket.StatusPolicyViolation, "too many tokens that are not good")
		}
		return
	}
	for _, id := range ids {
		if err := k.bindOne(id, who, version, digestID(token)); err != nil {
			k.complain(err)
		}
	}
}

// bindOld binds on the channel of R4 before topics, as the sender of the handshake.
func (k *socket) bindOld(id string) {
	if k.who == nil {
		k.complain(carewire.ErrUnauthenticated)
		return
	}
	if err := k.bindOne(id, *k.who, "", ""); err != nil {
		k.complain(err)
	}
}

// bindOne binds one subscription of who's; one that is bound already anew.
func (k *socket) bindOne(id string, who carewire.Principal, version, token string) error {
	sub, err := k.s.subscriptions.get(k.ctx, id)
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
	if _, err := k.s.hub.Disclose(k.ctx, carewire.Access{Principal: who, Action: carewire.ActionWatch, Patients: []string{sub.Patient}}); err != nil {
		return err
	}
	if version != "" && sub.Version != "" {
		version = sub.Version
	}
	k.unbind(id)
	if err := k.s.sockets.take(k, who.ID); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(k.ctx)
	b := &bound{cancel: cancel, done: make(chan struct{}), token: token, b: &binding{s: k.s, sub: sub, who: who, to: k, version: version, beats: version != "",
		greet: true, poked: make(chan struct{}, 1)}}
	k.mu.Lock()
	k.bindings[id] = b
	k.mu.Unlock()
	k.s.resends.once.Do(func() { k.s.wg.Go(k.s.resends.follow) })
	k.wg.Go(func() {
		defer close(b.done)
		defer cancel()
		defer k.s.sockets.give(k, who.ID)
		k.ended(id, b, b.b.run(ctx))
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
		go k.close(closedToken, "token expired")
	case b.b.version == "" && errors.Is(err, errEnded):
		go k.close(websocket.StatusNormalClosure, "subscription ended")
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

// unbindToken ends the bindings that a token has made, and that no other has made
// anew.
func (k *socket) unbindToken(token string) {
	token = digestID(token)
	var ids []string
	k.mu.Lock()
	for id, b := range k.bindings {
		if b.token == token {
			ids = append(ids, id)
		}
	}
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
