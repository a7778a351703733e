package rules

import (
	"fmt"
	"time"

	"github.com/carewire/carewire"
)

// Absent raises an alert when a number has not been measured for a time while
// others of the same patient come: a probe is off. When nothing comes at all, the
// Hub's own alert says so, and this one does not. It is over with the next
// reading that can be used.
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

// absentState is since when a number is missing: its last reading, or the first
// of another number; 0: nothing has come yet.
type absentState struct{ since millis }

func (m *absentMachine) timing() *Timing         { return &m.time }
func (m *absentMachine) levels(a *About) []level { return []level{{a.Priority, a.Text}} }

func (m *absentMachine) state(st *state) *absentState {
	if st.data == nil {
		st.data = new(absentState)
	}
	return st.data.(*absentState)
}

func (m *absentMachine) see(c *Case, st *state, r *reading) {
	m.state(st).since = r.received
	st.step(&m.time, sample{at: c.now, received: c.now, seq: r.seq})
}

// other notes that another number has come. It reports whether that is the first.
func (m *absentMachine) other(c *Case, st *state) bool {
	x := m.state(st)
	if x.since != 0 || !m.rule.Required {
		return false
	}
	x.since = c.now
	return true
}

// due is when the number will have been missing for long enough; while nothing
// else comes either, it is looked at again and again.
func (m *absentMachine) due(c *Case, st *state) millis {
	x := m.state(st)
	if x.since == 0 || st.level > 0 {
		return never
	}
	if at := x.since + span(m.rule.For); at > c.now {
		return at
	}
	return c.now + max(span(m.rule.For)/4, 1000)
}

func (m *absentMachine) tick(c *Case, st *state) {
	x := m.state(st)
	if x.since == 0 || st.level > 0 || c.now < x.since+span(m.rule.For) {
		return
	}
	other := c.otherThan(m.code)
	if other <= x.since || c.now-other > span(m.rule.For) {
		return
	}
	st.found = &finding{at: x.since, note: "none for " + ageText((c.now - x.since).duration())}
	st.step(&m.time, sample{level: 1, keep: 1, at: c.now, received: c.now, seq: c.seq})
}

func (m *absentMachine) explain(c *Case, st *state) string {
	return "none for " + short(m.rule.For) + " while others come"
}
