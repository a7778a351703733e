package carewire

import (
	"maps"
	"slices"
	"time"
)

const (
	relayedMost  = 4096    // entries of other Hubs that wait for a lane
	relayedBytes = 4 << 20 // of them
)

// relayed are entries that other Hubs have just appended, and that wait for the
// appender. Under lane.mu.
type relayed struct {
	list     []relayedEntries
	n, bytes int
}

// relayedEntries are entries of one patient, in order.
type relayedEntries struct {
	patient string
	entries []Entry // nil: only that there are some
}

// add queues entries, if there is room.
func (r *relayed) add(e relayedEntries) bool {
	size := 0
	for i := range e.entries {
		size += len(e.entries[i].Data)
	}
	if r.n+len(e.entries) > relayedMost || r.bytes+size > relayedBytes || len(r.list) == relayedMost {
		return false
	}
	r.list, r.n, r.bytes = append(r.list, e), r.n+len(e.entries), r.bytes+size
	return true
}

func (r *relayed) take() []relayedEntries {
	list := r.list
	*r = relayed{}
	return list
}

// takeRelayed takes in a message about a patient's log. Without room for it
// the Store is read instead.
func (l *lane) takeRelayed(patient string, m *relayMessage) {
	r := relayedEntries{patient: patient}
	switch m.kind {
	case messageEntries:
		r.entries = readEntries(patient, m.body)
	case messageCompare:
	default:
		l.lanes.peers.stats.ignored.Add(1)
		return
	}
	l.mu.Lock()
	ok := !l.closed && l.relayed.add(r)
	signal(l.wake)
	l.mu.Unlock()
	if !ok {
		l.lanes.peers.stats.dropped.Add(1)
		l.compare([]string{patient}, false)
	}
}

// useRelayed hands the entries of other Hubs to the fan-out that come next in their
// log. It has the Store read for patients with more entries, and puts off the hints of
// the Store about patients whose entries have just come.
func (l *lane) useRelayed(out []delivery, w *batch) []delivery {
	now, stats := l.lanes.clock.ticks(), &l.lanes.peers.stats
	for i := range w.relayed {
		r := &w.relayed[i]
		c := l.cursors[r.patient]
		if c == nil {
			stats.ignored.Add(1)
			continue
		}
		used, gap := 0, len(r.entries) == 0 || c.unknown
		for j := range r.entries {
			e := &r.entries[j]
			switch {
			case gap, e.Epoch == c.Epoch && e.Seq <= c.Seq:
				continue
			case e.Epoch != c.Epoch || e.Seq != c.Seq+1:
				gap = true
				continue
			}
			used++
			c.Position, c.must = e.Position, e.Must
			if !e.Received.IsZero() {
				lag := max(0, l.lanes.clock.now().Sub(e.Received))
				if l.lanes.lag.observe(lag); lag <= relayPrompt {
					c.relayed = now
				}
			}
			out = append(out, delivery{entry: e})
		}
		switch {
		case gap:
			stats.gaps.Add(1)
			w.compare(r.patient)
		case used > 0:
			stats.used.Add(1)
		default:
			stats.ignored.Add(1)
		}
	}
	for p, at := range w.owed {
		if c := l.cursors[p]; c != nil && c.Position == at {
			w.compare(p)
		}
	}
	l.putOff(w, now)
	return out
}

// compare has the Store's head of a patient's log read.
func (w *batch) compare(patient string) {
	if w.changed == nil {
		w.changed = make(map[string]bool)
	}
	w.changed[patient] = true
}

// putOff puts off the hints about patients of whom a Relay has just brought an entry,
// most probably the same. The Store is read a second later, unless the log has gone on.
func (l *lane) putOff(w *batch, now int64) {
	owed := make(map[string]Position)
	maps.DeleteFunc(w.changed, func(p string, sure bool) bool {
		c := l.cursors[p]
		if sure || c == nil || c.relayed == 0 || time.Duration(now-c.relayed) >= relayMoot {
			return false
		}
		owed[p] = c.Position
		return true
	})
	if len(owed) > 0 {
		time.AfterFunc(relayOwed, func() { l.checkOwed(owed) })
	}
}

// checkOwed takes up hints that were put off, with the positions of that time.
func (l *lane) checkOwed(owed map[string]Position) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.owed == nil {
		l.owed = make(map[string]Position)
	}
	maps.Copy(l.owed, owed)
	signal(l.wake)
}

// appended are entries that the Store has just taken.
type appended struct {
	entries []Entry      // with their numbers
	members map[int]bool // members of the Store with revisions among them
}

// tellPeers has the fan-out tell other Hubs of the entries that the Store has taken.
func (l *lane) tellPeers(out []delivery, entries []Entry, results []AppendResult) []delivery {
	a := &appended{entries: make([]Entry, 0, len(entries))}
	for k, r := range results {
		if r.Err != nil || r.Repeated {
			continue
		}
		e := entries[k]
		e.Position, e.Must = r.Position, r.Must
		a.entries = append(a.entries, e)
		if e.Key != "" && !e.Kind.Droppable() {
			if a.members == nil {
				a.members = make(map[int]bool)
			}
			a.members[l.lanes.store.memberOf(e.Patient)] = true
		}
	}
	return append(out, delivery{tell: a})
}

// subscribeTo begins to listen to other Hubs about patients, whose heads are read next.
// Entries that they append before they know of that are found in the Store a little
// later.
func (l *lane) subscribeTo(patients []string) {
	if len(patients) == 0 {
		return
	}
	for _, p := range patients {
		l.lanes.peers.subscribe(topic{topicLog, p}, func(m *relayMessage) { l.takeRelayed(p, m) })
	}
	patients = slices.Clone(patients)
	time.AfterFunc(relayJoin, func() { l.compare(patients, false) })
}
