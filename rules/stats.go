package rules

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// Counts are the fates of a rule's alerts: its burden and its use.
type Counts struct {
	Raised      uint64 `json:"raised"`       // occurrences
	Accepted    uint64 `json:"accepted"`     // of these, by a person
	Rejected    uint64 `json:"rejected"`     // answers that rejected one
	Closed      uint64 `json:"closed"`       // closed by a person without having been accepted
	SelfEnded   uint64 `json:"self_ended"`   // over before anybody accepted
	FlapsHeld   uint64 `json:"flaps_held"`   // raised so often that they had to stay
	LevelsPaged uint64 `json:"levels_paged"` // times that people were told, all levels
	// ToAcceptance is the time from being raised to being accepted, of all of them.
	ToAcceptance time.Duration `json:"to_acceptance_ns"`
}

// MeanToAcceptance is the mean time until an alert was accepted; 0 if none was.
func (c *Counts) MeanToAcceptance() time.Duration {
	if c.Accepted == 0 {
		return 0
	}
	return c.ToAcceptance / time.Duration(c.Accepted)
}

// Stats are a Judge's counts since it was made.
type Stats struct {
	Vitals   uint64            // judged
	Patients int               // judged here now
	Failed   uint64            // times that something could not be raised, cleared or published just then
	Rules    map[string]Counts // by key, of the patients judged here, with the answers on all nodes
}

// Stats returns a snapshot of the Judge's numbers.
func (j *Judge) Stats() Stats {
	s := Stats{Vitals: j.stats.vitals.Load(), Failed: j.stats.failed.Load()}
	j.mu.Lock()
	s.Patients = len(j.beds)
	j.mu.Unlock()
	s.Rules = j.stats.counter.snapshot()
	return s
}

// tally holds a Judge's counts.
type tally struct {
	vitals  atomic.Uint64
	failed  atomic.Uint64
	counter counter
}

// A counter turns the states of alerts, in the order of their logs, into Counts.
type counter struct {
	mu   sync.Mutex
	last map[alertKey]episode
	by   map[string]*Counts
}

type alertKey struct{ patient, key string }

// episode is the newest occurrence of an alert.
type episode struct {
	id       string
	rev      uint64
	answers  int
	level    int
	accepted bool
	over     bool
	closed   bool
}

// note counts the news in a state of an alert.
func (n *counter) note(a *carewire.Alert, flaps bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.last == nil {
		n.last, n.by = make(map[alertKey]episode), make(map[string]*Counts)
	}
	k := alertKey{a.Patient, a.Key}
	e := n.last[k]
	if a.Rev < e.rev {
		return
	}
	c := n.by[a.Key]
	if c == nil {
		c = new(Counts)
		n.by[a.Key] = c
	}
	if e.id != a.ID {
		e = episode{id: a.ID}
		c.Raised++
		if flaps {
			c.FlapsHeld++
		}
	}
	fresh := min(max(a.AnswerCount-e.answers, 0), len(a.Answers))
	for _, w := range a.Answers[len(a.Answers)-fresh:] {
		switch {
		case w.Do == carewire.AnswerReject:
			c.Rejected++
		case w.Do == carewire.AnswerAccept && !e.accepted:
			e.accepted = true
			c.Accepted++
			c.ToAcceptance += w.At.Sub(a.Raised)
		}
	}
	if a.Condition == carewire.ConditionOver && !e.over && !e.accepted {
		c.SelfEnded++
	}
	if a.Closed != nil && !e.closed && !e.accepted {
		c.Closed++
	}
	c.LevelsPaged += uint64(max(a.Escalation.Level-e.level, 0))
	e.rev, e.answers, e.level = a.Rev, a.AnswerCount, max(e.level, a.Escalation.Level)
	e.over, e.closed = e.over || a.Condition == carewire.ConditionOver, e.closed || a.Closed != nil
	n.last[k] = e
}

func (n *counter) snapshot() map[string]Counts {
	n.mu.Lock()
	defer n.mu.Unlock()
	s := make(map[string]Counts, len(n.by))
	for key, c := range n.by {
		s[key] = *c
	}
	return s
}

// note counts a state of an alert of c's patient, if it is a rule's.
func (t *tally) note(c *Case, a *carewire.Alert) {
	i := c.set.index(a.Key)
	if a.Test || a.Source.By != host || i < 0 && a.Key != blindKey {
		return
	}
	t.counter.note(a, i >= 0 && c.states[i].stays())
}
