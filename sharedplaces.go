package carewire

import (
	"context"
	"sync"
	"time"
)

// sharedPlaces divides a limited number of places among many users. No user
// gets more than a part, however often they ask. A user's state is dropped when
// they have no place and wait for none.
type sharedPlaces[K comparable] struct {
	each    int           // for one of them
	total   chan struct{} // for all together; nil: as many as want to
	timeout time.Duration // how long to wait for one

	mu    sync.Mutex
	byKey map[K]*share
}

type share struct {
	taken chan struct{}
	users int // users that have a place, or wait for one
}

func newSharedPlaces[K comparable](each, all int, timeout time.Duration) *sharedPlaces[K] {
	p := &sharedPlaces[K]{each: max(each, 1), timeout: timeout, byKey: make(map[K]*share)}
	if all > 0 {
		p.total = make(chan struct{}, all)
	}
	return p
}

// take waits for a place for k. It reports false if there was none in time; else
// giveBack must be called.
func (p *sharedPlaces[K]) take(ctx context.Context, k K) (giveBack func(), ok bool) {
	p.mu.Lock()
	s := p.byKey[k]
	if s == nil {
		s = &share{taken: make(chan struct{}, p.each)}
		p.byKey[k] = s
	}
	s.users++
	p.mu.Unlock()
	leave := func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if s.users--; s.users == 0 {
			delete(p.byKey, k)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	select {
	case s.taken <- struct{}{}:
	case <-ctx.Done():
		leave()
		return nil, false
	}
	if p.total != nil {
		select {
		case p.total <- struct{}{}:
		case <-ctx.Done():
			<-s.taken
			leave()
			return nil, false
		}
	}
	return func() {
		if p.total != nil {
			<-p.total
		}
		<-s.taken
		leave()
	}, true
}
