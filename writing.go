package carewire

import (
	"sync"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// A scratch is the memory that a goroutine needs to write.
type scratch struct {
	buf []byte
	wsconn.Attempt
}

var scratches = sync.Pool{New: func() any {
	s := &scratch{buf: make([]byte, 0, writeSize)}
	s.Attempt.Init()
	return s
}}

// run writes until nothing waits.
func (o *outbox) run() {
	s := scratches.Get().(*scratch)
	defer scratches.Put(s)
	o.runOn(s)
}

func (o *outbox) runOn(s *scratch) {
	for {
		b, oldest, seal, ok := o.take(s.buf[:0])
		if !ok || !o.after(s, b, oldest, seal, o.sink.WriteFrames(b, seal)) {
			return
		}
	}
}

// after notes the result of a write. It reports false if it was the last one.
func (o *outbox) after(s *scratch, b []byte, oldest *frame, seal bool, err error) bool {
	o.writing.Store(0)
	if oldest != nil && oldest.received != 0 {
		o.shared.stats.delay.observe(time.Duration(o.shared.clock.ticks() - oldest.received))
	}
	if err != nil || seal {
		o.stop()
		o.fail()
		return false
	}
	if cap(b) <= 2*writeSize {
		s.buf = b
	}
	return true
}

const (
	together = 32 // outboxes that one goroutine writes for, at most
	inARow   = 8  // writes for one of them, while the others wait
)

// runAll writes for outboxes that have become busy, one after the other: a
// goroutine for each would cost a quarter of a write. None waits for another:
// for a line that does not take everything at once another goroutine goes on.
func runAll(list []*outbox) {
	s := scratches.Get().(*scratch)
	for _, o := range list {
		if !o.runNow(s) {
			s = scratches.Get().(*scratch)
		}
	}
	scratches.Put(s)
}

// runNow is run, as long as it need not wait. Then it reports false, and s no
// longer belongs to the caller. A client that gets more than a few writes gets
// its own goroutine as well.
func (o *outbox) runNow(s *scratch) bool {
	for range inARow {
		b, oldest, seal, ok := o.take(s.buf[:0])
		if !ok {
			return true
		}
		var rest []byte
		var err error
		tried := false
		if !seal {
			rest, err, tried = o.direct.TryFrames(b, &s.Attempt)
		}
		if !tried || len(rest) > 0 {
			go func() {
				if tried {
					err = o.direct.FinishFrames(rest)
				} else {
					err = o.sink.WriteFrames(b, seal)
				}
				if o.after(s, b, oldest, seal, err) {
					o.runOn(s)
				}
				scratches.Put(s)
			}()
			return false
		}
		if !o.after(s, b, oldest, seal, err) {
			return true
		}
	}
	o.spawn()
	return true
}

// take appends the next output to b. ok is false if nothing is left: run has
// ended.
func (o *outbox) take(b []byte) (_ []byte, oldest *frame, seal, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		o.busy = false
		return nil, nil, false, false
	}
	now, text := o.shared.clock.ticks(), false
	size := writeSize
	if o.slow {
		size = slowWrite
	}
	for len(o.control) > 0 && len(b) < size {
		text = text || o.control[0][0] == 0x81
		b = append(b, o.control[0]...)
		o.held -= len(o.control[0])
		if o.control = o.control[1:]; len(o.control) == 0 {
			o.control = nil
		}
	}
	o.giveRoom()
	if o.closing != nil && len(o.control) == 0 {
		o.writing.Store(now)
		return append(b, o.closing...), nil, true, true
	}
	events, urgent := 0, false
	for len(b) < size {
		w := first(&o.ready)
		if w == nil {
			break
		}
		w.listed.remove(w)
		b = append(b, w.page...)
		text = text || len(w.page) > 0
		o.read -= len(w.page)
		w.page = nil
		if w.reading { // its next page is read while others are written
			o.readNext(w)
			continue
		}
		w.wrote, urgent = now, urgent || w.urgent != 0
		if oldest == nil && len(w.queue) > 0 {
			oldest = w.queue[0]
		}
		var n int
		b, n = w.write(b, size)
		events += n
		if w.rank = w.owes(); w.rank == rankVital {
			w.urgent = 0
		}
		if len(w.queue) > 0 { // others first
			o.schedule(w, rankVital)
		}
	}
	waves := 0
	// Behind an alert's write the next client's alert waits, so waves that gather stay.
	gather := o.gathering && (urgent || len(b) == 0)
	more := first(&o.ready) != nil
	if !more && !gather {
		b, waves = o.takeWaves(b)
	}
	if text || events+waves > 0 {
		o.wrote.Store(now)
		o.shared.stats.out.Add(int64(events))
	}
	o.reportSize()
	o.fetch()
	if len(b) == 0 && !more {
		o.busy = false
		return nil, nil, false, false
	}
	o.writing.Store(now)
	return b, oldest, false, true
}

// writingFor returns how long the write under way has been. The Hub's clock looks
// after it: a deadline set and cleared for each write costs a tenth of one.
func (o *outbox) writingFor(now int64) time.Duration {
	if at := o.writing.Load(); at != 0 {
		return time.Duration(now - at)
	}
	return 0
}

// slowDown makes writes small from now on; false: they were already.
func (o *outbox) slowDown() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	was := o.slow
	o.slow = true
	return !was
}

// write appends w's queue to b, until that has the given size, and returns how
// many events it was. Under out.mu.
func (w *watch) write(b []byte, size int) (_ []byte, events int) {
	if w.turn == 0 {
		w.turn = len(w.queue)
	}
	n, done, last := 0, w.cursor.Seq, (*frame)(nil)
	for n < len(w.queue) && len(b) < size {
		f := w.queue[n]
		n++
		part := w.bytesOf(f)
		w.out.bytes -= len(part)
		if !f.droppable {
			w.owing[f.rank]--
		}
		if f.seq <= done {
			continue // read from the Store already
		}
		b = append(b, part...)
		last = f
		events++
	}
	if last != nil {
		w.cursor = last.entry.Position
	}
	w.turn = max(w.turn-n, 0)
	if n < len(w.queue) {
		w.queue = w.queue[n:]
	} else if w.queue = w.queue[:0]; cap(w.queue) > 4 {
		w.queue = nil
	} else {
		clear(w.queue[:cap(w.queue)])
	}
	return b, events
}
