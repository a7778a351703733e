package carewire

import (
	"cmp"
	"reflect"
	"slices"
	"time"
)

// An Assertion is the statement of one source (a device, a service, the host, a
// patient) that an alert's condition is present. The condition is present while
// at least one source asserts it. A source changes and ends its own assertion
// only.
type Assertion struct {
	Source       // By is the source's principal
	Code, System string
	Text         string
	Priority     Priority
	Kind         AlertKind
	NoLatch      bool
	Unpausable   bool
	Since        time.Time // when it was first made
}

// sourcesMost is how many sources one alert can have.
const sourcesMost = 16

// assertions returns the present assertions of a's sources.
func (a *Alert) assertions() []Assertion {
	switch {
	case !a.Open() || a.Condition == ConditionOver:
		return nil
	case len(a.Sources) > 0:
		list := slices.Clone(a.Sources)
		if i := sourceOf(list, a.Source.By); i >= 0 {
			list[i].Inputs = a.Source.Inputs // which Sources do not keep
		}
		return list
	}
	return []Assertion{{Source: a.Source, Code: a.Code, System: a.System, Text: a.Text, Priority: a.Priority, Kind: a.Kind,
		NoLatch: a.NoLatch, Unpausable: a.Unpausable, Since: a.Onset}}
}

// sourceOf returns the place of by's assertion, or -1.
func sourceOf(list []Assertion, by string) int {
	return slices.IndexFunc(list, func(s Assertion) bool { return s.By == by })
}

// assertedBy reports whether by asserts a's condition.
func (a *Alert) assertedBy(by string) bool { return sourceOf(a.assertions(), by) >= 0 }

// crowdedFor reports whether a has no room for by among its sources. A more
// urgent assertion still finds one, because it displaces the least urgent.
func (a *Alert) crowdedFor(by string) bool {
	list := a.assertions()
	return len(list) >= sourcesMost && sourceOf(list, by) < 0
}

// outranked reports whether one of a's assertions is less urgent than p.
func (a *Alert) outranked(p Priority) bool {
	list := a.assertions()
	return len(list) > 0 && list[leastUrgent(list)].Priority.rank() < p.rank()
}

// leastUrgent is the place of the newest of the least urgent assertions.
func leastUrgent(list []Assertion) int {
	least := 0
	for i := range list {
		if list[i].Priority.rank() <= list[least].Priority.rank() {
			least = i
		}
	}
	return least
}

// unchangedBy reports whether a raise of in, by the source by, would leave a as it is.
func (a *Alert) unchangedBy(in *Raise, by string) bool {
	list := a.assertions()
	i := sourceOf(list, by)
	if i < 0 || a.asksAnew(in) {
		return false
	}
	want := in.assertion(by, list[i].Since)
	list[i].Inputs, want.Inputs = nil, nil // which are another each time
	return reflect.DeepEqual(list[i], want) && (len(list) > 1 && widest(a.Audience, in.Audience) == a.Audience && !slices.ContainsFunc(in.To, func(t string) bool { return !slices.Contains(a.To, t) }) ||
		len(list) == 1 && slices.Equal(a.To, in.To) && (a.Audience == in.Audience || in.Audience == 0 && a.Audience == AudienceStaff))
}

// assertion is by's assertion when it raises in.
func (in *Raise) assertion(by string, since time.Time) Assertion {
	s := Assertion{Source: in.source(by), Code: in.Code, System: in.System, Text: in.Text, Priority: in.Priority, Kind: in.Kind,
		NoLatch: in.NoLatch, Unpausable: in.Unpausable, Since: since}
	if s.Kind == "" {
		s.Kind = AlertPhysiological
	}
	return s
}

// widest returns the audience of those that see more; zero means AudienceStaff.
func widest(a, b Audience) Audience {
	width := func(a Audience) int {
		return slices.Index([]Audience{AudienceNamed, AudienceStaff, AudienceAll}, cmp.Or(a, AudienceStaff))
	}
	if width(b) > width(a) {
		return cmp.Or(b, AudienceStaff)
	}
	return cmp.Or(a, AudienceStaff)
}

// assert puts by's assertion among those of a. Everybody for whom one of the
// sources raised the alert sees it: no source hides the statement of another.
func (a *Alert) assert(in *Raise, by string, now time.Time) {
	list := a.assertions()
	i := sourceOf(list, by)
	switch {
	case i >= 0:
		list[i] = in.assertion(by, list[i].Since)
	case len(list) == 0:
		list = []Assertion{in.assertion(by, a.Onset)}
	default:
		if len(list) >= sourcesMost {
			least := leastUrgent(list)
			list = slices.Delete(list, least, least+1)
		}
		list = append(list, in.assertion(by, now))
	}
	if len(list) == 1 && a.Source.By == by {
		a.Audience = in.Audience
	} else {
		a.Audience = widest(a.Audience, in.Audience)
	}
	if len(list) == 1 {
		a.To = slices.Clone(in.To)
	}
	a.summarize(list)
	if len(list) > 1 {
		to := slices.Clone(a.To)
		for _, t := range in.To {
			if !slices.Contains(to, t) && len(to) < 32 {
				to = append(to, t)
			}
		}
		a.To = to
	}
}

// summarize gives a the highest priority of its assertions, and the text of the
// first assertion with that priority.
func (a *Alert) summarize(list []Assertion) {
	lead := list[0]
	noLatch, unpausable := true, false
	for _, s := range list {
		if s.Priority.rank() > lead.Priority.rank() {
			lead = s
		}
		noLatch, unpausable = noLatch && s.NoLatch, unpausable || s.Unpausable
	}
	a.Source, a.Code, a.System, a.Text, a.Priority, a.Kind = lead.Source, lead.Code, lead.System, lead.Text, lead.Priority, lead.Kind
	a.NoLatch, a.Unpausable, a.Sources = noLatch, unpausable, nil
	if len(list) > 1 {
		for i := range list {
			list[i].Inputs = nil
		}
		a.Sources = list
	}
}

// withdrawAssertion ends by's assertion; endCondition ends those of all sources.
func withdrawAssertion(prev *Alert, by string, now time.Time) Alert {
	list := prev.assertions()
	i := sourceOf(list, by)
	if i < 0 {
		return *prev
	}
	if len(list) == 1 {
		return endCondition(prev, now)
	}
	a := *prev
	a.summarize(slices.Delete(list, i, i+1))
	a.changed(now)
	a.rank(now)
	return a
}

// rank adapts the escalation to the priority. A higher priority than any since
// the steps began, or since the acceptance, restarts the steps. Nobody is told
// of PriorityInfo.
func (a *Alert) rank(now time.Time) {
	switch {
	case a.Priority.rank() > a.Escalation.peak.rank():
		a.restart(now)
	case a.Priority == PriorityInfo:
		a.suspend()
	default:
		a.resume(now)
	}
}

func (s *Assertion) encode(e *encoder) {
	e.b = append(e.b, '{')
	s.Source.members(e)
	e.str("code", s.Code)
	e.str("system", s.System)
	e.str("text", s.Text)
	e.str("priority", string(s.Priority))
	e.str("kind", string(s.Kind))
	if s.NoLatch {
		e.name("latch")
		e.b = append(e.b, "false"...)
	}
	e.bool("unpausable", s.Unpausable)
	e.time("since", s.Since)
	e.b = append(e.b, '}')
}

func decodeAssertion(s *scanner) (a Assertion) {
	s.object(func(name []byte) bool {
		switch string(name) {
		case "code":
			a.Code = s.str()
		case "system":
			a.System = s.str()
		case "text":
			a.Text = s.str()
		case "priority":
			a.Priority = Priority(s.str())
		case "kind":
			a.Kind = AlertKind(s.str())
		case "latch":
			a.NoLatch = !s.bool()
		case "unpausable":
			a.Unpausable = s.bool()
		case "since":
			a.Since = s.time()
		default:
			return a.Source.member(s, name)
		}
		return true
	})
	return a
}
