package rules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// The text of a score: missing inputs, the parts, and the time of the next
// measurement.

// known are the parts that have points.
func (m *scoreMachine) known(x *scoreState) (list []int) {
	for i := range m.rule.Parts {
		if x.points[i] >= 0 {
			list = append(list, i)
		}
	}
	return list
}

// missing says which inputs are not there, or too old.
func (m *scoreMachine) missing(c *Case, st *state) string {
	x := m.state(st)
	if x.unfit != "" {
		return x.unfit
	}
	var list []string
	for i := range m.rule.Parts {
		if x.points[i] >= 0 {
			continue
		}
		what := m.rule.Parts[i].Name + " is missing"
		if k := x.input[i]; k >= 0 {
			what = m.rule.Parts[i].Name + " fits no row"
			if m.scale(c) == "" && slices.ContainsFunc(m.rule.Parts[i].Rows, func(r Row) bool { return r.Scale != "" }) {
				what = m.rule.Parts[i].Name + " has another scale, and it is not said who has prescribed it"
			}
			if old := c.now - c.sensors[k].last.received; old >= span(m.rule.Parts[i].MaxAge) {
				what = fmt.Sprintf("%s is %s old", m.rule.Parts[i].Name, ageText(old.duration()))
			}
		}
		list = append(list, what)
	}
	return strings.Join(list, ", ")
}

// ageText writes an age as people read it: 9 h, 12 min, 40 s.
func ageText(d time.Duration) string {
	switch {
	case d >= 2*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	case d >= 2*time.Minute:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	}
	return fmt.Sprintf("%d s", int(d.Seconds()))
}

// tell lists the parts of a score.
func (m *scoreMachine) tell(c *Case, x *scoreState, level int) string {
	text := fmt.Sprintf("total %d", x.total)
	for i := range m.rule.Parts {
		r := &c.sensors[x.input[i]].last
		value := strings.TrimSpace(r.text.String() + " " + r.unit)
		if value == "" {
			value = "coded"
		}
		text += fmt.Sprintf(", %s %s: %d", m.rule.Parts[i].Name, value, x.points[i])
		if old := c.now - r.received; old >= 60_000 {
			text += " (" + ageText(old.duration()) + " old)"
		}
	}
	if level == 0 {
		return text
	}
	means := m.bands[level-1].Text
	if red := m.rule.Red; red != nil && x.red {
		if level > 1 {
			means += ", " + red.Text
		}
		means += " (" + strings.Join(m.reds(x), ", ") + ")"
	}
	text = strings.TrimPrefix(means+", ", ", ") + text
	switch due, always := m.next(c, x); {
	case always:
		text += ", monitor all the time"
	case !due.IsZero():
		text += ", next measurement by " + due.Format("15:04") + " UTC"
	}
	return text
}

// reds are the names of the parts that make the score red.
func (m *scoreMachine) reds(x *scoreState) (list []string) {
	for i := range m.rule.Parts {
		if int(x.points[i]) >= m.rule.RedAt {
			list = append(list, m.rule.Parts[i].Name)
		}
	}
	return list
}

// within is how soon the score asks for the next measurement; 0: all the time,
// -1: it does not say.
func (m *scoreMachine) within(x *scoreState) time.Duration {
	within := time.Duration(-1)
	for i := range m.rule.Bands {
		if b := &m.rule.Bands[i]; x.total >= b.Min {
			within = b.Within
		}
	}
	if red := m.rule.Red; red != nil && x.red && (within < 0 || red.Within < within) {
		within = red.Within
	}
	return within
}

// source says when the next measurement is due.
func (m *scoreMachine) source(c *Case, st *state, src *carewire.Source) {
	src.NextDue, src.Continuous = m.next(c, m.state(st))
}

// next is when the next measurement is due, of a score that is complete.
func (m *scoreMachine) next(c *Case, x *scoreState) (due time.Time, always bool) {
	if !x.complete {
		return due, false
	}
	within := m.within(x)
	if within > 0 {
		due = c.out(x.newest).Add(within)
	}
	return due, within == 0
}

func (m *scoreMachine) explain(c *Case, st *state) string {
	if s := c.settings.Scales[m.rule.Key]; s.Name != "" {
		return fmt.Sprintf("scale %s, prescribed by %s", s.Name, cmp.Or(s.By, "nobody that is named")) + m.rule.Timing.explain()
	}
	return "chart as published" + m.rule.Timing.explain()
}
