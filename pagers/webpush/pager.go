// Package webpush has a Pager that tells people by Web Push (RFC 8030), on the
// telephones and in the browsers where they have asked for it. It needs the
// standard library only: messages are encrypted by RFC 8291 and signed by RFC 8292.
//
// A push names the alert, its priority, and whether it is a drill. It says nothing
// of the patient. The service worker that shows it asks the host for the rest, with
// the person's own token.
//
// A push service accepts a message without promising its delivery, so a push
// that is handed over does not count as reached. The host reports each push
// that its service worker got, by Hub.Receipt. A page without such a report
// within Options.ReportWithin has reached nobody, and escalation goes on. Push
// must never be the only way: browsers drop subscriptions silently, iOS allows
// push to installed pages only and withdraws it, and telephones are switched
// off. Name another way in a pagers.Chain, or in a later step of the Policy.
package webpush

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
	"github.com/carewire/carewire/pagers/internal/exchange"
)

// Keeper has the data that the host keeps. Its methods must be safe for concurrent use.
type Keeper interface {
	// Key returns the host's key, always the same: browsers subscribe to it.
	Key(ctx context.Context) (*Key, error)
	// Subscriptions returns those of a recipient, such as "person:ada" or
	// "group:ward-5"; none makes Page fail with pagers.ErrNoAddress.
	Subscriptions(ctx context.Context, to string) ([]Subscription, error)
	// Gone removes a subscription that its push service does not know any more. An
	// error is ignored: Gone is called again with the next page.
	Gone(ctx context.Context, s Subscription) error
}

// Pager pages by Web Push, one message for each subscription of the recipient. It
// is safe for concurrent use, and its fields must not change meanwhile.
type Pager struct {
	// Keeper has the key and the subscriptions. It is required.
	Keeper Keeper
	// Contact is the address of the host's operator for push services, such as
	// "mailto:it@hospital.example" or an https URL. It is required.
	Contact string
	// TTL is how long a push service keeps a message for a device that is away.
	// 0: one minute. An alert has other ways, and news of yesterday helps nobody.
	TTL time.Duration
	// Allow says to which endpoints the host sends. Clients name the endpoints, so
	// without a limit they could make the host call any server. Nil: KnownService.
	Allow func(endpoint *url.URL) bool
	// Client makes the requests. Nil means a client with default settings.
	Client *http.Client
}

// Message is the whole content of a push, as JSON.
type Message struct {
	Key      string            `json:"key"`      // Page.Key, for Hub.Receipt
	AlertID  string            `json:"alert_id"` // names the alert
	Level    int               `json:"level"`    // counts the escalations of the alert, from 1
	Priority carewire.Priority `json:"priority"`
	Test     bool              `json:"test,omitempty"` // a drill
}

// Validate implements carewire.PageChecker. It does not ask the Keeper.
func (p *Pager) Validate() error {
	if p.Keeper == nil || p.Contact == "" {
		return errors.New("webpush: a Pager needs a Keeper and a Contact")
	}
	return nil
}

// ReportsPages implements carewire.PageReporter: only a report says that somebody
// was reached.
func (p *Pager) ReportsPages() bool { return true }

// Page implements carewire.Pager. It returns nil once one push service has taken
// the message, and tries again by itself until ctx ends. A subscription that is
// gone (404, 410) is given to Keeper.Gone; if all are, the error matches
// pagers.ErrNoAddress. No error names a person or an endpoint.
func (p *Pager) Page(ctx context.Context, page carewire.Page) error {
	if err := p.Validate(); err != nil {
		return err
	}
	key, err := p.Keeper.Key(ctx)
	if err != nil || key == nil {
		return errors.Join(errors.New("webpush: there is no key"), err)
	}
	list, err := p.Keeper.Subscriptions(ctx, page.To)
	if err != nil {
		return errors.Join(errors.New("webpush: the subscriptions cannot be read"), err)
	}
	if len(list) == 0 {
		return pagers.ErrNoAddress
	}
	text, err := json.Marshal(Message{page.Key, page.Alert.ID, page.Level, page.Alert.Priority, page.Alert.Test})
	if err != nil {
		return err
	}
	return exchange.Each(ctx, list, func(ctx context.Context, s Subscription) error {
		err := p.send(ctx, key, s, text, p.header(page))
		if err == pagers.StatusError(http.StatusNotFound) || err == pagers.StatusError(http.StatusGone) {
			_ = p.Keeper.Gone(ctx, s)
			return pagers.ErrNoAddress
		}
		return err
	})
}

var urgency = map[carewire.Priority]string{carewire.PriorityHigh: "high", carewire.PriorityMedium: "high", carewire.PriorityLow: "normal", carewire.PriorityInfo: "low"}

// header tells a push service how long to keep a message, and how urgent it is. A
// message takes the place of an earlier one with its topic, the same page.
func (p *Pager) header(page carewire.Page) http.Header {
	ttl := p.TTL
	if ttl <= 0 {
		ttl = time.Minute
	}
	topic := sha256.Sum256([]byte(page.Key))
	h := http.Header{"Content-Encoding": {"aes128gcm"}, "Content-Type": {"application/octet-stream"}, "Ttl": {strconv.Itoa(int((ttl + time.Second - 1) / time.Second))},
		"Topic": {base64.RawURLEncoding.EncodeToString(topic[:24])}}
	if u := urgency[page.Alert.Priority]; u != "" {
		h.Set("Urgency", u)
	}
	return h
}

// send encrypts text for a subscription and has its push service take it.
func (p *Pager) send(ctx context.Context, key *Key, s Subscription, text []byte, header http.Header) error {
	endpoint, err := s.endpoint()
	if err != nil {
		return err
	}
	allow := p.Allow
	if allow == nil {
		allow = KnownService
	}
	if !allow(endpoint) {
		return errors.New("webpush: the endpoint is not at an allowed push service")
	}
	body, err := s.seal(text)
	if err != nil {
		return err
	}
	token, err := key.token(endpoint, p.Contact, time.Now())
	if err != nil {
		return err
	}
	header.Set("Authorization", "vapid t="+token+", k="+key.Public())
	_, err = exchange.Post(ctx, p.Client, s.Endpoint, header.Clone, body)
	return err
}

// KnownService reports whether an endpoint is one of the push services of Chromium
// and Android (Google), Firefox (Mozilla), Edge (Microsoft) and Safari (Apple).
func KnownService(endpoint *url.URL) bool {
	host := endpoint.Hostname()
	if endpoint.Scheme != "https" || endpoint.Port() != "" {
		return false
	}
	for _, of := range []string{".push.services.mozilla.com", ".notify.windows.com", ".push.apple.com"} {
		if strings.HasSuffix(host, of) {
			return true
		}
	}
	return host == "fcm.googleapis.com"
}
