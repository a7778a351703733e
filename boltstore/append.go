package boltstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/carewire/carewire"
)

// request is one Append on its way to the writer.
type request struct {
	ctx     context.Context
	items   []item
	results []carewire.AppendResult
	err     error
	done    chan struct{} // closed when results and err are there
}

// item is an entry to be written; it shares no slice with the caller.
type item struct {
	patient, key, sender, id string
	kind                     carewire.Kind
	open, urgent             bool
	rev                      uint64
	due, time, received      time.Time
	sum                      [16]byte
	digest                   digest // if there is an ID
	encoded                  []byte
}

const (
	maxName = 800      // bytes in a patient or key, or in a sender and ID together: a quarter of a page
	maxData = 16 << 20 // bytes in the other fields together

	maxFlush = 1024 // entries that share a commit, unless one Append has more
)

var errTooLong = fmt.Errorf("boltstore: an entry is too long: Patient and Key may have %d bytes each, Sender and ID together, and Data and To %d", maxName, maxData)

// Append implements [carewire.Store]. If ctx ends while the batch waits for its
// turn nothing is written; if it ends while it is being written, its outcome is
// unknown. The error matches ErrFailed if the Store has failed.
func (s *Store) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &request{ctx: ctx, items: make([]item, len(entries)), done: make(chan struct{})}
	for i := range entries {
		e := &entries[i]
		it := &r.items[i]
		*it = item{e.Patient, e.Key, e.Sender, e.ID, e.Kind, e.Open, e.Urgent, e.Rev, e.Due, e.Time, e.Received, e.Sum, digest{}, encodeEntry(e)}
		if e.ID != "" {
			it.digest = digestOf(e.Sender, e.ID)
		}
		if max(len(e.Patient), len(e.Key), len(e.Sender)+len(e.ID)) > maxName || len(it.encoded) > maxData {
			return nil, errTooLong
		}
	}
	select {
	case s.queue <- r:
	case <-s.closing:
		return nil, carewire.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	select {
	case <-r.done:
		return r.results, r.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// write is the writer: it takes all requests that wait and commits them
// together, until the store closes.
func (s *Store) write() {
	defer close(s.written)
	for {
		var batch []*request
		select {
		case r := <-s.queue:
			batch = s.drain(r)
		case <-s.closing:
			return
		}
		s.flush(batch)
		for _, r := range batch {
			if r.err != nil {
				r.results = nil
			}
			close(r.done)
		}
	}
}

// drain returns r and those that wait behind it.
func (s *Store) drain(r *request) []*request {
	batch := []*request{r}
	for n := len(r.items); n < maxFlush; n += len(r.items) {
		select {
		case r = <-s.queue:
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// flush writes the batch in one transaction and gives every request its
// results or error.
func (s *Store) flush(batch []*request) {
	var vitalBytes, needOthers int64 // with the lengths in a journal
	for _, r := range batch {
		if r.err = r.ctx.Err(); r.err != nil {
			continue
		}
		for _, it := range r.items {
			if it.kind == carewire.KindVital {
				vitalBytes += int64(4 + len(it.encoded))
			} else {
				needOthers += s.entryCost(&it)
			}
		}
	}
	err := s.update(func(v view) error {
		ripe, cost := s.ripe(vitalBytes)
		need := perCommit*s.pageSize + needOthers + journalCost(vitalBytes) + cost
		room, err := s.room(v.tx, need+s.reserve)
		if err != nil {
			return err
		}
		f := &flush{
			view: v, store: s, others: map[string]*patient{}, vitalBytes: vitalBytes, need: perCommit * s.pageSize,
			vitalsFull: room < need+s.reserve, room: room,
		}
		if room < s.reserve/2 && !s.quiet {
			s.crowded.Store(true)
		}
		if !f.vitalsFull && vitalBytes > 0 {
			f.need = need
			if err := f.settle(ripe); err != nil {
				return err
			}
		}
		for _, r := range batch {
			if r.err != nil {
				continue
			}
			r.results = make([]carewire.AppendResult, len(r.items))
			for i := range r.items {
				if r.results[i], r.err = f.append(&r.items[i]); r.err != nil {
					break
				}
			}
		}
		s.need = f.need
		return f.finish()
	})
	if errors.Is(err, errNothing) {
		err = nil
	}
	for _, r := range batch {
		if r.err == nil {
			r.err = err
		}
	}
}

// flush is one transaction of the writer. It changes memory as it goes; if the
// transaction cannot be committed then, the store has failed.
type flush struct {
	view
	store      *Store
	others     map[string]*patient // those in use that are not live
	vitalBytes int64
	vitalsFull bool
	room       int64 // bytes for new pages
	need       int64 // that are taken of it

	dirty   bool                // something is to be committed
	failed  error               // why it cannot be
	journal uint64              // its count; 0: no vital was written
	entries []byte              // that go there
	heads   map[*patient]bool   // to be written
	moved   map[movedState]bool // to be written
	atOnce  []*patient          // to be settled together with this write
}

type movedState struct {
	p   *patient
	key string
}

func (f *flush) settle(patients []*patient) error {
	for _, p := range patients {
		f.dirty = true
		if err := f.store.settle(f.view, p); err != nil {
			return err
		}
	}
	return nil
}

// append numbers and writes one entry. An error concerns the entries that are in
// the file already, and comes before anything was written for the entry.
func (f *flush) append(it *item) (carewire.AppendResult, error) {
	p, err := f.patient(it.patient)
	if err != nil {
		return carewire.AppendResult{}, err
	}
	if len(p.epochs) == 0 && !f.store.mayBeNew() {
		return carewire.AppendResult{Err: carewire.ErrBusy}, nil
	}
	if it.id != "" {
		known, ok, err := f.known(p, it)
		switch {
		case err != nil:
			return carewire.AppendResult{}, err
		case ok && known.epoch >= uint32(len(f.epochs)):
			return carewire.AppendResult{}, damaged("ids", ErrCorrupt)
		case ok && known.sum != it.sum:
			return carewire.AppendResult{Err: carewire.ErrIDReused}, nil
		case ok:
			at := carewire.Position{Epoch: f.epochs[known.epoch], Seq: known.seq}
			return carewire.AppendResult{Position: at, Must: known.must, Repeated: true}, nil
		}
	}
	st, err := f.state(p, it.key)
	if err != nil {
		return carewire.AppendResult{}, err
	}
	if it.rev != 0 && it.rev != st.now.rev+1 {
		return carewire.AppendResult{Err: carewire.ErrConflict}, nil
	}
	if !f.fits(p, st, it) {
		return carewire.AppendResult{Err: carewire.ErrFull}, nil
	}
	return f.write(p, st, it), nil
}

// fits reports whether there is room for an entry, and takes it.
func (f *flush) fits(p *patient, st liveState, it *item) bool {
	switch {
	case it.kind != carewire.KindVital && f.vitalsFull:
		need := f.need + f.store.entryCost(it)
		if need > f.store.left(it, f.room) {
			return false
		}
		f.need = need
		return true
	case it.kind != carewire.KindVital:
		return true
	case f.vitalsFull:
		return false
	case atOnce(st, it):
		need := f.need + f.store.settleCost(p) + f.store.entryCost(it)
		room, err := f.store.room(f.tx, need+f.store.reserve)
		f.must(err)
		if room < need+f.store.reserve {
			return false
		}
		f.need = need
	}
	return true
}

// atOnce reports whether a vital is to be settled at once, for the indexes of
// states to know of it.
func atOnce(st liveState, it *item) bool {
	return it.open || st.was.open || st.was.seq != 0 && st.was.kind != carewire.KindVital
}

// patient returns a patient, the same one throughout the flush.
func (f *flush) patient(name string) (*patient, error) {
	if p := f.live[name]; p != nil {
		return p, nil
	}
	if p := f.others[name]; p != nil {
		return p, nil
	}
	p, err := f.load(name)
	if err == nil {
		f.others[name] = p
	}
	return p, err
}

// must remembers the first error of writing, after which nothing is committed.
func (f *flush) must(err error) {
	if f.failed == nil && err != nil {
		f.failed = failed(err)
	}
}

// write takes the entry into the log.
func (f *flush) write(p *patient, st liveState, it *item) carewire.AppendResult {
	f.dirty = true
	epoch, class := uint32(len(f.epochs)-1), class(it.kind)
	seq := p.advance(epoch, class)
	place(it.encoded, epoch, seq, p.must(), p.counts[class])
	if it.key != "" {
		st.now.take(it.kind, seq, it.rev, it.open, it.due, it.time, it.received)
		p.states[it.key] = st
	}
	if class == vitals {
		f.writeVital(p, st, it, seq)
	} else {
		f.writeOther(p, it, seq)
	}
	return carewire.AppendResult{Position: carewire.Position{Epoch: f.epochs[epoch], Seq: seq}, Must: p.must()}
}

func (f *flush) writeVital(p *patient, st liveState, it *item, seq uint64) {
	if f.journal == 0 {
		count, err := f.bucket("journal").NextSequence()
		f.must(err)
		f.journal, f.entries = count, make([]byte, 8, 8+f.vitalBytes+4)
	}
	f.entries = appendBytes(f.entries, it.encoded)
	encoded := f.entries[len(f.entries)-len(it.encoded):]
	f.store.hold(p, held{seq, encoded}, it.digest, it.id != "", f.journal)
	if atOnce(st, it) {
		f.atOnce = append(f.atOnce, p)
	}
}

func (f *flush) writeOther(p *patient, it *item, seq uint64) {
	f.must(f.number(p))
	f.must(putLong(f.bucket("log"), logKey(p.num, class(it.kind), seq), appendBytes(nil, it.encoded)))
	if it.id != "" {
		known := knownID{it.sum, uint32(len(f.epochs) - 1), seq, p.must()}
		f.must(put(f.bucket("ids"), idKey(p.num, it.sender, it.id), known.encode()))
		p.hasIDs = true
	}
	if f.heads == nil {
		f.heads, f.moved = map[*patient]bool{}, map[movedState]bool{}
	}
	f.heads[p] = true
	if it.key != "" {
		f.moved[movedState{p, it.key}] = true
	}
}

// finish writes the states and indexes that follow from the entries.
func (f *flush) finish() error {
	if !f.dirty {
		return errNothing
	}
	for p := range f.heads {
		f.must(put(f.bucket("heads"), headKey(p.name), p.encode()))
	}
	for s := range f.moved {
		f.must(f.move(s.p, s.key))
	}
	for _, p := range f.atOnce {
		if f.live[p.name] == p {
			f.must(f.store.settle(f.view, p))
		}
	}
	if f.journal != 0 {
		f.must(f.store.writeJournal(f.view, f.journal, f.entries))
	}
	return f.failed
}

// move writes a state that has changed and takes it to its new place in the
// indexes.
func (v view) move(p *patient, key string) error {
	st := p.states[key]
	if st.now == st.was {
		return nil
	}
	at, due, changes := stateKey(p.num, key), v.bucket("due"), v.bucket("changes")
	var errs []error
	if st.was.waits() {
		errs = append(errs, due.Delete(timeKey(st.was.due, at)))
	}
	if st.was.change != 0 {
		errs = append(errs, changes.Delete(changeKey(st.was.change)))
	}
	if st.now.waits() {
		errs = append(errs, put(due, timeKey(st.now.due, at), nil))
	}
	st.now.change = 0
	if !st.now.kind.Droppable() {
		count, err := changes.NextSequence()
		st.now.change = count
		errs = append(errs, err, put(changes, changeKey(count), encodeChange(st.now.open, at)))
	}
	switch was, now := st.was.shows(), st.now.shows(); {
	case now && !was:
		errs = append(errs, put(v.bucket("live"), at, nil))
	case was && !now:
		errs = append(errs, v.bucket("live").Delete(at))
	}
	errs = append(errs, put(v.bucket("states"), at, st.now.encode()))
	st.was = st.now
	p.states[key] = st
	return errors.Join(errs...)
}
