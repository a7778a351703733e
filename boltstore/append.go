package boltstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// request is one Append on its way to the writer.
type request struct {
	ctx     context.Context
	items   []item
	results []carewire.Appended
	err     error
	done    chan struct{} // closed when results and err are there
}

// item is an entry to be written; it shares no slice with the caller.
type item struct {
	patient, key, sender, id string
	kind                     carewire.Kind
	open                     bool
	rev                      uint64
	due, time                time.Time
	sum                      [16]byte
	encoded                  []byte
}

const (
	maxName = 4096     // bytes in a patient, key, sender or ID
	maxData = 16 << 20 // bytes in the other fields together

	maxFlush = 1024      // entries that share a commit, unless one Append has more
	perEntry = 32 * 1024 // bytes that an entry may cost in new pages, estimated with care
)

var errTooLong = fmt.Errorf("boltstore: an entry is too long: Patient, Key, Sender and ID may have %d bytes each, Data and To %d", maxName, maxData)

// Append implements [carewire.Store]. If ctx ends while the batch waits for its
// turn nothing is written; if it ends while it is being written, its outcome is
// unknown. The error matches ErrFailed if the Store has failed.
func (s *Store) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.Appended, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	r := &request{ctx: ctx, items: make([]item, len(entries)), done: make(chan struct{})}
	for i := range entries {
		e := &entries[i]
		r.items[i] = item{e.Patient, e.Key, e.Sender, e.ID, e.Kind, e.Open, e.Rev, e.Due, e.Time, e.Sum, encodeEntry(e)}
		if max(len(e.Patient), len(e.Key), len(e.Sender), len(e.ID)) > maxName || len(r.items[i].encoded) > maxData {
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
	var need, needOthers int64
	for _, r := range batch {
		if r.err = r.ctx.Err(); r.err != nil {
			continue
		}
		for _, it := range r.items {
			cost := int64(perEntry + len(it.encoded))
			need += cost
			if it.kind != carewire.KindVital {
				needOthers += cost
			}
		}
	}
	err := s.update(func(tx *bbolt.Tx) error {
		room, err := s.room(tx, need+s.reserve)
		if err != nil {
			return err
		}
		f := &flush{
			view: view{tx, s.epochs}, heads: map[string]*head{}, states: map[string]*liveState{},
			vitalsFull: room < need+s.reserve, full: room < needOthers+s.reserve/4, // pruning needs some to make more
		}
		for _, r := range batch {
			if r.err != nil {
				continue
			}
			r.results = make([]carewire.Appended, len(r.items))
			for i := range r.items {
				if r.results[i], r.err = f.append(&r.items[i]); r.err != nil {
					break
				}
			}
		}
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

// room returns how many bytes the file has for new pages, after trying to make
// it as many as wanted.
func (s *Store) room(tx *bbolt.Tx, want int64) (int64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, failed(err)
	}
	stats := s.db.Stats()
	size, pageSize := info.Size(), int64(s.db.Info().PageSize)
	room := size - tx.Size() + int64(stats.FreePageN+stats.PendingPageN)*pageSize
	if room >= want {
		return room, nil
	}
	grow := want - room + s.reserve/2
	if s.maxBytes > 0 {
		grow = min(grow, s.maxBytes+s.reserve-size)
	}
	if grow <= 0 || time.Since(s.full) < time.Second {
		return room, nil
	}
	if err = s.fill(size, grow); err == nil {
		return room + grow, nil
	}
	if errors.Is(err, syscall.ENOSPC) {
		s.full = time.Now()
		err = s.file.Truncate(size)
	}
	if err != nil {
		return 0, failed(err)
	}
	return room, nil
}

// fillWithZeros writes n zeros at the end of the file, so that its pages have
// their place on the disk before they are needed. bbolt alone would only set the
// file's length, and find the disk full in the midst of a commit.
func (s *Store) fillWithZeros(offset, n int64) error {
	_, err := io.Copy(io.NewOffsetWriter(s.file, offset), io.LimitReader(zeros{}, n))
	if err == nil {
		err = s.file.Sync()
	}
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}

// flush is one transaction of the writer. Heads and states are read once and
// written once, at its end.
type flush struct {
	view
	heads            map[string]*head
	states           map[string]*liveState // by stateKey
	vitalsFull, full bool
	dirty            bool  // something is to be committed
	failed           error // why it cannot be
}

// liveState is a state as it is in the file, and as it will be.
type liveState struct{ was, now state }

// append numbers and writes one entry. An error is about what is in the file
// already, and comes before anything was written for the entry.
func (f *flush) append(it *item) (carewire.Appended, error) {
	h, err := f.head(it.patient)
	if err != nil {
		return carewire.Appended{}, err
	}
	if it.id != "" && h.num != 0 {
		known, ok, err := get(f.view, "ids", idKey(h.num, it.sender, it.id), parseID)
		switch {
		case err == nil && ok && known.epoch >= uint32(len(f.epochs)):
			return carewire.Appended{}, damaged("ids", ErrCorrupt)
		case err != nil:
			return carewire.Appended{}, err
		case ok && known.sum != it.sum:
			return carewire.Appended{Err: carewire.ErrIDReused}, nil
		case ok:
			at := carewire.Position{Epoch: f.epochs[known.epoch], Seq: known.seq}
			return carewire.Appended{Position: at, Must: known.must, Repeated: true}, nil
		}
	}
	s, err := f.state(h, it.key)
	if err != nil {
		return carewire.Appended{}, err
	}
	if it.rev != 0 && it.rev != s.now.rev+1 {
		return carewire.Appended{Err: carewire.ErrConflict}, nil
	}
	if f.full || f.vitalsFull && it.kind == carewire.KindVital {
		return carewire.Appended{Err: carewire.ErrFull}, nil
	}
	return f.write(h, s, it), nil
}

func (f *flush) head(patient string) (*head, error) {
	if h := f.heads[patient]; h != nil {
		return h, nil
	}
	h, err := f.view.head(patient)
	if err != nil {
		return nil, err
	}
	f.heads[patient] = &h
	return &h, nil
}

func (f *flush) state(h *head, key string) (*liveState, error) {
	if key == "" || h.num == 0 {
		return &liveState{}, nil
	}
	at := stateKey(h.num, key)
	if s := f.states[string(at)]; s != nil {
		return s, nil
	}
	was, _, err := get(f.view, "states", at, parseState)
	if err != nil {
		return nil, err
	}
	s := &liveState{was, was}
	f.states[string(at)] = s
	return s, nil
}

// must remembers the first error of writing, after which nothing is committed.
func (f *flush) must(err error) {
	if f.failed == nil {
		f.failed = err
	}
}

// write takes the entry into the log.
func (f *flush) write(h *head, s *liveState, it *item) carewire.Appended {
	f.dirty = true
	if h.num == 0 {
		num, err := f.bucket("heads").NextSequence()
		f.must(err)
		h.num = num
	}
	epoch, seq := uint32(len(f.epochs)-1), h.seq()+1
	if n := len(h.epochs); n == 0 || h.epochs[n-1].epoch != epoch {
		h.epochs = append(h.epochs, epochEnd{epoch: epoch})
	}
	h.epochs[len(h.epochs)-1].seq = seq
	if !it.kind.Droppable() {
		h.must++
	}
	place(it.encoded, epoch, seq, h.must)
	f.must(put(f.bucket("log"), logKey(h.num, class(it.kind), seq), it.encoded))
	if it.id != "" {
		known := knownID{it.sum, epoch, seq, h.must}
		f.must(put(f.bucket("ids"), idKey(h.num, it.sender, it.id), known.encode()))
	}
	if it.key != "" {
		f.states[string(stateKey(h.num, it.key))] = s
		s.now.rev = max(s.now.rev, it.rev)
		if s.now.seq == 0 || it.kind != carewire.KindVital || !it.time.Before(s.now.time) {
			s.now.seq, s.now.kind, s.now.open, s.now.due, s.now.time = seq, it.kind, it.open, it.due.UTC(), it.time.UTC()
		}
	}
	return carewire.Appended{Position: carewire.Position{Epoch: f.epochs[epoch], Seq: seq}, Must: h.must}
}

// finish writes the heads and states, and the indexes that follow from them.
func (f *flush) finish() error {
	if !f.dirty {
		return errNothing
	}
	for patient, h := range f.heads {
		if h.num != 0 {
			f.must(put(f.bucket("heads"), headKey(patient), h.encode()))
		}
	}
	keys := make([]string, 0, len(f.states))
	for key, s := range f.states {
		if s.now != s.was {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys) // neighbours are on one page
	for _, key := range keys {
		f.must(f.move([]byte(key), f.states[key]))
	}
	return f.failed
}

// move writes the state and takes it to its new place in the indexes.
func (f *flush) move(key []byte, s *liveState) error {
	due, changes := f.bucket("due"), f.bucket("changes")
	var errs []error
	if s.was.waits() {
		errs = append(errs, due.Delete(timeKey(s.was.due, key)))
	}
	if s.was.change != 0 {
		errs = append(errs, changes.Delete(changeKey(s.was.change)))
	}
	if s.now.waits() {
		errs = append(errs, put(due, timeKey(s.now.due, key), nil))
	}
	s.now.change = 0
	if !s.now.kind.Droppable() {
		count, err := changes.NextSequence()
		s.now.change = count
		errs = append(errs, err, put(changes, changeKey(count), encodeChange(s.now.open, key)))
	}
	errs = append(errs, put(f.bucket("states"), key, s.now.encode()))
	return errors.Join(errs...)
}
