package spread

import (
	"context"
	"errors"
	"sync"

	"github.com/carewire/carewire"
)

// of returns the member that has a patient.
func (s *Store) of(patient string) carewire.Store {
	t := s.table.Load()
	return s.members[t.owner[partOf(patient, len(t.Owners))]].Store
}

// shares returns, for each member, the places of its items in a list.
func (s *Store) shares(n int, patient func(i int) string) map[int][]int {
	t := s.table.Load()
	of := map[int][]int{}
	for i := range n {
		m := t.owner[partOf(patient(i), len(t.Owners))]
		of[m] = append(of[m], i)
	}
	return of
}

// each calls f for each share at the same time, and joins their errors.
func (s *Store) each(shares map[int][]int, f func(m carewire.Store, places []int) error) error {
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i, places := range shares {
		do := func() {
			if err := f(s.members[i].Store, places); err != nil {
				mu.Lock()
				failed = errors.Join(failed, err)
				mu.Unlock()
			}
		}
		if len(shares) == 1 {
			do()
		} else {
			all.Go(do)
		}
	}
	all.Wait()
	return failed
}

// pick returns the values at places.
func pick[T any](list []T, places []int) []T {
	some := make([]T, len(places))
	for k, i := range places {
		some[k] = list[i]
	}
	return some
}

var errContract = errors.New("spread: a member broke the contract of a Store")

// Append implements [carewire.Store]. Entries of several members are no single
// transaction: after an error some of them may be in the log.
func (s *Store) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	results := make([]carewire.AppendResult, len(entries))
	err := s.each(s.shares(len(entries), func(i int) string { return entries[i].Patient }), func(m carewire.Store, places []int) error {
		some, err := m.Append(ctx, pick(entries, places))
		if err == nil && len(some) != len(places) {
			err = errContract
		}
		if err != nil {
			return err
		}
		for k, i := range places {
			results[i] = some[k]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return results, nil
}

// Read implements [carewire.Store].
func (s *Store) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	return s.of(patient).Read(ctx, patient, after, q)
}

// Latest implements [carewire.Store].
func (s *Store) Latest(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
	if err := s.usable(ctx); err != nil {
		return nil, carewire.Head{}, err
	}
	return s.of(patient).Latest(ctx, patient)
}

// Get implements [carewire.Store].
func (s *Store) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	if err := s.usable(ctx); err != nil {
		return carewire.Entry{}, err
	}
	return s.of(patient).Get(ctx, patient, key)
}

// States implements [carewire.StateReader].
func (s *Store) States(ctx context.Context, keys []carewire.StateKey) ([]carewire.Entry, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	var mu sync.Mutex
	var found []carewire.Entry
	err := s.each(s.shares(len(keys), func(i int) string { return keys[i].Patient }), func(m carewire.Store, places []int) error {
		some, err := states(ctx, m, pick(keys, places))
		mu.Lock()
		defer mu.Unlock()
		found = append(found, some...)
		return err
	})
	if err != nil {
		return nil, err
	}
	return found, nil
}

// states asks one member, at once if it can.
func states(ctx context.Context, m carewire.Store, keys []carewire.StateKey) (found []carewire.Entry, err error) {
	if r, ok := m.(carewire.StateReader); ok {
		return r.States(ctx, keys)
	}
	for _, k := range keys {
		e, err := m.Get(ctx, k.Patient, k.Key)
		if err == nil {
			found = append(found, e)
		} else if !errors.Is(err, carewire.ErrNotFound) {
			return nil, err
		}
	}
	return found, nil
}

// Heads implements [carewire.Store].
func (s *Store) Heads(ctx context.Context, patients []string) ([]carewire.Head, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	heads := make([]carewire.Head, len(patients))
	err := s.each(s.shares(len(patients), func(i int) string { return patients[i] }), func(m carewire.Store, places []int) error {
		some, err := m.Heads(ctx, pick(patients, places))
		if err == nil && len(some) != len(places) {
			err = errContract
		}
		if err != nil {
			return err
		}
		for k, i := range places {
			heads[i] = some[k]
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return heads, nil
}

// Erase implements [carewire.Eraser].
func (s *Store) Erase(ctx context.Context, patient string) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	return s.of(patient).(carewire.Eraser).Erase(ctx, patient)
}
