package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// Read implements [carewire.Store].
func (s *Store) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	limit := min(orThousand(q.Limit), 10_000)
	var found []carewire.Entry
	err := s.view(ctx, []string{patient}, func(v view) error {
		p, err := v.patient(patient)
		if err != nil || after.Seq >= p.seq() {
			return err
		}
		pruned, err := v.pruned(p.num)
		if err != nil {
			return err
		}
		for kind, seq := range pruned {
			if wants(&q, kind) && seq > after.Seq {
				return carewire.ErrGap
			}
		}
		log, err := v.reader(p, after.Seq, &q, pruned)
		if err != nil {
			return err
		}
		for n := 0; len(found) < limit; n++ {
			if n%1000 == 999 && ctx.Err() != nil {
				return ctx.Err()
			}
			r, ok, err := log.next()
			if err != nil || !ok || q.Last > 0 && r.seq > q.Last {
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
type reader []*readerClass

// readerClass goes through one class. Its entries count without gaps, if
// nothing was pruned.
type readerClass struct {
	*classReader
	pruned uint64 // the greatest number pruned
	end    uint64 // the count of the last one

	first record // the next one
	ok    bool   // there is one
	whole bool   // nothing is pruned after the one before, and it counts:
	count uint64
}

func (v view) reader(p *patient, after uint64, q *carewire.ReadQuery, pruned map[carewire.Kind]uint64) (reader, error) {
	var all reader
	for c := range classes {
		wanted := func(kind carewire.Kind) bool { return class(kind) == c }
		if len(q.Kinds) > 0 && !slices.ContainsFunc(q.Kinds, wanted) {
			continue
		}
		r := &readerClass{classReader: v.classReader(p, c, after), end: p.counts[c]}
		for kind, seq := range pruned {
			if wanted(kind) {
				r.pruned = max(r.pruned, seq)
			}
		}
		r.whole = after == 0 && r.pruned == 0
		if err := r.advance(); err != nil {
			return nil, err
		}
		all = append(all, r)
	}
	return all, nil
}

// next returns the entry with the next number.
func (all reader) next() (record, bool, error) {
	var first *readerClass
	for _, c := range all {
		if c.ok && (first == nil || c.first.seq < first.first.seq) {
			first = c
		}
	}
	if first == nil {
		return record{}, false, nil
	}
	e := first.first
	return e, true, first.advance()
}

// advance goes on to the next entry, and reports if some are missing before it.
func (r *readerClass) advance() error {
	if r.ok {
		r.whole, r.count = r.first.seq >= r.pruned, r.first.count
	}
	var err error
	if r.first, r.ok, err = r.classReader.next(); err != nil {
		return err
	}
	if r.whole && (r.ok && r.first.count != r.count+1 || !r.ok && r.count != r.end) {
		return fmt.Errorf("%w: entries are missing", ErrCorrupt)
	}
	return nil
}

// classReader goes through one class as it is kept: chunks of the log, and then
// the unsettled entries.
type classReader struct {
	cursor     *bbolt.Cursor
	prefix     []byte
	key, value []byte // the next chunk
	after      uint64
	records    []record // the rest of a chunk
	unsettled  []held
}

func (v view) classReader(p *patient, class byte, after uint64) *classReader {
	r := &classReader{cursor: v.bucket("log").Cursor(), prefix: classKey(p.num, class), after: after}
	r.key, r.value = r.cursor.Seek(logKey(p.num, class, after+1))
	if class == vitals {
		i, _ := slices.BinarySearchFunc(p.unsettled, after+1, func(u held, seq uint64) int { return cmp.Compare(u.seq, seq) })
		r.unsettled = p.unsettled[i:]
	}
	return r
}

func (r *classReader) next() (e record, ok bool, err error) {
	for len(r.records) == 0 && bytes.HasPrefix(r.key, r.prefix) {
		var key, sealed []byte
		key, sealed, r.key, r.value = long(r.cursor, r.key, r.value)
		if r.records, err = chunk(key, sealed, r.after+1, math.MaxUint64); err != nil {
			return record{}, false, err
		}
	}
	if len(r.records) > 0 {
		e, r.records = r.records[0], r.records[1:]
		return e, true, nil
	}
	if len(r.unsettled) > 0 {
		e, err = parseEntry(r.unsettled[0].encoded)
		r.unsettled = r.unsettled[1:]
		return e, true, err
	}
	return record{}, false, nil
}

func wants(q *carewire.ReadQuery, kind carewire.Kind) bool {
	return len(q.Kinds) == 0 || slices.Contains(q.Kinds, kind)
}

func matches(q *carewire.ReadQuery, r *record) bool {
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
	err := s.view(ctx, []string{patient}, func(v view) error {
		p, err := v.patient(patient)
		if err != nil {
			return err
		}
		if head, err = v.head(p); err != nil || p.seq() == 0 {
			return err
		}
		states, err := v.shown(p)
		if err != nil {
			return err
		}
		for key, st := range states {
			e, err := v.newest(p, key, st)
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

// shown returns the states of p that Latest shows.
func (v view) shown(p *patient) (map[string]state, error) {
	states := map[string]state{}
	prefix := numKey(p.num)
	c := v.bucket("live").Cursor()
	for k, sealed := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, sealed = c.Next() {
		if _, err := unseal(k, sealed); err != nil {
			return nil, damaged("live", err)
		}
		st, _, err := get(v, "states", k, parseState)
		if err != nil {
			return nil, err
		}
		if !st.shows() {
			return nil, errIndex
		}
		states[string(k[8:])] = st
	}
	for key, st := range p.states {
		if delete(states, key); st.now.shows() {
			states[key] = st.now
		}
	}
	return states, nil
}

// states returns the states of all keys of p.
func (v view) states(p *patient) (map[string]state, error) {
	states := map[string]state{}
	prefix := numKey(p.num)
	c := v.bucket("states").Cursor()
	for k, sealed := c.Seek(prefix); bytes.HasPrefix(k, prefix); k, sealed = c.Next() {
		b, err := unseal(k, sealed)
		if err != nil {
			return nil, damaged("states", err)
		}
		if states[string(k[8:])], err = parseState(b); err != nil {
			return nil, damaged("states", err)
		}
	}
	for key, st := range p.states {
		states[key] = st.now
	}
	return states, nil
}

// Get implements [carewire.Store].
func (s *Store) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	var found carewire.Entry
	err := s.view(ctx, []string{patient}, func(v view) error {
		p, err := v.patient(patient)
		if err != nil {
			return err
		}
		st, err := v.state(p, key)
		if err != nil {
			return err
		}
		if st.now.seq == 0 {
			return carewire.ErrNotFound
		}
		found, err = v.newest(p, key, st.now)
		return err
	})
	return found, err
}

// Heads implements [carewire.Store].
func (s *Store) Heads(ctx context.Context, patients []string) ([]carewire.Head, error) {
	heads := make([]carewire.Head, len(patients))
	err := s.view(ctx, patients, func(v view) error {
		for i, patient := range patients {
			p, err := v.patient(patient)
			if err == nil {
				heads[i], err = v.head(p)
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
	err := s.view(ctx, nil, func(v view) error {
		changes := v.bucket("changes")
		current := v.epochs[len(v.epochs)-1]
		var epoch string
		var seen, began uint64 // scanned up to seen; up to began only for open entries
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
	err := s.view(ctx, nil, func(v view) error {
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

var errIndex = fmt.Errorf("%w: an index and a state differ", ErrCorrupt)

// indexed returns the newest entry of a key that an index names, if its state
// says the same.
func (v view) indexed(stateKey []byte, agrees func(*state) bool) (carewire.Entry, error) {
	st, ok, err := get(v, "states", stateKey, parseState)
	if err != nil {
		return carewire.Entry{}, err
	}
	if !ok || !agrees(&st) {
		return carewire.Entry{}, errIndex
	}
	// The indexes name only entries of the file.
	p := &patient{head: head{num: binary.BigEndian.Uint64(stateKey)}}
	return v.newest(p, string(stateKey[8:]), st)
}
