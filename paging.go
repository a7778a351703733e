package carewire

import (
	"context"
	"errors"
	"log/slog"
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
	for u := urgencies - 1; u >= 0; u-- {
		if len(p.waiting[u]) > 0 && p.tryLocked(u) {
			close(p.waiting[u][0])
			p.waiting[u] = p.waiting[u][1:]
			return
		}
	}
}

// Pages may be under way for so many recipients at once, and so many calls that
// were given up may hold no place.
const (
	pagesAtOnce = 64
	hungMost    = 256
)

// paging calls the Pager. While a call for a recipient hangs beyond its
// timeout, that recipient is not paged again. Other recipients are not
// affected.
type paging struct {
	pager   Pager
	timeout time.Duration
	log     *slog.Logger
	trace   Trace
	places  *places
	noPlace *atomic.Uint64 // counts pages that found no place in time
	panics  *atomic.Uint64
	counts  *escalationCounters

	mu   sync.Mutex
	hung map[string]int // recipient: calls that were given up and have not come back
	lost int            // all calls that have not come back
}

// newPaging calls o.Pager, which is set.
func newPaging(o *Options, stats *counters) *paging {
	return &paging{pager: o.Pager, timeout: o.CallTimeout, log: o.Logger, trace: o.Trace, places: newPlaces(pagesAtOnce), noPlace: &stats.limits.host,
		panics: &stats.panics, counts: &stats.escalation, hung: make(map[string]int)}
}

var (
	errHung     = errors.New("carewire: the Pager hangs for this recipient")
	errUnneeded = errors.New("carewire: nobody needs to be told any more")
)

// page sends one page of the given urgency, unless unneeded reports at its turn
// that it is no longer needed.
func (d *paging) page(ctx context.Context, p Page, unneeded func(context.Context) bool) error {
	err := d.try(ctx, p, unneeded)
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

func (d *paging) try(ctx context.Context, p Page, unneeded func(context.Context) bool) error {
	d.mu.Lock()
	hangs := d.hung[p.To] > 0
	d.mu.Unlock()
	if hangs {
		return errHung
	}
	wait, cancel := context.WithTimeout(ctx, d.timeout)
	defer cancel()
	if !d.places.take(wait, p.Alert.Priority.rank()) {
		d.noPlace.Add(1)
		return ErrBusy
	}
	if unneeded(ctx) {
		d.places.give()
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
				d.places.give()
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
		d.places.give()
	}
	return call.Err()
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
