package rules

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// Side is the side of a limit on which values raise an alert.
type Side string

// The sides.
const (
	Below Side = "below"
	Above Side = "above"
)

// Sensors selects the sensors of a number that count, such as those of a finger
// and an ear. A sensor counts until it has missed three readings. One site is
// selected by "site:ear".
type Sensors string

// The choices.
const (
	SensorsAny    Sensors = "any"    // one that is out is enough; all must be well again. The default
	SensorsAll    Sensors = "all"    // all must be out; one that is well is enough
	SensorsNewest Sensors = "newest" // whichever measured last
)

// Limit raises an alert when a number is beyond a limit.
type Limit struct {
	About
	Timing
	// Code of the number, alone or as a component; required.
	Code string
	// System of the code; "" is LOINC.
	System string
	// Unit is the UCUM code in which At and Margin are given; readings in
	// another unit of the same kind are converted.
	Unit string
	// Side that is out; required.
	Side Side
	// At is the last value that is not out.
	At float64
	// Margin is by how much a value must be back inside to count as well; 0: by
	// nothing, and the alert flaps.
	Margin float64
	// Severe, if set, is a limit farther out, at which the same alert has
	// another priority.
	Severe *Severe
	// Sensors that count; "" is SensorsAny.
	Sensors Sensors
}

// Severe is the second limit of a Limit.
type Severe struct {
	At       float64
	Priority carewire.Priority // "" is high
	Text     string            // "": as at the first limit
}

func (r Limit) about() *About { return &r.About }

func (r Limit) build(s *Set) (machine, error) {
	switch {
	case r.Code == "":
		return nil, fmt.Errorf("code: required")
	case r.Unit == "":
		return nil, fmt.Errorf("unit: required")
	case r.Side != Below && r.Side != Above:
		return nil, fmt.Errorf("side: must be below or above")
	case !finite(r.At, r.Margin) || r.Severe != nil && !finite(r.Severe.At):
		return nil, fmt.Errorf("at: it and all other numbers must be finite")
	case r.Margin < 0:
		return nil, fmt.Errorf("margin: must not be negative")
	case r.Severe != nil && (r.Side == Below) == (r.Severe.At >= r.At):
		return nil, fmt.Errorf("severe: must be farther out than at")
	}
	if r.Sensors == "" {
		r.Sensors = SensorsAny
	}
	site, named := strings.CutPrefix(string(r.Sensors), "site:")
	if !named {
		site = ""
	}
	if !named && r.Sensors != SensorsAny && r.Sensors != SensorsAll && r.Sensors != SensorsNewest {
		return nil, fmt.Errorf("sensors: must be any, all, newest or site:NAME")
	}
	m := &limitMachine{rule: r, site: site, code: s.reads(r.System, r.Code), index: len(s.rules) - 1}
	return m, nil
}

type limitMachine struct {
	rule  Limit
	site  string
	code  int
	index int
}

func (m *limitMachine) timing() *Timing { return &m.rule.Timing }

func (m *limitMachine) levels(a *About) []level {
	list := []level{{a.Priority, a.Text}}
	if s := m.rule.Severe; s != nil {
		l := level{s.Priority, s.Text}
		if l.priority == "" {
			l.priority = carewire.PriorityHigh
		}
		if l.text == "" {
			l.text = a.Text
		}
		list = append(list, l)
	}
	return list
}

// bounds are a Limit's numbers as they are for one patient.
type bounds struct {
	at, margin, severe float64
	twice              bool // severe counts
}

func (m *limitMachine) bounds(c *Case) bounds {
	b := bounds{at: m.rule.At, margin: m.rule.Margin}
	if m.rule.Severe != nil {
		b.severe, b.twice = m.rule.Severe.At, true
	}
	if own := c.limits[m.index]; own != nil {
		own.apply(&b)
	}
	return b
}

// rate says beyond which level a value is, and which it is not well under.
func (m *limitMachine) rate(b *bounds, v float64) (level, keep int8) {
	at, severe := b.at, b.severe
	if m.rule.Side == Above { // turned over: a value below is out
		v, at, severe = -v, -at, -severe
	}
	if v < at {
		level = 1
	}
	if v < at+b.margin || level == 1 {
		keep = 1
	}
	if b.twice && v < severe {
		level = 2
	}
	if b.twice && (v < severe+b.margin || level == 2) {
		keep = 2
	}
	return level, keep
}

func (m *limitMachine) see(c *Case, st *state, r *reading) {
	s, ok := m.sample(c, st, r)
	if !ok {
		return
	}
	st.step(&m.rule.Timing, s)
	st.able(r.received + c.sensors[r.sensor].life())
}

// newest returns the newest reading that stands for now; ok is false if there is none.
func (m *limitMachine) newest(c *Case) (r reading, ok bool) {
	for i := range c.sensors {
		s := &c.sensors[i]
		if s.code == m.code && s.taken && (m.site == "" || s.site == m.site) && c.now-s.last.received <= s.life() && s.last.seq > r.seq {
			r, ok = s.last, true
		}
	}
	return r, ok
}

// resume judges the newest reading of the time when the rule was off.
func (m *limitMachine) resume(c *Case, st *state) {
	if r, ok := m.newest(c); ok {
		st.found = findingOf(&r)
		r.seq = c.seq // it may have raised an alert before
		m.see(c, st, &r)
	}
}

// out reports whether the sensors do not show that all is well.
func (m *limitMachine) out(c *Case, st *state) bool {
	r, ok := m.newest(c)
	if !ok {
		return false
	}
	s, ok := m.sample(c, st, &r)
	return ok && s.keep > 0
}

// sample returns the verdict of all sensors together, now that r has come.
func (m *limitMachine) sample(c *Case, st *state, r *reading) (s sample, ok bool) {
	if m.site != "" && c.sensors[r.sensor].site != m.site {
		return s, false
	}
	v, ok := convert(r.value, r.unit, m.rule.Unit)
	if !ok || r.coded != 0 {
		st.unable(c.now, faultUnit)
		return s, false
	}
	b := m.bounds(c)
	rate := func(v float64, r *reading) (level, keep int8) {
		level, keep = m.rate(&b, v)
		if r.doubtful { // it may show that something is wrong, not that all is well
			keep = max(keep, st.level)
		}
		return level, keep
	}
	level, keep := rate(v, r)
	if m.rule.Sensors == SensorsAny || m.rule.Sensors == SensorsAll {
		for i := range c.sensors {
			other := &c.sensors[i]
			if int32(i) == r.sensor || other.code != m.code || !other.taken || c.now-other.last.received > other.life() {
				continue
			}
			v, ok := convert(other.last.value, other.last.unit, m.rule.Unit)
			if !ok {
				continue
			}
			l, k := rate(v, &other.last)
			if m.rule.Sensors == SensorsAny {
				level, keep = max(level, l), max(keep, k)
			} else {
				level, keep = min(level, l), min(keep, k)
			}
		}
	}
	return sample{level: level, keep: keep, at: r.at, received: r.received, interval: c.sensors[r.sensor].interval, seq: r.seq}, true
}

func (m *limitMachine) tick(c *Case, st *state) { st.tick(&m.rule.Timing, c.now) }

func (m *limitMachine) explain(c *Case, st *state) string {
	b := m.bounds(c)
	sign := "≥"
	inside := b.at + b.margin
	if m.rule.Side == Above {
		sign, inside = "≤", b.at-b.margin
	}
	text := fmt.Sprintf("%s %s %s", sign, number(b.at), unitName(m.rule.Unit))
	if b.twice {
		text += fmt.Sprintf(", severe %s", number(b.severe))
	}
	if b.margin != 0 {
		text += fmt.Sprintf(", well at %s", number(inside))
	}
	return text + m.rule.Timing.explain()
}

// explain says how long it must last.
func (t *Timing) explain() string {
	text := ""
	switch {
	case t.Readings > 0:
		text = fmt.Sprintf(", %d readings", t.Readings)
	case t.Delay > 0:
		text = ", for " + short(t.Delay)
	}
	if t.Clear > 0 {
		text += ", clear after " + short(t.Clear)
	}
	return text
}

// number writes a limit as people read it.
func number(f float64) string { return strconv.FormatFloat(f, 'g', 6, 64) }

// unitName writes a UCUM unit as people read it.
func unitName(unit string) string {
	switch unit {
	case "mm[Hg]":
		return "mmHg"
	case "Cel":
		return "°C"
	case "[degF]":
		return "°F"
	case "[lb_av]":
		return "lb"
	case "[in_i]":
		return "in"
	}
	return unit
}

// short writes a duration without units that are zero.
func short(d time.Duration) string {
	s := d.Round(time.Second).String()
	if d < 10*time.Second {
		s = d.Round(100 * time.Millisecond).String()
	}
	s = strings.TrimSuffix(s, "m0s") + map[bool]string{true: "m"}[strings.HasSuffix(s, "m0s")]
	return strings.TrimSuffix(s, "h0m") + map[bool]string{true: "h"}[strings.HasSuffix(s, "h0m")]
}
