package carewire

import (
	"context"
	"errors"
	"iter"
	"maps"
	"sync"
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// Watch follows patients within the host's process, with all entries of their
// logs. The host is not authorised. Groups are followed as clients follow them:
// a patient that joins a group is watched after EventGranted; for a patient
// that leaves it, EventRevoked is the last event. The Hub asks the Directory
// again every Options.Recheck and at MembersChanged. Without an answer, the
// patients stay as they are.
//
// Watch buffers no more than a client's outbox. While the loop's body is slow,
// newer vitals replace older ones (with DeliverLatest), and events that no
// longer fit are read from the Store later. The loop ends with an error when
// ctx ends or the Hub is shut down. Each call is a watch of its own.
func (h *Hub) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		s := &hostSink{frames: make(chan []byte), taken: make(chan struct{}), gone: make(chan struct{})}
		err := h.follow(ctx, o, s, nil, func(text []byte) bool {
			ev, _, err := decodeEvent(text)
			if err != nil {
				err = errStored
			}
			return yield(ev, err)
		})
		if err != nil {
			yield(Event{}, err)
		}
	}
}

// WatchEach is Watch for code that looks at every reading of many patients. It
// calls see with each event and allocates nothing for it. The Event and all
// memory that it refers to, strings too, are valid until see returns; copy the
// parts to keep. Entries that the Store has damaged are omitted. EventHead tells
// where the logs of patients ended, at its Time, that had been quiet for 11 to 15 s.
// The calls
// come one after another, from goroutines of the Hub, and none after WatchEach has
// returned. Events that come within 20 ms of others may be seen 20 ms late, together.
// WatchEach returns the reason when ctx ends or the Hub is shut down.
func (h *Hub) WatchEach(ctx context.Context, o WatchOptions, see func(*Event)) error {
	d := borrower{see: see}
	visits := time.NewTicker(visitEvery)
	defer visits.Stop()
	s := &hostSink{next: d.next, gone: make(chan struct{})}
	return h.follow(ctx, o, s, visits.C, s.call)
}

// A borrower reads events into the same memory again and again.
type borrower struct {
	see        func(*Event)
	event      Event
	vital      Vital
	components [16]Component
	quality    [16]Quality
}

// next reads one event, and has it seen.
func (d *borrower) next(text []byte) bool {
	s := scanner{b: text, open: true, borrow: true}
	typ := s.peekType()
	d.event = Event{}
	if typ == string(EventVital) {
		d.vital = Vital{Components: d.components[:0], Quality: d.quality[:0]}
		d.event.Vital = &d.vital
	}
	if d.event.decode(&s, typ) == nil {
		d.see(&d.event)
	}
	return true
}

// A following is the host's watching of patients and groups.
type following struct {
	hub     *Hub
	o       WatchOptions
	out     *outbox
	watches map[string]*watch
}

// follow watches o's patients, and calls next with each event until it returns
// false, ctx ends or the Hub does. The text is next's until it returns. At each of
// visits the heads of quiet patients are events too.
func (h *Hub) follow(ctx context.Context, o WatchOptions, s *hostSink, visits <-chan time.Time, next func(text []byte) bool) error {
	again, forget := h.changes.hosts.listen()
	defer forget()
	patients, err := h.hostPatients(ctx, &o)
	if err != nil {
		return err
	}
	failed := make(chan struct{})
	o.Since = maps.Clone(o.Since)
	f := &following{hub: h, o: o, out: &outbox{shared: h.outboxes, sink: s, fail: func() { close(failed) }, full: func() {}}, watches: make(map[string]*watch)}
	defer f.out.stop()
	defer s.end()
	defer f.end()
	for p := range patients {
		if err := f.begin(p); err != nil {
			return err
		}
	}
	members := make(chan map[string]bool)
	if len(o.Groups) > 0 {
		asked := WatchOptions{Patients: o.Patients, Groups: o.Groups, Delivery: o.Delivery}
		h.start(func() { h.askMembers(ctx, asked, again, members, s.gone) })
	}
	for {
		select {
		case b := <-s.frames:
			for text := range wsconn.Texts(b) {
				if !next(text) {
					return nil
				}
			}
			s.taken <- struct{}{}
		case <-visits:
			f.heads(h.clock.ticks())
		case now := <-members:
			if more, err := f.change(now, next); !more {
				return err
			}
		case <-ctx.Done():
			return ctx.Err()
		case <-failed:
			return ErrClosed
		case <-h.quit:
			return ErrClosed
		}
	}
}

// askMembers sends the patients to watch, periodically and when a group has
// changed, until the loop ends. It runs beside the loop, which must not wait
// for the Directory.
func (h *Hub) askMembers(ctx context.Context, o WatchOptions, again <-chan struct{}, members chan<- map[string]bool, gone <-chan struct{}) {
	tick := time.NewTicker(h.opt.Recheck)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-again:
		case <-gone:
			return
		case <-h.quit:
			return
		}
		now, err := h.hostPatients(ctx, &o)
		if err != nil {
			continue // undecided: all stays as it is
		}
		select {
		case members <- now:
		case <-gone:
			return
		case <-h.quit:
			return
		}
	}
}

// change watches those in now, and no others.
func (f *following) change(now map[string]bool, next func(text []byte) bool) (more bool, err error) {
	tell := func(typ EventType, p string) bool {
		for text := range wsconn.Texts(patientFrame(typ, p)) {
			if !next(text) {
				return false
			}
		}
		return true
	}
	for p := range f.watches {
		if !now[p] {
			if f.leave(p); !tell(EventRevoked, p) {
				return false, nil
			}
		}
	}
	for p := range now {
		if f.watches[p] != nil {
			continue
		}
		if !tell(EventGranted, p) {
			return false, nil
		}
		if err := f.begin(p); err != nil {
			return false, err
		}
	}
	return true, nil
}

// begin watches a patient.
func (f *following) begin(p string) error {
	h := f.hub
	w := &watch{out: f.out, patient: p, delivery: f.o.Delivery, waves: f.o.Waves, lane: h.lanes.of(p)}
	if since, ok := f.o.Since[p]; ok {
		w.since = &since
		delete(f.o.Since, p) // it counts once
	}
	if err := w.lane.submit(job{attach: w}); err != nil {
		return err
	}
	h.audit.recordHost(Record{Event: AuditWatch, Patient: p}, nil)
	h.signals.join(w, nil)
	f.watches[p] = w
	return nil
}

// heads sends the heads of the patients that have been quiet, once the last ones
// are taken. Those that find no room are told at a later visit.
func (f *following) heads(now int64) {
	if !f.out.hasReplyRoom(1) {
		return
	}
	var heads []Head
	size := 0
	f.out.mu.Lock()
	for _, w := range f.watches {
		if size <= controlSize/2 && w.quiet(now) {
			size += headAbout
			heads = append(heads, w.headAt(now))
		}
	}
	f.out.mu.Unlock()
	for _, b := range headFrames(heads, f.hub.now()) {
		f.out.send(b)
	}
}

// leave ends the watch of a patient and drops its waiting events.
func (f *following) leave(p string) {
	w := f.watches[p]
	delete(f.watches, p)
	w.end()
	w.lane.submit(job{detach: w})
	f.hub.audit.recordHost(Record{Event: AuditWatchEnded, Patient: p}, nil)
}

func (f *following) end() {
	for p := range f.watches {
		f.leave(p)
	}
}

// bells wake goroutines that wait for a change.
type bells struct {
	mu      sync.Mutex
	waiting map[chan struct{}]bool
}

// listen returns a bell and a function that gives it back.
func (b *bells) listen() (bell chan struct{}, forget func()) {
	bell = make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.waiting == nil {
		b.waiting = make(map[chan struct{}]bool)
	}
	b.waiting[bell] = true
	return bell, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.waiting, bell)
	}
}

func (b *bells) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for bell := range b.waiting {
		signal(bell)
	}
}

// hostPatients validates o and lists the patients it means.
func (h *Hub) hostPatients(ctx context.Context, o *WatchOptions) (map[string]bool, error) {
	r := request{Type: reqWatch, Patients: o.Patients, Groups: o.Groups, Since: o.Since, Delivery: o.Delivery, Waves: o.Waves}
	if err := r.check(); err != nil {
		return nil, err
	}
	o.Delivery = r.Delivery
	patients := make(map[string]bool)
	for _, p := range o.Patients {
		patients[p] = true
	}
	for _, g := range o.Groups {
		in, err := h.access.groups.members(ctx, g)
		if err != nil {
			return nil, err
		}
		maps.Copy(patients, in)
	}
	return patients, nil
}

// A hostSink hands frames to code in this process, which reads them where they are:
// to a loop on a goroutine of its own, or to next, which the writer calls.
type hostSink struct {
	frames chan []byte
	taken  chan struct{} // the loop has done with the last frames
	gone   chan struct{} // the loop has ended

	mu   sync.Mutex // held while next runs
	next func(text []byte) bool
}

// call calls next, never twice at a time.
func (s *hostSink) call(text []byte) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.next(text)
}

// end ends the handing over, and returns when next no longer runs.
func (s *hostSink) end() {
	close(s.gone)
	s.mu.Lock()
	defer s.mu.Unlock()
}

// gatherFor is how long events gather after others have been seen by WatchEach. To
// wake for each one would cost more than to judge it.
const gatherFor = 20 * time.Millisecond

var errGone = errors.New("carewire: the loop has ended")

func (s *hostSink) WriteFrames(p []byte, _ bool) error {
	if s.next != nil {
		err := s.callEach(p)
		select {
		case <-time.After(gatherFor):
		case <-s.gone:
		}
		return err
	}
	select {
	case s.frames <- p:
	case <-s.gone:
		return errGone
	}
	select {
	case <-s.taken:
		return nil
	case <-s.gone:
		return errGone
	}
}

func (s *hostSink) callEach(p []byte) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for text := range wsconn.Texts(p) {
		select {
		case <-s.gone:
			return errGone
		default:
			s.next(text)
		}
	}
	return nil
}
