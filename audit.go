package carewire

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"sync"
	"time"
)

// Auditor keeps the audit trail: every action, and every access to a patient.
//
// Reads (watch, history and emergency) wait for their record. If Record returns
// an error, the read is refused. Records of other actions come after the
// action, one at a time and in order. Such a record is repeated until Record
// succeeds. It is given up only if it still fails after a minute while other
// records succeed; the Hub then logs it and counts it in Stats.AuditRejected.
//
// An Auditor must be safe for concurrent use. Each call is bounded by
// Options.CallTimeout. A panic counts as an error.
type Auditor interface {
	Record(ctx context.Context, r Record) error
}

// AuditEvent is the type of a Record.
type AuditEvent string

// The events of the audit trail.
const (
	AuditConnect        AuditEvent = "connect"         // a client has connected; its inbox is shown
	AuditRefusal        AuditEvent = "refusal"         // handshakes were refused with Status; Count of them
	AuditDisconnect     AuditEvent = "disconnect"      // a connection and its watches have ended: Close
	AuditWatch          AuditEvent = "watch"           // a patient is opened
	AuditWatchEnded     AuditEvent = "watch_ended"     // a patient is no longer watched; Code if the client did not ask for that
	AuditHistory        AuditEvent = "history"         // a page of a patient's log is read
	AuditPublish        AuditEvent = "publish"         // vitals were sent: Count and Refused, of a minute
	AuditRaise          AuditEvent = "raise"           // an alert was raised
	AuditClear          AuditEvent = "clear"           // its condition is over
	AuditAnswer         AuditEvent = "answer"          // a person answered it: Do
	AuditClose          AuditEvent = "close"           // a person closed it
	AuditReceipt        AuditEvent = "receipt"         // somebody has got an alert or notice: Stage
	AuditNotice         AuditEvent = "notice"          // a notice was sent
	AuditEscalation     AuditEvent = "escalation"      // people were told of an alert at Level: To
	AuditPage           AuditEvent = "page"            // the Pager was asked to tell To
	AuditRevocation     AuditEvent = "revocation"      // About's sessions were ended: Session, Patient
	AuditSuspension     AuditEvent = "suspension"      // About is kept out
	AuditRestoration    AuditEvent = "restoration"     // a revocation or suspension of About was lifted
	AuditEmergency      AuditEvent = "emergency"       // break-glass: access is given until Until for Reason
	AuditEmergencyEnded AuditEvent = "emergency_ended" // About's break-glass access has ended
	AuditDischarge      AuditEvent = "discharge"       // Patient has left: all that was open of them was ended
	AuditPause          AuditEvent = "pause"           // Patient's alerts are paused: Reason
	AuditPauseEnded     AuditEvent = "pause_ended"     // a person ended the pause
	AuditErasure        AuditEvent = "erasure"         // all that the Store kept of Patient was removed
)

// Outcome is the result of the recorded event.
type Outcome string

// The outcomes.
const (
	OutcomeDone    Outcome = "done"
	OutcomeRefused Outcome = "refused" // Code says why
	OutcomeFailed  Outcome = "failed"  // the cause is not the actor
	OutcomeUnknown Outcome = "unknown" // the Store failed while writing
)

// Record is one entry of the audit trail. Event decides which members are set.
// A Record holds no health data, except in Reason and by the meaning of IDs and
// keys. fmt and slog show only its event and outcome.
type Record struct {
	Time    time.Time
	Event   AuditEvent
	Outcome Outcome
	Code    ErrorCode // why not; "" if done
	Status  int       // of a refusal: the HTTP status
	Close   CloseCode // of a disconnect: the Hub's close code; 0: the client closed

	Who      Person // the actor. ID "@host": the host's backend, or carewire itself
	Asserted bool   // the host named Who in a call of its own; false: the Authenticator did
	Session  string // Principal.Session; of a revocation the one that was revoked
	Conn     string // the connection, as its welcome names it
	Address  string // the client's network address

	Patient string     // "" if it concerns none, or of a publish several
	Group   string     // of a watch that was refused
	Key     string     // of an alert
	ID      string     // of the alert's occurrence, or of the notice
	Do      AnswerVerb // of an answer
	Stage   Stage      // of a receipt
	Level   int        // of an escalation and a page
	To      []string   // of an escalation and a page
	About   string     // the principal whose access was revoked, or has ended
	Until   time.Time
	Reason  string // of an emergency, in the words of the requester
	Test    bool
	Count   int // the number of events that this record stands for: of a publish, a refusal, or a flood by one principal
	Refused int // of a publish
}

// Format writes only the event and outcome of r.
func (r Record) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "carewire.Record{%s %s}", r.Event, r.Outcome)
}

// LogValue returns only the event and outcome of r.
func (r Record) LogValue() slog.Value {
	return slog.StringValue("carewire.Record{" + string(r.Event) + " " + string(r.Outcome) + "}")
}

// failed sets outcome and code by an error.
func (r Record) failed(err error) Record {
	if r.Outcome = OutcomeDone; err == nil {
		return r
	}
	switch r.Code = requestError(err).Code; r.Code {
	case CodeUnknown:
		r.Outcome = OutcomeUnknown
	case CodeBusy, CodeFull, CodeUnavailable, CodeUndecided, CodeInternal:
		r.Outcome = OutcomeFailed
	default:
		r.Outcome = OutcomeRefused
	}
	return r
}

// NewSlogAuditor returns an Auditor that writes one slog record for each
// Record, at level Info, with the message "carewire: audit" and the Record's
// time. It writes IDs, keys, sessions and addresses as keyed hashes, and omits
// names and reasons. The same key gives the same hashes. A nil log means
// slog.Default(), an empty key a random one. It never returns an error. It is
// the default of Options.Auditor.
func NewSlogAuditor(log *slog.Logger, key []byte) Auditor {
	if log == nil {
		log = slog.Default()
	}
	if len(key) == 0 {
		key = []byte(rand.Text())
	}
	return &slogAuditor{log, sync.Pool{New: func() any { return hmac.New(sha256.New, key) }}}
}

type slogAuditor struct {
	log  *slog.Logger
	macs sync.Pool // of hash.Hash
}

// Record writes r.
func (s *slogAuditor) Record(ctx context.Context, r Record) error {
	s.recordAll(ctx, []Record{r})
	return nil
}

// recordAll writes records. Of those that follow each other in one list, as of a
// watch of many patients, the part that they share is formatted once.
func (s *slogAuditor) recordAll(ctx context.Context, list []Record) {
	if !s.log.Enabled(ctx, slog.LevelInfo) {
		return
	}
	var shared recordHead
	handler := s.log.Handler()
	for i := range list {
		r := &list[i]
		line := slog.NewRecord(r.Time, slog.LevelInfo, "carewire: audit", 0)
		if head := headOf(r); len(list) == 1 {
			line.AddAttrs(s.headAttrs(r)...)
		} else if i == 0 || head != shared {
			shared, handler = head, s.log.Handler().WithAttrs(s.headAttrs(r))
		}
		line.AddAttrs(s.restAttrs(r)...)
		_ = handler.Handle(ctx, line)
	}
}

// A recordHead is the part of a Record that is written first.
type recordHead struct {
	event, outcome, code, who, role, session, conn, address string
	status                                                  int
	close                                                   CloseCode
	asserted                                                bool
}

func headOf(r *Record) recordHead {
	return recordHead{string(r.Event), string(r.Outcome), string(r.Code), r.Who.ID, string(r.Who.Role), r.Session, r.Conn, r.Address, r.Status, r.Close, r.Asserted}
}

// attrs are attributes, of which empty ones are left out.
type attrs struct {
	of   *slogAuditor
	list []slog.Attr
}

func (a *attrs) text(name, v string) {
	if v != "" {
		a.list = append(a.list, slog.String(name, v))
	}
}

func (a *attrs) hashed(name, v string) {
	if v != "" {
		a.text(name, a.of.hash(v))
	}
}

func (a *attrs) number(name string, n int) {
	if n != 0 {
		a.list = append(a.list, slog.Int(name, n))
	}
}

func (a *attrs) flag(name string, v bool) {
	if v {
		a.list = append(a.list, slog.Bool(name, true))
	}
}

func (s *slogAuditor) headAttrs(r *Record) []slog.Attr {
	a := attrs{of: s, list: make([]slog.Attr, 0, 12)}
	a.list = append(a.list, slog.String("event", string(r.Event)), slog.String("outcome", string(r.Outcome)))
	a.text("code", string(r.Code))
	a.number("status", r.Status)
	a.number("close", int(r.Close))
	a.hashed("who", r.Who.ID)
	a.text("role", string(r.Who.Role))
	a.flag("asserted", r.Asserted)
	a.hashed("session", r.Session)
	a.text("conn", r.Conn)
	a.hashed("address", r.Address)
	return a.list
}

func (s *slogAuditor) restAttrs(r *Record) []slog.Attr {
	a := attrs{of: s, list: make([]slog.Attr, 0, 12)}
	a.hashed("patient", r.Patient)
	a.hashed("group", r.Group)
	a.hashed("key", r.Key)
	a.hashed("id", r.ID)
	a.text("do", string(r.Do))
	a.text("stage", string(r.Stage))
	a.number("level", r.Level)
	a.number("told", len(r.To))
	a.hashed("about", r.About)
	if !r.Until.IsZero() {
		a.list = append(a.list, slog.Time("until", r.Until))
	}
	a.number("count", r.Count)
	a.number("refused", r.Refused)
	a.flag("test", r.Test)
	return a.list
}

func (s *slogAuditor) hash(id string) string {
	m := s.macs.Get().(hash.Hash)
	defer s.macs.Put(m)
	m.Reset()
	io.WriteString(m, id)
	var sum [sha256.Size]byte
	return hexOf([16]byte(m.Sum(sum[:0])))[:16]
}
