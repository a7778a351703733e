package fhir

import (
	"sync"

	"golang.org/x/time/rate"

	"github.com/carewire/carewire"
)

const (
	looksEach  = 100    // per second, of one principal
	looksBurst = 1000   // at once
	looksMost  = 10_000 // principals whose looks are counted
)

// looks limit how often one principal asks for what the Hub does not count itself:
// a subscription, open alerts, the newest vitals.
type looks struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

func (x *looks) init() { x.by = make(map[string]*rate.Limiter) }

// take counts one look; it returns ErrBusy if that comes too soon.
func (x *looks) take(who string) error {
	x.mu.Lock()
	defer x.mu.Unlock()
	l := x.by[who]
	if l == nil {
		if len(x.by) >= looksMost {
			clear(x.by)
		}
		l = rate.NewLimiter(looksEach, looksBurst)
		x.by[who] = l
	}
	if !l.Allow() {
		return carewire.ErrBusy
	}
	return nil
}
