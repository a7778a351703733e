package carewire

import (
	"fmt"
	"log/slog"
)

// decodeAlone is decode for one vital among others: it returns the vital's fault,
// and s goes on behind it. Only JSON that is broken stops s.
func (v *Vital) decodeAlone(s *scanner) error {
	start, depth := s.i, s.depth
	if v.decode(s); s.err == nil {
		return nil
	}
	end := endOfValue(s.b[start:])
	if end < 0 {
		return nil
	}
	err := s.err
	s.i, s.depth, s.err = start+end, depth, nil
	*v = Vital{}
	return err
}

// decode reads v from s; received is the server's to set and only an open
// scanner takes it.
func (v *Vital) decode(s *scanner) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			v.Patient = s.str()
		case "code":
			v.Code = s.str()
		case "system":
			v.System = s.str()
		case "value":
			v.Value = s.measured()
		case "unit":
			v.Unit = s.str()
		case "comparator":
			v.Comparator = Comparator(s.str())
		case "coded":
			v.Coded = new(decodeCoding(s))
		case "components":
			s.array(func(int) { v.Components = append(v.Components, decodeComponent(s)) })
		case "absent":
			v.Absent = AbsentReason(s.str())
		case "quality":
			for _, q := range s.strings(16) {
				v.Quality = append(v.Quality, Quality(q))
			}
		case "status":
			v.Status = VitalStatus(s.str())
		case "replaces":
			v.Replaces = s.str()
		case "vital_id":
			v.ID = s.str()
		case "time":
			v.Time = s.time()
		case "device":
			v.Device = s.str()
		case "site":
			v.Site = s.str()
		case "method":
			v.Method = s.str()
		case "every":
			v.Every = s.seconds()
		case "test":
			v.Test = s.bool()
		case "received":
			if !s.open {
				return false
			}
			v.Received = s.time()
		default:
			return false
		}
		return true
	})
}

func decodeCoding(s *scanner) (c Coding) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "system":
			c.System = s.str()
		case "code":
			c.Code = s.str()
		default:
			return false
		}
		return true
	})
	return c
}

func decodeComponent(s *scanner) (c Component) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "code":
			c.Code = s.str()
		case "value":
			c.Value = s.measured()
		case "unit":
			c.Unit = s.str()
		case "absent":
			c.Absent = AbsentReason(s.str())
		default:
			return false
		}
		return true
	})
	return c
}

// encode appends v to e as a JSON object.
func (v *Vital) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("patient", v.Patient)
	e.str("code", v.Code)
	e.str("system", v.System)
	e.raw("value", []byte(v.Value))
	e.str("unit", v.Unit)
	e.str("comparator", string(v.Comparator))
	if v.Coded != nil {
		e.object("coded", func() {
			e.str("system", v.Coded.System)
			e.str("code", v.Coded.Code)
		})
	}
	if len(v.Components) > 0 {
		e.name("components")
		e.b = append(e.b, '[')
		for _, c := range v.Components {
			e.comma()
			e.b = append(e.b, '{')
			e.str("code", c.Code)
			e.raw("value", []byte(c.Value))
			e.str("unit", c.Unit)
			e.str("absent", string(c.Absent))
			e.b = append(e.b, '}')
		}
		e.b = append(e.b, ']')
	}
	e.str("absent", string(v.Absent))
	if len(v.Quality) > 0 {
		e.name("quality")
		e.b = append(e.b, '[')
		for _, q := range v.Quality {
			e.comma()
			e.b = appendString(e.b, string(q))
		}
		e.b = append(e.b, ']')
	}
	e.str("status", string(v.Status))
	e.str("replaces", v.Replaces)
	e.str("vital_id", v.ID)
	e.time("time", v.Time)
	e.time("received", v.Received)
	e.str("device", v.Device)
	e.str("site", v.Site)
	e.str("method", v.Method)
	e.float("every", v.Every.Seconds())
	e.bool("test", v.Test)
	e.b = append(e.b, '}')
}

// MarshalJSON writes v as the wire has it, with all digits of its values: the Hub
// rounds those that have more than 15. The error says which value is no number
// that the Hub takes.
func (v Vital) MarshalJSON() ([]byte, error) {
	if v.Value != "" {
		if err := v.Value.rounded().check(); err != nil {
			return nil, withinMember("value", err)
		}
	}
	for i, c := range v.Components {
		if c.Absent != "" && c.Value == "" {
			continue
		}
		if err := c.Value.rounded().check(); err != nil {
			return nil, withinMember(indexedField("components", i), withinMember("value", err))
		}
	}
	var e encoder
	v.encode(&e)
	return e.b, nil
}

// UnmarshalJSON reads v leniently: members it does not know are ignored. It
// does not validate.
func (v *Vital) UnmarshalJSON(b []byte) error {
	s := scanner{b: b, open: true}
	*v = Vital{}
	v.decode(&s)
	return s.err
}

// Format writes nothing of v but its type.
func (v Vital) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Vital{…}") }

// LogValue hides v from logs.
func (v Vital) LogValue() slog.Value { return slog.StringValue("carewire.Vital{…}") }

// Format writes nothing of c but its type.
func (c Component) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Component{…}") }
