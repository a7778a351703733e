package carewire

import (
	"context"
	"errors"
	"time"
)

// Policy says whom to tell of an alert at a step, which counts from 1. It is
// asked when the step is due, so that shifts and on-call duty hold.
//
// An error that matches ErrNoStep means that there is no such step: the last one
// that there is now is told again and again, at growing intervals, and an alert
// in the log of the system says so. A Step that names nobody gives way to the
// next at once. Any other error means that the policy cannot say: whoever was
// told last, or the alert is addressed to, is told instead, and the step is
// asked for again after 5 s, then less and less often, down to once a minute.
//
// It must be safe for concurrent use; it is given Options.CallTimeout and may
// panic without harm, which counts as an error.
type Policy func(ctx context.Context, a Alert, step int) (Step, error)

// ErrNoStep is returned by a Policy for a step beyond its last one.
var ErrNoStep = errors.New("carewire: the policy has no such step")

// Step is one step of a Policy. When nobody has accepted After (0: 60 s) it
// was told, the next one is due.
//
// An addressee in To that has none of the forms is left out, logged and counted
// in Stats.BadAddressees; so are those beyond the first 64.
type Step struct {
	To    []string // person:ID, group:ID, role:NAME
	After time.Duration
}

// Pager tells people beyond carewire: by SMS, pager or push. An error means
// that nobody was reached; a Page may come again with the same Key. It must be
// safe for concurrent use; it is given Options.CallTimeout and may panic
// without harm. A recipient for whom a call does not come back even after that
// is not paged again until it does.
//
// nil means that the page was handed over, and counts as reached. A Pager that
// is told what becomes of its pages implements PageReporter too.
type Pager interface {
	Page(ctx context.Context, p Page) error
}

// PageReporter is implemented by Pagers whose pages the host reports about with
// Hub.Receipt. If ReportsPages returns true, handed over does not count as
// reached: only a report does, and a page of which none has come within
// Options.ReportWithin has reached nobody.
type PageReporter interface {
	ReportsPages() bool
}

// PageWithdrawer is implemented by Pagers that can take pages back. Withdraw is
// called once, by the node on which that happened, when an alert was accepted or
// has ended, with all to whom it was paged in this occurrence. It is given
// Options.CallTimeout and may panic without harm; its error is logged.
type PageWithdrawer interface {
	Withdraw(ctx context.Context, a Alert, to []string) error
}

// Page is one message that a Pager is to bring to one recipient.
type Page struct {
	Key   string // names alert, level and recipient: the same Key is the same Page; the log names it by the first 16 hex digits of its SHA-256
	To    string // person:ID, group:ID or role:NAME
	Level int    // counts the alert's escalations
	Alert Alert
}
