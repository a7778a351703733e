package rules

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// why raises the alert of a rule and returns its Source, as it is on the wire.
func (h *chart) why(key string) (s carewire.Source) {
	h.t.Helper()
	for _, t := range h.found {
		if t.Rule == key && t.Kind == Raised {
			require.NoError(h.t, t.Alert.Validate())
			s = t.Alert.Source
		}
	}
	require.NotEmpty(h.t, s.Rule, "no alert of %s", key)
	return s
}

// Each alert tells the rule with its version, the limits as they were with the
// delay, and each input with value, unit, age and vital_id.
func TestSourceTellsInputs(t *testing.T) {
	hr, sys := carewire.HeartRate.Code, carewire.SystolicPressure.Code
	rate := func(h *chart, id, site string, value float64) {
		v := carewire.HeartRate.Of("p1", value)
		v.ID, v.Site = id, site
		h.vital(v)
	}
	limit := func(l Limit) Limit { l.Version = "7"; return l }
	in := func(code, value, unit, id string, age time.Duration) carewire.SourceInput {
		return carewire.SourceInput{Code: code, Value: carewire.Decimal(value), Unit: unit, VitalID: id, Age: age}
	}

	t.Run("Limit", func(t *testing.T) {
		h := newChart(t, limit(high(Timing{Delay: 2 * time.Second})))
		for _, id := range []string{"a", "b", "c"} {
			rate(h, id, "", 190)
			h.wait(time.Second)
		}
		require.Equal(t, carewire.Source{Rule: "hr-high v7", Limits: "≤ 180 /min, well at 175, for 2s", Value: "190", Unit: "/min", VitalID: "c",
			Inputs: []carewire.SourceInput{in(hr, "190", "/min", "c", 0)}}, h.why("hr-high"))
	})
	t.Run("Limit of several sensors", func(t *testing.T) {
		l := high(Timing{})
		h := newChart(t, l)
		rate(h, "a", "ear", 100)
		h.wait(time.Second)
		rate(h, "b", "finger", 190)
		require.Equal(t, []carewire.SourceInput{in(hr, "190", "/min", "b", 0), in(hr, "100", "/min", "a", time.Second)}, h.why("hr-high").Inputs)
	})
	t.Run("Change", func(t *testing.T) {
		h := newChart(t, Change{About: About{Key: "rise", Text: "Rise"}, Code: hr, Unit: "/min", Direction: Rise, By: 30, Within: 10 * time.Minute})
		for i, v := range []float64{80, 70, 75, 101} {
			rate(h, string(rune('a'+i)), "", v)
			if i < 3 {
				h.wait(time.Minute)
			}
		}
		s := h.why("rise")
		require.Equal(t, []carewire.SourceInput{in(hr, "101", "/min", "d", 0), in(hr, "70", "/min", "b", 2*time.Minute)}, s.Inputs)
		require.Equal(t, "rise of 30 /min within 10m", s.Limits)
	})
	t.Run("Forecast", func(t *testing.T) {
		h := chartWith(t, Settings{On: []string{"soon"}}, Forecast{About: About{Key: "soon", Text: "Soon"}, Code: hr, Unit: "/min", Side: Above, At: 120, Within: 10 * time.Minute})
		for i := range 8 {
			rate(h, string(rune('a'+i)), "", 80+float64(5*i))
			h.wait(time.Minute)
		}
		s := h.why("soon")
		require.Len(t, s.Inputs, 2)
		require.Equal(t, "a", s.Inputs[1].VitalID)
		require.Equal(t, s.VitalID, s.Inputs[0].VitalID)
	})
	t.Run("Absent", func(t *testing.T) {
		h := newChart(t, Absent{About: About{Key: "off", Text: "Off"}, Code: hr, For: time.Minute})
		rate(h, "a", "", 80)
		for range 8 {
			h.wait(10 * time.Second)
			h.vital(carewire.SpO2.Of("p1", 97))
		}
		require.Equal(t, []carewire.SourceInput{in(hr, "80", "/min", "a", time.Minute)}, h.why("off").Inputs)
	})
	t.Run("Combination", func(t *testing.T) {
		h := newChart(t, high(Timing{}), Limit{About: About{Key: "bp-low", Text: "Low"}, Code: sys, Unit: "mm[Hg]", Side: Below, At: 90},
			Combination{About: About{Key: "shock", Text: "Shock"}, All: []string{"hr-high", "bp-low"}})
		rate(h, "a", "", 190)
		h.wait(40 * time.Second)
		v := carewire.BloodPressure.Of("p1", 80, 50)
		v.ID = "b"
		h.vital(v)
		require.Equal(t, []carewire.SourceInput{in(sys, "80", "mm[Hg]", "b", 0), in(hr, "190", "/min", "a", 40*time.Second)}, h.why("shock").Inputs)
	})
	t.Run("Func", func(t *testing.T) {
		h := newChart(t, Func{About: About{Key: "model", Text: "Model"}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: hr}, {Code: sys}},
			Judge: func(_ context.Context, vitals []carewire.Vital) (Finding, error) {
				return Finding{Present: vitals[len(vitals)-1].Code == carewire.BloodPressure.Code, Confidence: 0.9}, nil
			}})
		rate(h, "a", "", 100)
		h.wait(30 * time.Second)
		v := carewire.BloodPressure.Of("p1", 80, 50)
		v.ID = "b"
		h.vital(v)
		s := h.why("model")
		require.Equal(t, []carewire.SourceInput{in(sys, "80", "mm[Hg]", "b", 0), in(hr, "100", "/min", "a", 30*time.Second)}, s.Inputs)
		require.Contains(t, s.Limits, "m 1, confidence 0.90")
	})
	t.Run("Score", func(t *testing.T) {
		h := chartWith(t, adult, NEWS2())
		h.observe(wellOnAir(nil))
		h.wait(time.Hour)
		rate(h, "a", "", 140)
		s := h.why("news2")
		require.Len(t, s.Inputs, 7)
		require.Equal(t, "news2 vRCP 2017", s.Rule)
		ages := map[string]time.Duration{}
		for _, x := range s.Inputs {
			ages[x.Code] = x.Age
			require.True(t, x.Coded != carewire.Coding{} || x.Value != "" && x.Unit != "", "%s has no value", x.Code)
		}
		require.Zero(t, ages[hr])
		require.Equal(t, time.Hour, ages[carewire.Consciousness])
		require.Contains(t, s.Inputs, in(hr, "140", "/min", "a", 0))
	})
	t.Run("no more than 16", func(t *testing.T) {
		h := newChart(t, high(Timing{}))
		for i := range 20 {
			rate(h, "", string(rune('a'+i)), 100)
			h.wait(time.Second)
		}
		rate(h, "z", "finger", 190)
		s := h.why("hr-high")
		require.Len(t, s.Inputs, 16)
		require.Equal(t, in(hr, "190", "/min", "z", 0), s.Inputs[0])
	})
}
