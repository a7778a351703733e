package fhir

import (
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func TestStripsComeBack(t *testing.T) {
	s := Strip{Patient: "p1", Code: "11524-6", ID: "s1", Device: "d", Start: noon,
		Data: SampledData{Origin: "0", Unit: "uV", Period: "4", Factor: "1.612", Dimensions: 1, Data: "2041 2043 E 2047"}}
	b, err := s.Observation()
	require.NoError(t, err)
	assert.Equal(t, "2026-03-01T12:00:00.266Z", member(t, b, "effectivePeriod", "end"), "four samples of 4 ms")
	back, unsaid, err := StripOf(b)
	require.NoError(t, err)
	assert.Equal(t, s, back)
	assert.Empty(t, unsaid)
	for _, wrong := range []func(*Strip){func(s *Strip) { s.Patient = "" }, func(s *Strip) { s.Code = "" }, func(s *Strip) { s.Start = s.Start.AddDate(-3000, 0, 0).Local() },
		func(s *Strip) { s.Data.Data = "x" }} {
		w := s
		wrong(&w)
		if b, err := w.Observation(); err == nil {
			_, _, err = StripOf(b)
			assert.Error(t, err)
		}
	}
	_, _, err = StripOf([]byte(heartRate))
	var f *carewire.ValidationError
	require.ErrorAs(t, err, &f)
	assert.Equal(t, "valueSampledData", f.Field)
}

func FuzzNoticeOf(f *testing.F) {
	f.Add(Communication(carewire.Notice{Patient: "p1", ID: "n", Text: "x", To: []string{"patient", "person:kim", "group:w", "role:clinician"}, RepliesTo: "o"}))
	f.Fuzz(func(t *testing.T, b []byte) {
		n, _, err := NoticeOf(b)
		if err != nil {
			return
		}
		again, unsaid, err := NoticeOf(Communication(n))
		require.NoError(t, err)
		require.Empty(t, unsaid)
		require.Equal(t, n, again)
	})
}

func FuzzStripOf(f *testing.F) {
	b, _ := Strip{Patient: "p1", Code: "11524-6", Start: noon, Data: SampledData{Origin: "0", Unit: "uV", Period: "4", Data: "1 E"}}.Observation()
	f.Add(b)
	f.Fuzz(func(t *testing.T, b []byte) {
		s, _, err := StripOf(b)
		if err != nil {
			return
		}
		if b, err = s.Observation(); err == nil {
			_, _, err = StripOf(b)
			require.NoError(t, err, "%s", b)
		}
	})
}
