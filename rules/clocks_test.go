package rules

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A clock that is set back, or forward again, keeps no reading from being judged:
// not the Hub's, with which the log's times go back too.
func TestHubClockIsSetBack(t *testing.T) {
	h := newChart(t, high(Timing{Delay: 2 * time.Second}), Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: 10 * time.Second})
	h.vital(carewire.SpO2.Of("p1", 97))
	h.rate(time.Second, repeat(5, 100)...)
	h.now = h.now.Add(-time.Hour)
	h.vital(carewire.SpO2.Of("p1", 97))
	h.rate(time.Second, repeat(4, 200)...)
	require.Equal(t, "raised -59m53s medium", h.story())
	h.rate(time.Second, repeat(7, 100)...)
	require.Equal(t, start.Add(15*time.Second-time.Hour), h.c.Explain(h.now)[1].Since)
	require.Equal(t, "cleared -59m51s, raised -59m45s medium", h.story(), "by the rate, and for the saturation that is missing")
	h.now = h.now.Add(time.Hour)
	h.vital(carewire.SpO2.Of("p1", 97))
	h.rate(time.Second, repeat(3, 200)...)
	require.Equal(t, "cleared 16s, raised 18s medium", h.story())
	require.Equal(t, start.Add(18*time.Second), h.c.Explain(h.now)[0].Since)
}

// A rule that is off until a time is on again by the clock, even after that was
// set back.
func TestOffEndsByTheClock(t *testing.T) {
	h := chartWith(t, Settings{Off: map[string]Off{"hr-high": {By: "Dr Gray", Until: start.Add(time.Minute)}}}, high(Timing{}))
	h.rate(time.Second, repeat(30, 200)...)
	h.now = h.now.Add(-10 * time.Minute)
	h.rate(10*time.Second, repeat(62, 200)...)
	require.Empty(t, h.story())
	h.rate(10*time.Second, repeat(3, 200)...)
	require.Equal(t, "raised 1m0s medium", h.story())
}

// Readings of a device whose clock was set back by a few minutes count again after
// a minute. One that was only sent late does not.
func TestDeviceClockIsSetBack(t *testing.T) {
	behind := func(rate float64) carewire.Vital {
		v := carewire.HeartRate.Of("p1", rate)
		v.Device = "monitor"
		return v
	}
	h := newChart(t, high(Timing{}))
	send := func(n int, rate float64, by time.Duration) {
		for range n {
			v := behind(rate)
			v.Time = h.now.Add(-by)
			h.vital(v)
			h.wait(time.Second)
		}
	}
	send(10, 100, 0)
	send(59, 200, 4*time.Minute)
	require.Empty(t, h.story(), "they may be readings that were kept back")
	send(3, 200, 4*time.Minute)
	require.Equal(t, "raised 1m10s medium", h.story())
	send(1, 100, 4*time.Minute)
	require.Equal(t, "cleared 1m12s", h.story())
	send(1, 200, 0)
	require.Equal(t, "raised 1m13s medium", h.story(), "the clock is right again")
	send(50, 100, 3*time.Minute)
	require.Empty(t, h.story(), "a late reading ends nothing")
}

// A device that measures less often from now on is not taken for one that is silent.
func TestDeviceMeasuresLessOften(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.rate(time.Second, repeat(20, 100)...)
	h.rate(15*time.Minute, repeat(3, 100)...)
	h.story()
	h.rate(15*time.Minute, repeat(10, 100)...)
	require.Empty(t, h.story())
	h.rate(time.Second, repeat(20, 100)...)
	h.wait(10 * time.Minute)
	require.Contains(t, h.story(), "raised", "it measures each second again, and is silent")
}

// A Judge's tick tells a Case that the clock was set back, though nothing is due. Less
// may be the difference between two nodes' clocks.
func TestClockSetBackIsDue(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.wait(0)
	for _, lag := range []time.Duration{0, grace, time.Minute} {
		require.False(t, h.c.isDue(start.Add(-9*time.Second), lag))
		require.True(t, h.c.isDue(start.Add(-11*time.Second), lag))
	}
	h.c.goOn(start.Add(-11*time.Second), grace)
	require.False(t, h.c.isDue(start.Add(-11*time.Second), grace))
}

// So it is if the clock is put right after the Settings have changed.
func TestOffEndsByTheClockPutRight(t *testing.T) {
	off := Settings{Off: map[string]Off{"hr-high": {By: "Dr Gray", Until: start.Add(30 * time.Minute)}}}
	h := chartWith(t, off, high(Timing{}))
	h.rate(time.Second, 200)
	h.now = h.now.Add(-time.Hour)
	h.rate(time.Second, 200)
	off.Pregnant = true
	h.c.Apply(off)
	h.now = h.now.Add(time.Hour)
	h.rate(10*time.Second, repeat(179, 200)...)
	require.Empty(t, h.story())
	h.rate(10*time.Second, repeat(3, 200)...)
	require.Equal(t, "raised 30m0s medium", h.story())
}
