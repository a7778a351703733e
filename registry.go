package carewire

import (
	"maps"
	"slices"
	"sync"
)

// A registry holds a Hub's connections: all of them, for the visits of the
// clock, and by the addressees that each can receive for.
type registry struct {
	mu        sync.Mutex
	closing   bool // nobody is let in any more
	joining   int  // requests under way that are no connections yet
	joined    int  // connections that there have been
	conns     map[*conn]struct{}
	slots     [visits]map[*conn]struct{}
	addressed map[string]map[*conn]struct{} // by addressee
	drained   chan struct{}                 // closed when the last connection has gone, after closing
}

func newRegistry() *registry {
	r := &registry{conns: make(map[*conn]struct{}), addressed: make(map[string]map[*conn]struct{}), drained: make(chan struct{})}
	for i := range r.slots {
		r.slots[i] = make(map[*conn]struct{})
	}
	return r
}

// anyAnswers reports whether a connected principal may answer alerts.
func (r *registry) anyAnswers() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	for c := range r.conns {
		if c.principal().mayAnswer() {
			return true
		}
	}
	return false
}

// arrive takes a place for a request, which join or depart gives back. It
// returns how many there were before, and whether nobody is let in any more.
func (r *registry) arrive() (before int, closing bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joining++
	return len(r.conns) + r.joining - 1, r.closing
}

// depart gives the place of a request back.
func (r *registry) depart() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.joining--
}

// join adds c to the connections; false if the Hub accepts no more. c takes
// over the place of g, its guest until now.
func (r *registry) join(c *conn, g *guest) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.closing {
		return false
	}
	g.once.Do(func() { r.joining-- }) // it is counted once at any time
	r.conns[c] = struct{}{}
	c.slot = r.joined % visits
	r.joined++
	r.slots[c.slot][c] = struct{}{}
	for _, k := range c.principal().keys() {
		if r.addressed[k] == nil {
			r.addressed[k] = make(map[*conn]struct{})
		}
		r.addressed[k][c] = struct{}{}
	}
	return true
}

// leave forgets c.
func (r *registry) leave(c *conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, ok := r.conns[c]; !ok {
		return
	}
	delete(r.conns, c)
	delete(r.slots[c.slot], c)
	for _, k := range c.principal().keys() {
		if delete(r.addressed[k], c); len(r.addressed[k]) == 0 {
			delete(r.addressed, k)
		}
	}
	if r.closing && len(r.conns) == 0 {
		close(r.drained)
	}
}

// inSlot returns the connections that are visited together.
func (r *registry) inSlot(n int) []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.slots[n]))
}

// list returns all connections.
func (r *registry) list() []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.conns))
}

// of returns the connections of a principal.
func (r *registry) of(principal string) []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Collect(maps.Keys(r.addressed["person:"+principal]))
}

// addressees returns the connections of those whom e is addressed to.
func (r *registry) addressees(e *Entry) []*conn {
	r.mu.Lock()
	defer r.mu.Unlock()
	seen := make(map[*conn]bool)
	var list []*conn
	for _, to := range e.To {
		if to == "patient" {
			to = selfKey + e.Patient
		}
		for c := range r.addressed[to] {
			if !seen[c] {
				seen[c] = true
				list = append(list, c)
			}
		}
	}
	return list
}

// count returns how many connections there are.
func (r *registry) count() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.conns)
}

// isClosing reports whether nobody is let in any more.
func (r *registry) isClosing() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.closing
}

// close admits no more connections, and returns the present ones; first is
// false if it was called before.
func (r *registry) close() (conns []*conn, first bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	first, r.closing = !r.closing, true
	if first && len(r.conns) == 0 {
		close(r.drained)
	}
	return slices.Collect(maps.Keys(r.conns)), first
}
