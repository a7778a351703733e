package carewire

import "time"

// SourceInput is a number or a code that a rule used.
type SourceInput struct {
	Code    string        // of the number; required
	System  string        // of Code; "" is LOINC
	Value   Decimal       // as it was measured, rounded by the Hub to 15 digits; "" if it is Coded
	Unit    string        // its UCUM code
	Coded   Coding        // the value, if it is a code
	VitalID string        // the measurement
	Age     time.Duration // how old it was then; at most 366 days
}

// inputsMost is how many Inputs a Source can have.
const inputsMost = 16

const ageMost = 366 * 24 * time.Hour

// check returns the first fault of in.
func (in *SourceInput) check() error {
	switch {
	case !validCode(in.Code):
		return invalid("code", "must be a code")
	case in.System != "" && !validCode(in.System):
		return invalid("system", "must be a code system")
	case in.Value != "" && in.Value.rounded().check() != nil:
		return withinMember("value", in.Value.rounded().check())
	case in.Unit != "" && !validCode(in.Unit):
		return invalid("unit", "must be a UCUM code")
	case in.Coded != (Coding{}) && (!validCode(in.Coded.System) || !validCode(in.Coded.Code)):
		return invalid("coded", "must be a code of a system")
	case in.Value != "" && in.Coded != (Coding{}):
		return invalid("value", "must not stand beside coded")
	case in.VitalID != "" && !validID(in.VitalID):
		return invalid("vital_id", "must be an ID")
	case in.Age < 0 || in.Age > ageMost:
		return invalid("age_s", "must be at most 366 days")
	}
	return nil
}

// decode reads in from s.
func (in *SourceInput) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "code":
			in.Code = s.str()
		case "system":
			in.System = s.str()
		case "value":
			in.Value = s.measured().rounded()
		case "unit":
			in.Unit = s.str()
		case "coded":
			in.Coded = decodeCoding(s)
		case "vital_id":
			in.VitalID = s.str()
		case "age_s":
			in.Age = s.seconds()
		default:
			return false
		}
		return true
	})
}

// encode appends in to e as a JSON object.
func (in *SourceInput) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("code", in.Code)
	e.str("system", in.System)
	e.raw("value", []byte(in.Value))
	e.str("unit", in.Unit)
	if in.Coded != (Coding{}) {
		e.object("coded", func() {
			e.str("system", in.Coded.System)
			e.str("code", in.Coded.Code)
		})
	}
	e.str("vital_id", in.VitalID)
	e.float("age_s", in.Age.Seconds())
	e.b = append(e.b, '}')
}
