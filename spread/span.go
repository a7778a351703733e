package spread

import (
	"context"
	"encoding/json"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// all calls f for every member at the same time, and joins their errors.
func (s *Store) all(f func(member int) error) error {
	var all sync.WaitGroup
	errs := make([]error, len(s.members))
	for i := range s.members {
		all.Go(func() { errs[i] = f(i) })
	}
	all.Wait()
	return errors.Join(errs...)
}

// mark says up to where the changes of each member were seen.
type mark struct {
	Store   string            // the ID
	Members map[string]string // by name
	From    int               // the member to be asked first, by its place in the table
}

// Changed implements [carewire.Store]. The mark holds one of each member. A
// member whose mark is unusable begins again, and no other does.
func (s *Store) Changed(ctx context.Context, from string, limit int) ([]carewire.Entry, string, error) {
	if err := s.usable(ctx); err != nil {
		return nil, "", err
	}
	if limit <= 0 {
		limit = 1000
	}
	id := s.table.Load().Store
	var m mark
	if json.Unmarshal([]byte(from), &m) != nil || m.Store != id || m.Members == nil || m.From < 0 {
		m = mark{Store: id, Members: map[string]string{}}
	}
	var found []carewire.Entry
	first := m.From % len(s.members)
	for i := range s.members {
		at := (first + i) % len(s.members) // the next page begins with another one
		member := s.members[at]
		page, next, err := s.ChangedOf(ctx, at, m.Members[member.Name], limit-len(found))
		if err != nil {
			return nil, "", err
		}
		found = append(found, page...)
		if m.Members[member.Name] = next; len(found) >= limit {
			m.From = at + 1
			break
		}
	}
	text, err := json.Marshal(m)
	return found, string(text), err
}

// ChangedOf implements [carewire.Spread].
func (s *Store) ChangedOf(ctx context.Context, member int, mark string, limit int) ([]carewire.Entry, string, error) {
	if err := s.usable(ctx); err != nil {
		return nil, "", err
	}
	return s.members[member].Store.Changed(ctx, mark, limit)
}

// WaitingOf implements [carewire.Spread].
func (s *Store) WaitingOf(ctx context.Context, member int, due time.Time, limit int) ([]carewire.Entry, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	return s.members[member].Store.Waiting(ctx, due, limit)
}

// Waiting implements [carewire.Store].
func (s *Store) Waiting(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = 1000
	}
	lists := make([][]carewire.Entry, len(s.members))
	err := s.all(func(i int) (err error) {
		lists[i], err = s.WaitingOf(ctx, i, due, limit)
		return err
	})
	if err != nil {
		return nil, err
	}
	found := slices.Concat(lists...)
	slices.SortStableFunc(found, func(a, b carewire.Entry) int { return a.Due.Compare(b.Due) })
	return found[:min(len(found), limit)], nil
}

// Wake implements [carewire.Waker].
func (s *Store) Wake() <-chan []string { return s.wake }

// Now implements [carewire.Clock].
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	if err := s.usable(ctx); err != nil {
		return time.Time{}, err
	}
	if c, ok := s.members[s.home].Store.(carewire.Clock); ok {
		return c.Now(ctx)
	}
	return time.Now(), nil
}

// Durable implements [carewire.Durable].
func (s *Store) Durable() bool {
	for _, m := range s.members {
		if d, ok := m.Store.(carewire.Durable); !ok || !d.Durable() {
			return false
		}
	}
	return true
}

// Prune implements [carewire.Pruner]: all members are asked, one after another,
// and the errors of those that fail are joined.
func (s *Store) Prune(ctx context.Context, now time.Time, keep carewire.Retention) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	var failed error
	for _, m := range s.members {
		failed = errors.Join(failed, m.Store.(carewire.Pruner).Prune(ctx, now, keep))
	}
	return failed
}

// Size implements [carewire.Sizer]. Free is that of the member with the least,
// because it runs out of room first.
func (s *Store) Size(ctx context.Context) (carewire.StoreSize, error) {
	if err := s.usable(ctx); err != nil {
		return carewire.StoreSize{}, err
	}
	whole := carewire.StoreSize{Free: -1}
	for _, m := range s.members {
		sizer, ok := m.Store.(carewire.Sizer)
		if !ok {
			return carewire.StoreSize{}, errors.ErrUnsupported
		}
		size, err := sizer.Size(ctx)
		if err != nil {
			return carewire.StoreSize{}, err
		}
		whole.Used += size.Used
		if size.Free >= 0 && (whole.Free < 0 || size.Free < whole.Free) {
			whole.Free = size.Free
		}
	}
	return whole, nil
}
