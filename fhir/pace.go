package fhir

import (
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/carewire/carewire"
)

const (
	looksEach  = 100    // per second, of one principal
	looksBurst = 1000   // at once
	looksMost  = 10_000 // principals whose looks are counted
	lookReads  = 20     // subscriptions of a list; each so many count one look more
)

// looks limit the rate at which one principal reads data that the Hub does not count itself:
// a subscription, open alerts, the newest vitals.
type looks struct {
	mu sync.Mutex
	by map[string]*rate.Limiter
}

func (x *looks) init() { x.by = make(map[string]*rate.Limiter) }

// take counts n looks; it returns ErrBusy if they come too soon.
func (x *looks) take(who string, n int) error {
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
	if !l.AllowN(time.Now(), min(n, looksBurst)) {
		return carewire.ErrBusy
	}
	return nil
}
