package fhir

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/carewire/carewire"
)

const (
	askAgain  = time.Second      // after access was undecided, or the Store failed
	warnAhead = 30 * time.Second // of the end of a token
	lookEvery = 30 * time.Second // at a subscription that other nodes may have changed, where heartbeats do not look
	tellFor   = time.Second      // at a stretch: then heartbeats and ends have their turn
)

// A teller takes a subscription's notifications: a socket, or an endpoint.
type teller interface {
	// tell sends one notification; after an error nothing more can be sent.
	tell(ctx context.Context, b *binding, m message) error
	// complain reports a fault that keeps all notifications from being sent.
	complain(error)
}

// A binding is one subscription on its way to one teller.
type binding struct {
	s       *Server
	sub     *subscription
	who     carewire.Principal // the owner of the notifications; authorised for each event
	to      teller
	version string
	beats   bool          // heartbeats are sent
	poked   chan struct{} // when the subscription was changed at this node; nil: never
	greet   bool          // a handshake is still to be sent; else told says where to go on

	told    tally // all events up to here were sent
	failing bool  // since next was done last, the Store could not be read
}

var (
	errUndecided = fmt.Errorf("fhir: %w", carewire.ErrUndecided)
	errTokenOver = fmt.Errorf("fhir: the token has ended: %w", carewire.ErrUnauthenticated)
	errEnded     = fail(http.StatusConflict, "conflict", "the subscription was changed or has ended")
	errStoreDown = fail(http.StatusServiceUnavailable, "transient", "the log cannot be read now: the binding waits for it")
)

// run counts, shakes hands, and tells of each event from then on, until ctx ends,
// the teller fails or the subscription does.
func (b *binding) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	wake := make(chan struct{}, 1)
	closed := make(chan error, 1)
	o := b.watched()
	go func() { closed <- b.watch(ctx, o, wake) }()
	beat, look := b.tickers()
	defer beat.Stop()
	defer look.Stop()
	warn, end := b.timers()
	defer warn.Stop()
	defer end.Stop()
	again := time.NewTimer(0) // events that have happened already
	defer again.Stop()
	for {
		var err error
		select {
		case <-wake:
			err = b.next(ctx)
		case <-again.C:
			err = b.next(ctx)
		case <-beat.C:
			err = b.heartbeat(ctx)
		case <-b.poked:
			err = b.unchanged(ctx)
		case <-look.C:
			if err = b.unchanged(ctx); err == nil {
				err = b.mayTell(ctx)
			}
		case <-warn.C:
			if !b.greet {
				err = b.say(ctx, typeHeartbeat, statusActive, tokenEnds)
			}
		case <-end.C:
			return b.over(ctx)
		case err := <-closed:
			return err
		}
		down := errors.Is(err, carewire.ErrUnavailable) || errors.Is(err, carewire.ErrUnknownOutcome)
		if down && b.greet && !b.failing {
			b.to.complain(errStoreDown)
		}
		b.failing = b.failing || down
		switch {
		case down, errors.Is(err, errUndecided):
			again.Reset(askAgain)
		case errors.Is(err, errEnough):
			again.Reset(time.Millisecond) // after all that waits already
		case errors.Is(err, errTokenOver):
			return b.over(ctx)
		case err != nil:
			return b.failed(ctx, err)
		}
	}
}

// tickers tick for heartbeats, and for looks at the subscription and its access
// where heartbeats are none or rare.
func (b *binding) tickers() (beat, look *time.Ticker) {
	period := cmp.Or(b.sub.Beat, b.s.opt.Heartbeat)
	beat, look = time.NewTicker(period), time.NewTicker(lookEvery)
	if !b.beats {
		beat.Stop()
	} else if period <= lookEvery {
		look.Stop()
	}
	return beat, look
}

// timers fire before the principal's token ends, and when that or the
// subscription does.
func (b *binding) timers() (warn, end *time.Timer) {
	warn, end = time.NewTimer(time.Hour), time.NewTimer(time.Hour)
	warn.Stop()
	end.Stop()
	token, sub := b.who.Expires, b.sub.End
	if !token.IsZero() {
		left := time.Until(token)
		warn.Reset(left - min(warnAhead, left/2))
		end.Reset(left)
	}
	if !sub.IsZero() && (token.IsZero() || sub.Before(token)) {
		end.Reset(time.Until(sub))
	}
	return warn, end
}

// over says that the token has ended, or the subscription.
func (b *binding) over(ctx context.Context) error {
	status, failure := statusError, tokenEnded
	if b.sub.over(time.Now()) {
		status, failure = statusOff, ""
	}
	b.say(ctx, typeHeartbeat, status, failure)
	return errEnded
}

// next shakes hands, if that is still to be done, and reports the events since.
// A subscription that was requested is active then.
func (b *binding) next(ctx context.Context) error {
	if err := b.unchanged(ctx); err != nil {
		return err
	}
	if b.greet {
		t, err := b.s.subscriptions.count(ctx, b.sub, b.s.subscriptions.before(b.sub, ^uint64(0)), nil)
		if err != nil {
			return err
		}
		b.told = t
		b.s.subscriptions.note(ctx, b.sub, t)
		if err := b.say(ctx, typeHandshake, b.sub.Status, ""); err != nil {
			return err
		}
		b.greet = false
	}
	if b.sub.Status == statusRequested {
		_, err := b.s.subscriptions.change(ctx, b.sub.ID, func(sub *subscription) {
			if sub.Status == statusRequested && sub.Count == b.sub.Count && bytes.Equal(sub.Resource, b.sub.Resource) {
				sub.Status = statusActive
			}
		})
		if err != nil {
			return err
		}
		b.activate() // if it was changed meanwhile, unchanged notices
	}
	err := b.tellNew(ctx)
	if err == nil || errors.Is(err, errEnough) {
		b.failing = false
	}
	return err
}

// watched are the patients that b watches to be woken.
func (b *binding) watched() carewire.WatchOptions {
	o := carewire.WatchOptions{Patients: []string{b.sub.Patient}, Delivery: carewire.DeliverAlerts}
	if b.sub.kind() == carewire.KindVital {
		o.Delivery = carewire.DeliverLatest
	}
	return o
}

// watch wakes b when something may have happened, until ctx or the Hub ends.
func (b *binding) watch(ctx context.Context, o carewire.WatchOptions, wake chan<- struct{}) error {
	for {
		for _, err := range b.s.hub.Watch(ctx, o) {
			if errors.Is(err, carewire.ErrClosed) {
				return err
			}
			if err != nil {
				break
			}
			select {
			case wake <- struct{}{}:
			default:
			}
		}
		select { // it could not begin
		case <-time.After(askAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// tellNew reports the events since the last report. It looks at the subscription after
// it has read an event: one that came after a deletion is not told. It returns
// errEnough where there are more events than a stretch is long.
func (b *binding) tellNew(ctx context.Context) error {
	began, first := time.Now(), b.told.N
	t, err := b.s.subscriptions.count(ctx, b.sub, b.told, func(ev carewire.Event, n uint64) error {
		if n > first+1 && time.Since(began) > tellFor {
			return errEnough
		}
		if err := b.unchanged(ctx); err != nil {
			return err
		}
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
	if end := b.who.Expires; !end.IsZero() && !end.After(time.Now()) {
		return errTokenOver
	}
	list, err := b.s.hub.Authorize(ctx, carewire.Access{Principal: b.who, Action: carewire.ActionWatch, Patients: []string{b.sub.Patient}})
	switch {
	case err != nil:
		return errUndecided
	case !list[0].Allow:
		return carewire.ErrForbidden
	}
	return nil
}

// unchanged ends the binding, and says so, where its subscription was changed or
// deleted, at whichever node, or is over.
func (b *binding) unchanged(ctx context.Context) error {
	now, err := b.current(ctx)
	switch {
	case errors.Is(err, errNotFound):
		b.say(ctx, typeHeartbeat, statusOff, "")
		return errEnded
	case errors.Is(err, errEnded):
		b.sub = now
		b.say(ctx, typeHeartbeat, now.status(time.Now()), now.Failure)
	}
	return err
}

// current reads the subscription again. It returns errNotFound if that was deleted,
// and errEnded if it was changed or is over.
func (b *binding) current(ctx context.Context) (*subscription, error) {
	now, err := b.s.subscriptions.get(ctx, b.sub.ID)
	if err != nil {
		return nil, err
	}
	if b.sub.Status == statusRequested && now.Status == statusActive { // another binding has made it so
		b.activate()
	}
	if now.Count != b.sub.Count || now.Status != b.sub.Status || !bytes.Equal(now.Resource, b.sub.Resource) || now.over(time.Now()) {
		return now, errEnded
	}
	return now, nil
}

func (b *binding) activate() {
	sub := *b.sub
	sub.Status = statusActive
	b.sub = &sub
}

// heartbeat says that all is well, if it is: that access is there, the
// subscription is as it was, and its events can be read.
func (b *binding) heartbeat(ctx context.Context) error {
	err := b.unchanged(ctx)
	if err != nil && !errors.Is(err, carewire.ErrUnavailable) || b.greet {
		return err
	}
	failure := ""
	if err != nil || b.failing {
		failure = storeDown
	}
	if err := b.mayTell(ctx); err != nil && !errors.Is(err, errUndecided) {
		return err
	}
	return b.say(ctx, typeHeartbeat, statusActive, failure)
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
	status := statusError
	sub, err := b.s.subscriptions.change(ctx, b.sub.ID, func(sub *subscription) {
		if sub.Count == b.sub.Count { // else it has begun anew, and that is not its fault
			sub.Status, sub.Failure = statusError, code
		}
	})
	if err == nil {
		b.sub, status, code = sub, sub.status(time.Now()), sub.Failure
	}
	b.say(ctx, typeHeartbeat, status, code)
	return errEnded
}
