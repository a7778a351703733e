package carewire

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
	"unicode/utf8"

	"github.com/coder/websocket"
	"golang.org/x/time/rate"

	"github.com/carewire/carewire/internal/wsconn"
)

const (
	heartbeat       = 20 * time.Second
	closeWithin     = 5 * time.Second // from our close frame to the cut
	badRequestBurst = 20              // unreadable requests allowed in a burst, and one more every ten seconds; beyond, the connection ends for abuse
)

// A conn is one client: its handshake, its requests and its watches.
type conn struct {
	hub     *Hub
	token   atomic.Pointer[Principal] // the client's principal; its ID and role never change
	session string
	address netip.Addr
	line    line
	net     *wsconn.Conn    // the line of a WebSocket connection; else nil
	ws      *websocket.Conn // of the same connection
	request keptRequest     // the request it began with, for renewed tokens
	out     outbox
	inbox   inboxFeed
	waves   waveSender // the reader's

	mu       sync.Mutex
	watches  map[string]*watched
	groups   map[string]WatchOptions // watched as groups
	left     map[string]bool         // patients of these groups that the client does not want; nil: none
	expiry   *time.Timer
	renewal  *time.Timer // when a Renewer is asked; nil: it is not
	lapse    *time.Timer // fires at the first Until of a watch
	lapseAt  int64       // in ticks
	ended    bool
	inFlight chan struct{} // the reader's: a place for each publish under way; nil before the first

	alive   atomic.Int64          // when there was a sign of life, in ticks
	begun   atomic.Int64          // when the message being read began; 0: none
	slot    int                   // when the Hub's clock visits it
	busy    atomic.Bool           // a request is being carried out
	closing atomic.Bool           // our close frame is in line
	beating atomic.Bool           // a heartbeat is being made
	code    atomic.Uint32         // its close code
	sent    atomic.Pointer[tally] // vitals that are not recorded yet
	checkAt atomic.Int64          // when its watches are authorised again, in ticks
	control *rate.Limiter
	errors  *rate.Limiter
	pace    pace
}

// A line leads to a client: it is a WebSocket connection, or the reply to a POST.
type line interface {
	sink
	Cut() // ends it without a close frame
}

// watched is one patient that a conn watches, by itself or through groups.
type watched struct {
	*watch
	alone   bool // asked for by name
	groups  []string
	began   int64     // in ticks
	granted uint64    // when access was last granted, as accessControl.questions counts
	until   time.Time // when access ends by itself; zero: no such time
}

// ServeHTTP serves WebSocket handshakes, and requests that come by POST. It
// returns once a connection is set up, a request answered, an event stream
// ended, or the client refused; refusals have one constant body for each status.
func (h *Hub) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s := &h.stats
	switch r.Method {
	case http.MethodGet:
	case http.MethodPost:
		h.servePost(w, r)
		return
	case http.MethodOptions:
		h.servePreflight(w, r)
		return
	default:
		w.Header().Set("Allow", "GET, POST, OPTIONS")
		h.refuse(w, r, &Principal{}, http.StatusMethodNotAllowed, &s.badRequest)
		return
	}
	status, protocol := checkUpgrade(r)
	g := h.admit(w, r, status)
	if g == nil {
		return
	}
	defer g.leave()
	c := newConn(h, g, r)
	hj := wsconn.NewHijacker(w, func(code uint16) []byte { return closeFrame(CloseCode(code)) })
	var err error
	c.ws, err = websocket.Accept(hj, r, &websocket.AcceptOptions{Subprotocols: protocol, InsecureSkipVerify: true, // originAllowed has looked
		CompressionMode: websocket.CompressionDisabled, OnPingReceived: c.onPing, OnPongReceived: c.onPong})
	if err != nil {
		if hj.Conn != nil { // the client went away
			hj.Conn.Cut()
			s.refused.Add(1)
			return
		}
		h.log.Error("carewire: the http.ResponseWriter, perhaps a middleware's, could not be hijacked")
		h.refuse(w, r, g.who, http.StatusServiceUnavailable, &s.refused)
		return
	}
	s.accepted.Add(1)
	c.net = hj.Conn
	c.ws.SetReadLimit(int64(h.opt.MaxFrame))
	if !c.start(c.net, g) {
		return
	}
	if !h.hold() { // released at the end of read
		c.cut()
		c.end()
		return
	}
	go c.serve()
}

func newConn(h *Hub, g *guest, r *http.Request) *conn {
	c := &conn{hub: h, address: g.address, session: rand.Text(), watches: make(map[string]*watched), request: keepRequest(r)}
	c.inbox.conn = c
	c.token.Store(g.who)
	return c
}

// principal returns the client's principal, as its newest token has it.
func (c *conn) principal() *Principal { return c.token.Load() }

// generation returns the generation of the rights of c's principal.
func (c *conn) generation() uint64 { return c.hub.access.generations.of(c.principal().ID) }

// start adds c, whose client is reached by l, to the Hub's connections. It
// returns false if the Hub is closing; c has then ended.
func (c *conn) start(l line, g *guest) bool {
	h := c.hub
	g.seated = false // the seats are c's, until it ends
	c.line = l
	c.out = outbox{shared: h.outboxes, sink: l, who: c.principal(), fail: c.afterWriting, full: c.tooSlow}
	if c.net != nil && c.net.CanTry() {
		c.out.direct = c.net
	}
	c.alive.Store(h.ticks()) // before the Hub's clock sees it
	c.out.wrote.Store(h.ticks())
	c.checkAt.Store(ticksAfter(h.ticks(), h.opt.Recheck))
	h.clinicians.remember(c.principal())
	c.welcome()
	c.record(Record{Event: AuditConnect}, nil)
	if !h.registry.join(c, g) {
		c.close(CloseRestart)
		c.end()
		return false
	}
	return true
}

// greet starts the expiry of the client's token and its inbox.
func (c *conn) greet() {
	c.expireAt(c.principal().Expires)
	c.busy.Store(true)
	c.inbox.begin()
	c.busy.Store(false)
	if c.hub.access.revoked.covers(c.principal(), "", c.hub.now()) { // revoked while it was being set up
		c.endForbidden()
	}
}

// serve begins the connection, once it is set up.
func (c *conn) serve() {
	c.greet()
	go c.read()
}

// read reads and carries out requests until the connection ends. A waiting
// goroutine keeps its stack. So after a request that needs a deep stack, a
// fresh goroutine reads on.
func (c *conn) read() {
	for {
		b := c.message()
		if b == nil {
			c.end()
			c.hub.release()
			return
		}
		c.busy.Store(true)
		typ := c.handle(*b)
		c.busy.Store(false)
		c.alive.Store(c.hub.ticks())
		if cap(*b) <= 16<<10 {
			readBuffers.Put(b)
		}
		if typ != reqPublish && typ != reqWave {
			go c.read()
			return
		}
	}
}

// message returns the next request; nil means that the connection has ended.
func (c *conn) message() *[]byte {
	for {
		// The context must not end: the library closes the connection with it,
		// and pays for watching it.
		typ, r, err := c.ws.Reader(context.Background())
		if err != nil {
			c.readFailed(err)
			return nil
		}
		if typ != websocket.MessageText {
			c.close(CloseBinary) // the message is still read, and the client's close frame
		}
		c.begun.Store(c.hub.ticks())
		c.net.BeginMessage(2*c.hub.opt.MaxFrame + 4096)
		b, err := readMessage(r)
		c.net.EndMessage()
		c.begun.Store(0)
		switch {
		case err != nil:
			c.readFailed(err)
			return nil
		case c.closing.Load(): // no more requests are taken; the client's close frame is awaited
		case !utf8.Valid(*b):
			c.close(CloseNotUTF8)
		default:
			c.alive.Store(c.hub.ticks())
			return b
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

// readFailed ends the connection after the library could not read on. If the
// library has written a close frame itself, ours is not written.
func (c *conn) readFailed(err error) {
	switch {
	case errors.Is(err, websocket.ErrMessageTooBig):
		c.close(CloseTooBig)
	case errors.Is(err, wsconn.ErrFlood):
		c.close(ClosePolicy)
	case websocket.CloseStatus(err) == -1 && !errors.Is(err, io.EOF):
		c.close(CloseProtocolError)
	default:
		c.cut()
		return
	}
	c.net.EndMessage()
	// Unread input would turn the end into a reset, which can
	// overtake the close frame.
	var b [512]byte
	for {
		if _, err := c.net.Read(b[:]); err != nil {
			c.cut()
			return
		}
	}
}

// end takes the connection out of the Hub.
func (c *conn) end() {
	c.mu.Lock()
	if c.ended {
		c.mu.Unlock()
		return
	}
	c.ended = true
	watches := c.watches
	c.watches, c.groups = nil, nil
	for _, t := range []*time.Timer{c.expiry, c.renewal, c.lapse} {
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
	c.inbox.end()
	c.recordSent(0)
	c.record(Record{Event: AuditDisconnect, Close: CloseCode(c.code.Load())}, nil)
	c.hub.registry.leave(c)
	c.hub.seats.leave(c.address, c.principal().ID)
	if c.ws != nil {
		c.ws.CloseNow() // releases the library's resources; the connection is ours
	}
	// The remaining output, the close frame above all, gets a moment.
	c.out.mu.Lock()
	pending := c.out.busy && c.out.closing != nil
	c.out.mu.Unlock()
	if !pending {
		c.cut()
	}
}

// tooSlow ends the connection of a client that does not read its frames.
func (c *conn) tooSlow() {
	h := c.hub
	if !c.closing.Load() {
		h.stats.slow.Add(1)
		if times := h.slowness.note(c.principal().ID, h.ticks()); times >= slowTimes {
			h.stats.slowAgain.Add(1)
			if times == slowTimes {
				h.log.Warn("carewire: a principal's connections are too slow and are ended again and again",
					"principal", sealedKey(c.principal().ID), "role", c.principal().Role, "session", c.session)
			}
		}
	}
	c.close(CloseTryLater)
}

// close queues a close frame behind the waiting replies, and cuts the
// connection a little later.
func (c *conn) close(code CloseCode) {
	if c.closing.CompareAndSwap(false, true) {
		c.code.Store(uint32(code))
		c.hub.stats.limits.closed(code)
		c.out.close(code)
		if c.net != nil {
			c.net.Drain()
		}
		time.AfterFunc(wsconn.WriteWithin+2*time.Second, c.cut)
	}
}

// afterWriting is called when the close frame is out, or writing has failed.
func (c *conn) afterWriting() {
	if c.net == nil { // a stream has no answer to wait for
		c.cut()
		return
	}
	broken := c.net.Broken()
	c.mu.Lock()
	ended := c.ended
	c.mu.Unlock()
	if !broken && !ended { // the client answers with its own; the reader ends then
		time.AfterFunc(closeWithin, c.cut)
		return
	}
	c.cut()
}

// cut ends the connection without a close frame.
func (c *conn) cut() {
	c.out.stop()
	c.line.Cut()
}

// onPing answers a ping: the library's own answer would wait for a slow
// client, and close it.
func (c *conn) onPing(_ context.Context, payload []byte) bool {
	if !c.mayControl() {
		return false
	}
	c.out.send(wsconn.Frame(append(newFrame(len(payload)).b, payload...), wsconn.FirstPong))
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

// expireAt ends the connection when its token does, unless a Renewer prolongs it.
func (c *conn) expireAt(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, timer := range []*time.Timer{c.expiry, c.renewal} {
		if timer != nil {
			timer.Stop()
		}
	}
	c.expiry, c.renewal = nil, nil
	if t.IsZero() || c.ended {
		return
	}
	left := t.Sub(c.hub.now())
	c.expiry = time.AfterFunc(left, func() {
		c.mu.Lock()
		for _, w := range c.watches {
			w.end()
		}
		c.mu.Unlock()
		c.close(CloseUnauthorized)
	})
	if r, ok := c.hub.auth.(Renewer); ok {
		c.renewBy(r, t, left)
	}
}
