package carewire

import (
	"cmp"
	"container/heap"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"maps"
	"slices"
	"sync"
	"time"
)

// MemoryOptions bounds a [MemoryStore]. Entries of a patient beyond a bound are
// pruned, oldest first, in steps of a quarter of the bound. Open entries and
// the newest vital of each key always stay.
type MemoryOptions struct {
	Vitals int // vitals kept of each patient; 0: 1,000; negative: no bound
	Others int // entries kept of each patient and each other kind; 0: 1,000; negative: no bound
}

// MemoryStore is a [Store] in memory. It loses everything when the process
// ends. It is for tests and demonstrations. Every MemoryStore has its own
// epoch. It remembers IDs as long as their entries. It starts no goroutines.
type MemoryStore struct {
	epoch          string
	vitals, others int

	// mu guards the following fields, but not the entries pointed to: they never
	// change.
	mu      sync.RWMutex
	closed  bool
	logs    map[string]*memoryLog
	written uint64         // counts the entries of all patients
	changes []memoryChange // undroppable states in the order of writing, with their replacements
	current int            // how many of changes still are the newest state of their key
	waiting memoryHeap
}

// memoryLog is the log of one patient.
type memoryLog struct {
	seq, must uint64
	entries   []*Entry // in order of Seq
	kinds     map[Kind]*memoryKind
	keys      map[string]*memoryKey
	ids       map[memoryID]*Entry
}

type memoryKind struct {
	count   int    // how many are kept
	pruneAt int    // the count that is too many
	pruned  uint64 // the greatest Seq that was pruned
}

type memoryID struct{ sender, id string }

// memoryKey is the state of a key.
type memoryKey struct {
	newest *Entry
	rev    uint64 // the newest revision that is not 0
	change uint64 // written when newest was; 0 if it is not among the changes
	slot   int    // 1 + the place in the heap; 0 if it is not waiting
}

type memoryChange struct {
	written uint64
	key     *memoryKey // written again meanwhile, or pruned, if key.change differs
}

// NewMemoryStore returns an empty store. Nil options are all defaults.
func NewMemoryStore(o *MemoryOptions) *MemoryStore {
	if o == nil {
		o = &MemoryOptions{}
	}
	return &MemoryStore{
		epoch:  rand.Text(),
		vitals: cmp.Or(o.Vitals, 1000),
		others: cmp.Or(o.Others, 1000),
		logs:   map[string]*memoryLog{},
	}
}

// Append implements [Store]. It never fails with ErrFull.
func (s *MemoryStore) Append(ctx context.Context, entries []Entry) ([]AppendResult, error) {
	own := make([]*Entry, len(entries))
	for i := range entries {
		own[i] = new(cloneEntry(&entries[i]))
		own[i].Urgent = false
	}
	results := make([]AppendResult, len(own))
	err := s.update(ctx, func() {
		for i, e := range own {
			results[i] = s.append(e)
		}
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

func (s *MemoryStore) append(e *Entry) AppendResult {
	l := s.logs[e.Patient]
	if l == nil {
		l = &memoryLog{kinds: map[Kind]*memoryKind{}, keys: map[string]*memoryKey{}, ids: map[memoryID]*Entry{}}
		s.logs[e.Patient] = l
	}
	id, key := memoryID{e.Sender, e.ID}, l.keys[e.Key]
	if was := l.ids[id]; was != nil && was.Sum != e.Sum {
		return AppendResult{Err: ErrIDReused}
	} else if was != nil {
		return AppendResult{Position: was.Position, Must: was.Must, Repeated: true}
	}
	if key == nil {
		key = &memoryKey{}
	}
	if e.Rev != 0 && e.Rev != key.rev+1 {
		return AppendResult{Err: ErrConflict}
	}

	l.seq++
	if !e.Kind.Droppable() {
		l.must++
	}
	s.written++
	e.Position, e.Must = Position{s.epoch, l.seq}, l.must
	l.entries = append(l.entries, e)
	if e.ID != "" {
		l.ids[id] = e
	}
	if e.Key != "" {
		l.keys[e.Key] = key
		key.rev = max(key.rev, e.Rev)
		if key.newest == nil || e.Kind != KindVital || TakesPlace(e.Time, e.Received, key.newest.Time) {
			s.setNewest(key, e)
		}
	}
	s.countKind(l, e.Kind)
	return AppendResult{Position: e.Position, Must: e.Must}
}

// setNewest makes e the newest state of key; nil: there is none any more.
func (s *MemoryStore) setNewest(key *memoryKey, e *Entry) {
	if key.slot != 0 {
		heap.Remove(&s.waiting, key.slot-1)
	}
	if key.change != 0 {
		key.change = 0
		s.current--
	}
	key.newest = e
	if e == nil {
		return
	}
	if e.Open && !e.Due.IsZero() {
		heap.Push(&s.waiting, key)
	}
	if e.Kind.Droppable() {
		return
	}
	if len(s.changes) > 2*s.current+1000 {
		s.changes = slices.DeleteFunc(s.changes, func(c memoryChange) bool { return c.written != c.key.change })
	}
	key.change = s.written
	s.current++
	s.changes = append(s.changes, memoryChange{s.written, key})
}

// countKind counts an entry of a kind that was written to l, and prunes when they
// are too many.
func (s *MemoryStore) countKind(l *memoryLog, kind Kind) {
	most := s.others
	if kind == KindVital {
		most = s.vitals
	}
	k := l.kinds[kind]
	if k == nil {
		k = &memoryKind{pruneAt: most + most/4 + 1}
		l.kinds[kind] = k
	}
	k.count++
	if most > 0 && k.count >= k.pruneAt {
		s.prune(l, func(e *Entry) bool { return e.Kind == kind && k.count > most })
		k.pruneAt = max(k.count, most) + most/4 + 1
	}
}

// prune removes the entries that drop wants to go, asked oldest first, unless
// they have to stay.
func (s *MemoryStore) prune(l *memoryLog, drop func(*Entry) bool) {
	l.entries = slices.DeleteFunc(l.entries, func(e *Entry) bool {
		key := l.keys[e.Key]
		newest := key != nil && key.newest == e
		if newest && (e.Open || e.Kind == KindVital) || !drop(e) {
			return false
		}
		k := l.kinds[e.Kind]
		k.count--
		k.pruned = max(k.pruned, e.Seq)
		if e.ID != "" {
			delete(l.ids, memoryID{e.Sender, e.ID})
		}
		if newest {
			s.setNewest(key, nil)
			delete(l.keys, e.Key)
		}
		return true
	})
}

// Prune implements [Pruner], in addition to the bounds of the options.
func (s *MemoryStore) Prune(ctx context.Context, now time.Time, keep Retention) error {
	var patients []string
	err := s.view(ctx, func() { patients = slices.Collect(maps.Keys(s.logs)) })
	old := func(e *Entry) bool {
		age := keep.Others
		if e.Kind.Droppable() {
			age = keep.Vitals
		}
		return age > 0 && e.Received.Before(now.Add(-age))
	}
	for i := 0; i < len(patients) && err == nil; i++ {
		err = s.update(ctx, func() { s.prune(s.logs[patients[i]], old) })
	}
	return err
}

// Erase implements [Eraser].
func (s *MemoryStore) Erase(ctx context.Context, patient string) error {
	return s.update(ctx, func() {
		l := s.logs[patient]
		if l == nil {
			return
		}
		for _, e := range l.entries {
			k := l.kinds[e.Kind]
			k.count--
			k.pruned = e.Seq
		}
		for _, key := range l.keys {
			s.setNewest(key, nil)
		}
		l.entries = nil
		clear(l.keys)
		clear(l.ids)
	})
}

// Read implements [Store].
func (s *MemoryStore) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	limit := min(orThousand(q.Limit), 10_000)
	var found []*Entry
	gap := false
	err := s.view(ctx, func() {
		l := s.logs[patient]
		if l == nil {
			return
		}
		for kind, k := range l.kinds {
			if q.wants(kind) && k.pruned > after.Seq {
				gap = true
				return
			}
		}
		i, _ := slices.BinarySearchFunc(l.entries, after.Seq+1, func(e *Entry, seq uint64) int { return cmp.Compare(e.Seq, seq) })
		for ; i < len(l.entries) && len(found) < limit && (q.Last == 0 || l.entries[i].Seq <= q.Last); i++ {
			if q.matches(l.entries[i]) {
				found = append(found, l.entries[i])
			}
		}
	})
	if err == nil && gap {
		err = ErrGap
	}
	return cloneEntries(found), err
}

// Latest implements [Store].
func (s *MemoryStore) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	var found []*Entry
	var head Head
	err := s.view(ctx, func() {
		head = s.head(patient)
		if l := s.logs[patient]; l != nil {
			for _, k := range l.keys {
				if k.newest.Kind == KindVital || k.newest.Open && k.newest.Kind != KindTimer {
					found = append(found, k.newest)
				}
			}
		}
	})
	slices.SortFunc(found, func(a, b *Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return cloneEntries(found), head, err
}

// Get implements [Store].
func (s *MemoryStore) Get(ctx context.Context, patient, key string) (Entry, error) {
	var found *Entry
	err := s.view(ctx, func() {
		if l := s.logs[patient]; l != nil && l.keys[key] != nil {
			found = l.keys[key].newest
		}
	})
	if err != nil {
		return Entry{}, err
	}
	if found == nil {
		return Entry{}, ErrNotFound
	}
	return cloneEntry(found), nil
}

// Heads implements [Store].
func (s *MemoryStore) Heads(ctx context.Context, patients []string) ([]Head, error) {
	var heads []Head
	err := s.view(ctx, func() {
		for _, patient := range patients {
			heads = append(heads, s.head(patient))
		}
	})
	return heads, err
}

func (s *MemoryStore) head(patient string) Head {
	l := s.logs[patient]
	if l == nil || l.seq == 0 {
		return Head{Patient: patient}
	}
	end := Position{s.epoch, l.seq}
	return Head{Patient: patient, Position: end, Must: l.must, Epochs: []Position{end}}
}

// Changed implements [Store].
func (s *MemoryStore) Changed(ctx context.Context, mark string, limit int) ([]Entry, string, error) {
	limit = orThousand(limit)
	var found []*Entry
	var next string
	err := s.view(ctx, func() {
		var epoch string
		var seen, began uint64 // scanned up to seen; up to began only for open entries
		n, err := fmt.Sscanf(mark, "%d %d %s", &seen, &began, &epoch)
		if n != 3 || err != nil || epoch != s.epoch || max(seen, began) > s.written {
			seen, began = 0, s.written
		}
		i, _ := slices.BinarySearchFunc(s.changes, seen+1, func(c memoryChange, w uint64) int { return cmp.Compare(c.written, w) })
		for ; i < len(s.changes) && len(found) < limit; i++ {
			c := s.changes[i]
			seen = c.written
			if c.written == c.key.change && (c.key.newest.Open || c.written > began) {
				found = append(found, c.key.newest)
			}
		}
		next = fmt.Sprintf("%d %d %s", seen, began, s.epoch)
	})
	return cloneEntries(found), next, err
}

// Waiting implements [Store].
func (s *MemoryStore) Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error) {
	limit = orThousand(limit)
	var found []*Entry
	err := s.view(ctx, func() {
		h := s.waiting
		byDue := func(i, j int) int { return h[i].newest.Due.Compare(h[j].newest.Due) }
		// In a heap the next one is among the children of those found.
		for next := []int{0}; len(next) > 0 && len(found) < limit; {
			i := next[0]
			next = next[1:]
			if i >= len(h) || h[i].newest.Due.After(due) {
				break
			}
			found = append(found, h[i].newest)
			for child := 2*i + 1; child <= 2*i+2 && child < len(h); child++ {
				at, _ := slices.BinarySearchFunc(next, child, byDue)
				next = slices.Insert(next, at, child)
			}
		}
	})
	return cloneEntries(found), err
}

// Close makes all further calls return ErrClosed. It always returns nil.
func (s *MemoryStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// update calls write, which has the store for itself, unless ctx or the store
// is done.
func (s *MemoryStore) update(ctx context.Context, write func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return ErrClosed
	}
	write()
	return nil
}

// view calls read with a consistent view of the store, unless ctx or the store
// is done. Results are copied afterwards, because entries never change.
func (s *MemoryStore) view(ctx context.Context, read func()) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		return ErrClosed
	}
	read()
	return nil
}

func (q *ReadQuery) wants(kind Kind) bool { return len(q.Kinds) == 0 || slices.Contains(q.Kinds, kind) }

func (q *ReadQuery) matches(e *Entry) bool {
	return q.wants(e.Kind) && (q.Key == "" || q.Key == e.Key) &&
		(q.From.IsZero() || !e.Time.Before(q.From)) && (q.To.IsZero() || e.Time.Before(q.To))
}

func orThousand(limit int) int {
	if limit <= 0 {
		return 1000
	}
	return limit
}

// cloneEntry returns a copy of e that shares no slice with it and has its times in UTC.
func cloneEntry(e *Entry) Entry {
	c := *e
	c.To, c.Data = slices.Clone(e.To), slices.Clone(e.Data)
	c.Due, c.Time, c.Received = e.Due.UTC(), e.Time.UTC(), e.Received.UTC()
	return c
}

func cloneEntries(entries []*Entry) []Entry {
	clones := make([]Entry, len(entries))
	for i, e := range entries {
		clones[i] = cloneEntry(e)
	}
	return clones
}

// memoryHeap holds the keys whose newest state waits, the earliest Due first.
type memoryHeap []*memoryKey

func (h memoryHeap) Len() int           { return len(h) }
func (h memoryHeap) Less(i, j int) bool { return h[i].newest.Due.Before(h[j].newest.Due) }

func (h memoryHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].slot, h[j].slot = i+1, j+1
}

func (h *memoryHeap) Push(x any) {
	k := x.(*memoryKey)
	*h = append(*h, k)
	k.slot = len(*h)
}

func (h *memoryHeap) Pop() any {
	last := len(*h) - 1
	k := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	k.slot = 0
	return k
}

var (
	_ Store     = (*MemoryStore)(nil)
	_ Pruner    = (*MemoryStore)(nil)
	_ Eraser    = (*MemoryStore)(nil)
	_ io.Closer = (*MemoryStore)(nil)
)
