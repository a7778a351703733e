package rules

import (
	"slices"
	"strings"

	"github.com/carewire/carewire"
)

// Alert takes a state of an alert from the log: earlier raises and clears, and
// closing by people.
func (c *Case) Alert(p carewire.Position, a *carewire.Alert) {
	c.enter(p, a.Updated, true)
	if a.Test {
		return
	}
	present := a.Open() && a.Condition == carewire.ConditionPresent
	if a.Kind == carewire.AlertTechnical && strings.HasPrefix(a.Key, "no-data") {
		c.silence(a.Key, present)
		return
	}
	i := c.set.index(a.Key)
	if a.Source.By != host || i < 0 && a.Key != blindKey {
		return
	}
	k := c.knownOf(i)
	now := known{a.ID, a.Rev, present}
	fresh := a.Rev > k.rev
	if n := c.owes(i); n >= 0 {
		t := &c.owed[n]
		// Without Settings, the rule's own priority lowers none that is high.
		same := a.Priority == t.Alert.Priority || c.unset && a.Priority == carewire.PriorityHigh
		// A late state, from before the last transition carried out, does not answer the one that is owed now.
		if fresh && present == (t.Kind != Cleared) && (t.Kind == Cleared || same) { // it was done, by the Judge before
			c.owed = slices.Delete(c.owed, n, n+1)
			*k = now
			c.follow(i, a)
		}
		return
	}
	if a.Rev < k.rev {
		return
	}
	*k = now
	if i >= 0 {
		c.others(i, a, present, fresh, p.Seq)
	} else if present && c.blind.text == "" {
		c.adoptBlind(a)
	} else if fresh && !present && c.blind.told { // it is raised again if it is still so
		c.blind.text, c.blind.told = "", false
		c.blind.hold = c.now + span(defaultHold)
		c.due = min(c.due, c.blind.hold)
	}
}

// others takes in the answers of others to the alert of rule i.
func (c *Case) others(i int, a *carewire.Alert, present, fresh bool, seq uint64) {
	st := &c.states[i]
	switch {
	case present && st.level == 0 && !st.off: // raised with more in sight than this Case has
		st.adopt(c, i, a)
	case present && st.level > 0:
		st.high = st.high || a.Priority == carewire.PriorityHigh
	case present || !fresh || st.level == 0:
	case a.Closed != nil && a.Condition == carewire.ConditionPresent:
		st.close(c.set.rules[i].timing(), millisOf(a.Closed.At)+c.shift, seq)
		st.told = 0
		c.rearm(i, st)
	case st.adopted: // cleared by a Judge that had more in sight
		st.gate, st.told = gate{raised: st.raised}, 0
		c.rearm(i, st)
	default: // cleared by somebody else, but not over
		st.told, st.cause = 0, seq
		c.look(i, st)
	}
}

// adopt makes an alert that is present the rule's own.
func (st *state) adopt(c *Case, i int, a *carewire.Alert) {
	st.level, st.present = 1, millisOf(a.Raised)+c.shift
	for l, x := range c.set.rules[i].levels(&c.set.rules[i].About) {
		if x.priority == a.Priority {
			st.level = int8(l + 1)
		}
	}
	st.told, st.high, st.adopted = st.level, a.Priority == carewire.PriorityHigh, true
	c.rearm(i, st)
}

// host is the sender of the host's own events.
const host = "@host"

// knownOf returns the known state of the alert of rule i; -1: of the alert that
// names rules that cannot be judged.
func (c *Case) knownOf(i int) *known {
	if i < 0 {
		return &c.blind.known
	}
	return &c.states[i].known
}

// owes returns the place of the first thing that is owed for rule i, or -1.
func (c *Case) owes(i int) int {
	return slices.IndexFunc(c.owed, func(t Transition) bool { return t.index == i && t.Kind != Published })
}

// confirm notes the result of a transition that was carried out.
func (c *Case) confirm(t *Transition, a *carewire.Alert) {
	if k := c.knownOf(t.index); a.Rev >= k.rev {
		*k = known{a.ID, a.Rev, a.Open() && a.Condition == carewire.ConditionPresent}
	}
	if t.Kind != Cleared {
		c.follow(t.index, a)
	}
}

// follow has the next clear that is owed for rule i be that of the alert a, which was
// raised after the clear was noted.
func (c *Case) follow(i int, a *carewire.Alert) {
	if n := slices.IndexFunc(c.owed, func(t Transition) bool { return t.index == i && t.Kind == Cleared }); n >= 0 {
		c.owed[n].Alert.ID = a.ID
	}
}

// leave leaves owed transitions to the Judge before: it has carried them out, though
// the log may show them only behind later readings.
func (c *Case) leave() {
	for i := range c.owed {
		c.owed[i].left = true
	}
}

// reconcile drops the transitions that were left to the Judge before, but keeps owing
// those that the log does not show. A raise has the name that it would have had in
// time: a Judge that is gone may have asked for it, and the Store may still take that
// in.
func (c *Case) reconcile() {
	c.owed = slices.DeleteFunc(c.owed, func(t Transition) bool { return t.left })
	for i := range c.states {
		st := &c.states[i]
		switch {
		case c.owes(i) >= 0 || c.set.rules[i].Quiet || st.mute:
			continue
		case st.level > 0 && !st.known.present && !st.off:
			st.told = 0
		case st.level == 0 && st.known.present:
			st.told = 1
		}
		c.look(i, st)
	}
	if !c.partial && c.owes(-1) < 0 && (c.blind.text != "") != c.blind.known.present {
		c.blind.text, c.blind.told = outdated, c.blind.known.present
		c.due = min(c.due, c.lookBlind())
	}
}

// silence notes that a device is silent, or is heard again.
func (c *Case) silence(key string, silent bool) {
	if silent {
		if c.silent == nil {
			c.silent = make(map[string]bool)
		}
		c.silent[key] = true
	} else {
		delete(c.silent, key)
	}
	c.lookBlind()
}
