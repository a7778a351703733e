package carewire

import (
	"strings"
	"time"
)

// SystemPatient is the log of events that concern no single patient: a gateway,
// a node, the Store, an exhausted policy. A principal needs the right to watch
// it, as for a patient.
const SystemPatient = "@system"

// hostSender is the sender of the host's own events.
const hostSender = "@host"

// An Alert is a condition of a patient that needs a person. It keeps two things
// apart: the Condition, which its sources raise and clear, and the Answers of
// people, which decide Responsibility.
//
// Patient and Key identify an Alert. Each raise after its end begins a new
// occurrence, with an ID and escalation levels of its own.
//
// A sender raises a Raise and reads an Alert.
//
// fmt and slog show no content of an Alert. Only its JSON holds the data.
type Alert struct {
	Patient  string // whose, or SystemPatient
	Key      string // names the condition
	ID       string // alert_id: the event ID that opened this occurrence
	Rev      uint64 // counts changes by the source and by people
	Code     string // a code for the condition
	System   string // the code's system
	Text     string // the text for people
	Priority Priority
	Kind     AlertKind
	Test     bool // pages nobody but Options.TestRecipients

	NoLatch    bool // it ends with its condition, even if nobody has accepted; technical and advisory alerts only
	Unpausable bool // a Pause does not hold it back

	Audience Audience
	To       []string // the addressees: person:ID, group:ID, role:NAME, patient
	Source   Source   // why it was raised, as the leading source says
	// Sources are the sources that state that the condition is present, if
	// there are several; set by the Hub. The alert has the highest of their
	// priorities, and the text of the first source with that priority.
	Sources []Assertion

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

	// About is set in an alert of the system's log that reports trouble with
	// another alert, such as that nobody was reached. It names that alert, or
	// the most urgent of several. It is zero if there is none. Clients see it
	// in inboxes and history, if they may watch its patient.
	About AlertRef

	extra []byte // members of a newer version, kept
}

// Priority is the consequence if nobody responds, after IEC 60601-1-8.
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

// AlertKind is the origin of an alert.
type AlertKind string

// The kinds of alerts, after IEC 60601-1-8 and IHE ACM.
const (
	AlertPhysiological AlertKind = "physiological" // from the patient
	AlertTechnical     AlertKind = "technical"     // from a device, the network or carewire itself
	AlertAdvisory      AlertKind = "advisory"      // information
)

// Condition tells whether the cause of an alert is still present.
type Condition string

// The conditions.
const (
	ConditionPresent Condition = "present"
	ConditionOver    Condition = "over"
)

// Person is the author of an action.
type Person struct {
	ID   string
	Name string
	Role Role
}

// Responsibility names the person who is responsible for an alert.
type Responsibility struct {
	State ResponsibilityState
	By    Person    // the person who accepted or rejected
	At    time.Time // when
	Until time.Time // when an acceptance runs out
	To    string    // accepted: the addressee of a pending handover; "": none
}

// ResponsibilityState is derived from the answers.
type ResponsibilityState string

// The states of responsibility.
const (
	ResponsibilityUndefined ResponsibilityState = "undefined"
	ResponsibilityAccepted  ResponsibilityState = "accepted"
	ResponsibilityRejected  ResponsibilityState = "rejected"
)

// AnswerVerb is the verb of an answer.
type AnswerVerb string

// The answers to an alert.
const (
	AnswerAccept  AnswerVerb = "accept"  // take responsibility, for a time
	AnswerReject  AnswerVerb = "reject"  // not me
	AnswerRelease AnswerVerb = "release" // give an acceptance back
	AnswerAssign  AnswerVerb = "assign"  // assign it to somebody else; they are told next
	AnswerClose   AnswerVerb = "close"   // end the alert

	// AnswerHandover offers the person's own acceptance to somebody else. The
	// person stays responsible until the other accepts, but no longer than
	// Options.HandoverWithin. Then the acceptance ends.
	AnswerHandover AnswerVerb = "handover"
)

// Answered is a recorded answer.
type Answered struct {
	Do     AnswerVerb
	By     Person
	At     time.Time
	Until  time.Time // of an acceptance
	To     string    // of an assignment
	Reason string
	Source Recognition // set if a machine recognised the answer, such as from speech
}

// Closing names the person who closed an alert, and the reason.
type Closing struct {
	By     Person
	At     time.Time
	Reason string
}

// Escalation is the progress of escalating an alert. Level counts up during an
// occurrence and never restarts. Step is the step for which the Policy was
// asked.
type Escalation struct {
	Level int
	Step  int
	State EscalationState
	Due   time.Time // when the next thing happens unless somebody accepts

	recipients  []string  // the people told at this level
	addressed   []string  // the people told in this occurrence, at most addressedMost
	began       time.Time // when this level began
	after       float64   // seconds from then until the next
	early       bool      // the next level was brought forward, because this one has reached nobody
	reached     bool      // somebody got word of this level
	everReached bool      // somebody got word since the steps began
	silent      bool      // the level before went to a Pager that has reported nobody as reached
	last        bool      // no step follows this level
	rejected    []string  // persons who rejected at this level
	refusers    []string  // persons who rejected at the level before
	assigned    string    // the next addressee, before the policy's
	repeats     int       // how often the last step was told again, or a step not said, in a row
	held        bool      // a pause holds the next level back
	next        time.Time // while State is off: when the next level is due if the telling goes on
	trouble     string    // why people were not told as they should be
	peak        Priority  // the highest priority since the steps began or it was accepted
	holder      *holder   // while it is accepted: what entitled the person; nil: not known
}

// EscalationState is the state of the present level.
type EscalationState string

// The states. A level is due, then claimed by a node for a limited time, then
// notified or failed. Off means that escalation has stopped, because somebody
// accepted or the condition is over.
const (
	EscalationDue      EscalationState = "due"
	EscalationClaimed  EscalationState = "claimed"
	EscalationNotified EscalationState = "notified"
	EscalationFailed   EscalationState = "failed"
	EscalationOff      EscalationState = "off"
)

// Open reports whether a has not ended.
func (a *Alert) Open() bool { return a.Ended.IsZero() }

// AlertRef names an alert: the occurrence ID of Patient's alert Key. In the
// host's own calls, an empty ID means the open occurrence. A Client must name
// the occurrence.
type AlertRef struct {
	Patient, Key, ID string
	Test             bool // the test alert with that key; an ID of one implies it
}

// Ref returns the reference of a.
func (a *Alert) Ref() AlertRef {
	return AlertRef{Patient: a.Patient, Key: a.Key, ID: a.ID, Test: a.Test}
}

// Answer is a person's answer to an alert.
type Answer struct {
	Do     AnswerVerb
	To     string        // assign: person:ID, group:ID or role:NAME; handover: person:ID or group:ID
	For    time.Duration // accept: how long it holds, at most Options.MaxHold; 0: by priority
	Reason string        // why; required with Force
	Force  bool          // accept: although a colleague has it; close: although the condition is present
	Rev    uint64        // not 0: only if the alert's Rev is still this
	ID     string        // event_id of this answer; "": a new one
	Source Recognition   // how a machine recognised it, such as from speech; zero: no machine did

	offered bool    // the alert is being handed over to the answering person
	holder  *holder // accept: what entitles the person
}

// Notice is a message between clinicians and a patient, or within the team.
//
// fmt and slog show no content of a Notice. Only its JSON holds the data.
type Notice struct {
	Patient   string    // whose log it belongs to; required
	ID        string    // notice_id: the sender's own ID; "": a new one
	From      string    // the principal who sent it; set by the Hub
	To        []string  // person:ID, group:ID, role:NAME, patient; required for the audience named
	Audience  Audience  // zero: named
	Text      string    // required
	Time      time.Time // set by the Hub
	RepliesTo string    // the ID of the Notice this one answers
}

// Receipt confirms that somebody got an alert or a notice.
type Receipt struct {
	Patient  string
	Key      string // of an alert
	AlertID  string // of an alert
	Level    int    // of an alert: the level whose page was received; set by the Hub
	NoticeID string // of a notice
	Stage    Stage
	By       Person    // set by the Hub
	At       time.Time // set by the Hub
}

// Stage is the progress of an alert or a notice towards its reader.
type Stage string

// The stages of a receipt.
const (
	StageDelivered Stage = "delivered" // their device has it
	StagePresented Stage = "presented" // it was shown to them
	StageRead      Stage = "read"      // they have seen it
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
func validPatient(s string) bool { return validID(s) || s == SystemPatient }

// validCode reports whether s is printable ASCII without spaces, at most 64 bytes.
func validCode(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) > 0 && len(s) <= 64
}

func validTime(t time.Time) bool { return t.IsZero() || t.Year() >= 1900 && t.Year() <= 9998 }

const maxText = 4000 // characters of an alert's or notice's text

// checkTo validates a list of addressees.
func checkTo(to []string, max int) error {
	if len(to) > max {
		return invalid("to", "too many")
	}
	for i, t := range to {
		if !validAddressee(t) {
			return invalid(indexedField("to", i), "must be person:ID, group:ID, role:NAME or patient")
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

// Validate returns the first fault of n as a *ValidationError, or nil.
func (n *Notice) Validate() error {
	switch {
	case !validPatient(n.Patient):
		return invalid("patient", "must be an ID")
	case n.ID != "" && !validID(n.ID):
		return invalid("notice_id", "must be an ID")
	case n.RepliesTo != "" && !validID(n.RepliesTo):
		return invalid("replies_to", "must be an ID")
	case blank(n.Text) || !validWriting(n.Text, maxText):
		return invalid("text", "must be printable text of 1 to 4000 characters")
	case n.Audience > AudienceNamed:
		return invalid("audience", "must be staff, all or named")
	case len(n.To) == 0 && (n.Audience == 0 || n.Audience == AudienceNamed):
		return invalid("to", "required for the audience named")
	}
	return checkTo(n.To, 32)
}

// validate returns the first fault of a receipt that a client sends.
func (r *Receipt) validate() error {
	switch {
	case !validPatient(r.Patient):
		return invalid("patient", "must be an ID")
	case r.Stage != StageDelivered && r.Stage != StagePresented && r.Stage != StageRead:
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

// validate returns the first fault of a.
func (a *Answer) validate() error {
	switch {
	case a.ID != "" && !validID(a.ID):
		return invalid("event_id", "must be an ID")
	case a.Do != AnswerAccept && a.Do != AnswerReject && a.Do != AnswerRelease && a.Do != AnswerAssign && a.Do != AnswerClose && a.Do != AnswerHandover:
		return invalid("do", "must be accept, reject, release, assign, close or handover")
	case (a.Do == AnswerAssign || a.Do == AnswerHandover) != (a.To != ""):
		return invalid("to", "goes with assign and handover")
	case a.Do == AnswerHandover && strings.HasPrefix(a.To, "role:"):
		return invalid("to", "must be person:ID or group:ID")
	case a.To != "" && (a.To == "patient" || !validAddressee(a.To)):
		return invalid("to", "must be person:ID, group:ID or role:NAME")
	case a.For < 0 || a.For > 24*time.Hour || a.For > 0 && a.Do != AnswerAccept:
		return invalid("for_s", "goes with accept, at most a day")
	case !validWriting(a.Reason, 1000):
		return invalid("reason", "must be printable text of at most 1000 characters")
	case a.Force && (a.Do != AnswerClose && a.Do != AnswerAccept || blank(a.Reason)):
		return invalid("force", "goes with accept or close, and a reason")
	}
	if err := a.Source.check(); err != nil {
		return withinMember("source", err)
	}
	return nil
}

// Validate returns a *ValidationError unless ref can name an alert.
func (ref *AlertRef) Validate() error {
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
