package carewire

import (
	"context"
	"log/slog"
	mathrand "math/rand/v2"
	"net/http"
	"time"
)

// DialOptions are the options of Dial, which copies them. All fields may be left zero.
type DialOptions struct {
	// Token returns a bearer token. The Client calls it for every attempt to
	// connect, and to renew an expiring token on the connection; it should
	// return a fresh token each time. After an error the Client tries again,
	// but an error that matches ErrUnauthenticated ends it once it needs the
	// token to connect. Token must heed its context and must not call Close.
	// Default: the Client sends no token, and a refusal with 401 ends it.
	Token func(context.Context) (string, error)

	// Header is sent with every handshake. Default: none.
	Header http.Header

	// HTTPClient makes the handshakes: by its Transport TLS, proxies and dialling
	// can be chosen. Redirects are not followed. Default: http.DefaultClient.
	HTTPClient *http.Client

	// AllowPlaintext allows ws:// to hosts other than loopback, where anybody on
	// the way can read health data and tokens. Default: it is refused.
	AllowPlaintext bool

	// Buffer is the number of events that may wait for a slow reader; see
	// Client. Default, and if negative: 1024.
	Buffer int

	// Outstanding is the number of calls that may await their answer; further
	// calls wait. Default, and if negative: 64, which is how many a server
	// carries out at a time.
	Outstanding int

	// MinBackoff and MaxBackoff bound the pause before connecting again: it is
	// drawn between nothing and MinBackoff, doubled with each attempt up to
	// MaxBackoff. The doubling begins anew after a connection that lasted
	// MaxBackoff. Default, and if negative: half a second and 30 s.
	MinBackoff, MaxBackoff time.Duration

	// Logger logs lost connections and repeated fetches of events, without
	// health data. Default: slog.Default().
	Logger *slog.Logger

	random func() float64 // 0 ≤ r < 1; tests replace it
}

func (o *DialOptions) withDefaults() DialOptions {
	var d DialOptions
	if o != nil {
		d = *o
	}
	d.Header = d.Header.Clone()
	if d.Header == nil {
		d.Header = make(http.Header)
	}
	if d.HTTPClient == nil {
		d.HTTPClient = http.DefaultClient
	}
	hc := *d.HTTPClient
	hc.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	d.HTTPClient = &hc
	if d.Buffer <= 0 {
		d.Buffer = 1024
	}
	if d.Outstanding <= 0 {
		d.Outstanding = 64
	}
	if d.MinBackoff <= 0 {
		d.MinBackoff = 500 * time.Millisecond
	}
	if d.MaxBackoff <= 0 {
		d.MaxBackoff = 30 * time.Second
	}
	if d.Logger == nil {
		d.Logger = slog.Default()
	}
	if d.random == nil {
		d.random = mathrand.Float64
	}
	return d
}
