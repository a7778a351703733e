package rules

import (
	"fmt"
	"hash/fnv"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// blindKey is the key of the one alert that says which rules cannot be judged.
const blindKey = "rules.blind"

const (
	defaultBlind = 5 * time.Minute
	defaultHold  = 30 * time.Minute
)

// blindness is a Case's report of the rules that it cannot judge.
type blindness struct {
	text  string // as it was told; "": nothing was
	told  bool
	hold  millis // a person has closed it: until then
	known known
}

// adoptBlind makes the alert of another Judge this one's. A rule that it names, and of
// which nothing is known here, has been unable to judge since then.
func (c *Case) adoptBlind(a *carewire.Alert) {
	c.blind.text, c.blind.told = outdated, true
	named := blindNext + strings.TrimPrefix(a.Text, blindText)
	for i := range c.states {
		if st := &c.states[i]; st.until == 0 && st.heard == 0 && strings.Contains(named, blindNext+c.set.rules[i].Key+": ") {
			st.heard, st.why = max(millisOf(a.Raised)+c.shift-c.maxAway, 1), faultSilent
		}
	}
	c.due = min(c.due, c.now+1)
}

// blindText begins the text of the alert, and blindNext each rule but the first.
const (
	blindText = "Cannot be judged: "
	blindNext = "; "
)

// outdated stands for a text that is not known, or was not told.
const outdated = "?"

// blindAt is when it is to be told that the rule cannot be judged.
func (st *state) blindAt(c *Case) millis {
	switch {
	case st.off:
		return never
	case st.failure != "":
		return 0
	case st.until > 0:
		return st.until + c.maxAway
	case st.heard > 0 && st.why != faultAbsent:
		return st.heard + c.maxAway
	}
	return never
}

// lookBlind says of which rules it is time to tell that they cannot be judged,
// all in one alert. It returns when to look again.
func (c *Case) lookBlind() (due millis) {
	due = never
	if c.partial {
		return due
	}
	var list []string
	for i := range c.states {
		st := &c.states[i]
		at := st.blindAt(c)
		st.blind = at <= c.now
		if !st.blind {
			due = min(due, at)
			continue
		}
		if st.failure == "" && st.why <= faultAbsent && len(c.silent) > 0 {
			continue // the alert that the device is silent says so
		}
		list = append(list, c.set.rules[i].Key+": "+c.missing(i))
	}
	if c.now < c.blind.hold {
		return min(due, c.blind.hold)
	}
	text := strings.Join(list, blindNext)
	if text == c.blind.text || c.unset && text == "" {
		return due
	}
	c.blind.text = text
	t := Transition{Rule: blindKey, At: c.out(c.now), Seq: c.seq, index: -1}
	switch {
	case text == "":
		t.Kind = Cleared
		t.Alert = carewire.Raise{Patient: c.patient, Key: blindKey, ID: c.blind.known.id}
		t.event = c.eventID(blindKey, c.seq, "over")
	default:
		t.Kind = Raised
		if c.blind.told {
			t.Kind = Updated
		}
		h := fnv.New32a()
		h.Write([]byte(text))
		t.Alert = carewire.Raise{Patient: c.patient, Key: blindKey, ID: c.eventID(blindKey, c.seq, fmt.Sprintf("%08x", h.Sum32())),
			Kind: carewire.AlertTechnical, Priority: carewire.PriorityMedium, To: c.to, Onset: c.out(c.now),
			Text:   clip(blindText+text+".", 4000),
			Source: carewire.Source{Rule: blindKey + " v1", Limits: "for " + short(c.maxAway.duration())}}
	}
	c.blind.told = text != ""
	c.owe(t)
	return due
}

// missing says why a rule cannot be judged.
func (c *Case) missing(i int) string {
	st := &c.states[i]
	if st.failure != "" {
		return st.failure
	}
	if m, ok := c.set.rules[i].machine.(interface {
		missing(*Case, *state) string
	}); ok {
		if why := m.missing(c, st); why != "" {
			return why
		}
	}
	switch {
	case st.why != faultNone:
		return faultTexts[st.why]
	case st.until == 0:
		return "no reading yet"
	}
	return faultTexts[faultSilent]
}
