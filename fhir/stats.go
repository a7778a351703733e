package fhir

import "sync/atomic"

// Stats count a Server's work since it began.
type Stats struct {
	Sockets     int    // connections for notifications, now
	Bindings    int    // subscriptions bound on them, now
	Told        uint64 // notifications of events over sockets
	HooksPosted uint64 // notifications that endpoints have taken
	HooksFailed uint64 // posts that failed; each is tried again
}

type counters struct{ told, posted, failed atomic.Uint64 }

// Stats returns the counts.
func (s *Server) Stats() Stats {
	c := Stats{Told: s.stats.told.Load(), HooksPosted: s.stats.posted.Load(), HooksFailed: s.stats.failed.Load()}
	for _, k := range s.sockets.list() {
		c.Sockets++
		k.mu.Lock()
		c.Bindings += len(k.bindings)
		k.mu.Unlock()
	}
	return c
}
