package boltstore

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"math"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

const (
	rememberIDs = 400 * 24 * time.Hour

	// perPrune is how many entries one transaction of Prune looks at, while
	// appending waits for it; fewer if there is little room for new pages.
	perPrune = 2000

	perPruned = 8 // pages that pruning an entry may cost
)

// Prune implements [carewire.Pruner]. It works in short transactions, between
// which appending goes on; if ctx ends it has done a part. A log is in the order
// of Received, so it is read only up to the first entry that is still kept:
// entries received out of order go when those before them do. The error matches
// carewire.ErrFull if there is no room to make some.
func (s *Store) Prune(ctx context.Context, now time.Time, keep carewire.Retention) error {
	p := &pruner{store: s, now: now}
	for again := true; again; again = p.crowded && p.removed {
		if err := p.prune(ctx, keep); err != nil {
			return err
		}
	}
	return s.pruneSteps(ctx, p.forget)
}

// prune prunes all logs once.
func (p *pruner) prune(ctx context.Context, keep carewire.Retention) error {
	s := p.store
	s.mu.RLock()
	p.live, p.crowded, p.removed = slices.Clone(s.oldest), false, false
	s.mu.RUnlock()
	if err := s.pruneSteps(ctx, p.settle); err != nil {
		return err
	}
	var patients []string
	err := s.view(ctx, nil, func(v view) error {
		return v.bucket("heads").ForEach(func(k, _ []byte) error {
			patients = append(patients, string(k[1:]))
			return nil
		})
	})
	if err != nil {
		return err
	}
	for class, age := range [classes]time.Duration{vitals: keep.Vitals, undroppable: keep.Others, timers: keep.Vitals} {
		if age <= 0 {
			continue
		}
		p.before = p.now.Add(-age)
		for _, patient := range patients {
			p.logs = append(p.logs, prunedLog{patient: patient, class: byte(class)})
		}
		if err := s.pruneSteps(ctx, p.log); err != nil {
			return err
		}
	}
	return nil
}

// pruneSteps commits steps until one reports that it was the last. A step gets
// the number of entries that it may look at, which depends on the room. During
// a read, freed pages cannot be reused: then pruneSteps leaves alerts their
// part of the reserve, and waits a second for the read to end.
func (s *Store) pruneSteps(ctx context.Context, step func(v view, entries int) (changed, last bool, err error)) error {
	tries := 0
	for last := false; !last; {
		if err := ctx.Err(); err != nil {
			return err
		}
		err := s.update(func(v view) error {
			room, err := s.room(v.tx, 0)
			if err != nil {
				return err
			}
			if !s.quiet {
				room -= s.reserve / 4 * 3
			}
			entries := int(min(room/s.pageSize-perCommit, perPrune*perPruned) / perPruned)
			if entries < 1 {
				return carewire.ErrFull
			}
			s.need = int64(perCommit+perPruned*entries) * s.pageSize
			changed, end, err := step(v, entries)
			last = end
			if err == nil && !changed {
				return errNothing
			}
			return err
		})
		if tries++; errors.Is(err, carewire.ErrFull) && tries < 100 {
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if err != nil && !errors.Is(err, errNothing) {
			return err
		}
		tries = 0
	}
	return nil
}

// pruner prunes the logs, one after the other.
type pruner struct {
	store       *Store
	now, before time.Time
	live        []*patient  // still to be settled, for only settled entries are pruned
	logs        []prunedLog // still to be pruned
	crowded     bool        // some were not settled for lack of room
	removed     bool        // something was pruned, which makes some
}

type prunedLog struct {
	patient string
	class   byte
	seen    uint64 // looked through up to this number
	pruned  uint64 // the greatest number pruned now
}

// settle settles some patients, those with the oldest journals first, and
// deletes journals that are no longer needed. It takes no more than half of the
// reserve: a patient without room now may have room after others were pruned.
func (p *pruner) settle(v view, _ int) (changed, last bool, err error) {
	s := p.store
	spent := perCommit * s.pageSize
	for ; len(p.live) > 0; p.live = p.live[1:] {
		one := p.live[0]
		if v.live[one.name] != one {
			continue
		}
		need := spent + s.settleCost(one)
		if changed && need > s.reserve/4 {
			break
		}
		room, err := s.room(v.tx, need+s.reserve)
		if err != nil {
			return false, false, err
		}
		if room < need+s.reserve/2 {
			p.crowded = true
			continue
		}
		changed, spent, s.need = true, need, need
		if err := s.settle(v, one); err != nil {
			return false, false, err
		}
	}
	if changed {
		count, err := v.bucket("journal").NextSequence()
		if err := errors.Join(err, s.writeJournal(v, count, make([]byte, 8, 8+4))); err != nil {
			return false, false, failed(err)
		}
	}
	return changed, len(p.live) == 0, nil
}

// log looks at some entries and deletes those that need not stay.
func (p *pruner) log(v view, entries int) (changed, last bool, err error) {
	for left := entries; left > 0 && len(p.logs) > 0; {
		l := &p.logs[0]
		patient, err := v.patient(l.patient)
		if err != nil {
			return false, false, err
		}
		looked, done, err := p.chunk(v, patient, l)
		if err != nil {
			return false, false, err
		}
		left -= looked + 1
		changed = changed || l.pruned != 0
		p.removed = p.removed || l.pruned != 0
		if done {
			p.logs = p.logs[1:]
		}
	}
	return changed, len(p.logs) == 0, nil
}

// chunk prunes the next chunk of a log, and returns how many entries it has
// looked at and whether it was the last one in which there are old ones.
func (p *pruner) chunk(v view, patient *patient, l *prunedLog) (looked int, done bool, err error) {
	log := v.bucket("log")
	c := log.Cursor()
	k, value := c.Seek(logKey(patient.num, l.class, l.seen+1))
	if !bytes.HasPrefix(k, classKey(patient.num, l.class)) {
		return 0, true, nil
	}
	k, sealed, _, _ := long(c, k, value)
	records, err := chunk(k, sealed, 1, math.MaxUint64)
	if err != nil {
		return 0, false, err
	}
	key := bytes.Clone(k)
	l.seen = binary.BigEndian.Uint64(key[9:])
	var left []byte
	removed := map[carewire.Kind]uint64{}
	for _, r := range records {
		old := r.received.Before(p.before)
		done = done || !old && !r.received.After(p.now) // a clock that was ahead holds nothing up
		keep := done || !old
		if !keep {
			if keep, err = p.remove(v, patient, &r); err != nil {
				return 0, false, err
			}
		}
		if keep {
			left = appendBytes(left, r.encoded)
		} else {
			removed[r.kind], l.pruned = r.seq, max(l.pruned, r.seq)
		}
	}
	if len(removed) == 0 {
		return len(records), done, nil
	}
	if err = deleteLong(log, key); err == nil && len(left) > 0 {
		err = putLong(log, key, left)
	}
	return len(records), done, errors.Join(err, v.mark(patient.num, removed))
}

// remove deletes the parts of an entry, unless it has to stay.
func (p *pruner) remove(v view, patient *patient, r *record) (keep bool, err error) {
	if key := string(r.key); key != "" {
		st, err := v.state(patient, key)
		if err != nil {
			return false, err
		}
		if st.now.seq == r.seq {
			if st.now.open || st.now.kind == carewire.KindVital {
				return true, nil
			}
			delete(patient.states, key) // of one that is live
			if err := errors.Join(v.bucket("states").Delete(stateKey(patient.num, key)), v.bucket("changes").Delete(changeKey(st.now.change))); err != nil {
				return false, err
			}
		}
	}
	switch {
	case len(r.id) == 0:
		return false, nil
	case r.kind == carewire.KindVital:
		return false, v.removeDigest(patient.num, digestOf(string(r.sender), string(r.id)), r.seq)
	}
	return false, p.removeID(v, patient, r)
}

// mark remembers up to where kinds were pruned.
func (v view) mark(num uint64, marks map[carewire.Kind]uint64) error {
	pruned, err := v.pruned(num)
	if err != nil {
		return err
	}
	for kind, seq := range marks {
		key := append(numKey(num), byte(kind))
		if err := put(v.bucket("pruned"), key, binary.BigEndian.AppendUint64(nil, max(pruned[kind], seq))); err != nil {
			return err
		}
	}
	return nil
}

// removeID deletes the ID of an entry that goes, or says when it is to go.
func (p *pruner) removeID(v view, patient *patient, r *record) error {
	at := idKey(patient.num, r.sender, r.id)
	if expires := r.received.Add(rememberIDs); !r.kind.Droppable() && expires.After(p.now) {
		return put(v.bucket("expiry"), timeKey(expires, at), nil)
	}
	return v.bucket("ids").Delete(at)
}

// forget deletes IDs that have been remembered for long enough.
func (p *pruner) forget(v view, entries int) (changed, last bool, err error) {
	expiry := v.bucket("expiry")
	var keys [][]byte
	c := expiry.Cursor()
	for k, sealed := c.First(); k != nil && len(keys) < entries; k, sealed = c.Next() {
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
	return len(keys) > 0, len(keys) < entries, nil
}
