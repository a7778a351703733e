package carewire

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// A frame is one event of a patient's log as ready WebSocket messages, made
// once and shared by all who get it.
type frame struct {
	entry Entry  // without Data
	shown []byte // for its audience; nil if nobody gets to see it
	gap   []byte // for everybody else; nil if there is nobody else
}

// hidden reports whether e is a gap to everybody: a timer, or the note that a
// notice has been read by all.
func (e *Entry) hidden() bool {
	return e.Kind == KindTimer || e.Kind == KindNotice && e.Rev > 1
}

// newFrameOf makes the frame of an entry. A quiet one is a gap to everybody.
func newFrameOf(e *Entry, quiet bool) *frame {
	f := &frame{entry: *e}
	f.entry.Data = nil
	if quiet || e.hidden() {
		f.gap = gapFrame(e)
		return f
	}
	f.shown = eventFrame(e)
	if e.Audience != AudienceAll {
		f.gap = gapFrame(e)
	}
	return f
}

func eventFrame(e *Entry) []byte {
	w := newFrame(len(e.Data) + 128)
	w.entry(e)
	return textFrame(w.b)
}

func gapFrame(e *Entry) []byte {
	w := newFrame(128)
	w.gap(e)
	return textFrame(w.b)
}

func syncFrame(typ EventType, patient string, p Position, must uint64, recovered bool) []byte {
	w := newFrame(192)
	w.b = append(w.b, `{"type":`...)
	w.b = appendString(w.b, string(typ))
	w.position(patient, p, must)
	w.name("recovered")
	if recovered {
		w.b = append(w.b, "true}"...)
	} else {
		w.b = append(w.b, "false}"...)
	}
	return textFrame(w.b)
}

const (
	writeSize   = 16 << 10 // bytes gathered into one write
	controlSize = 1 << 20  // bytes of replies that may wait
	readAhead   = 64 << 10 // bytes read from the Store that may wait before more is read
)

var writeBuffers = sync.Pool{New: func() any { b := make([]byte, 0, writeSize); return &b }}

// A sink takes whole frames. The last one is a close frame if seal is set.
type sink interface {
	writeFrames(p []byte, seal bool) error
}

// An outbox holds what waits for one client. Its unit is the patient: a turn
// writes all that one patient has, in log order, patients with an alert first.
// A goroutine runs only while something waits.
type outbox struct {
	hub  *Hub
	sink sink
	who  *Principal // nil: the host itself, which sees everything
	fail func()     // called once when writing has failed or the close frame is out
	full func()     // called when there is no room for a reply; not nil if send is used

	mu      sync.Mutex
	control [][]byte  // replies and what else goes before the patients
	held    int       // bytes in control
	bytes   int       // bytes in all queues of patients
	urgent  watchList // watches with something undroppable to write
	normal  watchList // watches with something to write
	waiting watchList // watches whose log is to be read next
	reads   bool      // catchUp is reading for one
	read    int       // bytes in all pages that were read and are not written
	closing []byte    // the close frame: the last element
	busy    bool      // run is running
	done    bool      // nothing more is taken
	since   int64     // when an undroppable event began to wait, in ticks; 0: none waits

	wrote atomic.Int64 // when something but pings and pongs was last written, in ticks
}

// A watch is one client's watching of one patient.
type watch struct {
	out      *outbox
	patient  string
	delivery Delivery
	since    *Position // where the client resumes; nil: with a snapshot

	lane   *lane
	shared *watchers // all who watch this patient
	slot   int       // place among them; the lane's

	// Under out.mu.
	queue   []*frame
	last    Position // the last number that the lane has handed over
	must    uint64   // undroppable ones up to there
	upTo    Position // while reading: what the queue follows
	reading bool     // what comes next is to be read from the Store
	live    bool     // attached, and caught up once
	fetched bool     // catchUp is reading for it right now
	page    []byte   // what was read, to be written before the queue
	again   bool     // the log was given a new beginning: what is being read does not count
	ended   bool
	wrote   int64 // when something of it was last written, in ticks
	listed  *watchList
	prev    *watch
	next    *watch

	// Of catchUp while it is reading for w, else under out.mu.
	cursor Position // the last number written
	catch  *catchup
}

// watchList is a queue of watches.
type watchList struct{ first, last *watch }

func (l *watchList) push(w *watch) {
	w.listed, w.prev, w.next = l, l.last, nil
	if l.last != nil {
		l.last.next = w
	} else {
		l.first = w
	}
	l.last = w
}

func (l *watchList) remove(w *watch) {
	if w.prev != nil {
		w.prev.next = w.next
	} else {
		l.first = w.next
	}
	if w.next != nil {
		w.next.prev = w.prev
	} else {
		l.last = w.prev
	}
	w.listed, w.prev, w.next = nil, nil, nil
}

// schedule puts w in line. Under o.mu.
func (o *outbox) schedule(w *watch, urgent bool) {
	to := &o.normal
	if urgent {
		to = &o.urgent
		if o.since == 0 {
			o.since = o.hub.ticks()
		}
	}
	switch {
	case w.listed == nil && !w.fetched:
		to.push(w)
	case urgent && w.listed == &o.normal:
		o.normal.remove(w)
		to.push(w)
	}
	o.start()
}

// fetch reads on for the watch that has waited longest, if none is being read
// for and not much of what was read is still to be written. Under o.mu.
func (o *outbox) fetch() {
	if w := o.waiting.first; w != nil && !o.reads && o.read < readAhead {
		o.waiting.remove(w)
		o.reads, w.fetched = true, true
		go o.catchUp(w)
	}
}

// start sees to it that what waits is written. Under o.mu.
func (o *outbox) start() {
	if !o.busy && !o.done {
		o.busy = true
		go o.run()
	}
}

// send puts a reply or another frame that is no patient's in line.
func (o *outbox) send(b []byte) {
	o.mu.Lock()
	full := o.held+len(b) > controlSize
	if !full && !o.done && o.closing == nil {
		o.control = append(o.control, b)
		o.held += len(b)
		o.start()
	}
	o.mu.Unlock()
	if full {
		o.full()
	}
}

// close lets what waits for a reply be written, then a close frame. What
// patients still have is dropped: the client comes back for it.
func (o *outbox) close(code CloseCode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done || o.closing != nil {
		return
	}
	o.closing = closeFrame(code)
	o.dropAll()
	o.start()
}

// drop forgets all that w has waiting. Under o.mu.
func (o *outbox) drop(w *watch) {
	if w.listed != nil {
		w.listed.remove(w)
	}
	o.dropQueue(w)
	o.read -= len(w.page)
	w.page = nil
}

// dropQueue forgets what the lane has handed over to w: it is going to be read
// from the Store. What was read from there stays, for the next page follows it.
func (o *outbox) dropQueue(w *watch) {
	for _, f := range w.queue {
		o.bytes -= w.size(f)
	}
	w.queue = nil
}

func (o *outbox) dropAll() {
	for _, l := range []*watchList{&o.urgent, &o.normal, &o.waiting} {
		for l.first != nil {
			o.drop(l.first)
		}
	}
}

// stop drops everything; nothing more is written.
func (o *outbox) stop() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.done = true
	o.control, o.held = nil, 0
	o.dropAll()
}

// end purges w: nothing that waits for it is written any more.
func (w *watch) end() {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	w.ended = true
	w.out.drop(w)
}

// bytesOf returns what w's client gets of f: the event, a gap or, for what
// its delivery does not owe, nothing.
func (w *watch) bytesOf(f *frame) []byte {
	switch {
	case w.delivery == DeliverAlerts && f.entry.Kind.Droppable(), f.entry.Kind == KindTimer && w.delivery != DeliverEvery:
		return nil
	case f.shown == nil:
		return f.gap
	case f.gap == nil || w.out.sees(&f.entry):
		return f.shown
	}
	return f.gap
}

func (w *watch) size(f *frame) int { return len(w.bytesOf(f)) }

func (o *outbox) sees(e *Entry) bool { return o.who == nil || o.who.sees(e) }

// push hands f, the next of its patient's log, to w. It never waits.
func (w *watch) push(f *frame) {
	o := w.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.ended || o.done || o.closing != nil {
		return
	}
	w.last, w.must = f.entry.Position, f.entry.Must
	b := w.bytesOf(f)
	if b == nil {
		return
	}
	if f.entry.Kind == KindVital && w.delivery == DeliverLatest && len(w.queue) > 0 && !w.replace(f) {
		return
	}
	if int64(o.bytes+len(b)) > o.hub.scale.room.Load() { // go on from the Store instead
		urgent := !f.entry.Kind.Droppable() || slices.ContainsFunc(w.queue, func(q *frame) bool { return !q.entry.Kind.Droppable() })
		o.dropQueue(w)
		w.reading, w.upTo = true, f.entry.Position
		o.schedule(w, urgent)
		return
	}
	w.queue = append(w.queue, f)
	o.bytes += len(b)
	o.schedule(w, !f.entry.Kind.Droppable())
}

// replace drops the vital in w's queue that f is newer than. It reports false
// if it is f that is the older one, and not worth sending any more.
func (w *watch) replace(f *frame) bool {
	for i, q := range w.queue {
		if q.entry.Kind != KindVital || q.entry.Key != f.entry.Key {
			continue
		}
		w.out.hub.stats.replaced.Add(1)
		if f.entry.Time.Before(q.entry.Time) {
			return false
		}
		w.out.bytes -= w.size(q)
		w.queue = append(w.queue[:i], w.queue[i+1:]...)
		return true
	}
	return true
}

// attached tells w that the lane hands over what follows head.
func (w *watch) attached(head Head) {
	o := w.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.ended || o.done {
		return
	}
	o.drop(w)
	w.last, w.must, w.upTo = head.Position, head.Must, head.Position
	w.reading, w.live = true, false
	o.schedule(w, false)
}

// readOn tells w that what comes next, up to head, is to be read from the Store.
func (w *watch) readOn(head Head) {
	o := w.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.ended || o.done || o.closing != nil {
		return
	}
	o.dropQueue(w)
	w.last, w.must, w.upTo, w.reading = head.Position, head.Must, head.Position, true
	o.schedule(w, true)
}

// restart gives w's client a new beginning: the log is not what it was.
func (w *watch) restart(head Head) {
	w.out.mu.Lock()
	w.since, w.again = nil, true
	w.out.mu.Unlock()
	w.attached(head)
}

// run writes until nothing waits.
func (o *outbox) run() {
	buf := writeBuffers.Get().(*[]byte)
	defer writeBuffers.Put(buf)
	for {
		b, oldest, seal, ok := o.take((*buf)[:0])
		if !ok {
			return
		}
		if len(b) > 0 {
			err := o.sink.writeFrames(b, seal)
			if oldest != nil {
				o.hub.stats.delay.observe(time.Since(oldest.entry.Received))
			}
			if err != nil || seal {
				o.stop()
				o.fail()
				return
			}
		}
		if cap(b) <= 4*writeSize {
			*buf = b
		}
	}
}

// take appends to b what is to be written next. ok is false if nothing is left:
// run has ended.
func (o *outbox) take(b []byte) (_ []byte, oldest *frame, seal, ok bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done {
		o.busy = false
		return nil, nil, false, false
	}
	now, events := int64(0), int64(0)
	defer func() {
		o.hub.stats.out.Add(events)
		if now != 0 {
			o.wrote.Store(now)
		}
	}()
	for len(o.control) > 0 && len(b) < writeSize {
		if o.control[0][0] == 0x81 && now == 0 { // a text frame
			now = o.hub.ticks()
		}
		b = append(b, o.control[0]...)
		o.held -= len(o.control[0])
		if o.control = o.control[1:]; len(o.control) == 0 {
			o.control = nil
		}
	}
	if o.closing != nil && len(o.control) == 0 {
		return append(b, o.closing...), nil, true, true
	}
	for len(b) < writeSize {
		w := o.urgent.first
		if w == nil {
			w = o.normal.first
		}
		if w == nil {
			break
		}
		if now == 0 {
			now = o.hub.ticks()
		}
		b = append(b, w.page...)
		o.read -= len(w.page)
		w.page = nil
		if w.reading { // its next page is read while others are written
			w.listed.remove(w)
			o.waiting.push(w)
			continue
		}
		w.wrote = now
		n := 0
		for n < len(w.queue) && len(b) < writeSize {
			f := w.queue[n]
			n++
			part := w.bytesOf(f)
			o.bytes -= len(part)
			if f.entry.Seq <= w.cursor.Seq {
				continue // read from the Store already
			}
			b = append(b, part...)
			w.cursor = f.entry.Position
			if oldest == nil {
				oldest = f
			}
			events++
		}
		if n < len(w.queue) {
			w.queue = w.queue[n:]
			break
		}
		if w.queue = w.queue[:0]; cap(w.queue) > 4 {
			w.queue = nil
		} else {
			clear(w.queue[:cap(w.queue)])
		}
		w.listed.remove(w)
	}
	o.fetch()
	if o.urgent.first == nil {
		o.since = 0
	}
	if len(b) == 0 && o.urgent.first == nil && o.normal.first == nil {
		o.busy = false
		return nil, nil, false, false
	}
	return b, oldest, false, true
}

// stuckFor is how long an undroppable event has been waiting.
func (o *outbox) stuckFor(now int64) time.Duration {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.since == 0 {
		return 0
	}
	return time.Duration(now - o.since)
}
