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
		patients, err := h.hostPatients(ctx, &o)
		if err != nil {
			yield(Event{}, err)
			return
		}
		s := &hostSink{frames: make(chan []byte), gone: make(chan struct{})}
		failed := make(chan struct{})
		out := &outbox{hub: h, sink: s, fail: func() { close(failed) }}
		defer out.stop()
		defer close(s.gone)
		for p := range patients {
			h.audit.recordHost(Record{Event: AuditWatch, Patient: p}, nil)
			w := &watch{out: out, patient: p, delivery: o.Delivery, lane: h.lane(p)}
			if since, ok := o.Since[p]; ok {
				w.since = &since
			}
			if err := w.lane.submit(job{attach: w}); err != nil {
				yield(Event{}, err)
				return
			}
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
					ev, _, err := decodeEvent(text)
					if err != nil {
						err = errStored
					}
					if !yield(ev, err) {
						return
					}
				}
			case <-ctx.Done():
				yield(Event{}, ctx.Err())
				return
			case <-failed:
				yield(Event{}, ErrClosed)
				return
			case <-h.quit:
				yield(Event{}, ErrClosed)
				return
			}
		}
	}
}

// hostPatients validates o and lists the patients it means.
func (h *Hub) hostPatients(ctx context.Context, o *WatchOptions) (map[string]bool, error) {
	r := request{Type: reqWatch, Patients: o.Patients, Groups: o.Groups, Since: o.Since, Delivery: o.Delivery}
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

// A hostSink hands frames to a loop in this process.
type hostSink struct {
	frames chan []byte
	gone   chan struct{} // the loop has ended
}

var errGone = errors.New("carewire: the loop has ended")

func (s *hostSink) WriteFrames(p []byte, _ bool) error {
	b := append([]byte(nil), p...)
	select {
	case s.frames <- b:
		return nil
	case <-s.gone:
		return errGone
	}
}
