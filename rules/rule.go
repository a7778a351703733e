package rules

import (
	"fmt"
	"time"

	"github.com/carewire/carewire"
)

// A Rule is one of [Limit], [Change], [Forecast], [Absent], [Combination],
// [Score] and [Func].
type Rule interface {
	about() *About
	// build checks the rule and makes its judge.
	build(s *Set) (machine, error)
}

// About describes a rule and its alerts.
type About struct {
	// Key names the rule, and the alert that it raises: an ID of at most 32
	// characters, once in a Set.
	Key string
	// Version of the rule, which every alert tells; "" is "1".
	Version string
	// Text is the alert's text for people when it is present; required.
	Text string
	// Priority of the alert; "" is medium.
	Priority carewire.Priority
	// Kind of the alert; "" is physiological, of Absent technical.
	Kind carewire.AlertKind
	// To are the addressees of the alert; nil: as Options.To says.
	To []string
	// Quiet rules raise nothing: they are parts of a Combination.
	Quiet bool
	// Optional rules judge only patients whose Settings switch them on.
	Optional bool
}

// Timing says how long a condition must last. A rule needs several readings to
// see that it lasts. There are two exceptions, which the alert mentions. If the
// interval of a device is longer than one and a half times Delay, or not known
// yet, one reading counts after Delay. If readings stop while the last one is
// beyond the limit, the rule waits for three intervals, and at least for Delay,
// and then raises.
type Timing struct {
	// Delay is for how long readings must be beyond the limit; 0: one is enough.
	// It goes on while they waver between the limit and the margin inside it.
	Delay time.Duration
	// Readings, if not 0, counts instead of Delay: so many in a row.
	Readings int
	// Clear is for how long readings must be inside the limit by its margin
	// before the alert is cleared; 0: one is enough.
	Clear time.Duration
	// Hold is for how long an alert that a person has closed while it was
	// present stays away, unless its priority rises; 0: 30 minutes. After that it
	// is raised again if it is still present.
	Hold time.Duration
	// Flaps is how many alerts an hour are as many as may be, at most 60: the next
	// one stays until it has been well for Settle, and says so. One that has been of
	// high priority never stays: it is raised each time. 0: 6; negative: none stays.
	Flaps int
	// Settle; 0: 10 minutes.
	Settle time.Duration

	high [levelsMax]bool // by level: its priority is high
}

func (t *Timing) defaults() error {
	if t.Delay < 0 || t.Clear < 0 || t.Hold < 0 || t.Settle < 0 || t.Readings < 0 {
		return fmt.Errorf("a time or number must not be negative")
	}
	if t.Flaps > flapsMost {
		return fmt.Errorf("flaps: must be at most %d", flapsMost)
	}
	if t.Hold == 0 {
		t.Hold = 30 * time.Minute
	}
	if t.Flaps == 0 {
		t.Flaps = 6
	}
	if t.Settle == 0 {
		t.Settle = 10 * time.Minute
	}
	return nil
}

// A Set is the rules of a house, checked. It does not change, and may be used
// for any number of patients at once.
type Set struct {
	rules  []compiled
	codes  map[codeKey]int // the codes that are read, with their numbers
	names  []codeKey
	coded  map[codeKey]int32 // the values of coded readings that rules know, from 1
	readBy [][]int           // by number of code: the rules that read it
	others []int             // the rules that want to know of other numbers than theirs
	window time.Duration
	ages   []time.Duration // by number of code: how old an input may be, where a rule reads its newest value
}

// leastWindow is how far back a Set must read at least: so the interval of most devices
// is known.
const leastWindow = 5 * time.Minute

// compiled is one rule of a Set.
type compiled struct {
	About
	machine
	codes  []int
	window time.Duration              // how far back it must read to know where it stands
	own    bool                       // the machine itself knows the reason of an alert
	due    func(*Case, *state) millis // when tick is to be called beside the times of the Timing; nil: never
}

// A machine judges by one rule. state has its knowledge of a patient.
type machine interface {
	// see takes in a usable reading of one of the codes that the rule reads.
	see(c *Case, st *state, r *reading)
	// tick is called when st.due has come.
	tick(c *Case, st *state)
	// timing returns the rule's Timing.
	timing() *Timing
	// levels returns priority and text of each level of the alert, the lowest first.
	levels(a *About) []level
	// explain returns the limits as they are for this patient, for Source.Limits.
	explain(c *Case, st *state) string
}

// level is one of the priorities that an alert can have.
type level struct {
	priority carewire.Priority
	text     string
}

type codeKey struct{ system, code string }

func keyOf(system, code string) codeKey {
	if system == carewire.LOINC {
		system = ""
	}
	return codeKey{system, code}
}

// NewSet checks rules. The error names the rule and the member that is wrong.
func NewSet(rules ...Rule) (*Set, error) {
	s := &Set{codes: make(map[codeKey]int), coded: make(map[codeKey]int32), window: leastWindow}
	for i, r := range rules {
		if r == nil {
			return nil, fmt.Errorf("rules: rule %d is nil", i)
		}
		c := compiled{About: *r.about()}
		if err := s.check(&c.About); err != nil {
			return nil, fmt.Errorf("rules: rule %d %q: %w", i, c.Key, err)
		}
		s.rules = append(s.rules, c)
		m, err := r.build(s)
		if err == nil {
			err = m.timing().defaults()
		}
		if err != nil {
			return nil, fmt.Errorf("rules: rule %q: %w", c.Key, err)
		}
		last := &s.rules[i]
		last.machine = m
		for l, x := range m.levels(&last.About) {
			m.timing().high[l] = x.priority == carewire.PriorityHigh
		}
		if d, ok := m.(interface{ due(*Case, *state) millis }); ok {
			last.due = d.due
		}
		switch m.(type) {
		case *scoreMachine, *funcMachine, *combinationMachine, *absentMachine:
			last.own = true
		}
		s.needs(2*m.timing().Delay + m.timing().Clear)
		if m.timing().Readings > 0 { // however seldom they come
			s.needs(leastWindow)
		}
	}
	return s, nil
}

// check completes a rule's description of itself.
func (s *Set) check(a *About) error {
	if a.Version == "" {
		a.Version = "1"
	}
	if a.Priority == "" {
		a.Priority = carewire.PriorityMedium
	}
	probe := carewire.Raise{Patient: "p", Key: a.Key, Text: a.Text, Priority: a.Priority, Kind: a.Kind, To: a.To,
		Source: carewire.Source{Rule: a.Key + " " + a.Version}}
	switch {
	case a.Key == "" || len(a.Key) > 24:
		return fmt.Errorf("key: must be an ID of at most 24 characters")
	case s.index(a.Key) >= 0:
		return fmt.Errorf("key: must not be used twice")
	case len(a.Text) > 400:
		return fmt.Errorf("text: must be at most 400 bytes")
	}
	return probe.Validate()
}

// index returns the place of a rule, -1 if there is none of that key.
func (s *Set) index(key string) int {
	for i := range s.rules {
		if s.rules[i].Key == key {
			return i
		}
	}
	return -1
}

// reads notes that the rule being built reads a code, and returns its number.
func (s *Set) reads(system, code string) int {
	k := keyOf(system, code)
	n, ok := s.codes[k]
	if !ok {
		n = len(s.names)
		s.codes[k] = n
		s.names, s.readBy, s.ages = append(s.names, k), append(s.readBy, nil), append(s.ages, 0)
	}
	rule := len(s.rules) - 1
	s.readBy[n] = append(s.readBy[n], rule)
	s.rules[rule].codes = append(s.rules[rule].codes, n)
	return n
}

// needs notes how far back the rule being built must read to know where it stands.
func (s *Set) needs(window time.Duration) {
	last := &s.rules[len(s.rules)-1]
	last.window = max(last.window, window)
	s.window = max(s.window, window)
}
