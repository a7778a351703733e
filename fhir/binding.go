package fhir

import (
	"cmp"
	"context"
	"errors"
	"time"

	"github.com/carewire/carewire"
)

const (
	askAgain  = time.Second      // after access was undecided, or the Store failed
	warnAhead = 30 * time.Second // of the end of a token
)

// A teller takes what a subscription has to say: a socket, or an endpoint.
type teller interface {
	// tell sends one notification; after an error nothing more can be sent.
	tell(ctx context.Context, b *binding, m message) error
}

// A binding is one subscription on its way to one teller.
type binding struct {
	s       *Server
	sub     *subscription
	who     carewire.Principal // on whose behalf; asked about for each event
	to      teller
	version string
	beats   bool // heartbeats are sent

	told tally // all events up to here were sent
}

var (
	errUndecided = errors.New("fhir: access is undecided")
	errEnded     = errors.New("fhir: the binding has ended")
)

// run counts, shakes hands, and tells of each event from then on, until ctx ends,
// the teller fails or the subscription does. greet is false where the teller goes
// on from b.told.
func (b *binding) run(ctx context.Context, greet bool) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if greet {
		if err := b.start(ctx); err != nil {
			return err
		}
	}
	wake := make(chan struct{}, 1)
	watching := make(chan error, 1)
	go func() { watching <- b.watch(ctx, wake) }()
	var beat <-chan time.Time
	if b.beats {
		t := time.NewTicker(cmp.Or(b.sub.Beat, b.s.opt.Heartbeat))
		defer t.Stop()
		beat = t.C
	}
	warn, end := b.timers()
	defer warn.Stop()
	defer end.Stop()
	again := time.NewTimer(0) // events during the handshake
	defer again.Stop()
	for {
		var err error
		select {
		case <-wake:
			err = b.tellNew(ctx)
		case <-again.C:
			err = b.tellNew(ctx)
		case <-beat:
			err = b.heartbeat(ctx)
		case <-warn.C:
			err = b.say(ctx, typeHeartbeat, statusActive, tokenEnds)
		case <-end.C:
			b.say(ctx, typeHeartbeat, statusError, tokenEnded)
			return errEnded
		case err := <-watching:
			return err
		}
		switch {
		case errors.Is(err, errUndecided), errors.Is(err, carewire.ErrUnavailable):
			again.Reset(askAgain)
		case err != nil:
			return b.failed(ctx, err)
		}
	}
}

// timers fire before the principal's token ends, and when it does.
func (b *binding) timers() (warn, end *time.Timer) {
	if b.who.Expires.IsZero() {
		warn, end = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
		warn.Stop()
		end.Stop()
		return warn, end
	}
	left := time.Until(b.who.Expires)
	return time.NewTimer(left - min(warnAhead, left/2)), time.NewTimer(left)
}

// start counts what has happened and shakes hands. A subscription that was
// requested is active then.
func (b *binding) start(ctx context.Context) error {
	t, err := b.s.subscriptions.count(ctx, b.sub, b.s.subscriptions.before(b.sub, ^uint64(0)), nil)
	if err != nil {
		return b.failed(ctx, err)
	}
	b.told = t
	b.s.subscriptions.note(ctx, b.sub, t)
	if err := b.say(ctx, typeHandshake, b.sub.Status, ""); err != nil {
		return err
	}
	if b.sub.Status == statusRequested {
		sub, err := b.s.subscriptions.change(ctx, b.sub.ID, func(sub *subscription) {
			if sub.Status == statusRequested {
				sub.Status = statusActive
			}
		})
		if err != nil {
			return b.failed(ctx, err)
		}
		b.sub = sub
	}
	return nil
}

// watch wakes b when something may have happened, and returns when the Hub ends.
func (b *binding) watch(ctx context.Context, wake chan<- struct{}) error {
	o := carewire.WatchOptions{Patients: []string{b.sub.Patient}, Delivery: carewire.DeliverAlerts}
	if b.sub.kind() == carewire.KindVital {
		o.Delivery = carewire.DeliverLatest
	}
	for _, err := range b.s.hub.Watch(ctx, o) {
		if err != nil {
			return err
		}
		select {
		case wake <- struct{}{}:
		default:
		}
	}
	return carewire.ErrClosed
}

// tellNew reports the events since the last report.
func (b *binding) tellNew(ctx context.Context) error {
	t, err := b.s.subscriptions.count(ctx, b.sub, b.told, func(ev carewire.Event, n uint64) error {
		if err := b.mayTell(ctx); err != nil {
			return err
		}
		m := message{kind: typeEvent, status: statusActive, count: n, content: b.sub.Content, events: []happened{b.sub.happened(ev, n, b.who)}}
		return b.to.tell(ctx, b, m)
	})
	if t.N != b.told.N {
		b.s.subscriptions.note(ctx, b.sub, t)
	}
	b.told = t
	return err
}

// mayTell asks whether the principal may see the patient now.
func (b *binding) mayTell(ctx context.Context) error {
	list, err := b.s.hub.Authorize(ctx, carewire.Access{Principal: b.who, Action: carewire.ActionWatch, Patients: []string{b.sub.Patient}})
	switch {
	case err != nil:
		return errUndecided
	case !list[0].Allow:
		return carewire.ErrForbidden
	}
	return nil
}

// heartbeat says that all is well, if it is: that access is there, and that the
// subscription was not changed elsewhere.
func (b *binding) heartbeat(ctx context.Context) error {
	now, err := b.s.subscriptions.get(ctx, b.sub.ID)
	switch {
	case errors.Is(err, errNotFound):
		return errEnded
	case err == nil && (now.Start != b.sub.Start || now.Status != b.sub.Status || now.over(time.Now())):
		b.sub = now
		b.say(ctx, typeHeartbeat, now.status(time.Now()), now.Failure)
		return errEnded
	}
	if err := b.mayTell(ctx); errors.Is(err, carewire.ErrForbidden) {
		return err
	}
	return b.say(ctx, typeHeartbeat, statusActive, "")
}

func (b *binding) say(ctx context.Context, kind, status, failure string) error {
	return b.to.tell(ctx, b, message{kind: kind, status: status, count: b.told.N, failure: failure, content: b.sub.Content})
}

// failed sets the subscription in error, if err is its fault, and says so. Only
// the client reactivates it.
func (b *binding) failed(ctx context.Context, err error) error {
	code := ""
	switch {
	case errors.Is(err, carewire.ErrForbidden):
		code = failedAccess
	case errors.Is(err, errPruned):
		code = failedPruned
	case errors.Is(err, errRestored):
		code = failedRestored
	case errors.Is(err, errNoResponse):
		code = failedHook
	default:
		return err
	}
	if sub, err := b.s.subscriptions.change(ctx, b.sub.ID, func(sub *subscription) { sub.Status, sub.Failure = statusError, code }); err == nil {
		b.sub = sub
	}
	b.say(ctx, typeHeartbeat, statusError, code)
	return errEnded
}
