package rules

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

const (
	rowMax   = 250         // patients that are watched together
	inFlight = time.Minute // at most, from the receipt of an entry until it is seen here
	// grace is by how much a Case's time lags, where no reading moves it on. Within it the
	// Store takes a reading in, and the Hub notices another node's entries.
	grace = 10 * time.Second
)

// A row is some patients who are watched together. What may take long, calls of the Hub
// and of the host, is done beside the judging: no patient waits for another's.
type row struct {
	judge *Judge
	ctx   context.Context
	stop  context.CancelFunc
	wards *sync.WaitGroup // the goroutines of Run
	here  atomic.Int64    // how many of its patients are still this node's

	mu   sync.Mutex // held while a Case is used, over no call of the Hub or the host
	beds map[string]*bed
	lag  time.Duration // from the receipt of the newest reading to its judgement
}

// A bed is one patient of a row.
type bed struct {
	row      *row
	patient  string
	ended    atomic.Bool   // another node's now
	unset    atomic.Bool   // the Settings are to be asked for
	aside    bool          // looks only: nothing is counted
	settings *Settings     // that a Case is made with; nil: they are asked for
	judged   atomic.Int64  // millis: everything received before it is judged, and its results are done
	joiner   chan struct{} // held by the goroutine that reads the log

	// Under row.mu.
	c        *Case
	last     carewire.Position // the newest entry that was judged
	heard    uint64            // the number of the newest entry that the Watch has told
	joins    int               // how often the Watch has begun
	coming   bool              // the snapshot still comes
	snapshot []carewire.Event
	joining  bool // the Case is not yet where the Watch is
	asking   bool // for the Settings
	errands  [2]errand
}

func newBed(r *row, patient string, judged millis) *bed {
	b := &bed{row: r, patient: patient, joiner: make(chan struct{}, 1), errands: [2]errand{{}, {vitals: true}}}
	b.judged.Store(int64(judged))
	return b
}

// left notes that a patient is no longer this node's.
func (r *row) left() {
	if r.here.Add(-1) == 0 {
		r.stop()
	}
}

// watch follows the row's patients until its end.
func (r *row) watch() {
	var list []string
	for p := range r.beds {
		list = append(list, p)
	}
	for r.ctx.Err() == nil {
		err := r.judge.hub.WatchEach(r.ctx, carewire.WatchOptions{Patients: list, Delivery: carewire.DeliverEvery}, r.see)
		if errors.Is(err, carewire.ErrClosed) {
			r.stop()
			return
		}
		r.pause(time.Second)
	}
}

func (r *row) pause(d time.Duration) {
	select {
	case <-time.After(d):
	case <-r.ctx.Done():
	}
}

// see takes in an event.
func (r *row) see(e *carewire.Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if e.Type == carewire.EventHead {
		for _, h := range e.Heads {
			if b := r.beds[h.Patient]; b != nil && b.c != nil && !b.joining && h.Epoch == b.last.Epoch && h.Seq >= b.last.Seq {
				b.last.Seq = h.Seq // the entries behind it are nothing that a Watch tells
				b.advanced(millisOf(e.Time.Add(-inFlight)))
			}
		}
		return
	}
	b := r.beds[e.Patient]
	switch {
	case b == nil || b.ended.Load():
	case e.Type == carewire.EventSync:
		b.joins++
		b.joining, b.coming, b.snapshot = true, true, nil
	case e.Type == carewire.EventSynced:
		join, snapshot, to := b.joins, b.snapshot, carewire.Position{Epoch: strings.Clone(e.Epoch), Seq: e.Seq}
		b.coming, b.snapshot, b.heard = false, nil, to.Seq
		r.wards.Go(func() { b.join(join, snapshot, to) })
	case b.coming && (e.Vital != nil || e.Alert != nil):
		b.snapshot = append(b.snapshot, own(e))
	case b.coming:
	case b.joining:
		b.heard = e.Seq // join reads it from the log
	case e.Epoch == b.last.Epoch && e.Seq <= b.last.Seq:
	default:
		b.heard = e.Seq
		if e.Alert != nil {
			*e = own(e)
		}
		b.take(e)
		b.carryOut()
		if e.Vital != nil {
			r.lag = max(0, r.judge.hub.Now().Sub(e.Vital.Received))
			b.advanced(millisOf(e.Vital.Received.Add(-inFlight)))
		}
	}
}

// take judges an event of the log.
func (b *bed) take(e *carewire.Event) {
	switch {
	case e.Vital != nil:
		if !b.aside {
			b.row.judge.stats.vitals.Add(1)
		}
		b.c.Vital(e.Position, e.Vital)
	case e.Alert != nil:
		if !b.aside {
			b.row.judge.stats.note(b.c, e.Alert)
		}
		b.c.Alert(e.Position, e.Alert)
	case e.Access != nil && e.Access.Kind == "discharged":
		b.c.Discharge(e.Position)
	}
	b.moved(e.Position)
}

// moved notes the newest entry that was judged.
func (b *bed) moved(to carewire.Position) {
	b.last.Seq = to.Seq
	if b.last.Epoch != to.Epoch {
		b.last.Epoch = strings.Clone(to.Epoch)
	}
}

// own returns a copy of an event that was only lent.
func own(e *carewire.Event) carewire.Event {
	c := carewire.Event{Type: e.Type, Position: carewire.Position{Epoch: strings.Clone(e.Epoch), Seq: e.Seq}}
	if e.Vital != nil {
		c.Vital = new(cloneVital(e.Vital))
	}
	if e.Alert != nil {
		c.Alert = new(carewire.Alert)
		if text, err := json.Marshal(e.Alert); err == nil {
			json.Unmarshal(text, c.Alert) // written a moment ago
		}
	}
	return c
}

// advanced notes up to when everything is judged, unless something is still to be done.
func (b *bed) advanced(to millis) {
	if len(b.c.owed) == 0 && !b.c.partial && b.c.due >= to+b.c.shift && int64(to) > b.judged.Load() {
		b.judged.Store(int64(to))
	}
}

// tick lets time go on for the row's patients, and retries failed work. Where nothing
// moves the time of a Case but the clock, a reading that is still on its way must not
// seem to be missing: time lags as the readings do, and stands still without the Store.
func (r *row) tick() {
	for r.ctx.Err() == nil {
		r.pause(time.Second)
		now, steady := r.judge.hub.Now(), r.judge.steady()
		r.mu.Lock()
		for _, b := range r.beds {
			if b.c == nil || b.ended.Load() {
				continue
			}
			if b.joining {
				continue
			}
			if !b.asking && b.unset.CompareAndSwap(true, false) {
				b.asking = true
				r.wards.Go(b.renew)
			}
			if steady && b.c.isDue(now, grace+r.lag) {
				b.c.goOn(now, grace+r.lag)
			}
			b.carryOut()
		}
		r.mu.Unlock()
	}
}
