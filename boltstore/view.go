package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// view is one consistent state of the store.
type view struct {
	tx     *bbolt.Tx
	epochs []string
	live   map[string]*patient // patients with unsettled vitals
}

// view runs a transaction that reads; it sees the vitals in memory of the named
// patients, too.
func (s *Store) view(ctx context.Context, patients []string, f func(v view) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	v, err := s.beginView(patients)
	if err != nil {
		return err
	}
	return guard(func() error {
		defer func() { _ = v.tx.Rollback() }()
		return f(v)
	})
}

func (s *Store) beginView(patients []string) (view, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if err := cmp.Or(s.failed, s.gone()); err != nil {
		return view{}, err
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return view{}, fmt.Errorf("boltstore: %w", err)
	}
	live := map[string]*patient{}
	for _, name := range patients {
		if p := s.live[name]; p != nil && live[name] == nil {
			live[name] = p.clone()
		}
	}
	return view{tx, s.epochs, live}, nil
}

// put writes a value with its checksum.
func put(b *bbolt.Bucket, key, value []byte) error { return b.Put(key, seal(key, value)) }

// bucket returns a bucket that begin has made.
func (v view) bucket(name string) *bbolt.Bucket { return v.tx.Bucket([]byte(name)) }

// get reads a value with parse; the zero T if there is none.
func get[T any](v view, bucket string, key []byte, parse func([]byte) (T, error)) (T, bool, error) {
	var none T
	sealed := v.bucket(bucket).Get(key)
	if sealed == nil {
		return none, false, nil
	}
	b, err := unseal(key, sealed)
	if err != nil {
		return none, false, damaged(bucket, err)
	}
	t, err := parse(b)
	return t, true, damaged(bucket, err)
}

// patient returns a patient's log as it stands.
func (v view) patient(name string) (*patient, error) {
	if p := v.live[name]; p != nil {
		return p, nil
	}
	h, ok, err := get(v, "heads", headKey(name), parseHead)
	if err == nil && ok && (h.num == 0 || len(h.epochs) == 0 || h.settled > h.counts[vitals]) {
		err = damaged("heads", ErrCorrupt)
	}
	return &patient{name: name, head: h}, err
}

// load returns a patient for writing.
func (v view) load(name string) (*patient, error) {
	p, err := v.patient(name)
	if err != nil || p.states != nil {
		return p, err
	}
	p.states = map[string]liveState{}
	if p.num == 0 {
		return p, nil
	}
	p.hasDigests, p.hasIDs = v.has("vitalids", p.num), v.has("ids", p.num)
	return p, nil
}

// has reports whether there is anything of a patient in a bucket.
func (v view) has(bucket string, num uint64) bool {
	first, _ := v.bucket(bucket).Cursor().Seek(numKey(num))
	return bytes.HasPrefix(first, numKey(num))
}

// state returns the state of a key of p.
func (v view) state(p *patient, key string) (liveState, error) {
	st, ok := p.states[key]
	if ok || key == "" || p.num == 0 {
		return st, nil
	}
	was, _, err := get(v, "states", stateKey(p.num, key), parseState)
	return liveState{was, was}, err
}

// head returns the head of p as the Store's callers see it.
func (v view) head(p *patient) (carewire.Head, error) {
	head := carewire.Head{Patient: p.name, Must: p.must()}
	for _, end := range p.epochs {
		if end.epoch >= uint32(len(v.epochs)) {
			return carewire.Head{}, damaged("heads", ErrCorrupt)
		}
		head.Position = carewire.Position{Epoch: v.epochs[end.epoch], Seq: end.seq}
		head.Epochs = append(head.Epochs, head.Position)
	}
	return head, nil
}

// chunk returns the entries of a value of the log that have the numbers first
// to last, if they belong there.
func chunk(key, sealed []byte, first, last uint64) ([]record, error) {
	b, err := unseal(key, sealed)
	if err != nil || len(key) != logKeyLen {
		return nil, damaged("log", ErrCorrupt)
	}
	var records []record
	d := decoder{b: b}
	for seq := uint64(0); len(d.b) > 0; {
		encoded := d.bytes()
		if len(encoded) < seqAt+8 {
			return nil, damaged("log", ErrCorrupt)
		}
		was := seq
		if seq = binary.BigEndian.Uint64(encoded[seqAt:]); seq <= was || seq > binary.BigEndian.Uint64(key[9:]) {
			return nil, damaged("log", ErrCorrupt)
		}
		if seq < first || seq > last {
			continue
		}
		r, err := parseEntry(encoded)
		if err != nil || class(r.kind) != key[8] {
			return nil, damaged("log", ErrCorrupt)
		}
		records = append(records, r)
	}
	return records, nil
}

// at returns the entry with a number, if it is there.
func (v view) at(p *patient, class byte, seq uint64) (record, bool, error) {
	if class == vitals {
		i, ok := slices.BinarySearchFunc(p.unsettled, seq, func(u held, seq uint64) int { return cmp.Compare(u.seq, seq) })
		if ok {
			r, err := parseEntry(p.unsettled[i].encoded)
			return r, true, err
		}
	}
	prefix := classKey(p.num, class)
	c := v.bucket("log").Cursor()
	k, value := c.Seek(logKey(p.num, class, seq))
	if !bytes.HasPrefix(k, prefix) {
		return record{}, false, nil
	}
	k, sealed, _, _ := long(c, k, value)
	records, err := chunk(k, sealed, seq, seq)
	if err != nil || len(records) == 0 {
		return record{}, false, err
	}
	return records[0], true, nil
}

// newest returns the entry that a state tells of.
func (v view) newest(p *patient, key string, s state) (carewire.Entry, error) {
	r, ok, err := v.at(p, class(s.kind), s.seq)
	if err != nil {
		return carewire.Entry{}, err
	}
	if !ok {
		return carewire.Entry{}, fmt.Errorf("%w: an entry is missing", ErrCorrupt)
	}
	if string(r.key) != key || r.open != s.open || !r.due.Equal(s.due) {
		return carewire.Entry{}, fmt.Errorf("%w: an entry differs from its state", ErrCorrupt)
	}
	return r.entry(v.epochs)
}
