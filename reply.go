package carewire

import "time"

// reply is an ok or error frame as a Client reads it.
type reply struct {
	Req      string
	Err      *RequestError
	Alert    *Alert
	Notice   *Notice
	Results  []result
	Watching []string
	Refused  []Refusal
	More     int
	Events   []Event
	Next     uint64
	Count    int
	Expires  time.Time
}

// result is the result of one vital of a publish.
type result struct {
	Seq      uint64
	Repeated bool
	Err      *RequestError
}

func decodeReply(b []byte, typ string) (*reply, error) {
	s := scanner{b: b, open: true}
	var r reply
	if typ == "error" {
		r.Err = new(RequestError)
	}
	s.object(func(name []byte) bool {
		switch string(name) {
		case "req":
			r.Req = s.str()
		case "alert":
			r.Alert = new(Alert)
			r.Alert.decode(&s)
		case "notice":
			r.Notice = new(Notice)
			r.Notice.decode(&s)
		case "results":
			s.array(func(int) { r.Results = append(r.Results, decodeResult(&s)) })
		case "watching":
			r.Watching = s.strings(20000)
		case "refused":
			s.array(func(int) { r.Refused = append(r.Refused, decodeRefusal(&s)) })
		case "more":
			r.More = int(s.uint())
		case "events":
			s.array(func(int) {
				from := s.i
				s.skip()
				if s.err != nil {
					return
				}
				ev, _, err := decodeEvent(s.b[from:s.i])
				s.err = err
				r.Events = append(r.Events, ev)
			})
		case "next":
			r.Next = s.uint()
		case "count":
			r.Count = int(s.uint())
		case "expires":
			r.Expires = s.time()
		default:
			return r.Err != nil && r.Err.decodeMember(&s, name)
		}
		return true
	})
	s.end()
	if r.Err != nil {
		r.Err.Alert = r.Alert
	}
	return &r, s.err
}

func (f *RequestError) decodeMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "code":
		f.Code = ErrorCode(s.str())
	case "retry":
		f.Retry = Retry(s.str())
	case "retry_ms":
		f.RetryAfter = time.Duration(s.uint()) * time.Millisecond
	case "field":
		f.Field = s.str()
	case "reason":
		f.Reason = s.str()
	default:
		return false
	}
	return true
}

func decodeResult(s *scanner) (r result) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "seq":
			r.Seq = s.uint()
		case "repeated":
			r.Repeated = s.bool()
		case "error":
			r.Err = new(RequestError)
			s.object(func(name []byte) bool { return r.Err.decodeMember(s, name) })
		default:
			return false
		}
		return true
	})
	return r
}

func decodeRefusal(s *scanner) (r Refusal) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "patient":
			r.Patient = s.str()
		case "group":
			r.Group = s.str()
		case "code":
			r.Code = ErrorCode(s.str())
		default:
			return false
		}
		return true
	})
	return r
}
