package rules

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Each kind of rule raises on a questionable reading, and says so, and does not
// clear on it.
func TestQuestionableOfEachRule(t *testing.T) {
	hr := carewire.HeartRate.Code
	for name, c := range map[string]struct {
		rule          Rule
		settings      Settings
		before        []float64
		beyond, after []float64
	}{
		"Limit":  {high(Timing{}), Settings{}, nil, []float64{200}, []float64{100}},
		"Change": {Change{About: About{Key: "r", Text: "r"}, Code: hr, Unit: "/min", Direction: Rise, By: 30, Within: 10 * time.Minute}, Settings{}, []float64{70}, []float64{120}, []float64{70}},
		"Forecast": {Forecast{About: About{Key: "r", Text: "r"}, Code: hr, Unit: "/min", Side: Above, At: 130, Within: 20 * time.Minute, From: 10 * time.Minute}, Settings{On: []string{"r"}},
			repeat(12, 70), []float64{129}, repeat(12, 60)},
		"Score": {Score{About: About{Key: "r", Text: "r"}, Bands: []Band{{Min: 2}}, Parts: []Part{{Name: "rate", Inputs: []Input{{Code: hr}}, Unit: "/min", MaxAge: time.Hour, Rows: []Row{upTo(100, 0), above(2)}}}},
			Settings{}, []float64{70}, []float64{120}, []float64{70}},
	} {
		h := chartWith(t, c.settings, c.rule)
		doubtful := func(rates []float64) {
			for _, r := range rates {
				h.vital(heart(r, flagged(carewire.QualityQuestionable)))
				h.wait(time.Minute)
			}
		}
		h.rate(time.Minute, c.before...)
		doubtful(c.beyond)
		require.Len(t, h.found, 1, name)
		require.Contains(t, h.found[0].Alert.Text, "the reading is questionable", name)
		require.Equal(t, "raised medium", h.kinds(), name)
		doubtful(c.after)
		require.Empty(t, h.kinds(), "%s: a questionable reading clears", name)
		h.rate(time.Minute, c.after...)
		require.Equal(t, "cleared", h.kinds(), name)
	}
}

// One sensor that is well does not clear while another's last reading, which says
// the same, is questionable.
func TestQuestionableOfAnotherSensor(t *testing.T) {
	at := func(site string, rate float64, q ...carewire.Quality) carewire.Vital {
		v := carewire.HeartRate.Of("p1", rate)
		v.Site, v.Quality = site, q
		return v
	}
	h := newChart(t, high(Timing{}))
	for _, v := range []carewire.Vital{at("a", 200), at("a", 100, carewire.QualityQuestionable), at("b", 100)} {
		h.vital(v)
		h.wait(time.Second)
	}
	require.Equal(t, "raised medium", h.kinds())
	h.vital(at("a", 100))
	require.Equal(t, "cleared", h.kinds())
}

// A published score says that an input is questionable.
func TestScoreSaysQuestionable(t *testing.T) {
	h := chartWith(t, adult, NEWS2())
	h.observe(wellOnAir(nil))
	h.wait(time.Minute)
	quality := func() map[string][]carewire.Quality {
		q := map[string][]carewire.Quality{}
		for _, x := range h.found {
			for _, v := range x.Vitals {
				require.NoError(t, v.Validate())
				q[v.Code] = v.Quality
			}
		}
		h.found = nil
		return q
	}
	require.Len(t, quality(), 9)
	h.vital(heart(72, flagged(carewire.QualityQuestionable)))
	h.wait(time.Minute)
	doubt := []carewire.Quality{carewire.QualityQuestionable}
	require.Equal(t, map[string][]carewire.Quality{news2Total: doubt, "1104351000000103": doubt}, quality(), "the total and the pulse's points, and nothing else")
	h.vital(heart(72, nil))
	h.wait(time.Minute)
	require.Equal(t, map[string][]carewire.Quality{news2Total: nil, "1104351000000103": nil}, quality())
}

// A device that measures seldom is no rule's silent failure: one reading counts,
// and both the alert and Explain say so.
func TestSlowDeviceIsStated(t *testing.T) {
	for _, every := range []time.Duration{time.Second, 15 * time.Second, time.Minute, 15 * time.Minute} {
		for _, delay := range []time.Duration{10 * time.Second, time.Minute} {
			h := newChart(t, high(Timing{Delay: delay}))
			h.rate(every, repeat(10, 100)...)
			h.rate(every, repeat(int(delay/every)+3, 200)...)
			raised := only(h.found, Raised)
			name := fmt.Sprintf("every %s, delay %s", every, delay)
			require.Len(t, raised, 1, name)
			seldom := 2*every > 3*delay
			require.Equal(t, seldom, len(raised[0].Alert.Text) > len("Heart rate high"), name)
			if seldom {
				require.Contains(t, raised[0].Alert.Text, "one reading counts: the device measures seldom", name)
			}
			s := h.c.Explain(h.now)[0]
			require.Equal(t, StandingPresent, s.State, name)
			require.Equal(t, seldom, s.Detail == singleText, "%s: %s", name, s.Detail)
		}
	}
}

// However many devices and sites a patient has had, a Case does not grow, and
// those that measure now count.
func TestSensorsAreBounded(t *testing.T) {
	h := chartWith(t, adult, high(Timing{}), Change{About: About{Key: "rise", Text: "Rise"}, Code: carewire.HeartRate.Code, Unit: "/min", Direction: Rise, By: 60, Within: time.Hour},
		NEWS2(), Func{About: About{Key: "f", Text: "f"}, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: carewire.SpO2.Code}}, Judge: nothing})
	h.observe(wellOnAir(nil))
	for i := range 1000 {
		h.vital(heart(70, func(v *carewire.Vital) { v.Device = fmt.Sprint("m", i) }))
		v := carewire.SpO2.Of("p1", 97)
		v.Site = fmt.Sprint("s", i)
		if i%2 == 0 {
			v.Value, v.Unit, v.Absent = "", "", carewire.AbsentUnknown
		}
		h.vital(v)
		h.wait(time.Second)
	}
	require.Less(t, len(h.c.sensors), 2*sensorsMost+8)
	require.Empty(t, h.kinds())
	h.vital(heart(200, func(v *carewire.Vital) { v.Device = "new" }))
	require.Contains(t, h.kinds(), "raised medium")
	x := h.c.states[2].data.(*scoreState)
	require.True(t, x.complete)
	require.Equal(t, 3, x.total)
}
