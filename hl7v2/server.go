package hl7v2

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// Sink accepts vitals and returns the result of each, in order; a *carewire.Hub
// is one. It recognises repeated vitals by Vital.ID.
type Sink interface {
	Publish(context.Context, ...carewire.Vital) ([]carewire.PublishResult, error)
}

// ServerOptions are a host's choices for a Server. Nil options, and zero
// fields, mean the defaults. The functions must be safe for concurrent use;
// they may panic without harm.
type ServerOptions struct {
	// Mapping says how observations become vitals; nil: by the tables alone.
	Mapping *Mapping
	// Strict refuses messages that do not keep to the standard. The default is
	// lenient: see ParseOptions.
	Strict bool
	// Patient names the patient of a message in carewire, at Visit.Time. Nil:
	// [FirstIdentifier]. A host that finds the patient by the bed must take the one
	// of that time: a message may be repeated after a transfer.
	Patient func(context.Context, Visit) (string, error)
	// Allow decides whether a peer may send a message; nil: every peer may send
	// everything. An error rejects the message and ends the connection.
	Allow func(context.Context, Peer, *Message) error
	// Census is told of ADT messages; nil: they are rejected.
	Census Census
	// TestMovements tells the Census of test messages too. By default an ADT with
	// an MSH-11 other than P is rejected, for it could discharge a real patient.
	TestMovements bool

	// Status is told of ORA^R41, by which an alarm manager reports the outcome
	// of a page (IHE PCD-05): a host reads it and calls [Reporter.Report]. An error
	// makes the manager send it again later; an *Error tells it that it is wrong.
	// Nil: they are rejected.
	Status func(context.Context, *Message) error

	// MaxConnections at once; further ones are closed. 0: 256.
	MaxConnections int
	// MaxMessage is the length of a message in bytes; a longer one is rejected and
	// ends the connection. 0: 1,048,576.
	MaxMessage int
	// IdleTimeout ends a connection that sends nothing. 0: one hour.
	IdleTimeout time.Duration
	// ReadTimeout is from the first byte of a message to its last, and of a TLS
	// handshake. 0: 10 s.
	ReadTimeout time.Duration
	// WriteTimeout is for an acknowledgement. 0: 10 s.
	WriteTimeout time.Duration
	// HandleTimeout bounds the handling of a message. If it is unknown by then
	// whether the message was stored, the message is rejected, to be sent
	// again. 0: 30 s.
	HandleTimeout time.Duration
	// Logger gets no health data. Nil: slog.Default().
	Logger *slog.Logger
}

func (o *ServerOptions) withDefaults() ServerOptions {
	var c ServerOptions
	if o != nil {
		c = *o
	}
	number := func(n *int, def int) {
		if *n <= 0 {
			*n = def
		}
	}
	duration := func(d *time.Duration, def time.Duration) {
		if *d <= 0 {
			*d = def
		}
	}
	number(&c.MaxConnections, 256)
	number(&c.MaxMessage, 1<<20)
	duration(&c.IdleTimeout, time.Hour)
	duration(&c.ReadTimeout, 10*time.Second)
	duration(&c.WriteTimeout, 10*time.Second)
	duration(&c.HandleTimeout, 30*time.Second)
	if c.Patient == nil {
		c.Patient = func(_ context.Context, v Visit) (string, error) { return FirstIdentifier(v) }
	}
	if c.Logger == nil {
		c.Logger = slog.Default()
	}
	return c
}

// Server takes HL7 version 2 messages by MLLP: ORU^R01 with vitals, as in IHE
// PCD-01, and ADT. A message is acknowledged when the Sink has stored it, never
// before. The messages of one connection are processed in order. A repeated
// message stores nothing twice: the IDs of its vitals follow from its content,
// its MSH-10 and its patient. If it is among the last 10,000 accepted ADT
// messages, or the last 10,000 accepted others, it is accepted again without
// being processed, so a repeated ADT moves nobody. Beyond that, and after a
// restart, a repeated ADT is processed again: see [Census]. All methods are safe
// for concurrent use.
type Server struct {
	sink  Sink
	opt   ServerOptions
	stats struct{ connections, refused, messages, vitals, waves, lost, rejected, errors atomic.Uint64 }

	numbers  numbers  // of waves
	accepted accepted // messages
	moved    accepted // ADT messages: values must not push them out

	mu        sync.Mutex
	closing   bool
	listeners map[net.Listener]bool
	conns     map[net.Conn]bool // whether a message is being worked on
	wg        sync.WaitGroup
}

// NewServer returns a Server that gives vitals to sink, which is required.
func NewServer(sink Sink, o *ServerOptions) (*Server, error) {
	if sink == nil {
		return nil, errors.New("hl7v2: a Sink is required")
	}
	return &Server{sink: sink, opt: o.withDefaults(), listeners: make(map[net.Listener]bool), conns: make(map[net.Conn]bool)}, nil
}

// ServerStats are a Server's counts since it was made.
type ServerStats struct {
	Connections uint64 // accepted
	Refused     uint64 // connections beyond MaxConnections
	Messages    uint64 // read
	Vitals      uint64 // stored, repeated ones included
	Waves       uint64 // chunks of waves taken
	WavesLost   uint64 // chunks that the Hub did not take
	Errors      uint64 // messages of which something was refused
	Rejected    uint64 // messages rejected as a whole
}

// Stats returns the counts.
func (s *Server) Stats() ServerStats {
	c := &s.stats
	return ServerStats{c.connections.Load(), c.refused.Load(), c.messages.Load(), c.vitals.Load(), c.waves.Load(), c.lost.Load(), c.errors.Load(), c.rejected.Load()}
}

func (s *Server) zone() *time.Location {
	if s.opt.Mapping == nil {
		return nil
	}
	return s.opt.Mapping.Zone
}

// errLater is why a message is rejected that may be taken later as it is.
var errLater = &Error{Code: codeInternal, Reason: "cannot be stored now, send it again"}

// Handle processes one message, without its frame, like a message that comes by
// MLLP. It returns the acknowledgement, without a frame; nil if the sender
// wants none. It is for hosts with a transport of their own.
func (s *Server) Handle(ctx context.Context, peer Peer, message []byte) []byte {
	answer, _ := s.handle(ctx, peer, message)
	return answer
}

// handle does one message; keep is false if the connection is to end.
func (s *Server) handle(ctx context.Context, peer Peer, message []byte) (answer []byte, keep bool) {
	s.stats.messages.Add(1)
	ctx, cancel := context.WithTimeout(ctx, s.opt.HandleTimeout)
	defer cancel()
	m, err := Parse(message, &ParseOptions{Lenient: !s.opt.Strict})
	var errs []*Error
	code, keep := AckReject, true
	if err != nil {
		var e *Error
		errors.As(err, &e)
		errs = []*Error{e}
		m = headerOnly(message)
	} else {
		code, errs, keep = s.safely(ctx, peer, m, message)
	}
	s.count(peer, code, errs)
	return answerTo(m, code, errs, time.Now(), rand.Text()[:20]), keep
}

// tooLong rejects a message of which only the beginning was read.
func (s *Server) tooLong(peer Peer, beginning []byte) []byte {
	s.stats.messages.Add(1)
	errs := []*Error{{Code: codeTooLong, Reason: "is too long"}}
	s.count(peer, AckReject, errs)
	return answerTo(headerOnly(beginning), AckReject, errs, time.Now(), rand.Text()[:20])
}

// count notes and logs the outcome of a message.
func (s *Server) count(peer Peer, code AckCode, errs []*Error) {
	switch code {
	case AckError:
		s.stats.errors.Add(1)
	case AckReject:
		s.stats.rejected.Add(1)
	default:
		return
	}
	where := ""
	if len(errs) > 0 {
		where = errs[0].Error()
	}
	s.opt.Logger.Warn("hl7v2: message not taken as a whole", "peer", peer.addr(), "ack", string(code), "errors", len(errs), "first", where)
}

// headerOnly reads MSH-1 to MSH-17 of an unreadable message, so that the answer
// can name it. It returns nil unless all of them are plain ASCII, because in
// other charsets a separator may be half of a letter.
func headerOnly(message []byte) *Message {
	line := bytes.TrimLeft(message, "\r\n\t ")
	if end := bytes.IndexAny(line, "\r\n"); end >= 0 {
		line = line[:end]
	}
	if !bytes.HasPrefix(line, []byte("MSH")) || len(line) < 9 {
		return nil
	}
	m := &Message{seps: Separators{line[3], line[4], line[5], line[6], line[7]}}
	if !m.seps.valid() {
		return nil
	}
	fields := bytes.SplitN(line, line[3:4], 18)
	head := bytes.Join(fields[:min(len(fields), 17)], line[3:4])
	if bytes.ContainsFunc(head, func(r rune) bool { return r < ' ' || r > '~' }) {
		return nil
	}
	m.segments = []Segment{{string(head), m}}
	return m
}

// safely does a message; a panic of the host's code rejects it.
func (s *Server) safely(ctx context.Context, peer Peer, m *Message, message []byte) (code AckCode, errs []*Error, keep bool) {
	defer func() {
		if recover() != nil {
			s.opt.Logger.Error("hl7v2: the host's code panicked")
			code, errs, keep = AckReject, []*Error{errLater}, true
		}
	}()
	if s.opt.Allow != nil {
		if err := s.opt.Allow(ctx, peer, m); err != nil {
			return AckReject, []*Error{{Code: codeUnknownKey, Reason: "not allowed"}}, false
		}
	}
	if v := m.Header(12).Component(1).String(); v != "" && (len(v) < 3 || v[:2] != "2.") {
		return AckReject, []*Error{fault("MSH", 12, codeVersion, "must be a version 2")}, true
	}
	if err := m.checkMode(); err != nil {
		return AckReject, []*Error{err}, true
	}
	kind, event := m.Type()
	known := &s.accepted
	if kind == "ADT" {
		known = &s.moved
	}
	if known.has(message) {
		return AckAccept, nil, true
	}
	switch {
	case kind == "ORU" && (event == "R01" || event == "W01"):
		errs = s.publish(ctx, m)
	case kind == "ADT":
		errs = s.move(ctx, m, event)
	case kind == "ORA" && event == "R41" && s.opt.Status != nil:
		errs = hostErrors(s.opt.Status(ctx, m))
	case kind == "ORU":
		errs = []*Error{fault("MSH", 9, codeEvent, "this event is not taken")}
	default:
		errs = []*Error{fault("MSH", 9, codeMessageType, "this message type is not taken")}
	}
	if code = verdict(errs); code == AckAccept {
		known.add(message)
	}
	return code, errs, true
}

// hostErrors turns an error of the host's into faults.
func hostErrors(err error) []*Error {
	var wrong *Error
	var invalid *carewire.ValidationError
	switch {
	case errors.As(err, &wrong):
		return []*Error{wrong}
	case errors.As(err, &invalid): // it does not become right by waiting
		return []*Error{{Segment: "PID", Index: 1, Field: 3, Code: codeUnknownKey, Reason: "the host cannot use it"}}
	case err != nil:
		return []*Error{errLater}
	}
	return nil
}

// verdict returns the acknowledgement of a message with the errors: one that is not
// accepted as it is, or not now, is rejected; one with faults in it is in error.
func verdict(errs []*Error) AckCode {
	code := AckAccept
	for _, e := range errs {
		if e == errLater || e.Segment == "MSH" {
			return AckReject
		}
		code = AckError
	}
	return code
}
