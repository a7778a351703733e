package rules

import (
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/stretchr/testify/require"
)

// While the Store fails, a rise to high stays owed, after any other change of the
// alert in the meantime: a step of its escalation is not the rise.
func TestOwedRiseOutlivesAnEscalation(t *testing.T) {
	rule := high(Timing{})
	rule.Severe = &Severe{At: 200}
	set, err := NewSet(rule)
	require.NoError(t, err)
	c := NewCase(set, "p1", Settings{})
	at := start
	read := func(seq uint64, rate float64) {
		v := carewire.HeartRate.Of("p1", rate)
		at = at.Add(time.Second)
		v.Time, v.Received = at, at
		c.Vital(carewire.Position{Epoch: "e", Seq: seq}, &v)
	}
	revision := func(seq, rev uint64, p carewire.Priority, r carewire.Raise) {
		c.Alert(carewire.Position{Epoch: "e", Seq: seq}, &carewire.Alert{Patient: "p1", Key: r.Key, ID: r.ID, Rev: rev, Priority: p,
			Condition: carewire.ConditionPresent, Source: carewire.Source{By: host}, Raised: at, Updated: at})
	}
	read(1, 190)
	raised := c.Owed()
	require.Len(t, raised, 1)
	require.Equal(t, carewire.PriorityMedium, raised[0].Alert.Priority)
	revision(2, 1, carewire.PriorityMedium, raised[0].Alert)
	read(3, 210)
	revision(4, 2, carewire.PriorityMedium, raised[0].Alert) // told at its second level
	owed := c.Owed()
	require.Len(t, owed, 1, "the rise is lost")
	require.Equal(t, carewire.PriorityHigh, owed[0].Alert.Priority)

	revision(5, 3, carewire.PriorityHigh, raised[0].Alert)
	read(6, 190)
	revision(7, 4, carewire.PriorityMedium, raised[0].Alert) // another Judge has said it
	require.Empty(t, c.Owed())
}

// An alert that a Judge finds missing in the log is raised under the name that the
// Judge before it has used, or would have: that one's raise may still be on its way.
func TestReconciledUnderTheSameName(t *testing.T) {
	cleared := &carewire.Alert{Patient: "p1", Key: "hr-high", ID: "x", Rev: 2, Priority: carewire.PriorityMedium,
		Condition: carewire.ConditionOver, Source: carewire.Source{By: host}, Raised: start, Updated: start.Add(4 * time.Second)}
	for name, log := range map[string]func(*chart){
		"not raised": func(h *chart) { h.rate(time.Second, 100, 190, 200, 195) },
		"cleared by somebody else": func(h *chart) {
			h.rate(time.Second, 100, 190, 200, 195)
			h.seq++
			h.c.Alert(carewire.Position{Epoch: "e", Seq: h.seq}, cleared)
			h.take()
		},
	} {
		t.Run(name, func(t *testing.T) {
			before, after := newChart(t, high(Timing{Readings: 3, Flaps: -1})), newChart(t, high(Timing{Readings: 3, Flaps: -1}))
			log(before)
			log(after) // silently
			after.rate(time.Second, 185)
			after.found = nil
			after.c.reconcile()
			after.take()
			require.Len(t, after.found, 1)
			require.Equal(t, Raised, after.found[0].Kind)
			require.Equal(t, before.found[len(before.found)-1].Alert.ID, after.found[0].Alert.ID)
		})
	}
}

// A case that begins in the middle of a log: a crossing that was judged before, and
// said late, is neither said again nor forgotten.
func TestLeftToTheJudgeBefore(t *testing.T) {
	type step func(h *chart)
	read := func(rate float64) step {
		return func(h *chart) {
			v := carewire.HeartRate.Of("p1", rate)
			h.seq++
			h.now = h.now.Add(time.Second)
			v.Time, v.Received = h.now, h.now
			h.c.Vital(carewire.Position{Epoch: "e", Seq: h.seq}, &v)
		}
	}
	said := func(rev uint64, condition carewire.Condition) step {
		return func(h *chart) {
			h.seq++
			h.c.Alert(carewire.Position{Epoch: "e", Seq: h.seq}, &carewire.Alert{Patient: "p1", Key: "hr-high", ID: "x", Rev: rev, Priority: carewire.PriorityMedium,
				Condition: condition, Source: carewire.Source{By: host}, Raised: start, Updated: h.now})
		}
	}
	present, over := carewire.ConditionPresent, carewire.ConditionOver
	leave, reconcile := step(func(h *chart) { h.c.leave() }), step(func(h *chart) { h.c.reconcile() })
	for name, x := range map[string]struct {
		steps []step
		story string
	}{
		"said behind later readings":    {[]step{read(190), read(170), leave, read(172), said(1, present), said(2, over), reconcile}, ""},
		"and counted":                   {[]step{read(190), read(170), leave, read(172), said(1, present), said(2, over), reconcile, read(190), read(170)}, "raised 3s medium"}, // it flaps, and stays
		"the end was not said":          {[]step{read(190), read(170), leave, said(1, present), reconcile}, "cleared 1s"},
		"nothing was said":              {[]step{read(190), leave, reconcile}, "raised 0s medium"},
		"nothing was said, it is over":  {[]step{read(190), read(170), leave, reconcile}, ""},
		"another's, cleared by it":      {[]step{read(170), said(1, present), said(2, over)}, ""},
		"another's, cleared, and again": {[]step{read(170), said(1, present), said(2, over), read(190)}, "raised 1s medium"},
		"another's, and confirmed":      {[]step{read(170), said(1, present), read(190), said(2, over)}, "raised 1s medium"},
	} {
		t.Run(name, func(t *testing.T) {
			h := newChart(t, high(Timing{Flaps: 1}))
			h.now = start.Add(-time.Second)
			for _, do := range x.steps {
				do(h)
			}
			h.take()
			require.Equal(t, x.story, h.story())
		})
	}
}
