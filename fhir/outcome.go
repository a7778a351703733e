package fhir

import (
	"errors"
	"net/http"
	"strconv"

	"github.com/carewire/carewire"
)

// operationOutcome is the resource by which FHIR reports errors and lost
// elements.
type operationOutcome struct {
	ResourceType string  `json:"resourceType"`
	Issue        []issue `json:"issue"`
}

type issue struct {
	Severity    string   `json:"severity"`
	Code        string   `json:"code"`
	Details     *concept `json:"details,omitempty"`
	Diagnostics string   `json:"diagnostics,omitempty"`
	Expression  []string `json:"expression,omitempty"`
}

// A failure is the answer to a refused request. Its words are fixed: none holds
// a part of the request.
type failure struct {
	status     int
	code       string // of http://hl7.org/fhir/issue-type
	text       string
	expression string // the element's path
	retryAfter int    // seconds; 0: not said
}

func (f *failure) Error() string { return "fhir: " + f.text }

func (f *failure) outcome() *operationOutcome {
	i := issue{Severity: "error", Code: f.code, Diagnostics: f.text}
	if f.expression != "" {
		i.Expression = []string{f.expression}
	}
	return &operationOutcome{"OperationOutcome", []issue{i}}
}

func fail(status int, code, text string) *failure {
	return &failure{status: status, code: code, text: text}
}

var (
	errNotFound   = fail(http.StatusNotFound, "not-found", "unknown, or not yours to see")
	errForbidden  = fail(http.StatusForbidden, "forbidden", "not allowed, or unknown")
	errBadQuery   = fail(http.StatusBadRequest, "invalid", "the query cannot be read")
	errMethod     = fail(http.StatusMethodNotAllowed, "not-supported", "not supported here")
	errNotOffered = fail(http.StatusNotFound, "not-supported", "not offered here")
)

// failures are the errors of the Hub's wire as FHIR tells them.
var failures = map[carewire.ErrorCode]failure{
	carewire.CodeMalformed:    {status: http.StatusBadRequest, code: "structure", text: "malformed"},
	carewire.CodeInvalid:      {status: http.StatusUnprocessableEntity, code: "invalid", text: "invalid"},
	carewire.CodeForbidden:    *errForbidden,
	carewire.CodeUndecided:    {status: http.StatusServiceUnavailable, code: "transient", text: "access could not be decided, try again", retryAfter: 5},
	carewire.CodeUnauthorized: {status: http.StatusUnauthorized, code: "login", text: "not authenticated"},
	carewire.CodeEnded:        {status: http.StatusConflict, code: "conflict", text: "it has ended"},
	carewire.CodeRefused:      {status: http.StatusConflict, code: "conflict", text: "not possible in its present state"},
	carewire.CodeConflict:     {status: http.StatusConflict, code: "conflict", text: "somebody else was first"},
	carewire.CodeIDReused:     {status: http.StatusConflict, code: "duplicate", text: "the identifier stands for other content"},
	carewire.CodeGap:          {status: http.StatusGone, code: "incomplete", text: "no longer kept"},
	carewire.CodeLimit:        {status: http.StatusTooManyRequests, code: "too-costly", text: "a limit is exceeded"},
	carewire.CodeBusy:         {status: http.StatusTooManyRequests, code: "throttled", text: "busy, try again", retryAfter: 1},
	carewire.CodeFull:         {status: http.StatusServiceUnavailable, code: "no-store", text: "no room, try again later", retryAfter: 30},
	carewire.CodeUnavailable:  {status: http.StatusServiceUnavailable, code: "transient", text: "unavailable, try again", retryAfter: 5},
	carewire.CodeUnknown:      {status: http.StatusServiceUnavailable, code: "timeout", text: "the outcome is unknown, send it again with the same identifier", retryAfter: 5},
}

var errInternal = fail(http.StatusInternalServerError, "exception", "a fault of the server")

// failureOf says how an error is told.
func failureOf(err error) *failure {
	var f *failure
	var v *carewire.ValidationError
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &v):
		return &failure{status: http.StatusUnprocessableEntity, code: "invalid", text: v.Reason, expression: v.Field}
	}
	for target, code := range map[error]carewire.ErrorCode{carewire.ErrForbidden: carewire.CodeForbidden, carewire.ErrUndecided: carewire.CodeUndecided,
		carewire.ErrUnauthenticated: carewire.CodeUnauthorized, carewire.ErrUnavailable: carewire.CodeUnavailable, carewire.ErrGap: carewire.CodeGap,
		carewire.ErrClosed: carewire.CodeUnavailable, carewire.ErrBusy: carewire.CodeBusy, carewire.ErrFull: carewire.CodeFull,
		carewire.ErrUnknownOutcome: carewire.CodeUnknown, carewire.ErrConflict: carewire.CodeConflict, carewire.ErrIDReused: carewire.CodeIDReused} {
		if errors.Is(err, target) {
			f := failures[code]
			return &f
		}
	}
	return errInternal
}

// answer writes a resource; nil: none.
func answer(w http.ResponseWriter, status int, resource any) {
	w.Header().Set("Content-Type", "application/fhir+json; charset=utf-8")
	w.WriteHeader(status)
	if resource != nil {
		w.Write(encode(resource))
	}
}

// refuse answers with an OperationOutcome.
func refuse(w http.ResponseWriter, err error) {
	f := failureOf(err)
	if f.retryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.retryAfter))
	}
	if f.status == http.StatusUnauthorized {
		w.Header().Set("WWW-Authenticate", "Bearer")
	}
	answer(w, f.status, f.outcome())
}

// notSaid lists the parts of an accepted resource that are not kept; nil if all are.
func notSaid(paths []string) *operationOutcome {
	if len(paths) == 0 {
		return nil
	}
	return &operationOutcome{"OperationOutcome", []issue{{Severity: "information", Code: "not-supported", Diagnostics: "these elements are not kept", Expression: paths}}}
}
