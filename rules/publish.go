package rules

import (
	"fmt"

	"github.com/carewire/carewire"
)

// Published is a Transition that publishes vitals: a score and its points.
const Published TransitionKind = "published"

// ownDevice begins the device of what rules publish.
const ownDevice = "rules."

// news reports whether there is something that was not published yet.
func (m *scoreMachine) news(x *scoreState) bool {
	if m.rule.Code != "" && m.worth(x) != x.said {
		return x.said >= 0 || x.complete || len(m.known(x)) > 0
	}
	for i := range m.rule.Parts {
		if m.rule.Parts[i].Code != "" && x.points[i] != x.published[i] && (x.published[i] >= 0 || x.points[i] >= 0) {
			return true
		}
	}
	return false
}

// worth is the total, -1 if there is none.
func (m *scoreMachine) worth(x *scoreState) int {
	if !x.complete {
		return -1
	}
	return x.total
}

// publish owes the total and the points that have changed.
func (m *scoreMachine) publish(c *Case, st *state, x *scoreState, seq uint64) {
	if c.now < x.at+span(m.rule.Pause) || !m.news(x) {
		return
	}
	t := Transition{Rule: m.rule.Key, Kind: Published, Seq: seq, At: c.now.time(), index: c.set.index(m.rule.Key)}
	add := func(k int, code, system string, points int) {
		v := carewire.Vital{Patient: c.patient, Code: code, System: system, Device: ownDevice + m.rule.Key, Time: c.now.time(),
			ID: c.eventID(m.rule.Key, seq, fmt.Sprintf("v%d.%d", k, points+1))}
		if points < 0 {
			v.Absent = carewire.AbsentUnknown
		} else {
			v.Value, v.Unit = carewire.DecimalOf(float64(points)), "{score}"
		}
		t.Vitals = append(t.Vitals, v)
	}
	if m.rule.Code != "" && m.worth(x) != x.said {
		x.said = m.worth(x)
		add(0, m.rule.Code, m.rule.System, x.said)
	}
	scale := c.settings.Scales[m.rule.Key].Name
	for i := range m.rule.Parts {
		p := &m.rule.Parts[i]
		code := p.Code
		if own := p.Codes[scale]; own != "" {
			code = own
		}
		if code == "" || x.points[i] == x.published[i] || x.points[i] < 0 && x.published[i] < 0 {
			continue
		}
		x.published[i] = x.points[i]
		add(i+1, code, p.System, int(x.points[i]))
	}
	x.at = c.now
	c.owed = append(c.owed, t)
}
