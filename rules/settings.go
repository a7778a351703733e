package rules

import (
	"slices"
	"strings"
	"time"
)

// Settings adapt the rules to one patient. The zero Settings leave all rules as
// they are.
type Settings struct {
	// Limits by the key of the rule.
	Limits map[string]LimitSetting
	// Off are rules that do not judge this patient for a time, by their key.
	Off map[string]Off
	// On are the Optional rules that do.
	On []string
	// Born is the date of birth; zero: unknown, and rules that depend on it
	// cannot judge.
	Born time.Time
	// Pregnant patients have other scores.
	Pregnant bool
	// Scales that are prescribed, by the key of the score.
	Scales map[string]Scale
}

// LimitSetting is a patient's own limit. Nil members mean the rule's own.
type LimitSetting struct {
	At     *float64
	Margin *float64
	Severe *float64 // only where the rule has a severe limit
	By     string   // the author, as people know them
	Reason string
}

// Off says why a rule does not judge a patient.
type Off struct {
	By     string
	Reason string
	Until  time.Time // required: without it the rule judges all the same, and Explain says so
}

// holds reports whether the rule does not judge at now.
func (o *Off) holds(now time.Time) bool { return now.Before(o.Until) }

// Scale is a scale of a score that somebody has prescribed, such as "2" for
// NEWS2's oxygen saturation.
type Scale struct {
	Name string
	By   string
}

func (s *LimitSetting) apply(b *bounds) {
	if s.At != nil {
		b.at = *s.At
	}
	if s.Margin != nil {
		b.margin = *s.Margin
	}
	if s.Severe != nil {
		b.severe = *s.Severe
	}
}

// explain says whose limit it is.
func (s *LimitSetting) explain() string {
	text := "limit of this patient"
	if s.At == nil && s.Margin == nil && s.Severe == nil {
		text = "usual limit for this patient"
	}
	if s.By != "" {
		text += ", set by " + s.By
	}
	if s.Reason != "" {
		text += ": " + s.Reason
	}
	return strings.Map(printable, clip(text, 300))
}

func printable(r rune) rune {
	if r < ' ' {
		return ' '
	}
	return r
}

// Apply makes s the patient's Settings from now on. Alerts of rules that are
// switched off are cleared; others follow with the next reading. The next alert
// of each rule mentions its changes since the Case was made.
func (c *Case) Apply(s Settings) {
	c.renew(s)
}

func (c *Case) apply(s Settings) {
	c.settings = s
	for i := range c.states {
		r, st := &c.set.rules[i], &c.states[i]
		c.limits[i] = nil
		if own, ok := s.Limits[r.Key]; ok {
			c.limits[i] = &own
		}
		c.switchRule(i, st)
		if m, ok := r.machine.(*scoreMachine); ok { // with another scale or age
			m.count(c, m.state(st))
		}
	}
}

// switchRule has a rule judge or not, as the Settings say.
func (c *Case) switchRule(i int, st *state) {
	r := &c.set.rules[i]
	off, is := c.settings.Off[r.Key]
	ends := millisOf(off.Until) + c.shift
	is = is && off.holds(c.out(c.now))
	if r.Optional && !slices.Contains(c.settings.On, r.Key) {
		is, ends = true, 0
	}
	st.due = never
	switch {
	case is:
		st.off = true
		st.gate = gate{raised: st.raised}
		c.look(i, st)
		if ends != 0 {
			st.due = ends
		}
	case st.off:
		if !off.Until.IsZero() {
			st.hears("was switched off" + off.told())
		}
		*st = state{due: never, known: st.known, told: st.told, news: st.news, gate: gate{raised: st.raised}}
		if m, ok := r.machine.(interface{ resume(*Case, *state) }); ok {
			m.resume(c, st)
		}
		c.rearm(i, st)
		c.look(i, st)
	default:
		c.rearm(i, st)
	}
	c.due = min(c.due, st.due)
}
