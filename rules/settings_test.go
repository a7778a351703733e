package rules

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Each change of a patient's Settings is one record, and told by the next alert.
func TestEachChangeIsRecordedAndTold(t *testing.T) {
	until := time.Date(2000, 1, 2, 0, 0, 0, 0, time.UTC)
	limit := func(at float64) map[string]LimitSetting {
		return map[string]LimitSetting{"hr-high": {At: new(at), By: "gray", Reason: "known"}}
	}
	off := map[string]Off{"hr-high": {By: "gray", Reason: "leads off", Until: until}}
	for _, c := range []struct {
		name     string
		old, now Settings
		want     []string // the records: key, who, reason
		told     string   // by the next alert of hr-high
	}{
		{"a limit", Settings{}, Settings{Limits: limit(150)}, []string{"hr-high gray known"}, "limit of this patient, set by gray: known"},
		{"another limit", Settings{Limits: limit(150)}, Settings{Limits: limit(140)}, []string{"hr-high gray known"}, "limit of this patient, set by gray: known"},
		{"a limit taken back", Settings{Limits: limit(150)}, Settings{}, []string{"hr-high @host "}, "the usual limit again, no longer one of this patient"},
		{"switched on again", Settings{Off: off}, Settings{}, []string{"hr-high @host "}, "switched on again, was off by gray until 2000-01-02 00:00 UTC: leads off"},
		{"off for ever", Settings{}, Settings{Off: map[string]Off{"hr-high": {By: "gray"}}}, []string{"hr-high gray "}, offForever},
		{"two at once", Settings{Limits: limit(150), Off: off}, Settings{}, []string{"hr-high @host ", "hr-high @host "}, "the usual limit again"},
		{"the date of birth", Settings{}, Settings{Born: adult.Born}, []string{"born @host "}, ""},
		{"a pregnancy", Settings{}, Settings{Pregnant: true}, []string{"pregnant @host "}, ""},
		{"a scale", Settings{}, Settings{Scales: map[string]Scale{"news2": {"2", "gray"}}}, []string{"news2 gray "}, ""},
		{"an optional rule", Settings{}, Settings{On: []string{"soon"}}, []string{"soon @host "}, ""},
		{"nothing", Settings{Limits: limit(150)}, Settings{Limits: limit(150)}, nil, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, carewire.NewMemoryStore(nil))
				defer w.close()
				var mu sync.Mutex
				own := c.old
				var trail records
				j, _ := w.run(w.hub, Options{Auditor: &trail, Settings: func(context.Context, string) (Settings, error) {
					mu.Lock()
					defer mu.Unlock()
					return own, nil
				}}, high(Timing{}), NEWS2(), Forecast{About: About{Key: "soon", Text: "Soon"}, Code: carewire.SpO2.Code, Unit: "%", Side: Below, At: 90, Within: time.Minute})
				w.rate(100)
				mu.Lock()
				own = c.now
				mu.Unlock()
				j.Changed("p1")
				time.Sleep(3 * time.Second)
				var got []string
				for _, r := range trail.all() {
					require.Equal(t, AuditSettings, r.Event)
					require.Equal(t, "p1", r.Patient)
					got = append(got, r.Key+" "+r.Who.ID+" "+r.Reason)
				}
				require.Equal(t, c.want, got)
				w.rate(200, 100)
				w.answer("hr-high", carewire.Answer{Do: carewire.AnswerAccept})
				w.rate(200)
				list := w.alerts("hr-high")
				require.Len(t, list, 2)
				require.Contains(t, list[0].Text, c.told)
				if c.told != "" && !strings.HasPrefix(c.told, "limit of") { // whose limit it is, each alert says
					require.NotContains(t, list[1].Text, c.told, "it is told once")
				}
			})
		})
	}
}

// A change of a score's settings is told by the score's next alert.
func TestScoreTellsChanges(t *testing.T) {
	h := chartWith(t, Settings{Born: adult.Born, Scales: map[string]Scale{"news2": {"2", "Dr Gray"}}}, NEWS2())
	h.observe(wellOnAir(nil))
	h.c.Apply(Settings{Born: adult.Born.AddDate(1, 0, 0)})
	h.wait(time.Minute)
	h.observe(wellOnAir(observations{"respiration": "26"}))
	raised := only(h.found, Raised)
	require.Len(t, raised, 1)
	require.Contains(t, raised[0].Alert.Text, "scale 2 is no longer prescribed; the date of birth was changed")
}

// Complaint 14: "until re-enabled" was forgotten. A rule that is off is off
// until some time, and says when it is on again.
func TestOffEnds(t *testing.T) {
	h := chartWith(t, Settings{Off: map[string]Off{"hr-high": {By: "Dr Gray"}}}, high(Timing{}))
	h.rate(time.Second, 200)
	require.Equal(t, "raised 0s medium", h.story(), "it is not said until when")
	require.Contains(t, h.c.Explain(h.now)[0].Detail, offForever)
	h = chartWith(t, Settings{Off: map[string]Off{"hr-high": {By: "Dr Gray", Reason: "known", Until: start.Add(time.Hour)}}}, high(Timing{}))
	h.rate(time.Minute, repeat(60, 200)...)
	require.Empty(t, h.found)
	h.rate(time.Minute, 200, 200)
	require.Contains(t, h.found[0].Alert.Text, "was switched off by Dr Gray until 2026-03-01 09:00 UTC: known")
	require.Equal(t, "raised 1h0m0s medium", h.story())
}

// A Judge says in the log that such an Off does not count, without the patient.
func TestOffWithoutEndIsLogged(t *testing.T) {
	var out strings.Builder
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		set, err := NewSet(high(Timing{}))
		require.NoError(t, err)
		j, err := New(w.hub, set, &Options{Logger: slog.New(slog.NewTextHandler(&out, nil)), Patients: func(context.Context) ([]string, error) { return []string{"p1"}, nil },
			Settings: func(context.Context, string) (Settings, error) {
				return Settings{Off: map[string]Off{"hr-high": {By: "gray"}}}, nil
			}})
		require.NoError(t, err)
		ctx, stop := context.WithCancel(t.Context())
		ran := make(chan error)
		go func() { ran <- j.Run(ctx) }()
		time.Sleep(3 * time.Second)
		stop()
		<-ran
	})
	require.Contains(t, out.String(), "rule=hr-high")
	require.NotContains(t, out.String(), "p1")
	require.NotContains(t, out.String(), "gray")
}
