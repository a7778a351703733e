package carewire

import (
	"context"
	"crypto/rand"
	"errors"
	"iter"
	"maps"
	"net/url"
	"slices"
	"sync"
	"time"
	"unicode/utf8"
)

// A Client is a connection to a Hub that recovers by itself. It is for
// services, device gateways and programs that watch. All methods are safe for
// concurrent use.
//
// Lost connections. The Client reconnects after random, growing pauses, resumes
// every watch at its last position, and repeats unanswered calls under the same
// event IDs. So it misses nothing and does nothing twice. It ends by itself if
// the server's close code or refusal forbids coming back; Err then tells the
// cause.
//
// Calls. A call waits for its answer through lost connections. While the server
// answers "later" (busy, undecided, store failing, outcome unknown), the Client
// repeats the call after the time that the server asks for. The call ends with
// its context. The error then matches the context's error and, if there was an
// answer, the answer's. The outcome is unknown: the server may have carried out
// the request, or may still do so. To repeat a call after that, give its events
// IDs of your own. Errors from the server are a *RequestError.
//
// Events. Events returns them in the order of each patient's log. The Client
// reads the connection in any case, so calls are answered even within the loop
// over Events. While events wait for a slow reader, a newer vital replaces an
// older one of the same key, as on the server (not with DeliverEvery). If
// DialOptions.Buffer events wait nevertheless, the Client stops taking events
// of the patients that send more. Once the reader has consumed half, the Client
// resumes these patients where they stopped: the log on the server is the
// buffer. Alerts, notices, receipts and access events are never lost in this
// way; the reader sees another EventSync. If an inbox finds no room, the Client
// reconnects to fetch it again.
//
// Waves. The chunks of live signals (EventWave) that WatchOptions.Waves
// requests come after all other waiting events. At most forty chunks of each
// signal wait, ten seconds of it; then the oldest is dropped, which
// Wave.Follows shows.
//
// Completeness. Each event carries the number of undroppable entries in the log
// up to it (Event.Must). For quiet patients the server sends this count several
// times a minute. If the Client's own count differs, it resumes that patient.
// If that does not help, it begins again with a snapshot.
//
// Silence. If nothing comes from the server for 50 s, or for two and a half of
// its heartbeats if that is longer, the reader gets EventStale, and the Client
// drops the connection: EventLost. After that, each patient is current again
// from its EventSynced on. An EventStale with Patient concerns that patient
// only: an event is missing, or nothing has come for a minute. The patient is
// current again from its EventSynced, or from an EventLive with Patient.
type Client struct {
	o      DialOptions
	url    string
	ctx    context.Context // ends with Close
	cancel context.CancelFunc
	slots  chan struct{} // one for each call under way
	wake   chan struct{} // the run loop has something to do
	came   chan struct{} // a reader has something to read
	done   chan struct{}

	attempts int // the run loop's: failed or short connections in a row

	mu       sync.Mutex
	err      error // why the Client ended
	link     *link // nil while not connected
	limits   Limits
	lastID   uint64
	calls    map[string]*call // without a reply yet, by req
	ready    []*call          // to be sent now
	wavesOut wavesOut         // to be sent after these
	view                      // the watches, and the events that wait for the reader
}

// Dial connects to a Hub at a wss:// URL, or at a ws:// URL on loopback. It
// returns when the connection is set up; ctx bounds only that. Dial tries once.
// It returns a refusal as an error that matches ErrUnauthenticated for 401,
// ErrForbidden for 403, ErrBusy for 429 and ErrUnavailable for 503. Nil options
// mean the defaults. The Client lives until Close.
func Dial(ctx context.Context, rawURL string, o *DialOptions) (*Client, error) {
	u, err := url.Parse(rawURL)
	switch {
	case err != nil || u.Host == "" || u.Scheme != "ws" && u.Scheme != "wss":
		return nil, errors.New("carewire: the URL must be wss://host/path or ws://host/path")
	case u.Scheme == "ws" && !loopbackHost(u.Hostname()) && (o == nil || !o.AllowPlaintext):
		return nil, errors.New("carewire: ws:// beyond loopback would show health data to the network; use wss://")
	}
	c := &Client{o: o.withDefaults(), url: rawURL, wake: make(chan struct{}, 1), came: make(chan struct{}, 1),
		done: make(chan struct{}), calls: make(map[string]*call), view: newView()}
	c.slots = make(chan struct{}, c.o.Outstanding)
	c.ctx, c.cancel = context.WithCancel(context.WithoutCancel(ctx))
	l, err := c.connect(ctx)
	if err != nil {
		c.cancel()
		return nil, err
	}
	c.attach(l)
	go c.run(l)
	return c, nil
}

// Events returns the events of the server, and EventLive, EventLost and
// EventStale about the connection. It omits EventHead, which the Client handles
// itself. The loop ends with ctx or with the Client, after the events that
// still waited (none, after Close). Its last pair holds the error and no event.
// A later loop continues with the next event. If there are several loops, each
// event goes to one of them.
//
// An EventSync with Recovered false means: discard all state of this patient,
// because all of it comes again.
func (c *Client) Events(ctx context.Context) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		for ctx.Err() == nil {
			c.mu.Lock()
			ev, ok := c.queue.pop()
			err := c.err
			if c.queue.len()+c.queue.waves.Len() > 0 {
				signal(c.came) // for another reader
			}
			if c.queue.len() == c.o.Buffer/2 {
				signal(c.wake) // there is room again
			}
			c.mu.Unlock()
			switch {
			case ok:
				if !yield(ev, nil) {
					return
				}
			case err != nil:
				yield(Event{}, err)
				return
			default:
				select {
				case <-c.came:
				case <-c.done:
				case <-ctx.Done():
				}
			}
		}
		yield(Event{}, ctx.Err())
	}
}

// Watch watches patients and groups, in addition to those already watched. A
// patient that is watched already is from now on watched as o says, beginning
// at o.Since or with a snapshot. The Client keeps the watch over lost
// connections, until Unwatch or an EventRevoked. After an error, the patients
// may be watched or not. WatchResult lists refused patients.
func (c *Client) Watch(ctx context.Context, o WatchOptions) (WatchResult, error) {
	o.Patients, o.Groups = slices.Clone(o.Patients), slices.Clone(o.Groups)
	o.Since, o.Waves = maps.Clone(o.Since), slices.Clone(o.Waves)
	r, err := c.call(ctx, reqWatch, o.encode, func(r *reply) { c.watched(&o, r) })
	if err != nil {
		return WatchResult{}, err
	}
	return WatchResult{Patients: r.Watching, Refused: r.Refused, More: r.More}, nil
}

// Unwatch stops watching patients and groups, and discards their waiting
// events. A patient that came only by these groups gets an EventRevoked. A
// patient that is unwatched by name but belongs to a watched group stays
// watched, beginning with a snapshot.
func (c *Client) Unwatch(ctx context.Context, patients, groups []string) error {
	patients, groups = slices.Clone(patients), slices.Clone(groups)
	c.mu.Lock()
	c.unwatch(patients, groups)
	c.mu.Unlock()
	_, err := c.call(ctx, reqUnwatch, func(e *encoder) {
		e.strings("patients", patients)
		e.strings("groups", groups)
	}, func(*reply) {
		// The server tells the members of the remaining groups.
		c.regroup = len(c.groups) > 0
		c.planDue = true
	})
	return err
}

// Publish sends vitals and returns one result for each, in order. A vital
// without an ID gets one, so that a repeated vital is recognised and reported
// as Repeated. Publish does not change vitals. It repeats, alone, the vitals
// that the server could not take yet. Set Time, unless the machine's clock is
// unreliable: a call waits while the connection is lost, and a Vital without
// Time counts as measured on arrival.
//
// If Publish returns an error, Err of each vital that was not accepted tells
// why. A server takes a limited number of vitals at once (Limits.Vitals).
func (c *Client) Publish(ctx context.Context, vitals ...Vital) ([]PublishResult, error) {
	results := make([]PublishResult, len(vitals))
	texts := make([][]byte, len(vitals))
	var pending []int
	for i, v := range vitals {
		v.Received = time.Time{}
		if v.ID == "" {
			v.ID = rand.Text()
		}
		text, err := v.MarshalJSON()
		if err == nil && !utf8.Valid(text) {
			err = errNotUTF8
		}
		if err != nil {
			results[i].Err = err
			continue
		}
		texts[i] = text
		pending = append(pending, i)
	}
	for tries := 0; len(pending) > 0; tries++ {
		r, err := c.call(ctx, reqPublish, func(e *encoder) {
			e.name("vitals")
			e.b = append(e.b, '[')
			for _, i := range pending {
				e.comma()
				e.b = append(e.b, texts[i]...)
			}
			e.b = append(e.b, ']')
		}, nil)
		if err == nil && len(r.Results) != len(pending) {
			err = errReply
		}
		if err != nil {
			for _, i := range pending {
				results[i].Err = err
			}
			return results, err
		}
		var again []int
		var pause time.Duration
		var last error
		for k, i := range pending {
			got := r.Results[k]
			results[i] = PublishResult{Seq: got.Seq, Repeated: got.Repeated}
			if got.Err == nil {
				continue
			}
			results[i].Err = got.Err
			if got.Err.Retry == RetryLater {
				again, last = append(again, i), got.Err
				pause = max(pause, got.Err.RetryAfter)
			}
		}
		if pending = again; len(pending) == 0 {
			break
		}
		timer := time.NewTimer(pause + c.backoff(tries))
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			return results, outOfTime(ctx, last)
		case <-c.done:
			timer.Stop()
			return results, c.Err()
		}
	}
	return results, nil
}

// Raise raises an alert, or updates the open alert of its patient and key, and
// returns the resulting state.
func (c *Client) Raise(ctx context.Context, r Raise) (Alert, error) {
	id := r.ID
	if id == "" {
		id = rand.Text()
	}
	r.ID = ""
	text, err := r.MarshalJSON()
	if err != nil {
		return Alert{}, err
	}
	return c.alertCall(ctx, reqRaise, func(e *encoder) {
		e.str("event_id", id)
		e.raw("alert", text)
	})
}

// Clear ends the condition of an alert and returns the resulting state. Only
// the source of an alert, or a service, may clear it.
func (c *Client) Clear(ctx context.Context, ref AlertRef) (Alert, error) {
	id := rand.Text()
	return c.alertCall(ctx, reqClear, func(e *encoder) { ref.encode(e, id) })
}

// Answer sends a person's answer to an alert and returns the resulting state.
// An answer without an ID gets one.
func (c *Client) Answer(ctx context.Context, ref AlertRef, a Answer) (Alert, error) {
	if a.ID == "" {
		a.ID = rand.Text()
	}
	return c.alertCall(ctx, reqAnswer, func(e *encoder) {
		ref.encode(e, a.ID)
		e.str("do", string(a.Do))
		e.str("to", a.To)
		e.float("for_s", a.For.Seconds())
		e.str("reason", a.Reason)
		a.Source.encode(e, "source")
		e.bool("force", a.Force)
		e.uint("rev", a.Rev)
	})
}

// Handover offers all alerts that the user has accepted to another person or
// group (person:ID or group:ID). The addressee must accept them. reason is optional. It
// returns the number of alerts that are now offered.
func (c *Client) Handover(ctx context.Context, to, reason string) (int, error) {
	id := rand.Text()
	r, err := c.call(ctx, reqHandover, func(e *encoder) {
		e.str("event_id", id)
		e.str("to", to)
		e.str("reason", reason)
	}, nil)
	if err != nil {
		return 0, err
	}
	return r.Count, nil
}

// Pause suspends the escalation of a patient's alerts, as [Hub.Pause] does.
func (c *Client) Pause(ctx context.Context, p Pause) error {
	_, err := c.call(ctx, reqPause, func(e *encoder) {
		e.str("patient", p.Patient)
		e.float("for_s", p.For.Seconds())
		e.str("reason", p.Reason)
		e.bool("silence", p.Silence)
	}, nil)
	return err
}

// Unpause ends a patient's pause.
func (c *Client) Unpause(ctx context.Context, patient string) error {
	_, err := c.call(ctx, reqUnpause, func(e *encoder) { e.str("patient", patient) }, nil)
	return err
}

// Receipt reports how far an alert or notice has reached the user of this
// Client. The Client sends no receipt by itself: only the application knows
// which of them it has shown.
func (c *Client) Receipt(ctx context.Context, r Receipt) error {
	_, err := c.call(ctx, reqReceipt, func(e *encoder) {
		e.str("patient", r.Patient)
		e.str("key", r.Key)
		e.str("alert_id", r.AlertID)
		e.str("notice_id", r.NoticeID)
		e.str("stage", string(r.Stage))
	}, nil)
	return err
}

// Notify sends a notice and returns it as written. A notice without an ID gets
// one. The Hub sets From and Time.
func (c *Client) Notify(ctx context.Context, n Notice) (Notice, error) {
	if n.ID == "" {
		n.ID = rand.Text()
	}
	n.From, n.Time = "", time.Time{}
	r, err := c.call(ctx, reqNotify, func(e *encoder) {
		e.name("notice")
		n.encode(e)
	}, nil)
	switch {
	case err != nil:
		return Notice{}, err
	case r.Notice == nil:
		return Notice{}, errReply
	}
	return *r.Notice, nil
}

// History returns a page of a patient's log.
func (c *Client) History(ctx context.Context, q HistoryQuery) (HistoryPage, error) {
	r, err := c.call(ctx, reqHistory, func(e *encoder) {
		e.str("patient", q.Patient)
		var kinds []string
		for _, k := range q.Kinds {
			kinds = append(kinds, kindName(k))
		}
		e.strings("kinds", kinds)
		e.str("key", q.Key)
		e.time("from", q.From)
		e.time("to", q.To)
		e.uint("cursor", q.Cursor)
		e.uint("limit", uint64(max(q.Limit, 0)))
	}, nil)
	if err != nil {
		return HistoryPage{}, err
	}
	return HistoryPage{Events: r.Events, Next: r.Next}, nil
}

// Done returns a channel that is closed when the Client has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Err returns nil while the Client lives. Afterwards it returns the cause of
// its end: ErrClosed after Close; an error that matches ErrForbidden if access
// was revoked, or ErrUnauthenticated if there is no valid token; else an error
// that names the close code or status of the server.
func (c *Client) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// Close ends the Client. Calls and Events return ErrClosed. Close waits at most
// two seconds for the server's goodbye and returns nil. Closing again, or after
// the Client has ended by itself, has no effect.
func (c *Client) Close() error {
	c.cancel()
	cut := time.AfterFunc(clientCloseGrace, func() {
		c.mu.Lock()
		l := c.link
		c.mu.Unlock()
		if l != nil {
			l.cut()
		}
	})
	<-c.done
	cut.Stop()
	return nil
}

var (
	errReply   = errors.New("carewire: the server's reply is incomplete")
	errNotUTF8 = invalid("", "must be UTF-8")
)

func (c *Client) alertCall(ctx context.Context, typ requestType, members func(*encoder)) (Alert, error) {
	r, err := c.call(ctx, typ, members, nil)
	switch {
	case err != nil:
		return Alert{}, err
	case r.Alert == nil:
		return Alert{}, errReply
	}
	return *r.Alert, nil
}

func (ref *AlertRef) encode(e *encoder, eventID string) {
	e.str("patient", ref.Patient)
	e.str("key", ref.Key)
	e.str("alert_id", ref.ID)
	e.str("event_id", eventID)
}

func (o *WatchOptions) encode(e *encoder) {
	e.strings("patients", o.Patients)
	e.strings("groups", o.Groups)
	if len(o.Since) > 0 {
		e.object("since", func() {
			for p, pos := range o.Since {
				e.comma()
				e.b = append(appendString(e.b, p), ":{"...)
				e.str("epoch", pos.Epoch)
				e.count("seq", pos.Seq)
				e.b = append(e.b, '}')
			}
		})
	}
	e.str("delivery", string(o.Delivery))
	e.strings("waves", o.Waves)
	e.bool("emergency", o.Emergency)
	e.str("reason", o.Reason)
}
