package carewire

import (
	"cmp"
	"context"
	"slices"
	"sync"
)

// A dueEntry is an entry that is due, with its rank.
type dueEntry struct {
	*Entry
	urgency int    // the rank of an alert's priority
	untold  bool   // nobody was told yet
	by      string // the source of an alert
	turn    [2]int // among the equally ranked ones of its source and patient, and among those of its source that have the same turn there
}

func newDueEntry(e *Entry, a *Alert) dueEntry {
	return dueEntry{Entry: e, urgency: a.Priority.rank(), untold: a.untold(), by: a.Source.By}
}

// A turnKey names entries that take turns.
type turnKey struct {
	urgency     int
	untold      bool
	by, patient string
	turn        int
}

// dueWork does due work, each entry once at a time: the most urgent first, then
// entries that are due for the first time. Of equals, sources and their patients
// take turns, and then those come first that have been due for longest.
type dueWork struct {
	*background
	do     func(context.Context, *Entry)
	places *places

	mu      sync.Mutex
	asked   bool // a round is under way
	busy    map[openKey]bool
	pending []dueEntry // in order, the first last
	added   []dueEntry // while a round was under way, which may not know them
	turns   map[turnKey]int
}

const (
	workAtOnce = 64
	dueMost    = 10000 // alerts that are looked at in a round
)

func newDueWork(b *background, do func(context.Context, *Entry)) *dueWork {
	return &dueWork{background: b, do: do, places: newPlaces(workAtOnce), busy: make(map[openKey]bool), turns: make(map[turnKey]int)}
}

// round reads the due entries and starts their work. It does not wait: if the
// Store hangs, only the round hangs, and no other is begun meanwhile.
func (w *dueWork) round(due func() ([]dueEntry, error)) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.asked {
		return
	}
	w.asked = w.start(func() {
		list, err := due()
		turns := giveTurns(list) // without the lock: new alerts need it
		w.mu.Lock()
		if err == nil {
			w.pending, w.turns = list, turns
			for _, e := range w.added {
				w.insert(e)
			}
		}
		w.asked, w.added = false, nil
		w.mu.Unlock()
		w.begin()
	})
}

// add puts one due entry in its place among those of the last round, and starts
// its work if there is room.
func (w *dueWork) add(e dueEntry) {
	w.mu.Lock()
	w.insert(e)
	if w.asked {
		w.added = append(w.added, e)
	}
	w.mu.Unlock()
	w.begin()
}

// insert puts an entry in its place. Under w.mu.
func (w *dueWork) insert(e dueEntry) {
	e.takeTurn(w.turns)
	at, _ := slices.BinarySearchFunc(w.pending, e, comparePending)
	w.pending = slices.Insert(w.pending, at, e)
}

// giveTurns puts entries in the order in which they are done, the last first. It
// returns the turns that they have taken.
func giveTurns(list []dueEntry) (turns map[turnKey]int) {
	turns = make(map[turnKey]int)
	slices.SortFunc(list, func(a, b dueEntry) int { return a.Due.Compare(b.Due) })
	for i := range list {
		list[i].takeTurn(turns)
	}
	slices.SortFunc(list, comparePending)
	return turns
}

// takeTurn gives an entry its turn: it is behind those of its source and patient, and
// beside the first ones of others.
func (e *dueEntry) takeTurn(turns map[turnKey]int) {
	take := func(k turnKey) int {
		turns[k]++
		return turns[k]
	}
	k := turnKey{urgency: e.urgency, untold: e.untold, by: e.by, patient: e.Patient}
	e.turn[0] = take(k)
	k.patient, k.turn = "", e.turn[0]
	e.turn[1] = take(k)
}

// comparePending compares entries by the order in which they are done, the last first.
func comparePending(a, b dueEntry) int {
	return cmp.Or(cmp.Compare(a.urgency, b.urgency), compareBools(a.untold, b.untold), slices.Compare(b.turn[:], a.turn[:]), b.Due.Compare(a.Due))
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// begin starts as many pending entries as there are places.
func (w *dueWork) begin() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for len(w.pending) > 0 {
		e := w.pending[len(w.pending)-1]
		k := openKey{e.Patient, e.Key}
		if !w.busy[k] {
			if !w.places.try(e.urgency) {
				return // nor is there one for less urgent entries
			}
			w.busy[k] = true
			if !w.start(func() { w.finish(e.Entry, k) }) {
				return
			}
		}
		w.pending = w.pending[:len(w.pending)-1]
	}
}

func (w *dueWork) finish(e *Entry, k openKey) {
	w.do(w.ctx, e)
	w.mu.Lock()
	delete(w.busy, k)
	w.mu.Unlock()
	w.places.give()
	w.begin()
}
