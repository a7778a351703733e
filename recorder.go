package carewire

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	recordsMax   = 1 << 16                // records that may wait for the Auditor
	recordAgain  = 100 * time.Millisecond // after a failure, doubled up to
	recordAtMost = 30 * time.Second
	recordTries  = 10          // of one record, before it is looked whether others are taken
	recordLast   = 4           // failures in a row, when the Hub ends
	auditDown    = time.Second // after a failure reads are refused without being tried
	tallyEvery   = time.Minute
)

// A recorder brings records to the Auditor, outside of everything else.
type recorder struct {
	mu      sync.Mutex
	waiting []Record
	ended   bool
	wake    chan struct{}
	down    atomic.Int64 // when a Record last failed, in ticks; 0: not since one succeeded

	refusals *rate.Limiter // of handshakes, recorded one by one
	more     map[int]int   // those beyond, by status
	host     tally
	lost     uint64 // those that were complained of
	lostAt   int64  // when, in ticks
}

func (a *recorder) init() {
	a.wake = make(chan struct{}, 1)
	a.refusals, a.more = rate.NewLimiter(10, 100), make(map[int]int)
}

// record hands a record in. It never waits.
func (h *Hub) record(r Record) {
	a := &h.audit
	if r.Time.IsZero() {
		r.Time = h.now()
	}
	if r.Outcome == "" {
		r.Outcome = OutcomeDone
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ended || len(a.waiting) >= recordsMax {
		h.stats.auditLost.Add(1) // the clock complains
		return
	}
	a.waiting = append(a.waiting, r)
	signal(a.wake)
}

// recordHost hands in a record of what the host has done, or carewire itself.
func (h *Hub) recordHost(r Record, err error) {
	if r.Who.ID == "" {
		r.Who.ID = host
	}
	r.Asserted = true
	if !errors.Is(err, ErrClosed) { // nothing was done
		h.record(r.failed(err))
	}
}

// complainOfLost says in the log that records were lost.
func (h *Hub) complainOfLost(least time.Duration) {
	a, n, now := &h.audit, h.stats.auditLost.Load(), h.ticks()
	a.mu.Lock()
	more := n - a.lost
	if more == 0 || a.lostAt != 0 && time.Duration(now-a.lostAt) < least {
		a.mu.Unlock()
		return
	}
	a.lost, a.lostAt = n, now
	a.mu.Unlock()
	h.log.Error("carewire: audit records are lost: the Auditor fails, or is too slow", "records", more)
}

// recordFirst has reads recorded before they are done, and returns ErrUnavailable
// for each that could not be.
func (h *Hub) recordFirst(ctx context.Context, list []Record) []error {
	errs := make([]error, len(list))
	now := h.now()
	for i := range list {
		errs[i] = ErrUnavailable
		list[i].Time, list[i].Outcome = now, OutcomeDone
	}
	if len(list) == 0 {
		return errs
	}
	if at := h.audit.down.Load(); at != 0 && time.Duration(h.ticks()-at) < auditDown {
		return errs
	}
	got, err := callHost(ctx, h.calls.audit, func(ctx context.Context) ([]error, error) {
		got := make([]error, len(list))
		for i, r := range list {
			if got[i] = ctx.Err(); got[i] == nil {
				got[i] = h.opt.Auditor.Record(ctx, r)
			}
		}
		return got, nil
	})
	h.audited(err)
	for i := range got {
		h.audited(got[i])
		if got[i] == nil {
			errs[i] = nil
		}
	}
	return errs
}

// audited notes how a call of the Auditor went.
func (h *Hub) audited(err error) {
	if err == nil {
		h.audit.down.Store(0)
		return
	}
	h.stats.auditFailed.Add(1)
	if h.audit.down.Swap(h.ticks()) == 0 {
		h.log.Error("carewire: the Auditor fails: nobody may open a patient or read history")
	}
}

// recordAll brings what waits to the Auditor, in order, until the Hub ends. A
// record that failed again and again is given up once the Auditor has taken
// another one and still refuses it: then it is the record's fault, and others
// shall not wait for it.
func (h *Hub) recordAll() {
	a := &h.audit
	pause, tries := recordAgain, 0
	for {
		n := a.length()
		if n == 0 {
			select {
			case <-a.wake:
				continue
			case <-h.quit:
				h.recordRest()
				return
			}
		}
		if h.recordAt(0) {
			pause, tries = recordAgain, 0
			continue
		}
		if tries++; tries >= recordTries && n > 1 && h.recordAt(1+(tries-recordTries)%(n-1)) {
			if !h.recordAt(0) {
				r := a.remove(0)
				h.stats.auditRejected.Add(1)
				h.log.Error("carewire: an audit record was given up: the Auditor takes others and refuses it", "record", r)
			}
			pause, tries = recordAgain, 0
			continue
		}
		select {
		case <-time.After(pause):
			pause = min(2*pause, recordAtMost)
		case <-h.quit:
			h.recordRest()
			return
		}
	}
}

// recordRest tries each record once more, since the Hub ends. What the Auditor
// does not take is lost, and all the rest when it takes nothing any more.
func (h *Hub) recordRest() {
	a := &h.audit
	for failed := 0; !a.end(failed == recordLast); {
		if h.recordAt(0) {
			failed = 0
			continue
		}
		failed++
		a.remove(0)
		h.stats.auditLost.Add(1)
	}
	a.mu.Lock()
	h.stats.auditLost.Add(uint64(len(a.waiting)))
	a.waiting = nil
	a.mu.Unlock()
	h.complainOfLost(0)
}

// recordAt brings the i-th record that waits to the Auditor, and reports whether
// it was taken; then it waits no more.
func (h *Hub) recordAt(i int) bool {
	a := &h.audit
	a.mu.Lock()
	r := a.waiting[i]
	a.mu.Unlock()
	_, err := callHost(h.ctx, h.calls.audit, func(ctx context.Context) (struct{}, error) {
		return struct{}{}, h.opt.Auditor.Record(ctx, r)
	})
	h.audited(err)
	if err == nil {
		a.remove(i)
	}
	return err == nil
}

// length returns how many records wait.
func (a *recorder) length() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.waiting)
}

// remove takes the i-th record out. Only recordAll does that.
func (a *recorder) remove(i int) Record {
	a.mu.Lock()
	defer a.mu.Unlock()
	r := a.waiting[i]
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
func (a *recorder) end(anyway bool) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.ended = anyway || len(a.waiting) == 0
	return a.ended
}

// recordRefusal records a refused handshake. Of a flood, only some are recorded
// singly: the next record of the same status counts the others.
func (h *Hub) recordRefusal(r *http.Request, status int, p *Principal) {
	a := &h.audit
	a.mu.Lock()
	if !a.refusals.Allow() {
		a.more[status]++
		a.mu.Unlock()
		return
	}
	n := 1 + a.more[status]
	delete(a.more, status)
	a.mu.Unlock()
	rec := Record{Event: AuditRefusal, Outcome: OutcomeRefused, Status: status, Count: n, Address: addressText(h.address(r))}
	if status == http.StatusServiceUnavailable {
		rec.Outcome = OutcomeFailed
	}
	if p.ID != "" {
		rec.Who, rec.Session = p.person(), p.Session
	}
	h.record(rec)
}

// recordTallies records what was only counted: the host's vitals of the last
// minute, if it is over, and what of a flood is not recorded yet.
func (h *Hub) recordTallies(least time.Duration) {
	h.complainOfLost(time.Minute)
	if r, ok := h.audit.host.take(h.ticks(), least); ok {
		h.recordHost(r, nil)
	}
	h.audit.mu.Lock()
	if len(h.audit.more) == 0 || !h.audit.refusals.Allow() && least > 0 { // one look at it each tick would leave nothing for others
		h.audit.mu.Unlock()
		return
	}
	more := h.audit.more
	h.audit.more = make(map[int]int)
	h.audit.mu.Unlock()
	for status, n := range more {
		h.record(Record{Event: AuditRefusal, Outcome: OutcomeRefused, Status: status, Count: n})
	}
}

// A tally counts vitals, to be recorded together.
type tally struct {
	mu            sync.Mutex
	patient       string // "" if of several
	done, refused int
	since         int64 // in ticks
}

// add counts what became of vitals.
func (t *tally) add(now int64, vitals []Vital, results []PublishResult) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done+t.refused == 0 {
		t.patient, t.since = vitals[0].Patient, now
	}
	for i := range results {
		if vitals[i].Patient != t.patient {
			t.patient = ""
		}
		if results[i].Err == nil {
			t.done++
		} else {
			t.refused++
		}
	}
}

// take returns the record of what was counted, once it is old enough.
func (t *tally) take(now int64, least time.Duration) (r Record, ok bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.done+t.refused == 0 || time.Duration(now-t.since) < least {
		return Record{}, false
	}
	r = Record{Event: AuditPublish, Patient: t.patient, Count: t.done, Refused: t.refused}
	if t.done == 0 {
		r.Outcome = OutcomeRefused
	}
	t.done, t.refused = 0, 0
	return r, true
}

// signed is a record of what c's client has done.
func (c *conn) signed(r Record) Record {
	r.Who, r.Session, r.Conn, r.Address = c.who.person(), c.who.Session, c.session, addressText(c.address)
	return r
}

func (c *conn) record(r Record, err error) { c.hub.record(c.signed(r.failed(err))) }

// counted counts what became of c's vitals.
func (c *conn) counted(vitals []Vital, results []PublishResult) {
	t := c.sent.Load()
	if t == nil {
		c.sent.CompareAndSwap(nil, new(tally))
		t = c.sent.Load()
	}
	t.add(c.hub.ticks(), vitals, results)
	for i := range results {
		if results[i].Err == errLimit {
			c.hub.stats.limits.keys.Add(1)
		}
	}
}

// recordSent records c's vitals of the last minute, if it is over.
func (c *conn) recordSent(least time.Duration) {
	if t := c.sent.Load(); t != nil {
		if r, ok := t.take(c.hub.ticks(), least); ok {
			c.hub.record(c.signed(r))
		}
	}
}

// recordRequest records what became of a request that is no read. a is the alert it left.
func (c *conn) recordRequest(r *request, a *Alert, err error) {
	rec := Record{Patient: r.Ref.Patient, Key: r.Ref.Key, ID: r.Ref.ID, Test: a.Test}
	switch r.Type {
	case reqRaise:
		rec.Event, rec.Patient, rec.Key, rec.ID, rec.Test = AuditRaise, r.Alert.Patient, r.Alert.Key, r.EventID, r.Alert.Test
		if err == nil {
			rec.Key, rec.ID = a.Key, a.ID
		}
	case reqClear:
		rec.Event = AuditClear
	case reqAnswer:
		rec.Event, rec.Do = AuditAnswer, r.Answer.Do
		if r.Answer.Do == AnswerClose {
			rec.Event = AuditClose
		}
	case reqReceipt:
		rec.Event, rec.Patient, rec.Key, rec.Stage = AuditReceipt, r.Receipt.Patient, r.Receipt.Key, r.Receipt.Stage
		rec.ID = r.Receipt.AlertID + r.Receipt.NoticeID // one of them is empty
	case reqNotify:
		rec.Event, rec.Patient, rec.ID = AuditNotice, r.Notice.Patient, r.Notice.ID
	default:
		return
	}
	c.record(rec, err)
}
