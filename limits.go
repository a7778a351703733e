package carewire

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	busyAtLeast = 100 * time.Millisecond // a client that is too fast is asked to wait
	busyMost    = 1000                   // requests answered busy at once before the connection is ended for abuse; ten more every second
	roomLeast   = 16 << 10               // bytes that an outbox may hold in any case
	roomSlack   = 128 << 10              // and with replies and pages, while there is no room
)

// LimitCounts counts how often each limit was met.
type LimitCounts struct {
	Connections  uint64 // handshakes refused: MaxConnections
	PerPrincipal uint64 // handshakes refused: MaxPerPrincipal
	PerAddress   uint64 // handshakes refused: MaxPerAddress
	Patients     uint64 // watches refused: MaxPatients
	Groups       uint64 // watches refused: MaxGroups
	Requests     uint64 // requests answered busy: MaxRequests
	Publishes    uint64 // times that a client was not read from: MaxPublishes
	Keys         uint64 // clients' vitals refused: Keys
	Alerts       uint64 // alerts refused: MaxAlerts
	Outboxes     uint64 // connections ended (1013): TotalOutboxBytes
	Abuse        uint64 // connections ended with 1008
	TooBig       uint64 // connections ended with 1009: MaxFrame
	Timeouts     uint64 // connections ended with 3008: MessageTimeout, IdleTimeout
	Host         uint64 // calls of the host's code that found no place in time: MaxAuthenticating, MaxAuthorizing and the fixed ones
}

// limitCounters are the numbers behind LimitCounts.
type limitCounters struct {
	connections, perPrincipal, perAddress, patients, groups, requests, publishes, keys, alerts, outboxes, abuse, tooBig, timeouts, host atomic.Uint64
}

func (c *limitCounters) snapshot() LimitCounts {
	return LimitCounts{c.connections.Load(), c.perPrincipal.Load(), c.perAddress.Load(), c.patients.Load(), c.groups.Load(), c.requests.Load(),
		c.publishes.Load(), c.keys.Load(), c.alerts.Load(), c.outboxes.Load(), c.abuse.Load(), c.tooBig.Load(), c.timeouts.Load(), c.host.Load()}
}

// closed counts a connection that the Hub ends.
func (c *limitCounters) closed(code CloseCode) {
	switch code {
	case ClosePolicy:
		c.abuse.Add(1)
	case CloseTooBig:
		c.tooBig.Add(1)
	case CloseTimeout:
		c.timeouts.Add(1)
	}
}

// seats counts connections, and handshakes under way, by address and by principal.
type seats struct {
	mu         sync.Mutex
	addresses  map[netip.Addr]int
	principals map[string]int
}

func (s *seats) init() {
	s.addresses, s.principals = make(map[netip.Addr]int), make(map[string]int)
}

// arrive takes a seat for an address; false if there is none.
func (s *seats) arrive(a netip.Addr, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !a.IsValid() || take(s.addresses, whose(a), most)
}

// name takes a seat for a principal; false if there is none.
func (s *seats) name(id string, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return take(s.principals, id, most)
}

// leave gives the seats back; id is "" if there was none for a principal.
func (s *seats) leave(a netip.Addr, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	give(s.addresses, whose(a))
	give(s.principals, id)
}

func take[K comparable](seats map[K]int, k K, most int) bool {
	if seats[k] >= most {
		return false
	}
	seats[k]++
	return true
}

func give[K comparable](seats map[K]int, k K) {
	switch n := seats[k]; {
	case n > 1:
		seats[k] = n - 1
	case n == 1:
		delete(seats, k)
	}
}

// whose is the address under which connections are counted: of IPv6 the first
// 64 bits, of which one subscriber has all the others.
func whose(a netip.Addr) netip.Addr {
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.Addr()
		}
	}
	return a
}

// pace bounds how fast one client may ask.
type pace struct {
	requests *rate.Limiter
	patience *rate.Limiter // for those who do not wait; nil before the first time
}

// tooFast says how long the client has to wait before its next request; 0 if
// this one may be carried out. Who does not wait is cut off in the end.
func (c *conn) tooFast() time.Duration {
	most := c.hub.opt.MaxRequests
	if c.pace.requests == nil {
		c.pace.requests = rate.NewLimiter(rate.Limit(most), 2*most)
	}
	r := c.pace.requests.Reserve()
	wait := r.Delay()
	if wait == 0 {
		return 0
	}
	r.Cancel()
	c.hub.stats.limits.requests.Add(1)
	if c.pace.patience == nil {
		c.pace.patience = rate.NewLimiter(10, busyMost)
	}
	if !c.pace.patience.Allow() {
		c.close(ClosePolicy)
	}
	return max(wait, busyAtLeast)
}

// crowded refuses one open alert too many of a patient, and says so where it is
// heard: an alert that is refused must not be lost in silence.
func (h *Hub) crowded(ctx context.Context, patient string) error {
	h.stats.limits.alerts.Add(1)
	about := AlertRef{Patient: patient}
	if !h.index.has(openKey{System, alertKey(complaintKey(about, tooManyAlerts), false)}) {
		h.complain(ctx, about, tooManyAlerts, "A patient has too many open alerts: another one was refused.")
	}
	return errLimit
}

const tooManyAlerts = "too-many-alerts"

// A scale weighs what waits in all outboxes together, and says what one of them
// may hold. Each second it weighs a quarter of them.
type scale struct {
	parts [visitEvery / time.Second]int64
	total atomic.Int64
	room  atomic.Int64 // bytes of events that may wait in one outbox
}

// weigh takes in what a slot's outboxes hold. While all together hold too much,
// each may hold less: what does not fit is read from the Store later.
func (s *scale) weigh(slot int, held int64, o *Options) {
	s.total.Add(held - s.parts[slot])
	s.parts[slot] = held
	room, total := s.room.Load(), s.total.Load()
	switch {
	case total > int64(o.TotalOutboxBytes):
		s.room.Store(min(room, max(room/2, roomLeast)))
	case total < int64(o.TotalOutboxBytes)/2:
		s.room.Store(min(2*room, int64(o.OutboxBytes)))
	}
}

// weight is how many bytes wait in o.
func (o *outbox) weight() int64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	return int64(o.bytes + o.held + o.read)
}

// lighten ends a connection that holds much while there is no room.
func (c *conn) lighten(weight int64) {
	room := c.hub.scale.room.Load()
	if room < int64(c.hub.opt.OutboxBytes) && weight > room+roomSlack {
		c.hub.stats.limits.outboxes.Add(1)
		c.tooSlow()
	}
}

// address returns the address of whoever sent r: that of the connection or,
// where this is one of Options.TrustedProxies, what they say in X-Forwarded-For.
// It is invalid where the connection has none.
func (h *Hub) address(r *http.Request) netip.Addr {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	at, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	at = at.Unmap().WithZone("")
	// Each proxy has added whom it got the request from: the last entry that was
	// written by one that is trusted counts.
	said := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, s := range slices.Backward(said) {
		if !h.trusted(at) {
			break
		}
		next, err := netip.ParseAddr(strings.TrimSpace(s))
		if err != nil {
			break
		}
		at = next.Unmap().WithZone("")
	}
	return at
}

func (h *Hub) trusted(a netip.Addr) bool {
	return slices.ContainsFunc(h.opt.TrustedProxies, func(p netip.Prefix) bool { return p.Contains(a) })
}

func addressText(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return a.String()
}
