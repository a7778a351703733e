package carewire

import (
	"errors"
	"fmt"
	"time"
)

// failure appends the members that describe an error.
func (e *encoder) failure(err error) {
	f := requestError(err)
	e.str("code", string(f.Code))
	e.str("retry", string(f.Retry))
	e.uint("retry_ms", uint64(f.RetryAfter.Milliseconds()))
	e.str("field", f.Field)
	e.str("reason", f.Reason)
	if f.Alert != nil {
		shown := *f.Alert
		shown.About = AlertRef{}
		e.name("alert")
		shown.encode(e)
	}
}

// requestError returns the error on the wire for an error, in fixed words.
func requestError(err error) *RequestError {
	var f *RequestError
	if errors.As(err, &f) {
		return f
	}
	f = &RequestError{Code: CodeInternal, Retry: RetryLater}
	var v *ValidationError
	var a *alertError
	switch {
	case errors.As(err, &v):
		f.Code, f.Retry, f.Field, f.Reason = CodeInvalid, RetryNever, v.Field, v.Reason
		if v.Field == "" {
			f.Code = CodeMalformed
		}
		return f
	case err == errUnknownType:
		f.Code, f.Retry = CodeUnknownType, RetryNever
		return f
	case errors.Is(err, ErrNotFound): // unknown and forbidden look the same
		f.Code, f.Retry = CodeForbidden, RetryNever
		return f
	case errors.As(err, &a):
		f.Alert = a.alert
	}
	for sentinel, code := range codeOf {
		if errors.Is(err, sentinel) {
			f.Code = code
		}
	}
	switch f.Code {
	case CodeForbidden, CodeIDReused, CodeEnded, CodeRefused, CodeConflict, CodeGap:
		f.Retry = RetryNever
	case CodeUnauthorized:
		f.Retry = RetryReauth
	case CodeBusy, CodeFull, CodeUnavailable, CodeUndecided:
		f.RetryAfter = time.Second
	}
	return f
}

// alertError is a refusal that shows the alert as it is.
type alertError struct {
	err   error
	alert *Alert
}

func (e *alertError) Error() string { return e.err.Error() }
func (e *alertError) Unwrap() error { return e.err }

// Format shows the error and nothing of the alert.
func (e *alertError) Format(f fmt.State, _ rune) { fmt.Fprint(f, e.err) }
