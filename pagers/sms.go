package pagers

import (
	"cmp"
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers/internal/exchange"
)

// SMS pages by text message through a provider that takes a form with To, From
// and Body and HTTP basic authentication, as Twilio's Messages resource does
// and many others do.
type SMS struct {
	// URL takes the form. It is required.
	URL string
	// User and Password authenticate to the provider.
	User, Password string
	// From is the sender's number or name.
	From string
	// Numbers gives the telephone numbers of a recipient, in the form of E.164.
	// It is required.
	Numbers Addresses
	// ToField, FromField and BodyField are the names of the form's fields. The
	// defaults are To, From and Body.
	ToField, FromField, BodyField string
	// IdempotencyHeader carries the message's ID, if the provider has such a
	// header. "" sends none; then a message that was sent twice arrives twice.
	IdempotencyHeader string
	// Client makes the requests. Nil means a client with default settings.
	Client *http.Client
	// AllowPlaintext lets URL be http. Without it only a URL on this machine may be.
	AllowPlaintext bool
	// RevealHealthData adds the patient and the alert's text. SMS is not encrypted.
	RevealHealthData bool
}

// Validate implements carewire.PageChecker.
func (s *SMS) Validate() error {
	if !exchange.IsURL(s.URL, s.AllowPlaintext) || s.Numbers == nil {
		return errors.New("pagers: an SMS needs an https URL and Numbers")
	}
	return nil
}

// Page implements carewire.Pager. It returns nil if the provider has taken the
// message for one number.
func (s *SMS) Page(ctx context.Context, p carewire.Page) error {
	if err := s.Validate(); err != nil {
		return err
	}
	numbers, err := addressed(ctx, s.Numbers, p)
	if err != nil {
		return err
	}
	m := newMessage(p, s.RevealHealthData)
	return exchange.Each(ctx, numbers, func(ctx context.Context, number string) error {
		form := url.Values{cmp.Or(s.ToField, "To"): {number}, cmp.Or(s.FromField, "From"): {s.From}, cmp.Or(s.BodyField, "Body"): {m.Body("")}}
		auth := http.Request{Header: http.Header{"Content-Type": {"application/x-www-form-urlencoded"}}}
		auth.SetBasicAuth(s.User, s.Password)
		if s.IdempotencyHeader != "" {
			auth.Header.Set(s.IdempotencyHeader, messageID(p.Key+"/"+number))
		}
		_, err := exchange.Post(ctx, s.Client, s.URL, auth.Header.Clone, []byte(form.Encode()))
		return err
	})
}
