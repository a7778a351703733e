package pagers

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// A Chain pages by the first way that works. Each way but the last gets an
// equal share of the time that is left. A way that has failed five times in a
// row is left out for 30 seconds and then tried with one page (a circuit
// breaker). When all ways are left out, all are tried, because a page must not
// be dropped. Make one with NewChain.
type Chain struct{ ways []*way }

// A way is one Pager of a Chain, and how it fares.
type way struct {
	carewire.Pager

	mu     sync.Mutex
	failed int       // in a row
	until  time.Time // left out until then
}

const (
	breakAfter = 5
	breakFor   = 30 * time.Second
)

// NewChain returns a Chain of ways, the best first.
func NewChain(ways ...carewire.Pager) *Chain {
	c := &Chain{}
	for _, w := range ways {
		c.ways = append(c.ways, &way{Pager: w})
	}
	return c
}

// Validate implements carewire.PageChecker: a Chain needs a way, and each way
// must be valid.
func (c *Chain) Validate() error {
	if len(c.ways) == 0 {
		return errors.New("pagers: a Chain needs a way")
	}
	var errs []error
	for _, w := range c.ways {
		if w.Pager == nil {
			return errors.New("pagers: a way of a Chain is nil")
		}
		errs = append(errs, check(w.Pager))
	}
	return errors.Join(errs...)
}

// ReportsPages implements carewire.PageReporter: true if one of c's ways reports. A
// page by any other way of c then counts as reached only when it is reported too.
func (c *Chain) ReportsPages() bool {
	return slices.ContainsFunc(c.ways, func(w *way) bool { return reports(w.Pager) })
}

// Page implements carewire.Pager. Its error joins those of all ways tried.
func (c *Chain) Page(ctx context.Context, p carewire.Page) error {
	var open []*way
	for _, w := range c.ways {
		if w.take(time.Now()) {
			open = append(open, w)
		}
	}
	if len(open) == 0 {
		open = c.ways
	}
	errs := []error{errors.New("pagers: no way has reached the recipient")}
	for i, w := range open {
		err := w.try(ctx, p, len(open)-i)
		if err == nil {
			for _, rest := range open[i+1:] {
				rest.untake()
			}
			return nil
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// try pages with a share of the time that ctx leaves.
func (w *way) try(ctx context.Context, p carewire.Page, shares int) (err error) {
	if end, ok := ctx.Deadline(); ok && shares > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, time.Until(end)/time.Duration(shares))
		defer cancel()
	}
	done := make(chan error, 1)
	go func() {
		defer func() {
			if recover() != nil { // of the host's code; it must not end the program
				done <- errors.New("pagers: a Pager panicked")
			}
		}()
		done <- w.Pager.Page(ctx, p)
	}()
	select {
	case err = <-done:
	case <-ctx.Done(): // the next way must not wait for one that ignores its context
		err = ctx.Err()
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case err == nil:
		w.failed, w.until = 0, time.Time{}
	case !errors.Is(err, ErrNoAddress): // that says nothing about the way
		if w.failed++; w.failed >= breakAfter {
			w.until = time.Now().Add(breakFor)
		}
	}
	return err
}

// take reports whether w may be tried now. The first to ask after a time out
// probes it; the others leave it out meanwhile.
func (w *way) take(now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed < breakAfter {
		return true
	}
	if now.Before(w.until) {
		return false
	}
	w.until = now.Add(breakFor)
	return true
}

// untake gives a probe back that was not needed.
func (w *way) untake() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.failed >= breakAfter {
		w.until = time.Time{}
	}
}
