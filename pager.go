package carewire

import (
	"context"
	"time"
)

// Policy returns the people to tell of an alert at a step. Steps count from 1.
// The Hub calls it when the step is due, so that shifts and on-call duty are
// current.
//
// An error that matches ErrNoStep means that there is no such step. The last
// step is then repeated, at growing intervals, and an alert in the log of the
// system reports it. A Step without addressees is skipped at once. On any other
// error the Hub tells the previous addressees instead, or the alert's own. It
// retries the step after 5 s, then at growing intervals, at most once a minute.
//
// A Policy must be safe for concurrent use. Each call is bounded by
// Options.CallTimeout. A panic counts as an error.
type Policy func(ctx context.Context, a Alert, step int) (Step, error)

// Step is one step of a Policy. If nobody accepts within After (0: 60 s), the
// next step is due.
//
// An addressee in To of an unknown form is left out, logged and counted in
// Stats.BadAddressees. So are addressees beyond the first 64.
type Step struct {
	To    []string // person:ID, group:ID, role:NAME
	After time.Duration
}

// Pager reaches people outside carewire: by SMS, pager or push. Nil means that
// the page was handed over, and counts as reached. An error means that nobody
// was reached. A Page may come again with the same Key. If the fate of pages is
// known later, implement PageReporter too.
//
// A Pager must be safe for concurrent use. Each call is bounded by
// Options.CallTimeout. A panic counts as an error. While a call hangs beyond
// the timeout, its recipient gets no further pages.
type Pager interface {
	Page(ctx context.Context, p Page) error
}

// PageChecker is implemented by Pagers that can be set up wrongly. New calls
// Validate once and fails with its error, so that a Pager that can reach nobody
// is noticed before the first alert.
type PageChecker interface {
	Validate() error
}

// PageReporter is implemented by Pagers whose pages the host reports on by
// Hub.Receipt. If ReportsPages returns true, only a report counts as reached,
// not the handing over. A page without a report within Options.ReportWithin has
// reached nobody.
type PageReporter interface {
	ReportsPages() bool
}

// PageWithdrawer is implemented by Pagers that can withdraw pages. The Hub
// calls Withdraw once when an alert was accepted or has ended, on the node
// where that happened, with the recipients of its pages in this occurrence, as far
// as the alert remembers them (256), or with Options.TestRecipients for a test alert. The node of a level
// whose pages were still being handed over then calls it once more, with the
// recipients of that level.
// Each call is bounded by Options.CallTimeout. An error or a panic is logged.
type PageWithdrawer interface {
	Withdraw(ctx context.Context, a Alert, to []string) error
}

// Page is one message to one recipient.
type Page struct {
	Key   string // names alert, level and recipient: the same Key is the same Page; the log names it by the first 16 hex digits of its SHA-256
	To    string // person:ID, group:ID or role:NAME
	Level int    // counts the alert's escalations
	Alert Alert
}
