package webpush_test

import (
	"context"
	"fmt"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
	"github.com/carewire/carewire/pagers/webpush"
)

// A database of subscriptions, by person.
type database struct {
	key  *webpush.Key
	rows map[string][]webpush.Subscription
}

func (d *database) Key(context.Context) (*webpush.Key, error) { return d.key, nil }

func (d *database) Subscriptions(_ context.Context, to string) ([]webpush.Subscription, error) {
	return d.rows[to], nil
}

func (d *database) Gone(context.Context, webpush.Subscription) error { return nil }

// Push first, and SMS where nobody has subscribed. A push that no service worker
// reports within ReportWithin has reached nobody, and the next step is told.
func Example() {
	key, err := webpush.ParseKey("yfWPiYE-n46HLnH0KqZOF1fJJU3MYrct3AELtAQ-oRw") // from the host's secrets; NewKey made it
	if err != nil {
		panic(err)
	}
	push := &webpush.Pager{Keeper: &database{key: key}, Contact: "mailto:it@hospital.example"}
	sms := &pagers.SMS{URL: "https://sms.example/messages", Numbers: func(context.Context, string) ([]string, error) { return []string{"+15551234567"}, nil }}
	options := carewire.Options{Pager: pagers.NewChain(push, sms), ReportWithin: 20 * time.Second}

	fmt.Println("pages subscribe with", key.Public()[:10]+"…")
	fmt.Println("a page is reached when it is reported:", options.Pager.(carewire.PageReporter).ReportsPages())
	// Output:
	// pages subscribe with BP4z9KsN6n…
	// a page is reached when it is reported: true
}
