package main

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// policy names the people who are told of an alert that nobody has accepted: the nurse, then
// everybody on the ward, then the doctor on call.
func policy(p *people, wait time.Duration) carewire.Policy {
	return func(_ context.Context, a carewire.Alert, step int) (carewire.Step, error) {
		to := []string{"person:nurse-ada", "group:" + wardFive, "group:" + onCall}
		if x, ok := p.patient(a.Patient); ok {
			to[1] = "group:" + x.Group
		}
		if step > len(to) {
			return carewire.Step{}, carewire.ErrNoStep
		}
		return carewire.Step{To: to[step-1 : step], After: wait}, nil
	}
}

// A pager stands for SMS, telephones and the like: it remembers the people whom it would
// have called, for /pages; the audit trail says it too. It is the host's
// carewire.Pager. No health data goes out of the building: a page says that there
// is an alert, and which.
type pager struct {
	ways *ways

	mu    sync.Mutex
	pages []sentPage // the last ones, oldest first
}

const pagesKept = 30

// A sentPage is the description of a page.
type sentPage struct {
	key   string
	Alert string    `json:"alert_id"`
	Level int       `json:"level"`
	To    string    `json:"to"`
	At    time.Time `json:"at"`
}

// Validate implements carewire.PageChecker.
func (p *pager) Validate() error { return p.ways.Validate() }

// Page sends a page, once: the same one may come again with the same Key. It goes
// by the ward's other ways too.
func (p *pager) Page(ctx context.Context, page carewire.Page) error {
	if p.note(page) {
		p.ways.tell(ctx, page)
	}
	return nil
}

// note writes a page down, if it is not there yet.
func (p *pager) note(page carewire.Page) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if slices.ContainsFunc(p.pages, func(s sentPage) bool { return s.key == page.Key }) {
		return false
	}
	p.pages = append(p.pages, sentPage{page.Key, page.Alert.ID, page.Level, page.To, time.Now().UTC()})
	if len(p.pages) > pagesKept {
		p.pages = slices.Delete(p.pages, 0, 1)
	}
	return true
}

func (p *pager) sent() []sentPage {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]sentPage{}, p.pages...)
}
