package rules

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Users' complaints about other systems, by the numbers that docs/rules.md gives
// them. Those that are not here bear their number in another test.

func (w *ward) answer(key string, a carewire.Answer) {
	by := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}
	_, err := w.hub.Answer(context.Background(), by, carewire.AlertRef{Patient: "p1", Key: key}, a)
	require.NoError(w.t, err)
}

// 1, 2: what a person has taken does not sound again with the next reading.
// 3: an acceptance can be taken back. 4: no new alert until it has cleared and recurred.
func TestComplaints1To4(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{}))
		w.rate(200)
		w.answer("hr-high", carewire.Answer{Do: carewire.AnswerAccept})
		time.Sleep(2 * time.Second)
		level := w.alerts("hr-high")[0].Escalation.Level
		w.rate(repeat(300, 200, 190)...)
		a := w.alerts("hr-high")
		require.Len(t, a, 1)
		require.Equal(t, carewire.ResponsibilityAccepted, a[0].Responsibility.State)
		require.Equal(t, level, a[0].Escalation.Level, "somebody was told again")
		w.answer("hr-high", carewire.Answer{Do: carewire.AnswerRelease})
		time.Sleep(2 * time.Second)
		require.Greater(t, w.alerts("hr-high")[0].Escalation.Level, level)
		w.answer("hr-high", carewire.Answer{Do: carewire.AnswerAccept})
		w.rate(100, 200)
		a = w.alerts("hr-high")
		require.Len(t, a, 2)
		require.Equal(t, carewire.ResponsibilityUndefined, a[1].Responsibility.State)
	})
}

// 5, 6, 7, 13: when data stop, people are told, by the server. 8: accepting that
// leaves the patient's own alert as it is. 12: it is one alert. A gateway that is
// unplugged gives one technical alert, and its return clears it.
func TestComplaints5To8(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{Settings: func(context.Context, string) (Settings, error) { return adult, nil }}, twelve()...)
		send := func(seconds int) {
			for k := range seconds {
				list := five("p1", k)
				list[0] = carewire.HeartRate.Of("p1", 150)
				for i := range list {
					list[i].Device, list[i].Every = "gateway", time.Second
				}
				for _, v := range list { // not all in the same millisecond
					_, err := w.hub.Publish(context.Background(), v)
					require.NoError(t, err)
					time.Sleep(time.Second / 5)
				}
			}
		}
		technical := func() (open []carewire.Alert) {
			for _, key := range []string{"no-data.gateway", blindKey, "spo2-off"} {
				for _, a := range w.alerts(key) {
					if a.Condition == carewire.ConditionPresent {
						open = append(open, a)
					}
				}
			}
			return open
		}
		send(30)
		require.Empty(t, technical())
		time.Sleep(time.Hour)
		list := technical()
		require.Len(t, list, 1)
		require.Equal(t, "no-data.gateway", list[0].Key)
		require.NotZero(t, list[0].Escalation.Level)
		w.answer("no-data.gateway", carewire.Answer{Do: carewire.AnswerAccept})
		require.Equal(t, carewire.ResponsibilityUndefined, w.alerts("hr-high")[0].Responsibility.State)
		send(30)
		require.Empty(t, technical())
	})
}

// judgement.md: an acceptance expires; escalation does not stop at any level.
func TestOnlyAPersonEndsEscalation(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{}))
		w.rate(200)
		w.answer("hr-high", carewire.Answer{Do: carewire.AnswerAccept, For: time.Minute})
		time.Sleep(3 * time.Hour)
		a := w.alerts("hr-high")[0]
		require.Equal(t, carewire.ResponsibilityUndefined, a.Responsibility.State)
		require.Greater(t, a.Escalation.Level, 5)
	})
}
