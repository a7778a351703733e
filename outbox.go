package carewire

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

const (
	writeSize   = 64 << 10 // bytes gathered into one write: less costs half as much again in a burst
	slowWrite   = 16 << 10 // bytes gathered into one write to a slow client: newer events wait behind it
	controlSize = 1 << 20  // bytes of replies that may wait
	smallOutbox = 64 << 10 // bytes in an outbox that do not count against Options.MaxTotalOutboxBytes
	readAhead   = 64 << 10 // bytes read from the Store that may wait before more is read
)

// A sink takes whole frames. The last one is a close frame if seal is set.
type sink interface {
	WriteFrames(p []byte, seal bool) error
}

// A directSink can write without waiting: it takes a part, and finishes the
// rest later. tried is false if it could not even try.
type directSink interface {
	TryFrames(p []byte, a *wsconn.Attempt) (rest []byte, err error, tried bool)
	FinishFrames(rest []byte) error
}

// outboxes are the parts of a Hub that its outboxes share.
type outboxes struct {
	ctx     context.Context // the context of reads from the Store
	clock   *clock
	asked   askedReads
	signals *signals
	stats   *counters
	opt     *Options
}

// An outbox holds the waiting output of one client. Its unit is the patient: a
// turn writes all that one patient has, in log order. Patients with a high alert
// go first, then those with a medium one, then those with anything undroppable.
// Waves come last. A goroutine runs only while something waits.
type outbox struct {
	shared *outboxes
	sink   sink
	// direct is sink if that can write without waiting, else nil.
	direct directSink
	who    *Principal // nil: the host itself, which sees everything
	fail   func()     // called once when writing has failed or the close frame is out
	full   func()     // called when there is no room for a reply; not nil if send is used

	mu      sync.Mutex
	control [][]byte      // replies and other frames that go before the patients' events
	held    int           // bytes in control
	room    chan struct{} // closed when held falls below roomAt; nil: nobody waits
	roomAt  int
	bytes   int              // bytes in all queues of patients
	counted int              // the part of bytes, held, read and waveBytes that the Hub's total has
	ready   [ranks]watchList // watches with something to write, by their rank
	unread  [ranks]watchList // watches whose log is to be read
	reads   bool             // catchUp is reading for one
	read    int              // bytes in all pages that were read and are not written
	waves   []*waveQueue     // signals with chunks to write, after all else
	closing []byte           // the close frame: the last element
	busy    bool             // run is running
	done    bool             // nothing more is taken
	slow    bool             // writes are small
	runs    func()           // run; kept, so that starting it makes no garbage

	waveBytes int         // in all waves
	waveTimer *time.Timer // has the waves written; nil before the first
	gathering bool        // waveTimer runs

	wrote   atomic.Int64 // when something but pings and pongs was last written, in ticks
	writing atomic.Int64 // when the write under way began, in ticks; 0: none is
}

// A watch is one client's watching of one patient.
type watch struct {
	out      *outbox
	patient  string
	delivery Delivery
	waves    []string  // the codes of the signals that are wanted; "*": all
	since    *Position // where the client resumes; nil: with a snapshot

	lane   *lane
	shared *watchers // all who watch this patient
	slot   int       // place among them; the lane's

	// Under out.mu.
	queue   []*frame
	turn    int          // frames of queue that are being written: nothing replaces them
	owing   [ranks]int32 // frames of queue that cannot be dropped, by their rank
	rank    uint8        // the highest rank of what waits
	urgent  int64        // when something undroppable began to wait, in ticks; 0: nothing does
	last    Position     // the last number that the lane has handed over
	must    uint64       // undroppable ones up to there
	upTo    Position     // while reading: the position before the queue
	reading bool         // the next events must be read from the Store
	live    bool         // attached, and caught up once
	fetched bool         // catchUp is reading for it right now
	page    []byte       // the page that was read, to be written before the queue
	again   bool         // the log has changed: discard the current reading
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

func (l *watchList) pushFirst(w *watch) {
	if l.first == nil {
		l.push(w)
		return
	}
	w.listed, w.prev, w.next = l, nil, l.first
	l.first.prev = w
	l.first = w
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

// schedule puts w in line, with the given rank if that is higher than its own;
// wake or start must follow. Under o.mu.
func (o *outbox) schedule(w *watch, rank uint8) {
	if rank > rankVital && w.urgent == 0 {
		w.urgent = o.shared.clock.ticks()
	}
	was := w.rank
	w.rank = max(was, rank)
	switch {
	case w.listed == nil && !w.fetched:
		o.ready[w.rank].push(w)
	case w.rank == was:
	case w.listed == &o.ready[was]:
		w.listed.remove(w)
		o.ready[w.rank].push(w)
	case w.listed == &o.unread[was]:
		w.listed.remove(w)
		o.unread[w.rank].push(w)
	}
}

// owes returns the highest rank of the frames in w's queue.
func (w *watch) owes() uint8 {
	for rank := uint8(ranks - 1); rank > rankVital; rank-- {
		if w.owing[rank] > 0 {
			return rank
		}
	}
	return rankVital
}

// first returns the watch that is next in lists by rank; nil if there is none.
func first(lists *[ranks]watchList) *watch {
	for i := range slices.Backward(lists[:]) {
		if w := lists[i].first; w != nil {
			return w
		}
	}
	return nil
}

// readNext puts w in line for its next page: first if it holds a part of the newest
// state, so that no more than a few watches of a client do. Under o.mu.
func (o *outbox) readNext(w *watch) {
	if to := &o.unread[w.rank]; w.catch.holds() {
		to.pushFirst(w)
	} else {
		to.push(w)
	}
}

// fetch continues reading for the watch that has waited longest of those with the
// highest rank, unless a read is running or much of the last page is unwritten.
// Under o.mu.
func (o *outbox) fetch() {
	if w := first(&o.unread); w != nil && !o.reads && o.read < readAhead {
		w.listed.remove(w)
		o.reads, w.fetched = true, true
		go o.catchUp(w)
	}
}

// wake reports whether run is now the caller's to call. Under o.mu.
func (o *outbox) wake() bool {
	if o.busy || o.done {
		return false
	}
	o.busy = true
	return true
}

// start makes sure that waiting output is written. Under o.mu.
func (o *outbox) start() {
	if o.wake() {
		o.spawn()
	}
}

func (o *outbox) spawn() {
	if o.runs == nil {
		o.runs = o.run
	}
	go o.runs()
}

// send puts a reply or another frame that is no patient's in line.
func (o *outbox) send(b []byte) {
	o.mu.Lock()
	full := o.held+len(b) > controlSize || o.overTotal(o.held+len(b))
	if !full && !o.done && o.closing == nil {
		o.control = append(o.control, b)
		o.held += len(b)
		o.reportSize()
		o.start()
	}
	o.mu.Unlock()
	if full {
		o.shared.stats.limits.outboxes.Add(1)
		o.full()
	}
}

// hasReplyRoom reports whether fewer bytes of replies than so many wait.
func (o *outbox) hasReplyRoom(n int) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.done && o.closing == nil && o.held < n
}

// waitForRoom waits until fewer bytes of replies than n, which is the same in
// all calls, wait to be written. It reports false if none will be any more.
func (o *outbox) waitForRoom(ctx context.Context, n int) bool {
	o.mu.Lock()
	if o.done || o.closing != nil || o.held < n {
		ok := !o.done && o.closing == nil
		o.mu.Unlock()
		return ok
	}
	if o.room == nil {
		o.room, o.roomAt = make(chan struct{}), n
	}
	room := o.room
	o.mu.Unlock()
	select {
	case <-room:
	case <-ctx.Done():
	}
	return o.hasReplyRoom(n)
}

// giveRoom wakes those who wait for room, if there is. Under o.mu.
func (o *outbox) giveRoom() {
	if o.room != nil && (o.done || o.closing != nil || o.held < o.roomAt) {
		close(o.room)
		o.room = nil
	}
}

// close writes the waiting replies, then a close frame. It drops the patients'
// events: the client reconnects and resumes.
func (o *outbox) close(code CloseCode) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.done || o.closing != nil {
		return
	}
	o.closing = closeFrame(code)
	o.dropAll()
	o.giveRoom()
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

// dropQueue drops the events that the lane has handed over to w; they will be
// read from the Store. The page that was read stays, because the next page
// follows it.
func (o *outbox) dropQueue(w *watch) {
	for _, f := range w.queue {
		o.bytes -= len(w.bytesOf(f))
	}
	w.queue, w.turn, w.owing = nil, 0, [ranks]int32{}
	o.reportSize()
}

func (o *outbox) dropAll() {
	o.dropWaves()
	for _, lists := range []*[ranks]watchList{&o.ready, &o.unread} {
		for w := first(lists); w != nil; w = first(lists) {
			o.drop(w)
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
	if o.waveTimer != nil {
		o.waveTimer.Stop()
	}
	o.reportSize()
	o.giveRoom()
}

// end purges w: nothing that waits for it is written any more.
func (w *watch) end() {
	w.out.shared.signals.leave(w)
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	w.ended = true
	w.out.drop(w)
}

// bytesOf returns the form in which w's client gets f: the event, a gap, or
// nothing if its delivery leaves f out.
func (w *watch) bytesOf(f *frame) []byte {
	switch {
	case f.droppable && w.delivery == DeliverAlerts:
		return nil
	case f.gap == nil:
		return f.shown
	case f.entry.Kind == KindTimer && w.delivery != DeliverEvery:
		return nil
	case f.shown != nil && w.out.sees(&f.entry):
		return f.shown
	}
	return f.gap
}

func (o *outbox) sees(e *Entry) bool { return o.who == nil || o.who.sees(e) }

// push hands frames, the next of its patient's log, to w. It never waits. It
// reports whether the caller has to write the queue of w's client now.
func (w *watch) push(frames []*frame) bool {
	o := w.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.ended || o.done || o.closing != nil {
		return false
	}
	last := frames[len(frames)-1]
	w.last, w.must = last.entry.Position, last.entry.Must
	latest := w.delivery == DeliverLatest
	w.queue = slices.Grow(w.queue, len(frames))
	for i, f := range frames {
		b := w.bytesOf(f)
		if b == nil || latest && f.droppable && !w.replace(f) {
			continue
		}
		if !o.roomFor(len(b)) { // go on from the Store instead
			o.shared.stats.limits.outboxes.Add(1)
			rank := w.owes()
			for _, f := range frames[i:] {
				rank = max(rank, f.rank)
			}
			o.dropQueue(w)
			w.reading, w.upTo = true, last.entry.Position
			o.schedule(w, rank)
			return o.wake()
		}
		w.queue = append(w.queue, f)
		o.bytes += len(b)
		if !f.droppable {
			w.owing[f.rank]++
		}
	}
	o.reportSize()
	if len(w.queue) == 0 {
		return false
	}
	o.schedule(w, w.owes())
	return o.wake()
}

// roomFor reports whether n more bytes may wait.
func (o *outbox) roomFor(n int) bool {
	return o.bytes+n <= o.shared.opt.MaxOutboxBytes && !o.overTotal(o.bytes+n)
}

// overTotal reports whether n bytes are more than a little, while all outboxes
// together hold too much.
func (o *outbox) overTotal(n int) bool {
	return n > smallOutbox && o.shared.stats.waiting.Load() > int64(o.shared.opt.MaxTotalOutboxBytes)
}

// reportSize tells the Hub how much waits, in steps so coarse that it costs
// nothing. Under o.mu.
func (o *outbox) reportSize() {
	n := (o.bytes + o.held + o.read + o.waveBytes) / smallOutbox * smallOutbox
	if n != o.counted {
		o.shared.stats.waiting.Add(int64(n - o.counted))
		o.counted = n
	}
}

// replace drops the vital in w's queue that f replaces. It reports false if f
// itself is the older one and need not be sent. A vital that is being written
// stays: otherwise a late one in a turn would never be sent.
func (w *watch) replace(f *frame) bool {
	for i := w.turn; i < len(w.queue) && f.entry.Key != ""; i++ {
		q := w.queue[i]
		if !q.droppable || q.entry.Key != f.entry.Key {
			continue
		}
		w.out.shared.stats.replaced.Add(1)
		if !TakesPlace(f.entry.Time, f.entry.Received, q.entry.Time) {
			return false
		}
		w.out.bytes -= len(w.bytesOf(q))
		w.queue = slices.Delete(w.queue, i, i+1)
		return true
	}
	return true
}

// attached tells w that the lane hands over the events after head.
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
	o.schedule(w, rankVital)
	o.start()
}

// readOn makes w read its next events, up to head, from the Store.
func (w *watch) readOn(head Head) {
	o := w.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.ended || o.done || o.closing != nil {
		return
	}
	o.dropQueue(w)
	w.last, w.must, w.upTo, w.reading = head.Position, head.Must, head.Position, true
	o.schedule(w, rankHigh) // which it may hold
	o.start()
}

// restart makes w's client start again, because the log has changed.
func (w *watch) restart(head Head) {
	w.out.mu.Lock()
	w.since, w.again = nil, true
	w.out.mu.Unlock()
	w.attached(head)
}
