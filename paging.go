package carewire

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// places limit concurrent work. Some places are reserved for more urgent work,
// which also goes first when work waits.
type places struct {
	limits [urgencies]int // how many may be taken until this urgency waits

	mu      sync.Mutex
	taken   int
	waiting [urgencies][]chan struct{} // each closed when its place has been taken
}

// urgencies is the number of ranks: those of priorities, and 0 for work without
// an alert.
const urgencies = 5

// newPlaces returns n places, of which a quarter is kept for high alerts and
// an eighth more for medium ones.
func newPlaces(n int) *places {
	low, medium := max(n-n/4-n/8, 1), max(n-n/4, 1)
	return &places{limits: [urgencies]int{low, low, low, medium, n}}
}

// try takes a place if one is free for this urgency.
func (p *places) try(urgency int) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.tryLocked(urgency)
}

func (p *places) tryLocked(urgency int) bool {
	if p.taken >= p.limits[urgency] {
		return false
	}
	p.taken++
	return true
}

// take takes a place, and waits for one until ctx ends.
func (p *places) take(ctx context.Context, urgency int) bool {
	p.mu.Lock()
	if p.tryLocked(urgency) {
		p.mu.Unlock()
		return true
	}
	mine := make(chan struct{})
	p.waiting[urgency] = append(p.waiting[urgency], mine)
	p.mu.Unlock()
	select {
	case <-mine:
		return true
	case <-ctx.Done():
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, ch := range p.waiting[urgency] {
		if ch == mine {
			p.waiting[urgency] = append(p.waiting[urgency][:i:i], p.waiting[urgency][i+1:]...)
			return false
		}
	}
	return true // it came just then
}

// give gives a place back, to the most urgent that waits.
func (p *places) give() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.taken--
	p.admitLocked()
}

// widen doubles the number of places up to most, and one more for what is high.
func (p *places) widen(most int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := min(2*p.limits[0], most)
	p.limits = [urgencies]int{n, n, n, n, n + 1}
	p.admitLocked()
}

func (p *places) admitLocked() {
	for u := urgencies - 1; u >= 0; u-- {
		for len(p.waiting[u]) > 0 && p.tryLocked(u) {
			close(p.waiting[u][0])
			p.waiting[u] = p.waiting[u][1:]
		}
	}
}

const (
	pagesAtOnce = 64  // calls of the Pager under way
	pagesEach   = 16  // of them for one recipient, and one more that is high
	waitEach    = 64  // tellings of one urgency that wait for a recipient; others come again with the next round, which is fair to their sources
	hungMost    = 256 // calls that were given up and hold no place
)

// paging calls the Pager. A recipient has one place, and one more for what is
// high, until a call for it has come back. After that it has more, as long as
// calls for it are under way. So a recipient whose gateway hangs takes the
// places of no other. While a call hangs beyond its timeout, its recipient is
// not paged again.
type paging struct {
	pager   Pager
	timeout time.Duration
	log     *slog.Logger
	trace   Trace
	places  *places
	noPlace *atomic.Uint64 // counts pages that found no place in time
	panics  *atomic.Uint64
	counts  *escalationCounters

	mu         sync.Mutex
	recipients map[string]*recipient
	hung       map[string]int // recipient: calls that were given up and have not come back
	lost       int            // all calls that have not come back
}

// A recipient has the places of the calls for it. It is forgotten when there are no calls.
type recipient struct {
	*places
	calls int // under way, or waiting
}

// newPaging calls o.Pager, which is set.
func newPaging(o *Options, stats *counters) *paging {
	return &paging{pager: o.Pager, timeout: o.CallTimeout, log: o.Logger, trace: o.Trace, places: newPlaces(pagesAtOnce), noPlace: &stats.limits.host,
		panics: &stats.panics, counts: &stats.escalation, recipients: make(map[string]*recipient), hung: make(map[string]int)}
}

var (
	errHung     = errors.New("carewire: the Pager hangs for this recipient")
	errUnneeded = errors.New("carewire: nobody needs to be told any more")
)

// enter returns a recipient; leave must follow.
func (d *paging) enter(to string) *recipient {
	d.mu.Lock()
	defer d.mu.Unlock()
	r := d.recipients[to]
	if r == nil {
		r = &recipient{places: &places{limits: [urgencies]int{1, 1, 1, 1, 2}}}
		d.recipients[to] = r
	}
	r.calls++
	return r
}

func (d *paging) leave(to string, r *recipient) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if r.calls--; r.calls == 0 {
		delete(d.recipients, to)
	}
}

// take takes a place for a call for a recipient, and waits for it until ctx
// ends. giveBack must follow.
func (d *paging) take(ctx context.Context, to string, urgency int) bool {
	r := d.enter(to)
	if r.take(ctx, urgency) {
		if d.places.take(ctx, urgency) {
			return true
		}
		r.give()
	}
	d.leave(to, r)
	return false
}

// giveBack gives the place of a call for a recipient back. returned says that
// the call has come back.
func (d *paging) giveBack(to string, returned bool) {
	d.places.give()
	d.mu.Lock()
	r := d.recipients[to]
	d.mu.Unlock()
	if returned {
		r.widen(pagesEach)
	}
	r.give()
	d.leave(to, r)
}

// reserve takes a place for a call for one of the recipients, if one is free. ok
// is false if one must be waited for. If the Pager hangs for all of them, there
// is nothing to wait for, and turn is "".
func (d *paging) reserve(to []string, urgency int) (turn string, ok bool) {
	ok = true
	for _, t := range to {
		if d.hangs(t) {
			continue
		}
		ok = false
		r := d.enter(t)
		if r.try(urgency) {
			if d.places.try(urgency) {
				return t, true
			}
			r.give()
		}
		d.leave(t, r)
	}
	return "", ok
}

// await waits for a place for a call for the first of the recipients for whom
// the Pager does not hang. turn is "" if it hangs for this one by then. ok is
// false if too many wait already, or ctx has ended.
func (d *paging) await(ctx context.Context, to []string, urgency int) (turn string, ok bool) {
	i := slices.IndexFunc(to, func(t string) bool { return !d.hangs(t) })
	switch {
	case i < 0:
		return "", true
	case d.waiting(to[i], urgency) >= waitEach, !d.take(ctx, to[i], urgency):
		return "", false
	case d.hangs(to[i]):
		d.giveBack(to[i], false)
		return "", true
	}
	return to[i], true
}

// waiting returns how many tellings of an urgency wait for a recipient.
func (d *paging) waiting(to string, urgency int) int {
	r := d.enter(to)
	defer d.leave(to, r)
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.places.waiting[urgency])
}

// forgo gives back a place that was reserved and is not needed; "": none was.
func (d *paging) forgo(turn string) {
	if turn != "" {
		d.giveBack(turn, false)
	}
}

// page sends one page, unless unneeded reports at its turn that it is no longer
// needed. reserved says that a place is reserved for it.
func (d *paging) page(ctx context.Context, p Page, reserved bool, unneeded func(context.Context) bool) error {
	err := d.try(ctx, p, reserved, unneeded)
	switch err {
	case nil:
		d.counts.pagesSent.Add(1)
	case errUnneeded:
		d.counts.pagesMoot.Add(1)
	default:
		d.counts.pagesFailed.Add(1)
		d.log.Warn("carewire: a page could not be sent", "page", sealedKey(p.Key), "cause", causeOf(err))
	}
	return err
}

func (d *paging) try(ctx context.Context, p Page, reserved bool, unneeded func(context.Context) bool) error {
	if !reserved {
		if d.hangs(p.To) {
			return errHung
		}
		wait, cancel := context.WithTimeout(ctx, d.timeout)
		defer cancel()
		if !d.take(wait, p.To, p.Alert.Priority.rank()) {
			d.noPlace.Add(1)
			return ErrBusy
		}
	}
	switch {
	case d.hangs(p.To):
		d.giveBack(p.To, false)
		return errHung
	case unneeded(ctx):
		d.giveBack(p.To, false)
		return errUnneeded
	}
	call, traced := d.trace.start(ctx, "page")
	call, end := context.WithTimeout(call, d.timeout)
	defer end()
	done := make(chan error, 1)
	var given atomic.Bool // the call was given up, and has given its place back
	go func() {
		err := errPanicked
		defer func() {
			if recover() != nil {
				d.panics.Add(1)
				d.log.Error("carewire: the host's code panicked")
			}
			if given.CompareAndSwap(false, true) {
				d.giveBack(p.To, true)
			} else {
				d.noteReturned(p.To)
			}
			done <- err
		}()
		err = d.pager.Page(call, p)
	}()
	select {
	case err := <-done:
		traced(err)
		return err
	case <-call.Done():
	}
	traced(call.Err())
	if d.giveUp(p.To, &given) {
		d.giveBack(p.To, false)
	}
	return call.Err()
}

// hangs reports whether the Pager hangs for a recipient.
func (d *paging) hangs(to string) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.hung[to] > 0
}

// giveUp notes that a call to a recipient does not come back, and reports
// whether its place is to be given back now.
func (d *paging) giveUp(to string, given *atomic.Bool) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.lost >= hungMost || !given.CompareAndSwap(false, true) { // else it has just come back
		return false
	}
	d.hung[to]++
	d.lost++
	return true
}

// noteReturned notes that a call that was given up has come back.
func (d *paging) noteReturned(to string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.lost--
	if d.hung[to]--; d.hung[to] <= 0 {
		delete(d.hung, to)
	}
}

// hanging returns for how many recipients the Pager hangs.
func (d *paging) hanging() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.hung)
}

// sealedKey names a page in the log, where no IDs belong: the first 16 hex digits
// of the SHA-256 of its Key.
func sealedKey(key string) string { return hexOf(digest([]byte(key)))[:16] }
