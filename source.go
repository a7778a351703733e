package carewire

import (
	"fmt"
	"slices"
	"time"
)

// Source explains an alert.
type Source struct {
	By      string  // the principal that raised it; set by the Hub
	Rule    string  // the rule that found it
	Limits  string  // the limits at that time, such as "90-110"
	Value   Decimal // the value that broke them; the Hub rounds it to 15 digits
	Unit    string  // its UCUM code
	VitalID string  // the measurement
	// Inputs are the values that the rule used, at most 16. Of several sources,
	// only the leading one has them.
	Inputs []SourceInput
	// Recognition is set if a machine recognised the alert's cause, such as a
	// call from speech. Zero means that none did.
	Recognition Recognition
	// NextDue is when a score asks for the next measurement, counted from the
	// newest of its Inputs. Zero means that it does not, or that Continuous is
	// set.
	NextDue    time.Time
	Continuous bool // a score asks for continuous measurement
}

// source is by's explanation of in. It shares nothing with in.
func (in *Raise) source(by string) Source {
	s := in.Source
	s.By, s.Inputs, s.NextDue = by, slices.Clone(s.Inputs), s.NextDue.UTC().Truncate(time.Millisecond)
	s.Value, s.Recognition = s.Value.rounded(), s.Recognition.rounded()
	for i := range s.Inputs {
		s.Inputs[i].Value = s.Inputs[i].Value.rounded()
	}
	return s
}

// check returns the first fault of src.
func (src *Source) check() error {
	switch {
	case !validText(src.Rule, 128):
		return invalid("rule", "must be printable text of at most 128 characters")
	case !validText(src.Limits, 128):
		return invalid("limits", "must be printable text of at most 128 characters")
	case src.Unit != "" && !validCode(src.Unit):
		return invalid("unit", "must be a UCUM code")
	case src.VitalID != "" && !validID(src.VitalID):
		return invalid("vital_id", "must be an ID")
	case src.Value != "" && src.Value.rounded().check() != nil:
		return withinMember("value", src.Value.rounded().check())
	case len(src.Inputs) > inputsMost:
		return invalid("inputs", "must be at most 16")
	case !validTime(src.NextDue):
		return invalid("next_due", "out of range")
	case src.Continuous && !src.NextDue.IsZero():
		return invalid("next_due", "must not stand beside continuous")
	}
	for i := range src.Inputs {
		if err := src.Inputs[i].check(); err != nil {
			return withinMember(fmt.Sprintf("inputs[%d]", i), err)
		}
	}
	if err := src.Recognition.check(); err != nil {
		return withinMember("recognition", err)
	}
	return nil
}

func (src *Source) decode(s *scanner) {
	s.object(func(name []byte) bool { return src.member(s, name) })
}

func (src *Source) member(s *scanner, name []byte) bool {
	switch string(name) {
	case "rule":
		src.Rule = s.str()
	case "limits":
		src.Limits = s.str()
	case "value":
		src.Value = s.measured().rounded()
	case "unit":
		src.Unit = s.str()
	case "vital_id":
		src.VitalID = s.str()
	case "inputs":
		s.array(func(i int) {
			if i >= inputsMost {
				s.fail("too many")
				return
			}
			src.Inputs = append(src.Inputs, SourceInput{})
			src.Inputs[i].decode(s)
		})
	case "recognition":
		src.Recognition.decode(s)
	case "next_due":
		src.NextDue = s.time()
	case "continuous":
		src.Continuous = s.bool()
	case "by":
		if !s.open {
			return false
		}
		src.By = s.str()
	default:
		return false
	}
	return true
}

func (src *Source) encode(e *encoder) {
	if src.empty() {
		return
	}
	e.object("source", func() {
		src.members(e)
		if len(src.Inputs) == 0 {
			return
		}
		e.name("inputs")
		e.b = append(e.b, '[')
		for i := range src.Inputs {
			e.comma()
			src.Inputs[i].encode(e)
		}
		e.b = append(e.b, ']')
	})
}

// members writes all but the inputs.
func (src *Source) members(e *encoder) {
	e.str("by", src.By)
	e.str("rule", src.Rule)
	e.str("limits", src.Limits)
	e.raw("value", []byte(src.Value))
	e.str("unit", src.Unit)
	e.str("vital_id", src.VitalID)
	src.Recognition.encode(e, "recognition")
	e.time("next_due", src.NextDue)
	e.bool("continuous", src.Continuous)
}

func (src *Source) empty() bool {
	return src.By == "" && src.Rule == "" && src.Limits == "" && src.Value == "" && src.Unit == "" && src.VitalID == "" && len(src.Inputs) == 0 &&
		src.Recognition == (Recognition{}) && src.NextDue.IsZero() && !src.Continuous
}
