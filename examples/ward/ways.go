package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
)

// ways are how the ward tells people beyond its own list of pages. Each of them is
// tried: none is the only one, so the failure of one is logged and changes nothing.
// A real host may put them in order by a pagers.Chain.
type ways struct {
	list []carewire.Pager
	log  *slog.Logger
}

// newWays has pushes, and the ways that the flags name. Secrets come from the environment.
func newWays(o options, p *people, push carewire.Pager) *ways {
	w := &ways{[]carewire.Pager{push}, o.log}
	if o.ntfy != "" {
		w.list = append(w.list, &pagers.Ntfy{URL: o.ntfy, Token: os.Getenv("WARD_NTFY_TOKEN"), Topics: p.addresses(func(u user) string { return "ward-" + u.ID })})
	}
	if o.sms != "" {
		w.list = append(w.list, &pagers.SMS{URL: o.sms, User: os.Getenv("WARD_SMS_USER"), Password: os.Getenv("WARD_SMS_PASSWORD"), From: "Ward",
			Numbers: p.addresses(func(u user) string { return u.phone })})
	}
	if o.smtp != "" {
		w.list = append(w.list, &pagers.SMTP{Addr: o.smtp, From: "Ward <ward@localhost>", AllowPlaintext: true, // to a server on this machine
			Mailboxes: p.addresses(func(u user) string { return u.ID + "@localhost" })})
	}
	return w
}

// Validate implements carewire.PageChecker.
func (w *ways) Validate() error {
	var errs []error
	for _, way := range w.list {
		if c, ok := way.(carewire.PageChecker); ok {
			errs = append(errs, c.Validate())
		}
	}
	return errors.Join(errs...)
}

// tell tells people by each way at once. Somebody without an address for one has
// others.
func (w *ways) tell(ctx context.Context, page carewire.Page) {
	var all sync.WaitGroup
	for _, way := range w.list {
		all.Go(func() {
			if err := way.Page(ctx, page); err != nil && !errors.Is(err, pagers.ErrNoAddress) {
				w.log.Warn("page", "way", fmt.Sprintf("%T", way), "alert", page.Alert.ID, "error", err)
			}
		})
	}
	all.Wait()
}

// addresses looks up the address of each member of the staff whom a page is for.
func (p *people) addresses(of func(user) string) pagers.Addresses {
	return func(_ context.Context, to string) (list []string, _ error) {
		for _, u := range p.users {
			if isTo(u.Principal, to) {
				list = append(list, of(u))
			}
		}
		return list, nil
	}
}
