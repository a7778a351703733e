package rules

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A measurement from before a discharge does not count when the patient comes back
// within the time that a rule looks back: whether the patient stays on the list, is
// taken off it meanwhile, or another Judge begins.
func TestBeforeADischarge(t *testing.T) {
	rise := Change{About: About{Key: "hr-rise", Text: "Rise"}, Timing: Timing{Flaps: -1, Hold: 3 * time.Hour}, Code: carewire.HeartRate.Code, Unit: "/min", Direction: Rise, By: 90, Within: time.Hour}
	three := high(Timing{Readings: 3, Flaps: -1})
	for name, again := range map[string]func(w *ward, stop func(), listed *atomic.Bool){
		"and stays": func(*ward, func(), *atomic.Bool) {},
		"and is off the list": func(w *ward, _ func(), listed *atomic.Bool) {
			listed.Store(false)
			time.Sleep(10 * time.Second)
			listed.Store(true)
			time.Sleep(10 * time.Second)
		},
		"and another Judge begins": func(w *ward, stop func(), _ *atomic.Bool) {
			stop()
			w.run(w.hub, Options{}, rise, three)
		},
		"and another Judge begins within the hour": func(w *ward, stop func(), _ *atomic.Bool) {
			time.Sleep(70 * time.Minute) // beyond the window, but not beyond that of flaps
			stop()                       // the next Judge goes on from here
			w.run(w.hub, Options{}, rise, three)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, carewire.NewMemoryStore(nil))
				defer w.close()
				var listed atomic.Bool
				listed.Store(true)
				_, stop := w.run(w.hub, Options{Poll: time.Second, Patients: func(context.Context) ([]string, error) {
					if listed.Load() {
						return []string{"p1"}, nil
					}
					return nil, nil
				}}, rise, three)
				w.rate(100, 195, 200) // it has risen, and is beyond twice
				require.Len(t, w.alerts("hr-rise"), 1)
				require.NoError(t, w.hub.Discharge(t.Context(), "p1"))
				time.Sleep(time.Second)
				again(w, stop, &listed)
				w.rate(200)
				require.Len(t, w.alerts("hr-rise"), 1)
				require.False(t, w.alerts("hr-rise")[0].Open())
				require.Empty(t, w.alerts("hr-high"), "two of the three were before")
				w.rate(100, 200, 200, 200)
				require.Len(t, w.alerts("hr-rise"), 2)
				require.Len(t, w.alerts("hr-high"), 1)
				require.True(t, w.alerts("hr-high")[0].Open())
			})
		})
	}
}

// Alerts from before a discharge are another stay's for a Judge that begins within the hour
// behind them: neither their number nor a closing holds anything back.
func TestAlertsBeforeADischarge(t *testing.T) {
	for name, before := range map[string]func(*ward){
		"raised often": func(w *ward) { w.rate(200, 100, 200, 100, 200, 100) },
		"closed by a person": func(w *ward) {
			w.rate(200)
			by := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}
			_, err := w.hub.Answer(context.Background(), by, carewire.AlertRef{Patient: "p1", Key: "hr-high"}, carewire.Answer{Do: carewire.AnswerClose, Force: true, Reason: "probe"})
			require.NoError(w.t, err)
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, carewire.NewMemoryStore(nil))
				defer w.close()
				rule := high(Timing{Flaps: 2, Settle: time.Hour, Hold: 3 * time.Hour})
				_, stop := w.run(w.hub, Options{}, rule)
				before(w)
				require.NoError(t, w.hub.Discharge(t.Context(), "p1"))
				n := len(w.alerts("hr-high"))
				time.Sleep(30 * time.Minute) // beyond the window of the rule, not beyond that of flaps
				stop()                       // the next Judge goes on from here
				w.run(w.hub, Options{}, rule)
				w.rate(100, 200, 100)
				list := w.alerts("hr-high")
				require.Len(t, list, n+1, "it is held back")
				require.Equal(t, carewire.ConditionOver, list[n].Condition, "it is held as flapping")
			})
		})
	}
}

// Transitions owed for a patient who leaves are forgotten, and settings stay.
func TestDischargeForgetsOwedTransitions(t *testing.T) {
	off := Settings{Off: map[string]Off{"spo2-off": {By: "Dr Gray", Until: start.Add(time.Hour)}}}
	h := chartWith(t, off, high(Timing{}), Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: time.Minute})
	v := carewire.HeartRate.Of("p1", 200)
	v.Time, v.Received = start, start
	h.c.Vital(carewire.Position{Epoch: "e", Seq: 1}, &v)
	h.c.Discharge(carewire.Position{Epoch: "e", Seq: 2})
	h.seq, h.now = 2, start.Add(time.Second)
	h.take()
	require.Empty(t, h.story())
	require.Equal(t, StandingOff, h.c.Explain(h.now)[1].State)
	h.rate(time.Second, 200)
	require.Equal(t, "raised 1s medium", h.story())
}
