package rules

import (
	"math"
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
	for _, x := range []struct{ own, to *float64 }{{s.At, &b.at}, {s.Margin, &b.margin}, {s.Severe, &b.severe}} {
		if x.own != nil && finite(*x.own) {
			*x.to = *x.own
		}
	}
}

// finite reports whether all are numbers, and none is infinite: a limit that is no
// number, or an infinite one, is never reached.
func finite(list ...float64) bool {
	for _, f := range list {
		if math.IsNaN(f) || math.IsInf(f, 0) {
			return false
		}
	}
	return true
}

// unheeded says by the rule's key which parts of x have no effect, and why.
func (s *Set) unheeded(x *Settings) map[string]string {
	list := make(map[string]string)
	rule := func(key string) machine {
		if i := s.index(key); i >= 0 {
			return s.rules[i].machine
		}
		list[key] = "there is no such rule"
		return nil
	}
	for key, own := range x.Limits {
		m, is := rule(key).(*limitMachine)
		switch {
		case list[key] != "":
		case !is:
			list[key] = "its limit of this patient does not count, for it is no Limit"
		case own.Severe != nil && m.rule.Severe == nil:
			list[key] = "the severe limit of this patient does not count, for the rule has none"
		case !finite(value(own.At), value(own.Margin), value(own.Severe)):
			list[key] = "a limit of this patient that is no finite number does not count"
		}
	}
	for key, off := range x.Off {
		if rule(key) != nil && off.Until.IsZero() {
			list[key] = offForever
		}
	}
	for key := range x.Scales {
		if _, is := rule(key).(*scoreMachine); !is && list[key] == "" {
			list[key] = "the scale does not count, for it is no Score"
		}
	}
	for _, key := range x.On {
		rule(key)
	}
	return list
}

// value is a number that may be missing, which is nothing wrong.
func value(f *float64) float64 {
	if f == nil {
		return 0
	}
	return *f
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
			if _, is := r.machine.(*limitMachine); is {
				c.limits[i] = &own
			}
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
		*st = state{due: never, mute: st.mute, known: st.known, told: st.told, news: st.news, gate: gate{raised: st.raised}}
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
