package rules

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Readings decide the same however far time has gone on before they are judged, as
// where the Store is slow and they wait: they are judged by the times at which they
// were received. A probe that is off for longer than a saturation counts is among
// them.
func TestReadingsThatWaited(t *testing.T) {
	score := Score{About: About{Key: "score", Text: "Score"}, Timing: Timing{Flaps: -1}, Bands: []Band{{Min: 2, Priority: carewire.PriorityMedium}, {Min: 4, Priority: carewire.PriorityHigh}}, Parts: []Part{
		{Name: "rate", Inputs: []Input{{Code: carewire.HeartRate.Code}}, Unit: "/min", MaxAge: time.Hour, Rows: []Row{{Max: new(110.0)}, {Max: new(180.0), Points: 1}, {Points: 2}}},
		{Name: "saturation", Inputs: []Input{{Code: carewire.SpO2.Code}}, Unit: "%", MaxAge: 3 * time.Second, Rows: []Row{{Max: new(91.0), Points: 2}, {}}},
	}}
	run := func(ahead time.Duration) []Transition {
		rng, waits := rand.New(rand.NewPCG(1, 1)), rand.New(rand.NewPCG(2, 2))
		h := newChart(t, high(Timing{Flaps: -1}), score, Change{About: About{Key: "rise", Text: "Rise"}, Timing: Timing{Flaps: -1}, Code: carewire.HeartRate.Code, Unit: "/min", Direction: Rise, By: 60, Within: time.Hour, Margin: 10})
		for range 2000 {
			h.vital(carewire.HeartRate.Of("p1", []float64{100, 178, 200}[rng.IntN(3)]))
			if rng.IntN(9) == 0 {
				h.vital(carewire.SpO2.Of("p1", []float64{97, 88}[rng.IntN(2)]))
			}
			h.now = h.now.Add(time.Duration(1+rng.IntN(4)) * 250 * time.Millisecond)
			if ahead > 0 && waits.IntN(2) == 0 { // the next reading is already received, and waits
				h.c.Advance(h.now.Add(ahead))
				h.take()
			}
		}
		return slices.DeleteFunc(h.found, func(x Transition) bool { return x.Rule == blindKey || x.Kind == Published })
	}
	said := func(list []Transition) (words []string) {
		for _, x := range list {
			words = append(words, x.Rule+" "+string(x.Kind)+" "+string(x.Alert.Priority)+" "+x.Alert.ID)
		}
		return words
	}
	want := said(run(0))
	require.Greater(t, len(want), 500)
	for _, ahead := range []time.Duration{time.Millisecond, 700 * time.Millisecond, 2 * time.Second, 5 * time.Second} {
		require.Equal(t, want, said(run(ahead)), "%s", ahead)
	}
}

// An input counts until its greatest age, and from then on no more.
func TestGreatestAgeOfAnInput(t *testing.T) {
	for after, want := range map[time.Duration]int{time.Hour - time.Millisecond: 1, time.Hour: 0, time.Hour + time.Millisecond: 0} {
		h := newChart(t, Score{About: About{Key: "s", Text: "S"}, Bands: []Band{{Min: 2, Priority: carewire.PriorityMedium}}, Parts: []Part{
			{Name: "rate", Inputs: []Input{{Code: carewire.HeartRate.Code}}, Unit: "/min", MaxAge: 2 * time.Hour, Rows: []Row{{Max: new(110.0)}, {Points: 1}}},
			{Name: "saturation", Inputs: []Input{{Code: carewire.SpO2.Code}}, Unit: "%", MaxAge: time.Hour, Rows: []Row{{Max: new(91.0), Points: 1}, {}}},
		}})
		h.vital(carewire.HeartRate.Of("p1", 100))
		h.vital(carewire.SpO2.Of("p1", 88))
		h.now = h.now.Add(after) // no time goes on by itself: the reading brings it
		h.vital(carewire.HeartRate.Of("p1", 150))
		require.Len(t, only(h.found, Raised), want, "%s", after)
	}
}

// An absence that was over before anybody looked is said all the same, also where
// time has gone on beyond it.
func TestAbsenceThatWaited(t *testing.T) {
	h := newChart(t, Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: 2 * time.Second})
	h.vital(carewire.SpO2.Of("p1", 97))
	h.wait(5 * time.Second)
	h.now = start.Add(1500 * time.Millisecond)
	h.vital(carewire.HeartRate.Of("p1", 70))
	h.now = start.Add(3 * time.Second)
	h.vital(carewire.SpO2.Of("p1", 97))
	require.Equal(t, start.Add(2*time.Second), h.found[0].Alert.Onset, "when it was missing, not when that was seen")
	require.Equal(t, "raised 5s medium, cleared 5s", h.story())
}

// An alert, or a score of the rules' own, moves time less far than a device's reading:
// readings that were received before it may be in the log behind it.
func TestOvertakenReadingsAreNotMissing(t *testing.T) {
	for name, overtake := range map[string]func(*chart){
		"by an alert": func(h *chart) {
			h.seq++
			h.c.Alert(carewire.Position{Epoch: "e", Seq: h.seq}, &carewire.Alert{Patient: "p1", Key: "other", Updated: h.now})
		},
		"by a score": func(h *chart) {
			h.vital(carewire.Vital{Code: "news", System: House, Value: "1", Unit: "{score}", Device: ownDevice + "news2"})
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := newChart(t, Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: 2 * time.Second})
			h.vital(carewire.SpO2.Of("p1", 97))
			h.now = start.Add(1500 * time.Millisecond)
			h.vital(carewire.HeartRate.Of("p1", 70))
			h.now = start.Add(9 * time.Second)
			overtake(h)
			h.now = start.Add(1900 * time.Millisecond)
			h.vital(carewire.SpO2.Of("p1", 97))
			require.Empty(t, h.story())
		})
	}
}
