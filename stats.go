package carewire

import (
	"sync/atomic"
	"time"
)

// Stats is a snapshot of a Hub: counts since it was made, and its present
// state.
type Stats struct {
	Handshakes HandshakeCounts // since the Hub was made
	Limits     LimitCounts     // likewise

	Connections int // open now, event streams among them
	Watches     int // patients being watched now, each counted for each client
	EventsIn    uint64
	EventsOut   uint64 // delivered to clients, each counted for each
	Replaced    uint64 // vitals that a newer one replaced on the way to a slow client
	Skipped     uint64 // times that a client was farther behind than Options.MaxReplay
	Signals     int    // waves that are live now
	WavesIn     uint64 // chunks of waves that were taken in
	WavesOut    uint64 // delivered to clients, each counted for each
	WavesLost   uint64 // dropped because a client was slow, each counted for each
	SlowClients uint64 // connections ended because the client was too slow (1013)
	// SlowAgain counts those of SlowClients whose principal had two others
	// within the ten minutes before.
	SlowAgain  uint64
	ReadErrors uint64 // reads of the Store that failed while catching up
	Panics     uint64 // of the host's code

	OutboxBytes  int    // events waiting for all clients together, as Options.MaxTotalOutboxBytes counts them
	AuditWaiting int    // records that wait for the Auditor now
	AuditFailed  uint64 // calls of the Auditor that failed
	AuditLost    uint64 // records that found no room, or were not taken before the Hub ended
	// AuditRejected counts records that were given up, because the Auditor
	// refused them repeatedly while it took others.
	AuditRejected uint64

	AlertsOpen    int
	AlertsOverdue int // open, and due for longer than five seconds

	LevelsUnreached uint64 // levels of alerts that were told to nobody
	PagesSent       uint64 // pages that the Pager took
	PagesFailed     uint64 // pages that the Pager did not take
	PagesMoot       uint64 // pages that were no longer needed at their turn, and not sent
	PolicyFailed    uint64 // calls of the Policy that failed
	BadAddressees   uint64 // addressees that a Policy named in an unknown form
	Unresolved      uint64 // vitals and alerts for which Resolve and ResolveAlert named no patient
	PagersHanging   int    // recipients for whom a call of the Pager hangs
	AlertsUnheard   int    // open alerts whose present level has reached nobody or has no addressee
	// NobodyToTell reports that alerts reach nobody: there is no Pager, and no
	// principal who may answer is connected to this Hub.
	NobodyToTell bool

	StoreState string    // ok, slow or failing; of a Spread the worst of its members
	StoreSince time.Time // since when
	// Members describes the members of a Store that is a Spread, in its order. It
	// is nil for other Stores.
	Members []MemberStats
	// MembersFailing is the number of members that fail. A member that only lacks
	// room for vitals does not count.
	MembersFailing int

	// The size of a Store that is a Sizer, looked at each minute.
	StoreBytes  int64         // bytes of the entries that were written
	StoreGrowth int64         // bytes a day, measured over the last day or less
	StoreFullIn time.Duration // until vitals find no room, at this growth; 0: no growth, or unknown

	Relay RelayStats // messages between the Hubs on one Store, with Options.Relay

	// Delay is how long events took from being received to being written to a
	// client, of the oldest event of each write.
	Delay Histogram
	// Append is how long the Store took for each append, failed ones included.
	Append Histogram
	// Lag is the time from receiving an event at another node to reading it
	// here, for patients that are watched here.
	Lag Histogram
}

// MemberStats describes one member of a Store that is a Spread.
type MemberStats struct {
	Name  string    // as the Store has it
	Parts int       // the number of parts on it
	State string    // ok, slow or failing
	Since time.Time // since when
}

// HandshakeCounts counts WebSocket handshakes and requests by POST: Tried is the sum
// of the others.
type HandshakeCounts struct {
	Tried, Accepted                                         uint64
	BadRequest, Unauthenticated, Forbidden, TooMany, Failed uint64
}

// Histogram counts durations. Counts[i] is the number of those at most
// Bounds[i] and more than Bounds[i-1]; one more count is for the rest. Sum is
// all of them together.
type Histogram struct {
	Bounds []time.Duration
	Counts []uint64
	Sum    time.Duration
}

var delayBounds = [...]time.Duration{100 * time.Microsecond, 250 * time.Microsecond, 500 * time.Microsecond, time.Millisecond, 2500 * time.Microsecond,
	5 * time.Millisecond, 10 * time.Millisecond, 25 * time.Millisecond, 50 * time.Millisecond, 100 * time.Millisecond, 250 * time.Millisecond,
	500 * time.Millisecond, time.Second, 5 * time.Second, 30 * time.Second}

type histogram struct {
	counts [len(delayBounds) + 1]atomic.Uint64
	sum    atomic.Int64
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(delayBounds) && d > delayBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) snapshot() Histogram {
	s := Histogram{Bounds: append([]time.Duration(nil), delayBounds[:]...), Counts: make([]uint64, len(h.counts)), Sum: time.Duration(h.sum.Load())}
	for i := range h.counts {
		s.Counts[i] = h.counts[i].Load()
	}
	return s
}

// counters are the numbers behind Stats.
type counters struct {
	accepted, badRequest, unauthenticated, forbidden, tooMany, refused     atomic.Uint64
	in, replaced, skipped, slow, slowAgain, readErrors, panics, unresolved atomic.Uint64
	limits                                                                 limitCounters
	escalation                                                             escalationCounters
	out, watches, waiting                                                  atomic.Int64
	delay, append, lag                                                     histogram
}

// Stats returns a snapshot of the Hub's numbers.
func (h *Hub) Stats() Stats {
	c := &h.stats
	s := Stats{
		Handshakes: HandshakeCounts{Accepted: c.accepted.Load(), BadRequest: c.badRequest.Load(), Unauthenticated: c.unauthenticated.Load(),
			Forbidden: c.forbidden.Load(), TooMany: c.tooMany.Load(), Failed: c.refused.Load()},
		Watches: int(c.watches.Load()), EventsIn: c.in.Load(), EventsOut: uint64(c.out.Load()), Replaced: c.replaced.Load(),
		Skipped: c.skipped.Load(), SlowClients: c.slow.Load(), SlowAgain: c.slowAgain.Load(), ReadErrors: c.readErrors.Load(), Panics: c.panics.Load(), Unresolved: c.unresolved.Load(), Delay: c.delay.snapshot(), Append: c.append.snapshot(), Lag: c.lag.snapshot(),
	}
	s.Signals, s.WavesIn, s.WavesOut, s.WavesLost = h.signals.count(), h.signals.in.Load(), h.signals.out.Load(), h.signals.dropped.Load()
	s.Relay = h.peers.counts()
	hs := &s.Handshakes
	hs.Tried = hs.Accepted + hs.BadRequest + hs.Unauthenticated + hs.Forbidden + hs.TooMany + hs.Failed
	s.Limits, s.OutboxBytes = c.limits.snapshot(), int(c.waiting.Load())
	s.Limits.Waves = h.signals.refused.Load()
	s.AuditFailed, s.AuditLost, s.AuditRejected = h.audit.failed.Load(), h.audit.lost.Load(), h.audit.rejected.Load()
	s.AuditWaiting = h.audit.length()
	s.Connections = h.registry.count()
	s.AlertsOpen, s.AlertsOverdue = h.open.count(h.now().Add(-5 * time.Second))
	x := &c.escalation
	s.LevelsUnreached, s.PolicyFailed, s.BadAddressees = x.unreached.Load(), x.policyFailed.Load(), x.badAddressees.Load()
	s.PagesSent, s.PagesFailed, s.PagesMoot = x.pagesSent.Load(), x.pagesFailed.Load(), x.pagesMoot.Load()
	if h.escalator.paging != nil {
		s.PagersHanging = h.escalator.paging.hanging()
	}
	s.NobodyToTell = h.nobodyToTell()
	s.AlertsUnheard = h.open.troubled(troubleUnreached, false) + h.open.troubled(troubleNobody, false)
	s.StoreState, s.StoreSince = h.store.state()
	if spread := h.store.spread; spread != nil {
		s.Members, s.MembersFailing = make([]MemberStats, len(h.store.members)), h.store.failing()
		for i, name := range spread.Members() {
			s.Members[i].Name = name
			s.Members[i].State, s.Members[i].Since = h.store.members[i].state()
		}
		for part := range spread.Parts() {
			s.Members[spread.Owner(part)].Parts++
		}
	}
	s.StoreBytes, s.StoreGrowth, s.StoreFullIn = h.janitor.size()
	return s
}

// Ready returns nil while the Hub accepts events and its Store answers, else
// ErrClosed or ErrUnavailable. A Store that has no room for vitals but takes
// alerts counts as answering. A Spread counts as answering while one of its
// members does; Stats.MembersFailing counts the others. With Options.ReadyToTell it
// returns ErrNobodyToTell, too.
func (h *Hub) Ready() error {
	if h.registry.isClosing() {
		return ErrClosed
	}
	if h.store.failing() == len(h.store.members) {
		return ErrUnavailable
	}
	if h.opt.ReadyToTell && (h.nobodyToTell() || h.escalator.paging != nil && h.escalator.paging.hanging() > 0) {
		return ErrNobodyToTell
	}
	return nil
}

func (h *Hub) nobodyToTell() bool { return h.escalator.paging == nil && !h.registry.anyAnswers() }
