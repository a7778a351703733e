// Package exchange has the requests of Pagers, with retries.
package exchange

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	firstPause = 200 * time.Millisecond
	longPause  = 5 * time.Second
	longAfter  = time.Hour // of Retry-After

	maxReply    = 64 << 10 // bytes of a reply
	replyWithin = time.Second
)

// StatusError is the HTTP status with which a gateway refused a page.
type StatusError int

// Error names the status.
func (e StatusError) Error() string {
	return fmt.Sprintf("pagers: the gateway answered with status %d", int(e))
}

// Permanent is an error that another try does not mend.
type Permanent struct{ Err error }

func (p Permanent) Error() string { return p.Err.Error() }

func (p Permanent) Unwrap() error { return p.Err }

// Retry calls try until it succeeds, fails for good, or ctx ends. The pause
// between tries is random and at most doubles each time, or is the pause that
// try returns. Retry returns the last error.
func Retry(ctx context.Context, try func(context.Context) (pause time.Duration, err error)) error {
	for most := firstPause; ; most = min(2*most, longPause) {
		pause, err := try(ctx)
		if err == nil {
			return nil
		}
		if p := (Permanent{}); errors.As(err, &p) {
			return p.Err
		}
		if pause <= 0 {
			pause = time.Duration(rand.Int64N(int64(most)))
		}
		if end, ok := ctx.Deadline(); ok && time.Until(end) < pause {
			return err
		}
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return err
		}
	}
}

// IsURL reports whether address is an absolute https URL. It may be http if
// plaintext is true or its host is this machine.
func IsURL(address string, plaintext bool) bool {
	u, err := url.Parse(address)
	if err != nil || u.Host == "" {
		return false
	}
	ip := net.ParseIP(u.Hostname())
	return u.Scheme == "https" || u.Scheme == "http" && (plaintext || u.Hostname() == "localhost" || ip.IsLoopback())
}

// Post sends a POST until the gateway takes it, which its status says, and returns
// the reply's body: nil if it is longer than 64 KiB, or has not come whole a second
// after the status. header is asked for each try. A redirect is a failure. Statuses
// 408, 425, 429 and 5xx are tried again. A nil client is one with default settings.
func Post(ctx context.Context, client *http.Client, address string, header func() http.Header, body []byte) (reply []byte, err error) {
	err = Retry(ctx, func(ctx context.Context) (time.Duration, error) {
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
		if err != nil {
			return 0, Permanent{errors.New("pagers: the gateway's URL cannot be used")}
		}
		req.Header = header()
		res, err := noRedirects(client).Do(req)
		if err != nil {
			return 0, WithoutURL(err)
		}
		defer res.Body.Close()
		switch code := res.StatusCode; {
		case Again(code):
			return retryAfter(res), StatusError(code)
		case code < 200 || code > 299:
			return 0, Permanent{StatusError(code)}
		}
		defer time.AfterFunc(replyWithin, cancel).Stop()
		if reply, err = io.ReadAll(io.LimitReader(res.Body, maxReply+1)); err != nil || len(reply) > maxReply {
			reply = nil
		}
		return 0, nil // the gateway has the message: another try would tell people twice
	})
	return reply, err
}

// Again reports whether a request may succeed later that was answered with a
// status.
func Again(status int) bool {
	return status == http.StatusRequestTimeout || status == http.StatusTooEarly || status == http.StatusTooManyRequests || status >= 500
}

// WithoutURL drops the URL from an HTTP client's error: it may hold a secret or
// a telephone number.
func WithoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("pagers: %w", u.Err)
	}
	return err
}

// retryAfter is how long the gateway asks to wait, an hour at most; 0: it does not.
func retryAfter(res *http.Response) time.Duration {
	value := res.Header.Get("Retry-After")
	if at, err := http.ParseTime(value); err == nil {
		return min(time.Until(at), longAfter)
	}
	seconds, err := strconv.ParseUint(value, 10, 32)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0
	}
	return min(time.Duration(seconds)*time.Second, longAfter)
}

// noRedirects returns a client that follows no redirect: a signed message is
// for one gateway only.
func noRedirects(c *http.Client) *http.Client {
	if c == nil {
		c = http.DefaultClient
	}
	own := *c
	own.Transport = withoutLocation{cmp.Or(c.Transport, http.DefaultTransport)}
	return &own
}

// withoutLocation drops the address of a redirect, so that the client neither
// follows nor reads it.
type withoutLocation struct{ next http.RoundTripper }

func (w withoutLocation) RoundTrip(r *http.Request) (*http.Response, error) {
	res, err := w.next.RoundTrip(r)
	if err == nil {
		res.Header.Del("Location")
	}
	return res, err
}

// Each sends to all addresses at once. It returns nil once all have been tried
// and one has succeeded, and else all errors. When a tenth of ctx's time is
// left, one success is enough: a send that hangs must not make a page that has
// reached somebody fail. A send that panics, in the host's code, has failed.
func Each[Address any](ctx context.Context, addresses []Address, send func(context.Context, Address) error) error {
	errs := make(chan error, len(addresses))
	for _, a := range addresses {
		go func() { errs <- safely(ctx, a, send) }()
	}
	most := ctx
	if end, ok := ctx.Deadline(); ok {
		var cancel context.CancelFunc
		most, cancel = context.WithTimeout(ctx, time.Until(end)*9/10)
		defer cancel()
	}
	late := most.Done()
	var failed []error
	for reached := false; len(failed) < len(addresses); {
		select {
		case err := <-errs:
			if err != nil {
				failed = append(failed, err)
				break
			}
			reached = true
			addresses = addresses[1:] // one fewer to wait for
		case <-late:
			late = nil
		}
		if reached && (late == nil || len(failed) == len(addresses)) {
			return nil
		}
	}
	return errors.Join(failed...)
}

// safely sends to one address. A panic must not end the program.
func safely[Address any](ctx context.Context, a Address, send func(context.Context, Address) error) (err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("pagers: a Pager panicked")
		}
	}()
	return send(ctx, a)
}
