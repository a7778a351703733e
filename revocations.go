package carewire

import (
	"maps"
	"sync"
	"time"
)

// revocations are the active revocations and suspensions, by principal.
type revocations struct {
	mu          sync.RWMutex
	byPrincipal map[string]map[revokedScope]revoked
	sealed      map[string]time.Time // revocations that cannot be read, by key: when they end
	n           int                  // how many there are in byPrincipal
	swept       int                  // how many there were when ended ones were last removed
}

// A revokedScope is the scope of a revocation: one session ("": all), one
// patient ("": all). A suspension covers later tokens too.
type revokedScope struct {
	session, patient string
	suspended        bool
}

type revoked struct {
	until       time.Time
	issuedUntil time.Time // the end of the issue times that it covers
	rev         uint64    // the revision of the log's entry; 0: it is not known to be there
}

func newRevocations() *revocations {
	return &revocations{byPrincipal: make(map[string]map[revokedScope]revoked), sealed: make(map[string]time.Time)}
}

// ends reports whether s, as of at, ends p's access.
func (s revokedScope) ends(p *Principal, at time.Time) bool {
	switch {
	case s.session != "":
		return s.session == p.Session
	case s.suspended, p.Issued.IsZero():
		return true
	}
	return !p.Issued.Truncate(time.Millisecond).After(at) // at is to the millisecond
}

// add notes a revocation that is not in the log yet. It only extends known
// ones.
func (r *revocations) add(principal string, s revokedScope, v revoked, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old := r.byPrincipal[principal][s]
	if v.rev = old.rev; v.until.Before(old.until) {
		v.until = old.until
	}
	if v.issuedUntil.Before(old.issuedUntil) {
		v.issuedUntil = old.issuedUntil
	}
	r.put(principal, s, v, now)
}

// set notes a revision of the log, unless a later one is known. It reports
// whether it did; a zero v.until lifts the revocation.
func (r *revocations) set(principal string, s revokedScope, v revoked, now time.Time) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.byPrincipal[principal][s].rev > v.rev {
		return false
	}
	r.put(principal, s, v, now)
	return true
}

// put is under r.mu.
func (r *revocations) put(principal string, s revokedScope, v revoked, now time.Time) {
	r.sweep(now)
	of := r.byPrincipal[principal]
	if of == nil {
		of = make(map[revokedScope]revoked)
		r.byPrincipal[principal] = of
	}
	if _, known := of[s]; !known {
		r.n++
	}
	of[s] = v
}

// sweep drops expired revocations, each time that their number has doubled
// since the last sweep. Under r.mu.
func (r *revocations) sweep(now time.Time) {
	if r.n < 2*max(r.swept, 100) {
		return
	}
	r.n = 0
	for principal, of := range r.byPrincipal {
		maps.DeleteFunc(of, func(_ revokedScope, v revoked) bool { return v.until.Before(now) })
		if r.n += len(of); len(of) == 0 {
			delete(r.byPrincipal, principal)
		}
	}
	r.swept = r.n
}

// addSealed takes in a revocation of which only the key is known.
func (r *revocations) addSealed(key string, until, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	maps.DeleteFunc(r.sealed, func(_ string, until time.Time) bool { return until.Before(now) })
	r.sealed[key] = until
}

// unseal forgets a revocation of which only the key is known.
func (r *revocations) unseal(key string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.sealed, key)
}

// any reports whether there are revocations at all.
func (r *revocations) any() bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	return len(r.byPrincipal)+len(r.sealed) > 0
}

// covers reports whether p's access to patient ("": to anything) has ended.
func (r *revocations) covers(p *Principal, patient string, now time.Time) bool {
	r.mu.RLock()
	defer r.mu.RUnlock()
	of := r.byPrincipal[p.ID]
	if len(of)+len(r.sealed) == 0 {
		return false
	}
	for _, about := range [2]string{"", patient} {
		for _, s := range [3]revokedScope{{"", about, false}, {p.Session, about, false}, {"", about, true}} {
			v, known := of[s]
			if known && v.until.After(now) && s.ends(p, v.issuedUntil) || len(r.sealed) > 0 && r.sealed[s.key(p.ID)].After(now) {
				return true
			}
		}
	}
	return false
}

// The keys of revocations and suspensions in the log of the system.
const (
	revokedKey   = "x/revoked/"
	suspendedKey = "x/suspended/"
)

// key returns the key of s in the log of the system, which does not say whose it is.
func (s revokedScope) key(principal string) string {
	k := hexOf(digest([]byte(principal + "\x00" + s.session + "\x00" + s.patient)))
	if s.suspended {
		return suspendedKey + k
	}
	return revokedKey + k
}
