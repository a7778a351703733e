//go:build unix

package storetest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/carewire/carewire"
)

// A diskStore is a MemoryStore that writes down its entries and reads them when
// it is opened: slow, and simple enough to be right. Its points can be broken.
type diskStore struct {
	*carewire.MemoryStore
	mu     sync.Mutex
	lock   *os.File
	log    *os.File
	epoch  string
	epochs map[string][]carewire.Position
	failed error
	points
	disk disk
}

// disk is a test's hold on the disk under a store.
type disk struct{ broken, full bool }

// points are the ways in which a store can be wrong.
type points struct {
	late        bool // it answers before it has written
	noLock      bool // it lets in a second opener
	noEpoch     bool // an older copy has no epoch of its own
	newEpoch    bool // every opening has one
	goesOn      bool // after a failed write
	showsFailed bool // it shows entries that were not written
	believes    bool // it does not look whether it has written
	allAtOnce   bool // it refuses vitals and alerts together
	numbersFull bool // an entry that it refuses for lack of room takes a number
	fatal       bool // a full disk is an error of the whole call
	change      func(e *carewire.Entry)
}

var (
	errLocked = errors.New("disk: locked")
	errFailed = errors.New("disk: failed")
)

// line is one line of the file.
type line struct {
	Epoch   string
	Entries []carewire.Entry
}

func openDisk(path string, newEpoch bool, wrong points) (*diskStore, error) {
	lock, err := os.OpenFile(path+".lock", os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil && !wrong.noLock {
		return nil, errLocked
	}
	s := &diskStore{MemoryStore: carewire.NewMemoryStore(nil), lock: lock, epochs: map[string][]carewire.Position{}, points: wrong}
	if s.log, err = os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(s.log)
	lines.Buffer(nil, 1<<20)
	end := int64(0)
	for lines.Scan() {
		var l line
		if json.Unmarshal(lines.Bytes(), &l) != nil {
			break // half a line, which was never confirmed
		}
		end += int64(len(lines.Bytes())) + 1
		if l.Epoch != "" {
			s.epoch = l.Epoch
		}
		for i := range l.Entries {
			if s.change != nil {
				s.change(&l.Entries[i])
			}
		}
		s.take(l.Entries)
	}
	if _, err := s.log.Seek(end, 0); err != nil {
		return nil, err
	}
	if s.epoch == "" || newEpoch && !s.noEpoch || s.newEpoch {
		s.epoch = rand.Text()
		err = s.write(line{Epoch: s.epoch})
	}
	return s, err
}

func (s *diskStore) write(l line) error {
	if s.disk.broken {
		return syscall.EIO
	}
	text, err := json.Marshal(l)
	if err == nil {
		_, err = s.log.Write(append(text, '\n'))
	}
	return err
}

// take takes entries into memory.
func (s *diskStore) take(entries []carewire.Entry) []carewire.AppendResult {
	results, _ := s.MemoryStore.Append(context.Background(), entries)
	for i := range results {
		a, patient := &results[i], entries[i].Patient
		if a.Err == nil && !a.Repeated {
			list := s.epochs[patient]
			if n := len(list); n > 0 && list[n-1].Epoch == s.epoch {
				list = list[:n-1]
			}
			s.epochs[patient] = append(list, carewire.Position{Epoch: s.epoch, Seq: a.Seq})
		}
		a.Epoch = s.epochOf(patient, a.Seq)
	}
	return results
}

func (s *diskStore) epochOf(patient string, seq uint64) string {
	for _, p := range s.epochs[patient] {
		if seq <= p.Seq {
			return p.Epoch
		}
	}
	return ""
}

func (s *diskStore) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failed != nil {
		return nil, s.failed
	}
	if s.disk.full {
		return s.appendFull(ctx, entries)
	}
	l := line{Entries: entries}
	if s.late {
		time.AfterFunc(time.Minute, func() { // long after a child process is killed
			s.mu.Lock()
			defer s.mu.Unlock()
			_ = s.write(l)
		})
	} else if err := s.write(l); err != nil && !s.believes {
		if s.showsFailed {
			s.take(entries)
		}
		if !s.goesOn {
			s.failed = errFailed
		}
		return nil, errFailed
	}
	return s.take(entries), ctx.Err()
}

// appendFull refuses new entries: vitals, and others if there is no reserve.
func (s *diskStore) appendFull(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	if s.fatal {
		return nil, carewire.ErrFull
	}
	results := make([]carewire.AppendResult, len(entries))
	for i, e := range entries {
		log, _ := s.MemoryStore.Read(ctx, e.Patient, carewire.Position{}, carewire.ReadQuery{Limit: 10_000})
		known := slices.ContainsFunc(log, func(o carewire.Entry) bool { return o.ID == e.ID && o.Sender == e.Sender })
		if !known && (e.Kind == carewire.KindVital || s.allAtOnce) {
			results[i].Err = carewire.ErrFull
			if s.numbersFull {
				s.take([]carewire.Entry{vital(e.Patient, "ghost", 0)})
			}
			continue
		}
		if !known {
			_ = s.write(line{Entries: []carewire.Entry{e}}) // from the reserve
		}
		results[i] = s.take([]carewire.Entry{e})[0]
	}
	return results, nil
}

func (s *diskStore) Durable() bool { return true }

func (s *diskStore) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	// Closing alone would leave the lock to a child that another test is just starting.
	unlocked := syscall.Flock(int(s.lock.Fd()), syscall.LOCK_UN)
	return errors.Join(s.MemoryStore.Close(), s.log.Close(), unlocked, s.lock.Close())
}

// Entries that come back have the epochs that were written, not the
// MemoryStore's.

func (s *diskStore) told(entries []carewire.Entry) []carewire.Entry {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range entries {
		entries[i].Epoch = s.epochOf(entries[i].Patient, entries[i].Seq)
	}
	return entries
}

func (s *diskStore) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	entries, err := s.MemoryStore.Read(ctx, patient, after, q)
	return s.told(entries), err
}

func (s *diskStore) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	e, err := s.MemoryStore.Get(ctx, patient, key)
	return s.told([]carewire.Entry{e})[0], err
}

func (s *diskStore) Waiting(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
	entries, err := s.MemoryStore.Waiting(ctx, due, limit)
	return s.told(entries), err
}

func (s *diskStore) Changed(ctx context.Context, mark string, limit int) ([]carewire.Entry, string, error) {
	entries, next, err := s.MemoryStore.Changed(ctx, mark, limit)
	return s.told(entries), next, err
}

func (s *diskStore) Heads(ctx context.Context, list []string) ([]carewire.Head, error) {
	heads, err := s.MemoryStore.Heads(ctx, list)
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range heads {
		s.end(&heads[i])
	}
	return heads, err
}

func (s *diskStore) Latest(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
	entries, head, err := s.MemoryStore.Latest(ctx, patient)
	s.mu.Lock()
	s.end(&head)
	s.mu.Unlock()
	return s.told(entries), head, err
}

func (s *diskStore) end(h *carewire.Head) {
	h.Epoch = s.epochOf(h.Patient, h.Seq)
	h.Epochs = slices.Clone(s.epochs[h.Patient])
}
