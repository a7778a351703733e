package carewire

import (
	"context"
	"errors"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

const (
	failuresRate  = 10      // failed sign-ins of one address that are answered each second
	failuresBurst = 100     // at once
	doorsMost     = 1 << 14 // addresses that are remembered
)

// doors share the places of the Authenticator among addresses: none takes more
// than an eighth, a quarter is kept for addresses from which somebody has signed in
// before, and one whose sign-ins fail is answered slowly.
type doors struct {
	places    *sharedPlaces[netip.Addr]
	strangers chan struct{}
	patience  time.Duration

	mu       sync.Mutex
	known    map[netip.Addr]bool
	failures map[netip.Addr]*rate.Limiter
}

func newDoors(places int, patience time.Duration) *doors {
	return &doors{places: newSharedPlaces[netip.Addr](places/8, 0, patience), strangers: make(chan struct{}, max(places-places/4, 1)), patience: patience,
		known: make(map[netip.Addr]bool), failures: make(map[netip.Addr]*rate.Limiter)}
}

// enter waits for a place for an address. It reports false if there was none in
// time. Otherwise the caller must call leave with the result of the sign-in.
func (d *doors) enter(ctx context.Context, at netip.Addr) (leave func(err error), ok bool) {
	at = countedAddress(at)
	giveBack, ok := d.places.take(ctx, at)
	if !ok {
		return nil, false
	}
	stranger := !d.isKnown(at)
	if stranger {
		wait, cancel := context.WithTimeout(ctx, d.patience)
		defer cancel()
		select {
		case d.strangers <- struct{}{}:
		case <-wait.Done():
			giveBack()
			return nil, false
		}
	}
	return func(err error) {
		if stranger {
			<-d.strangers
		}
		if wait := d.noteResult(at, err); wait > 0 { // this takes the address's own places only
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		giveBack()
	}, true
}

func (d *doors) isKnown(at netip.Addr) bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[at]
}

// noteResult notes the result of a sign-in, and returns the delay of its answer.
func (d *doors) noteResult(at netip.Addr, err error) (wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		for k := range d.known { // any one makes room; its client must sign in once more
			if len(d.known) < doorsMost {
				break
			}
			delete(d.known, k)
		}
		d.known[at] = true
		return 0
	}
	if !errors.Is(err, ErrUnauthenticated) {
		return 0
	}
	f := d.failures[at]
	if f == nil {
		if len(d.failures) >= doorsMost {
			for k, f := range d.failures { // forget addresses that have not failed for a while
				if f.Tokens() >= failuresBurst {
					delete(d.failures, k)
				}
			}
		}
		f = rate.NewLimiter(failuresRate, failuresBurst)
		d.failures[at] = f
	}
	return min(f.Reserve().Delay(), d.patience)
}
