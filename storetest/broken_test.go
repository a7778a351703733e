package storetest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carewire/carewire"
)

// broken is a MemoryStore of which some methods can be replaced.
type broken struct {
	*carewire.MemoryStore
	append  func(context.Context, []carewire.Entry) ([]carewire.AppendResult, error)
	read    func(context.Context, string, carewire.Position, carewire.ReadQuery) ([]carewire.Entry, error)
	latest  func(context.Context, string) ([]carewire.Entry, carewire.Head, error)
	get     func(context.Context, string, string) (carewire.Entry, error)
	heads   func(context.Context, []string) ([]carewire.Head, error)
	changed func(context.Context, string, int) ([]carewire.Entry, string, error)
	waiting func(context.Context, time.Time, int) ([]carewire.Entry, error)
	prune   func(context.Context, time.Time, carewire.Retention) error
	erase   func(context.Context, string) error
	states  func(context.Context, []carewire.StateKey) ([]carewire.Entry, error)
	durable bool
}

func newBroken() *broken {
	s := carewire.NewMemoryStore(nil)
	b := &broken{
		MemoryStore: s, append: s.Append, read: s.Read, latest: s.Latest, get: s.Get, heads: s.Heads,
		changed: s.Changed, waiting: s.Waiting, prune: s.Prune, erase: s.Erase,
	}
	b.states = b.getEach
	return b
}

// getEach is States by Get.
func (b *broken) getEach(ctx context.Context, keys []carewire.StateKey) (found []carewire.Entry, err error) {
	for _, k := range keys {
		if e, err := b.get(ctx, k.Patient, k.Key); err == nil {
			found = append(found, e)
		}
	}
	return found, ctx.Err()
}

func (b *broken) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	return b.append(ctx, entries)
}

func (b *broken) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	return b.read(ctx, patient, after, q)
}

func (b *broken) Latest(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
	return b.latest(ctx, patient)
}

func (b *broken) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	return b.get(ctx, patient, key)
}

func (b *broken) Heads(ctx context.Context, patients []string) ([]carewire.Head, error) {
	return b.heads(ctx, patients)
}

func (b *broken) Changed(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
	return b.changed(ctx, mark, limit)
}

func (b *broken) Waiting(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
	return b.waiting(ctx, due, limit)
}

func (b *broken) Prune(ctx context.Context, now time.Time, keep carewire.Retention) error {
	return b.prune(ctx, now, keep)
}

func (b *broken) Erase(ctx context.Context, patient string) error { return b.erase(ctx, patient) }

func (b *broken) States(ctx context.Context, keys []carewire.StateKey) ([]carewire.Entry, error) {
	return b.states(ctx, keys)
}

func (b *broken) Durable() bool { return b.durable }

// all reads a log to its end.
func (b *broken) all(patient string) []carewire.Entry {
	entries, _ := b.MemoryStore.Read(context.Background(), patient, carewire.Position{}, carewire.ReadQuery{Limit: 10_000})
	return entries
}

// eachAppend appends entry by entry.
func (b *broken) eachAppend(do func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error)) {
	b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
		results := make([]carewire.AppendResult, 0, len(entries))
		for _, e := range entries {
			a, err := do(ctx, e)
			if err != nil {
				return nil, err
			}
			results = append(results, a)
		}
		return results, nil
	}
}

// one appends one entry to the store beneath.
func (b *broken) one(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
	got, err := b.MemoryStore.Append(ctx, []carewire.Entry{e})
	if err != nil {
		return carewire.AppendResult{}, err
	}
	return got[0], nil
}

// afterRead changes the results of every method that returns entries.
func (b *broken) afterRead(change func(e *carewire.Entry)) {
	s := b.MemoryStore
	all := func(entries []carewire.Entry) []carewire.Entry {
		for i := range entries {
			change(&entries[i])
		}
		return entries
	}
	b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
		entries, err := s.Read(ctx, patient, after, q)
		return all(entries), err
	}
	b.latest = func(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
		entries, head, err := s.Latest(ctx, patient)
		return all(entries), head, err
	}
	b.get = func(ctx context.Context, patient, key string) (carewire.Entry, error) {
		e, err := s.Get(ctx, patient, key)
		change(&e)
		return e, err
	}
	b.changed = func(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
		entries, next, err := s.Changed(ctx, mark, limit)
		return all(entries), next, err
	}
	b.waiting = func(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
		entries, err := s.Waiting(ctx, due, limit)
		return all(entries), err
	}
}

// breakages are stores that are wrong in one point, and the rule that finds it.
var breakages = []struct {
	name, rule string
	harm       func(b *broken)
}{
	{"a number is left out when two append at once", "numbers under concurrency", func(b *broken) {
		var busy atomic.Int32
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			busy.Add(1)
			defer busy.Add(-1)
			for range 10 {
				runtime.Gosched()
			}
			if busy.Load() > 1 {
				ghost := vital(entries[0].Patient, "ghost", 0)
				if _, err := b.one(ctx, ghost); err != nil {
					return nil, err
				}
			}
			return b.MemoryStore.Append(ctx, entries)
		}
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			entries, err := b.MemoryStore.Read(ctx, patient, after, q)
			return slices.DeleteFunc(entries, func(e carewire.Entry) bool { return e.Key == "ghost" }), err
		}
	}},
	{"all patients share the numbers", "numbers", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			for _, patient := range []string{"a", "b"} {
				if patient != e.Patient {
					if _, err := b.one(ctx, vital(patient, "ghost", 0)); err != nil {
						return carewire.AppendResult{}, err
					}
				}
			}
			return b.one(ctx, e)
		})
	}},
	{"a batch is numbered back to front", "numbers", func(b *broken) {
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			entries = slices.Clone(entries)
			slices.Reverse(entries)
			got, err := b.MemoryStore.Append(ctx, entries)
			slices.Reverse(got)
			return got, err
		}
	}},
	{"must counts timers too", "must", func(b *broken) {
		count := func(e *carewire.Entry) {
			for _, other := range b.all(e.Patient) {
				if other.Seq <= e.Seq && other.Kind == carewire.KindTimer {
					e.Must++
				}
			}
		}
		b.afterRead(count)
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			a, err := b.one(ctx, e)
			e.Position, e.Must = a.Position, a.Must
			count(&e)
			a.Must = e.Must
			return a, err
		})
	}},
	{"Data is tidied", "fields", func(b *broken) {
		b.afterRead(func(e *carewire.Entry) { e.Data = []byte(strings.ReplaceAll(string(e.Data), ": ", ":")) })
	}},
	{"Urgent is kept", "fields", func(b *broken) {
		b.afterRead(func(e *carewire.Entry) { e.Urgent = e.Key != "" })
	}},
	{"times in the zone of the server", "times", func(b *broken) {
		b.afterRead(func(e *carewire.Entry) { e.Time = e.Time.In(time.FixedZone("here", 3600)) })
	}},
	{"times in milliseconds", "times", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			e.Time, e.Due = e.Time.Truncate(time.Millisecond), e.Due.Truncate(time.Millisecond)
			return b.one(ctx, e)
		})
	}},
	{"a zero time becomes 1970", "fields", func(b *broken) {
		b.afterRead(func(e *carewire.Entry) {
			if e.Time.IsZero() {
				e.Time = time.Unix(0, 0).UTC()
			}
		})
	}},
	{"a refused entry consumes a number", "refused alone", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			a, err := b.one(ctx, e)
			if a.Err != nil {
				_, err = b.one(ctx, vital(e.Patient, "ghost", 0))
			}
			return a, err
		})
	}},
	{"one refused entry refuses the rest of the batch", "refused alone", func(b *broken) {
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			results := make([]carewire.AppendResult, len(entries))
			for i, e := range entries {
				if i > 0 && results[i-1].Err != nil {
					results[i].Err = results[i-1].Err
				} else {
					results[i], _ = b.one(ctx, e)
				}
			}
			return results, ctx.Err()
		}
	}},
	{"a batch does not see its own IDs", "batch", func(b *broken) {
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			entries = slices.Clone(entries)
			for i := range entries {
				if slices.ContainsFunc(entries[:i], func(e carewire.Entry) bool { return e.ID == entries[i].ID }) {
					entries[i].ID = ""
				}
			}
			return b.MemoryStore.Append(ctx, entries)
		}
	}},
	{"a retry is answered with the head's must", "repeated", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			a, err := b.one(ctx, e)
			if a.Repeated {
				heads, _ := b.Heads(ctx, []string{e.Patient})
				a.Must = heads[0].Must
			}
			return a, err
		})
	}},
	{"a retry is written when another is under way", "repeated under concurrency", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			seen := slices.ContainsFunc(b.all(e.Patient), func(o carewire.Entry) bool { return o.ID == e.ID })
			for range 20 {
				runtime.Gosched()
			}
			if !seen {
				e.ID = ""
			}
			return b.one(ctx, e)
		})
	}},
	{"the revision is checked before the ID", "repeated before revision", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			now, err := b.Get(ctx, e.Patient, e.Key)
			if err == nil && e.Rev != 0 && now.Rev != e.Rev-1 {
				return carewire.AppendResult{Err: carewire.ErrConflict}, nil
			}
			return b.one(ctx, e)
		})
	}},
	{"another Sum is taken for a retry", "ID reused", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			e.Sum = [16]byte{}
			return b.one(ctx, e)
		})
	}},
	{"the scope of an ID leaves out the sender", "ID scope", func(b *broken) {
		var first sync.Map
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			if e.ID != "" {
				sender, _ := first.LoadOrStore(e.Patient+"\n"+e.ID, e.Sender)
				e.Sender = sender.(string)
			}
			return b.one(ctx, e)
		})
	}},
	{"sender and ID run into each other", "ID scope", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			e.Sender, e.ID = "", e.Sender+e.ID
			return b.one(ctx, e)
		})
	}},
	{"IDs of refused entries are remembered", "ID of a refused entry", func(b *broken) {
		var refused sync.Map
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			if _, ok := refused.Load(e.ID); ok && e.ID != "" {
				return carewire.AppendResult{Err: carewire.ErrConflict}, nil
			}
			a, err := b.one(ctx, e)
			if a.Err != nil {
				refused.Store(e.ID, true)
			}
			return a, err
		})
	}},
	{"a key may begin with any revision", "revision", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			if _, err := b.Get(ctx, e.Patient, e.Key); err != nil {
				e.Rev = 0
			}
			return b.one(ctx, e)
		})
	}},
	{"a revision may skip", "revision", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			if now, err := b.Get(ctx, e.Patient, e.Key); err == nil && e.Rev > now.Rev+1 {
				e.Rev = now.Rev + 1
			}
			return b.one(ctx, e)
		})
	}},
	{"each kind has its own revisions", "keys across kinds", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			if now, err := b.Get(ctx, e.Patient, e.Key); err == nil && now.Kind != e.Kind {
				e.Rev = 0
			}
			return b.one(ctx, e)
		})
	}},
	{"revision 0 is taken as a revision", "revision 0", func(b *broken) {
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			if now, err := b.Get(ctx, e.Patient, e.Key); err == nil && e.Rev == 0 {
				e.Rev = now.Rev + 1
			}
			return b.one(ctx, e)
		})
	}},
	{"two with the same revision are both taken", "revision under concurrency", func(b *broken) {
		var busy atomic.Int32
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			busy.Add(1)
			defer busy.Add(-1)
			for range 10 {
				runtime.Gosched()
			}
			a, err := b.one(ctx, e)
			if a.Err != nil && busy.Load() > 1 {
				e.Rev = 0
				return b.one(ctx, e)
			}
			return a, err
		})
	}},
	{"Read begins with after", "read", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			after.Seq = max(after.Seq, 1) - 1
			return b.MemoryStore.Read(ctx, patient, after, q)
		}
	}},
	{"Read compares the epoch", "read", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			if after.Epoch == "other" {
				after.Seq = 0
			}
			return b.MemoryStore.Read(ctx, patient, after, q)
		}
	}},
	{"Last is a bound only with a Key", "read matches", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			if q.Key == "" {
				q.Last = 0
			}
			return b.MemoryStore.Read(ctx, patient, after, q)
		}
	}},
	{"To is included", "read matches", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			if !q.To.IsZero() {
				q.To = q.To.Add(1)
			}
			return b.MemoryStore.Read(ctx, patient, after, q)
		}
	}},
	{"Read limits before it matches", "read matches", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			entries, err := b.MemoryStore.Read(ctx, patient, after, carewire.ReadQuery{Limit: q.Limit})
			return slices.DeleteFunc(entries, func(e carewire.Entry) bool {
				return len(q.Kinds) > 0 && !slices.Contains(q.Kinds, e.Kind) || q.Key != "" && e.Key != q.Key ||
					!q.From.IsZero() && e.Time.Before(q.From) || !q.To.IsZero() && !e.Time.Before(q.To)
			}), err
		}
	}},
	{"Read has no limit by default", "read limit", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			q.Limit = cmp.Or(q.Limit, 10_000)
			return b.MemoryStore.Read(ctx, patient, after, q)
		}
	}},
	{"numbers show before those below them", "read while appending", func(b *broken) {
		var busy atomic.Int32
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			busy.Add(1)
			defer busy.Add(-1)
			defer runtime.Gosched()
			return b.MemoryStore.Append(ctx, entries)
		}
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			entries, err := b.MemoryStore.Read(ctx, patient, after, q)
			if n := len(entries); busy.Load() > 0 && n > 1 {
				entries = slices.Delete(entries, n-2, n-1)
			}
			return entries, err
		}
	}},
	{"a late vital is the newest", "late vital", func(b *broken) {
		newest := func(e *carewire.Entry) {
			for _, o := range b.all(e.Patient) {
				if o.Key == e.Key && o.Kind == carewire.KindVital && o.Seq > e.Seq {
					*e = o
				}
			}
		}
		b.afterRead(newest)
		b.read = b.MemoryStore.Read
	}},
	{"of two vitals of one time the first stays", "vitals of one time", func(b *broken) {
		b.get = func(ctx context.Context, patient, key string) (carewire.Entry, error) {
			e, err := b.MemoryStore.Get(ctx, patient, key)
			for _, o := range b.all(patient) {
				if e.Kind == carewire.KindVital && o.Key == key && o.Time.Equal(e.Time) {
					return o, nil
				}
			}
			return e, err
		}
	}},
	{"timers show in Latest", "latest", func(b *broken) {
		b.latest = func(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
			entries, head, err := b.MemoryStore.Latest(ctx, patient)
			for _, e := range b.all(patient) {
				if e.Kind == carewire.KindTimer && e.Open {
					entries = append(entries, e)
				}
			}
			slices.SortFunc(entries, func(a, b carewire.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
			return entries, head, err
		}
	}},
	{"Latest returns the last revision that was open", "latest", func(b *broken) {
		b.latest = func(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
			entries, head, err := b.MemoryStore.Latest(ctx, patient)
			newest := map[string]carewire.Entry{}
			for _, e := range b.all(patient) {
				if e.Kind == carewire.KindAlert && e.Open && e.Key != "" {
					newest[e.Key] = e
				}
			}
			entries = slices.DeleteFunc(entries, func(e carewire.Entry) bool { return e.Kind == carewire.KindAlert })
			for _, e := range newest {
				entries = append(entries, e)
			}
			slices.SortFunc(entries, func(a, b carewire.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
			return entries, head, err
		}
	}},
	{"Latest reads its head later", "latest is one view", func(b *broken) {
		b.latest = func(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
			entries, head, err := b.MemoryStore.Latest(ctx, patient)
			for range 1000 { // until it is later
				if heads, err := b.Heads(ctx, []string{patient}); err != nil || heads[0].Seq > head.Seq {
					return entries, heads[0], err
				}
				runtime.Gosched()
			}
			return entries, head, err
		}
	}},
	{"Get forgets ended entries", "get", func(b *broken) {
		b.get = func(ctx context.Context, patient, key string) (carewire.Entry, error) {
			e, err := b.MemoryStore.Get(ctx, patient, key)
			if err == nil && e.Kind == carewire.KindAlert && !e.Open {
				return carewire.Entry{}, carewire.ErrNotFound
			}
			return e, err
		}
	}},
	{"Get returns nothing without an error", "get", func(b *broken) {
		b.get = func(ctx context.Context, patient, key string) (carewire.Entry, error) {
			e, err := b.MemoryStore.Get(ctx, patient, key)
			if errors.Is(err, carewire.ErrNotFound) {
				err = nil
			}
			return e, err
		}
	}},
	{"Heads sorts the patients", "heads", func(b *broken) {
		b.heads = func(ctx context.Context, patients []string) ([]carewire.Head, error) {
			return b.MemoryStore.Heads(ctx, slices.Sorted(slices.Values(patients)))
		}
	}},
	{"Changed forgets entries written during paging", "changed while paging", func(b *broken) {
		var pages sync.Map // by mark: the entries that are still to be handed out
		b.changed = func(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
			rest, paging := pages.Load(mark)
			if !paging {
				entries, _, err := b.MemoryStore.Changed(ctx, mark, 10_000)
				if err != nil || len(entries) <= limit {
					return b.MemoryStore.Changed(ctx, mark, limit)
				}
				rest = entries
			}
			entries := rest.([]carewire.Entry)
			if n := cmp.Or(limit, 1000); len(entries) > n {
				next := fmt.Sprint("page ", len(entries))
				pages.Store(next, entries[n:])
				return entries[:n], next, nil
			}
			_, next, err := b.MemoryStore.Changed(ctx, "", 10_000)
			return entries, next, err
		}
	}},
	{"Changed leaves out ended entries", "changed", func(b *broken) {
		b.changed = func(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
			entries, next, err := b.MemoryStore.Changed(ctx, mark, limit)
			return slices.DeleteFunc(entries, func(e carewire.Entry) bool { return !e.Open }), next, err
		}
	}},
	{"Changed returns vitals", "changed", func(b *broken) {
		b.changed = func(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
			entries, next, err := b.MemoryStore.Changed(ctx, mark, limit)
			for _, e := range b.all("b") {
				if e.Kind == carewire.KindVital {
					entries = append(entries, e)
				}
			}
			return entries, next, err
		}
	}},
	{"Changed ends with a short page too early", "changed in pages", func(b *broken) {
		b.changed = func(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
			entries, next, err := b.MemoryStore.Changed(ctx, mark, cmp.Or(limit, 1000)-1)
			return entries, next, err
		}
	}},
	{"Changed fails with an unusable mark", "changed from the beginning", func(b *broken) {
		b.changed = func(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
			if mark == "?" {
				return nil, mark, nil
			}
			return b.MemoryStore.Changed(ctx, mark, limit)
		}
	}},
	{"Waiting returns revisions that were superseded", "waiting", func(b *broken) {
		b.waiting = func(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
			entries, err := b.MemoryStore.Waiting(ctx, due, limit)
			for _, e := range b.all("a") {
				if e.Key == "moved" && e.Rev == 1 && !e.Due.After(due) {
					entries = append([]carewire.Entry{e}, entries...)
				}
			}
			return entries, err
		}
	}},
	{"Waiting leaves out timers", "waiting", func(b *broken) {
		b.waiting = func(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
			entries, err := b.MemoryStore.Waiting(ctx, due, limit)
			return slices.DeleteFunc(entries, func(e carewire.Entry) bool { return e.Kind == carewire.KindTimer }), err
		}
	}},
	{"Waiting does not return entries that are due just now", "waiting", func(b *broken) {
		b.waiting = func(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
			return b.MemoryStore.Waiting(ctx, due.Add(-1), limit)
		}
	}},
	{"Waiting orders by number", "waiting for many", func(b *broken) {
		b.waiting = func(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
			entries, err := b.MemoryStore.Waiting(ctx, due, limit)
			slices.SortFunc(entries, func(a, b carewire.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
			return entries, err
		}
	}},
	{"the caller's Data is kept", "given slices", func(b *broken) {
		var kept sync.Map
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			results, err := b.MemoryStore.Append(ctx, entries)
			for i, a := range results {
				kept.Store(fmt.Sprint(entries[i].Patient, a.Seq), entries[i].Data)
			}
			return results, err
		}
		b.afterRead(func(e *carewire.Entry) {
			if data, ok := kept.Load(fmt.Sprint(e.Patient, e.Seq)); ok {
				e.Data = slices.Clone(data.([]byte))
			}
		})
	}},
	{"To is handed out as it is kept", "returned slices", func(b *broken) {
		var kept sync.Map
		b.afterRead(func(e *carewire.Entry) {
			to, _ := kept.LoadOrStore(fmt.Sprint(e.Patient, e.Seq), e.To)
			e.To = to.([]string)
		})
	}},
	{"Epochs are handed out as they are kept", "returned slices", func(b *broken) {
		var kept sync.Map
		b.latest = func(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
			entries, head, err := b.MemoryStore.Latest(ctx, patient)
			epochs, _ := kept.LoadOrStore(fmt.Sprint(patient, head.Seq), head.Epochs)
			head.Epochs = epochs.([]carewire.Position)
			return entries, head, err
		}
	}},
	{"Append does not look at its context", "contexts", func(b *broken) {
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			return b.MemoryStore.Append(context.WithoutCancel(ctx), entries)
		}
	}},
	{"Append looks at its context after it has written", "contexts", func(b *broken) {
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			results, _ := b.MemoryStore.Append(context.WithoutCancel(ctx), entries)
			return results, ctx.Err()
		}
	}},
	{"Heads does not look at its context", "contexts", func(b *broken) {
		b.heads = func(ctx context.Context, patients []string) ([]carewire.Head, error) {
			return b.MemoryStore.Heads(context.WithoutCancel(ctx), patients)
		}
	}},
	{"an unknown patient is an error", "empty", func(b *broken) {
		b.latest = func(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
			entries, head, err := b.MemoryStore.Latest(ctx, patient)
			if err == nil && head.Seq == 0 {
				err = carewire.ErrNotFound
			}
			return entries, head, err
		}
	}},
	{"Get goes on after Close", "closed", func(b *broken) {
		b.get = func(ctx context.Context, patient, key string) (carewire.Entry, error) {
			e, err := b.MemoryStore.Get(ctx, patient, key)
			if errors.Is(err, carewire.ErrClosed) {
				err = nil
			}
			return e, err
		}
	}},
	{"Append panics after Close", "closed", func(b *broken) {
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			results, err := b.MemoryStore.Append(ctx, entries)
			if errors.Is(err, carewire.ErrClosed) {
				panic("send on closed channel")
			}
			return results, err
		}
	}},
	{"Prune does nothing", "prune", func(b *broken) {
		b.prune = func(ctx context.Context, _ time.Time, _ carewire.Retention) error { return ctx.Err() }
	}},
	{"Prune takes zero for nothing", "prune", func(b *broken) {
		b.prune = func(ctx context.Context, now time.Time, keep carewire.Retention) error {
			keep.Others = cmp.Or(keep.Others, 1)
			return b.MemoryStore.Prune(ctx, now, keep)
		}
	}},
	{"ErrGap is never reported", "gap", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			for {
				entries, err := b.MemoryStore.Read(ctx, patient, after, q)
				if !errors.Is(err, carewire.ErrGap) {
					return entries, err
				}
				after.Seq++
			}
		}
	}},
	{"States leaves out ended entries", "states", func(b *broken) {
		b.states = func(ctx context.Context, keys []carewire.StateKey) ([]carewire.Entry, error) {
			found, err := b.getEach(ctx, keys)
			return slices.DeleteFunc(found, func(e carewire.Entry) bool { return e.Kind == carewire.KindAlert && !e.Open }), err
		}
	}},
	{"Erase does nothing", "erase", func(b *broken) {
		b.erase = func(ctx context.Context, _ string) error { return ctx.Err() }
	}},
	{"Erase prunes", "erase", func(b *broken) {
		b.erase = func(ctx context.Context, _ string) error {
			return b.MemoryStore.Prune(ctx, t0.Add(1000*day), carewire.Retention{Vitals: day, Others: day})
		}
	}},
	{"Erase takes another patient too", "erase", func(b *broken) {
		b.erase = func(ctx context.Context, patient string) error {
			return errors.Join(b.MemoryStore.Erase(ctx, patient), b.MemoryStore.Erase(ctx, "b"))
		}
	}},
	{"Erase forgets the head", "after an erasure", func(b *broken) {
		b.erase = func(ctx context.Context, patient string) error {
			err := ctx.Err()
			b.MemoryStore = carewire.NewMemoryStore(nil)
			b.append, b.read, b.latest, b.heads = b.MemoryStore.Append, b.MemoryStore.Read, b.MemoryStore.Latest, b.MemoryStore.Heads
			return err
		}
	}},
	{"IDs outlive an erasure", "after an erasure", func(b *broken) {
		known := map[string]carewire.Entry{}
		b.append = func(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
			results, err := b.MemoryStore.Append(ctx, entries)
			for i := range results {
				e := entries[i]
				if was, ok := known[e.ID]; ok && e.ID != "" && was.Sum != e.Sum {
					results[i] = carewire.AppendResult{Err: carewire.ErrIDReused}
				}
				known[e.ID] = e
			}
			return results, err
		}
	}},
	{"erasing the unknown makes a log", "erasing the unknown", func(b *broken) {
		b.erase = func(ctx context.Context, patient string) error {
			_, err := b.MemoryStore.Append(ctx, []carewire.Entry{notice(patient)})
			return errors.Join(err, b.MemoryStore.Erase(ctx, patient))
		}
	}},
	{"ErrGap is not reported beside appends", "prune beside others", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			for {
				entries, err := b.MemoryStore.Read(ctx, patient, after, q)
				if !errors.Is(err, carewire.ErrGap) {
					return entries, err
				}
				after.Seq++
			}
		}
	}},
	{"Prune takes open entries for a moment", "prune beside others", func(b *broken) {
		var pruning atomic.Bool
		b.prune = func(ctx context.Context, now time.Time, keep carewire.Retention) error {
			pruning.Store(true)
			defer pruning.Store(false)
			for range 20 {
				runtime.Gosched()
			}
			return b.MemoryStore.Prune(ctx, now, keep)
		}
		b.latest = func(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
			entries, head, err := b.MemoryStore.Latest(ctx, patient)
			if pruning.Load() {
				entries = slices.DeleteFunc(entries, func(e carewire.Entry) bool { return e.Open })
			}
			return entries, head, err
		}
	}},
	{"ErrGap is reported for other kinds", "gap", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			if _, err := b.MemoryStore.Read(ctx, patient, after, carewire.ReadQuery{}); err != nil {
				return nil, err
			}
			return b.MemoryStore.Read(ctx, patient, after, q)
		}
	}},
	{"ErrGap is reported only if the key was pruned", "gap", func(b *broken) {
		b.read = func(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
			entries, err := b.MemoryStore.Read(ctx, patient, after, q)
			if q.Key == "bp" && errors.Is(err, carewire.ErrGap) {
				return nil, nil
			}
			return entries, err
		}
	}},
	{"a forgotten log begins again in its epoch", "prune of patients who have left", func(b *broken) {
		s := b.MemoryStore
		b.prune = func(ctx context.Context, now time.Time, keep carewire.Retention) error {
			return errors.Join(s.Prune(ctx, now, keep), s.Erase(ctx, "a"))
		}
		gone := uint64(0) // how many numbers of a's are given out again
		b.heads = func(ctx context.Context, patients []string) ([]carewire.Head, error) {
			heads, err := s.Heads(ctx, patients)
			latest, _, _ := s.Latest(ctx, "a")
			if slices.Equal(patients, []string{"a"}) && len(b.all("a")) == 0 && len(latest) == 0 {
				gone = heads[0].Seq
				return []carewire.Head{{Patient: "a"}}, err
			}
			return heads, err
		}
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			got, err := b.one(ctx, e)
			if e.Patient == "a" {
				got.Seq -= gone
				got.Must = got.Seq
			}
			return got, err
		})
	}},
	{"revisions are remembered when Get has forgotten them", "revisions after prune", func(b *broken) {
		var newest sync.Map
		b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
			if rev, ok := newest.Load(e.Key); ok && e.Rev != 0 && e.Rev != rev.(uint64)+1 {
				return carewire.AppendResult{Err: carewire.ErrConflict}, nil
			}
			newest.Store(e.Key, e.Rev)
			return b.one(ctx, e)
		})
	}},
	{"a durable store prunes IDs with their entries", "IDs after prune", func(b *broken) { b.durable = true }},
}

func TestRulesFindBrokenStores(t *testing.T) {
	t.Parallel()
	byName := map[string]rule{}
	for _, r := range rules() {
		byName[r.name] = r
	}
	for _, harm := range breakages {
		t.Run(harm.name, func(t *testing.T) {
			t.Parallel()
			r, ok := byName[harm.rule]
			if !ok {
				t.Fatalf("there is no rule %q", harm.rule)
			}
			b := newBroken()
			harm.harm(b)
			err := r.run(&probe{ctx: t.Context(), store: b})
			if err == nil || errors.As(err, new(skipped)) {
				t.Fatalf("the rule %q did not find it: %v", harm.rule, err)
			}
			if !strings.Contains(err.Error(), r.text) {
				t.Errorf("the failure does not quote the rule: %v", err)
			}
		})
	}
}

// Stores that lose something in a restart.
func TestRulesFindLossesOfRestarts(t *testing.T) {
	t.Parallel()
	for name, reopen := range map[string]struct {
		rule    string
		restart func(b *broken)
	}{
		"everything": {"reopen", func(b *broken) { *b = *newBroken() }},
		"the epoch": {"resume after a restart", func(b *broken) {
			b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
				a, err := b.one(ctx, e)
				a.Epoch += "'"
				return a, err
			})
		}},
		"IDs": {"IDs and revisions after a restart", func(b *broken) {
			b.eachAppend(func(ctx context.Context, e carewire.Entry) (carewire.AppendResult, error) {
				e.ID += "'"
				return b.one(ctx, e)
			})
		}},
		"the place of a mark": {"marks after a restart", func(b *broken) {
			_, now, _ := b.MemoryStore.Changed(context.Background(), "", 10_000)
			var once sync.Once
			b.changed = func(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
				once.Do(func() { mark = now })
				return b.MemoryStore.Changed(ctx, mark, limit)
			}
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := newBroken()
			for _, r := range reopenRules {
				if r.name != reopen.rule {
					continue
				}
				err := r.run(&probe{ctx: t.Context(), store: b, reopen: func() { reopen.restart(b) }})
				if err == nil || errors.As(err, new(skipped)) {
					t.Fatalf("the rule %q did not find it: %v", r.name, err)
				}
			}
		})
	}
}

// The store that the broken ones are made of keeps every rule.
func TestRulesPassMemoryStore(t *testing.T) {
	t.Parallel()
	Run(t, func(*testing.T) carewire.Store { return newBroken() },
		&Options{Reopen: func(_ *testing.T, s carewire.Store) carewire.Store { return s }})
}
