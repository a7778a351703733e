package pagers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers/internal/exchange"
)

// A Chain pages by the first way that works. Each way but the last gets an
// equal share of the time that is left. A way that has failed five times in a
// row is tried last for 30 seconds, and then in its place with one page (a
// circuit breaker): no page fails before all ways have been tried. Errors that
// say nothing about a way do not count for it: ErrNoAddress, ErrNobodyOnDuty,
// and a StatusError from 400 to 499 other than 408, 425 and 429. Make a Chain
// with NewChain.
type Chain struct{ ways []*way }

// A way is one Pager of a Chain, and how it fares.
type way struct {
	carewire.Pager

	mu     sync.Mutex
	failed int       // in a row
	until  time.Time // last until then
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
	if len(c.ways) == 0 {
		return c.Validate()
	}
	var open, last []*way
	for _, w := range c.ways {
		if w.take(time.Now()) {
			open = append(open, w)
		} else {
			last = append(last, w)
		}
	}
	ways := slices.Concat(open, last)
	var errs []error
	for i, w := range ways {
		err := w.try(ctx, p, len(ways)-i)
		if err == nil {
			for _, rest := range open[min(i+1, len(open)):] {
				rest.untake()
			}
			return nil
		}
		errs = append(errs, err)
	}
	return fmt.Errorf("pagers: no way has reached the recipient: %w", errors.Join(errs...))
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
	case concernsRecipient(err): // and says nothing about the way
		w.until = time.Time{}
	default:
		if w.failed++; w.failed >= breakAfter {
			w.until = time.Now().Add(breakFor)
		}
	}
	return err
}

// concernsRecipient reports whether a way refused this recipient, and may well
// reach others. Of several errors each must say so.
func concernsRecipient(err error) bool {
	var several interface{ Unwrap() []error }
	if errors.As(err, &several) {
		return !slices.ContainsFunc(several.Unwrap(), func(err error) bool { return !concernsRecipient(err) })
	}
	if status := StatusError(0); errors.As(err, &status) {
		return status >= 400 && status < 500 && !exchange.Again(int(status))
	}
	return errors.Is(err, ErrNoAddress) || errors.Is(err, ErrNobodyOnDuty)
}

// take reports whether w may be tried in its place. The first to ask after a
// time out probes it; the others try it last meanwhile.
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
