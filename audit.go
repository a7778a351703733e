package carewire

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"time"
)

// Auditor keeps records of who did what and saw whom, for as long as the law
// asks. Reads (watch, history and emergency) wait for their record, and are
// refused when Record returns an error; everything else has happened already
// when its record comes, one at a time in order, and a record that fails is
// tried again until it succeeds; only one that still fails after a minute, while
// others are taken, is given up (Stats.AuditRejected, and a line in the log). It
// must be safe for concurrent use; it is given Options.CallTimeout and may panic
// without harm.
type Auditor interface {
	Record(ctx context.Context, r Record) error
}

// AuditEvent is what a Record is about.
type AuditEvent string

// What is recorded.
const (
	AuditConnect        AuditEvent = "connect"         // a client has connected; its inbox is shown
	AuditRefusal        AuditEvent = "refusal"         // handshakes were refused with Status; Count of them
	AuditDisconnect     AuditEvent = "disconnect"      // a connection has ended, and what it watched: Close
	AuditWatch          AuditEvent = "watch"           // a patient is opened
	AuditWatchEnded     AuditEvent = "watch_ended"     // and not followed any more; Code if that was not the client's wish
	AuditHistory        AuditEvent = "history"         // a page of a patient's log is read
	AuditPublish        AuditEvent = "publish"         // vitals were sent: Count and Refused, of a minute
	AuditRaise          AuditEvent = "raise"           // an alert was raised
	AuditClear          AuditEvent = "clear"           // its condition is over
	AuditAnswer         AuditEvent = "answer"          // a person answered it: Do
	AuditClose          AuditEvent = "close"           // a person closed it
	AuditReceipt        AuditEvent = "receipt"         // somebody has got an alert or notice: Stage
	AuditNotice         AuditEvent = "notice"          // a notice was sent
	AuditEscalation     AuditEvent = "escalation"      // an alert's Level was told: To
	AuditPage           AuditEvent = "page"            // the Pager was asked to tell To
	AuditRevocation     AuditEvent = "revocation"      // About's sessions were ended: Session, Patient
	AuditSuspension     AuditEvent = "suspension"      // About is kept out
	AuditRestoration    AuditEvent = "restoration"     // and no more
	AuditEmergency      AuditEvent = "emergency"       // break-glass: access is given until Until for Reason
	AuditEmergencyEnded AuditEvent = "emergency_ended" // and has ended, of About
	AuditDischarge      AuditEvent = "discharge"       // Patient has left: all that was open of them was ended
	AuditPause          AuditEvent = "pause"           // the telling of Patient's alerts is paused: Reason
	AuditPauseEnded     AuditEvent = "pause_ended"     // and was ended by a person
	AuditErasure        AuditEvent = "erasure"         // all that the Store kept of Patient was removed
)

// Outcome is what became of what a Record is about.
type Outcome string

// The outcomes.
const (
	OutcomeDone    Outcome = "done"
	OutcomeRefused Outcome = "refused" // Code says why
	OutcomeFailed  Outcome = "failed"  // through no fault of whoever did it
	OutcomeUnknown Outcome = "unknown" // the Store failed while writing
)

// Record is one entry of the audit trail. Which members are set depends on
// Event; it never holds health data but for Reason and what IDs and keys tell.
// It hides itself from fmt and slog.
type Record struct {
	Time    time.Time
	Event   AuditEvent
	Outcome Outcome
	Code    ErrorCode // why not; "" if done
	Status  int       // of a refusal: the HTTP status
	Close   CloseCode // of a disconnect: with what the Hub closed; 0: the client did

	Who      Person // who did it. ID "@host": the host's backend, or carewire itself
	Asserted bool   // Who is what the host said in a call of its own; false: the Authenticator knew them
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
	Reason  string // of an emergency, in the words of whoever asked
	Test    bool
	Count   int // of a publish, of a refusal, and of what one principal does too often to be recorded singly
	Refused int // of a publish
}

// Format writes nothing of r but its event and outcome.
func (r Record) Format(f fmt.State, _ rune) {
	fmt.Fprintf(f, "carewire.Record{%s %s}", r.Event, r.Outcome)
}

// LogValue hides r from logs but for its event and outcome.
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

// NewSlogAuditor returns an Auditor that writes one slog record for each Record,
// at level Info, with the message "carewire: audit" and the Record's time. IDs, keys, sessions and
// addresses are written as keyed hashes only, names and reasons not at all: the
// same key makes the same hashes. A nil log is slog.Default(), an empty key a
// random one. It never fails, whatever becomes of the log. It is what
// Options.Auditor is by default.
func NewSlogAuditor(log *slog.Logger, key []byte) Auditor {
	if log == nil {
		log = slog.Default()
	}
	if len(key) == 0 {
		key = []byte(rand.Text())
	}
	return &slogAuditor{log, key}
}

type slogAuditor struct {
	log *slog.Logger
	key []byte
}

// Record writes r.
func (s *slogAuditor) Record(ctx context.Context, r Record) error {
	if !s.log.Enabled(ctx, slog.LevelInfo) {
		return nil
	}
	list := []slog.Attr{slog.String("event", string(r.Event)), slog.String("outcome", string(r.Outcome))}
	text := func(name, v string) {
		if v != "" {
			list = append(list, slog.String(name, v))
		}
	}
	hashed := func(name, v string) {
		if v != "" {
			text(name, s.hash(v))
		}
	}
	number := func(name string, n int) {
		if n != 0 {
			list = append(list, slog.Int(name, n))
		}
	}
	text("code", string(r.Code))
	number("status", r.Status)
	number("close", int(r.Close))
	hashed("who", r.Who.ID)
	text("role", string(r.Who.Role))
	if r.Asserted {
		list = append(list, slog.Bool("asserted", true))
	}
	hashed("session", r.Session)
	text("conn", r.Conn)
	hashed("address", r.Address)
	hashed("patient", r.Patient)
	hashed("group", r.Group)
	hashed("key", r.Key)
	hashed("id", r.ID)
	text("do", string(r.Do))
	text("stage", string(r.Stage))
	number("level", r.Level)
	number("told", len(r.To))
	hashed("about", r.About)
	if !r.Until.IsZero() {
		list = append(list, slog.Time("until", r.Until))
	}
	number("count", r.Count)
	number("refused", r.Refused)
	if r.Test {
		list = append(list, slog.Bool("test", true))
	}
	line := slog.NewRecord(r.Time, slog.LevelInfo, "carewire: audit", 0)
	line.AddAttrs(list...)
	_ = s.log.Handler().Handle(ctx, line)
	return nil
}

func (s *slogAuditor) hash(id string) string {
	m := hmac.New(sha256.New, s.key)
	m.Write([]byte(id))
	return hexOf([16]byte(m.Sum(nil)))[:16]
}
