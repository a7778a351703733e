package carewire

import (
	"context"
	"errors"
	"iter"
	"maps"

	"github.com/carewire/carewire/internal/wsconn"
)

// Watch follows patients within the host's process, with everything that is in
// their logs; the host itself is not authorised. Groups are resolved once. It
// keeps no more than a client's outbox does: while the loop's body is slow,
// vitals are replaced by newer ones (with DeliverLatest), and what no longer
// fits is read from the Store. The loop ends with an error when ctx ends or
// the Hub is shut down. Each call is a watch of its own.
func (h *Hub) Watch(ctx context.Context, o WatchOptions) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		err := h.follow(ctx, o, func(text []byte) bool {
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

// WatchEach is Watch for code that looks at every reading of many patients: it
// calls see with each event, and makes no garbage for it. The Event, and all
// that it holds or points to, strings too, is see's until it returns; what is to
// be kept must be copied. What the Store has damaged is left out. WatchEach
// returns when ctx ends or the Hub is shut down, with the reason.
func (h *Hub) WatchEach(ctx context.Context, o WatchOptions, see func(*Event)) error {
	d := borrower{see: see}
	return h.follow(ctx, o, d.next)
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

// follow watches o's patients, and calls next with each event until it returns
// false, ctx ends or the Hub does. The text is next's until it returns.
func (h *Hub) follow(ctx context.Context, o WatchOptions, next func(text []byte) bool) error {
	patients, err := h.hostPatients(ctx, &o)
	if err != nil {
		return err
	}
	s := &hostSink{frames: make(chan []byte), taken: make(chan struct{}), gone: make(chan struct{})}
	failed := make(chan struct{})
	out := &outbox{hub: h, sink: s, fail: func() { close(failed) }}
	defer out.stop()
	defer close(s.gone)
	for p := range patients {
		h.audit.recordHost(Record{Event: AuditWatch, Patient: p}, nil)
		w := &watch{out: out, patient: p, delivery: o.Delivery, waves: o.Waves, lane: h.lane(p)}
		if since, ok := o.Since[p]; ok {
			w.since = &since
		}
		if err := w.lane.submit(job{attach: w}); err != nil {
			return err
		}
		h.signals.join(w)
		defer func() {
			w.end()
			w.lane.submit(job{detach: w})
			h.audit.recordHost(Record{Event: AuditWatchEnded, Patient: p}, nil)
		}()
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
		case <-ctx.Done():
			return ctx.Err()
		case <-failed:
			return ErrClosed
		case <-h.quit:
			return ErrClosed
		}
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

// A hostSink hands frames to a loop in this process, which reads them where they are.
type hostSink struct {
	frames chan []byte
	taken  chan struct{} // the loop has done with the last frames
	gone   chan struct{} // the loop has ended
}

var errGone = errors.New("carewire: the loop has ended")

func (s *hostSink) WriteFrames(p []byte, _ bool) error {
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
