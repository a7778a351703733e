package rules

import (
	"context"
	"log/slog"
	"math"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// judgement.md: fields of the rule page were never evaluated. A part of Settings that
// no rule heeds is said, and no alert claims it.
func TestSettingsThatNoRuleHeeds(t *testing.T) {
	rise := Change{About: About{Key: "rise", Text: "Rises"}, Code: carewire.HeartRate.Code, Unit: "/min", Direction: Rise, By: 50, Within: time.Minute}
	own := func(x LimitSetting) Settings {
		x.By = "gray"
		return Settings{Limits: map[string]LimitSetting{"hr-high": x}}
	}
	for name, c := range map[string]struct {
		settings  Settings
		key, says string
		raises    string // a rate of 200 after one of 100
	}{
		"of a rule without a limit": {Settings{Limits: map[string]LimitSetting{"rise": {At: new(300.0), By: "gray"}}}, "rise", "it is no Limit", "raised 1s medium, raised 1s medium"},
		"of no rule":                {Settings{Limits: map[string]LimitSetting{"hr-hihg": {At: new(300.0), By: "gray"}}}, "hr-hihg", "no such rule", "raised 1s medium, raised 1s medium"},
		"no severe limit":           {own(LimitSetting{Severe: new(150.0)}), "hr-high", "the rule has none", "raised 1s medium, raised 1s medium"},
		"not a number":              {own(LimitSetting{At: new(math.NaN())}), "hr-high", "no finite number", "raised 1s medium, raised 1s medium"},
		"never reached":             {own(LimitSetting{At: new(math.Inf(1))}), "hr-high", "no finite number", "raised 1s medium, raised 1s medium"},
		"never over":                {own(LimitSetting{Margin: new(math.Inf(1))}), "hr-high", "no finite number", "raised 1s medium, raised 1s medium"},
		"a scale of no score":       {Settings{Scales: map[string]Scale{"rise": {"2", "gray"}}}, "rise", "it is no Score", "raised 1s medium, raised 1s medium"},
		"on, but unknown":           {Settings{On: []string{"soon"}}, "soon", "no such rule", "raised 1s medium, raised 1s medium"},
		"off, but unknown":          {Settings{Off: map[string]Off{"soon": {Until: start}}}, "soon", "no such rule", "raised 1s medium, raised 1s medium"},
		"nothing is wrong":          {own(LimitSetting{At: new(250.0)}), "", "", "raised 1s medium"},
	} {
		t.Run(name, func(t *testing.T) {
			h := chartWith(t, c.settings, high(Timing{}), rise)
			h.rate(time.Second, 100, 200)
			if c.key == "rise" {
				for _, x := range h.found {
					require.NotContains(t, x.Alert.Text, "limit of this patient")
				}
			}
			require.Equal(t, c.raises, h.story())
			for _, s := range h.c.Explain(h.now) {
				require.Equal(t, s.Rule == c.key, c.says != "" && strings.Contains(s.Detail, c.says), s.Rule)
			}
			var out strings.Builder
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, carewire.NewMemoryStore(nil))
				defer w.close()
				j, err := New(w.hub, mustSet(t, high(Timing{}), rise), &Options{Logger: slog.New(slog.NewTextHandler(&out, nil)),
					Patients: func(context.Context) ([]string, error) { return []string{"p1"}, nil },
					Settings: func(context.Context, string) (Settings, error) { return c.settings, nil }})
				require.NoError(t, err)
				ctx, stop := context.WithTimeout(t.Context(), 3*time.Second)
				defer stop()
				j.Run(ctx)
			})
			require.Equal(t, c.key != "", strings.Contains(out.String(), "level=WARN"), out.String())
			require.Contains(t, out.String(), c.says)
			require.NotContains(t, out.String(), "gray")
			require.NotContains(t, out.String(), "p1")
		})
	}
}

// A limit that is no number is never reached, so no Set takes it.
func TestSetTakesFiniteNumbers(t *testing.T) {
	for _, f := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
		l, far := high(Timing{}), high(Timing{})
		l.At = f
		far.Severe = &Severe{At: f}
		about := About{Key: "k", Text: "T"}
		for _, r := range []Rule{l, far,
			Change{About: about, Code: "x", Unit: "/min", Direction: Rise, By: f, Within: time.Minute},
			Forecast{About: about, Code: "x", Unit: "/min", Side: Above, At: f, Within: time.Minute},
			Func{About: about, Model: "m", ModelVersion: "1", Inputs: []Input{{Code: "x"}}, Judge: nothing, MinConfidence: f}} {
			_, err := NewSet(r)
			require.Error(t, err, "%T %v", r, f)
		}
	}
}
