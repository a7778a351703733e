package carewire

import (
	"context"
	"errors"
	"hash/maphash"
	"net/http"
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
// before, and one whose sign-ins fail is answered slowly. Credentials that were good
// before have an eighth of their own at each address, so that those of strangers behind
// the same NAT do not keep them out.
type doors struct {
	places    *sharedPlaces[door]
	strangers chan struct{}
	patience  time.Duration
	seed      maphash.Seed

	mu       sync.Mutex
	known    map[netip.Addr]bool
	good     map[uint64]bool // hashes of credentials that were good when they came last
	failures map[netip.Addr]*rate.Limiter
}

// A door is an address, for credentials that were good before or for all others.
type door struct {
	at   netip.Addr
	good bool
}

func newDoors(places int, patience time.Duration) *doors {
	return &doors{places: newSharedPlaces[door](places/8, 0, patience), strangers: make(chan struct{}, max(places-places/4, 1)), patience: patience,
		seed: maphash.MakeSeed(), known: make(map[netip.Addr]bool), good: make(map[uint64]bool), failures: make(map[netip.Addr]*rate.Limiter)}
}

// enter waits for a place for somebody at an address, with the headers of a request. It
// reports false if there was none in time. Otherwise the caller must call leave with
// the result of the sign-in.
func (d *doors) enter(ctx context.Context, at netip.Addr, h http.Header) (leave func(err error), ok bool) {
	at = countedAddress(at)
	credential := d.hashOf(h)
	knownAddress, good := d.isKnown(at, credential)
	giveBack, ok := d.places.take(ctx, door{at, good})
	if !ok {
		return nil, false
	}
	stranger := !knownAddress
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
		if wait := d.noteResult(at, credential, err); wait > 0 { // this takes the address's own places only
			select {
			case <-time.After(wait):
			case <-ctx.Done():
			}
		}
		giveBack()
	}, true
}

// hashOf returns the hash of the headers that may hold a credential; 0 if there is
// none, which is never a good one: all callers without would have it.
func (d *doors) hashOf(h http.Header) uint64 {
	var hash maphash.Hash
	hash.SetSeed(d.seed)
	found := false
	for _, name := range []string{"Authorization", "Sec-Websocket-Protocol", "Cookie"} {
		for _, v := range h[name] {
			found = true
			hash.WriteString(v)
			hash.WriteByte(0)
		}
	}
	if !found {
		return 0
	}
	return hash.Sum64()
}

func (d *doors) isKnown(at netip.Addr, credential uint64) (address, good bool) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.known[at], d.good[credential]
}

// remember adds k to a bounded set: any other one makes room, and must prove itself
// again.
func remember[K comparable](set map[K]bool, k K) {
	for old := range set {
		if len(set) < doorsMost {
			break
		}
		delete(set, old)
	}
	set[k] = true
}

// noteResult notes the result of a sign-in, and returns the delay of its answer.
func (d *doors) noteResult(at netip.Addr, credential uint64, err error) (wait time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err == nil {
		remember(d.known, at)
		if credential != 0 {
			remember(d.good, credential)
		}
		return 0
	}
	if !errors.Is(err, ErrUnauthenticated) {
		return 0
	}
	delete(d.good, credential)
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
