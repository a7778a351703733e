package carewire

import (
	"container/list"
	"slices"
	"time"
)

// backlog holds the events that wait for the reader, in order.
type backlog struct {
	events list.List
	newest map[vitalKey]*list.Element

	waves   list.List      // chunks of waves, which come after all else
	waiting map[string]int // how many of each signal
}

type vitalKey struct{ patient, key string }

func keyOf(ev *Event) vitalKey { return vitalKey{ev.Patient, ev.Vital.key()} }

func (b *backlog) len() int      { return b.events.Len() }
func (b *backlog) push(ev Event) { b.events.PushBack(&ev) }

// pushVital is push; an older vital of the same key goes.
func (b *backlog) pushVital(ev Event) {
	key := keyOf(&ev)
	if old := b.newest[key]; ev.Vital.Replaces != "" && (old == nil || old.Value.(*Event).Vital.ID != ev.Vital.Replaces) {
		b.push(ev)
		return
	}
	if old := b.newest[key]; old != nil {
		if !TakesPlace(orderedBy(ev.Vital), ev.Vital.Received, orderedBy(old.Value.(*Event).Vital)) { // a late one, which replaces nothing
			b.push(ev)
			return
		}
		b.events.Remove(old)
	}
	b.newest[key] = b.events.PushBack(&ev)
}

// orderedBy is the time that tells which of two vitals is the newer.
func orderedBy(v *Vital) time.Time {
	if !v.Received.IsZero() && (v.Time.After(v.Received) || slices.Contains(v.Quality, QualityClock)) {
		return v.Received
	}
	return v.Time
}

// replace is push; an earlier event of the same type and patient goes.
func (b *backlog) replace(ev Event) {
	for e := b.events.Back(); e != nil; e = e.Prev() {
		if old := e.Value.(*Event); old.Type == ev.Type && old.Patient == ev.Patient {
			b.remove(e)
			break
		}
	}
	b.push(ev)
}

func (b *backlog) pop() (Event, bool) {
	e := b.events.Front()
	if e == nil {
		return b.popWave()
	}
	return *b.remove(e), true
}

func (b *backlog) remove(e *list.Element) *Event {
	ev := b.events.Remove(e).(*Event)
	if ev.Type == EventVital && ev.Vital != nil {
		if key := keyOf(ev); b.newest[key] == e {
			delete(b.newest, key)
		}
	}
	return ev
}

// purge drops the waiting events of a patient's log.
func (b *backlog) purge(patient string) {
	for e := b.events.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*Event).Patient == patient {
			b.remove(e)
		}
		e = next
	}
	for e := b.waves.Front(); e != nil; {
		next := e.Next()
		if e.Value.(*Event).Patient == patient {
			b.removeWave(e)
		}
		e = next
	}
}

func (b *backlog) clear() {
	b.events.Init()
	b.waves.Init()
	clear(b.newest)
	clear(b.waiting)
}

func (c *Client) hasRoom() bool { return c.queue.len() < c.o.Buffer }

// push queues an event for the reader. The callers bound the events of
// patients' logs; the number of the others is bounded here.
func (c *Client) push(ev Event) {
	switch ev.Type {
	case EventVital:
		if f := c.follows[ev.Patient]; ev.Vital != nil && f != nil && !f.deliversEvery() {
			c.queue.pushVital(ev)
		} else {
			c.queue.push(ev)
		}
	case EventInbox:
		if c.queue.len() >= 2*c.o.Buffer {
			c.inboxMissed = true
			return
		}
		c.queue.push(ev)
	case EventWelcome, EventLive, EventLost, EventStale, EventStatus, EventHeartbeat, EventGranted, EventRevoked:
		if c.hasRoom() {
			c.queue.push(ev)
		} else {
			c.queue.replace(ev)
		}
	default:
		c.queue.push(ev)
	}
	signal(c.came)
}
