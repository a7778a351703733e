package carewire

import (
	"sync"
	"time"
)

// slowness notices principals whose connections are ended with 1013 repeatedly:
// their network or program is too slow for the patients that they watch.
type slowness struct {
	mu     sync.Mutex
	counts map[string]slowCount
}

type slowCount struct {
	since int64 // in ticks
	times int
}

const (
	slowWithin = 10 * time.Minute
	slowTimes  = 3 // within slowWithin, from which on it is again and again
	slowMost   = 1000
)

// note counts such an end, and returns how many a principal has had within
// slowWithin.
func (s *slowness) note(id string, now int64) (times int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.counts == nil {
		s.counts = make(map[string]slowCount)
	}
	n := s.counts[id]
	if n.times == 0 || now-n.since > int64(slowWithin) {
		n = slowCount{since: now}
		s.makeRoom(now)
	}
	n.times++
	s.counts[id] = n
	return n.times
}

// makeRoom forgets old counts, or all counts if that is not enough.
func (s *slowness) makeRoom(now int64) {
	if len(s.counts) < slowMost {
		return
	}
	for id, n := range s.counts {
		if now-n.since > int64(slowWithin) {
			delete(s.counts, id)
		}
	}
	if len(s.counts) >= slowMost {
		clear(s.counts)
	}
}
