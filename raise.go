package carewire

import (
	"fmt"
	"log/slog"
	"slices"
	"time"
)

// A Raise states that a condition of a patient is present. It opens an alert,
// or updates its sender's part of the open alert with the same Patient and Key.
// The result is an Alert.
//
// fmt and slog show no content of a Raise. Only its JSON holds the data.
type Raise struct {
	Patient  string    // whose, or SystemPatient; required
	Key      string    // names the condition; "": the ID
	ID       string    // event ID of this very raise; "": a new one. If it opens an occurrence, it is Alert.ID
	Code     string    // a code for the condition
	System   string    // the code's system
	Text     string    // the text for people; required
	Priority Priority  // required
	Kind     AlertKind // "" is physiological
	Test     bool      // pages nobody but Options.TestRecipients

	NoLatch    bool // the alert ends with its condition, even if nobody has accepted; technical and advisory alerts only
	Unpausable bool // a Pause does not hold it back

	Audience Audience  // zero: staff
	To       []string  // the addressees: person:ID, group:ID, role:NAME, patient
	Source   Source    // why it is raised; By is set by the Hub
	Onset    time.Time // when the condition began; zero, or in the future: now

	about AlertRef // of a complaint
}

// Validate returns the first fault of r as a *ValidationError, or nil.
func (r *Raise) Validate() error {
	switch {
	case !validPatient(r.Patient):
		return invalid("patient", "must be an ID")
	case r.Key != "" && !validID(r.Key):
		return invalid("key", "must be an ID")
	case r.ID != "" && !validID(r.ID):
		return invalid("event_id", "must be an ID")
	case r.Code != "" && !validCode(r.Code):
		return invalid("code", "must be a code")
	case r.System != "" && !validCode(r.System):
		return invalid("system", "must be a code system")
	case blank(r.Text) || !validWriting(r.Text, maxText):
		return invalid("text", "must be printable text of 1 to 4000 characters")
	case r.Priority.rank() == 0:
		return invalid("priority", "must be high, medium, low or info")
	case r.Kind != "" && r.Kind != AlertPhysiological && r.Kind != AlertTechnical && r.Kind != AlertAdvisory:
		return invalid("kind", "must be physiological, technical or advisory")
	case r.NoLatch && r.Kind != AlertTechnical && r.Kind != AlertAdvisory:
		return invalid("latch", "must be true for physiological alerts")
	case r.Audience > AudienceNamed:
		return invalid("audience", "must be staff, all or named")
	case !validTime(r.Onset):
		return invalid("onset", "out of range")
	}
	if err := r.Source.check(); err != nil {
		return withinMember("source", err)
	}
	return checkTo(r.To, 32)
}

// Again returns a Raise that repeats a, as its leading source stated it, under
// a new event ID. Use it to change a part of it, or to state that the condition
// is still present. If the condition is over, it begins anew.
func (a *Alert) Again() Raise {
	r := a.asRaise()
	r.ID, r.Source.By, r.Source.Inputs = "", "", slices.Clone(r.Source.Inputs)
	if a.Condition == ConditionOver || !a.Open() {
		r.Onset = time.Time{}
	}
	return r
}

// asRaise returns the part of a that a Raise carries.
func (a *Alert) asRaise() Raise {
	return Raise{Patient: a.Patient, Key: a.Key, ID: a.ID, Code: a.Code, System: a.System, Text: a.Text, Priority: a.Priority, Kind: a.Kind, Test: a.Test,
		NoLatch: a.NoLatch, Unpausable: a.Unpausable, Audience: a.Audience, To: slices.Clone(a.To), Source: a.Source, Onset: a.Onset}
}

// alert returns the alert that r states, without the members that the Hub sets.
func (r *Raise) alert() Alert {
	a := Alert{Patient: r.Patient, Key: r.Key, ID: r.ID, Code: r.Code, System: r.System, Text: r.Text, Priority: r.Priority, Kind: r.Kind, Test: r.Test,
		NoLatch: r.NoLatch, Unpausable: r.Unpausable, Audience: r.Audience, To: slices.Clone(r.To), Source: r.Source, Onset: r.Onset, About: r.about}
	a.Source.By = ""
	return a
}

// decode reads r from s. A strict scanner accepts only the members of a raise.
func (r *Raise) decode(s *scanner) {
	var a Alert
	a.decode(s)
	*r = a.asRaise()
}

func (r *Raise) encode(e *encoder) {
	a := r.alert()
	a.encode(e)
}

// MarshalJSON writes r as the wire has the alert that it would open.
func (r Raise) MarshalJSON() ([]byte, error) { return r.alert().MarshalJSON() }

// UnmarshalJSON reads r leniently, from the JSON of an Alert too. It does not
// validate.
func (r *Raise) UnmarshalJSON(b []byte) error {
	s := scanner{b: b, open: true}
	r.decode(&s)
	return s.err
}

// Format writes nothing of r but its type.
func (r Raise) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Raise{…}") }

// LogValue hides r from logs.
func (r Raise) LogValue() slog.Value { return slog.StringValue("carewire.Raise{…}") }
