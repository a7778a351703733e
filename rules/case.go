package rules

import (
	"fmt"
	"hash/fnv"
	"slices"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// A Case judges one patient by a Set of rules. It gets the entries of the
// patient's log, in their order, and the time, and returns the alerts to raise
// and clear. Only the log and the Settings decide: it has no clock and no Hub.
// So the same log is judged alike wherever and whenever it is read. A [Judge]
// runs Cases on a Hub.
//
// A Case must not be used concurrently.
type Case struct {
	set      *Set
	patient  string
	settings Settings
	limits   []*LimitSetting // by rule; nil: as the rule has them

	epoch   string
	mark    string // the epoch, short
	seq     uint64 // the newest entry
	now     millis // as timeline.go counts, like all times here
	at      millis // when the entry that is judged was received: now, or before it; without one it is now
	shift   millis // added to the clock's time
	due     millis // not later than when something is due
	sensors []sensor
	states  []state
	owed    []Transition
	numbers uint64          // of transitions
	silent  map[string]bool // the open alerts that a device is silent
	blind   blindness
	current *carewire.Vital // being judged
	reading reading         // a number of it
	to      []string
	maxAway millis // MaxBlind
	unset   bool   // the Settings are still to come: nothing is cleared, nor lowered
	partial bool   // only the end of the log was read: some rules are mute, and none is reported as blind
}

// state is where one rule stands.
type state struct {
	gate
	before  gate   // the gate before the newest reading
	newest  uint64 // the entry with that reading
	told    int8   // the level that was told
	off     bool
	mute    bool // tells nothing: see Case.partial
	found   *finding
	until   millis // able to judge until; 0: never was
	heard   millis // the first unusable reading since it was able
	why     fault
	failure string // of a Func: the failure
	blind   bool
	due     millis
	known   known
	news    []string // changes of Settings that the next alert tells
	data    any      // the machine's own state
}

// A finding is the reason of an alert.
type finding struct {
	value  small
	number float64
	unit   string
	id     small
	at     millis
	note   string // a further remark
	doubt  bool
}

// known is the newest state of a rule's alert, as the log has it.
type known struct {
	id      string
	rev     uint64
	present bool
}

// TransitionKind is the kind of a Transition.
type TransitionKind string

// The kinds.
const (
	Raised  TransitionKind = "raised"  // the alert begins
	Updated TransitionKind = "updated" // its priority has changed
	Cleared TransitionKind = "cleared" // its condition is over
)

// A Transition is a finding of a Case. It contains health data: do not log it.
type Transition struct {
	Rule   string // the alert's key
	Kind   TransitionKind
	Seq    uint64           // the entry of the log that caused it
	At     time.Time        // when
	Alert  carewire.Raise   // the complete raise; for Cleared: Patient, Key and ID only
	Vitals []carewire.Vital // of Published

	index  int
	level  int8
	event  string    // the name of a Cleared
	left   bool      // to the Judge before
	number uint64    // of those of a Case
	again  time.Time // it was refused for lack of room, and is tried again then
}

// NewCase returns a Case without any readings.
func NewCase(set *Set, patient string, settings Settings) *Case {
	c := &Case{set: set, patient: patient, states: make([]state, len(set.rules)), limits: make([]*LimitSetting, len(set.rules)), due: never,
		maxAway: span(defaultBlind)}
	for i := range c.states {
		c.states[i].due = never
	}
	c.apply(settings)
	return c
}

// Vital takes in a vital of the log. Test vitals are not judged.
func (c *Case) Vital(p carewire.Position, v *carewire.Vital) {
	c.enter(p, v.Received, strings.HasPrefix(v.Device, ownDevice))
	if v.Test {
		return
	}
	if v.Replaces != "" {
		c.replace(v)
		return
	}
	bad := faultOf(v)
	c.current = v
	defer func() { c.current = nil }()
	if bad == faultNone && !strings.HasPrefix(v.Device, ownDevice) {
		c.other(v)
	}
	switch {
	case len(v.Components) > 0:
		for i := range v.Components {
			part := &v.Components[i]
			fault := bad
			if fault == faultNone && part.Absent != "" {
				fault = faultAbsent
			}
			if n, ok := c.set.codes[keyOf(v.System, part.Code)]; ok {
				c.number(n, v, part.Value, part.Unit, fault)
			}
		}
	case bad == faultAbsent:
		for _, part := range partsOf[v.Code] {
			if n, ok := c.set.codes[codeKey{"", part}]; ok {
				c.unusable(n, v, bad)
			}
		}
		fallthrough
	default:
		if n, ok := c.set.codes[keyOf(v.System, v.Code)]; ok {
			c.number(n, v, v.Value, v.Unit, bad)
		}
	}
}

// other tells the rules that wait for another number that one has come.
func (c *Case) other(v *carewire.Vital) {
	if len(c.set.others) == 0 {
		return
	}
	code := v.Code
	if len(v.Components) > 0 {
		code = v.Components[0].Code
	}
	n, ok := c.set.codes[keyOf(v.System, code)]
	for _, i := range c.set.others {
		m, st := c.set.rules[i].machine.(*absentMachine), &c.states[i]
		if (!ok || m.code != n) && !st.off && m.other(c, st) {
			c.rearm(i, st)
		}
	}
}

// partsOf are the components of panels, which are missing when the panel is absent.
var partsOf = map[string][]string{
	carewire.BloodPressure.Code:         {carewire.SystolicPressure.Code, carewire.DiastolicPressure.Code, carewire.MeanPressure.Code},
	carewire.AveragedBloodPressure.Code: {carewire.AveragedSystolic.Code, carewire.AveragedDiastolic.Code},
}

// enter moves on to an entry of the log. It may have been received before now: it
// waited while time went on, or another entry overtook it. The ages that it is
// judged by are those of when it was received. If one node takes a patient's readings,
// they stand in the log in the order of their receipt. An alert, or a score of the
// rules' own, may have overtaken some: time lags behind it.
func (c *Case) enter(p carewire.Position, received time.Time, overtakes bool) {
	if p.Epoch != c.epoch {
		h := fnv.New32a()
		h.Write([]byte(p.Epoch))
		c.epoch, c.mark = strings.Clone(p.Epoch), fmt.Sprintf("%08x", h.Sum32())
	}
	at := c.in(received, backMost)
	if overtakes {
		c.advance(at - span(grace))
	} else {
		c.advance(at)
	}
	c.seq, c.at = p.Seq, at
}

// number judges one number or code of a vital.
func (c *Case) number(n int, v *carewire.Vital, value carewire.Decimal, unit string, bad fault) {
	if bad != faultNone {
		c.unusable(n, v, bad)
		return
	}
	c.judge(c.sensorOf(n, v.Device, v.Site), v, value, unit)
}

func (c *Case) judge(at int, v *carewire.Vital, value carewire.Decimal, unit string) {
	s := &c.sensors[at]
	if unit != s.last.unit { // the kept value must not be the caller's
		unit = strings.Clone(unit)
	} else {
		unit = s.last.unit
	}
	r := &c.reading
	*r = reading{code: s.code, seq: c.seq, received: c.at, unit: unit, doubtful: doubtful(v), sensor: int32(at)}
	if v.Coded != nil {
		r.coded = -1
		if k, ok := c.set.coded[codeKey{v.Coded.System, v.Coded.Code}]; ok {
			r.coded = k
		}
	} else {
		r.value = offScale(value.Float64(), v.Comparator)
		r.text.set(string(value))
	}
	r.id.set(v.ID)
	measured := min(millisOf(v.Time)+c.shift, c.at)
	if slices.Contains(v.Quality, carewire.QualityClock) {
		measured = c.at
	}
	if lag := c.at - measured; !s.taken || lag < s.lag {
		s.lag = lag
	}
	r.at = measured + s.lag
	if s.taken && r.at < s.last.at && !s.setBack(c.at, measured, r) {
		return // history: something newer was judged
	}
	s.take(r, v.Every)
	for _, i := range c.set.readBy[r.code] {
		if st := &c.states[i]; !st.off {
			st.before, st.newest = st.gate, r.seq
			c.see(i, st, r)
		}
	}
}

// see has one rule judge a reading.
func (c *Case) see(i int, st *state, r *reading) {
	was := st.level
	rule := &c.set.rules[i]
	rule.see(c, st, r)
	c.rearm(i, st)
	if st.level > was && !rule.own {
		st.found = findingOf(r)
	}
	if st.blind && st.blindAt(c) > c.now {
		c.due = min(c.due, c.lookBlind())
	}
	c.look(i, st)
}

// rearm sets when rule i is to be looked at again.
func (c *Case) rearm(i int, st *state) {
	rule := &c.set.rules[i]
	st.due = st.gate.due(rule.timing())
	if rule.due != nil {
		st.due = min(st.due, rule.due(c, st))
	}
	c.due = min(c.due, st.due, st.blindAt(c))
}

func findingOf(r *reading) *finding {
	return &finding{value: r.text, number: r.value, unit: strings.Clone(r.unit), id: r.id, at: r.at, doubt: r.doubtful}
}

// unusable notes that a reading of code n cannot be judged. A model looks at an
// absent reading all the same.
func (c *Case) unusable(n int, v *carewire.Vital, why fault) {
	for _, i := range c.set.readBy[n] {
		st := &c.states[i]
		if m, ok := c.set.rules[i].machine.(interface{ seesAbsent() bool }); ok && why == faultAbsent && m.seesAbsent() {
			if !st.off {
				r := reading{code: n, seq: c.seq, at: c.at, received: c.at, doubtful: true, sensor: int32(c.sensorOf(n, v.Device, v.Site))}
				r.id.set(v.ID)
				st.before, st.newest = st.gate, r.seq
				c.see(i, st, &r)
			}
			continue
		}
		st.unable(c.now, why)
		c.due = min(c.due, st.blindAt(c))
	}
}

// able notes that the rule can judge until then.
func (st *state) able(until millis) {
	st.until, st.heard, st.why, st.failure = until, 0, faultNone, ""
}

// unable notes that it cannot.
func (st *state) unable(now millis, why fault) {
	st.why = why
	if st.heard == 0 {
		st.heard = now
	}
}

// replace takes in a vital that corrects or withdraws another. If that is the
// newest reading of its sensor, it is judged as if it had never been; an older
// one is history.
func (c *Case) replace(v *carewire.Vital) {
	var id small
	id.set(v.Replaces)
	for at := range c.sensors {
		s := &c.sensors[at]
		if !s.taken || s.last.id != id {
			continue
		}
		gone := s.last
		s.last, s.taken, s.before = s.before, s.before.seq != 0, reading{}
		for _, i := range c.set.readBy[s.code] {
			c.retract(i, &gone)
		}
		if v.Status != carewire.VitalCorrected || faultOf(v) != faultNone {
			continue
		}
		value, unit := v.Value, v.Unit
		c.current = v
		if len(v.Components) > 0 {
			k := slices.IndexFunc(v.Components, func(p carewire.Component) bool { return keyOf(v.System, p.Code) == c.set.names[s.code] })
			if k < 0 || v.Components[k].Absent != "" {
				continue
			}
			value, unit = v.Components[k].Value, v.Components[k].Unit
		}
		c.judge(at, v, value, unit)
	}
	c.current = nil
}

// retract puts a rule back to where it was before a reading.
func (c *Case) retract(i int, gone *reading) {
	st := &c.states[i]
	if st.off {
		return
	}
	limit, is := c.set.rules[i].machine.(*limitMachine)
	// A rule that was switched on again has raised its alert behind the reading.
	raised := st.cause == gone.seq || is && st.found != nil && st.found.id == gone.id
	if st.newest == gone.seq {
		st.gate = st.before
	} else if raised && st.level > 0 && !(is && limit.out(c, st)) {
		st.gate = gate{raised: st.raised}
	}
	if m, ok := c.set.rules[i].machine.(interface {
		retract(*Case, *state, *reading)
	}); ok {
		m.retract(c, st, gone)
	}
	c.rearm(i, st)
	c.look(i, st)
}

// Advance moves the time of c to t. No entry of the log from before t may come
// after that. An earlier t than before, by more than ten seconds, says that the
// clock was set back: time goes on from there.
func (c *Case) Advance(t time.Time) { c.advance(c.in(t, clocksApart)) }

// advance does all that was due before to.
func (c *Case) advance(to millis) {
	for c.due < to {
		at := c.due
		c.now = max(c.now, at)
		c.at, c.due = c.now, never
		for i := range c.states {
			st := &c.states[i]
			if st.off && st.due <= at {
				c.switchRule(i, st)
			}
			if st.due <= at {
				was := st.level
				st.due = never
				c.set.rules[i].tick(c, st)
				c.rearm(i, st)
				if st.due <= at { // a rule must not stand still
					st.due = at + 1
				}
				if st.level > was && !c.set.rules[i].own {
					c.found(i, st)
				}
				c.look(i, st)
			}
			c.due = min(c.due, st.due)
		}
		c.due = min(c.due, c.lookBlind())
	}
	c.now = max(c.now, to)
	c.at = c.now
}

// found explains an alert that no reading of now has raised, by the newest one.
func (c *Case) found(i int, st *state) {
	var newest *reading
	for k := range c.sensors {
		s := &c.sensors[k]
		if s.taken && slices.Contains(c.set.rules[i].codes, s.code) && (newest == nil || s.last.seq > newest.seq) {
			newest = &s.last
		}
	}
	if newest != nil {
		st.found = findingOf(newest)
	}
}

// look tells the present level of rule i, if that is new.
func (c *Case) look(i int, st *state) {
	if st.mute || st.level == st.told || c.unset && st.level < st.told {
		return
	}
	c.tell(i, st)
	for k := range c.set.rules {
		if m, ok := c.set.rules[k].machine.(*combinationMachine); ok && slices.Contains(m.parts, i) {
			m.judge(c, &c.states[k])
			c.look(k, &c.states[k])
		}
	}
}
