package carewire

import (
	"sync"
	"time"
)

// slowness notices principals whose connections are ended with 1013 repeatedly:
// their network or program is too slow for the patients that they watch.
type slowness struct {
	mu sync.Mutex
	of map[string]slowCount
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
	if s.of == nil {
		s.of = make(map[string]slowCount)
	}
	n := s.of[id]
	if n.times == 0 || now-n.since > int64(slowWithin) {
		n = slowCount{since: now}
		s.makeRoom(now)
	}
	n.times++
	s.of[id] = n
	return n.times
}

// makeRoom forgets old counts, or all counts if that is not enough.
func (s *slowness) makeRoom(now int64) {
	if len(s.of) < slowMost {
		return
	}
	for id, n := range s.of {
		if now-n.since > int64(slowWithin) {
			delete(s.of, id)
		}
	}
	if len(s.of) >= slowMost {
		clear(s.of)
	}
}
