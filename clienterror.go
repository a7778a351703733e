package carewire

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/coder/websocket"
)

// tokenError is an error of DialOptions.Token. It must not be logged: it may
// quote the answer of the token issuer.
type tokenError struct{ err error }

func (e *tokenError) Error() string { return "carewire: no token: " + e.err.Error() }

func (e *tokenError) Unwrap() error { return e.err }

func (e *tokenError) LogValue() slog.Value { return slog.StringValue("carewire: no token") }

// handshakeError is a refusal before the upgrade.
type handshakeError struct {
	status int
	after  time.Duration // the pause that the server asks for
}

func refusal(resp *http.Response) error {
	e := &handshakeError{status: resp.StatusCode}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && s > 0 {
		e.after = time.Duration(min(s, 300)) * time.Second
	}
	return e
}

func (e *handshakeError) Error() string {
	return "carewire: the handshake was refused with status " + strconv.Itoa(e.status)
}

func (e *handshakeError) Unwrap() error {
	switch e.status {
	case http.StatusUnauthorized:
		return ErrUnauthenticated
	case http.StatusForbidden:
		return ErrForbidden
	case http.StatusTooManyRequests:
		return ErrBusy
	case http.StatusServiceUnavailable:
		return ErrUnavailable
	}
	return nil
}

// closedError is a close code that ended the Client.
type closedError struct{ code CloseCode }

func (e *closedError) Error() string {
	return fmt.Sprintf("carewire: the server closed the connection for good: %d %s", e.code, e.code.reason())
}

func (e *closedError) Unwrap() error {
	if e.code == CloseForbidden {
		return ErrForbidden
	}
	return nil
}

// closeCode is the code that is in an error of reading.
func closeCode(err error) CloseCode {
	switch code := websocket.CloseStatus(err); code {
	case -1, websocket.StatusNoStatusRcvd:
		return CloseAbnormal
	default:
		return CloseCode(code)
	}
}
