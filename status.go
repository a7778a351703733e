package carewire

import (
	"slices"
	"time"
)

const statusAtOnce = 200 // patients named in one status frame

// A storeStatus is the state of the Store as clients see it. As a whole it is
// that of the best member. Clients that watch patients of a worse member are
// told the state of that member.
type storeStatus struct {
	memberStatus
	members []memberStatus
}

type memberStatus struct {
	state string
	since time.Time
}

var stateRanks = map[string]int{storeOK: 0, storeSlow: 1, storeFailing: 2}

func (s memberStatus) worseThan(than memberStatus) bool {
	return stateRanks[s.state] > stateRanks[than.state]
}

// status returns the state of the Store.
func (g *guardedStore) status() storeStatus {
	var s storeStatus
	for i, m := range g.members {
		state, since := m.state()
		s.members = append(s.members, memberStatus{state, since})
		if i == 0 || s.memberStatus.worseThan(s.members[i]) {
			s.memberStatus = s.members[i]
		}
	}
	return s
}

// state is the worst of the members', and since when it is so.
func (g *guardedStore) state() (string, time.Time) {
	status := g.status()
	worst := status.members[0]
	for _, m := range status.members[1:] {
		if m.worseThan(worst) {
			worst = m
		}
	}
	return worst.state, worst.since
}

// degraded reports whether any member is not ok.
func (s storeStatus) degraded() bool {
	return slices.ContainsFunc(s.members, func(m memberStatus) bool { return m.state != storeOK })
}

// tellStatus tells c how the Store is unless it is ok: as a whole, and for those of
// patients whose member is worse. It reports whether there was anything to tell.
func (c *conn) tellStatus(s storeStatus, patients []string) (told bool) {
	if s.state != storeOK {
		c.out.send(statusFrame(s.state, s.since, nil))
		told = true
	}
	for i, m := range s.members {
		if m.worseThan(s.memberStatus) {
			told = c.tellMember(i, m, patients) || told
		}
	}
	return told
}

// tellMember tells c how a member is, for those of patients whose logs it has.
func (c *conn) tellMember(member int, m memberStatus, patients []string) bool {
	its := slices.DeleteFunc(slices.Clone(patients), func(p string) bool { return c.hub.store.memberOf(p) != member })
	for some := range slices.Chunk(its, statusAtOnce) {
		c.out.send(statusFrame(m.state, m.since, some))
	}
	return len(its) > 0
}

// watched are the patients that c watches.
func (c *conn) watched() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	list := make([]string, 0, len(c.watches))
	for p := range c.watches {
		list = append(list, p)
	}
	return list
}

// noteStatus logs the changes since last, and tells them to the clients
// concerned.
func (h *Hub) noteStatus(last, now storeStatus) {
	whole := last.state != now.state
	if whole {
		h.log.Warn("carewire: the store is " + now.state)
		for _, c := range h.registry.list() {
			c.out.send(statusFrame(now.state, now.since, nil))
		}
	}
	for i, m := range now.members {
		changed := last.members[i].state != m.state
		if changed && len(now.members) > 1 {
			h.log.Warn("carewire: a member of the store is "+m.state, "member", h.store.spread.Members()[i])
		}
		as := m.state == now.state
		if !as && (changed || whole) || as && changed && !whole { // else it was told, or the whole says it
			for _, c := range h.registry.list() {
				c.tellMember(i, m, c.watched())
			}
		}
	}
}
