package carewire

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"
)

const (
	heartbeat   = 20 * time.Second
	closeWithin = 5 * time.Second // from our close frame to the cut
	mistakes    = 20              // requests that cannot be read at once before the connection is ended for abuse; one more every ten seconds
)

// A conn is one client: its handshake, its requests and what it watches.
type conn struct {
	hub     *Hub
	who     *Principal
	session string
	address netip.Addr
	net     *netConn
	ws      *websocket.Conn
	first   *http.Request // the request it began with, for renewed tokens; without its secrets
	out     outbox

	mu       sync.Mutex
	watches  map[string]*watched
	groups   map[string]WatchOptions // watched as groups
	left     map[string]bool         // patients of these groups that the client does not want; nil: none
	expiry   *time.Timer
	lapse    *time.Timer // when the first Until of what is watched has come
	lapseAt  int64       // in ticks
	ended    bool
	bringing bool          // takeHome is running
	news     []Entry       // to be shown in the inbox, if the principal may see them
	inFlight chan struct{} // a place for each publish under way

	alive   atomic.Int64          // when there was a sign of life, in ticks
	begun   atomic.Int64          // when the message being read began; 0: none
	busy    atomic.Bool           // a request is being carried out
	closing atomic.Bool           // our close frame is in line
	beating atomic.Bool           // a heartbeat is being made
	code    atomic.Uint32         // what it is closed with
	sent    atomic.Pointer[tally] // vitals that are not recorded yet
	checkAt atomic.Int64          // when access to what is watched is asked for again, in ticks
	control *rate.Limiter
	errors  *rate.Limiter
	pace    pace
}

// watched is one patient that a conn watches, by itself or through groups.
type watched struct {
	*watch
	alone  bool // asked for by name
	groups []string
	until  time.Time // when access ends by itself; zero: no such time
}

// ServeHTTP serves a WebSocket handshake. It returns once the connection is
// set up or refused; refusals have one constant body for each status.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &h.stats
	var p Principal
	refuse := func(status int, n *atomic.Uint64) {
		n.Add(1)
		h.recordRefusal(r, status, &p)
		w.Header().Set("Cache-Control", "no-store")
		switch status {
		case http.StatusTooManyRequests, http.StatusServiceUnavailable:
			w.Header().Set("Retry-After", "5")
		case http.StatusUnauthorized:
			w.Header().Set("WWW-Authenticate", "Bearer")
		case http.StatusUpgradeRequired:
			w.Header().Set("Upgrade", "websocket")
			w.Header().Set("Connection", "Upgrade")
			w.Header().Set("Sec-WebSocket-Version", "13")
			w.Header().Set("Sec-WebSocket-Protocol", Protocol)
		}
		http.Error(w, http.StatusText(status), status)
	}
	if r.Method != http.MethodGet {
		w.Header().Set("Allow", http.MethodGet)
		refuse(http.StatusMethodNotAllowed, &s.badRequest)
		return
	}
	h.mu.Lock()
	closing, full := h.closing, len(h.conns)+h.joining >= h.opt.MaxConnections
	h.joining++ // holds the place
	h.mu.Unlock()
	defer func() {
		h.mu.Lock()
		h.joining--
		h.mu.Unlock()
	}()
	status, protocol := checkUpgrade(r)
	at := h.address(r)
	switch {
	case closing:
		refuse(http.StatusServiceUnavailable, &s.refused)
		return
	case status != 0:
		refuse(status, &s.badRequest)
		return
	case len(h.opt.Hosts) > 0 && !slices.ContainsFunc(h.opt.Hosts, func(host string) bool { return strings.EqualFold(host, r.Host) }):
		refuse(http.StatusMisdirectedRequest, &s.badRequest)
		return
	case !originAllowed(r, h.opt.Origins):
		refuse(http.StatusForbidden, &s.forbidden)
		return
	case full:
		s.limits.connections.Add(1)
		refuse(http.StatusTooManyRequests, &s.tooMany)
		return
	case !h.seats.arrive(at, h.opt.MaxPerAddress):
		s.limits.perAddress.Add(1)
		refuse(http.StatusTooManyRequests, &s.tooMany)
		return
	}
	named, seated := "", false
	defer func() {
		if !seated {
			h.seats.leave(at, named)
		}
	}()
	if !h.isLoaded(r.Context()) {
		refuse(http.StatusServiceUnavailable, &s.refused)
		return
	}
	var err error
	p, err = h.authenticate(r)
	switch {
	case errors.Is(err, ErrUnauthenticated):
		refuse(http.StatusUnauthorized, &s.unauthenticated)
		return
	case err != nil:
		refuse(http.StatusServiceUnavailable, &s.refused)
		return
	case h.revoked.covers(&p, "", h.now()):
		refuse(http.StatusForbidden, &s.forbidden)
		return
	case !h.seats.name(p.ID, h.opt.MaxPerPrincipal):
		s.limits.perPrincipal.Add(1)
		refuse(http.StatusTooManyRequests, &s.tooMany)
		return
	}
	named = p.ID
	c := &conn{hub: h, who: &p, session: rand.Text(), address: at, watches: make(map[string]*watched), first: withoutSecrets(r),
		inFlight: make(chan struct{}, h.opt.MaxPublishes)}
	hj := &hijacker{ResponseWriter: w, header: w.Header().Clone()}
	c.ws, err = websocket.Accept(hj, r, &websocket.AcceptOptions{Subprotocols: protocol, InsecureSkipVerify: true, // originAllowed has looked
		CompressionMode: websocket.CompressionDisabled, OnPingReceived: c.onPing, OnPongReceived: c.onPong})
	if err != nil {
		if hj.conn != nil { // the client went away
			hj.conn.cut()
			s.refused.Add(1)
			return
		}
		h.log.Error("carewire: the http.ResponseWriter, perhaps a middleware's, could not be hijacked")
		refuse(http.StatusServiceUnavailable, &s.refused)
		return
	}
	s.accepted.Add(1)
	seated = true // until end
	c.net = hj.conn
	c.ws.SetReadLimit(int64(h.opt.MaxFrame))
	c.out = outbox{hub: h, sink: c.net, who: c.who, fail: c.afterWriting, full: c.tooSlow}
	c.alive.Store(h.ticks()) // before the Hub's clock sees it
	c.out.wrote.Store(h.ticks())
	c.checkAt.Store(later(h.ticks(), h.opt.Recheck))
	c.welcome()
	c.record(Record{Event: AuditConnect}, nil)
	if !h.join(c) {
		c.close(CloseRestart)
		c.end()
		return
	}
	h.wg.Go(c.serve)
}

// checkUpgrade returns the status of a handshake that cannot be, or 0 and the
// subprotocols that may be chosen.
func checkUpgrade(r *http.Request) (status int, protocols []string) {
	key, err := base64.StdEncoding.DecodeString(r.Header.Get("Sec-WebSocket-Key"))
	switch {
	case !r.ProtoAtLeast(1, 1) || r.ProtoMajor != 1 || !hasToken(r.Header["Connection"], "upgrade") || !hasToken(r.Header["Upgrade"], "websocket"):
		return http.StatusUpgradeRequired, nil
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return http.StatusUpgradeRequired, nil
	case err != nil || len(key) != 16 || len(r.Header["Sec-Websocket-Key"]) != 1:
		return http.StatusBadRequest, nil
	}
	other := false
	for _, p := range subprotocols(r) {
		switch {
		case p == Protocol:
			return 0, []string{Protocol}
		case !strings.HasPrefix(p, bearerProtocol):
			other = true
		}
	}
	if other {
		return http.StatusUpgradeRequired, nil
	}
	return 0, nil
}

func hasToken(headers []string, token string) bool {
	for _, h := range headers {
		for t := range strings.SplitSeq(h, ",") {
			if strings.EqualFold(strings.TrimSpace(t), token) {
				return true
			}
		}
	}
	return false
}

// authenticate asks the host who is calling.
func (h *Hub) authenticate(r *http.Request) (Principal, error) {
	p, err := callHost(r.Context(), h, h.calls.authenticate, func(ctx context.Context) (Principal, error) {
		return h.auth.Authenticate(r.WithContext(ctx))
	})
	if err != nil {
		return Principal{}, err
	}
	p.Patients, p.Groups = slices.Clone(p.Patients), slices.Clone(p.Groups)
	if !p.valid() {
		h.log.Error("carewire: the Authenticator returned an unusable Principal")
		return Principal{}, errors.New("carewire: unusable principal")
	}
	if !p.Expires.IsZero() && !p.Expires.After(h.now()) {
		return Principal{}, ErrUnauthenticated
	}
	return p, nil
}

// withoutSecrets copies what a renewed token is checked with.
func withoutSecrets(r *http.Request) *http.Request {
	c := (&http.Request{Method: r.Method, URL: r.URL, Proto: r.Proto, ProtoMajor: r.ProtoMajor, ProtoMinor: r.ProtoMinor, Host: r.Host,
		RemoteAddr: r.RemoteAddr, RequestURI: r.RequestURI, TLS: r.TLS, Header: r.Header.Clone()}).WithContext(context.Background())
	for _, name := range []string{"Authorization", "Cookie", "Sec-Websocket-Protocol", "Sec-Websocket-Key"} {
		c.Header.Del(name)
	}
	return c
}

// join makes c one of the Hub's connections; false if the Hub is closing.
func (h *Hub) join(c *conn) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closing {
		return false
	}
	h.conns[c] = struct{}{}
	for _, k := range c.who.keys() {
		if h.addressed[k] == nil {
			h.addressed[k] = make(map[*conn]struct{})
		}
		h.addressed[k][c] = struct{}{}
	}
	return true
}

func (h *Hub) leave(c *conn) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if _, ok := h.conns[c]; !ok {
		return
	}
	delete(h.conns, c)
	for _, k := range c.who.keys() {
		if delete(h.addressed[k], c); len(h.addressed[k]) == 0 {
			delete(h.addressed, k)
		}
	}
	if h.closing && len(h.conns) == 0 {
		close(h.drained)
	}
}

// connections returns those for which f says so.
func (h *Hub) connections(f func(*conn) bool) []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	var list []*conn
	for c := range h.conns {
		if f(c) {
			list = append(list, c)
		}
	}
	return list
}

// serve reads what the client sends until the connection ends.
func (c *conn) serve() {
	defer c.end()
	c.expireAt(c.who.Expires)
	c.busy.Store(true)
	c.inbox(c.hub.ctx)
	c.busy.Store(false)
	if c.hub.revoked.covers(c.who, "", c.hub.now()) { // revoked while it was being set up
		c.forbid()
	}
	for {
		// The context must not end: the library closes the connection with it,
		// and pays for watching it.
		typ, r, err := c.ws.Reader(context.Background())
		if err != nil {
			c.readFailed(err)
			return
		}
		if typ != websocket.MessageText {
			c.close(CloseBinary) // the message is still read, and the client's close frame
		}
		c.begun.Store(c.hub.ticks())
		c.net.message, c.net.left = true, 2*c.hub.opt.MaxFrame+4096
		b, err := readMessage(r)
		c.net.message = false
		c.begun.Store(0)
		if err != nil {
			c.readFailed(err)
			return
		}
		c.alive.Store(c.hub.ticks())
		if c.closing.Load() {
			continue // nothing is taken any more; the client's close frame is awaited
		}
		if !utf8.Valid(*b) {
			c.close(CloseNotUTF8)
			continue
		}
		c.busy.Store(true)
		c.handle(*b)
		c.busy.Store(false)
		c.alive.Store(c.hub.ticks())
		if cap(*b) <= 16<<10 {
			readBuffers.Put(b)
		}
	}
}

var readBuffers = sync.Pool{New: func() any { b := make([]byte, 0, 1024); return &b }}

func readMessage(r io.Reader) (*[]byte, error) {
	p := readBuffers.Get().(*[]byte)
	b := (*p)[:0]
	for {
		if len(b) == cap(b) {
			b = append(b, 0)[:len(b)]
		}
		n, err := r.Read(b[len(b):cap(b)])
		b = b[:len(b)+n]
		if err == io.EOF {
			*p = b
			return p, nil
		}
		if err != nil {
			return nil, err
		}
	}
}

// readFailed ends the connection after the library could not read on. Where it
// has written a close frame itself, ours is not written any more.
func (c *conn) readFailed(err error) {
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		c.close(CloseTooBig)
	case errors.Is(err, errFlood):
		c.close(ClosePolicy)
	case websocket.CloseStatus(err) == -1 && !errors.Is(err, io.EOF):
		c.close(CloseProtocolError)
	default:
		c.cut()
		return
	}
	// What has come and is not read would turn the end into a reset, which can
	// overtake the close frame.
	var b [512]byte
	for {
		if _, err := c.net.Conn.Read(b[:]); err != nil {
			c.cut()
			return
		}
	}
}

// end takes the connection out of the Hub.
func (c *conn) end() {
	c.mu.Lock()
	c.ended = true
	watches := c.watches
	c.watches, c.groups, c.news = nil, nil, nil
	for _, t := range []*time.Timer{c.expiry, c.lapse} {
		if t != nil {
			t.Stop()
		}
	}
	c.mu.Unlock()
	for _, w := range watches {
		w.end()
		w.lane.submit(job{detach: w.watch})
	}
	c.hub.stats.watches.Add(-int64(len(watches)))
	c.recordSent(0)
	c.record(Record{Event: AuditDisconnect, Close: CloseCode(c.code.Load())}, nil)
	c.hub.leave(c)
	c.hub.seats.leave(c.address, c.who.ID)
	c.ws.CloseNow() // lets go of what the library holds; the connection is ours
	// What is left to write, the close frame above all, gets a moment.
	c.out.mu.Lock()
	pending := c.out.busy && c.out.closing != nil
	c.out.mu.Unlock()
	if !pending {
		c.cut()
	}
}

// tooSlow ends the connection of a client that does not take what it is sent.
func (c *conn) tooSlow() {
	if !c.closing.Load() {
		c.hub.stats.slow.Add(1)
	}
	c.close(CloseTryLater)
}

// close writes a close frame behind the replies that wait, and cuts the
// connection a little later.
func (c *conn) close(code CloseCode) {
	if c.closing.CompareAndSwap(false, true) {
		c.code.Store(uint32(code))
		c.hub.stats.limits.closed(code)
		c.out.close(code)
		time.AfterFunc(writeWithin+2*time.Second, c.cut)
	}
}

// afterWriting is called when the close frame is out, or writing has failed.
func (c *conn) afterWriting() {
	c.net.mu.Lock()
	broken := c.net.broken
	c.net.mu.Unlock()
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if !broken && !ended { // the client answers with its own; the reader ends then
		time.AfterFunc(closeWithin, c.cut)
		return
	}
	c.cut()
}

// cut ends the connection without another word.
func (c *conn) cut() {
	c.out.stop()
	c.net.cut()
}

// onPing answers a ping: the library's own answer would wait for a slow
// client, and close it.
func (c *conn) onPing(_ context.Context, payload []byte) bool {
	if !c.mayControl() {
		return false
	}
	b := make([]byte, frameHeader, frameHeader+len(payload))
	c.out.send(controlFrame(append(b, payload...), 0x8a))
	return false
}

func (c *conn) onPong(context.Context, []byte) {
	if c.mayControl() {
		c.alive.Store(c.hub.ticks())
	}
}

// mayControl bounds how many pings and pongs a client may send.
func (c *conn) mayControl() bool {
	if c.closing.Load() {
		return false
	}
	if c.control == nil {
		c.control = rate.NewLimiter(10, 50)
	}
	if !c.control.Allow() {
		c.close(ClosePolicy)
		return false
	}
	return true
}

var pingFrame = controlFrame(make([]byte, frameHeader), 0x89)

// expireAt ends the connection when its token does.
func (c *conn) expireAt(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.expiry != nil {
		c.expiry.Stop()
		c.expiry = nil
	}
	if !t.IsZero() && !c.ended {
		c.expiry = time.AfterFunc(t.Sub(c.hub.now()), func() {
			c.mu.Lock()
			for _, w := range c.watches {
				w.end()
			}
			c.mu.Unlock()
			c.close(CloseUnauthorized)
		})
	}
}

func (c *conn) welcome() {
	h := c.hub
	durable := false
	if d, ok := h.store.Store.(Durable); ok {
		durable = d.Durable()
	}
	w := Welcome{Session: c.session, Principal: c.who.person(), Expires: c.who.Expires, Time: h.now(), Heartbeat: heartbeat, Durable: durable,
		Features: []string{"inbox", "history", "receipts", "groups"},
		Limits:   Limits{Frame: h.opt.MaxFrame, Vitals: h.opt.MaxVitals, Patients: h.opt.MaxPatients, Keys: h.opt.Keys, History: h.opt.MaxHistory}}
	e := newFrame(512)
	w.encode(&e)
	c.out.send(textFrame(e.b))
	if state, since := h.store.state(); state != storeOK {
		c.out.send(statusFrame(state, since))
	}
}

func statusFrame(state string, since time.Time) []byte {
	e := newFrame(96)
	e.b = append(e.b, `{"type":"status"`...)
	e.str("store", state)
	e.time("since", since)
	e.b = append(e.b, '}')
	return textFrame(e.b)
}
