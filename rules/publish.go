package rules

import (
	"cmp"
	"fmt"

	"github.com/carewire/carewire"
)

// Published is a Transition that publishes vitals: a score and its points.
const Published TransitionKind = "published"

// ownDevice is the prefix of the device in the rules' own vitals.
const ownDevice = "rules."

// news reports whether there is something that was not published yet.
func (m *scoreMachine) news(c *Case, x *scoreState) bool {
	scale := m.scale(c)
	if m.rule.Code != "" && m.worth(x) != x.said {
		return x.said >= 0 || x.complete || len(m.known(x)) > 0
	}
	if m.rule.Code != "" && x.said >= 0 && (x.doubts != 0) != (x.doubted != 0) {
		return true
	}
	if m.rule.Next && m.minutes(x) != x.next {
		return x.next >= 0 || x.complete || len(m.known(x)) > 0
	}
	for i := range m.rule.Parts {
		p := &m.rule.Parts[i]
		if p.Code != "" && (m.newPoints(x, i) || x.published[i] >= 0 && p.codeOf(scale) != p.codeOf(x.scale)) {
			return true
		}
	}
	return false
}

// minutes are those until the next measurement; -1: there is no score, or it does
// not say.
func (m *scoreMachine) minutes(x *scoreState) int {
	if within := m.within(x); x.complete && within >= 0 {
		return int(within.Minutes())
	}
	return -1
}

// newPoints reports whether the points of a part are not as they were published.
func (m *scoreMachine) newPoints(x *scoreState, i int) bool {
	return x.points[i] != x.published[i] && (x.published[i] >= 0 || x.points[i] >= 0) || x.points[i] >= 0 && (x.doubts^x.doubted)>>i&1 != 0
}

// codeOf is the code of a part's points with a scale.
func (p *Part) codeOf(scale string) string { return cmp.Or(p.Codes[scale], p.Code) }

// worth is the total, -1 if there is none.
func (m *scoreMachine) worth(x *scoreState) int {
	if !x.complete {
		return -1
	}
	return x.total
}

// publish owes the total and the points that have changed.
func (m *scoreMachine) publish(c *Case, st *state, x *scoreState, seq uint64) {
	first := m.rule.Code != "" && x.complete && x.said < 0 // a total after none waits for nothing
	if st.mute || c.now < x.at+span(m.rule.Pause) && !first || !m.news(c, x) {
		return
	}
	t := Transition{Rule: m.rule.Key, Kind: Published, Seq: seq, At: c.out(c.now), index: c.set.index(m.rule.Key)}
	add := func(k int, code, system string, points int, doubt bool) {
		v := carewire.Vital{Patient: c.patient, Code: code, System: system, Device: ownDevice + m.rule.Key, Time: c.out(c.now),
			ID: c.eventID(m.rule.Key, seq, fmt.Sprintf("v%d.%d", k, points+1))}
		if points < 0 {
			v.Absent = carewire.AbsentUnknown
		} else {
			v.Value, v.Unit = carewire.DecimalOf(float64(points)), "{score}"
		}
		if doubt {
			v.ID += "q"
			v.Quality = []carewire.Quality{carewire.QualityQuestionable}
		}
		t.Vitals = append(t.Vitals, v)
	}
	if worth := m.worth(x); m.rule.Code != "" && (worth != x.said || worth >= 0 && (x.doubts != 0) != (x.doubted != 0)) {
		x.said = worth
		add(0, m.rule.Code, m.rule.System, worth, worth >= 0 && x.doubts != 0)
	}
	if minutes := m.minutes(x); m.rule.Next && minutes != x.next {
		x.next = minutes
		add(partsMax+1, NextMeasurement, House, minutes, false)
		if v := &t.Vitals[len(t.Vitals)-1]; v.Absent == "" {
			v.Unit = "min"
		}
	}
	scale := m.scale(c)
	for i := range m.rule.Parts {
		p := &m.rule.Parts[i]
		code := p.codeOf(scale)
		if code == "" {
			continue
		}
		if old := p.codeOf(x.scale); old != code && x.published[i] >= 0 { // the other scale's points hold no more
			add(i+1, old, p.System, -1, false)
			x.published[i] = -1
		}
		if m.newPoints(x, i) {
			x.published[i] = x.points[i]
			add(i+1, code, p.System, int(x.points[i]), x.points[i] >= 0 && x.doubts>>i&1 != 0)
		}
	}
	x.scale, x.doubted = scale, x.doubts
	x.at = c.now
	c.owe(t)
}
