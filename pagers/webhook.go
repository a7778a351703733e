package pagers

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers/internal/exchange"
)

// Webhook pages by an HTTP request to a gateway of the host's choice. The body
// is a Message as JSON. The request is signed as Standard Webhooks says
// (standardwebhooks.com): headers webhook-id, webhook-timestamp and
// webhook-signature. The ID is derived from Page.Key, so the gateway can tell a
// repeat. A redirect is a failure.
type Webhook struct {
	// URL takes the requests. It is required.
	URL string
	// Secret signs the requests. It is required and at least 24 bytes long.
	Secret []byte
	// Client makes the requests. Nil means a client with default settings.
	Client *http.Client
	// OnReply is called with an accept or reject in the gateway's reply, which
	// is a Reply as JSON. The reply to a page for a person is ignored if it is of
	// another person. For a group or a role, the host checks that the person
	// belongs to it. The host then calls Hub.Answer. Page logs an error and returns
	// nil, since the message has been handed over. A reply of more than 64 KiB, or
	// one that has not come whole a second after its status, is logged and answers
	// nothing. Nil means that replies are ignored.
	OnReply func(context.Context, carewire.Page, Reply) error
	// Logger gets a line for each reply that has no effect. It names the webhook-id
	// and the cause, and no person. Nil means slog.Default().
	Logger *slog.Logger
	// AllowPlaintext lets URL be http. Without it only a URL on this machine may be.
	AllowPlaintext bool
	// RevealHealthData adds the patient, the alert's key and its text.
	RevealHealthData bool
}

// Reply is a gateway's immediate answer. Do is AnswerAccept or AnswerReject; By
// is the ID of the person.
type Reply struct {
	Do carewire.AnswerVerb `json:"do"`
	By string              `json:"by"`
}

// Validate implements carewire.PageChecker.
func (w *Webhook) Validate() error {
	if !exchange.IsURL(w.URL, w.AllowPlaintext) || len(w.Secret) < minSecret {
		return errors.New("pagers: a Webhook needs an https URL and a Secret of 24 bytes")
	}
	return nil
}

// Page implements carewire.Pager.
func (w *Webhook) Page(ctx context.Context, p carewire.Page) error {
	if err := w.Validate(); err != nil {
		return err
	}
	body, err := json.Marshal(newMessage(p, w.RevealHealthData))
	if err != nil {
		return err
	}
	header := func() http.Header { // signed anew for each try: a time stamp gets too old
		h := http.Header{"Content-Type": {"application/json"}}
		sign(h, messageID(p.Key), time.Now(), body, w.Secret)
		return h
	}
	reply, err := exchange.Post(ctx, w.Client, w.URL, header, body)
	if err != nil || w.OnReply == nil {
		return err
	}
	if cause := w.take(ctx, p, reply); cause != "" {
		cmp.Or(w.Logger, slog.Default()).Warn("carewire: a reply to a page has no effect", "webhook-id", messageID(p.Key), "cause", cause)
	}
	return nil
}

// take hands the gateway's reply to the host. It returns why the reply has no
// effect; "" if it has one, or answers nothing.
func (w *Webhook) take(ctx context.Context, p carewire.Page, reply []byte) (cause string) {
	var r Reply
	switch {
	case reply == nil:
		return "it could not be read"
	case json.Unmarshal(reply, &r) != nil || r == Reply{}:
		return ""
	case r.Do != carewire.AnswerAccept && r.Do != carewire.AnswerReject:
		return "it neither accepts nor rejects"
	case !mayReply(p.To, r.By):
		return "it is not of the person who was paged"
	}
	err := w.OnReply(ctx, p, r)
	if err == nil {
		return ""
	}
	for _, known := range []error{carewire.ErrEnded, carewire.ErrRefused, carewire.ErrForbidden, carewire.ErrNotFound, carewire.ErrUndecided, carewire.ErrUnavailable} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprintf("%T", err) // its text may name people
}

// mayReply reports whether a person may reply to a page for to. Only the host
// knows the members of a group or a role.
func mayReply(to, by string) bool {
	person, ok := strings.CutPrefix(to, "person:")
	return by != "" && (!ok || by == person)
}

const minSecret = 24

// ErrSignature means that a webhook was not signed with the secret, or too long
// ago.
var ErrSignature = errors.New("pagers: the webhook's signature is wrong or too old")

// VerifyWebhook checks the signature of a request that a Webhook sent, for
// those who write the gateway. The time stamp may differ from now by five
// minutes. The caller must still drop repeats of the same webhook-id.
func VerifyWebhook(header http.Header, body, secret []byte, now time.Time) error {
	stamp := header.Get("webhook-timestamp")
	seconds, err := strconv.ParseInt(stamp, 10, 64)
	if err != nil || now.Sub(time.Unix(seconds, 0)).Abs() > 5*time.Minute {
		return ErrSignature
	}
	want := signature(header.Get("webhook-id"), stamp, body, secret)
	for given := range strings.FieldsSeq(header.Get("webhook-signature")) {
		if hmac.Equal([]byte(given), []byte(want)) {
			return nil
		}
	}
	return ErrSignature
}

func sign(header http.Header, id string, now time.Time, body, secret []byte) {
	stamp := strconv.FormatInt(now.Unix(), 10)
	header.Set("webhook-id", id)
	header.Set("webhook-timestamp", stamp)
	header.Set("webhook-signature", signature(id, stamp, body, secret))
}

func signature(id, stamp string, body, secret []byte) string {
	mac := hmac.New(sha256.New, secret)
	fmt.Fprintf(mac, "%s.%s.%s", id, stamp, body)
	return "v1," + base64.StdEncoding.EncodeToString(mac.Sum(nil))
}

// messageID makes an ID that fits any header and names nobody.
func messageID(key string) string {
	sum := sha256.Sum256([]byte(key))
	return "msg_" + base64.RawURLEncoding.EncodeToString(sum[:18])
}
