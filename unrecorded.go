package carewire

import (
	"context"
	"maps"
	"sync"
	"sync/atomic"
	"time"
)

// overdueAfter is how late an alert must be before a node acts from memory.
// Until then, a node that can write may act.
const overdueAfter = 5 * time.Second

// unrecorded holds the progress of alerts while the Store fails. They go
// through their steps as usual, without records. When the Store accepts entries
// again, escalation resumes from the last record. Pages of the meantime then
// come once more, under the same Keys: a repeated page is better than none.
type unrecorded struct {
	blind  []atomic.Bool // by member of the Store: its last answer about due entries was missing
	mu     sync.Mutex
	alerts map[openKey]progress
}

// newUnrecorded is for a Store with so many members.
func newUnrecorded(members int) *unrecorded {
	return &unrecorded{blind: make([]atomic.Bool, members), alerts: make(map[openKey]progress)}
}

type progress struct {
	rev   uint64 // the revision of the entry that it began with
	alert Alert
}

// recall returns an open alert as this node remembers it.
func (u *unrecorded) recall(e *Entry) (Alert, error) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if r, ok := u.alerts[openKey{e.Patient, e.Key}]; ok && r.rev == e.Rev {
		return r.alert, nil
	}
	a, err := decodeAlert(e)
	return *a, err
}

func (u *unrecorded) keep(e *Entry, a Alert) {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.alerts[openKey{e.Patient, e.Key}] = progress{e.Rev, a}
}

// forget is for patients whose member of the Store can be asked again.
func (u *unrecorded) forget(well func(patient string) bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	maps.DeleteFunc(u.alerts, func(k openKey, _ progress) bool { return well(k.patient) })
}

// overdue returns the alerts of lost members that this node knows to be late.
func (x *escalator) overdue(lost map[int]bool) (late []dueEntry) {
	before := x.logs.now().Add(-overdueAfter)
	for _, e := range x.open.due(before, func(patient string) bool { return lost[x.logs.store.memberOf(patient)] }, nil) {
		if a, err := x.unrecorded.recall(e.Entry); err == nil && !a.due().IsZero() && !a.due().After(before) {
			late = append(late, newDueEntry(e.Entry, &a))
		}
	}
	return late
}

// tellBlind does the work of tell for an alert, without the Store.
func (x *escalator) tellBlind(ctx context.Context, e *Entry) {
	a, err := x.unrecorded.recall(e)
	if err != nil {
		return
	}
	now := x.logs.now()
	a, _ = expireAcceptance(&a, now)
	if !a.waitsForPerson() {
		return
	}
	if _, paused := x.pauses.covers(&a, now); paused {
		return
	}
	a, ok := claimLevel(&a, now, now.Add(claimFor))
	if !ok {
		return
	}
	w := x.plan(ctx, &a)
	x.page(ctx, &a, &w, func(context.Context) bool { return false })
	done := recordLevel(&a, w, x.receipts.sendersOf(&a))
	x.reportLevel(&done)
	x.unrecorded.keep(e, done)
}
