package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// Read implements [carewire.Store].
func (s *Store) Read(ctx context.Context, patient string, after carewire.Position, q carewire.Query) ([]carewire.Entry, error) {
	limit := min(orThousand(q.Limit), 10_000)
	var found []carewire.Entry
	err := s.view(ctx, func(v view) error {
		h, err := v.head(patient)
		if err != nil || h.num == 0 || after.Seq >= h.seq() {
			return err
		}
		pruned, err := v.pruned(h.num)
		if err != nil {
			return err
		}
		for kind, seq := range pruned {
			if wants(&q, kind) && seq > after.Seq {
				return carewire.ErrGap
			}
		}
		log := v.reader(h, after.Seq, &q, pruned)
		for n := 0; len(found) < limit; n++ {
			if n%1000 == 999 && ctx.Err() != nil {
				return ctx.Err()
			}
			r, ok, err := log.next()
			if err != nil || !ok {
				return err
			}
			if !matches(&q, &r) {
				continue
			}
			e, err := r.entry(v.epochs)
			if err != nil {
				return damaged("log", err)
			}
			found = append(found, e)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// pruned returns, for the kinds of which something was pruned, up to where.
func (v view) pruned(num uint64) (map[carewire.Kind]uint64, error) {
	pruned := map[carewire.Kind]uint64{}
	prefix := numKey(num)
	c := v.bucket("pruned").Cursor()
	for k, sealed := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, sealed = c.Next() {
		b, err := unseal(k, sealed)
		if err != nil || len(b) != 8 || len(k) != 9 {
			return nil, damaged("pruned", ErrCorrupt)
		}
		pruned[carewire.Kind(k[8])] = binary.BigEndian.Uint64(b)
	}
	return pruned, nil
}

// reader merges the classes of a patient's log.
type reader struct {
	view
	classes []*classReader
}

// classReader goes through one class. Its entries count without gaps, if
// nothing was pruned: undroppable ones by Must, droppable ones by Seq - Must.
type classReader struct {
	cursor *bbolt.Cursor
	prefix []byte
	pruned uint64 // the greatest number pruned
	end    uint64 // what the last one counts

	key, value []byte // the next one
	whole      bool   // nothing is pruned after the one before, and it counts:
	count      uint64
}

func (v view) reader(h head, after uint64, q *carewire.Query, pruned map[carewire.Kind]uint64) *reader {
	all := &reader{view: v}
	for _, c := range []byte{0, 1} {
		wanted := func(kind carewire.Kind) bool { return class(kind) == c }
		if len(q.Kinds) > 0 && !slices.ContainsFunc(q.Kinds, wanted) {
			continue
		}
		r := &classReader{cursor: v.bucket("log").Cursor(), prefix: classKey(h.num, c), end: h.must}
		if c == 0 {
			r.end = h.seq() - h.must
		}
		for kind, seq := range pruned {
			if wanted(kind) {
				r.pruned = max(r.pruned, seq)
			}
		}
		r.whole = after == 0 && r.pruned == 0
		r.key, r.value = r.cursor.Seek(logKey(h.num, c, after+1))
		all.classes = append(all.classes, r)
	}
	return all
}

// next returns the entry with the next number.
func (r *reader) next() (record, bool, error) {
	var first *classReader
	for _, c := range r.classes {
		if !bytes.HasPrefix(c.key, c.prefix) {
			if c.whole && c.count != c.end {
				return record{}, false, fmt.Errorf("%w: entries are missing", ErrCorrupt)
			}
		} else if first == nil || bytes.Compare(c.key[9:], first.key[9:]) < 0 {
			first = c
		}
	}
	if first == nil {
		return record{}, false, nil
	}
	e, err := r.checked(first.key, first.value)
	if err != nil {
		return record{}, false, err
	}
	count := e.must
	if first.prefix[8] == 0 {
		count = e.seq - e.must
	}
	if first.whole && count != first.count+1 {
		return record{}, false, fmt.Errorf("%w: entries are missing", ErrCorrupt)
	}
	first.whole, first.count = e.seq >= first.pruned, count
	first.key, first.value = first.cursor.Next()
	return e, true, nil
}

func wants(q *carewire.Query, kind carewire.Kind) bool {
	return len(q.Kinds) == 0 || slices.Contains(q.Kinds, kind)
}

func matches(q *carewire.Query, r *record) bool {
	return wants(q, r.kind) && (q.Key == "" || q.Key == string(r.key)) &&
		(q.From.IsZero() || !r.time.Before(q.From)) && (q.To.IsZero() || r.time.Before(q.To))
}

func orThousand(limit int) int {
	if limit <= 0 {
		return 1000
	}
	return limit
}

// Latest implements [carewire.Store].
func (s *Store) Latest(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
	var found []carewire.Entry
	var head carewire.Head
	err := s.view(ctx, func(v view) error {
		h, err := v.head(patient)
		if err != nil {
			return err
		}
		if head, err = v.publicHead(patient, h); err != nil || h.num == 0 {
			return err
		}
		prefix := numKey(h.num)
		c := v.bucket("states").Cursor()
		for k, sealed := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, sealed = c.Next() {
			st, err := unsealState(k, sealed)
			if err != nil {
				return err
			}
			if st.kind != carewire.KindVital && (!st.open || st.kind == carewire.KindTimer) {
				continue
			}
			e, err := v.newest(h.num, string(k[8:]), st)
			if err != nil {
				return err
			}
			found = append(found, e)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, carewire.Head{}, err
	}
	slices.SortFunc(found, func(a, b carewire.Entry) int { return cmp.Compare(a.Seq, b.Seq) })
	return found, head, nil
}

func unsealState(key, sealed []byte) (state, error) {
	b, err := unseal(key, sealed)
	if err != nil {
		return state{}, damaged("states", err)
	}
	st, err := parseState(b)
	return st, damaged("states", err)
}

// Get implements [carewire.Store].
func (s *Store) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	var found carewire.Entry
	err := s.view(ctx, func(v view) error {
		h, err := v.head(patient)
		if err != nil {
			return err
		}
		if h.num == 0 || key == "" {
			return carewire.ErrNotFound
		}
		st, ok, err := get(v, "states", stateKey(h.num, key), parseState)
		if err != nil {
			return err
		}
		if !ok {
			return carewire.ErrNotFound
		}
		found, err = v.newest(h.num, key, st)
		return err
	})
	return found, err
}

// Heads implements [carewire.Store].
func (s *Store) Heads(ctx context.Context, patients []string) ([]carewire.Head, error) {
	heads := make([]carewire.Head, len(patients))
	err := s.view(ctx, func(v view) error {
		for i, patient := range patients {
			h, err := v.head(patient)
			if err == nil {
				heads[i], err = v.publicHead(patient, h)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return heads, nil
}

// Changed implements [carewire.Store].
func (s *Store) Changed(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
	limit = orThousand(limit)
	var found []carewire.Entry
	var next string
	err := s.view(ctx, func(v view) error {
		changes := v.bucket("changes")
		current := v.epochs[len(v.epochs)-1]
		var epoch string
		var seen, began uint64 // looked through up to seen; up to began only for what is open
		n, err := fmt.Sscanf(mark, "%d %d %s", &seen, &began, &epoch)
		if n != 3 || err != nil || epoch != current || max(seen, began) > changes.Sequence() {
			seen, began = 0, changes.Sequence()
		}
		c := changes.Cursor()
		k, sealed := c.Seek(changeKey(seen + 1))
		for ; k != nil && len(found) < limit; k, sealed = c.Next() {
			b, err := unseal(k, sealed)
			if err != nil || len(b) < 9 || len(k) != 8 {
				return damaged("changes", ErrCorrupt)
			}
			seen = binary.BigEndian.Uint64(k)
			if open := b[0] == 1; !open && seen <= began {
				continue
			}
			e, err := v.indexed(b[1:], func(st *state) bool { return st.change == seen })
			if err != nil {
				return err
			}
			found = append(found, e)
		}
		next = fmt.Sprintf("%d %d %s", seen, began, current)
		return ctx.Err()
	})
	if err != nil {
		return nil, "", err
	}
	return found, next, nil
}

// Waiting implements [carewire.Store].
func (s *Store) Waiting(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
	limit = orThousand(limit)
	var found []carewire.Entry
	err := s.view(ctx, func(v view) error {
		end := timeKey(due, nil)
		c := v.bucket("due").Cursor()
		for k, sealed := c.First(); k != nil && len(found) < limit; k, sealed = c.Next() {
			if _, err := unseal(k, sealed); err != nil || len(k) < 12+8 {
				return damaged("due", ErrCorrupt)
			}
			if bytes.Compare(k[:12], end) > 0 {
				break
			}
			e, err := v.indexed(k[12:], func(st *state) bool { return st.waits() && bytes.Equal(timeKey(st.due, nil), k[:12]) })
			if err != nil {
				return err
			}
			found = append(found, e)
		}
		return ctx.Err()
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// indexed returns the newest entry of a key that an index names, if its state
// says the same.
func (v view) indexed(stateKey []byte, agrees func(*state) bool) (carewire.Entry, error) {
	st, ok, err := get(v, "states", stateKey, parseState)
	if err != nil {
		return carewire.Entry{}, err
	}
	if !ok || !agrees(&st) {
		return carewire.Entry{}, fmt.Errorf("%w: an index and a state differ", ErrCorrupt)
	}
	return v.newest(binary.BigEndian.Uint64(stateKey), string(stateKey[8:]), st)
}
