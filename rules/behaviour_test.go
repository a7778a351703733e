package rules

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func heart(rate float64, with func(*carewire.Vital)) carewire.Vital {
	v := carewire.HeartRate.Of("p1", rate)
	if with != nil {
		with(&v)
	}
	return v
}

func flagged(q carewire.Quality) func(*carewire.Vital) {
	return func(v *carewire.Vital) { v.Quality = []carewire.Quality{q} }
}

func named(id string) func(*carewire.Vital) { return func(v *carewire.Vital) { v.ID = id } }

// judgement.md: readings flagged invalid or under calibration raised and cleared.
func TestQualityIsHeeded(t *testing.T) {
	for _, q := range []carewire.Quality{carewire.QualityInvalid, carewire.QualityCalibration, carewire.QualityBusy, carewire.QualityLate} {
		h := newChart(t, high(Timing{}))
		h.vital(heart(200, flagged(q)))
		require.Empty(t, h.story(), "%s raises", q)
		h.vital(heart(200, nil))
		require.Equal(t, "raised 0s medium", h.story())
		h.vital(heart(100, flagged(q)))
		require.Empty(t, h.story(), "%s clears", q)
	}
	h := newChart(t, high(Timing{}))
	h.vital(heart(200, flagged(carewire.QualityQuestionable)))
	require.Contains(t, h.found[0].Alert.Text, "questionable")
	require.Equal(t, "raised 0s medium", h.story())
	h.vital(heart(100, flagged(carewire.QualityQuestionable)))
	require.Empty(t, h.story(), "a questionable reading does not show that all is well")
	h.vital(heart(100, nil))
	require.Equal(t, "cleared 0s", h.story())
}

// judgement.md: a reading three hours old raised and ended alerts.
func TestOldReadingsAreHistory(t *testing.T) {
	for _, age := range []time.Duration{3 * time.Minute, 3 * time.Hour} {
		old := func(v *carewire.Vital) { v.Time = start.Add(-age) }
		h := newChart(t, high(Timing{}))
		h.vital(heart(100, nil))
		h.vital(heart(200, old))
		require.Empty(t, h.story(), "%s", age)
		h.vital(heart(200, nil))
		h.vital(heart(100, old))
		require.Equal(t, "raised 0s medium", h.story(), "%s", age)
	}
}

// judgement.md: a withdrawn or corrected reading changed nothing. Complaint 11:
// alarms sound on for a corrected condition.
func TestCorrectionsCount(t *testing.T) {
	correct := func(status carewire.VitalStatus) func(*carewire.Vital) {
		return func(v *carewire.Vital) { v.Status, v.Replaces, v.ID = status, "b", "c" }
	}
	for name, c := range map[string]struct {
		first, second, third carewire.Vital
		want                 string
	}{
		"withdrawn":                    {heart(100, named("a")), heart(200, named("b")), heart(200, correct(carewire.VitalEnteredInError)), "raised 1s medium, cleared 2s"},
		"corrected to normal":          {heart(100, named("a")), heart(200, named("b")), heart(100, correct(carewire.VitalCorrected)), "raised 1s medium, cleared 2s"},
		"corrected to a normal one":    {heart(100, named("a")), heart(100, named("b")), heart(200, correct(carewire.VitalCorrected)), "raised 2s medium"},
		"a clearing reading withdrawn": {heart(200, named("a")), heart(100, named("b")), heart(100, correct(carewire.VitalEnteredInError)), "raised 0s medium, cleared 1s, raised 2s medium"},
		"of an older one, nothing":     {heart(200, named("b")), heart(200, named("a")), heart(100, correct(carewire.VitalEnteredInError)), "raised 0s medium"},
		"of the only one, all is over": {carewire.BodyTemperature.Of("p1", 37), heart(200, named("b")), heart(200, correct(carewire.VitalEnteredInError)), "raised 1s medium, cleared 2s"},
	} {
		h := newChart(t, high(Timing{}))
		for _, v := range []carewire.Vital{c.first, c.second, c.third} {
			h.vital(v)
			h.wait(time.Second)
		}
		require.Equal(t, c.want, h.story(), name)
	}
}

// judgement.md: finger 80 and ear 97 cancelled each other.
func TestSeveralSensors(t *testing.T) {
	at := func(site string, spo2 float64) carewire.Vital {
		v := carewire.SpO2.Of("p1", spo2)
		v.Site = site
		return v
	}
	for _, c := range []struct {
		sensors Sensors
		want    string
	}{
		{"", "raised 1s medium"}, {SensorsAny, "raised 1s medium"}, {SensorsAll, ""}, {"site:ear", ""}, {"site:finger", "raised 1s medium"},
		{SensorsNewest, "raised 1s medium, cleared 2s, raised 3s medium, cleared 4s, raised 5s medium, cleared 6s"},
	} {
		h := newChart(t, Limit{About: About{Key: "low", Text: "SpO2 low"}, Code: carewire.SpO2.Code, Unit: "%", Side: Below, At: 90, Sensors: c.sensors})
		for range 3 {
			h.vital(at("ear", 97))
			h.wait(time.Second)
			h.vital(at("finger", 80))
			h.wait(time.Second)
		}
		h.vital(at("ear", 97))
		require.Equal(t, c.want, h.story(), "sensors %q", c.sensors)
		h.wait(30 * time.Second)
		h.vital(at("finger", 97))
		h.story()
		h.wait(3 * time.Minute)
		h.vital(at("ear", 80)) // the finger's has stopped: it counts no more
		if c.sensors == SensorsAll {
			require.Equal(t, "raised 3m36s medium", h.story())
		}
	}
}

// alert gives the chart's Case an alert of the log.
func (h *chart) alert(r carewire.Raise, change func(*carewire.Alert)) {
	h.seq++
	a := carewire.Alert{Patient: r.Patient, Key: r.Key, ID: r.ID, Text: r.Text, Priority: r.Priority, Kind: r.Kind, To: r.To, Source: r.Source, Onset: r.Onset}
	a.Source.By, a.Condition, a.Raised, a.Updated = host, carewire.ConditionPresent, h.now, h.now
	change(&a)
	h.c.Alert(carewire.Position{Epoch: "e", Seq: h.seq}, &a)
	h.take()
}

func (h *chart) force(r carewire.Raise, rev uint64) {
	h.alert(r, func(a *carewire.Alert) {
		a.Rev, a.Ended = rev, h.now
		a.Closed = &carewire.Closing{At: h.now, Reason: "known"}
	})
}

// judgement.md: a forced close hid the condition for ever.
func TestForcedCloseHoldsForATime(t *testing.T) {
	r := high(Timing{Hold: 10 * time.Minute})
	r.Severe = &Severe{At: 200}
	h := newChart(t, r)
	h.rate(time.Second, 190)
	a := h.found[0].Alert
	h.story()
	h.force(a, 2)
	h.rate(10*time.Second, repeat(30, 190)...)
	require.Empty(t, h.story(), "raised while it is held down")
	h.rate(10*time.Second, repeat(40, 190)...)
	require.Equal(t, "raised 10m1s medium", h.story())
	h.force(a, 4)
	h.rate(time.Second, 190, 210)
	require.Equal(t, "raised 11m42s high", h.story(), "a close of medium does not hold high down")
	h.force(a, 6)
	h.wait(30 * time.Minute) // without any other reading
	require.Equal(t, "raised", strings.Fields(h.story())[0])
}

// Somebody else's clear of an alert that is still present does not stand.
func TestClearedByOthers(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.rate(time.Second, 200)
	a := h.found[0].Alert
	h.story()
	h.alert(a, func(a *carewire.Alert) { a.Rev, a.Condition = 2, carewire.ConditionOver })
	require.Equal(t, "raised 1s medium", h.story())
}

func TestCombination(t *testing.T) {
	parts := func(c Combination) []Rule {
		hr := high(Timing{})
		hr.Quiet = true
		return []Rule{hr, Limit{About: About{Key: "low", Text: "SpO2 low", Quiet: true}, Code: carewire.SpO2.Code, Unit: "%", Side: Below, At: 90}, c}
	}
	steps := func(h *chart) string {
		for _, v := range []carewire.Vital{heart(200, nil), carewire.SpO2.Of("p1", 80), heart(100, nil), carewire.SpO2.Of("p1", 97)} {
			h.vital(v)
			h.wait(time.Second)
		}
		return h.story()
	}
	about := About{Key: "both", Text: "Both", Priority: carewire.PriorityHigh}
	require.Equal(t, "raised 1s high, cleared 2s", steps(newChart(t, parts(Combination{About: about, All: []string{"hr-high", "low"}})...)))
	require.Equal(t, "raised 0s high, cleared 3s", steps(newChart(t, parts(Combination{About: about, Any: []string{"hr-high", "low"}})...)))
	_, err := NewSet(Combination{About: about, All: []string{"none"}})
	require.Error(t, err)
}

func TestChange(t *testing.T) {
	for _, c := range []struct {
		direction Direction
		rates     []float64
		want      string
	}{
		{Rise, []float64{60, 65, 70, 75, 80, 85, 90}, "raised 6m0s medium"}, // 30 in 6 min; window 10 min
		{Rise, []float64{60, 62, 64, 66, 68, 70, 72, 74, 76, 78, 80, 82, 84, 86, 88, 90}, ""},
		{Fall, []float64{100, 90, 80, 70, 70, 70, 70, 70, 70, 70, 70, 70, 70, 70}, "raised 3m0s medium, cleared 11m0s"},
		{Fall, []float64{60, 70, 80, 90}, ""},
	} {
		h := newChart(t, Change{About: About{Key: "change", Text: "Changes"}, Code: carewire.HeartRate.Code, Unit: "/min", Direction: c.direction, By: 30, Within: 10 * time.Minute})
		h.rate(time.Minute, c.rates...)
		require.Equal(t, c.want, h.story(), "%s %v", c.direction, c.rates)
	}
}

func TestForecastIsOffUntilItIsSwitchedOn(t *testing.T) {
	r := Forecast{About: About{Key: "soon", Text: "Will be low"}, Code: carewire.HeartRate.Code, Unit: "/min", Side: Below, At: 50, Margin: 5, Within: 10 * time.Minute}
	falling := []float64{90, 88, 86, 84, 82, 80, 78, 76, 74, 72, 70, 68, 66}
	h := newChart(t, r)
	h.rate(time.Minute, falling...)
	require.Empty(t, h.story())
	h = chartWith(t, Settings{On: []string{"soon"}}, r)
	h.rate(time.Minute, falling...)
	require.Equal(t, "raised 11m0s medium", h.story()) // 68 - 2/min × 10 min < 50
	h.rate(time.Minute, 66, 67, 68, 70, 72)
	require.Contains(t, h.story(), "cleared")
	steady := chartWith(t, Settings{On: []string{"soon"}}, r)
	steady.rate(time.Minute, repeat(10, 60, 62)...)
	require.Empty(t, steady.story())
}

// thingsboard #7909, #13050, #10590: a no-data alarm that never clears, is not
// raised again, has the wrong duration. Complaint 16: it was blocked by a check
// that demanded recent readings.
func TestAbsent(t *testing.T) {
	h := newChart(t, Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: time.Minute})
	others := func(d time.Duration) {
		for end := h.now.Add(d); h.now.Before(end); {
			h.vital(heart(70, nil))
			h.wait(10 * time.Second)
		}
	}
	others(5 * time.Minute)
	require.Empty(t, h.story(), "it was never measured")
	h.vital(carewire.SpO2.Of("p1", 97))
	others(5 * time.Minute)
	require.Contains(t, h.found[0].Alert.Text, "none for 60 s")
	require.Equal(t, carewire.AlertTechnical, h.found[0].Alert.Kind)
	require.Equal(t, "raised 6m0s medium", h.story())
	off := carewire.Vital{Code: carewire.SpO2.Code, Absent: carewire.AbsentError}
	h.vital(off)
	require.Empty(t, h.story(), "a probe that is off is not a reading")
	h.vital(carewire.SpO2.Of("p1", 97))
	require.Equal(t, "cleared 10m0s", h.story())
	for range 12 {
		h.vital(off)
		h.vital(heart(70, nil))
		h.wait(10 * time.Second)
	}
	require.Equal(t, "raised 11m0s medium", h.story(), "raised again")
	h.vital(carewire.SpO2.Of("p1", 97))
	h.story()
	h.wait(time.Hour) // nothing comes at all
	for _, f := range h.found {
		require.NotEqual(t, "spo2-off", f.Rule, "the Hub's own alert says that nothing comes")
	}
	never := newChart(t, Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: time.Minute, Required: true})
	never.rate(10*time.Second, repeat(10, 70)...)
	require.Equal(t, "raised 1m0s medium", never.story())
}

// A part of a panel that is absent is no number, and not 0 either.
func TestAbsentPartOfAPanel(t *testing.T) {
	low := Limit{About: About{Key: "sys-low", Text: "Systolic low"}, Code: carewire.SystolicPressure.Code, Unit: "mm[Hg]", Side: Below, At: 90}
	h := newChart(t, low)
	panel := func(diastolic carewire.Component) carewire.Vital {
		return carewire.Vital{Code: carewire.BloodPressure.Code, ID: "m1", Components: []carewire.Component{
			diastolic, {Code: carewire.SystolicPressure.Code, Absent: carewire.AbsentError}}}
	}
	for _, part := range []carewire.Component{{Code: carewire.DiastolicPressure.Code, Value: "60", Unit: "mm[Hg]"},
		{Code: carewire.DiastolicPressure.Code, Absent: carewire.AbsentError}} {
		h.vital(panel(part))
		h.wait(time.Minute)
		require.Empty(t, h.story())
	}
	h.vital(carewire.BloodPressure.Of("p1", 80, 60))
	require.Equal(t, "raised 2m0s medium", h.story())
	h.vital(panel(carewire.Component{Code: carewire.DiastolicPressure.Code, Absent: carewire.AbsentError}))
	require.Empty(t, h.story(), "nor is it within the limit")

	h = newChart(t, Absent{About: About{Key: "sys-off", Text: "No systolic"}, Code: carewire.SystolicPressure.Code, For: time.Minute})
	h.vital(carewire.BloodPressure.Of("p1", 120, 60))
	for range 12 {
		h.vital(panel(carewire.Component{Code: carewire.DiastolicPressure.Code, Value: "60", Unit: "mm[Hg]"}))
		h.wait(10 * time.Second)
	}
	require.Equal(t, "raised 1m0s medium", h.story())

	h = newChart(t, low)
	was := carewire.BloodPressure.Of("p1", 120, 60)
	was.ID = "m0"
	h.vital(was)
	corrected := panel(carewire.Component{Code: carewire.DiastolicPressure.Code, Value: "60", Unit: "mm[Hg]"})
	corrected.Status, corrected.Replaces = carewire.VitalCorrected, "m0"
	h.vital(corrected)
	require.Empty(t, h.story())
}

// A rule that cannot judge for longer than it may says so, once, and names the
// missing input; complaints 5 and 10.
func TestBlindnessIsReported(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.rate(time.Second, 70, 70)
	for range 600 {
		h.vital(heart(200, flagged(carewire.QualityInvalid)))
		h.wait(time.Second)
	}
	require.Len(t, h.found, 1)
	a := h.found[0].Alert
	require.Equal(t, "Cannot be judged: hr-high: readings are invalid.", a.Text)
	require.Equal(t, carewire.AlertTechnical, a.Kind)
	h.story()
	h.rate(time.Second, 70)
	require.Equal(t, "cleared 10m2s", h.story())
	h.vital(carewire.Vital{Code: carewire.HeartRate.Code, Value: "3", Unit: "{beats}", System: "urn:x"})
	require.Empty(t, h.story(), "another system's code is another number")
}

// Complaint 12: a second alarm for the same missing data.
func TestSilenceOfADeviceIsToldOnce(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.rate(time.Second, 70, 70)
	h.alert(carewire.Raise{Key: "no-data.mon", Kind: carewire.AlertTechnical}, func(*carewire.Alert) {})
	h.wait(time.Hour)
	require.Empty(t, h.story())
	h.alert(carewire.Raise{Key: "no-data.mon", Kind: carewire.AlertTechnical}, func(a *carewire.Alert) { a.Condition = carewire.ConditionOver })
	h.wait(time.Hour)
	require.Equal(t, "raised", strings.Fields(h.story())[0])
}

func TestSettings(t *testing.T) {
	own := Settings{Limits: map[string]LimitSetting{"hr-high": {At: new(150.0), By: "Dr Gray", Reason: "after surgery"}}}
	h := chartWith(t, own, high(Timing{}))
	h.rate(time.Second, 150, 151)
	require.Contains(t, h.found[0].Alert.Text, "limit of this patient, set by Dr Gray: after surgery")
	require.Equal(t, "≤ 150 /min, well at 145", h.found[0].Alert.Source.Limits)
	require.Equal(t, "raised 1s medium", h.story())
	h.c.Apply(Settings{})
	h.rate(time.Second, 151)
	require.Equal(t, "cleared 2s", h.story())
	h.rate(time.Second, 200)
	h.story()
	h.c.Apply(Settings{Off: map[string]Off{"hr-high": {By: "Dr Gray", Until: h.now.Add(time.Minute)}}})
	h.take()
	require.Equal(t, "cleared 4s", h.story())
	h.rate(10*time.Second, 200, 200, 200)
	require.Empty(t, h.story())
	// Complaint 14: "until re-enabled" was forgotten.
	h.rate(10*time.Second, 200, 200, 200, 200, 200)
	require.Equal(t, "raised 1m4s medium", h.story())
}

// Complaint 4, and rule 5 of clinical.md 6: an alert that is present is not
// raised again because the next reading is out as well.
func TestPresentIsRaisedOnce(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.rate(time.Second, repeat(1000, 200, 220, 181)...)
	require.Equal(t, "raised 0s medium", h.story())
}

// Test data page nobody.
func TestTestDataIsNotJudged(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.vital(heart(200, func(v *carewire.Vital) { v.Test = true }))
	require.Empty(t, h.story())
}

// The same log gives the same, however it is cut: a Case is a function of it.
func TestCaseIsAFunctionOfTheLog(t *testing.T) {
	run := func(step time.Duration) string {
		h := newChart(t, high(Timing{Delay: 10 * time.Second, Clear: 20 * time.Second}), Absent{About: About{Key: "off", Text: "Off"}, Code: carewire.SpO2.Code, For: time.Minute, Required: true})
		for i := range 500 {
			h.vital(heart(float64(100+(i*37)%120), nil))
			for left := 7 * time.Second; left > 0; left -= step {
				h.wait(min(step, left))
			}
		}
		return h.story()
	}
	want := run(7 * time.Second)
	require.NotEmpty(t, want)
	require.Equal(t, want, run(time.Second))
	require.Equal(t, want, run(300*time.Millisecond))
}
