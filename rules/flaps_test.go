package rules

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// grafana #7886, alertmanager #204, complaint 17: flapping.
func TestFlapsAreHeld(t *testing.T) {
	h := newChart(t, high(Timing{Flaps: 3, Settle: 5 * time.Minute}))
	h.rate(time.Minute, 200, 100, 200, 100, 200, 100)
	require.Equal(t, "raised 0s medium, cleared 1m0s, raised 2m0s medium, cleared 3m0s, raised 4m0s medium, cleared 5m0s", h.story())
	h.rate(time.Minute, 200, 100, 200, 100, 100, 100, 100)
	require.Contains(t, h.found[0].Alert.Text, "come back often; it stays until it has been well for 5m")
	require.Equal(t, "raised 6m0s medium", h.story())
	h.rate(time.Minute, 100, 100, 100)
	require.Equal(t, "cleared 14m0s", h.story())
	h.wait(2 * time.Hour)
	h.story()
	h.rate(time.Minute, 200, 100)
	require.Contains(t, h.story(), "cleared", "an hour later it is an alert like any other")
}

// As many alerts an hour as the rule says are raised, the next one stays.
func TestFlapsAreCounted(t *testing.T) {
	for flaps, want := range map[int]int{0: 7, 1: 2, 6: 7, 7: 8, 8: 9, 20: 21, 29: 30} {
		h := newChart(t, high(Timing{Flaps: flaps, Settle: 2 * time.Hour}))
		h.rate(time.Minute, repeat(30, 200, 100)...)
		require.Len(t, only(h.found, Raised), want, "flaps %d", flaps)
	}
	_, err := NewSet(high(Timing{Flaps: 61}))
	require.ErrorContains(t, err, "flaps")
}

func only(list []Transition, kind TransitionKind) (some []Transition) {
	for _, t := range list {
		if t.Kind == kind {
			some = append(some, t)
		}
	}
	return some
}

// judgement.md: caps and quiet hours blocked the urgent low. Under each rule an
// alert of high priority is cleared and raised each time, and the people who have
// had it are told again; it says that it has come back often.
func TestNothingHoldsBackHigh(t *testing.T) {
	plain := high(Timing{Flaps: 1})
	plain.Priority = carewire.PriorityHigh
	severe := high(Timing{Flaps: 1})
	severe.Severe = &Severe{At: 190}
	model := Func{About: About{Key: "model", Text: "Model"}, Timing: Timing{Flaps: 1}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: carewire.HeartRate.Code}},
		Judge: func(_ context.Context, vitals []carewire.Vital) (Finding, error) {
			return Finding{Present: vitals[len(vitals)-1].Value.Float64() > 180, Confidence: 1, Priority: carewire.PriorityHigh}, nil
		}}
	change := Change{About: About{Key: "rise", Text: "Rise", Priority: carewire.PriorityHigh}, Timing: Timing{Flaps: 1}, Code: carewire.HeartRate.Code, Unit: "/min",
		Direction: Rise, By: 50, Within: time.Hour}
	score := Score{About: About{Key: "score", Text: "Score"}, Timing: Timing{Flaps: 1}, Bands: []Band{{Min: 1, Priority: carewire.PriorityMedium}, {Min: 2, Priority: carewire.PriorityHigh}},
		Parts: []Part{{Name: "heart rate", Inputs: []Input{{Code: carewire.HeartRate.Code}}, Unit: "/min", MaxAge: time.Hour, Rows: []Row{upTo(180, 0), above(2)}}}}
	both := Combination{About: About{Key: "both", Text: "Both", Priority: carewire.PriorityHigh}, Any: []string{"hr-high"}}
	part := plain
	part.Quiet = true
	for name, list := range map[string][]Rule{"a limit": {plain}, "a second limit": {severe}, "a model": {model}, "a change": {change}, "a score": {score},
		"a combination": {part, both}} {
		t.Run(name, func(t *testing.T) {
			h := newChart(t, list...)
			h.rate(time.Minute, repeat(25, 100, 200)...)
			raised := only(h.found, Raised)
			require.Len(t, raised, 25)
			for _, x := range raised {
				require.Equal(t, carewire.PriorityHigh, x.Alert.Priority)
				require.NotContains(t, x.Alert.Text, staysText)
			}
			require.Len(t, only(h.found, Cleared), 24)
			if name != "a combination" {
				require.Contains(t, raised[5].Alert.Text, flapsText)
			}
		})
	}
	t.Run("one that is held rises", func(t *testing.T) {
		r := high(Timing{Flaps: 1})
		r.Severe = &Severe{At: 200}
		h := newChart(t, r)
		h.rate(time.Minute, 190, 100, 190, 100, 190, 190)
		h.story()
		h.rate(time.Minute, 210, 100)
		require.Equal(t, "updated 6m0s high, cleared 7m0s", h.story())
	})
}

// nocturne: a cap dropped new alerts. However many there are, of one patient or of
// many rules, each is raised, with the defaults.
func TestNoCapDropsAlerts(t *testing.T) {
	urgent := high(Timing{})
	urgent.Priority = carewire.PriorityHigh
	h := newChart(t, urgent)
	h.rate(time.Second, repeat(400, 200, 100)...)
	require.Len(t, only(h.found, Raised), 400)
	var list []Rule
	for i := range 200 {
		r := high(Timing{})
		r.Key = fmt.Sprint("limit-", i)
		list = append(list, r)
	}
	h = newChart(t, list...)
	h.rate(time.Second, 200)
	require.Len(t, only(h.found, Raised), 200)
}

// An absence that comes back often stays until the number has come for Settle
// without a break: another absence begins that anew.
func TestFlappingAbsenceStays(t *testing.T) {
	h := newChart(t, Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: 2 * time.Second})
	spo2 := func(seconds int, on bool) {
		for range seconds {
			h.vital(carewire.HeartRate.Of("p1", 70))
			if on {
				h.vital(carewire.SpO2.Of("p1", 97))
			}
			h.wait(time.Second)
		}
	}
	for range 7 {
		spo2(5, true)
		spo2(5, false)
	}
	require.Len(t, only(h.found, Raised), 7)
	spo2(570, true) // nine and a half minutes
	spo2(5, false)
	spo2(590, true)
	require.Len(t, only(h.found, Cleared), 6)
	spo2(20, true)
	require.Len(t, only(h.found, Cleared), 7)
	require.Len(t, only(h.found, Raised), 7)
}
