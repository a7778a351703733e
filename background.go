package carewire

import (
	"context"
	"errors"
	"sync"
	"time"
)

// A background owns the work that runs beside the calls of a Hub: its loops,
// its connections, and its retries. All of it ends with Shutdown.
type background struct {
	ctx  context.Context // ends last
	stop context.CancelFunc
	quit chan struct{} // closed when loops are to end

	wg      sync.WaitGroup
	mu      sync.Mutex
	ending  bool
	retries map[string]*retry
}

// A retry is one thing that is tried again.
type retry struct{ do func(context.Context) error }

func newBackground() *background {
	b := &background{quit: make(chan struct{}), retries: make(map[string]*retry)}
	b.ctx, b.stop = context.WithCancel(context.Background())
	return b
}

// start runs f, and lets end wait for it. It reports false, and does not run f,
// once the end has begun.
func (b *background) start(f func()) bool {
	if !b.hold() {
		return false
	}
	go func() {
		defer b.release()
		f()
	}()
	return true
}

// hold makes end wait for release. It reports false once the end has begun.
func (b *background) hold() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if !b.ending {
		b.wg.Add(1)
	}
	return !b.ending
}

func (b *background) release() { b.wg.Done() }

// end tells all that runs to end, and waits for it until ctx ends; then the
// calls of the Store that are under way are given up.
func (b *background) end(ctx context.Context) (err error) {
	b.mu.Lock()
	if !b.ending {
		b.ending = true
		close(b.quit)
	}
	b.mu.Unlock()
	done := make(chan struct{})
	go func() { defer close(done); b.wg.Wait() }()
	select {
	case <-done:
	case <-ctx.Done():
		err = ctx.Err()
	}
	b.stop()
	return err
}

// retryUntilDone calls f. If f fails because the Store fails, it is called
// again, at growing intervals, until it succeeds, fails for another reason or
// the Hub ends. key names the work: of several calls for the same key only the
// newest f is tried again.
func (b *background) retryUntilDone(ctx context.Context, key string, f func(context.Context) error) {
	if !maySucceedLater(f(ctx)) {
		return
	}
	b.keep(key, f, pollEvery)
}

// startRetrying is retryUntilDone for those who do not wait for the first call, which
// comes after those for the same key that are under way or to be tried again.
func (b *background) startRetrying(key string, f func(context.Context) error) { b.keep(key, f, 0) }

// keep has f called after a pause, and again until it need not be. There is one
// goroutine for a key, however often that is asked for.
func (b *background) keep(key string, f func(context.Context) error, pause time.Duration) {
	b.mu.Lock()
	_, running := b.retries[key]
	b.retries[key] = &retry{f}
	b.mu.Unlock()
	if !running && !b.start(func() { b.retry(key, pause) }) {
		b.mu.Lock()
		delete(b.retries, key)
		b.mu.Unlock()
	}
}

// retry tries the work named by key until it need not be tried again.
func (b *background) retry(key string, pause time.Duration) {
	for {
		select {
		case <-time.After(pause):
		case <-b.quit:
			return
		}
		b.mu.Lock()
		r := b.retries[key]
		b.mu.Unlock()
		if maySucceedLater(r.do(b.ctx)) {
			pause = min(max(2*pause, pollEvery), claimFor)
			continue
		}
		pause = 0 // for another one that has come meanwhile
		b.mu.Lock()
		last := b.retries[key] == r
		if last {
			delete(b.retries, key)
		}
		b.mu.Unlock()
		if last {
			return
		}
	}
}

// maySucceedLater reports whether a call that failed with err is worth another
// try.
func maySucceedLater(err error) bool {
	return errors.Is(err, ErrUnavailable) || errors.Is(err, ErrUnknownOutcome) || errors.Is(err, ErrBusy) || errors.Is(err, ErrFull)
}

// signal wakes the goroutine that waits for c, a channel with room for one,
// unless that has been done already.
func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
