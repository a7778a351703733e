package carewire

import (
	"errors"
	"strconv"
	"time"
)

// The sentinel errors. Match them with errors.Is. Neither they nor errors that
// wrap them hold health data.
var (
	// ErrUnauthenticated is returned by an Authenticator for an unknown caller.
	// The Hub answers the handshake with 401.
	ErrUnauthenticated = errors.New("carewire: not authenticated")

	// ErrForbidden means that the principal may not do this, or that the named
	// thing does not exist: the two look the same to clients. An Authenticator
	// returns it for a caller that may not connect; the Hub answers the
	// handshake with 403.
	ErrForbidden = errors.New("carewire: forbidden or unknown")

	// ErrUndecided means that the right could not be decided; try again.
	ErrUndecided = errors.New("carewire: access undecided")

	// ErrNotFound means that there is no such thing. A Store returns it for an
	// unknown key. A Hub returns it, to its host only, for an alert that never
	// existed.
	ErrNotFound = errors.New("carewire: not found")

	// ErrConflict means that somebody else changed the same thing first.
	ErrConflict = errors.New("carewire: conflict")

	// ErrIDReused means that the sender used an event ID again for other content.
	ErrIDReused = errors.New("carewire: event ID reused with other content")

	// ErrEnded means that the alert named is over.
	ErrEnded = errors.New("carewire: alert has ended")

	// ErrRefused means that the alert's present state does not allow this.
	ErrRefused = errors.New("carewire: not possible in the alert's present state")

	// ErrGap means that entries asked for are no longer kept.
	ErrGap = errors.New("carewire: entries no longer kept")

	// ErrFull means that there is no room; nothing was written, try later.
	ErrFull = errors.New("carewire: store full")

	// ErrBusy means that too much is under way; nothing was done, try later.
	ErrBusy = errors.New("carewire: busy")

	// ErrUnknownOutcome means that the Store failed while writing: the event
	// may be in the log or not. Send it again with the same event ID.
	ErrUnknownOutcome = errors.New("carewire: outcome unknown, send again with the same event ID")

	// ErrUnavailable means that the Store could not be read; try later.
	ErrUnavailable = errors.New("carewire: store unavailable")

	// ErrClosed means that the Hub, Store or Client is closed.
	ErrClosed = errors.New("carewire: closed")

	// ErrNoStep is returned by a Policy for a step beyond its last one.
	ErrNoStep = errors.New("carewire: the policy has no such step")

	// ErrNobodyToTell means that alerts reach nobody: there is no Pager and no
	// connected principal may answer, or the Pager hangs for a recipient.
	ErrNobodyToTell = errors.New("carewire: alerts reach nobody")
)

// ValidationError names the invalid member of a message and the rule that it
// breaks. It never holds the value.
type ValidationError struct {
	Field  string // the member's path on the wire, such as "components[1].unit"
	Reason string // fixed words
}

// Error returns the field and the reason.
func (e *ValidationError) Error() string {
	if e.Field == "" {
		return "carewire: " + e.Reason
	}
	return "carewire: " + e.Field + ": " + e.Reason
}

func invalid(field, reason string) error { return &ValidationError{Field: field, Reason: reason} }

// withinMember puts the name of the enclosing member before a ValidationError's field.
func withinMember(field string, err error) error {
	if v, ok := err.(*ValidationError); ok && v != nil {
		if v.Field != "" && v.Field[0] != '[' {
			field += "."
		}
		return &ValidationError{Field: field + v.Field, Reason: v.Reason}
	}
	return err
}

func indexedField(field string, i int) string { return field + "[" + strconv.Itoa(i) + "]" }

// ErrorCode is the stable name of an error on the wire.
type ErrorCode string

// The error codes. docs/protocol.md tells when each comes and how to handle it.
const (
	CodeMalformed    ErrorCode = "malformed"    // not one strict JSON object
	CodeUnknownType  ErrorCode = "unknown_type" // no such request
	CodeInvalid      ErrorCode = "invalid"      // a member is wrong: field names it, reason says why
	CodeForbidden    ErrorCode = "forbidden"    // not allowed, or unknown
	CodeUndecided    ErrorCode = "undecided"    // access could not be decided
	CodeUnauthorized ErrorCode = "unauthorized" // the token is not valid
	CodeEnded        ErrorCode = "ended"        // the alert named is over
	CodeRefused      ErrorCode = "refused"      // the alert's state does not allow it
	CodeConflict     ErrorCode = "conflict"     // a lost race; the current alert comes with it
	CodeIDReused     ErrorCode = "id_reused"    // the event ID stands for other content
	CodeGap          ErrorCode = "gap"          // the requested entries are no longer kept
	CodeLimit        ErrorCode = "limit"        // one of welcome.limits is exceeded
	CodeBusy         ErrorCode = "busy"         // too much under way
	CodeFull         ErrorCode = "full"         // the store has no room
	CodeUnavailable  ErrorCode = "unavailable"  // the store cannot be read
	CodeUnknown      ErrorCode = "unknown"      // the outcome is unknown: repeat with the same event ID
	CodeInternal     ErrorCode = "internal"     // a fault of the server
)

// Retry tells whether, and when, a client may repeat a request.
type Retry string

// The values of Retry.
const (
	RetryNever  Retry = "never"  // it will not succeed as it is
	RetryLater  Retry = "later"  // after RetryAfter, or a moment of the client's choice
	RetryReauth Retry = "reauth" // with a new token
)

// RequestError is the error frame that answered a request, as a Client returns
// it. With errors.Is it matches the sentinel of its code.
type RequestError struct {
	Code       ErrorCode
	Retry      Retry
	RetryAfter time.Duration // 0: the client's choice
	Field      string        // for CodeInvalid: the member that is wrong
	Reason     string        // for CodeInvalid: the rule that it breaks
	Alert      *Alert        // for CodeConflict, CodeRefused and CodeEnded: the alert as it is
}

// Error returns the code and, for CodeInvalid, the field and the reason.
func (e *RequestError) Error() string {
	if e.Code == CodeInvalid {
		return "carewire: invalid: " + e.Field + ": " + e.Reason
	}
	return "carewire: request failed: " + string(e.Code)
}

// Is reports whether target is the sentinel of the error's code.
func (e *RequestError) Is(target error) bool {
	f, ok := codeOf[target]
	return ok && f == e.Code
}

// errLimit answers a request beyond one of welcome.limits.
var errLimit = &RequestError{Code: CodeLimit, Retry: RetryNever}

var codeOf = map[error]ErrorCode{
	ErrForbidden: CodeForbidden, ErrUndecided: CodeUndecided, ErrUnauthenticated: CodeUnauthorized, ErrEnded: CodeEnded,
	ErrRefused: CodeRefused, ErrConflict: CodeConflict, ErrIDReused: CodeIDReused, ErrGap: CodeGap, ErrBusy: CodeBusy,
	ErrFull: CodeFull, ErrUnavailable: CodeUnavailable, ErrUnknownOutcome: CodeUnknown, ErrClosed: CodeUnavailable,
}

// CloseCode is the reason for which a connection ended, from the IANA registry.
type CloseCode uint16

// The close codes that a client meets. ComeBack tells after which of them a
// client reconnects. A Hub sends CloseGoingAway and CloseInternal only if a
// client has sent them first; proxies in between may send them at any time.
const (
	CloseGoingAway     CloseCode = 1001
	CloseProtocolError CloseCode = 1002
	CloseBinary        CloseCode = 1003 // a binary frame; carewire.v1 is text
	CloseAbnormal      CloseCode = 1006 // the connection ended without a close frame
	CloseNotUTF8       CloseCode = 1007
	ClosePolicy        CloseCode = 1008 // abuse
	CloseTooBig        CloseCode = 1009
	CloseInternal      CloseCode = 1011
	CloseRestart       CloseCode = 1012
	CloseTryLater      CloseCode = 1013 // too slow, or overloaded
	CloseUnauthorized  CloseCode = 3000 // the token expired
	CloseForbidden     CloseCode = 3003 // the principal or session was revoked
	CloseTimeout       CloseCode = 3008
)

// ComeBack reports whether a client should connect again by itself after c.
// After CloseUnauthorized it needs a new token for that.
func (c CloseCode) ComeBack() bool {
	switch c {
	case CloseGoingAway, CloseAbnormal, CloseInternal, CloseRestart, CloseTryLater, CloseUnauthorized, CloseTimeout:
		return true
	}
	return false
}

// reason is the constant text that goes with a close code.
func (c CloseCode) reason() string {
	switch c {
	case CloseGoingAway:
		return "going away"
	case CloseProtocolError:
		return "protocol error"
	case CloseBinary:
		return "text frames only"
	case CloseNotUTF8:
		return "not UTF-8"
	case ClosePolicy:
		return "policy violation"
	case CloseTooBig:
		return "message too big"
	case CloseInternal:
		return "internal error"
	case CloseRestart:
		return "restart"
	case CloseTryLater:
		return "try again later"
	case CloseUnauthorized:
		return "token expired"
	case CloseForbidden:
		return "access ended"
	case CloseTimeout:
		return "timeout"
	}
	return ""
}
