package carewire

import (
	"container/list"
	"context"
	"errors"
	"sync"
	"time"
)

// The states of a Store, as status frames have them.
const (
	storeOK      = "ok"
	storeSlow    = "slow"
	storeFailing = "failing"
)

const (
	slowAfter    = 2 * time.Second
	failingAfter = 10 * time.Second
	refusedFor   = 30 * time.Second // how long a refusal counts while nothing else is tried
)

// A storeHealth watches over the calls of one Store, or of one member of a Spread:
// how long they take, and whether they fail.
type storeHealth struct {
	mu      sync.Mutex
	calls   list.List // when the calls under way began, the oldest first
	failed  bool      // the last call to end had failed
	refused struct {  // when an Append last failed, or entries found no room; zero: not since it was otherwise
		all, vitals, others time.Time
	}
	last  string
	since time.Time
}

func newStoreHealth() *storeHealth {
	return &storeHealth{last: storeOK, since: time.Now().UTC().Truncate(time.Millisecond)}
}

// begin notes that a call begins. The function that it returns ends the call
// and puts its error into our own words. If a caller's own time has run out,
// the Store is not at fault.
func (h *storeHealth) begin(ctx context.Context) func(*error) {
	h.mu.Lock()
	call := h.calls.PushBack(time.Now())
	h.mu.Unlock()
	return func(e *error) {
		err := *e
		*e = packageError(err)
		bad := err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrGap) && !errors.Is(err, context.Canceled) && ctx.Err() == nil
		h.mu.Lock()
		h.calls.Remove(call)
		h.failed = bad
		h.mu.Unlock()
	}
}

var errStore = errors.New("carewire: the store failed")

// packageError returns the error of this package that err matches, else errStore,
// because a Store's own text may contain health data.
func packageError(err error) error {
	if err == nil {
		return nil
	}
	for _, own := range []error{ErrConflict, ErrIDReused, ErrFull, ErrGap, ErrNotFound, ErrClosed, context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, own) {
			return own
		}
	}
	return errStore
}

// withoutDamaged removes the Data of entries that a Store has damaged, because it would
// spoil the frames that contain it. Such entries are hidden; readers get
// errStored.
func withoutDamaged(entries []Entry) []Entry {
	for i := range entries {
		if !entries[i].readable() {
			entries[i].Data = nil
		}
	}
	return entries
}

// state returns the state of the Store, and since when it has been so.
func (h *storeHealth) state() (string, time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	state := storeOK
	switch d := h.longest(); {
	case d > failingAfter:
		state = storeFailing
	case d > slowAfter:
		state = storeSlow
	}
	if r := &h.refused; h.failed || h.refuses(r.all) || h.refuses(r.vitals) || h.refuses(r.others) {
		state = storeFailing
	}
	if state != h.last {
		h.last, h.since = state, time.Now().UTC().Truncate(time.Millisecond)
	}
	return h.last, h.since
}

// longest is how long the longest call under way has taken. It looks at no other:
// each append waits for the same lock. Under h.mu.
func (h *storeHealth) longest() time.Duration {
	oldest := h.calls.Front()
	if oldest == nil {
		return 0
	}
	return time.Since(oldest.Value.(time.Time))
}

// refuses reports whether a refusal at the given time still counts.
func (h *storeHealth) refuses(at time.Time) bool {
	return !at.IsZero() && time.Since(at) < refusedFor
}

// onlyFull reports whether vitals find no room, and nothing else is wrong.
func (h *storeHealth) onlyFull() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	r := &h.refused
	return h.longest() <= failingAfter && !h.failed && !h.refuses(r.all) && !h.refuses(r.others) && h.refuses(r.vitals)
}

// note notes whether entries found room.
func (h *storeHealth) note(entries []Entry, a []AppendResult, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		return
	case err != nil:
		h.refused.all = time.Now()
		return
	}
	h.refused.all = time.Time{}
	for i := range min(len(a), len(entries)) {
		at := &h.refused.others
		if entries[i].Kind == KindVital {
			at = &h.refused.vitals
		}
		switch {
		case a[i].Err == ErrFull:
			*at = time.Now()
		case a[i].Err == nil && !a[i].Repeated:
			*at = time.Time{}
		}
	}
}
