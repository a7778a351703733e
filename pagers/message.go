package pagers

import (
	"cmp"
	"context"
	"fmt"
	"strings"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers/internal/exchange"
)

// ErrNoAddress means that a recipient has no address for this way of paging.
// Nothing was sent.
var ErrNoAddress error = noAddress{}

// A type of its own names the cause in the Hub's log.
type noAddress struct{}

func (noAddress) Error() string { return "pagers: the recipient has no address" }

// StatusError is the HTTP status with which a gateway refused a page.
type StatusError = exchange.StatusError

// Addresses looks up the addresses of a recipient, such as "person:ada" or
// "group:ward-5": e-mail addresses, telephone numbers or topics, as the Pager
// needs. No address makes Page fail with ErrNoAddress. It must be safe for
// concurrent use.
type Addresses func(ctx context.Context, to string) ([]string, error)

// Message is the content that is sent for one page. Patient, AlertKey and Text
// are empty unless RevealHealthData is set.
type Message struct {
	Key      string            `json:"key"`      // Page.Key: the same key is the same page
	To       string            `json:"to"`       // Page.To
	AlertID  string            `json:"alert_id"` // names the alert
	Level    int               `json:"level"`    // counts the escalations of the alert, from 1
	Priority carewire.Priority `json:"priority"`
	Test     bool              `json:"test,omitempty"` // a drill

	Patient  string `json:"patient,omitempty"`
	AlertKey string `json:"alert_key,omitempty"`
	Text     string `json:"text,omitempty"`
}

func newMessage(p carewire.Page, reveal bool) Message {
	m := Message{Key: p.Key, To: p.To, AlertID: p.Alert.ID, Level: p.Level, Priority: p.Alert.Priority, Test: p.Alert.Test}
	if reveal {
		m.Patient, m.AlertKey, m.Text = p.Alert.Patient, p.Alert.Key, p.Alert.Text
	}
	return m
}

// Title is one line, such as "High alert, level 2".
func (m *Message) Title() string {
	priority := string(cmp.Or(m.Priority, carewire.PriorityHigh))
	title := fmt.Sprintf("%s%s alert, level %d", strings.ToUpper(priority[:1]), priority[1:], m.Level)
	if m.Test {
		title = "TEST: " + title
	}
	return title
}

// Body is the text for a person: the alert's own words if they may be revealed,
// and the link, if any.
func (m *Message) Body(link string) string {
	lines := []string{m.Title() + "."}
	if m.Text != "" {
		lines = append(lines, oneLine(m.Text)+" (patient "+oneLine(m.Patient)+")")
	}
	return strings.Join(append(lines, cmp.Or(link, "Open it in the ward's application.")), "\n")
}

// oneLine keeps text from adding lines to a message.
func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// addressed looks up the addresses of p's recipient. It returns an error if
// there is none.
func addressed(ctx context.Context, look Addresses, p carewire.Page) ([]string, error) {
	list, err := look(ctx, p.To)
	if err != nil {
		return nil, fmt.Errorf("pagers: addresses: %w", err)
	}
	if len(list) == 0 {
		return nil, ErrNoAddress
	}
	return list, nil
}
