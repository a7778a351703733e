package boltstore

import (
	"bytes"
	"encoding/binary"
	"maps"
	"slices"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// Vitals are written twice. A commit writes all of its vitals into the journal
// at once, and they stay in memory. Later each patient's vitals are settled:
// they go to their log together, with their indexes, which costs far less than
// one by one. Fully settled journals are deleted; Open reads the remaining
// ones.
//
// The values of a journal make up one sequence of bytes: the count of the
// oldest journal that is still needed, the entries, each with its length, and
// the checksum.
const maxUnsettled = 256 * 1024 // bytes that one patient may have unsettled

// patient is a patient's log as far as it is not in the file yet, or not looked
// up there again and again. It is in memory while it has unsettled vitals.
type patient struct {
	head
	name   string
	states map[string]liveState // some of the states, among them those that differ from the file

	unsettled []held
	ids       map[digest]uint64 // the numbers of those that have an ID
	bytes     int64
	heavy     bool   // among those of the store
	since     uint64 // the count of the journal that the first one is in
	from      int64  // the bytes of all journals before that one

	hasDigests, hasIDs bool // whether it is worth while to look there
}

// held is an encoded vital, a part of its journal; it never changes.
type held struct {
	seq     uint64
	encoded []byte
}

// liveState is a state as it is in the file, and as it will be.
type liveState struct{ was, now state }

// clone returns the parts that readers need, so that p can go on.
func (p *patient) clone() *patient {
	c := &patient{head: p.head, name: p.name, states: maps.Clone(p.states), unsettled: p.unsettled}
	c.epochs = slices.Clone(p.epochs)
	return c
}

// hold keeps a vital in memory until it is settled.
func (s *Store) hold(p *patient, v held, id digest, hasID bool, journal uint64) {
	if len(p.unsettled) == 0 {
		p.since, p.from = journal, s.journaled
		p.ids, p.heavy = map[digest]uint64{}, false
		s.live[p.name] = p
		s.oldest = append(s.oldest, p)
	}
	p.unsettled = append(p.unsettled, v)
	if hasID {
		p.ids[id] = v.seq
	}
	p.bytes += int64(len(v.encoded))
	if !p.heavy && (p.bytes > maxUnsettled || s.settleCost(p) > s.reserve/4) {
		p.heavy = true
		s.heavy = append(s.heavy, p)
	}
}

// ripe returns the patients to settle before a journal of so many bytes is
// written, and the cost: patients with much unsettled data, and patients who
// need old journals. It returns a few at a time, with about twice the data of
// the write; all at once would find no room.
func (s *Store) ripe(more int64) (ripe []*patient, cost int64) {
	early := 2 * more
	take := func(p *patient) {
		ripe = append(ripe, p)
		cost += s.settleCost(p)
		early -= p.bytes
	}
	s.heavy = slices.DeleteFunc(s.heavy, func(p *patient) bool { return s.live[p.name] != p })
	for _, p := range s.heavy {
		if early > 0 {
			take(p)
		}
	}
	for _, p := range s.oldest {
		kept := s.journaled + more - p.from
		if kept <= s.maxJournals/2 || kept <= s.maxJournals && early <= 0 {
			break
		}
		if s.live[p.name] == p && !slices.Contains(ripe, p) {
			take(p)
		}
	}
	return ripe, cost
}

// settle writes all of a patient to its place in the file. An error is final,
// because the state in memory has changed.
func (s *Store) settle(v view, p *patient) error {
	if err := v.number(p); err != nil {
		return failed(err)
	}
	log := v.bucket("log")
	var entries []byte
	for i, one := range p.unsettled {
		entries = appendBytes(entries, one.encoded)
		last := i == len(p.unsettled)-1
		if last || len(entries)+4+len(p.unsettled[i+1].encoded)+4 > piece {
			if err := putLong(log, logKey(p.num, vitals, one.seq), entries); err != nil {
				return failed(err)
			}
			entries = make([]byte, 0, piece)
		}
	}
	for key := range p.states {
		if err := v.move(p, key); err != nil {
			return failed(err)
		}
	}
	if err := v.settleDigests(p.num, p.ids); err != nil {
		return failed(err)
	}
	p.settled = p.counts[vitals]
	if err := put(v.bucket("heads"), headKey(p.name), p.encode()); err != nil {
		return failed(err)
	}
	delete(s.live, p.name)
	p.states, p.unsettled, p.ids = nil, nil, nil // it may be among the oldest and heavy for a while
	return nil
}

// number gives a patient a number, if it has none.
func (v view) number(p *patient) (err error) {
	if p.num == 0 {
		p.num, err = v.bucket("heads").NextSequence()
	}
	return err
}

// writeJournal writes the entries of a commit, and deletes the journals that
// nobody needs any more.
func (s *Store) writeJournal(v view, count uint64, entries []byte) error {
	for len(s.oldest) > 0 && s.live[s.oldest[0].name] != s.oldest[0] {
		s.oldest = s.oldest[1:]
	}
	needed := count
	if len(s.oldest) > 0 {
		needed = s.oldest[0].since
	}
	journals := v.bucket("journal")
	for ; s.journal < needed; s.journal++ {
		if err := deleteLong(journals, countKey(s.journal)); err != nil {
			return err
		}
	}
	s.journaled += int64(len(entries))
	binary.BigEndian.PutUint64(entries, needed)
	return putJournal(journals, count, seal(countKey(count), entries))
}

func putJournal(journals *bbolt.Bucket, count uint64, sealed []byte) error {
	journals.FillPercent = 1 // there will be nothing in between
	n := uint32(0)
	for part := range slices.Chunk(sealed, piece) {
		if err := journals.Put(binary.BigEndian.AppendUint32(countKey(count), n), part); err != nil {
			return err
		}
		n++
	}
	return nil
}

// readJournal returns the entries of a journal as writeJournal was given them.
func (v view) readJournal(count uint64) ([]byte, error) {
	var sealed []byte
	c := v.bucket("journal").Cursor()
	for k, part := c.Seek(countKey(count)); bytes.HasPrefix(k, countKey(count)); k, part = c.Next() {
		sealed = append(sealed, part...)
	}
	entries, err := unseal(countKey(count), sealed)
	if err == nil && len(entries) < 8 {
		err = ErrCorrupt
	}
	return entries, damaged("journal", err)
}

// replay takes into memory the entries in the journals that are not settled.
func (s *Store) replay(v view) error {
	journals := v.bucket("journal")
	last := journals.Sequence()
	first, _ := journals.Cursor().First()
	if last == 0 && first == nil {
		s.journal = 1
		return nil
	}
	entries, err := v.readJournal(last)
	if err != nil {
		return err
	}
	s.journal = binary.BigEndian.Uint64(entries)
	if !bytes.HasPrefix(first, countKey(s.journal)) {
		return damaged("journal", ErrCorrupt)
	}
	for count := s.journal; count <= last; count++ {
		if entries, err = v.readJournal(count); err != nil {
			return err
		}
		s.journaled += int64(len(entries))
		d := decoder{b: entries[8:]}
		for len(d.b) > 0 {
			if err := s.replayEntry(v, d.bytes(), count); err != nil {
				return damaged("journal", err)
			}
		}
		if d.bad {
			return damaged("journal", ErrCorrupt)
		}
	}
	return v.bucket("heads").ForEach(func(k, sealed []byte) error {
		p, err := v.patient(string(k[1:]))
		if err == nil && p.settled+uint64(len(p.unsettled)) != p.counts[vitals] {
			err = damaged("journal", ErrCorrupt)
		}
		return err
	})
}

func (s *Store) replayEntry(v view, encoded []byte, journal uint64) error {
	r, err := parseEntry(encoded)
	if err != nil || r.kind != carewire.KindVital {
		return ErrCorrupt
	}
	p, err := v.patient(string(r.patient))
	if err != nil || r.count <= p.settled {
		return err
	}
	if p, err = v.load(p.name); err != nil {
		return err
	}
	if r.count != p.settled+uint64(len(p.unsettled))+1 {
		return ErrCorrupt
	}
	if r.seq > p.seq() { // else an entry of another kind has written a head that knows of it
		if p.advance(r.epoch, vitals) != r.seq || p.counts[vitals] != r.count {
			return ErrCorrupt
		}
	}
	if key := string(r.key); key != "" {
		st, err := v.state(p, key)
		if err != nil {
			return err
		}
		if r.seq > st.now.seq { // else the state knows of it
			st.now.take(r.kind, r.seq, r.rev, r.open, r.due, r.time, r.received)
		}
		p.states[key] = st
	}
	s.hold(p, held{r.seq, encoded}, digestOf(string(r.sender), string(r.id)), len(r.id) > 0, journal)
	return nil
}

func countKey(count uint64) []byte { return binary.BigEndian.AppendUint64(nil, count) }
