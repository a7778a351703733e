package carewire

import (
	"fmt"
	"log/slog"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// System is the log of what concerns no one patient: a gateway, a node, the
// store, an exhausted policy. It is watched by right, like a patient.
const System = "@system"

// An Alert is something about a patient that needs a person. Two things are
// kept apart in it: the Condition, which its source raises and clears, and the
// Answers of people, from which Responsibility follows.
//
// An Alert is identified by Patient and Key. Each time it is raised after it
// has ended a new occurrence begins, with an ID and escalation levels of its own.
//
// An Alert shows nothing of itself under fmt's verbs and in slog: only its
// JSON holds the data.
type Alert struct {
	Patient  string // whose, or System; required to raise
	Key      string // names the condition; "": the ID
	ID       string // alert_id: the event ID that opened this occurrence
	Rev      uint64 // counts changes by the source and by people
	Code     string // a code for the condition
	System   string // the code's system
	Text     string // what people read; required to raise
	Priority Priority
	Kind     AlertKind // "" is physiological
	Test     bool      // pages nobody but Options.TestRecipients

	Audience Audience // zero: staff
	To       []string // whom it is addressed to: person:ID, group:ID, role:NAME, patient
	Source   Source   // why it was raised

	Condition Condition
	Latched   bool      // the condition ended before anybody accepted
	Onset     time.Time // when the condition began
	Raised    time.Time // when the Hub took it in
	Updated   time.Time // last change by source or people
	Ended     time.Time // zero while it is open

	Responsibility Responsibility
	Answers        []Answered // the last eight, oldest first
	AnswerCount    int        // all of them
	Escalation     Escalation
	Closed         *Closing // set if a person closed it

	extra []byte // members of a newer version, kept
}

// Priority says what is at stake if nobody responds, after IEC 60601-1-8.
type Priority string

// The priorities.
const (
	PriorityHigh   Priority = "high"   // act at once
	PriorityMedium Priority = "medium" // act promptly
	PriorityLow    Priority = "low"    // be aware
	PriorityInfo   Priority = "info"   // no alarm condition
)

func (p Priority) rank() int {
	switch p {
	case PriorityHigh:
		return 4
	case PriorityMedium:
		return 3
	case PriorityLow:
		return 2
	case PriorityInfo:
		return 1
	}
	return 0
}

// AlertKind says where an alert arises.
type AlertKind string

// The kinds of alerts, after IEC 60601-1-8 and IHE ACM.
const (
	KindPhysiological AlertKind = "physiological" // from the patient
	KindTechnical     AlertKind = "technical"     // from a device, the network or carewire itself
	KindAdvisory      AlertKind = "advisory"      // information
)

// Condition says whether what an alert is about is still so.
type Condition string

// The conditions.
const (
	ConditionPresent Condition = "present"
	ConditionOver    Condition = "over"
)

// Source is an alert's explanation of itself.
type Source struct {
	By      string  // the principal that raised it; set by the Hub
	Rule    string  // the rule that found it
	Limits  string  // the limits of then, such as "90-110"
	Value   Decimal // the value that broke them
	Unit    string  // its UCUM code
	VitalID string  // the measurement
}

// Person is who did something.
type Person struct {
	ID   string
	Name string
	Role Role
}

// Responsibility says who has an alert.
type Responsibility struct {
	State ResponsibilityState
	By    Person    // who accepted or rejected
	At    time.Time // when
	Until time.Time // when an acceptance runs out
}

// ResponsibilityState is derived from the answers.
type ResponsibilityState string

// The states of responsibility.
const (
	Undefined ResponsibilityState = "undefined"
	Accepted  ResponsibilityState = "accepted"
	Rejected  ResponsibilityState = "rejected"
)

// Do is what an answer does.
type Do string

// The answers to an alert.
const (
	Accept  Do = "accept"  // take responsibility, for a time
	Reject  Do = "reject"  // not me
	Release Do = "release" // give an acceptance back
	Assign  Do = "assign"  // give it to somebody else, who is told next
	Close   Do = "close"   // end the alert
)

// Answered is one answer that was given.
type Answered struct {
	Do     Do
	By     Person
	At     time.Time
	Until  time.Time // of an acceptance
	To     string    // of an assignment
	Reason string
}

// Closing says who closed an alert and why.
type Closing struct {
	By     Person
	At     time.Time
	Reason string
}

// Escalation says how far the telling of people has got. Level counts up over
// an occurrence and never restarts; Step is what the Policy was asked for.
type Escalation struct {
	Level int
	Step  int
	State EscalationState
	Due   time.Time // when the next thing happens unless somebody accepts

	told     []string  // who was told at this level
	began    time.Time // when this level began
	after    float64   // seconds from then until the next
	reached  bool      // somebody got word of this level
	rejected []string  // persons who rejected at this level
	assigned string    // who is told next, whatever the policy says
	repeats  int       // how often the last step was told again
	peak     Priority  // the highest priority since the steps began or it was accepted
}

// EscalationState is the state of the present level.
type EscalationState string

// The states: a level is due, then claimed by a node until a time, then
// notified or failed. Off means that nothing more is told, because somebody
// accepted or the condition is over.
const (
	EscalationDue      EscalationState = "due"
	EscalationClaimed  EscalationState = "claimed"
	EscalationNotified EscalationState = "notified"
	EscalationFailed   EscalationState = "failed"
	EscalationOff      EscalationState = "off"
)

// Open reports whether a still waits for a person.
func (a *Alert) Open() bool { return a.Ended.IsZero() }

// AlertRef names an alert: the occurrence ID of Patient's alert Key. An empty
// ID means the one that is open now.
type AlertRef struct{ Patient, Key, ID string }

// Ref returns the reference of a.
func (a *Alert) Ref() AlertRef { return AlertRef{a.Patient, a.Key, a.ID} }

// Answer is what a person says to an alert.
type Answer struct {
	Do     Do
	To     string        // Assign: person:ID, group:ID or role:NAME
	For    time.Duration // Accept: how long it holds; 0: by priority
	Reason string        // why; required for a forced close
	Force  bool          // Close: although the condition is present
	Rev    uint64        // not 0: only if the alert's Rev is still this
	ID     string        // event_id of this answer; "": a new one
}

// Notice is a message between clinicians and a patient, or among the team.
//
// A Notice shows nothing of itself under fmt's verbs and in slog: only its
// JSON holds the data.
type Notice struct {
	Patient   string    // whose log it belongs to; required
	ID        string    // notice_id: the sender's own ID; "": a new one
	From      string    // the principal who sent it; set by the Hub
	To        []string  // person:ID, group:ID, role:NAME, patient; required unless Audience is another than named
	Audience  Audience  // zero: named
	Text      string    // required
	Time      time.Time // set by the Hub
	RepliesTo string    // the ID of the Notice this one answers
}

// Receipt says that somebody got an alert or notice.
type Receipt struct {
	Patient  string
	Key      string // of an alert
	AlertID  string // of an alert
	Level    int    // of an alert: which level's telling was received; set by the Hub
	NoticeID string // of a notice
	Stage    Stage
	By       Person    // set by the Hub
	At       time.Time // set by the Hub
}

// Stage is how far something has come to somebody.
type Stage string

// The stages of a receipt.
const (
	Delivered Stage = "delivered" // their device has it
	Presented Stage = "presented" // it was shown to them
	Read      Stage = "read"      // they have seen it
)

// validID reports whether s is an ID: [A-Za-z0-9._:-]{1,64}. Those that begin
// with @ are reserved to carewire.
func validID(s string) bool {
	if len(s) == 0 || len(s) > 64 {
		return false
	}
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == ':', c == '-':
		default:
			return false
		}
	}
	return true
}

// validPatient reports whether s may name a log that events are sent to.
func validPatient(s string) bool { return validID(s) || s == System }

// validCode reports whether s is printable ASCII without spaces, at most 64 bytes.
func validCode(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 64
}

// validText reports whether s is printable text of at most max bytes. Line
// breaks and tabs are printable; control, format and bidi characters are not,
// but for the joiners that scripts and emoji need.
func validText(s string, max int) bool {
	if len(s) > max || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) && r != '\n' && r != '\t' && r != '\u200c' && r != '\u200d' && r != '\u00a0' && r != '\u202f' {
			return false
		}
	}
	return true
}

// validName reports whether s may name a principal: printable, 1 to 128 bytes, one line.
func validName(s string) bool {
	return s != "" && validText(s, 128) && !strings.ContainsAny(s, "\n\t")
}

func validTime(t time.Time) bool { return t.IsZero() || t.Year() >= 1900 && t.Year() <= 9998 }

const maxText = 4000 // bytes of an alert's or notice's text

// checkTo validates a list of addressees.
func checkTo(to []string, max int) error {
	if len(to) > max {
		return invalid("to", "too many")
	}
	for i, t := range to {
		if !validAddressee(t) {
			return invalid(indexed("to", i), "must be person:ID, group:ID, role:NAME or patient")
		}
	}
	return nil
}

func validAddressee(to string) bool {
	kind, name, _ := strings.Cut(to, ":")
	switch kind {
	case "person":
		return validName(name)
	case "group":
		return validID(name)
	case "role":
		return knownRole[Role(name)]
	}
	return to == "patient"
}

// Validate reports what is wrong with a, as one that is to be raised, as a
// *ValidationError; nil if nothing is.
func (a *Alert) Validate() error {
	switch {
	case !validPatient(a.Patient):
		return invalid("patient", "must be an ID")
	case a.Key != "" && !validID(a.Key):
		return invalid("key", "must be an ID")
	case a.ID != "" && !validID(a.ID):
		return invalid("event_id", "must be an ID")
	case a.Code != "" && !validCode(a.Code):
		return invalid("code", "must be a code")
	case a.System != "" && !validCode(a.System):
		return invalid("system", "must be a code system")
	case a.Text == "" || !validText(a.Text, maxText):
		return invalid("text", "must be printable text of 1 to 4000 bytes")
	case a.Priority.rank() == 0:
		return invalid("priority", "must be high, medium, low or info")
	case a.Kind != "" && a.Kind != KindPhysiological && a.Kind != KindTechnical && a.Kind != KindAdvisory:
		return invalid("kind", "must be physiological, technical or advisory")
	case a.Audience > AudienceNamed:
		return invalid("audience", "must be staff, all or named")
	case !validTime(a.Onset):
		return invalid("onset", "out of range")
	case !validText(a.Source.Rule, 128):
		return invalid("source.rule", "must be printable text of at most 128 bytes")
	case !validText(a.Source.Limits, 128):
		return invalid("source.limits", "must be printable text of at most 128 bytes")
	case a.Source.Unit != "" && !validCode(a.Source.Unit):
		return invalid("source.unit", "must be a UCUM code")
	case a.Source.VitalID != "" && !validID(a.Source.VitalID):
		return invalid("source.vital_id", "must be an ID")
	case a.Source.Value != "" && a.Source.Value.check() != nil:
		return within("source.value", a.Source.Value.check())
	}
	return checkTo(a.To, 32)
}

// Validate reports what is wrong with n as a *ValidationError; nil if nothing is.
func (n *Notice) Validate() error {
	switch {
	case !validPatient(n.Patient):
		return invalid("patient", "must be an ID")
	case n.ID != "" && !validID(n.ID):
		return invalid("notice_id", "must be an ID")
	case n.RepliesTo != "" && !validID(n.RepliesTo):
		return invalid("replies_to", "must be an ID")
	case n.Text == "" || !validText(n.Text, maxText):
		return invalid("text", "must be printable text of 1 to 4000 bytes")
	case n.Audience > AudienceNamed:
		return invalid("audience", "must be staff, all or named")
	case len(n.To) == 0 && (n.Audience == 0 || n.Audience == AudienceNamed):
		return invalid("to", "required for the audience named")
	}
	return checkTo(n.To, 32)
}

// validate reports what is wrong with r, as one that is sent in.
func (r *Receipt) validate() error {
	switch {
	case !validPatient(r.Patient):
		return invalid("patient", "must be an ID")
	case r.Stage != Delivered && r.Stage != Presented && r.Stage != Read:
		return invalid("stage", "must be delivered, presented or read")
	case (r.NoticeID == "") == (r.AlertID == ""):
		return invalid("alert_id", "either alert_id with key or notice_id is required")
	case r.NoticeID != "":
		if !validID(r.NoticeID) || r.Key != "" {
			return invalid("notice_id", "must be an ID, without a key")
		}
	case !validID(r.AlertID) || !validID(r.Key):
		return invalid("alert_id", "must be an ID, with a key")
	}
	return nil
}

// validate reports what is wrong with a.
func (a *Answer) validate() error {
	switch {
	case a.ID != "" && !validID(a.ID):
		return invalid("event_id", "must be an ID")
	case a.Do != Accept && a.Do != Reject && a.Do != Release && a.Do != Assign && a.Do != Close:
		return invalid("do", "must be accept, reject, release, assign or close")
	case (a.Do == Assign) != (a.To != ""):
		return invalid("to", "goes with assign")
	case a.To != "" && (a.To == "patient" || !validAddressee(a.To)):
		return invalid("to", "must be person:ID, group:ID or role:NAME")
	case a.For < 0 || a.For > 24*time.Hour || a.For > 0 && a.Do != Accept:
		return invalid("for_s", "goes with accept, at most a day")
	case !validText(a.Reason, 1000):
		return invalid("reason", "must be printable text of at most 1000 bytes")
	case a.Force && (a.Do != Close || a.Reason == ""):
		return invalid("force", "goes with close and a reason")
	}
	return nil
}

func (ref *AlertRef) validate() error {
	switch {
	case !validPatient(ref.Patient):
		return invalid("patient", "must be an ID")
	case !validID(ref.Key):
		return invalid("key", "must be an ID")
	case ref.ID != "" && !validID(ref.ID):
		return invalid("alert_id", "must be an ID")
	}
	return nil
}

// String returns the wire's name of the audience.
func (a Audience) String() string {
	switch a {
	case AudienceStaff:
		return "staff"
	case AudienceAll:
		return "all"
	case AudienceNamed:
		return "named"
	}
	return ""
}

func (s *scanner) audience() Audience {
	switch s.str() {
	case "staff":
		return AudienceStaff
	case "all":
		return AudienceAll
	case "named":
		return AudienceNamed
	}
	if !s.open { // a circle that a newer version knows is not ours to widen
		s.fail("must be staff, all or named")
	}
	return AudienceNamed
}

// decode reads a from s. A strict scanner takes only what a raise may carry.
func (a *Alert) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			a.Patient = s.str()
		case "key":
			a.Key = s.str()
		case "code":
			a.Code = s.str()
		case "system":
			a.System = s.str()
		case "text":
			a.Text = s.str()
		case "priority":
			a.Priority = Priority(s.str())
		case "kind":
			a.Kind = AlertKind(s.str())
		case "onset":
			a.Onset = s.time()
		case "audience":
			a.Audience = s.audience()
		case "to":
			a.To = s.strings(32)
		case "source":
			a.Source.decode(s)
		case "test":
			a.Test = s.bool()
		default:
			return s.open && a.decodeState(s, name)
		}
		return true
	})
}

// decodeState reads the members that the Hub sets.
func (a *Alert) decodeState(s *scanner, name []byte) bool {
	switch string(name) {
	case "alert_id":
		a.ID = s.str()
	case "rev":
		a.Rev = s.uint()
	case "condition":
		a.Condition = Condition(s.str())
	case "latched":
		a.Latched = s.bool()
	case "raised":
		a.Raised = s.time()
	case "updated":
		a.Updated = s.time()
	case "ended":
		a.Ended = s.time()
	case "responsibility":
		r := &a.Responsibility
		s.object(func(name []byte) bool {
			switch string(name) {
			case "state":
				r.State = ResponsibilityState(s.str())
			case "by":
				r.By = decodePerson(s)
			case "at":
				r.At = s.time()
			case "until":
				r.Until = s.time()
			default:
				return false
			}
			return true
		})
	case "answers":
		s.array(func(int) { a.Answers = append(a.Answers, decodeAnswered(s)) })
	case "answer_count":
		a.AnswerCount = int(s.uint())
	case "escalation":
		a.Escalation.decode(s)
	case "closed":
		a.Closed = new(Closing)
		s.object(func(name []byte) bool {
			switch string(name) {
			case "by":
				a.Closed.By = decodePerson(s)
			case "at":
				a.Closed.At = s.time()
			case "reason":
				a.Closed.Reason = s.str()
			default:
				return false
			}
			return true
		})
	default:
		return false
	}
	return true
}

func (src *Source) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "rule":
			src.Rule = s.str()
		case "limits":
			src.Limits = s.str()
		case "value":
			src.Value = s.number()
		case "unit":
			src.Unit = s.str()
		case "vital_id":
			src.VitalID = s.str()
		case "by":
			if !s.open {
				return false
			}
			src.By = s.str()
		default:
			return false
		}
		return true
	})
}

func (x *Escalation) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "level":
			x.Level = int(s.uint())
		case "step":
			x.Step = int(s.uint())
		case "state":
			x.State = EscalationState(s.str())
		case "due":
			x.Due = s.time()
		case "told":
			x.told = s.strings(64)
		case "began":
			x.began = s.time()
		case "after_s":
			x.after = s.float()
		case "reached":
			x.reached = s.bool()
		case "rejected":
			x.rejected = s.strings(64)
		case "assigned":
			x.assigned = s.str()
		case "repeats":
			x.repeats = int(s.uint())
		case "peak":
			x.peak = Priority(s.str())
		default:
			return false
		}
		return true
	})
}

func decodePerson(s *scanner) (p Person) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "id":
			p.ID = s.str()
		case "name":
			p.Name = s.str()
		case "role":
			p.Role = Role(s.str())
		default:
			return false
		}
		return true
	})
	return p
}

func decodeAnswered(s *scanner) (a Answered) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "do":
			a.Do = Do(s.str())
		case "by":
			a.By = decodePerson(s)
		case "at":
			a.At = s.time()
		case "until":
			a.Until = s.time()
		case "to":
			a.To = s.str()
		case "reason":
			a.Reason = s.str()
		default:
			return false
		}
		return true
	})
	return a
}

// encode appends a to e as a JSON object.
func (a *Alert) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("patient", a.Patient)
	e.str("alert_id", a.ID)
	e.str("key", a.Key)
	e.uint("rev", a.Rev)
	e.str("code", a.Code)
	e.str("system", a.System)
	e.str("text", a.Text)
	e.str("priority", string(a.Priority))
	e.str("kind", string(a.Kind))
	e.str("condition", string(a.Condition))
	e.bool("latched", a.Latched)
	e.time("onset", a.Onset)
	e.time("raised", a.Raised)
	e.time("updated", a.Updated)
	e.time("ended", a.Ended)
	e.str("audience", a.Audience.String())
	e.strings("to", a.To)
	if r := &a.Responsibility; r.State != "" {
		e.object("responsibility", func() {
			e.str("state", string(r.State))
			e.person("by", r.By)
			e.time("at", r.At)
			e.time("until", r.Until)
		})
	}
	if len(a.Answers) > 0 {
		e.name("answers")
		e.b = append(e.b, '[')
		for i := range a.Answers {
			w := &a.Answers[i]
			e.comma()
			e.b = append(e.b, '{')
			e.str("do", string(w.Do))
			e.person("by", w.By)
			e.time("at", w.At)
			e.time("until", w.Until)
			e.str("to", w.To)
			e.str("reason", w.Reason)
			e.b = append(e.b, '}')
		}
		e.b = append(e.b, ']')
	}
	e.uint("answer_count", uint64(a.AnswerCount))
	if x := &a.Escalation; x.State != "" {
		e.object("escalation", func() {
			e.count("level", uint64(x.Level))
			e.count("step", uint64(x.Step))
			e.str("state", string(x.State))
			e.time("due", x.Due)
			e.strings("told", x.told)
			e.time("began", x.began)
			e.float("after_s", x.after)
			e.bool("reached", x.reached)
			e.strings("rejected", x.rejected)
			e.str("assigned", x.assigned)
			e.uint("repeats", uint64(x.repeats))
			e.str("peak", string(x.peak))
		})
	}
	if a.Source != (Source{}) {
		e.object("source", func() {
			e.str("by", a.Source.By)
			e.str("rule", a.Source.Rule)
			e.str("limits", a.Source.Limits)
			e.raw("value", []byte(a.Source.Value))
			e.str("unit", a.Source.Unit)
			e.str("vital_id", a.Source.VitalID)
		})
	}
	if a.Closed != nil {
		e.object("closed", func() {
			e.person("by", a.Closed.By)
			e.time("at", a.Closed.At)
			e.str("reason", a.Closed.Reason)
		})
	}
	e.bool("test", a.Test)
	extra := a.extra
	if e.b[len(e.b)-1] == '{' && len(extra) > 0 {
		extra = extra[1:]
	}
	e.b = append(append(e.b, extra...), '}')
}

func (e *encoder) person(name string, p Person) {
	if p != (Person{}) {
		e.object(name, func() {
			e.str("id", p.ID)
			e.str("name", p.Name)
			e.str("role", string(p.Role))
		})
	}
}

// decode reads n from s. A strict scanner takes only what a notify may carry.
func (n *Notice) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			n.Patient = s.str()
		case "notice_id":
			n.ID = s.str()
		case "to":
			n.To = s.strings(32)
		case "audience":
			n.Audience = s.audience()
		case "text":
			n.Text = s.str()
		case "replies_to":
			n.RepliesTo = s.str()
		case "from", "time":
			if !s.open {
				return false
			}
			if name[0] == 'f' {
				n.From = s.str()
			} else {
				n.Time = s.time()
			}
		default:
			return false
		}
		return true
	})
}

// encode appends n to e as a JSON object.
func (n *Notice) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("patient", n.Patient)
	e.str("notice_id", n.ID)
	e.str("from", n.From)
	e.strings("to", n.To)
	e.str("audience", n.Audience.String())
	e.str("text", n.Text)
	e.time("time", n.Time)
	e.str("replies_to", n.RepliesTo)
	e.b = append(e.b, '}')
}

// decode reads r from an open scanner.
func (r *Receipt) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			r.Patient = s.str()
		case "key":
			r.Key = s.str()
		case "alert_id":
			r.AlertID = s.str()
		case "level":
			r.Level = int(s.uint())
		case "notice_id":
			r.NoticeID = s.str()
		case "stage":
			r.Stage = Stage(s.str())
		case "by":
			r.By = decodePerson(s)
		case "at":
			r.At = s.time()
		default:
			return false
		}
		return true
	})
}

// encode appends r to e as a JSON object.
func (r *Receipt) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("patient", r.Patient)
	e.str("key", r.Key)
	e.str("alert_id", r.AlertID)
	e.uint("level", uint64(r.Level))
	e.str("notice_id", r.NoticeID)
	e.str("stage", string(r.Stage))
	e.person("by", r.By)
	e.time("at", r.At)
	e.b = append(e.b, '}')
}

// MarshalJSON writes a as the wire has it.
func (a Alert) MarshalJSON() ([]byte, error) {
	if v := a.Source.Value; v != "" && v.check() != nil {
		return nil, within("source.value", v.check())
	}
	var e encoder
	a.encode(&e)
	return e.b, nil
}

// UnmarshalJSON reads a leniently, and keeps members it does not know (of the
// alert itself, not of the objects in it) for MarshalJSON to write again. It
// does not validate.
func (a *Alert) UnmarshalJSON(b []byte) error {
	s := scanner{b: b, open: true}
	*a = Alert{}
	a.decode(&s)
	a.extra = s.extra
	return s.err
}

// MarshalJSON writes n as the wire has it.
func (n Notice) MarshalJSON() ([]byte, error) {
	var e encoder
	n.encode(&e)
	return e.b, nil
}

// UnmarshalJSON reads n leniently. It does not validate.
func (n *Notice) UnmarshalJSON(b []byte) error {
	s := scanner{b: b, open: true}
	*n = Notice{}
	n.decode(&s)
	return s.err
}

// Format writes nothing of a but its type.
func (a Alert) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Alert{…}") }

// LogValue hides a from logs.
func (a Alert) LogValue() slog.Value { return slog.StringValue("carewire.Alert{…}") }

// Format writes nothing of n but its type.
func (n Notice) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Notice{…}") }

// LogValue hides n from logs.
func (n Notice) LogValue() slog.Value { return slog.StringValue("carewire.Notice{…}") }
