package rules

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

var start = time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)

// A chart is a Case with the log that it is given.
type chart struct {
	t     testing.TB
	c     *Case
	seq   uint64
	now   time.Time
	found []Transition
}

func newChart(t testing.TB, rules ...Rule) *chart { return chartWith(t, Settings{}, rules...) }

func chartWith(t testing.TB, s Settings, rules ...Rule) *chart {
	t.Helper()
	set, err := NewSet(rules...)
	require.NoError(t, err)
	return &chart{t: t, c: NewCase(set, "p1", s), now: start}
}

// wait lets time go on.
func (h *chart) wait(d time.Duration) {
	h.now = h.now.Add(d)
	h.c.Advance(h.now)
	h.take()
}

// vital takes in a vital that is received now.
func (h *chart) vital(v carewire.Vital) {
	h.seq++
	if v.Received = h.now; v.Time.IsZero() {
		v.Time = h.now
	}
	v.Patient = "p1"
	require.NoError(h.t, v.Validate())
	h.c.Vital(carewire.Position{Epoch: "e", Seq: h.seq}, &v)
	h.take()
}

func (h *chart) take() { h.found = append(h.found, h.c.Owed()...) }

// rate takes in heart rates, one each interval.
func (h *chart) rate(every time.Duration, rates ...float64) {
	for _, r := range rates {
		h.vital(carewire.HeartRate.Of("p1", r))
		h.wait(every)
	}
}

// story writes the findings as "raised 3s medium, cleared 9s".
func (h *chart) story() string {
	var words []string
	for _, t := range h.found {
		w := fmt.Sprintf("%s %s", t.Kind, t.At.Sub(start))
		if t.Kind != Cleared {
			w += " " + string(t.Alert.Priority)
		}
		words = append(words, w)
	}
	h.found = nil
	return strings.Join(words, ", ")
}

func high(t Timing) Limit {
	return Limit{About: About{Key: "hr-high", Text: "Heart rate high"}, Timing: t, Code: carewire.HeartRate.Code, Unit: "/min", Side: Above, At: 180, Margin: 5}
}

func repeat(n int, v ...float64) (list []float64) {
	for range n {
		list = append(list, v...)
	}
	return list
}

func TestLimit(t *testing.T) {
	s, m := time.Second, time.Minute
	for name, c := range map[string]struct {
		timing Timing
		every  time.Duration
		rates  []float64
		want   string
	}{
		// Complaint 15 and 17 of the reference: alarms at each crossing.
		"179 181 180 181 is one alert":              {Timing{Delay: 2 * s}, s, append([]float64{179}, repeat(50, 181, 180)...), "raised 3s medium"},
		"the same without delay":                    {Timing{}, s, append([]float64{179}, repeat(50, 181, 179)...), "raised 1s medium"},
		"at the limit is not beyond it":             {Timing{}, s, repeat(10, 180), ""},
		"shorter than the delay":                    {Timing{Delay: 5 * s}, s, append(repeat(5, 200), 100), ""},
		"as long as the delay":                      {Timing{Delay: 5 * s}, s, append(repeat(6, 200), 100), "raised 5s medium, cleared 6s"},
		"inside but not by the margin is not over":  {Timing{}, s, []float64{181, 179, 176, 175.5, 176}, "raised 0s medium"},
		"inside by the margin is over":              {Timing{}, s, []float64{181, 175}, "raised 0s medium, cleared 1s"},
		"over only after Clear":                     {Timing{Clear: 3 * s}, s, []float64{181, 170, 170, 179, 170, 170, 170, 170}, "raised 0s medium, cleared 7s"},
		"three readings":                            {Timing{Readings: 3}, m, []float64{181, 181, 170, 181, 181, 181, 181}, "raised 5m0s medium"},
		"every 15 s, delay 10 s: the second one":    {Timing{Delay: 10 * s}, 15 * s, []float64{100, 100, 200, 200, 200}, "raised 45s medium"},
		"every minute, delay 10 s: the first, late": {Timing{Delay: 10 * s}, m, []float64{100, 100, 200, 200, 100, 100}, "raised 2m10s medium, cleared 4m0s"},
		"every 15 min, delay 10 s":                  {Timing{Delay: 10 * s}, 15 * m, []float64{100, 200, 100}, "raised 15m10s medium, cleared 30m0s"},
		"every minute, delay a minute":              {Timing{Delay: m}, m, []float64{100, 100, 200, 100, 200, 200, 100}, "raised 5m0s medium, cleared 6m0s"},
		"a spike is forgotten":                      {Timing{Delay: 5 * s}, s, append(append([]float64{181}, repeat(20, 179)...), 181, 179), ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := newChart(t, high(c.timing))
			h.rate(c.every, c.rates...)
			require.Equal(t, c.want, h.story())
		})
	}
}

// Silence is not read as well: an alert stays, and readings that stop while the
// last is beyond the limit raise one.
func TestLimitWhenReadingsStop(t *testing.T) {
	h := newChart(t, high(Timing{Delay: 10 * time.Second}))
	h.rate(time.Second, 100, 100, 200, 200)
	h.wait(time.Minute)
	require.Contains(t, h.found[0].Alert.Text, "one reading counts")
	require.Equal(t, "raised 13s medium", h.story())
	h.wait(time.Hour)
	for _, f := range h.found {
		require.Equal(t, blindKey, f.Rule)
	}
}

func TestLimitOfTwoPriorities(t *testing.T) {
	r := high(Timing{Delay: 2 * time.Second, Clear: 2 * time.Second})
	r.Severe = &Severe{At: 200}
	h := newChart(t, r)
	h.rate(time.Second, 190, 190, 190, 210, 210, 210, 197, 196, 190, 190, 190, 190, 170, 170, 170)
	require.Equal(t, "raised 2s medium, updated 5s high, updated 10s medium, cleared 14s", h.story())
}

// judgement.md: 98.6 °F compared with 38.5 °C.
func TestUnitsAreConverted(t *testing.T) {
	fever := Limit{About: About{Key: "fever", Text: "Fever"}, Code: carewire.BodyTemperature.Code, Unit: "Cel", Side: Above, At: 38.5, Margin: 0.3}
	for _, c := range []struct {
		value float64
		unit  string
		want  string
	}{{98.6, "[degF]", ""}, {101.2, "[degF]", ""}, {101.4, "[degF]", "raised 0s medium"}, {38.5, "Cel", ""}, {38.6, "Cel", "raised 0s medium"}} {
		h := newChart(t, fever)
		h.vital(carewire.BodyTemperature.In("p1", c.value, c.unit))
		require.Equal(t, c.want, h.story(), "%v %s", c.value, c.unit)
	}
	for _, c := range []struct {
		value    float64
		from, to string
		want     float64
		ok       bool
	}{{98.6, "[degF]", "Cel", 37, true}, {37, "Cel", "[degF]", 98.6, true}, {120, "mm[Hg]", "kPa", 15.99864, true}, {1, "[lb_av]", "kg", 0.45359237, true},
		{100, "mg/dL", "mmol/L", 0, false}, {1, "kg", "cm", 0, false}, {5, "{x}", "{x}", 5, true}, {5, "{x}", "{y}", 0, false}} {
		got, ok := convert(c.value, c.from, c.to)
		require.Equal(t, c.ok, ok)
		require.InDelta(t, c.want, got, 1e-9, "%v %s in %s", c.value, c.from, c.to)
	}
}
