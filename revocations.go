package carewire

import (
	"maps"
	"sync"
	"time"
)

// revocations are those that still count, by whose access they end.
type revocations struct {
	mu     sync.RWMutex
	by     map[string]map[revokedScope]time.Time // until when
	sealed map[string]time.Time                  // those that cannot be read, by their seal: until when
	n      int                                   // how many there are in by
	swept  int                                   // and how many there were when those that are over were last looked for
}

// A revokedScope is what a revocation ends: of a session ("": of all), for a
// patient ("": for all).
type revokedScope struct{ session, patient string }

func newRevocations() *revocations {
	return &revocations{by: make(map[string]map[revokedScope]time.Time), sealed: make(map[string]time.Time)}
}

// add takes a revocation in. Of two of the same scope the longer one counts.
func (r *revocations) add(v Revocation, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.sweep(now)
	of := r.by[v.Principal]
	if of == nil {
		of = make(map[revokedScope]time.Time)
		r.by[v.Principal] = of
	}
	for _, p := range scopes(v.Patients) {
		s := revokedScope{v.Session, p}
		until, known := of[s]
		if !known {
			r.n++
		}
		if until.Before(v.Until) {
			of[s] = v.Until
		}
	}
}

// sweep forgets those that are over, each time that there are twice as many as
// were left. Under r.mu.
func (r *revocations) sweep(now time.Time) {
	if r.n < 2*max(r.swept, 100) {
		return
	}
	r.n = 0
	for principal, of := range r.by {
		maps.DeleteFunc(of, func(_ revokedScope, until time.Time) bool { return until.Before(now) })
		if r.n += len(of); len(of) == 0 {
			delete(r.by, principal)
		}
	}
	r.swept = r.n
}

// addSealed takes in a revocation of which only the seal is known.
func (r *revocations) addSealed(seal string, until, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.sealed, func(_ string, until time.Time) bool { return until.Before(now) })
	r.sealed[seal] = until
}

// any reports whether there are revocations at all.
func (r *revocations) any() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.by)+len(r.sealed) > 0
}

// covers reports whether p's access to patient ("": to anything) has ended.
func (r *revocations) covers(p *Principal, patient string, now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	of := r.by[p.ID]
	if len(of)+len(r.sealed) == 0 {
		return false
	}
	for _, session := range [2]string{"", p.Session} {
		for _, scope := range [2]string{"", patient} {
			if of[revokedScope{session, scope}].After(now) || len(r.sealed) > 0 && r.sealed[seal(p.ID, session, scope)].After(now) {
				return true
			}
		}
	}
	return false
}

// seal names a revocation without saying whose it is. patient is "" for everything.
func seal(principal, session, patient string) string {
	return hexOf(digest([]byte(principal + "\x00" + session + "\x00" + patient)))
}
