package carewire

import (
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

// A guardedStore watches over the calls of a Store: how long they take, and
// whether they fail.
type guardedStore struct {
	Store
	trace   Trace
	now     func() time.Time // set before it is used
	took    *histogram       // of appends
	mu      sync.Mutex
	calls   map[*time.Time]struct{} // when the calls under way began
	failed  bool                    // the last call to end had failed
	refused struct {                // when an Append last failed, or entries found no room; zero: not since it was otherwise
		all, vitals, others time.Time
	}
	last  string
	since time.Time
}

func newGuardedStore(s Store, trace Trace, took *histogram) *guardedStore {
	return &guardedStore{Store: s, trace: trace, took: took, calls: make(map[*time.Time]struct{}), last: storeOK, since: time.Now().UTC().Truncate(time.Millisecond)}
}

// begin notes that a call begins, and returns what ends it and puts its error
// into our own words. That a caller's own time has run out is no fault of the Store.
func (g *guardedStore) begin(ctx context.Context) func(*error) {
	at := time.Now()
	g.mu.Lock()
	g.calls[&at] = struct{}{}
	g.mu.Unlock()
	return func(e *error) {
		err := *e
		*e = plain(err)
		bad := err != nil && !errors.Is(err, ErrNotFound) && !errors.Is(err, ErrGap) && !errors.Is(err, context.Canceled) && ctx.Err() == nil
		g.mu.Lock()
		delete(g.calls, &at)
		g.failed = bad
		g.mu.Unlock()
	}
}

var errStore = errors.New("carewire: the store failed")

// plain returns the error that err matches, else errStore: a Store may say in its
// own words what it was doing, and about whom.
func plain(err error) error {
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

// sound removes the Data of entries that a Store has damaged, because it would
// spoil the frames that contain it. Such entries are hidden; readers get
// errStored.
func sound(entries []Entry) []Entry {
	for i := range entries {
		if !entries[i].readable() {
			entries[i].Data = nil
		}
	}
	return entries
}

// state says how the Store is, and since when.
func (g *guardedStore) state() (string, time.Time) {
	g.mu.Lock()
	defer g.mu.Unlock()
	state := storeOK
	for at := range g.calls {
		switch d := time.Since(*at); {
		case d > failingAfter:
			state = storeFailing
		case d > slowAfter && state == storeOK:
			state = storeSlow
		}
	}
	if r := &g.refused; g.failed || g.refuses(r.all) || g.refuses(r.vitals) || g.refuses(r.others) {
		state = storeFailing
	}
	if state != g.last {
		g.last, g.since = state, time.Now().UTC().Truncate(time.Millisecond)
	}
	return g.last, g.since
}

// refuses reports whether what was refused at some time still counts as refused.
func (g *guardedStore) refuses(at time.Time) bool {
	return !at.IsZero() && time.Since(at) < refusedFor
}

// onlyFull reports whether vitals find no room, and nothing else is wrong.
func (g *guardedStore) onlyFull() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	for at := range g.calls {
		if time.Since(*at) > failingAfter {
			return false
		}
	}
	r := &g.refused
	return !g.failed && !g.refuses(r.all) && !g.refuses(r.others) && g.refuses(r.vitals)
}

func (g *guardedStore) Append(ctx context.Context, entries []Entry) (a []AppendResult, err error) {
	defer g.begin(ctx)(&err)
	ctx, end := g.trace.start(ctx, "append")
	began := time.Now()
	a, err = g.Store.Append(ctx, entries)
	g.took.observe(time.Since(began))
	end(err)
	for i := range a {
		a[i].Err = plain(a[i].Err)
	}
	g.note(entries, a, err)
	return a, err
}

// note takes down whether entries found room.
func (g *guardedStore) note(entries []Entry, a []AppendResult, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	switch {
	case errors.Is(err, context.Canceled):
		return
	case err != nil:
		g.refused.all = time.Now()
		return
	}
	g.refused.all = time.Time{}
	for i := range min(len(a), len(entries)) {
		at := &g.refused.others
		if entries[i].Kind == KindVital {
			at = &g.refused.vitals
		}
		switch {
		case a[i].Err == ErrFull:
			*at = time.Now()
		case a[i].Err == nil && !a[i].Repeated:
			*at = time.Time{}
		}
	}
}

func (g *guardedStore) Read(ctx context.Context, patient string, after Position, q ReadQuery) (e []Entry, err error) {
	defer g.begin(ctx)(&err)
	e, err = g.Store.Read(ctx, patient, after, q)
	return sound(e), err
}

func (g *guardedStore) Latest(ctx context.Context, patient string) (e []Entry, h Head, err error) {
	defer g.begin(ctx)(&err)
	e, h, err = g.Store.Latest(ctx, patient)
	return shown(sinceDischarge(sound(e)), g.now()), h, err
}

func (g *guardedStore) Get(ctx context.Context, patient, key string) (e Entry, err error) {
	defer g.begin(ctx)(&err)
	e, err = g.Store.Get(ctx, patient, key)
	return sound([]Entry{e})[0], err
}

// states looks up many keys: at once, if the Store can.
func (g *guardedStore) states(ctx context.Context, keys []StateKey) (found []Entry, err error) {
	if r, ok := g.Store.(StateReader); ok {
		defer g.begin(ctx)(&err)
		found, err = r.States(ctx, keys)
		return sound(found), err
	}
	for _, k := range keys {
		e, err := g.Get(ctx, k.Patient, k.Key)
		if err == nil {
			found = append(found, e)
		} else if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return found, nil
}

func (g *guardedStore) Heads(ctx context.Context, patients []string) (h []Head, err error) {
	defer g.begin(ctx)(&err)
	return g.Store.Heads(ctx, patients)
}

func (g *guardedStore) Changed(ctx context.Context, mark string, limit int) (e []Entry, next string, err error) {
	defer g.begin(ctx)(&err)
	e, next, err = g.Store.Changed(ctx, mark, limit)
	return sound(e), next, err
}

func (g *guardedStore) Waiting(ctx context.Context, due time.Time, limit int) (e []Entry, err error) {
	defer g.begin(ctx)(&err)
	e, err = g.Store.Waiting(ctx, due, limit)
	return sound(e), err
}
