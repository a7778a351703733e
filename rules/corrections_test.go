package rules

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Each kind of rule takes a reading back that is withdrawn, and judges the one
// that corrects another.
func TestCorrectionsOfEachRule(t *testing.T) {
	hr := carewire.HeartRate.Code
	for name, c := range map[string]struct {
		rule            Rule
		settings        Settings
		before          []float64 // heart rates, a minute apart
		wrong           float64   // the reading at that time
		raised          string    // by it
		taken, replaced string    // the effect of its withdrawal, or of its correction to the last rate before
	}{
		"Change":   {Change{About: About{Key: "r", Text: "r"}, Code: hr, Unit: "/min", Direction: Rise, By: 30, Within: 10 * time.Minute}, Settings{}, []float64{70, 72}, 120, "raised medium", "cleared", "cleared"},
		"Forecast": {Forecast{About: About{Key: "r", Text: "r"}, Code: hr, Unit: "/min", Side: Above, At: 130, Within: 20 * time.Minute, From: 10 * time.Minute}, Settings{On: []string{"r"}}, repeat(12, 70), 129, "raised medium", "cleared", "cleared"},
		"Score": {Score{About: About{Key: "r", Text: "r"}, Bands: []Band{{Min: 2}}, Parts: []Part{{Name: "rate", Inputs: []Input{{Code: hr}}, Unit: "/min", MaxAge: time.Hour, Rows: []Row{upTo(100, 0), above(2)}}}},
			Settings{}, []float64{70, 72}, 120, "raised medium", "cleared", "cleared"},
		"Func": {Func{About: About{Key: "r", Text: "r"}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: hr}}, Window: time.Hour,
			Judge: func(_ context.Context, vitals []carewire.Vital) (f Finding, _ error) {
				for _, v := range vitals { // any of the last hour
					f.Present = f.Present || v.Value.Float64() > 100
				}
				f.Confidence = 1
				return f, nil
			}}, Settings{}, []float64{70, 72}, 120, "raised medium", "cleared", "cleared"},
	} {
		for _, status := range []carewire.VitalStatus{carewire.VitalEnteredInError, carewire.VitalCorrected} {
			h := chartWith(t, c.settings, c.rule)
			h.rate(time.Minute, c.before...)
			require.Empty(t, h.found, name)
			h.vital(heart(c.wrong, named("wrong")))
			require.Equal(t, c.raised, h.kinds(), name)
			h.wait(time.Second)
			h.vital(heart(c.before[len(c.before)-1], func(v *carewire.Vital) { v.Status, v.Replaces, v.ID = status, "wrong", "new" }))
			want := c.taken
			if status == carewire.VitalCorrected {
				want = c.replaced
			}
			require.Equal(t, want, h.kinds(), "%s, %s", name, status)
			h.rate(time.Minute, c.before[len(c.before)-1])
			require.Empty(t, h.kinds(), "%s, %s: and stays so", name, status)
		}
	}
}

// kinds writes the findings without their times.
func (h *chart) kinds() (text string) {
	for _, x := range h.found {
		if x.Kind == Published {
			continue
		}
		if text != "" {
			text += ", "
		}
		text += string(x.Kind)
		if x.Kind != Cleared {
			text += " " + string(x.Alert.Priority)
		}
	}
	h.found = nil
	return text
}

// A reading that shows that a number is there again, and is withdrawn, has shown
// nothing; neither has one that was the first of a silence.
func TestCorrectionOfAbsent(t *testing.T) {
	h := newChart(t, Absent{About: About{Key: "off", Text: "Off"}, Code: carewire.SpO2.Code, For: time.Minute})
	withdraw := func(id string) carewire.Vital {
		v := carewire.SpO2.Of("p1", 97)
		v.Status, v.Replaces, v.ID = carewire.VitalEnteredInError, id, id+"-gone"
		return v
	}
	spo2 := func(id string) carewire.Vital {
		v := carewire.SpO2.Of("p1", 97)
		v.ID = id
		return v
	}
	h.vital(spo2("a"))
	h.rate(10*time.Second, repeat(5, 70)...)
	h.vital(spo2("b")) // at 50 s
	h.wait(time.Second)
	h.vital(withdraw("b"))
	h.rate(10*time.Second, 70, 70)
	require.Equal(t, "raised 1m0s medium", h.story(), "the minute counts from the reading before")
	h.vital(spo2("c"))
	require.Equal(t, "cleared", h.kinds())
	h.wait(time.Second)
	h.vital(withdraw("c"))
	require.Equal(t, "raised medium", h.kinds(), "it is still missing")
}

// A combination follows its parts.
func TestCorrectionOfACombination(t *testing.T) {
	part := high(Timing{})
	part.Quiet = true
	h := newChart(t, part, Combination{About: About{Key: "any", Text: "Any"}, Any: []string{"hr-high"}})
	h.rate(time.Second, 70)
	h.vital(heart(200, named("b")))
	require.Equal(t, "raised medium", h.kinds())
	h.wait(time.Second)
	h.vital(heart(200, func(v *carewire.Vital) { v.Status, v.Replaces, v.ID = carewire.VitalEnteredInError, "b", "c" }))
	require.Equal(t, "cleared", h.kinds())
}

// Two readings that are withdrawn one after the other count no more, neither of them.
func TestTwoAreWithdrawn(t *testing.T) {
	for name, rule := range map[string]Rule{
		"Score": Score{About: About{Key: "r", Text: "r"}, Bands: []Band{{Min: 2}}, Parts: []Part{{Name: "rate", Inputs: []Input{{Code: carewire.HeartRate.Code}}, Unit: "/min", MaxAge: time.Hour, Rows: []Row{upTo(100, 0), above(2)}}}},
		"Limit": high(Timing{}),
	} {
		h := newChart(t, rule)
		for _, id := range []string{"a", "b"} {
			h.vital(heart(200, named(id)))
			h.wait(time.Second)
		}
		require.Equal(t, "raised medium", h.kinds(), name)
		for _, id := range []string{"b", "a"} {
			h.vital(heart(200, func(v *carewire.Vital) { v.Status, v.Replaces, v.ID = carewire.VitalEnteredInError, id, "gone-"+id }))
		}
		if name == "Limit" {
			require.Equal(t, "cleared", h.kinds(), name)
			continue
		}
		require.Contains(t, h.c.Explain(h.now)[0].Detail, "rate is missing")
	}
}

// A reading that is withdrawn ends no alert that another sensor shows to be true.
func TestWithdrawnWhileAnotherSensorIsOut(t *testing.T) {
	at := func(site, id string, rate float64) carewire.Vital {
		return heart(rate, func(v *carewire.Vital) { v.Site, v.ID = site, id })
	}
	withdrawn := func(id string) carewire.Vital {
		return heart(200, func(v *carewire.Vital) { v.Status, v.Replaces, v.ID = carewire.VitalEnteredInError, id, "gone" })
	}
	for ear, want := range map[float64]string{200: "", 100: "cleared medium"} {
		h := newChart(t, high(Timing{}))
		h.vital(at("finger", "f", 200))
		h.wait(time.Second)
		h.vital(at("ear", "e", ear))
		require.Equal(t, "raised medium", h.kinds())
		h.vital(withdrawn("f"))
		require.Equal(t, want != "", h.kinds() == "cleared", "ear %v", ear)
	}
}
