package rules

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// TestComplaint shows each complaint of users of other systems under the number
// that docs/rules.md gives it. 18 to 25 are the protocol's, and shown in the root.
func TestComplaint(t *testing.T) {
	for _, c := range []struct {
		name  string
		shows func(*testing.T)
	}{
		{"1 a snooze ends with the next reading", TestComplaints1To4},
		{"2 the alarm sounds at once again", TestComplaints1To4},
		{"3 a snooze cannot be cancelled", TestComplaint3},
		{"4 a new alarm before it has cleared and recurred", TestPresentIsRaisedOnce},
		{"5 no alarm when data stop", TestComplaints5To8},
		{"6 the alarm of lost data makes no sound", TestComplaints5To8},
		{"7 the alarm of old data reaches no pager", TestComplaint7},
		{"8 taking old data quiets the patient's alarms", TestComplaints5To8},
		{"9 an old value looks new", TestOldValuesAreSaidToBeOld},
		{"10 alarms vanished and nobody could see why", TestExplain},
		{"11 alarms of a condition that was corrected", TestCorrectionsCount},
		{"12 a second alarm for the same missing data", TestSilenceOfADeviceIsToldOnce},
		{"13 the device stops during a low", TestSilenceDuringAnAlert},
		{"14 off until further notice was forgotten", TestOffEnds},
		{"14 a remote snooze does nothing", TestComplaint14},
		{"15 an alarm at each crossing", TestLimit},
		{"16 missing readings are told only with recent ones", TestAbsent},
		{"16 nothing is told where no readings come at all", TestComplaints5To8},
		{"17 no hysteresis, and flapping floods", TestFlapsAreHeld},
	} {
		t.Run(c.name, c.shows)
	}
}

// TestImpossibleHere shows that faults of other systems cannot occur here, each under
// the number of its report there, or without one, under the name of the system.
func TestImpossibleHere(t *testing.T) {
	for _, c := range []struct {
		name  string
		shows func(*testing.T)
	}{
		{"nocturne: quiet hours blocked the urgent low", TestNothingHoldsBackHigh},
		{"nocturne: escalation stopped at 3", TestOnlyAPersonEndsEscalation},
		{"nocturne: a cap dropped new alerts", TestNoCapDropsAlerts},
		{"nocturne: rule errors were only logged", TestFunc},
		{"nocturne: fields of the rule page never evaluated", TestChangedSettingsCount},
		{"nocturne: fields of the rule page never evaluated", TestEachFieldCounts},
		{"nocturne: a setting that has no effect is not said", TestSettingsThatNoRuleHeeds},
		{"thingsboard 7909: a no-data alarm never clears", TestAbsent},
		{"thingsboard 7909: a no-data alarm never clears", TestComplaints5To8},
		{"thingsboard 13050: it is not raised again", TestAbsent},
		{"thingsboard 13050: it is not raised again", TestComplaints5To8},
		{"thingsboard 10590: it has the wrong duration", TestAbsent},
		{"mdpnp 12: a score stops silently", TestScoreWithoutAnInput},
		{"care_fe 6433: inputs of the last 30 minutes only", TestScoreWithoutAnInput},
		{"grafana 7886: flapping", TestFlapsAreHeld},
		{"alertmanager 204: flapping", TestFlapsAreHeld},
		{"a rule that panics or hangs is not said", TestFunc},
		{"a rule that panics or hangs is not said", TestFuncThatHangs},
		{"a rule that cannot judge is not said", TestBlindnessIsReported},
		{"an acceptance never expires", TestOnlyAPersonEndsEscalation},
		{"98.6 °F is compared with 38.5 °C", TestUnitsAreConverted},
		{"invalid readings raise and clear", TestQualityIsHeeded},
		{"a reading three hours old raises and ends", TestOldReadingsAreHistory},
		{"a reading three hours old is a sensor's first", TestFirstReadingThreeHoursOld},
		{"a corrected reading changes nothing", TestCorrectionsCount},
		{"finger 80 and ear 97 cancel each other", TestSeveralSensors},
		{"a slow device can never satisfy 10 s", TestLimit},
		{"a forced close hides the condition for ever", TestForcedCloseHoldsForATime},
	} {
		t.Run(c.name, c.shows)
	}
}

// An old value is said to be old in all other states too: with the rule switched
// off and on again, and while its alert is present.
func TestOldValuesAreSaidToBeOld(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.rate(time.Second, 70, 70)
	h.wait(5 * time.Minute)
	s := h.c.Explain(h.now)[0]
	require.Equal(t, StandingUnknown, s.State)
	require.Equal(t, "no reading", s.Detail)
	h.rate(time.Second, 200)
	h.wait(5 * time.Minute)
	s = h.c.Explain(h.now)[0]
	require.Equal(t, StandingPresent, s.State, "silence is not well")
	require.True(t, s.Blind)
	h.c.Apply(Settings{Off: map[string]Off{"hr-high": {By: "Dr Gray", Until: h.now.Add(time.Hour)}}})
	require.Equal(t, StandingOff, h.c.Explain(h.now)[0].State)
	h.c.Apply(Settings{})
	require.Equal(t, StandingUnknown, h.c.Explain(h.now)[0].State)
}

// A device that stops while an alert is present: the alert stays, and the silence
// is an alert of its own, told by the server.
func TestSilenceDuringAnAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{}))
		for range 5 {
			v := carewire.HeartRate.Of("p1", 200)
			v.Device, v.Every = "uploader", time.Second
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		time.Sleep(8 * time.Hour)
		for _, key := range []string{"hr-high", "no-data.uploader"} {
			list := w.alerts(key)
			require.NotEmpty(t, list, key)
			require.Equal(t, carewire.ConditionPresent, list[len(list)-1].Condition, key)
			require.NotZero(t, list[len(list)-1].Escalation.Level, key)
		}
	})
}

// The first reading of a sensor, three hours old when it comes, is history too.
func TestFirstReadingThreeHoursOld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{}))
		send := func(rate float64, age time.Duration) {
			v := carewire.HeartRate.Of("p1", rate)
			v.Time = w.hub.Now().Add(-age)
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		send(200, 3*time.Hour)
		require.Empty(t, w.alerts("hr-high"))
		send(200, 0)
		require.Len(t, w.alerts("hr-high"), 1)
		send(100, 3*time.Hour)
		require.Equal(t, carewire.ConditionPresent, w.alerts("hr-high")[0].Condition)
	})
}
