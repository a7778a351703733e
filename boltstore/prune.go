package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"time"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

const (
	rememberIDs = 400 * 24 * time.Hour

	// perPrune is how many entries one transaction of Prune looks at, while
	// appending waits for it; fewer if there is little room for new pages.
	perPrune = 2000
)

// Prune implements [carewire.Pruner]. It works in short transactions, between
// which appending goes on; if ctx ends it has done a part. A log is in the order
// of Received, so it is read only up to the first entry that is still kept:
// entries received out of order go when those before them do.
func (s *Store) Prune(ctx context.Context, now time.Time, keep carewire.Retention) error {
	var nums []uint64
	err := s.view(ctx, func(v view) error {
		return v.bucket("heads").ForEach(func(k, sealed []byte) error {
			b, err := unseal(k, sealed)
			if err != nil {
				return damaged("heads", err)
			}
			h, err := parseHead(b)
			nums = append(nums, h.num)
			return damaged("heads", err)
		})
	})
	if err != nil {
		return err
	}
	p := pruner{now: now}
	for class, age := range []time.Duration{keep.Vitals, keep.Others} {
		if age <= 0 {
			continue
		}
		p.before = now.Add(-age)
		for _, num := range nums {
			p.logs = append(p.logs, prunedLog{num: num, class: byte(class)})
		}
		if err := s.pruneSteps(ctx, p.log); err != nil {
			return err
		}
	}
	return s.pruneSteps(ctx, p.forget)
}

// pruneSteps commits steps until one says that it was the last.
func (s *Store) pruneSteps(ctx context.Context, step func(v view, budget int) (changed, last bool, err error)) error {
	for last := false; !last; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.update(func(tx *bbolt.Tx) error {
			room, err := s.room(tx, 0)
			if err != nil {
				return err
			}
			changed, end, err := step(view{tx, s.epochs}, int(min(max(room/perEntry, 1), perPrune)))
			last = end
			if err == nil && !changed {
				return errNothing
			}
			return err
		})
		if err != nil && !errors.Is(err, errNothing) {
			return err
		}
	}
	return nil
}

// pruner prunes the logs, one after the other.
type pruner struct {
	now, before time.Time
	logs        []prunedLog // still to be pruned
}

type prunedLog struct {
	num   uint64
	class byte
	seen  uint64 // looked through up to this number
}

// log looks at some entries and deletes those that need not stay.
func (p *pruner) log(v view, budget int) (changed, last bool, err error) {
	for budget > 0 && len(p.logs) > 0 {
		l := &p.logs[0]
		old, done, err := p.old(v, l, &budget)
		if err != nil {
			return false, false, err
		}
		for _, r := range old {
			if err := p.remove(v, l, &r); err != nil {
				return false, false, err
			}
			changed = true
		}
		if done {
			p.logs = p.logs[1:]
		}
	}
	return changed, len(p.logs) == 0, nil
}

// old returns the entries of a log that are old enough, up to the budget.
func (p *pruner) old(v view, l *prunedLog, budget *int) (old []record, done bool, err error) {
	prefix := classKey(l.num, l.class)
	c := v.bucket("log").Cursor()
	for k, sealed := c.Seek(logKey(l.num, l.class, l.seen+1)); bytes.HasPrefix(k, prefix); k, sealed = c.Next() {
		if *budget <= 0 {
			return old, false, nil
		}
		*budget--
		r, err := v.checked(k, sealed)
		if err != nil {
			return nil, false, err
		}
		if r.received.Before(p.before) {
			old = append(old, r)
		} else if !r.received.After(p.now) { // a clock that was ahead holds nothing up
			break
		}
		l.seen = r.seq
	}
	return old, true, nil
}

// remove deletes an entry, unless it has to stay.
func (p *pruner) remove(v view, l *prunedLog, r *record) error {
	if len(r.key) > 0 {
		at := stateKey(l.num, r.key)
		st, ok, err := get(v, "states", at, parseState)
		if err != nil {
			return err
		}
		if ok && st.seq == r.seq {
			if st.open || st.kind == carewire.KindVital {
				return nil
			}
			if err := errors.Join(v.bucket("states").Delete(at), v.bucket("changes").Delete(changeKey(st.change))); err != nil {
				return err
			}
		}
	}
	if len(r.id) > 0 {
		at := idKey(l.num, r.sender, r.id)
		expires := r.received.Add(rememberIDs)
		if !r.kind.Droppable() && expires.After(p.now) {
			if err := put(v.bucket("expiry"), timeKey(expires, at), nil); err != nil {
				return err
			}
		} else if err := v.bucket("ids").Delete(at); err != nil {
			return err
		}
	}
	mark := append(numKey(l.num), byte(r.kind))
	up, _, err := get(v, "pruned", mark, func(b []byte) (uint64, error) {
		d := decoder{b: b}
		seq := d.uint64()
		return seq, d.done()
	})
	if err != nil {
		return err
	}
	return errors.Join(
		put(v.bucket("pruned"), mark, binary.BigEndian.AppendUint64(nil, max(up, r.seq))),
		v.bucket("log").Delete(logKey(l.num, l.class, r.seq)),
	)
}

// forget deletes IDs that have been remembered for long enough.
func (p *pruner) forget(v view, budget int) (changed, last bool, err error) {
	expiry := v.bucket("expiry")
	var keys [][]byte
	c := expiry.Cursor()
	for k, sealed := c.First(); k != nil && len(keys) < budget; k, sealed = c.Next() {
		if _, err := unseal(k, sealed); err != nil || len(k) < 12+8 {
			return false, false, damaged("expiry", ErrCorrupt)
		}
		if bytes.Compare(k[:12], timeKey(p.now, nil)) > 0 {
			break
		}
		keys = append(keys, bytes.Clone(k))
	}
	for _, k := range keys {
		if err := errors.Join(v.bucket("ids").Delete(k[12:]), expiry.Delete(k)); err != nil {
			return false, false, err
		}
	}
	return len(keys) > 0, len(keys) < budget, nil
}
