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
	appending func(next Store, ctx context.Context, entries []Entry) ([]Appended, error)
	reading   func()      // called before each Latest
	failing   atomic.Bool // every call fails
	calls     atomic.Int64
}

var errInjected = errors.New("injected")

func (s *seam) Append(ctx context.Context, entries []Entry) ([]Appended, error) {
	s.calls.Add(1)
	if s.failing.Load() {
		return nil, errInjected
	}
	if s.appending != nil {
		return s.appending(s.Store, ctx, entries)
	}
	return s.Store.Append(ctx, entries)
}

func (s *seam) Read(ctx context.Context, patient string, after Position, q Query) ([]Entry, error) {
	if s.failing.Load() {
		return nil, errInjected
	}
	return s.Store.Read(ctx, patient, after, q)
}

func (s *seam) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	if s.failing.Load() {
		return nil, Head{}, errInjected
	}
	if s.reading != nil {
		s.reading()
	}
	return s.Store.Latest(ctx, patient)
}

func (s *seam) Get(ctx context.Context, patient, key string) (Entry, error) {
	if s.failing.Load() {
		return Entry{}, errInjected
	}
	return s.Store.Get(ctx, patient, key)
}

func (s *seam) Heads(ctx context.Context, patients []string) ([]Head, error) {
	if s.failing.Load() {
		return nil, errInjected
	}
	return s.Store.Heads(ctx, patients)
}

func (s *seam) Changed(ctx context.Context, mark string, limit int) ([]Entry, string, error) {
	if s.failing.Load() {
		return nil, "", errInjected
	}
	return s.Store.Changed(ctx, mark, limit)
}

func (s *seam) Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error) {
	if s.failing.Load() {
		return nil, errInjected
	}
	return s.Store.Waiting(ctx, due, limit)
}
