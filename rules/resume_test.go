package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A rule that is switched on again knows the readings that have come meanwhile.
// Complaint 14: it was switched on again, and no alarm came later.
func TestSwitchedOnAgain(t *testing.T) {
	off := func(key string) Settings {
		return Settings{Born: adult.Born, Off: map[string]Off{key: {By: "Dr Gray", Reason: "bath", Until: start.Add(10 * time.Minute)}}}
	}
	absent := Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: time.Minute}
	t.Run("the probe is still off", func(t *testing.T) {
		h := newChart(t, absent)
		h.vital(carewire.SpO2.Of("p1", 97))
		h.c.Apply(off("spo2-off"))
		h.rate(time.Second, repeat(599, 70)...)
		require.Empty(t, h.story())
		h.rate(time.Second, repeat(30, 70)...)
		require.Equal(t, "raised 10m16s medium", h.story())
	})
	t.Run("a score from earlier readings", func(t *testing.T) {
		h := chartWith(t, off("news2"), NEWS2())
		h.wait(time.Minute)
		h.observe(wellOnAir(observations{"respiration": "26"}))
		h.wait(8 * time.Minute)
		require.Empty(t, only(h.found, Raised))
		h.wait(2 * time.Minute)
		require.Len(t, only(h.found, Raised), 1)
		require.Equal(t, StandingPresent, h.c.Explain(h.now)[0].State)
	})
	t.Run("a combination of present parts", func(t *testing.T) {
		h := chartWith(t, off("both"), high(Timing{}), absent, Combination{About: About{Key: "both", Text: "Both"}, All: []string{"hr-high", "spo2-off"}})
		h.vital(carewire.SpO2.Of("p1", 97))
		h.rate(time.Second, repeat(601, 200)...)
		require.Equal(t, "raised 0s medium, raised 1m0s medium, raised 10m0s medium", h.story())
	})
	t.Run("optional", func(t *testing.T) {
		h := newChart(t, high(Timing{}), Combination{About: About{Key: "any", Text: "Any", Optional: true}, Any: []string{"hr-high"}})
		h.rate(time.Second, 200)
		h.story()
		h.c.Apply(Settings{On: []string{"any"}})
		h.take()
		require.Equal(t, "raised 1s medium", h.story())
	})
}

// A rule that a house gives up is made Optional first: its present alerts are
// ended.
func TestRuleIsGivenUp(t *testing.T) {
	old := high(Timing{})
	old.Optional = true
	h := newChart(t, old)
	h.c.Alert(carewire.Position{Epoch: "e", Seq: 1}, &carewire.Alert{Patient: "p1", Key: "hr-high", ID: "x", Rev: 1, Priority: carewire.PriorityMedium,
		Condition: carewire.ConditionPresent, Source: carewire.Source{By: host}, Raised: start, Updated: start})
	h.c.reconcile()
	h.take()
	require.Equal(t, "cleared 0s", h.story())
}

// A reading that has raised an alert when the rule was switched on again ends it when
// it is withdrawn, under a name that no earlier end has.
func TestWithdrawnAfterSwitchedOn(t *testing.T) {
	h := newChart(t, high(Timing{}))
	v := heart(200, named("a"))
	v.Every = 10 * time.Minute
	h.vital(v)
	h.c.Apply(Settings{Off: map[string]Off{"hr-high": {By: "Dr Gray", Until: start.Add(10 * time.Minute)}}})
	h.wait(time.Minute)
	h.vital(carewire.SpO2.Of("p1", 97))
	h.wait(10 * time.Minute)
	h.vital(heart(200, func(v *carewire.Vital) { v.Status, v.Replaces, v.ID = carewire.VitalEnteredInError, "a", "gone" }))
	events := make(map[string]bool)
	for _, x := range only(h.found, Cleared) {
		events[x.event] = true
	}
	require.Len(t, events, 2)
	require.Equal(t, "raised medium, cleared, raised medium, cleared", h.kinds())
}
