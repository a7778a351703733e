package carewire

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// A hostCall is one kind of call of the host's code. Calls run outside lanes,
// each in its own goroutine, with a deadline and a recover. Their number at one
// time is limited.
type hostCall struct {
	name    string
	trace   Trace
	places  chan struct{}
	timeout time.Duration
	log     *slog.Logger
	noPlace *atomic.Uint64 // counts calls that found no place in time
	panics  *atomic.Uint64
}

// hostCalls are the kinds of calls that a Hub makes.
type hostCalls struct{ authenticate, authorize, directory, policy, withdraw, person, resolve, age, silence, audit, auditFirst *hostCall }

func newHostCalls(o *Options, c *counters) hostCalls {
	n := func(name string, n int) *hostCall {
		return &hostCall{name: name, trace: o.Trace, places: make(chan struct{}, n), timeout: o.CallTimeout, log: o.Logger, noPlace: &c.limits.host, panics: &c.panics}
	}
	return hostCalls{n("authenticate", o.MaxAuthenticating), n("authorize", o.MaxAuthorizing), n("directory", 32), n("policy", 64), n("withdraw", 32), n("person", 32),
		n("resolve", 256), n("age", 256), n("silence", 32), n("audit", 64), n("audit", auditFirstAtOnce)}
}

// Trace is called when the Hub begins to append to the Store or to call the
// host's code. It returns the context for the operation, and a function that is
// called at its end with its error or nil. The operation is append,
// authenticate, authorize, directory, policy, page, withdraw, person, resolve,
// age, silence or audit. Trace gets no health data and no IDs. It must be safe
// for concurrent use, be quick, and not panic. Module metrics/otel has one for
// OpenTelemetry.
type Trace func(ctx context.Context, operation string) (context.Context, func(error))

// start begins an operation; a nil Trace does nothing.
func (t Trace) start(ctx context.Context, operation string) (context.Context, func(error)) {
	if t == nil {
		return ctx, func(error) {}
	}
	return t(ctx, operation)
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
		ctx, end := c.trace.start(ctx, c.name)
		defer func() {
			end(o.err)
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

// causeOf returns the type of an error, for the log, and the types of all errors
// that it joins. Their text belongs to the host.
func causeOf(err error) (cause string) {
	cause = fmt.Sprintf("%T", err)
	defer func() { _ = recover() }() // Unwrap is the host's code: cause is then the outer type
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) {
		return cause
	}
	var types []string
	for _, e := range joined.Unwrap() {
		types = append(types, strings.Split(causeOf(e), ", ")...)
	}
	slices.Sort(types)
	return strings.Join(slices.Compact(types), ", ")
}
