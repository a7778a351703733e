package hl7v2

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// Watching is the source of a Reporter's alerts; a *carewire.Hub is one.
type Watching interface {
	Watch(context.Context, carewire.WatchOptions) iter.Seq2[carewire.Event, error]
}

// Reporter reports alerts to an alarm manager by ORU^R40 (IHE PCD-04): every
// phase of each alert that it watches, in order. While the manager is away it
// keeps the newest state of each alert, and then sends these, the most urgent
// first. An alert that began and ended meanwhile is not sent.
//
// A Reporter is also a [carewire.Pager], for a Policy that names the manager:
// see [Reporter.Page]. [Reporter.Report] handles the reports on such pages.
type Reporter struct {
	Client *Client // required
	Writer Writer
	// Reports says that the manager reports the outcome of pages. Its acceptance of
	// a page then does not count as reached: see [carewire.PageReporter].
	Reports bool

	// Told is called when the manager has taken a message (err nil), and when it
	// refuses one, which is then not sent again. May be nil.
	Told func(a *carewire.Alert, phase Phase, err error)
	// Logger gets no health data. Nil: slog.Default().
	Logger *slog.Logger

	once  sync.Once
	queue *reports
	sent  sentPages

	mu        sync.Mutex
	following int // calls of Follow
	stop      context.CancelFunc
	stopped   chan struct{}
}

// Follow reports the alerts of the patients in o until ctx ends or the Hub is
// shut down, and returns the reason. Alerts that were open before are reported
// with the phase continue. If o.Since names the end of an earlier Follow,
// alerts that have ended since then are reported too. Several calls for
// different patients may run at once: the most urgent alert of all is sent
// first.
func (r *Reporter) Follow(ctx context.Context, hub Watching, o carewire.WatchOptions) error {
	if r.Client == nil {
		return errors.New("hl7v2: a Client is required")
	}
	q := r.begin()
	defer r.end()
	o.Delivery = carewire.DeliverAlerts
	snapshot := make(map[string]bool) // patients whose events are a snapshot
	seen := make(map[string]bool)
	for e, err := range hub.Watch(ctx, o) {
		if err != nil {
			return err
		}
		switch e.Type {
		case carewire.EventSync:
			if snapshot[e.Patient] = !e.Recovered; !e.Recovered && !seen[e.Patient] {
				q.drop(e.Patient) // of an earlier Follow: it may have ended unseen
			}
			seen[e.Patient] = true
		case carewire.EventSynced:
			delete(snapshot, e.Patient)
		case carewire.EventAlert:
			q.put(e.Alert, snapshot[e.Patient])
		}
	}
	return context.Cause(ctx)
}

// begin starts sending the queued reports, while anything is followed.
func (r *Reporter) begin() *reports {
	q := r.reports()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.following++; r.following == 1 {
		ctx, stop := context.WithCancel(context.Background())
		stopped := make(chan struct{})
		r.stop, r.stopped = stop, stopped
		go func() { defer close(stopped); r.send(ctx, q) }()
	}
	return q
}

func (r *Reporter) end() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.following--; r.following == 0 {
		r.stop()
		<-r.stopped
	}
}

// send tells the manager until ctx ends.
func (r *Reporter) send(ctx context.Context, q *reports) {
	log := r.Logger
	if log == nil {
		log = slog.Default()
	}
	for {
		key, e, a, phase, page := q.take()
		if e == nil {
			select {
			case <-q.woken:
				continue
			case <-ctx.Done():
				return
			}
		}
		message, id := r.Writer.message(phase, a, pageKey(page), time.Now())
		if page != nil {
			r.sent.note(id, page.key)
		}
		_, err := r.Client.Send(ctx, message)
		if errors.Is(err, ErrNoAck) {
			return // ctx has ended
		}
		if err != nil {
			log.Error("hl7v2: the alarm manager refuses an alert", "error", err)
		}
		q.done(key, e, a, page, err)
		if r.Told != nil {
			r.Told(a, phase, err)
		}
	}
}
