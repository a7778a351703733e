package drive

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/carewire/carewire/internal/process"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The Hub's promises of time: it looks for due entries each second, and takes
// up again after ten a claim of a run that was killed.
const (
	looksEvery = time.Second
	claimFor   = 10 * time.Second
)

// escalations compares the levels in the logs with the pages that went out.
type escalations struct {
	t     testing.TB
	nodes []*Node
	slack time.Duration
	blind bool
	read  time.Time // when the reading of the whole logs began

	system map[string][]*AlertText // of the system's log
	Figures
}

// settle waits until nothing is overdue: the levels that killed runs left
// undone have been taken up. It reads and checks all of the logs then. In that
// of the system there is a complaint, an alert as well, about each alert that
// went through all steps.
func (e *escalations) settle(ctx context.Context, reader *Caller, beds []*Bed) {
	e.t.Helper()
	settled := make(map[string]bool)
	process.Poll(e.t, 2*process.Patience, func() (bool, string) {
		for _, b := range beds {
			b.verify(ctx, reader, false)
			now := time.Now()
			for id, states := range b.states {
				a := states[len(states)-1]
				x := a.Escalation
				switch {
				case settled[id]:
				case !a.Ended.IsZero(), x.State == "off", x.Level >= 3 && x.State != "claimed" && x.State != "due" && now.Sub(x.Due) < looksEvery:
					settled[id] = true
				default:
					return false, fmt.Sprintf("%s is at level %d, %s, due %s ago", id, x.Level, x.State, now.Sub(x.Due))
				}
			}
		}
		return true, ""
	})
	e.read = time.Now()
	for _, b := range beds {
		b.verify(ctx, reader, true)
	}
	var missing []string
	process.Poll(e.t, 2*process.Patience, func() (bool, string) {
		e.system = make(map[string][]*AlertText)
		log, err := reader.History(ctx, "@system", 0)
		require.NoError(e.t, err)
		complaints := make(map[string]bool)
		for i := range log {
			a := new(AlertText)
			require.Equal(e.t, "alert", log[i].Type)
			require.NoError(e.t, json.Unmarshal(log[i].Alert, a))
			require.Contains(e.t, []string{"policy-exhausted", "unreached", "policy-failed"}, a.Key)
			complaints[a.Key] = true
			e.system[a.ID] = append(e.system[a.ID], a)
		}
		missing = nil
		for _, b := range beds {
			for id, states := range b.states {
				last := states[len(states)-1]
				told := slices.ContainsFunc(states, func(a *AlertText) bool { return a.Escalation.Level > 3 && a.Escalation.State == "notified" })
				if told && last.Escalation.Level > 3 && !complaints["policy-exhausted"] {
					missing = append(missing, id)
				}
			}
		}
		return len(missing) == 0 || time.Since(e.read) > process.Patience, ""
	})
	for _, id := range missing {
		e.t.Errorf("%s went through all steps of the policy, and the system's log does not say so", id)
	}
}

// steps are those of the node's policy.
var steps = []string{"person:first", "person:second", "person:third"}

type stepOf struct {
	alert string
	level int
}

// judge checks each alert's levels: each is told once in the log, one after the
// other, has at least one page, in time, to the policy's recipients; and nothing
// comes after somebody has accepted or it is over, but the recipients of the level
// that was being told then.
func (e *escalations) judge(beds []*Bed) {
	for _, n := range e.nodes {
		e.blind = e.blind || n.failing()
	}
	pages := make(map[stepOf][]page)
	for _, n := range e.nodes {
		for _, p := range n.pages() {
			// A node that cannot reach its store pages the next recipients, and records
			// nothing.
			if p.away && (p.level < 1 || p.to != steps[min(p.level, 3)-1]) {
				e.Blind++
				continue
			}
			k := stepOf{p.alert, p.level}
			pages[k] = append(pages[k], p)
			e.Pages++
		}
	}
	for _, went := range pages {
		slices.SortFunc(went, func(x, y page) int { return x.at.Compare(y.at) })
	}
	for id, states := range e.system {
		e.judgeAlert(id, states, pages)
	}
	for _, b := range beds {
		for id, states := range b.states {
			if e.judgeAlert(id, states, pages) {
				e.Exhausted++
			}
		}
	}
	for k, went := range pages {
		if went[0].at.Before(e.read) && !e.blind && !went[0].away {
			e.t.Errorf("%s: a page of level %d, which nothing has claimed", k.alert, k.level)
		}
	}
}

// judgeAlert returns whether the alert has gone through all steps, and removes
// the pages that are as they should be.
func (e *escalations) judgeAlert(id string, states []*AlertText, pages map[stepOf][]page) (exhausted bool) {
	t := e.t
	assert.Equal(t, 0, states[0].Escalation.Level)
	assert.Equal(t, "due", states[0].Escalation.State)
	due, before := states[0].Raised, time.Time{}
	told, began := 0, 0 // the steps began after that level
	overtaken := false  // it was accepted or ended while a level was being told
	claims := make(map[int]int)
	for i := 1; i < len(states); i++ {
		prev, a := states[i-1], states[i]
		x := a.Escalation
		changed := a.Rev > prev.Rev // by a person or its source, not by the telling
		if changed && prev.Escalation.State == "claimed" && (x.State == "off" || x.State == "due" && x.Step == 0) {
			// It was accepted, or its steps began anew at once, while the level was
			// being told. The level is not recorded then.
			told, overtaken = prev.Escalation.Level, x.State == "off"
		}
		if prev.Escalation.State == "off" && !changed {
			if overtaken && x.State == "off" && x.Level == prev.Escalation.Level {
				overtaken = false // the people who were told all the same are addressed
				continue
			}
			t.Errorf("%s: something happens after it was accepted or closed: level %d, %s", id, x.Level, x.State)
		}
		// An alert that is over is told until somebody has heard of it, and no
		// further.
		lastTold := x.State == "off" && !changed && prev.Escalation.State == "claimed"
		switch {
		case x.State == "due" && changed: // a complaint that was over is true again: its steps go on
			if due = x.Due; x.Step == 0 {
				began = x.Level
			}
			continue
		case x.State == "claimed" && !changed:
			if claims[x.Level]++; x.Level != told+1 {
				t.Errorf("%s: level %d was claimed after level %d was told:%s", id, x.Level, told, trail(states[:i+1]))
			}
			if went := pages[stepOf{id, x.Level}]; len(went) > 0 && went[0].at.Before(x.Began) && !e.blind {
				t.Errorf("%s: level %d was paged before it was claimed", id, x.Level)
			}
			continue
		case x.State != "notified" && x.State != "failed" && !lastTold:
			continue
		case changed: // if it was rejected the next level may come at once
			due = x.Due
			continue
		case prev.Escalation.State != "claimed" || x.Level != told+1:
			t.Errorf("%s: level %d is %s after level %d, %s", id, x.Level, x.State, prev.Escalation.Level, prev.Escalation.State)
		}
		told = x.Level
		went := pages[stepOf{id, told}]
		if len(went) == 0 {
			t.Errorf("%s: level %d is %s and no page went out", id, told, x.State)
			continue
		}
		e.Levels++
		if len(went) > 1 {
			e.PagedAgain++
		}
		for _, p := range went {
			if want := steps[min(told-began, 3)-1]; p.to != want || !slices.Equal(x.Told, []string{want}) {
				t.Errorf("%s: level %d, step %d, was told to %s", id, told, x.Step, p.to)
			}
		}
		// It could go out when it was due, the level before was told, and a node was running.
		first, could := went[0], due
		for _, at := range []time.Time{before, upSince(e.nodes, first.at)} {
			if at.After(could) {
				could = at
			}
		}
		late := first.at.Sub(could)
		if claims[told] > 1 {
			e.ClaimedAgain++
			e.LateAgain = append(e.LateAgain, late)
			assert.Less(t, late, claimFor+looksEvery+e.slack, "%s: level %d", id, told)
		} else {
			e.Late = append(e.Late, late)
			assert.Less(t, late, looksEvery+e.slack, "%s: level %d", id, told)
		}
		due, before = x.Due, went[len(went)-1].at
	}
	for level := range claims {
		delete(pages, stepOf{id, level})
	}
	return told > 3
}

// trail writes the history of an alert, a state on each line.
func trail(states []*AlertText) string {
	var b strings.Builder
	for _, a := range states {
		x := a.Escalation
		fmt.Fprintf(&b, "\n  rev %d, %s, %s, level %d, step %d, %s, due %s", a.Rev, a.Key, a.Condition, x.Level, x.Step, x.State, x.Due.Format(time.TimeOnly))
	}
	return b.String()
}
