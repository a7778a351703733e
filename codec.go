package carewire

import (
	"fmt"
	"log/slog"
)

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

// decode reads a from s. A strict scanner takes only members that a Raise may
// carry.
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
		case "latch":
			a.NoLatch = !s.bool()
		case "unpausable":
			a.Unpausable = s.bool()
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
			case "to":
				r.To = s.str()
			default:
				return false
			}
			return true
		})
	case "answers":
		s.array(func(int) { a.Answers = append(a.Answers, decodeAnswered(s)) })
	case "sources":
		s.array(func(i int) {
			if i >= sourcesMost {
				s.fail("too many")
				return
			}
			a.Sources = append(a.Sources, decodeAssertion(s))
		})
	case "answer_count":
		a.AnswerCount = int(s.uint())
	case "escalation":
		a.Escalation.decode(s)
	case "about":
		a.About = decodeAbout(s)
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
			x.recipients = s.strings(recipientsMost)
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
		case "addressed":
			x.addressed = s.strings(addressedMost)
		case "early":
			x.early = s.bool()
		case "heard":
			x.everReached = s.bool()
		case "silent":
			x.silent = s.bool()
		case "last":
			x.last = s.bool()
		case "refusers":
			x.refusers = s.strings(64)
		case "held":
			x.held = s.bool()
		case "next":
			x.next = s.time()
		case "trouble":
			x.trouble = s.str()
		case "holder":
			x.holder = decodeHolder(s)
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
			a.Do = AnswerVerb(s.str())
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
		case "source":
			a.Source.decode(s)
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
	a.Responsibility.encode(e)
	if len(a.Answers) > 0 {
		e.name("answers")
		e.b = append(e.b, '[')
		for i := range a.Answers {
			e.comma()
			a.Answers[i].encode(e)
		}
		e.b = append(e.b, ']')
	}
	e.uint("answer_count", uint64(a.AnswerCount))
	a.Escalation.encode(e)
	a.Source.encode(e)
	if len(a.Sources) > 0 {
		e.name("sources")
		e.b = append(e.b, '[')
		for i := range a.Sources {
			e.comma()
			a.Sources[i].encode(e)
		}
		e.b = append(e.b, ']')
	}
	if a.Closed != nil {
		e.object("closed", func() {
			e.person("by", a.Closed.By)
			e.time("at", a.Closed.At)
			e.str("reason", a.Closed.Reason)
		})
	}
	e.bool("test", a.Test)
	if a.NoLatch {
		e.name("latch")
		e.b = append(e.b, "false"...)
	}
	e.bool("unpausable", a.Unpausable)
	a.About.encodeAbout(e)
	extra := a.extra
	if e.b[len(e.b)-1] == '{' && len(extra) > 0 {
		extra = extra[1:]
	}
	e.b = append(append(e.b, extra...), '}')
}

func (r *Responsibility) encode(e *encoder) {
	if r.State != "" {
		e.object("responsibility", func() {
			e.str("state", string(r.State))
			e.person("by", r.By)
			e.time("at", r.At)
			e.time("until", r.Until)
			e.str("to", r.To)
		})
	}
}

func (w *Answered) encode(e *encoder) {
	e.b = append(e.b, '{')
	e.str("do", string(w.Do))
	e.person("by", w.By)
	e.time("at", w.At)
	e.time("until", w.Until)
	e.str("to", w.To)
	e.str("reason", w.Reason)
	w.Source.encode(e, "source")
	e.b = append(e.b, '}')
}

func (x *Escalation) encode(e *encoder) {
	if x.State != "" {
		e.object("escalation", func() {
			e.count("level", uint64(x.Level))
			e.count("step", uint64(x.Step))
			e.str("state", string(x.State))
			e.time("due", x.Due)
			e.strings("told", x.recipients)
			e.time("began", x.began)
			e.float("after_s", x.after)
			e.bool("reached", x.reached)
			e.strings("rejected", x.rejected)
			e.str("assigned", x.assigned)
			e.uint("repeats", uint64(x.repeats))
			e.str("peak", string(x.peak))
			e.strings("addressed", x.addressed)
			e.bool("early", x.early)
			e.bool("heard", x.everReached)
			e.bool("silent", x.silent)
			e.bool("last", x.last)
			e.strings("refusers", x.refusers)
			e.bool("held", x.held)
			e.time("next", x.next)
			e.str("trouble", x.trouble)
			x.holder.encode(e)
		})
	}
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

// MarshalJSON writes a as the wire has it.
func (a Alert) MarshalJSON() ([]byte, error) {
	if v := a.Source.Value; v != "" && v.check() != nil {
		return nil, withinMember("source.value", v.check())
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

// Format writes nothing of a but its type.
func (a Alert) Format(f fmt.State, _ rune) { fmt.Fprint(f, "carewire.Alert{…}") }

// LogValue hides a from logs.
func (a Alert) LogValue() slog.Value { return slog.StringValue("carewire.Alert{…}") }
