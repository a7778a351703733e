package boltstore

import (
	"context"
	"sync"
	"time"
)

// A check compares the indexes of a file that was opened with each other, beside
// all else. Until it is done nobody is taken for new: of somebody whose head cannot
// be found, numbers would be given out twice.
type check struct {
	done   chan struct{} // closed when err is there
	err    error
	waited sync.Once
}

const waitForCheck = time.Second // that appends for new patients wait, all together, before they are refused

// Checked waits until the indexes of the file, as they were when it was opened, have
// been compared with each other. nil means that they agree. Anything else matches
// ErrCorrupt: the Store has failed then, and refuses everything. Open does not wait
// for this, so that open entries are known, and told, at once; until then an entry
// of a patient who has no log yet may be refused with carewire.ErrBusy. The error is
// ctx's if that ends first.
func (s *Store) Checked(ctx context.Context) error {
	select {
	case <-s.check.done:
		return s.check.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// startCheck begins the check of the present content of the file.
func (s *Store) startCheck(fresh bool) error {
	s.check.done = make(chan struct{})
	if fresh {
		close(s.check.done)
		return nil
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return err
	}
	go func() {
		err := guard(func() error { return inspectIndexes(view{tx: tx}) })
		if e := guard(tx.Rollback); err == nil {
			err = e
		}
		s.check.err = err
		close(s.check.done) // before s.mu: the writer may wait for it
		if err == nil {
			return
		}
		s.mu.Lock()
		defer s.mu.Unlock()
		if s.failed == nil {
			s.failed = failed(err)
		}
	}()
	return nil
}

// mayBeNew reports whether a patient without a head is new.
func (s *Store) mayBeNew() bool {
	s.check.waited.Do(func() {
		select {
		case <-s.check.done:
		case <-time.After(waitForCheck):
		}
	})
	select {
	case <-s.check.done:
		return s.check.err == nil
	default:
		return false
	}
}
