package carewire

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A guardedStore watches over the health of a Store, of each member by itself if
// it is a Spread.
type guardedStore struct {
	Store
	spread      Spread // nil: the Store is the only member
	members     []*storeHealth
	trace       Trace
	now         func() time.Time
	appendTimes *histogram // how long appends take
}

// newGuardedStore guards s. appendTimes counts how long appends take.
func newGuardedStore(s Store, now func() time.Time, trace Trace, appendTimes *histogram) *guardedStore {
	g := &guardedStore{Store: s, now: now, trace: trace, appendTimes: appendTimes}
	n := 1
	if g.spread, _ = s.(Spread); g.spread != nil {
		n = len(g.spread.Members())
	}
	for range n {
		g.members = append(g.members, newStoreHealth())
	}
	return g
}

// memberOf is the member that has a patient's log.
func (g *guardedStore) memberOf(patient string) int {
	if g.spread == nil {
		return 0
	}
	return g.spread.Owner(g.spread.Part(patient))
}

func (g *guardedStore) healthOf(patient string) *storeHealth { return g.members[g.memberOf(patient)] }

// failing counts the members that fail in more than having no room for vitals.
func (g *guardedStore) failing() (n int) {
	for _, m := range g.members {
		if state, _ := m.state(); state == storeFailing && !m.onlyFull() {
			n++
		}
	}
	return n
}

// Append takes entries of patients of one part.
func (g *guardedStore) Append(ctx context.Context, entries []Entry) (a []AppendResult, err error) {
	health := g.healthOf(firstPatient(entries))
	defer health.begin(ctx)(&err)
	ctx, end := g.trace.start(ctx, "append")
	began := time.Now()
	a, err = g.Store.Append(ctx, entries)
	g.appendTimes.observe(time.Since(began))
	end(err)
	for i := range a {
		a[i].Err = packageError(a[i].Err)
	}
	health.note(entries, a, err)
	return a, err
}

func (g *guardedStore) Read(ctx context.Context, patient string, after Position, q ReadQuery) (e []Entry, err error) {
	defer g.healthOf(patient).begin(ctx)(&err)
	e, err = g.Store.Read(ctx, patient, after, q)
	return withoutDamaged(e), err
}

func (g *guardedStore) Latest(ctx context.Context, patient string) (e []Entry, h Head, err error) {
	defer g.healthOf(patient).begin(ctx)(&err)
	e, h, err = g.Store.Latest(ctx, patient)
	return withoutStale(sinceDischarge(withoutDamaged(e)), g.now()), h, err
}

func (g *guardedStore) Get(ctx context.Context, patient, key string) (e Entry, err error) {
	defer g.healthOf(patient).begin(ctx)(&err)
	e, err = g.Store.Get(ctx, patient, key)
	return withoutDamaged([]Entry{e})[0], err
}

// states looks up many keys: at once, if the Store can. They are of patients of one
// member.
func (g *guardedStore) states(ctx context.Context, keys []StateKey) (found []Entry, err error) {
	if r, ok := g.Store.(StateReader); ok && len(keys) > 0 {
		defer g.healthOf(keys[0].Patient).begin(ctx)(&err)
		found, err = r.States(ctx, keys)
		return withoutDamaged(found), err
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

// Heads takes patients of one part.
func (g *guardedStore) Heads(ctx context.Context, patients []string) (h []Head, err error) {
	if len(patients) == 0 {
		return nil, nil
	}
	defer g.healthOf(patients[0]).begin(ctx)(&err)
	return g.Store.Heads(ctx, patients)
}

// changedOf is Changed of one member.
func (g *guardedStore) changedOf(ctx context.Context, member int, mark string, limit int) (e []Entry, next string, err error) {
	defer g.members[member].begin(ctx)(&err)
	if g.spread != nil {
		e, next, err = g.spread.ChangedOf(ctx, member, mark, limit)
	} else {
		e, next, err = g.Store.Changed(ctx, mark, limit)
	}
	return withoutDamaged(e), next, err
}

// waitingOf is Waiting of one member.
func (g *guardedStore) waitingOf(ctx context.Context, member int, due time.Time, limit int) (e []Entry, err error) {
	defer g.members[member].begin(ctx)(&err)
	if g.spread != nil {
		e, err = g.spread.WaitingOf(ctx, member, due, limit)
	} else {
		e, err = g.Store.Waiting(ctx, due, limit)
	}
	return withoutDamaged(e), err
}

// waitingAll returns the waiting entries of all members that do not fail. With
// an error, the entries of the other members come too.
func (g *guardedStore) waitingAll(ctx context.Context) (all []Entry, err error) {
	var wg sync.WaitGroup
	var mu sync.Mutex
	for i, m := range g.members {
		if state, _ := m.state(); state == storeFailing && len(g.members) > 1 {
			err = errStore
			continue
		}
		wg.Go(func() {
			e, failed := g.waitingOf(ctx, i, g.now().AddDate(100, 0, 0), 1<<30)
			mu.Lock()
			defer mu.Unlock()
			if all = append(all, e...); failed != nil {
				err = failed
			}
		})
	}
	wg.Wait()
	return all, err
}

// firstPatient is the patient of the first entry.
func firstPatient(entries []Entry) string {
	if len(entries) == 0 {
		return ""
	}
	return entries[0].Patient
}
