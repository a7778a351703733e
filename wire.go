package carewire

import (
	"errors"
)

// Protocol is the WebSocket subprotocol that carewire speaks.
const Protocol = "carewire.v1"

// requestType is the type of a request frame.
type requestType string

const (
	reqWatch    requestType = "watch"
	reqUnwatch  requestType = "unwatch"
	reqPublish  requestType = "publish"
	reqRaise    requestType = "raise"
	reqClear    requestType = "clear"
	reqAnswer   requestType = "answer"
	reqReceipt  requestType = "receipt"
	reqNotify   requestType = "notify"
	reqHistory  requestType = "history"
	reqToken    requestType = "token"
	reqTicket   requestType = "ticket"
	reqHandover requestType = "handover"
	reqPause    requestType = "pause"
	reqUnpause  requestType = "unpause"
	reqWave     requestType = "wave"
)

// Delivery selects the vitals that a watcher is owed while it is slow or away.
// Alerts, notices, receipts and access events are owed in all of them.
type Delivery string

// The modes of delivery.
const (
	DeliverLatest Delivery = "latest" // of vitals the newest of each key; the default
	DeliverEvery  Delivery = "every"  // every vital
	DeliverAlerts Delivery = "alerts" // no vitals
)

// request is one frame that a client sent. Which members are set depends on Type.
type request struct {
	Type requestType
	Req  string

	Patients  []string            // watch, unwatch
	Groups    []string            // watch, unwatch
	Since     map[string]Position // watch
	Delivery  Delivery            // watch
	Waves     []string            // watch, unwatch: codes of signals
	Emergency bool                // watch
	Reason    string              // watch

	Vitals  []Vital       // publish
	Unread  map[int]error // publish: why some of the vitals cannot be read, by place
	Raise   Raise         // its ID is event_id
	Chunks  []Wave        // wave
	Ref     AlertRef
	EventID string // clear
	Answer  Answer
	Receipt Receipt
	Notice  Notice
	Token   string
	Pause   Pause // pause, unpause
	History HistoryQuery
}

// peekType returns the type of a frame; "" if it has none.
func peekType(b []byte) string {
	s := scanner{b: b, open: true}
	return s.peekType()
}

// peekType returns the type of the frame that s is about to read.
func (s *scanner) peekType() string {
	p := scanner{b: s.b, open: true, borrow: s.borrow}
	typ := ""
	if p.take('{') && p.next() == '"' {
		if string(p.name()) == "type" && p.take(':') && p.next() == '"' {
			return p.str()
		}
	}
	p = scanner{b: s.b, open: true, borrow: s.borrow}
	p.members(func(name []byte) bool {
		if string(name) == "type" && p.next() == '"' && p.depth == 1 {
			typ = p.str()
		} else {
			p.skip()
		}
		return true
	})
	return typ
}

// decodeRequest reads a frame from a stranger. maxVitals bounds a publish. With
// an error, r holds at least the Type and Req that were read.
func decodeRequest(b []byte, maxVitals int) (r *request, err error) {
	r = &request{Type: requestType(peekType(b))}
	s := scanner{b: b}
	member, known := r.members(&s, maxVitals)
	read := s.object
	if !known {
		read = s.members // its names are nobody's but the stranger's
	}
	read(func(name []byte) bool {
		switch string(name) {
		case "type":
			s.str()
		case "req":
			if r.Req = s.str(); r.Req == "" || len(r.Req) > 64 || !validText(r.Req, 64) {
				r.Req = ""
				s.fail("must be printable text of 1 to 64 bytes")
			}
		default:
			if !known {
				s.skip()
				return true
			}
			return member(name)
		}
		return true
	})
	s.end()
	if s.err != nil {
		return r, s.err
	}
	if r.Req == "" && r.Type != reqWave {
		return r, invalid("req", "required")
	}
	if !known {
		return r, errUnknownType
	}
	return r, r.check()
}

var errUnknownType = errors.New("carewire: unknown request type")

// members returns the reader of the members of a request of r's type.
func (r *request) members(s *scanner, maxVitals int) (read func(name []byte) bool, known bool) {
	switch r.Type {
	case reqWatch, reqUnwatch:
		return func(name []byte) bool { return r.watchMember(s, name) }, true
	case reqPublish:
		return func(name []byte) bool { return string(name) == "vitals" && r.readVitals(s, maxVitals) }, true
	case reqRaise:
		return func(name []byte) bool { return r.raiseMember(s, name) }, true
	case reqClear, reqAnswer:
		return func(name []byte) bool {
			return r.refMember(s, name) || r.Type == reqAnswer && r.answerMember(s, name)
		}, true
	case reqReceipt:
		return func(name []byte) bool { return r.Receipt.refMember(s, name) }, true
	case reqNotify:
		return func(name []byte) bool { return string(name) == "notice" && r.readNotice(s) }, true
	case reqHistory:
		return func(name []byte) bool { return r.History.member(s, name) }, true
	case reqToken:
		return func(name []byte) bool { return string(name) == "token" && r.readToken(s) }, true
	case reqHandover:
		return func(name []byte) bool { return r.handoverMember(s, name) }, true
	case reqPause, reqUnpause:
		return func(name []byte) bool { return r.pauseMember(s, name) }, true
	case reqTicket:
		return func([]byte) bool { return false }, true
	case reqWave:
		return func(name []byte) bool { return string(name) == "waves" && r.readChunks(s) }, true
	}
	return nil, false
}

func (r *request) readVitals(s *scanner, most int) bool {
	s.array(func(i int) {
		if i >= most {
			s.fail("too many")
			return
		}
		r.Vitals = append(r.Vitals, Vital{})
		if err := r.Vitals[i].decodeAlone(s); err != nil {
			if r.Unread == nil {
				r.Unread = make(map[int]error)
			}
			r.Unread[i] = err
		}
	})
	return true
}

func (r *request) readChunks(s *scanner) bool {
	s.array(func(i int) {
		if i >= chunksMost {
			s.fail("too many")
			return
		}
		r.Chunks = append(r.Chunks, Wave{})
		r.Chunks[i].decode(s)
	})
	return true
}

func (r *request) readNotice(s *scanner) bool {
	r.Notice.decode(s)
	return true
}

func (r *request) readToken(s *scanner) bool {
	r.Token = s.str()
	return true
}

func (r *request) raiseMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "alert":
		r.Raise.decode(s)
	case "event_id":
		r.EventID = s.str()
	default:
		return false
	}
	return true
}

func (r *request) handoverMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "event_id":
		r.EventID = s.str()
	case "to":
		r.Answer.To = s.str()
	case "reason":
		r.Answer.Reason = s.str()
	default:
		return false
	}
	return true
}

// refMember reads a member of a receipt that a client sends.
func (c *Receipt) refMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "patient":
		c.Patient = s.str()
	case "key":
		c.Key = s.str()
	case "alert_id":
		c.AlertID = s.str()
	case "notice_id":
		c.NoticeID = s.str()
	case "stage":
		c.Stage = Stage(s.str())
	default:
		return false
	}
	return true
}

func (r *request) watchMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "patients":
		r.Patients = s.strings(10000)
	case "groups":
		r.Groups = s.strings(1000)
	case "waves":
		if r.Waves = s.strings(signalsWanted); len(r.Waves) == 0 {
			s.fail("must not be empty")
		}
	default:
		return r.Type == reqWatch && r.watchOnlyMember(s, name)
	}
	return true
}

func (r *request) watchOnlyMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "since":
		r.Since = make(map[string]Position)
		s.members(func(patient []byte) bool {
			p := string(patient)
			r.Since[p] = decodePosition(s)
			return true
		})
	case "delivery":
		r.Delivery = Delivery(s.str())
	case "emergency":
		r.Emergency = s.bool()
	case "reason":
		r.Reason = s.str()
	default:
		return false
	}
	return true
}

func decodePosition(s *scanner) (p Position) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "epoch":
			p.Epoch = s.str()
		case "seq":
			p.Seq = s.uint()
		default:
			return false
		}
		return true
	})
	return p
}

func (r *request) refMember(s *scanner, name []byte) bool {
	switch string(name) {
	case "patient":
		r.Ref.Patient = s.str()
	case "key":
		r.Ref.Key = s.str()
	case "alert_id":
		r.Ref.ID = s.str()
	case "event_id":
		r.EventID = s.str()
	default:
		return false
	}
	return true
}

func (r *request) answerMember(s *scanner, name []byte) bool {
	a := &r.Answer
	switch string(name) {
	case "do":
		a.Do = AnswerVerb(s.str())
	case "to":
		a.To = s.str()
	case "for_s":
		a.For = s.seconds()
	case "reason":
		a.Reason = s.str()
	case "source":
		a.Source.decode(s)
	case "force":
		a.Force = s.bool()
	case "rev":
		a.Rev = s.uint()
	default:
		return false
	}
	return true
}

func (r *request) pauseMember(s *scanner, name []byte) bool {
	p := &r.Pause
	switch string(name) {
	case "patient":
		p.Patient = s.str()
		return true
	case "for_s":
		p.For = s.seconds()
	case "reason":
		p.Reason = s.str()
	case "silence":
		p.Silence = s.bool()
	default:
		return false
	}
	return r.Type == reqPause
}

func (q *HistoryQuery) member(s *scanner, name []byte) bool {
	switch string(name) {
	case "patient":
		q.Patient = s.str()
	case "kinds":
		for i, k := range s.strings(8) {
			kind := kindNamed(k)
			if kind == 0 {
				s.err = invalid(indexedField("", i), "unknown")
				return true
			}
			q.Kinds = append(q.Kinds, kind)
		}
	case "key":
		q.Key = s.str()
	case "from":
		q.From = s.time()
	case "to":
		q.To = s.time()
	case "cursor":
		q.Cursor = s.uint()
	case "limit":
		q.Limit = int(min(s.uint(), 1<<20))
	default:
		return false
	}
	return true
}

func kindNamed(name string) Kind {
	for k := KindVital; k <= KindStrip; k++ {
		if name != "" && kindName(k) == name {
			return k
		}
	}
	return 0
}
