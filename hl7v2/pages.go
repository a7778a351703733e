package hl7v2

import (
	"context"
	"errors"
	"sync"

	"github.com/carewire/carewire"
)

// Page reports the alert of a page to the alarm manager, which brings it to
// people. It returns when the manager has accepted the message. The message
// holds the page's key as OBR-2 (placer order number). Its phase is start if
// the alert was not reported before, else continue. An error means that the
// manager refused the message, that it did not get it before ctx ended, or that
// no [Reporter.Follow] follows the alert's patient. The same page may come
// again.
func (r *Reporter) Page(ctx context.Context, p carewire.Page) error {
	q, name := r.reports(), nameOf(&p.Alert)
	page := &asked{key: p.Key, alert: p.Alert.ID, done: make(chan error, 1)}
	q.ask(name, page)
	defer q.forget(name, page)
	select {
	case err := <-page.done:
		return err
	case <-ctx.Done():
		return errors.Join(ErrNoAck, ctx.Err())
	}
}

// ReportsPages returns r.Reports.
func (r *Reporter) ReportsPages() bool { return r.Reports }

// Receipts receives reports on pages; a *carewire.Hub is one.
type Receipts interface {
	Receipt(context.Context, carewire.PageReport) (carewire.Alert, error)
}

// Status is an alarm manager's report on a page (IHE PCD-05). The host must
// know which field of the message holds it: see ServerOptions.Status.
type Status struct {
	Page    string               // the page's key, which the manager was given as OBR-2
	Message string               // or the MSH-10 of the message with the page, which MSA-2 names; of the last 10,000 of this Reporter
	Outcome carewire.PageOutcome // required
	By      carewire.Principal   // whose answer it is; required for accepted and rejected
	Reason  string
}

// Report passes a Status on to the Hub. An *Error is the answer for the
// manager: the page is unknown, its alert has ended, or the person may not
// answer. After any other error the report may be repeated later.
func (r *Reporter) Report(ctx context.Context, hub Receipts, s Status) error {
	if s.Page == "" {
		s.Page = r.sent.page(s.Message)
	}
	_, err := hub.Receipt(ctx, carewire.PageReport{Key: s.Page, Outcome: s.Outcome, By: s.By, Reason: s.Reason})
	var invalid *carewire.ValidationError
	switch {
	case errors.As(err, &invalid), errors.Is(err, carewire.ErrNotFound):
		return &Error{Code: codeUnknownKey, Reason: "no open alert has this page"}
	case errors.Is(err, carewire.ErrForbidden):
		return &Error{Code: codeUnknownKey, Reason: "this person may not answer"}
	}
	return err
}

// sentMost is of how many messages it is remembered which page each was for.
const sentMost = 10_000

// sentPages knows pages by the messages that carried them.
type sentPages struct {
	mu    sync.Mutex
	by    map[string]string // MSH-10: the page's key
	order []string
}

func (s *sentPages) note(id, key string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.by == nil {
		s.by = make(map[string]string)
	}
	s.by[id] = key
	if s.order = append(s.order, id); len(s.order) > sentMost {
		delete(s.by, s.order[0])
		s.order = s.order[1:]
	}
}

func (s *sentPages) page(id string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.by[id]
}
