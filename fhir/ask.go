package fhir

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/carewire/carewire"
)

// Each action of a client is a request to the Hub on its behalf, with the same
// rights, limits and audit trail as the client's own requests.

// hubReply is the Hub's reply to a request.
type hubReply struct {
	Type    string
	Code    carewire.ErrorCode
	Field   string
	Reason  string
	RetryMS int `json:"retry_ms"`
	Results []hubResult
	Events  []hubEvent
	Next    uint64
	Notice  *carewire.Notice
	Ticket  string
	Expires time.Time
}

type hubResult struct {
	Seq      uint64
	Repeated bool
	Error    *hubReply
	err      error // of the request that it was in
}

// failure is how an error is told; nil if there is none.
func (r *hubResult) failure() error {
	if r.err != nil {
		return r.err
	}
	err := r.Error.failure()
	var f *failure
	if errors.As(err, &f) && f.expression != "" {
		f.expression = pathOf(f.expression)
	}
	return err
}

type hubEvent struct {
	Type    carewire.EventType
	Patient string
	Epoch   string
	Seq     uint64
	Vital   *carewire.Vital
	Alert   *carewire.Alert
	Notice  *carewire.Notice
}

func (e *hubEvent) position() carewire.Position { return carewire.Position{Epoch: e.Epoch, Seq: e.Seq} }

// failure is how an error is told; nil if there is none.
func (r *hubReply) failure() error {
	if r == nil || r.Code == "" {
		return nil
	}
	f, ok := failures[r.Code]
	if !ok {
		return errInternal
	}
	if r.Code == carewire.CodeInvalid {
		f.text, f.expression = r.Reason, r.Field
	}
	if r.RetryMS > 0 {
		f.retryAfter = (r.RetryMS + 999) / 1000
	}
	return &f
}

// ask has the Hub carry out one request of c's.
func (s *Server) ask(c *caller, typ string, members map[string]any) (*hubReply, error) {
	body := map[string]any{"type": typ, "req": "1"}
	for name, v := range members {
		body[name] = v
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	ctx := carewire.AsPrincipal(context.WithoutCancel(c.r.Context()), c.who) // a request that has begun is completed
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://fhir.invalid/", bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	r.Host, r.RemoteAddr, r.TLS = c.r.Host, c.r.RemoteAddr, c.r.TLS
	for _, name := range []string{"X-Forwarded-For", "User-Agent"} {
		if v := c.r.Header.Values(name); len(v) > 0 {
			r.Header[name] = v
		}
	}
	r.Header.Set("Content-Type", "application/json")
	rec := newRecorder()
	s.hub.ServeHTTP(rec, r)
	if rec.status != http.StatusOK {
		return nil, refusedWith(rec.status)
	}
	var reply hubReply
	if err := json.Unmarshal(rec.body.Bytes(), &reply); err != nil {
		return nil, errInternal
	}
	if reply.Type == "error" {
		return nil, reply.failure()
	}
	return &reply, nil
}

// refusedWith is how the Hub's refusal of a whole request is told.
func refusedWith(status int) error {
	code := carewire.CodeUnavailable
	switch status {
	case http.StatusForbidden:
		code = carewire.CodeForbidden
	case http.StatusTooManyRequests:
		code = carewire.CodeBusy
	case http.StatusRequestEntityTooLarge:
		return fail(http.StatusRequestEntityTooLarge, "too-long", "too long")
	}
	f := failures[code]
	return &f
}

// A recorder keeps the Hub's answer.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func newRecorder() *recorder { return &recorder{header: make(http.Header), status: http.StatusOK} }

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(b []byte) (int, error) { return r.body.Write(b) }
