package carewire

import (
	"context"
	"errors"
	"log/slog"
	"sync/atomic"
	"time"
)

// A hostCall is one kind of call of the host's code. Calls run outside lanes,
// each in a goroutine of its own, with a deadline and a recover; only so many at
// once.
type hostCall struct {
	places  chan struct{}
	timeout time.Duration
	log     *slog.Logger
	noPlace *atomic.Uint64 // counts calls that found no place in time
	panics  *atomic.Uint64
}

// hostCalls are the kinds of calls that a Hub makes.
type hostCalls struct{ authenticate, authorize, directory, policy, page, resolve, age, audit *hostCall }

func newHostCalls(o *Options, c *counters) hostCalls {
	n := func(n int) *hostCall {
		return &hostCall{places: make(chan struct{}, n), timeout: o.CallTimeout, log: o.Logger, noPlace: &c.limits.host, panics: &c.panics}
	}
	return hostCalls{n(o.MaxAuthenticating), n(o.MaxAuthorizing), n(32), n(64), n(64), n(256), n(256), n(64)}
}

var errPanicked = errors.New("carewire: the host's code panicked")

// callHost runs f, which is the host's code. It waits for a place for as long as
// a call may take, and gives the call as long again. A call that does not come
// back in time is given up, and keeps its place until it does.
func callHost[T any](ctx context.Context, c *hostCall, f func(context.Context) (T, error)) (T, error) {
	type outcome struct {
		v   T
		err error
	}
	var none T
	select {
	case c.places <- struct{}{}:
	default:
		patience := time.NewTimer(c.timeout)
		defer patience.Stop()
		select {
		case c.places <- struct{}{}:
		case <-patience.C:
			c.noPlace.Add(1)
			return none, ErrBusy
		case <-ctx.Done():
			return none, ErrBusy
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	ch := make(chan outcome, 1)
	go func() {
		var o outcome
		o.err = errPanicked
		defer func() {
			if recover() != nil {
				c.panics.Add(1)
				c.log.Error("carewire: the host's code panicked")
			}
			<-c.places
			ch <- o
		}()
		o.v, o.err = f(ctx)
	}()
	select {
	case o := <-ch:
		return o.v, o.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}
