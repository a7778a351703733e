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
	Keys         uint64 // clients' vitals refused: MaxKeys
	Waves        uint64 // chunks of waves refused, and strips not kept: MaxSignals, a signal's pace, four strips at once
	Alerts       uint64 // alerts refused: MaxAlerts
	Notices      uint64 // notices refused: MaxNotices and MaxSenderNotices
	Outboxes     uint64 // times that a client had to read from the Store, or was disconnected (1013): MaxOutboxBytes, MaxTotalOutboxBytes
	Abuse        uint64 // connections ended with 1008
	TooBig       uint64 // connections ended with 1009: MaxFrame
	Timeouts     uint64 // connections ended with 3008: MessageTimeout, IdleTimeout
	Host         uint64 // calls of the host's code that found no place in time: MaxAuthenticating, MaxAuthorizing and the fixed ones
}

// limitCounters are the numbers behind LimitCounts.
type limitCounters struct {
	connections, perPrincipal, perAddress, patients, groups, requests, publishes, keys, alerts, notices, outboxes, abuse, tooBig, timeouts, host atomic.Uint64
}

func (c *limitCounters) snapshot() LimitCounts {
	return LimitCounts{
		Connections:  c.connections.Load(),
		PerPrincipal: c.perPrincipal.Load(),
		PerAddress:   c.perAddress.Load(),
		Patients:     c.patients.Load(),
		Groups:       c.groups.Load(),
		Requests:     c.requests.Load(),
		Publishes:    c.publishes.Load(),
		Keys:         c.keys.Load(),
		Alerts:       c.alerts.Load(),
		Notices:      c.notices.Load(),
		Outboxes:     c.outboxes.Load(),
		Abuse:        c.abuse.Load(),
		TooBig:       c.tooBig.Load(),
		Timeouts:     c.timeouts.Load(),
		Host:         c.host.Load(),
	}
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
	lists      map[string]principalLists // of the principals that have seats
}

// principalLists are the lists of a Principal.
type principalLists struct{ patients, groups []string }

func newSeats() *seats {
	return &seats{addresses: make(map[netip.Addr]int), principals: make(map[string]int), lists: make(map[string]principalLists)}
}

// takeAddress takes a seat for an address; false if there is none.
func (s *seats) takeAddress(a netip.Addr, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !a.IsValid() || takeSeat(s.addresses, countedAddress(a), most)
}

// takePrincipal takes a seat for a principal; false if there is none.
func (s *seats) takePrincipal(id string, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return takeSeat(s.principals, id, most)
}

// share gives p, which has a seat, the lists of its other connections if they are
// equal: a thousand patients are 31 KB.
func (s *seats) share(p *Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	have := s.lists[p.ID]
	if slices.Equal(have.patients, p.Patients) {
		p.Patients = have.patients
	}
	if slices.Equal(have.groups, p.Groups) {
		p.Groups = have.groups
	}
	s.lists[p.ID] = principalLists{p.Patients, p.Groups}
}

// leave gives the seats back; id is "" if there was none for a principal.
func (s *seats) leave(a netip.Addr, id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	giveSeat(s.addresses, countedAddress(a))
	giveSeat(s.principals, id)
	if s.principals[id] == 0 {
		delete(s.lists, id)
	}
}

func takeSeat[K comparable](seats map[K]int, k K, most int) bool {
	if seats[k] >= most {
		return false
	}
	seats[k]++
	return true
}

func giveSeat[K comparable](seats map[K]int, k K) {
	switch n := seats[k]; {
	case n > 1:
		seats[k] = n - 1
	case n == 1:
		delete(seats, k)
	}
}

// countedAddress is the address under which connections are counted: for IPv6 the /64
// network, because one subscriber has all of it.
func countedAddress(a netip.Addr) netip.Addr {
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
	patience *rate.Limiter // for clients that do not wait; nil before the first time
}

// principalPaces limits the rates of principals, over all their connections and
// requests.
type principalPaces struct {
	mu    sync.Mutex
	paces map[string]pace
}

const principalPacesMost = 10000 // principals whose pace is kept

func (p *principalPaces) pace(id string, most int) pace {
	p.mu.Lock()
	defer p.mu.Unlock()
	if _, ok := p.paces[id]; !ok {
		if p.paces == nil {
			p.paces = make(map[string]pace)
		}
		if len(p.paces) >= principalPacesMost {
			for id, known := range p.paces { // an idle principal loses nothing
				if known.requests.Tokens() >= float64(known.requests.Burst()) {
					delete(p.paces, id)
				}
			}
		}
		p.paces[id] = pace{requests: rate.NewLimiter(rate.Limit(most), 2*most)}
	}
	return p.paces[id]
}

// tooFast returns the time that the client must wait before its next request, of
// so many bytes; 0 if it may be carried out now. A client that does not wait is
// disconnected in the end.
func (c *conn) tooFast(cost, size int) time.Duration {
	most := c.hub.opt.MaxRequests
	if c.pace.requests == nil {
		c.pace.requests = rate.NewLimiter(rate.Limit(most), 2*most)
	}
	r := c.pace.requests.Reserve()
	wait := r.Delay()
	if wait == 0 {
		own := c.hub.requestPaces.pace(c.principal().ID, principalPaceFactor*most).requests.Reserve()
		if wait = own.Delay(); wait == 0 {
			wait = c.tooMuch(size)
		}
		if wait == 0 {
			c.charge(cost - 1)
			return 0
		}
		own.Cancel()
	}
	r.Cancel()
	c.hub.stats.limits.requests.Add(1)
	if _, posted := c.line.(*replyLine); posted { // there is nothing to cut off
		return max(wait, busyAtLeast)
	}
	if c.pace.patience == nil {
		c.pace.patience = rate.NewLimiter(10, busyMost)
	}
	if !c.pace.patience.Allow() {
		c.close(ClosePolicy)
	}
	return max(wait, busyAtLeast)
}

// tooMuch says how long the client has to wait because of Options.MaxBytes.
func (c *conn) tooMuch(size int) time.Duration {
	most := c.hub.opt.MaxBytes
	if most <= 0 {
		return 0
	}
	l := c.hub.bytePaces.pace(c.principal().ID, most).requests
	r := l.ReserveN(time.Now(), min(size, l.Burst())) // a request larger than the burst takes all of it
	wait := r.Delay()
	if wait > 0 {
		r.Cancel()
	}
	return wait
}

const (
	principalPaceFactor = 4  // connections of one principal that may be as fast as one
	chargedNames        = 20 // names in a request that cost as much as one more
	chargedVitals       = 10 // vitals that were refused, likewise
)

// cost is how many requests one counts as: a list costs the work for each of its
// names.
func (r *request) cost() int {
	return 1 + (len(r.Patients)+len(r.Groups)+len(r.Since))/chargedNames
}

// charge counts work as n further requests of c and of its principal, so that
// their next requests wait.
func (c *conn) charge(n int) {
	if n <= 0 {
		return
	}
	most := c.hub.opt.MaxRequests
	for _, l := range []*rate.Limiter{c.pace.requests, c.hub.requestPaces.pace(c.principal().ID, principalPaceFactor*most).requests} {
		l.ReserveN(time.Now(), min(n, l.Burst()))
	}
}

func refusedOf(results []PublishResult) (n int) {
	for i := range results {
		if results[i].Err != nil {
			n++
		}
	}
	return n
}

// The room for open alerts of one source, in units of Options.MaxAlerts and MaxSourceAlerts.
const (
	highRoom = 5  // for high ones: far more than a monitor raises
	hostRoom = 10 // for the host's own
)

// alertsMost is how many alerts may be open that are counted together.
func (o *Options) alertsMost(k fromKey) int {
	most := min(o.MaxAlerts, 1<<24) // more is no bound
	if k.patient == "" {
		most = min(o.MaxSourceAlerts, 1<<24)
	}
	if k.priority == PriorityHigh {
		most *= highRoom
	}
	if k.by == hostSender {
		most *= hostRoom
	}
	return most
}

// refuseExcess refuses an open alert beyond a source's limit. With crowd, it refuses
// one more source of an alert that has the most. It raises a complaint, because a
// refused alert must not be lost in silence. A high one may be tried again.
func (h *Hub) refuseExcess(ctx context.Context, by string, in *Raise, crowd bool) error {
	h.stats.limits.alerts.Add(1)
	if in.Patient == SystemPatient {
		h.log.Error("carewire: too many open alerts in the system's log")
	}
	about, complain := AlertRef{Patient: in.Patient, Key: in.Key, Test: in.Test}, h.complaints.manySources
	if !crowd {
		complain = func(ctx context.Context, about AlertRef) error { return h.complaints.crowded(ctx, by, about) }
	}
	if err := complain(ctx, about); err != nil {
		return err // it may be tried again
	}
	if in.Priority == PriorityHigh {
		return &RequestError{Code: CodeLimit, Retry: RetryLater, RetryAfter: busyAtLeast}
	}
	return errLimit
}

// address returns the address of the sender of r: that of the connection or, if
// this is one of Options.TrustedProxies, the one in X-Forwarded-For. It is
// invalid if the connection has none.
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
	// Each proxy has added the address of its client. The last entry that a
	// trusted proxy wrote counts.
	said := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for _, s := range slices.Backward(said) {
		if !h.trusted(at) {
			break
		}
		next, err := parseForwarded(strings.TrimSpace(s))
		if err != nil {
			break
		}
		at = next.Unmap().WithZone("")
	}
	return at
}

// parseForwarded reads an address as proxies write it: with a port or without,
// one of IPv6 in brackets or not.
func parseForwarded(s string) (netip.Addr, error) {
	if a, err := netip.ParseAddrPort(s); err == nil {
		return a.Addr(), nil
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	return netip.ParseAddr(s)
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
