// Stores that fail as a test says, or note their calls.

package carewire

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// seam is a Store into whose calls a test can step.
type seam struct {
	Store
	appending func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error)
	reading   func()                        // called before each Latest
	failing   atomic.Bool                   // every call fails
	hanging   atomic.Pointer[chan struct{}] // no call returns before it is closed, even if its context has ended
	calls     atomic.Int64
}

// fault is the error, or the wait, of every call.
func (s *seam) fault() error {
	if gate := s.hanging.Load(); gate != nil {
		<-*gate
	}
	if s.failing.Load() {
		return errInjected
	}
	return nil
}

var errInjected = errors.New("injected")

func (s *seam) Append(ctx context.Context, entries []Entry) ([]AppendResult, error) {
	s.calls.Add(1)
	if err := s.fault(); err != nil {
		return nil, err
	}
	if s.appending != nil {
		return s.appending(s.Store, ctx, entries)
	}
	return s.Store.Append(ctx, entries)
}

func (s *seam) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	return s.Store.Read(ctx, patient, after, q)
}

func (s *seam) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	if err := s.fault(); err != nil {
		return nil, Head{}, err
	}
	if s.reading != nil {
		s.reading()
	}
	return s.Store.Latest(ctx, patient)
}

func (s *seam) Get(ctx context.Context, patient, key string) (Entry, error) {
	if err := s.fault(); err != nil {
		return Entry{}, err
	}
	return s.Store.Get(ctx, patient, key)
}

func (s *seam) Heads(ctx context.Context, patients []string) ([]Head, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	return s.Store.Heads(ctx, patients)
}

func (s *seam) Changed(ctx context.Context, mark string, limit int) ([]Entry, string, error) {
	if err := s.fault(); err != nil {
		return nil, "", err
	}
	return s.Store.Changed(ctx, mark, limit)
}

func (s *seam) Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error) {
	if err := s.fault(); err != nil {
		return nil, err
	}
	return s.Store.Waiting(ctx, due, limit)
}

// A deaf is a Store that tells of no changes.
type deaf struct{ Store }

func (deaf) Changed(context.Context, string, int) ([]Entry, string, error) {
	return nil, "", errInjected
}

// unreadable is a Store in which no single state can be read for a while.
type unreadable struct {
	Store
	now atomic.Bool
}

func (s *unreadable) Get(ctx context.Context, patient, key string) (Entry, error) {
	if s.now.Load() {
		return Entry{}, errInjected
	}
	return s.Store.Get(ctx, patient, key)
}

// unwritable is a Store that cannot be written while fails is set, and refuses
// for lack of room while full is. With last, the next append is the last that
// succeeds, and nothing can be looked for afterwards.
type unwritable struct {
	Store
	fails, full, last atomic.Bool
}

func (s *unwritable) Append(ctx context.Context, entries []Entry) ([]AppendResult, error) {
	if s.fails.Load() {
		return nil, errors.New("no")
	}
	if s.full.Load() {
		return slices.Repeat([]AppendResult{{Err: ErrFull}}, len(entries)), nil
	}
	defer func() { s.fails.Store(s.last.Load()) }()
	return s.Store.Append(ctx, entries)
}

func (s *unwritable) Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error) {
	if s.fails.Load() {
		return nil, errors.New("no")
	}
	return s.Store.Waiting(ctx, due, limit)
}

// An asked is a Store that counts the calls about each patient.
type asked struct {
	Store
	mu    sync.Mutex
	about map[string]int
}

func (a *asked) note(patient string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.about[patient]++
}

func (a *asked) asked(patient string) int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.about[patient]
}

func (a *asked) Append(ctx context.Context, entries []Entry) ([]AppendResult, error) {
	for i := range entries {
		a.note(entries[i].Patient)
	}
	return a.Store.Append(ctx, entries)
}

func (a *asked) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	a.note(patient)
	return a.Store.Read(ctx, patient, after, q)
}

func (a *asked) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	a.note(patient)
	return a.Store.Latest(ctx, patient)
}

func (a *asked) Get(ctx context.Context, patient, key string) (Entry, error) {
	a.note(patient)
	return a.Store.Get(ctx, patient, key)
}

func (a *asked) Heads(ctx context.Context, patients []string) ([]Head, error) {
	for _, p := range patients {
		a.note(p)
	}
	return a.Store.Heads(ctx, patients)
}
