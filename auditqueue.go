package carewire

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	recordsMax   = 1 << 16                // records that may wait for the Auditor
	recordsSpare = 1 << 12                // of these, room for principals of whom few records wait
	recordsLate  = recordsSpare / 4       // of these, room for those who waited for the same place
	recordsFew   = 1 << 10                // records of one principal that are few
	recordAgain  = 100 * time.Millisecond // after a failure, doubled up to
	recordAtMost = 30 * time.Second
	recordTries  = 10          // tries of one record, before another one is tried
	recordLast   = 4           // failures in a row, when the Hub ends
	auditDown    = time.Second // after a failure reads are refused without being tried
	tallyEvery   = time.Minute
	floodRate    = 10      // single records a second of one principal's refusals, failures and unwatches
	floodBurst   = 1000    // at once
	floodsMost   = 1 << 14 // principals whose rate is remembered

	auditFirstAtOnce = 64 // reads whose records are brought to the Auditor at once
	auditFirstEach   = 8  // of these, for one principal
)

// An auditQueue brings records to the Auditor, asynchronously. The queue is
// bounded; records that find no room are counted and logged.
type auditQueue struct {
	auditor Auditor
	call    *hostCall             // of the queue
	first   *hostCall             // of reads, which do not delay the queue
	readers *sharedPlaces[string] // shares these among principals
	work    *background
	log     *slog.Logger
	now     func() time.Time
	ticks   func() int64

	failed, lost, rejected atomic.Uint64 // calls of the Auditor; records, see Stats

	mu      sync.Mutex
	waiting []Record
	held    map[string]int // how many records wait, by principal; without those of the host
	freed   chan struct{}  // closed when one more fits; nil: nobody waits for that
	ended   bool
	wake    chan struct{}
	down    atomic.Int64 // when a Record last failed, in ticks; 0: not since one succeeded

	refusals *rate.Limiter // the rate of refused handshakes that are recorded one by one
	more     map[int]int   // refused handshakes beyond that rate, by status
	host     tally
	floods   map[string]*flood // floods of principals, by ID
	reported uint64            // how many of the lost were reported
	saidAt   int64             // when, in ticks
}

func newAuditQueue(a Auditor, calls *hostCalls, work *background, log *slog.Logger, now func() time.Time, ticks func() int64) *auditQueue {
	return &auditQueue{auditor: a, call: calls.audit, first: calls.auditFirst,
		readers: newSharedPlaces[string](auditFirstEach, auditFirstAtOnce, calls.auditFirst.timeout), work: work, log: log, now: now, ticks: ticks, wake: make(chan struct{}, 1),
		refusals: rate.NewLimiter(10, 100), more: make(map[int]int), held: make(map[string]int), floods: make(map[string]*flood)}
}

// record hands a record in. It never waits.
func (a *auditQueue) record(r Record) {
	if r.Time.IsZero() {
		r.Time = a.now()
	}
	if r.Outcome == "" {
		r.Outcome = OutcomeDone
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	floodable := r.floodable()
	if floodable && a.tally(&r) {
		return
	}
	most := a.room(r.holder(), floodable) + recordsLate
	if !floodable { // it was done, and others may have come since its principal has waited
		most = max(most, recordsMax-recordsLate/2)
	}
	if a.ended || len(a.waiting) >= most {
		a.lost.Add(1) // the clock reports it
		return
	}
	a.add(r)
}

// room is the length of the queue at which a principal has to wait. The spare
// places are kept for principals of whom few records wait, half of them for
// completed actions. Of the other places, floods get half. Under a.mu.
func (a *auditQueue) room(who string, floodable bool) int {
	few := a.held[who] < recordsFew
	switch {
	case few && floodable:
		return recordsMax - recordsSpare/2
	case few:
		return recordsMax - recordsLate
	case floodable:
		return recordsMax / 2
	}
	return recordsMax - recordsSpare
}

// add puts r at the end of the queue. Under a.mu.
func (a *auditQueue) add(r Record) {
	a.waiting = append(a.waiting, r)
	if who := r.holder(); who != "" {
		addCount(a.held, who, 1)
	}
	signal(a.wake)
}

// holder is the principal whose request r is about; "" for an action of the host.
func (r *Record) holder() string {
	if r.Conn == "" {
		return ""
	}
	return r.Who.ID
}

// waitForRoom delays a principal whose records come faster than the Auditor
// takes them, until the queue has room. It waits no longer than one call of the
// Auditor may take, and not at all while the Auditor fails.
func (a *auditQueue) waitForRoom(ctx context.Context, who string, refused bool) {
	patience := time.NewTimer(a.call.timeout)
	defer patience.Stop()
	for {
		a.mu.Lock()
		if a.ended || len(a.waiting) < a.room(who, refused) || a.down.Load() != 0 {
			a.mu.Unlock()
			return
		}
		if a.freed == nil {
			a.freed = make(chan struct{})
		}
		freed := a.freed
		a.mu.Unlock()
		select {
		case <-freed:
		case <-patience.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// recordHost queues a record of an action of the host, or of carewire itself.
func (a *auditQueue) recordHost(r Record, err error) {
	if r.Who.ID == "" {
		r.Who.ID = hostSender
	}
	r.Asserted = true
	if !errors.Is(err, ErrClosed) { // nothing was done
		a.record(r.failed(err))
	}
}

// A flood counts a principal's refusals, failures and unwatches that are not recorded
// singly, because nobody would read so many.
type flood struct {
	singly *rate.Limiter
	counts map[floodKey]int
	who    Record
	since  int64 // in ticks
}

type floodKey struct {
	event   AuditEvent
	outcome Outcome
	code    ErrorCode
}

// floodable reports whether r is of something that a client can do at any pace
// without anything having happened to a patient's data.
func (r *Record) floodable() bool {
	return r.Conn != "" && (r.Outcome == OutcomeRefused || r.Outcome == OutcomeFailed || r.Event == AuditWatchEnded && r.Code == "")
}

// tally counts r, instead of recording it, if its principal has had many. Under a.mu.
func (a *auditQueue) tally(r *Record) bool {
	f := a.floods[r.Who.ID]
	if f == nil {
		if len(a.floods) >= floodsMost {
			for id, f := range a.floods { // those who are quiet are forgotten
				if len(f.counts) == 0 && f.singly.Tokens() >= floodBurst {
					delete(a.floods, id)
				}
			}
		}
		f = &flood{singly: rate.NewLimiter(floodRate, floodBurst), counts: make(map[floodKey]int)}
		a.floods[r.Who.ID] = f
	}
	if f.singly.Allow() {
		return false
	}
	if len(f.counts) == 0 {
		f.since, f.who = a.ticks(), Record{Who: r.Who, Session: r.Session, Conn: r.Conn, Address: r.Address}
	}
	f.counts[floodKey{r.Event, r.Outcome, r.Code}]++
	return true
}

// takeFloods returns the records of counted floods. Under a.mu.
func (a *auditQueue) takeFloods(least time.Duration) (list []Record) {
	now := a.ticks()
	for _, f := range a.floods {
		if len(f.counts) == 0 || time.Duration(now-f.since) < least {
			continue
		}
		for k, n := range f.counts {
			r := f.who
			r.Event, r.Outcome, r.Code, r.Count = k.event, k.outcome, k.code, n
			list = append(list, r)
		}
		clear(f.counts)
	}
	return list
}

// complainOfLost logs that records were lost.
func (a *auditQueue) complainOfLost(least time.Duration) {
	n, now := a.lost.Load(), a.ticks()
	a.mu.Lock()
	more := n - a.reported
	if more == 0 || a.saidAt != 0 && time.Duration(now-a.saidAt) < least {
		a.mu.Unlock()
		return
	}
	a.reported, a.saidAt = n, now
	a.mu.Unlock()
	a.log.Error("carewire: audit records are lost: the Auditor fails, or is too slow", "records", more)
}

// recordFirst has reads recorded before they are done, and returns ErrUnavailable
// for each that could not be. Each record is a call of its own, with its own time
// and place: a long list takes long, and that is neither a fault of the Auditor nor
// a delay for others.
func (a *auditQueue) recordFirst(ctx context.Context, list []Record) []error {
	errs := make([]error, len(list))
	now := a.now()
	for i := range list {
		errs[i] = ErrUnavailable
		list[i].Time, list[i].Outcome = now, OutcomeDone
	}
	if at := a.down.Load(); at != 0 && time.Duration(a.ticks()-at) < auditDown {
		return errs
	}
	each := 1
	if _, ok := a.auditor.(*slogAuditor); ok { // it takes no time
		each = max(len(list), 1)
	}
	for i := 0; i < len(list); i += each {
		err := a.askFirst(ctx, list[i:i+each])
		if err == nil {
			clear(errs[i : i+each])
		} else if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrBusy) { // as long for each would be too long
			break
		}
	}
	return errs
}

// askFirst is ask for reads of one principal, at one of the principal's places.
func (a *auditQueue) askFirst(ctx context.Context, list []Record) error {
	giveBack, ok := a.readers.take(ctx, list[0].Who.ID)
	if !ok {
		return ErrBusy // the Auditor was not asked
	}
	defer giveBack()
	return a.ask(ctx, a.first, list)
}

// ask brings records to the Auditor in one call; several only if it writes lines.
func (a *auditQueue) ask(ctx context.Context, call *hostCall, list []Record) error {
	_, err := callHost(ctx, call, func(ctx context.Context) (struct{}, error) {
		if lines, ok := a.auditor.(*slogAuditor); ok {
			lines.recordAll(ctx, list)
			return struct{}{}, nil
		}
		return struct{}{}, a.auditor.Record(ctx, list[0])
	})
	if ctx.Err() == nil { // a caller who has gone is no fault of the Auditor
		a.audited(err)
	}
	return err
}

// audited notes how a call of the Auditor went.
func (a *auditQueue) audited(err error) {
	if err == nil {
		a.down.Store(0)
		return
	}
	a.failed.Add(1)
	if a.down.Swap(a.ticks()) == 0 {
		a.log.Error("carewire: the Auditor fails: nobody may open a patient or read history")
	}
}

// run brings the waiting records to the Auditor, in order, until the Hub ends.
// A record that failed again and again is given up once the Auditor has taken
// another one and still refuses it: then the record is at fault, and others
// must not wait for it.
func (a *auditQueue) run() {
	pause, tries := recordAgain, 0
	for {
		n := a.length()
		if n == 0 {
			select {
			case <-a.wake:
				continue
			case <-a.work.quit:
				a.recordRest()
				return
			}
		}
		if a.recordAt(0) {
			pause, tries = recordAgain, 0
			continue
		}
		if tries++; tries >= recordTries && n > 1 && a.recordAt(1+(tries-recordTries)%(n-1)) {
			if !a.recordAt(0) {
				r := a.remove(0)
				a.rejected.Add(1)
				a.log.Error("carewire: an audit record was given up: the Auditor takes others and refuses it", "record", r)
			}
			pause, tries = recordAgain, 0
			continue
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, recordAtMost)
		case <-a.work.quit:
			a.recordRest()
			return
		}
	}
}

// recordRest tries each record once more while the Hub ends. It drops a record
// that the Auditor refuses, and all remaining ones once the Auditor refuses
// everything.
func (a *auditQueue) recordRest() {
	for failed := 0; !a.end(failed == recordLast); {
		if a.recordAt(0) {
			failed = 0
			continue
		}
		failed++
		a.remove(0)
		a.lost.Add(1)
	}
	a.mu.Lock()
	a.lost.Add(uint64(len(a.waiting)))
	a.waiting = nil
	a.mu.Unlock()
	a.complainOfLost(0)
}

// recordAt brings the i-th record that waits to the Auditor, and reports whether
// it was taken; then it waits no more.
func (a *auditQueue) recordAt(i int) bool {
	a.mu.Lock()
	r := a.waiting[i]
	a.mu.Unlock()
	err := a.ask(a.work.ctx, a.call, []Record{r})
	if err == nil {
		a.remove(i)
	}
	return err == nil
}

// length returns how many records wait.
func (a *auditQueue) length() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting)
}

// remove takes the i-th record out. Only run does that.
func (a *auditQueue) remove(i int) Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.waiting[i]
	if who := r.holder(); who != "" {
		addCount(a.held, who, -1)
	}
	if a.freed != nil {
		close(a.freed)
		a.freed = nil
	}
	switch {
	case len(a.waiting) == 1:
		a.waiting = nil
	case i == 0:
		a.waiting = a.waiting[1:]
	default:
		a.waiting = slices.Delete(a.waiting, i, i+1)
	}
	return r
}

// end takes no more records if none wait, or anyway, and reports whether it does.
func (a *auditQueue) end(anyway bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = anyway || len(a.waiting) == 0
	return a.ended
}

// recordRefusal records a handshake of p that was refused. Of a flood, only some
// are recorded singly: the next record of the same status counts the others.
func (a *auditQueue) recordRefusal(status int, p *Principal, address string) {
	a.mu.Lock()
	if !a.refusals.Allow() {
		a.more[status]++
		a.mu.Unlock()
		return
	}
	n := 1 + a.more[status]
	delete(a.more, status)
	a.mu.Unlock()
	rec := Record{Event: AuditRefusal, Outcome: OutcomeRefused, Status: status, Count: n, Address: address}
	if status == http.StatusServiceUnavailable {
		rec.Outcome = OutcomeFailed
	}
	if p.ID != "" {
		rec.Who, rec.Session = p.person(), p.Session
	}
	a.record(rec)
}

// recordTallies records the counted events: the host's vitals of the last
// minute, once that is over, and the unrecorded part of a flood.
func (a *auditQueue) recordTallies(least time.Duration) {
	a.complainOfLost(time.Minute)
	a.mu.Lock()
	floods := a.takeFloods(least)
	for i := range floods {
		floods[i].Time = a.now()
		if len(a.waiting) < recordsMax {
			a.add(floods[i])
		} else {
			a.lost.Add(1)
		}
	}
	a.mu.Unlock()
	if r, ok := a.host.take(a.ticks(), least); ok {
		a.recordHost(r, nil)
	}
	a.mu.Lock()
	if len(a.more) == 0 || !a.refusals.Allow() && least > 0 { // one look at it each tick would leave nothing for others
		a.mu.Unlock()
		return
	}
	more := a.more
	a.more = make(map[int]int)
	a.mu.Unlock()
	for status, n := range more {
		a.record(Record{Event: AuditRefusal, Outcome: OutcomeRefused, Status: status, Count: n})
	}
}
