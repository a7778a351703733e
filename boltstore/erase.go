package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"math"

	"github.com/carewire/carewire"
)

// Erase implements [carewire.Eraser]. The first commit takes the patient's states
// and lets nothing of the log be read any more; the others delete it, in steps,
// while appends and reads go on. Pages that are free keep their bytes until they
// are used again, and a Backup copies them: Compact leaves them out.
func (s *Store) Erase(ctx context.Context, patient string) error {
	e := eraser{pruner: &pruner{store: s}, name: patient}
	if err := s.pruneSteps(ctx, e.hide); err != nil || e.num == 0 {
		return err
	}
	for class := range classes {
		e.class = class
		if err := s.pruneSteps(ctx, e.log); err != nil {
			return err
		}
	}
	if err := s.pruneSteps(ctx, e.ids); err != nil {
		return err
	}
	return s.pruneSteps(ctx, e.expiry)
}

const perStateErased = 8 // pages, in four buckets

// eraser erases a patient up to the former end of the log.
type eraser struct {
	*pruner
	name     string
	num, end uint64
	class    byte
}

// hide settles the patient, deletes all states with their index entries, and
// marks everything as pruned.
func (e *eraser) hide(v view, entries int) (changed, last bool, err error) {
	if p := v.live[e.name]; p != nil {
		e.live = []*patient{p}
		if _, last, err := e.settle(v, entries); err != nil || !last || e.crowded {
			if err == nil && e.crowded {
				err = carewire.ErrFull
			}
			return true, false, err
		}
	}
	p, err := v.patient(e.name)
	if err != nil || p.num == 0 {
		return false, true, err
	}
	e.num, e.end = p.num, p.seq()
	marks, err := v.lastOfKinds(p)
	if err != nil {
		return false, false, err
	}
	states, err := v.states(p)
	if err != nil {
		return false, false, err
	}
	s := e.store
	s.need += perStateErased * int64(len(states)) * s.pageSize
	room, err := s.room(v.tx, s.need+s.reserve)
	if err != nil || room < s.need+s.reserve/2 {
		return false, false, cmp.Or(err, carewire.ErrFull)
	}
	for key, st := range states {
		at := stateKey(p.num, key)
		err := errors.Join(v.bucket("states").Delete(at), v.bucket("live").Delete(at), v.bucket("changes").Delete(changeKey(st.change)), v.bucket("due").Delete(timeKey(st.due, at)))
		if err != nil {
			return false, false, failed(err)
		}
	}
	if err := v.mark(p.num, marks); err != nil {
		return false, false, failed(err)
	}
	return true, true, nil
}

// lastOfKinds returns the number of the last entry of each kind in a patient's log.
func (v view) lastOfKinds(p *patient) (map[carewire.Kind]uint64, error) {
	last := map[carewire.Kind]uint64{}
	for class, kind := range map[byte]carewire.Kind{vitals: carewire.KindVital, timers: carewire.KindTimer} {
		c := v.bucket("log").Cursor()
		k, _ := c.Seek(classKey(p.num, class+1))
		if k == nil {
			k, _ = c.Last()
		} else {
			k, _ = c.Prev()
		}
		if bytes.HasPrefix(k, classKey(p.num, class)) && len(k) >= logKeyLen {
			last[kind] = binary.BigEndian.Uint64(k[9:])
		}
	}
	log := v.classReader(p, undroppable, 0)
	for {
		r, ok, err := log.next()
		if err != nil || !ok {
			return last, err
		}
		last[r.kind] = r.seq
	}
}

// log deletes entries of a class, with their IDs.
func (e *eraser) log(v view, entries int) (changed, last bool, err error) {
	log := v.bucket("log")
	for looked := 0; looked < entries; {
		c := log.Cursor()
		k, value := c.Seek(classKey(e.num, e.class))
		if !bytes.HasPrefix(k, classKey(e.num, e.class)) {
			return changed, true, nil
		}
		k, sealed, _, _ := long(c, k, value)
		key := bytes.Clone(k)
		records, err := chunk(key, sealed, 1, math.MaxUint64)
		if err != nil || len(records) == 0 || records[len(records)-1].seq > e.end {
			return changed, true, err
		}
		for _, r := range records {
			looked++
			switch {
			case len(r.id) == 0:
			case e.class == vitals:
				err = v.removeDigest(e.num, digestOf(string(r.sender), string(r.id)), r.seq)
			default:
				err = v.bucket("ids").Delete(idKey(e.num, r.sender, r.id))
			}
			if err != nil {
				return false, false, err
			}
		}
		if err := deleteLong(log, key); err != nil {
			return false, false, err
		}
		changed = true
	}
	return changed, false, nil
}

// ids deletes the IDs that have outlived their entries.
func (e *eraser) ids(v view, entries int) (changed, last bool, err error) {
	return e.sweep(v, "ids", numKey(e.num), entries, func(k, value []byte) (bool, error) {
		known, err := parseID(value)
		return known.seq <= e.end, err
	})
}

// expiry deletes when these were to be forgotten.
func (e *eraser) expiry(v view, entries int) (changed, last bool, err error) {
	return e.sweep(v, "expiry", nil, entries, func(k, _ []byte) (bool, error) {
		return len(k) > 12 && bytes.HasPrefix(k[12:], numKey(e.num)) && v.bucket("ids").Get(k[12:]) == nil, nil
	})
}

// sweep deletes up to so many keys that have a prefix and are to go.
func (e *eraser) sweep(v view, bucket string, prefix []byte, entries int, goes func(k, value []byte) (bool, error)) (changed, last bool, err error) {
	b := v.bucket(bucket)
	var keys [][]byte
	c := b.Cursor()
	for k, sealed := c.Seek(prefix); bytes.HasPrefix(k, prefix) && k != nil && len(keys) < entries; k, sealed = c.Next() {
		value, err := unseal(k, sealed)
		if err != nil {
			return false, false, damaged(bucket, err)
		}
		if ok, err := goes(k, value); err != nil {
			return false, false, damaged(bucket, err)
		} else if ok {
			keys = append(keys, bytes.Clone(k))
		}
	}
	for _, k := range keys {
		if err := b.Delete(k); err != nil {
			return false, false, err
		}
	}
	return len(keys) > 0, len(keys) < entries, nil
}
