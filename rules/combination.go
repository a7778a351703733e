package rules

import "fmt"

// Combination raises an alert while all, or any, of several rules are present.
// They must stand before it in the Set.
type Combination struct {
	About
	All []string // the keys of the rules: all must be present
	Any []string // or: one of them is enough
}

func (r Combination) about() *About { return &r.About }

func (r Combination) build(s *Set) (machine, error) {
	if (len(r.All) == 0) == (len(r.Any) == 0) {
		return nil, fmt.Errorf("all: either all or any is required")
	}
	m := &combinationMachine{rule: r}
	for _, key := range append(r.All, r.Any...) {
		i := s.index(key)
		if i < 0 || i == len(s.rules)-1 {
			return nil, fmt.Errorf("all: %q is not a rule before this one", key)
		}
		m.parts = append(m.parts, i)
		s.needs(s.rules[i].window)
	}
	if err := m.time.defaults(); err != nil {
		return nil, err
	}
	return m, nil
}

type combinationMachine struct {
	rule  Combination
	parts []int
	time  Timing
}

func (m *combinationMachine) timing() *Timing                    { return &m.time }
func (m *combinationMachine) levels(a *About) []level            { return []level{{a.Priority, a.Text}} }
func (m *combinationMachine) see(c *Case, st *state, r *reading) {}
func (m *combinationMachine) tick(c *Case, st *state)            { m.judge(c, st) }
func (m *combinationMachine) resume(c *Case, st *state)          { m.judge(c, st) }

// judge counts the parts that are present.
func (m *combinationMachine) judge(c *Case, st *state) {
	if st.off {
		return
	}
	n := 0
	var newest *state
	for _, i := range m.parts {
		if p := &c.states[i]; p.level > 0 {
			n++
			if newest == nil || p.cause > newest.cause {
				newest = p
			}
		}
	}
	s := sample{at: c.now, received: c.now, seq: c.seq}
	if n == len(m.parts) || n > 0 && len(m.rule.Any) > 0 {
		s.level, s.keep = 1, 1
		st.found = newest.found
	}
	st.step(&m.time, s)
}

func (m *combinationMachine) explain(c *Case, st *state) string {
	if len(m.rule.Any) > 0 {
		return fmt.Sprintf("any of %v", m.rule.Any)
	}
	return fmt.Sprintf("all of %v", m.rule.All)
}
