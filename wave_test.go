package carewire

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// chunk is a quarter of a second of lead II of p1: chunk n of a signal that began
// at the given time.
func chunk(n int, began time.Time) Wave {
	w := Wave{Patient: "p1", Code: "131330", System: MDC, Device: "mon-1", Unit: "mV", Factor: "0.005", Rate: 248,
		Number: uint64(n), Time: began.Add(time.Duration(n-1) * 250 * time.Millisecond), Samples: make([]int32, 62)}
	for i := range w.Samples {
		w.Samples[i] = int32(n*100 + i%7)
	}
	return w
}

func TestSamples(t *testing.T) {
	t.Parallel()
	for text, want := range map[string][]int32{
		"AAID2gSvCQ==": {0, 1, -1, 300, -299 - 1},
		"AA==":         {0},
		"":             {},
		encodeSamples([]int32{math.MaxInt32, math.MinInt32, math.MaxInt32}): {math.MaxInt32, math.MinInt32, math.MaxInt32},
	} {
		got, err := decodeSamples(text, 5)
		require.NoError(t, err, text)
		require.Equal(t, want, got)
		require.Equal(t, text, encodeSamples(want))
	}
	for name, bytes := range map[string]string{
		"cut short": "\x80", "longer than it need be": "\x82\x00", "six bytes": "\xff\xff\xff\xff\xff\x01", "too many": "\x00\x00\x00\x00\x00\x00",
		"above 32 bits": "\x80\x80\x80\x80\x10", "below 32 bits": "\x81\x80\x80\x80\x10",
	} {
		_, err := decodeSamples(base64.StdEncoding.EncodeToString([]byte(bytes)), 5)
		require.Error(t, err, name)
	}
	for _, text := range []string{"A", "AAA", "AB==", "AA\nAA", "-_-_", "!"} {
		_, err := decodeSamples(text, 5)
		require.Error(t, err, "%q", text)
	}
}

// Decoding a stranger's samples does not panic. A wave that is taken is bounded,
// and is written as it was read.
func FuzzSamples(f *testing.F) {
	for _, text := range []string{"", "AAID2gSvCQ==", "AB==", "gA==", "////fw==", "AA\r\nAA", strings.Repeat("AAAA", 40)} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		samples, err := decodeSamples(text, 100)
		if err != nil {
			var v *ValidationError
			require.ErrorAs(t, err, &v)
			return
		}
		require.LessOrEqual(t, len(samples), 100)
		require.Equal(t, text, encodeSamples(samples))
	})
}

func TestWaveValidate(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	good := chunk(1, began)
	require.NoError(t, good.Validate())
	for field, spoil := range map[string]func(w *Wave){
		"patient": func(w *Wave) { w.Patient = SystemPatient },
		"code":    func(w *Wave) { w.Code = "" },
		"system":  func(w *Wave) { w.System = "" },
		"device":  func(w *Wave) { w.Device = "a b" },
		"site":    func(w *Wave) { w.Site = strings.Repeat("x", 65) },
		"unit":    func(w *Wave) { w.Unit = "mmHg" },
		"factor":  func(w *Wave) { w.Factor = "0.0" },
		"origin":  func(w *Wave) { w.Origin = "1e3" },
		"rate":    func(w *Wave) { w.Rate = math.NaN() },
		"n":       func(w *Wave) { w.Number = 0 },
		"time":    func(w *Wave) { w.Time = time.Time{} },
		"data":    func(w *Wave) { w.Samples = nil },
	} {
		w := chunk(1, began)
		spoil(&w)
		var v *ValidationError
		require.ErrorAs(t, w.Validate(), &v, field)
		assert.Equal(t, field, v.Field)
	}
	for _, w := range []Wave{{Rate: 2000, Samples: make([]int32, 4001)}, {Rate: 1, Samples: make([]int32, 3)}, {Rate: 1e-12, Samples: make([]int32, 1)}} {
		bad := good
		bad.Rate, bad.Samples = w.Rate, w.Samples
		require.Error(t, bad.Validate(), "%v samples at %v", len(w.Samples), w.Rate)
	}
}

func TestWaveFollows(t *testing.T) {
	t.Parallel()
	began := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	first := chunk(1, began)
	for name, c := range map[string]struct {
		change func(w *Wave)
		want   bool
	}{
		"the next":         {func(*Wave) {}, true},
		"a little late":    {func(w *Wave) { w.Time = w.Time.Add(99 * time.Millisecond) }, true},
		"later":            {func(w *Wave) { w.Time = w.Time.Add(time.Second) }, false},
		"over the one":     {func(w *Wave) { w.Time = w.Time.Add(-150 * time.Millisecond) }, false},
		"one is missing":   {func(w *Wave) { w.Number++ }, false},
		"begun anew":       {func(w *Wave) { w.Number = 1 }, false},
		"another rate":     {func(w *Wave) { w.Rate = 500 }, false},
		"another meaning":  {func(w *Wave) { w.Factor = "0.01" }, false},
		"another device":   {func(w *Wave) { w.Device = "mon-2" }, false},
		"of a test":        {func(w *Wave) { w.Test = true }, false},
		"another's number": {func(w *Wave) { w.Number = 7 }, false},
	} {
		w := chunk(2, began)
		c.change(&w)
		assert.Equal(t, c.want, w.Follows(&first), name)
	}
}

func TestWaveValues(t *testing.T) {
	t.Parallel()
	w := Wave{}
	require.InDelta(t, 7, w.Value(7), 0)
	w.Factor, w.Origin = "0.005", "-1.5"
	require.InDelta(t, -1, w.Value(100), 1e-12)
}

// Waves and strips show nothing of themselves but in JSON, which is read again as it
// was.
func TestWavesHideThemselves(t *testing.T) {
	t.Parallel()
	w := chunk(71937193, time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC))
	w.Patient, w.Device, w.Site = "canary-patient", "canary-device", "canary"
	s := Strip{Patient: "canary-patient", Key: "canary", AlertID: "canary", Waves: []Wave{w}}
	var log strings.Builder
	logger := slog.New(slog.NewTextHandler(&log, nil))
	for _, v := range []any{w, &w, s, &s, []Wave{w}, Event{Wave: &w}, Event{Strip: &s}, struct{ W Wave }{w}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x"} {
			require.NotRegexp(t, canaries, fmt.Sprintf(verb, v))
		}
		logger.Info("seen", "v", v)
	}
	require.NotRegexp(t, canaries, log.String())
	b, err := json.Marshal(s)
	require.NoError(t, err)
	var back Strip
	require.NoError(t, json.Unmarshal(b, &back))
	require.Equal(t, s, back)
}
