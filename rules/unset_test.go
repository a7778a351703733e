package rules

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A Judge takes a patient over, and the host fails to give the Settings: alerts that the
// rules raise only with them stay open. When the Settings come, those that are over are
// cleared, once, and the others stay.
func TestNothingIsClearedWithoutSettings(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		var fails atomic.Bool
		own := Settings{Born: adult.Born, On: []string{"rr-high", "spo2-low"},
			Limits: map[string]LimitSetting{"hr-high": {At: new(110.0)}, "systolic-low": {At: new(100.0)}, "fever": {Severe: new(39.5)}}}
		o := Options{Settings: func(context.Context, string) (Settings, error) {
			if fails.Load() {
				return Settings{}, errors.New("away")
			}
			return own, nil
		}}
		set := []Rule{NEWS2(), high(Timing{}),
			Limit{About: About{Key: "systolic-low", Text: "Low pressure"}, Code: carewire.SystolicPressure.Code, Unit: "mm[Hg]", Side: Below, At: 80},
			Limit{About: About{Key: "fever", Text: "Fever"}, Code: carewire.BodyTemperature.Code, Unit: "Cel", Side: Above, At: 38, Severe: &Severe{At: 41}},
			Limit{About: About{Key: "rr-high", Text: "Fast breathing", Optional: true}, Code: carewire.RespiratoryRate.Code, Unit: "/min", Side: Above, At: 22},
			Limit{About: About{Key: "spo2-low", Text: "Low saturation", Optional: true}, Code: carewire.SpO2.Code, Unit: "%", Side: Below, At: 92}}
		publish := func(rate, systolic, breaths, spo2, temperature float64) {
			mind := carewire.Vital{Patient: "p1", Code: carewire.Consciousness, Coded: &carewire.Coding{System: House, Code: "A"}}
			_, err := w.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", rate), carewire.SystolicPressure.Of("p1", systolic), carewire.RespiratoryRate.Of("p1", breaths),
				carewire.SpO2.Of("p1", spo2), carewire.BodyTemperature.Of("p1", temperature), carewire.OxygenFlow.Of("p1", 0), mind)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		_, stop := w.run(w.hub, o, set...)
		publish(115, 95, 26, 90, 40)
		publish(115, 95, 26, 90, 40)
		stop()
		present, over := carewire.ConditionPresent, carewire.ConditionOver
		conditions := func() map[string][]carewire.Condition {
			all := make(map[string][]carewire.Condition)
			for _, r := range set {
				all[r.about().Key] = w.conditions(r.about().Key)
			}
			return all
		}
		open := map[string][]carewire.Condition{"news2": {present}, "hr-high": {present}, "fever": {present}, "systolic-low": {present}, "rr-high": {present}, "spo2-low": {present}}
		require.Equal(t, open, conditions())

		fails.Store(true)
		w.run(w.hub, o, set...)
		time.Sleep(time.Minute)
		publish(115, 95, 26, 90, 40)
		publish(115, 120, 26, 97, 40)
		time.Sleep(time.Minute)
		require.Equal(t, open, conditions(), "cleared without the Settings")
		require.Equal(t, carewire.PriorityHigh, w.alerts("fever")[0].Priority, "lowered without the Settings")
		fails.Store(false)
		time.Sleep(10 * time.Second)
		open["systolic-low"], open["spo2-low"] = []carewire.Condition{present, over}, []carewire.Condition{present, over}
		require.Equal(t, open, conditions())
		publish(100, 120, 14, 97, 37)
		for _, r := range set {
			open[r.about().Key] = []carewire.Condition{present, over}
		}
		require.Equal(t, open, conditions())
	})
}
