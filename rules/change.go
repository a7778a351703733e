package rules

import (
	"fmt"
	"time"
)

// Direction is the direction of a change.
type Direction string

// The directions.
const (
	Rise Direction = "rise"
	Fall Direction = "fall"
)

// Change raises an alert when a number has risen or fallen by much within a
// time, independent of limits.
type Change struct {
	About
	Timing
	Code, System string // of the number; System "" is LOINC
	Unit         string // UCUM, that By and Margin are in; required
	Direction    Direction
	By           float64       // how much is too much; required
	Within       time.Duration // in which time; required
	Margin       float64       // how much less it must be to count as well; 0: a quarter of By
}

func (r Change) about() *About { return &r.About }

func (r Change) build(s *Set) (machine, error) {
	switch {
	case r.Code == "" || r.Unit == "":
		return nil, fmt.Errorf("code: code and unit are required")
	case r.Direction != Rise && r.Direction != Fall:
		return nil, fmt.Errorf("direction: must be rise or fall")
	case !finite(r.By, r.Margin):
		return nil, fmt.Errorf("by: it and margin must be finite")
	case r.By <= 0 || r.Within < time.Second || r.Margin < 0 || r.Margin > r.By:
		return nil, fmt.Errorf("by: by and within must be positive, and margin between 0 and by")
	}
	if r.Margin == 0 {
		r.Margin = r.By / 4
	}
	s.reads(r.System, r.Code)
	s.needs(r.Within + r.Delay)
	return &changeMachine{rule: r}, nil
}

type changeMachine struct{ rule Change }

func (m *changeMachine) timing() *Timing         { return &m.rule.Timing }
func (m *changeMachine) levels(a *About) []level { return []level{{a.Priority, a.Text}} }

func (m *changeMachine) see(c *Case, st *state, r *reading) {
	v, ok := convert(r.value, r.unit, m.rule.Unit)
	if !ok || r.coded != 0 {
		st.unable(c.now, faultUnit)
		return
	}
	s := seriesOf(st)
	if s.keep = keepLowest; m.rule.Direction == Fall {
		s.keep = keepHighest
	}
	if !s.add(c, r, v, span(m.rule.Within)) {
		return
	}
	st.able(r.received + c.sensors[r.sensor].life())
	low, high := s.extremes()
	by := v - low
	if m.rule.Direction == Fall {
		by = high - v
	}
	x := sample{at: r.at, received: r.received, interval: c.sensors[r.sensor].interval, seq: r.seq}
	if by >= m.rule.By {
		x.level = 1
	}
	if by > m.rule.By-m.rule.Margin || r.doubtful && st.level > 0 {
		x.keep = 1
	}
	st.step(&m.rule.Timing, x)
}

func (m *changeMachine) retract(c *Case, st *state, gone *reading) { seriesOf(st).retract(gone) }
func (m *changeMachine) forget(c *Case, st *state, sensor int)     { seriesOf(st).forget(sensor) }
func (m *changeMachine) tick(c *Case, st *state)                   { st.gate.tick(&m.rule.Timing, c.now) }

func (m *changeMachine) explain(c *Case, st *state) string {
	return fmt.Sprintf("%s of %s %s within %s%s", m.rule.Direction, number(m.rule.By), unitName(m.rule.Unit), short(m.rule.Within), m.rule.Timing.explain())
}

// seriesOf returns the series that a rule keeps of a patient.
func seriesOf(st *state) *series {
	if st.data == nil {
		st.data = new(series)
	}
	return st.data.(*series)
}

// Forecast raises an alert when a line through the last values reaches a limit
// soon. It is a guess: it judges only patients whose Settings switch it on, and
// not while the number is already beyond the limit.
type Forecast struct {
	About
	Timing
	Code, System string
	Unit         string
	Side         Side
	At           float64       // the limit, still normal
	Margin       float64       // how much farther inside the line must end to count as well
	Within       time.Duration // how soon; required
	From         time.Duration // the time that the line is drawn through; 0: as long as Within
}

func (r Forecast) about() *About { return &r.About }

func (r Forecast) build(s *Set) (machine, error) {
	switch {
	case r.Code == "" || r.Unit == "":
		return nil, fmt.Errorf("code: code and unit are required")
	case r.Side != Below && r.Side != Above:
		return nil, fmt.Errorf("side: must be below or above")
	case !finite(r.At, r.Margin):
		return nil, fmt.Errorf("at: it and margin must be finite")
	case r.Within < time.Second || r.From < 0 || r.Margin < 0:
		return nil, fmt.Errorf("within: must be a second or more, and nothing negative")
	}
	if r.From == 0 {
		r.From = r.Within
	}
	s.rules[len(s.rules)-1].Optional = true
	s.reads(r.System, r.Code)
	s.needs(r.From + r.Delay)
	return &forecastMachine{rule: r}, nil
}

type forecastMachine struct{ rule Forecast }

func (m *forecastMachine) timing() *Timing         { return &m.rule.Timing }
func (m *forecastMachine) levels(a *About) []level { return []level{{a.Priority, a.Text}} }

func (m *forecastMachine) see(c *Case, st *state, r *reading) {
	v, ok := convert(r.value, r.unit, m.rule.Unit)
	if !ok || r.coded != 0 {
		st.unable(c.now, faultUnit)
		return
	}
	s := seriesOf(st)
	if !s.add(c, r, v, span(m.rule.From)) {
		return
	}
	st.able(r.received + c.sensors[r.sensor].life())
	x := sample{at: r.at, received: r.received, interval: c.sensors[r.sensor].interval, seq: r.seq}
	if value, slope, ok := s.trend(); ok && 2*s.span() >= span(m.rule.From) {
		ahead, at, now := value+slope*m.rule.Within.Seconds(), m.rule.At, v
		if m.rule.Side == Above {
			ahead, at, now = -ahead, -at, -now
		}
		if now >= at && ahead < at {
			x.level = 1
		}
		if now >= at && ahead < at+m.rule.Margin || x.level == 1 {
			x.keep = 1
		}
	}
	if r.doubtful {
		x.keep = max(x.keep, st.level)
	}
	st.step(&m.rule.Timing, x)
}

func (m *forecastMachine) retract(c *Case, st *state, gone *reading) { seriesOf(st).retract(gone) }
func (m *forecastMachine) forget(c *Case, st *state, sensor int)     { seriesOf(st).forget(sensor) }
func (m *forecastMachine) tick(c *Case, st *state)                   { st.gate.tick(&m.rule.Timing, c.now) }

func (m *forecastMachine) explain(c *Case, st *state) string {
	return fmt.Sprintf("%s %s %s within %s, in a line through %s%s", m.rule.Side, number(m.rule.At), unitName(m.rule.Unit), short(m.rule.Within),
		short(m.rule.From), m.rule.Timing.explain())
}
