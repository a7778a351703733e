package pagers

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

const (
	firstPause = 200 * time.Millisecond
	longPause  = 5 * time.Second
	maxReply   = 64 << 10 // bytes of a reply that are read
)

// StatusError is the HTTP status with which a gateway refused a page.
type StatusError int

func (e StatusError) Error() string {
	return fmt.Sprintf("pagers: the gateway answered with status %d", int(e))
}

// permanent is an error that another try does not mend.
type permanent struct{ error }

func (p permanent) Unwrap() error { return p.error }

// retry calls try until it succeeds, fails for good, or ctx ends. It pauses for
// a random time that doubles at most each time, or for what try asks. The
// error is the last one.
func retry(ctx context.Context, try func(context.Context) (pause time.Duration, err error)) error {
	for most := firstPause; ; most = min(2*most, longPause) {
		pause, err := try(ctx)
		if err == nil {
			return nil
		}
		if p := (permanent{}); errors.As(err, &p) {
			return p.error
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

// exchange sends a POST until the gateway takes it, and returns the reply's
// body. Statuses 408, 425, 429 and 5xx are tried again.
func exchange(ctx context.Context, client *http.Client, address string, header http.Header, body []byte) (reply []byte, err error) {
	if client == nil {
		client = http.DefaultClient
	}
	err = retry(ctx, func(ctx context.Context) (time.Duration, error) {
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
		if err != nil {
			return 0, permanent{errors.New("pagers: the gateway's URL cannot be used")}
		}
		req.Header = header.Clone()
		res, err := client.Do(req)
		if err != nil {
			return 0, withoutURL(err)
		}
		defer res.Body.Close()
		reply, err = io.ReadAll(io.LimitReader(res.Body, maxReply))
		switch code := res.StatusCode; {
		case code == http.StatusRequestTimeout, code == http.StatusTooEarly, code == http.StatusTooManyRequests, code >= 500:
			return retryAfter(res), StatusError(code)
		case code < 200 || code > 299:
			return 0, permanent{StatusError(code)}
		}
		return 0, withoutURL(err)
	})
	return reply, err
}

// withoutURL drops the URL from an HTTP client's error: it may hold a secret or
// a telephone number.
func withoutURL(err error) error {
	var u *url.Error
	if errors.As(err, &u) {
		return fmt.Errorf("pagers: %w", u.Err)
	}
	return err
}

func retryAfter(res *http.Response) time.Duration {
	seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
	if err != nil || seconds < 0 || seconds > 3600 {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
