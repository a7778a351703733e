package rules

import (
	"fmt"
	"time"

	"github.com/carewire/carewire"
)

// Absent raises an alert when a number has not been measured for a time, while
// others of the same patient came in the second half of that time at least: a
// probe is off. If nothing comes at all, only the Hub's own alert reports it.
// When others come again, the number has a quarter of For, and at least a
// second, to come too. The condition is over with the next usable reading.
type Absent struct {
	About
	Code, System string        // of the number; System "" is LOINC
	For          time.Duration // for how long; required
	Required     bool          // also if it was never measured, from the first other number on
}

func (r Absent) about() *About { return &r.About }

func (r Absent) build(s *Set) (machine, error) {
	if r.Code == "" || r.For < time.Second {
		return nil, fmt.Errorf("for: code and a time of a second or more are required")
	}
	last := &s.rules[len(s.rules)-1]
	if last.Kind == "" {
		last.Kind = carewire.AlertTechnical
	}
	m := &absentMachine{rule: r, code: s.reads(r.System, r.Code)}
	s.needs(2 * r.For)
	s.others = append(s.others, len(s.rules)-1)
	return m, nil
}

type absentMachine struct {
	rule Absent
	code int
	time Timing
}

// absentState is an Absent's state of a patient.
type absentState struct {
	since  millis // the number's last reading, or the first of another number; 0: nothing has come yet
	others bool   // other numbers have come in the second half of the time
	again  millis // if they have not: when they came again
}

func (m *absentMachine) timing() *Timing         { return &m.time }
func (m *absentMachine) levels(a *About) []level { return []level{{a.Priority, a.Text}} }

func (m *absentMachine) state(st *state) *absentState {
	if st.data == nil {
		st.data = new(absentState)
	}
	return st.data.(*absentState)
}

func (m *absentMachine) see(c *Case, st *state, r *reading) {
	*m.state(st) = absentState{since: r.received}
	st.step(&m.time, sample{at: c.at, received: c.at, seq: r.seq})
}

// other notes that another number has come. It reports whether that changes when
// the rule is to be looked at.
func (m *absentMachine) other(c *Case, st *state) bool {
	x := m.state(st)
	switch {
	case x.since == 0:
		if m.rule.Required {
			x.since = c.at
		}
		return m.rule.Required
	case c.at < x.since+span(m.rule.For)/2: // they may all have stopped together
	case c.at < x.since+span(m.rule.For):
		was := x.others
		x.others = true
		return !was
	case !x.others && x.again == 0:
		x.again = c.at
		return true
	}
	return false
}

// at is when the number has been missing for long enough; never: it cannot be
// said, for nothing else comes either. After such a silence the number may come
// a little later than the others.
func (m *absentMachine) at(x *absentState) millis {
	switch {
	case x.since == 0 || !x.others && x.again == 0:
		return never
	case !x.others:
		return x.again + max(span(m.rule.For)/4, 1000)
	}
	return x.since + span(m.rule.For)
}

func (m *absentMachine) due(c *Case, st *state) millis {
	switch at := m.at(m.state(st)); {
	case at == never:
	case st.level == 0:
		return max(at, st.gate.until)
	case st.well[0] != 0: // it stays, for it flaps, and is missing again
		return at
	}
	return never
}

func (m *absentMachine) tick(c *Case, st *state) {
	x := m.state(st)
	at := m.at(x)
	if c.now < at {
		return
	}
	if st.level == 0 {
		st.found = &finding{at: x.since, note: "none for " + ageText((c.now - x.since).duration())}
	}
	st.step(&m.time, sample{level: 1, keep: 1, at: at, received: c.now, seq: c.seq})
}

// retract goes back to the reading before one that is withdrawn.
func (m *absentMachine) retract(c *Case, st *state, gone *reading) {
	if m.state(st).since == gone.received {
		*m.state(st) = absentState{since: m.newest(c, gone.received), others: true}
	}
}

// resume begins with the newest reading of the time when the rule was off.
func (m *absentMachine) resume(c *Case, st *state) { m.state(st).since = m.newest(c, c.now) }

// newest is when the number's newest reading was received. If there is none, a number
// that is required is missing since then.
func (m *absentMachine) newest(c *Case, then millis) (since millis) {
	for i := range c.sensors {
		if s := &c.sensors[i]; s.code == m.code && s.taken {
			since = max(since, s.last.received)
		}
	}
	if since == 0 && m.rule.Required {
		return then
	}
	return since
}

func (m *absentMachine) explain(c *Case, st *state) string {
	return "none for " + short(m.rule.For) + " while others come"
}
