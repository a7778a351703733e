package carewire

import (
	"slices"
)

// fanOut is the fan-out. It never waits for a client.
func (l *lane) fanOut() {
	for batch := range l.batches {
		l.deliver(batch)
	}
}

// deliver carries out a batch. It collects the events of a batch, so that each
// watch usually gets them in one push. Callers are told last: one that publishes event
// after event then goes on beside the writers, whose next writes take what came
// meanwhile. Told first, it would wait for all of them each time.
func (l *lane) deliver(batch []delivery) {
	var tell *appended
	for i := range batch {
		d := &batch[i]
		switch {
		case d.entry != nil:
			if w := l.watches[d.entry.Patient]; w != nil {
				if len(w.frames) == 0 {
					l.pending = append(l.pending, w)
				}
				w.frames = append(w.frames, newFrameOf(d.entry, d.quiet, d.received))
			}
		case d.tell != nil:
			tell = d.tell
		case d.attach != nil:
			w := l.watches[d.attach.patient]
			if w == nil {
				w = &watchers{}
				l.watches[d.attach.patient] = w
			}
			l.handOver(w)
			d.attach.slot, d.attach.shared = len(w.list), w
			w.list = append(w.list, d.attach)
			d.attach.attached(*d.head)
		case d.detach != nil:
			l.remove(d.detach)
		case d.restart != nil:
			if w := l.watches[d.restart.Patient]; w != nil {
				l.handOver(w)
				for _, x := range w.list {
					x.restart(*d.restart)
				}
			}
		case d.head != nil:
			if w := l.watches[d.head.Patient]; w != nil {
				l.handOver(w)
				w.verified.Store(l.lanes.clock.ticks())
			}
		case d.skipped != nil:
			if w := l.watches[d.skipped.Patient]; w != nil {
				l.handOver(w)
				for _, x := range w.list {
					x.readOn(*d.skipped)
				}
			}
		}
	}
	for _, w := range l.pending {
		l.handOver(w)
	}
	clear(l.pending)
	l.pending = l.pending[:0]
	for i := range batch {
		if d := &batch[i]; d.done != nil {
			d.done(d.result)
		}
	}
	if tell != nil {
		l.lanes.peers.tellAppended(tell)
	}
}

// handOver pushes the collected frames of a patient to each of its watches.
func (l *lane) handOver(w *watchers) {
	if len(w.frames) == 0 {
		return
	}
	for _, x := range w.list {
		if !x.push(w.frames) {
			continue
		}
		if x.out.direct == nil {
			x.out.spawn()
			continue
		}
		if l.woken = append(l.woken, x.out); len(l.woken) == together {
			l.write()
		}
	}
	l.write()
	clear(w.frames)
	w.frames = w.frames[:0]
}

// write starts writing the woken outboxes.
func (l *lane) write() {
	if len(l.woken) == 1 {
		l.woken[0].spawn()
	} else if len(l.woken) > 1 {
		go runAll(slices.Clone(l.woken))
	}
	clear(l.woken)
	l.woken = l.woken[:0]
}

func (l *lane) remove(x *watch) {
	w := l.watches[x.patient]
	if w == nil || x.slot >= len(w.list) || w.list[x.slot] != x {
		return
	}
	last := len(w.list) - 1
	w.list[x.slot] = w.list[last]
	w.list[x.slot].slot = x.slot
	w.list[last] = nil
	if w.list = w.list[:last]; last == 0 {
		delete(l.watches, x.patient)
	}
}
