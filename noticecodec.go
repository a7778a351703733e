package carewire

import (
	"fmt"
	"log/slog"
)

// decode reads n from s. A strict scanner takes only members that a notify may
// carry.
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

// Format writes nothing of n but its type.
func (n Notice) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Notice{…}") }

// LogValue hides n from logs.
func (n Notice) LogValue() slog.Value { return slog.StringValue("carewire.Notice{…}") }
