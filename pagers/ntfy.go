package pagers

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers/internal/exchange"
)

// Ntfy pages by push through an ntfy server (docs.ntfy.sh/publish), one message
// for each topic of the recipient. Anybody who knows a topic can read it,
// unless the server requires a token. So use your own server.
type Ntfy struct {
	// URL is the server, such as "https://ntfy.example". It is required.
	URL string
	// Token is the access token; "" sends none.
	Token string
	// Topics gives the topics of a recipient. It is required.
	Topics Addresses
	// Link makes the address that a tap on the message opens. It must hold no
	// health data. Nil means none.
	Link func(Message) string
	// Client makes the requests. Nil means a client with default settings.
	Client *http.Client
	// AllowPlaintext lets URL be http. Without it only a URL on this machine may be.
	AllowPlaintext bool
	// RevealHealthData adds the patient and the alert's text.
	RevealHealthData bool
}

var ntfyPriorities = map[carewire.Priority]int{carewire.PriorityHigh: 5, carewire.PriorityMedium: 4, carewire.PriorityLow: 3, carewire.PriorityInfo: 2}

// Validate implements carewire.PageChecker.
func (n *Ntfy) Validate() error {
	if !exchange.IsURL(n.URL, n.AllowPlaintext) || n.Topics == nil {
		return errors.New("pagers: an Ntfy needs an https URL and Topics")
	}
	return nil
}

// Page implements carewire.Pager. It returns nil if one topic has got the
// message. A page that comes again is pushed again.
func (n *Ntfy) Page(ctx context.Context, p carewire.Page) error {
	if err := n.Validate(); err != nil {
		return err
	}
	topics, err := addressed(ctx, n.Topics, p)
	if err != nil {
		return err
	}
	m := newMessage(p, n.RevealHealthData)
	var link string
	if n.Link != nil {
		link = n.Link(m)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	if n.Token != "" {
		header.Set("Authorization", "Bearer "+n.Token)
	}
	return exchange.Each(ctx, topics, func(ctx context.Context, topic string) error {
		body, err := json.Marshal(map[string]any{"topic": topic, "title": m.Title(), "message": m.Body(link), "click": link,
			"priority": ntfyPriorities[m.Priority]})
		if err != nil {
			return err
		}
		_, err = exchange.Post(ctx, n.Client, n.URL, header.Clone, body)
		return err
	})
}
