package carewire

import (
	"context"
	"errors"
	"sync/atomic"
	"time"
)

// seam is a Store into whose calls a test can step.
type seam struct {
	Store
	appending func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error)
	reading   func()                        // called before each Latest
	failing   atomic.Bool                   // every call fails
	hanging   atomic.Pointer[chan struct{}] // no call returns before it is closed, whatever its context says
	calls     atomic.Int64
}

// fault is what befalls every call.
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
