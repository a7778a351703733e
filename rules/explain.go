package rules

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// StandingState is the state of a rule for a patient.
type StandingState string

// The states.
const (
	StandingOver     StandingState = "over"     // not present
	StandingWaiting  StandingState = "waiting"  // beyond its limit, not yet for long enough
	StandingPresent  StandingState = "present"  // an alert says so
	StandingClearing StandingState = "clearing" // well again, not yet for long enough
	StandingUnknown  StandingState = "unknown"  // cannot be judged
	StandingOff      StandingState = "off"      // switched off for this patient
)

// A Standing describes the present state of one rule for a patient.
type Standing struct {
	Rule     string            `json:"rule"`
	Version  string            `json:"version"`
	State    StandingState     `json:"state"`
	Since    time.Time         `json:"since,omitzero"` // of present
	Priority carewire.Priority `json:"priority,omitempty"`
	Limits   string            `json:"limits"`           // as they are for this patient
	Detail   string            `json:"detail,omitempty"` // "waiting 4 s of 10 s", "temperature is 9 h old"
	Blind    bool              `json:"blind,omitempty"`  // present, but cannot be judged at the moment
	Due      time.Time         `json:"due,omitzero"`     // of a Score: when the next measurement is
	Always   bool              `json:"always,omitempty"` // of a Score: it asks for measuring all the time
}

// ErrNotJudged means that the patient is not on the list of Options.Patients,
// or that the Judge has not read that list yet.
var ErrNotJudged = errors.New("rules: the patient is not judged")

// Explain returns the state of each rule for a patient, in the order of the
// Set. It may be called on any node: if another node judges the patient, it
// computes the states from the log, within five seconds. The errors are
// ErrNotJudged and those of the Hub's History.
func (j *Judge) Explain(patient string) ([]Standing, error) {
	j.mu.Lock()
	b, listed := j.beds[patient], slices.Contains(j.judged, patient)
	j.mu.Unlock()
	if b != nil {
		if list := b.explain(); list != nil {
			return list, nil
		}
	}
	if !listed {
		return nil, ErrNotJudged
	}
	return j.explainFromLog(patient)
}

// explain is nil while the Case is still being built.
func (b *bed) explain() []Standing {
	b.row.mu.Lock()
	defer b.row.mu.Unlock()
	if b.c == nil || b.joining || b.c.partial {
		return nil
	}
	return b.c.Explain(b.row.judge.hub.Now())
}

// explainFromLog makes a Case for once, of which nothing follows.
func (j *Judge) explainFromLog(patient string) ([]Standing, error) {
	r := &row{judge: j}
	r.ctx, r.stop = context.WithTimeout(context.Background(), callTimeout)
	defer r.stop()
	newest, head, err := j.hub.Latest(r.ctx, patient)
	if err != nil {
		return nil, err
	}
	now := j.hub.Now()
	b := newBed(r, patient, millisOf(now))
	b.aside = true
	if err := b.rebuild(newest, head.Position, readAll); err != nil {
		return nil, err
	}
	return b.c.Explain(now), nil
}

// Explain returns the state of each rule, in the order of the Set. Durations
// are given up to now.
func (c *Case) Explain(now time.Time) []Standing {
	list := make([]Standing, len(c.states))
	at := max(millisOf(now)+c.shift, c.now)
	unheeded := c.set.unheeded(&c.settings)
	for i := range c.states {
		r, st := &c.set.rules[i], &c.states[i]
		s := &list[i]
		*s = Standing{Rule: r.Key, Version: r.Version, Limits: r.explain(c, st), State: StandingOver}
		_, combined := r.machine.(*combinationMachine)
		_, absent := r.machine.(*absentMachine)
		blind := st.failure != "" || !combined && !absent && at >= st.until
		waiting, left := st.waits(r.timing(), at)
		switch {
		case st.off:
			s.State, s.Detail = StandingOff, c.offText(r)
		case st.level > 0:
			s.State, s.Since, s.Priority = StandingPresent, c.out(st.present), r.levels(&r.About)[st.level-1].priority
			if s.Blind = blind; blind {
				s.Detail = c.missing(i)
			} else if well := st.well[st.level-1]; well != 0 {
				s.State = StandingClearing
				s.Detail = fmt.Sprintf("well for %s of %s", ageText((at - well).duration()), ageText(st.clearing(r.timing()).duration()))
			} else if st.single {
				s.Detail = singleText
			}
		case blind:
			s.State, s.Detail = StandingUnknown, c.missing(i)
		case at < st.gate.until && st.latest > 0:
			s.State, s.Detail = StandingWaiting, "a person has closed it; it is raised again at "+c.out(st.gate.until).Format("15:04")+" UTC"
		case waiting:
			s.State, s.Detail = StandingWaiting, left
		}
		if why := unheeded[r.Key]; why != "" {
			s.Detail = strings.TrimSuffix(why+"; "+s.Detail, "; ")
		}
		if m, ok := r.machine.(*scoreMachine); ok && !st.off {
			s.Due, s.Always = m.next(c, m.state(st))
		}
	}
	return list
}

// waits reports whether readings are beyond the limit, and for how long of how long.
func (st *state) waits(t *Timing, now millis) (bool, string) {
	for l := int8(levelsMax); l > st.level; l-- {
		p := &st.pending[l-1]
		if p.since == 0 {
			continue
		}
		if t.Readings > 0 {
			return true, fmt.Sprintf("waiting, %d readings of %d", p.count, t.Readings)
		}
		return true, fmt.Sprintf("waiting %s of %s", ageText((now - p.since).duration()), ageText(t.Delay))
	}
	return false, ""
}

// offText describes a rule that is off: by which person, why, and until when.
func (c *Case) offText(r *compiled) string {
	off, is := c.settings.Off[r.Key]
	if !is {
		return "not switched on for this patient"
	}
	text := "switched off" + off.told()
	return strings.Map(printable, clip(text, 300))
}
