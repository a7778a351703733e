package rules

import (
	"cmp"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// inputsMost is how many inputs an alert can tell.
const inputsMost = 16

// inputsOf returns the readings that rule i has looked at, as they stand now, the
// newest first.
func (c *Case) inputsOf(i int) []carewire.SourceInput {
	r, st := &c.set.rules[i], &c.states[i]
	var list []carewire.SourceInput
	if m, ok := r.machine.(interface {
		inputs(*Case, *state) []carewire.SourceInput
	}); ok {
		list = m.inputs(c, st)
	} else {
		for k := range c.sensors { // the newest of each sensor
			if s := &c.sensors[k]; s.taken && slices.Contains(r.codes, s.code) {
				list = append(list, c.input(&s.last))
			}
		}
	}
	slices.SortStableFunc(list, func(a, b carewire.SourceInput) int { return cmp.Compare(a.Age, b.Age) })
	return list[:min(len(list), inputsMost)]
}

// input describes a reading.
func (c *Case) input(r *reading) carewire.SourceInput {
	in := c.inputAt(r.code, r.id, r.at)
	if r.coded == 0 {
		in.Value, in.Unit = carewire.Decimal(r.text.String()), r.unit
		return in
	}
	for k, n := range c.set.coded {
		if n == r.coded {
			in.Coded = carewire.Coding{System: k.system, Code: k.code}
		}
	}
	return in
}

// inputAt describes a measurement without its value.
func (c *Case) inputAt(code int, id small, at millis) carewire.SourceInput {
	k := c.set.names[code]
	age := min(max((c.now-at).duration(), 0), 366*24*time.Hour)
	return carewire.SourceInput{Code: k.code, System: k.system, VitalID: id.String(), Age: age}
}

// inputs of a Limit are the newest readings of the sensors that count.
func (m *limitMachine) inputs(c *Case, st *state) (list []carewire.SourceInput) {
	var newest *reading
	for i := range c.sensors {
		s := &c.sensors[i]
		if s.code != m.code || !s.taken || m.site != "" && s.site != m.site {
			continue
		}
		if newest == nil || s.last.seq > newest.seq {
			newest = &s.last
		}
		if m.rule.Sensors == SensorsAny || m.rule.Sensors == SensorsAll {
			if c.now-s.last.received <= s.life() {
				list = append(list, c.input(&s.last))
			}
		}
	}
	if len(list) == 0 && newest != nil {
		list = append(list, c.input(newest))
	}
	return list
}

// inputs of a Change are where the number is, and where it has come from.
func (m *changeMachine) inputs(c *Case, st *state) []carewire.SourceInput {
	return seriesOf(st).inputs(c, m.rule.Unit, func(a, b *step) bool {
		if m.rule.Direction == Rise {
			return b.min < a.min
		}
		return b.max > a.max
	})
}

// inputs of a Forecast are the ends of its line.
func (m *forecastMachine) inputs(c *Case, st *state) []carewire.SourceInput {
	return seriesOf(st).inputs(c, m.rule.Unit, func(_, _ *step) bool { return false })
}

// inputs are the newest reading and the one that the best step keeps; better
// reports whether b is better than a, the older one.
func (s *series) inputs(c *Case, unit string, better func(a, b *step) bool) []carewire.SourceInput {
	if s.count == 0 {
		return nil
	}
	newest := &c.sensors[s.sensor].last
	best := s.at(0)
	for k := 1; k < s.count; k++ {
		if better(best, s.at(k)) {
			best = s.at(k)
		}
	}
	list := []carewire.SourceInput{c.input(newest)}
	if best.id != newest.id || best.idAt != newest.at {
		in := c.inputAt(newest.code, best.id, best.idAt)
		in.Value, in.Unit = carewire.DecimalOf(best.kept), unit
		list = append(list, in)
	}
	return list
}

// inputs of a Score are those of its parts.
func (m *scoreMachine) inputs(c *Case, st *state) (list []carewire.SourceInput) {
	for _, k := range m.state(st).input[:len(m.rule.Parts)] {
		if k >= 0 {
			list = append(list, c.input(&c.sensors[k].last))
		}
	}
	return list
}

// inputs of a Func are the newest of each sensor, with the codes that only the
// model knows.
func (m *funcMachine) inputs(c *Case, st *state) (list []carewire.SourceInput) {
	x := m.state(st)
	for i := range c.sensors {
		s := &c.sensors[i]
		if !s.taken || !slices.Contains(m.codes, s.code) {
			continue
		}
		in := c.input(&s.last)
		for k := range x.vitals { // the newest with that ID, if they have one
			if v := &x.vitals[k]; in.Value == "" && v.Coded != nil && v.ID == in.VitalID && keyOf(v.System, v.Code) == c.set.names[s.code] {
				in.Coded = *v.Coded
			}
		}
		list = append(list, in)
	}
	return list
}

// inputs of a Combination are those of the rules that are present.
func (m *combinationMachine) inputs(c *Case, st *state) (list []carewire.SourceInput) {
	for _, i := range m.parts {
		if c.states[i].level == 0 {
			continue
		}
		for _, in := range c.inputsOf(i) {
			if !slices.Contains(list, in) {
				list = append(list, in)
			}
		}
	}
	return list
}
