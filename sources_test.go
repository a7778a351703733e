package carewire

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Several sources state one condition: the highest priority counts, each changes
// its own statement, and it is over when none states it any more.
func TestSources(t *testing.T) {
	t.Parallel()
	now := wireTime
	say := func(a *Alert, by string, p Priority) Alert {
		return raiseAlert(a, Raise{ID: "ev-" + by, Text: by + " says " + string(p), Priority: p, To: []string{"person:" + by}}, by, now)
	}
	a := say(nil, "app", PriorityLow)
	require.Empty(t, a.Sources, "one alone shows in source")
	a = say(&a, "monitor", PriorityHigh)
	require.Equal(t, PriorityHigh, a.Priority)
	require.Equal(t, "monitor says high", a.Text)
	require.Equal(t, []string{"person:app", "person:monitor"}, a.To)
	require.Len(t, a.Sources, 2)
	a = say(&a, "app", PriorityInfo)
	require.Equal(t, PriorityHigh, a.Priority, "an app cannot lower a monitor's priority")
	require.Equal(t, "monitor says high", a.Text)
	require.True(t, a.unchangedBy(&Raise{Text: "app says info", Priority: PriorityInfo}, "app"))
	require.False(t, a.unchangedBy(&Raise{Text: "app says info", Priority: PriorityInfo}, "monitor"))
	before := text(&a)
	require.Equal(t, before, text(stored(t, a)), "nothing is lost in a Store")
	b := withdrawAssertion(&a, "stranger", now)
	require.Equal(t, before, text(&b))

	accepted := answered(t, a, Answer{Do: AnswerAccept}, ann, now)
	b = withdrawAssertion(&accepted, "monitor", now)
	require.Equal(t, PriorityInfo, b.Priority)
	require.Equal(t, "app says info", b.Text)
	require.Equal(t, "app", b.Source.By)
	require.Equal(t, ResponsibilityAccepted, b.Responsibility.State)
	require.True(t, b.Open())
	b = withdrawAssertion(&b, "app", now)
	require.False(t, b.Open())

	b = withdrawAssertion(&a, "app", now)
	require.Empty(t, b.Sources)
	require.Equal(t, ConditionPresent, b.Condition)
	b = withdrawAssertion(&b, "monitor", now)
	require.True(t, b.Latched)
	latched := text(&b)
	c := say(&b, "app", PriorityInfo)
	require.Equal(t, latched, text(&c), "information does not end a latched alert")
	later := now.Add(time.Hour)
	c = raiseAlert(&b, Raise{Text: "again", Priority: PriorityMedium}, "pump", later)
	require.Equal(t, later, c.Onset, "a recurrence has its own onset")
	require.Equal(t, "pump", c.Source.By)
	require.Empty(t, c.Sources)

	for i := range sourcesMost {
		require.False(t, c.crowdedFor(fmt.Sprint("s", i)) && i < sourcesMost-1, i)
		c = raiseAlert(&c, Raise{Text: "x", Priority: PriorityLow}, fmt.Sprint("s", i), later)
		if len(c.Sources) == sourcesMost {
			break
		}
	}
	require.True(t, c.crowdedFor("another"))
	require.False(t, c.crowdedFor("pump"))
}

// Everybody for whom one of the sources raised an alert sees it, whichever leads:
// a patient's app hides no monitor's alert from the staff, present or latched. A
// source alone decides.
func TestAudienceOfSources(t *testing.T) {
	t.Parallel()
	say := func(a *Alert, by string, p Priority, audience Audience) *Alert {
		next := raiseAlert(a, Raise{ID: "ev", Text: "x", Priority: p, Audience: audience}, by, wireTime)
		return &next
	}
	app := func(a *Alert) *Alert { return say(a, "app", PriorityLow, AudienceNamed) }
	monitor := func(a *Alert) *Alert { return say(a, "monitor", PriorityHigh, 0) }
	for name, tc := range map[string]struct {
		alert *Alert
		want  Audience
	}{
		"the monitor leads":        {monitor(app(nil)), AudienceStaff},
		"the app comes second":     {app(monitor(nil)), AudienceStaff},
		"the app says it again":    {app(monitor(app(nil))), AudienceStaff},
		"the monitor narrows":      {say(monitor(app(nil)), "monitor", PriorityHigh, AudienceNamed), AudienceStaff},
		"a lesser one shows all":   {say(monitor(nil), "relative", PriorityLow, AudienceAll), AudienceAll},
		"narrow below all":         {monitor(say(nil, "relative", PriorityLow, AudienceAll)), AudienceAll},
		"alone, narrower":          {say(monitor(nil), "monitor", PriorityHigh, AudienceNamed), AudienceNamed},
		"alone, left out":          {say(app(nil), "app", PriorityLow, 0), AudienceStaff},
		"latched, by another":      {app(new(withdrawAssertion(monitor(nil), "monitor", wireTime))), AudienceStaff},
		"latched, by the same one": {app(new(withdrawAssertion(say(nil, "app", PriorityLow, 0), "app", wireTime))), AudienceNamed},
	} {
		require.Equal(t, tc.want, tc.alert.Audience, name)
	}
	both := app(monitor(nil))
	require.True(t, both.unchangedBy(&Raise{Text: "x", Priority: PriorityLow, Audience: AudienceNamed}, "app"))
	require.False(t, both.unchangedBy(&Raise{Text: "x", Priority: PriorityLow, Audience: AudienceAll}, "app"), "more are to see it")
}

// Over the wire: neither a patient's app nor a service's own end touches a
// monitor's statement; a repeated statement is not stored again.
func TestSourcesOfClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Pager: &pager{}})
		defer w.close()
		device, pat := w.dial("device"), w.dial("pat")
		defer device.ws.CloseNow()
		defer pat.ws.CloseNow()
		raise := func(r *raw, id, key, priority string) object {
			return r.ask(fmt.Sprintf(`{"type":"raise","req":"1","event_id":"%s","alert":{"patient":"p1","key":"%s","text":"%s","priority":"%s"}}`, id, key, priority, priority))
		}
		require.Equal(t, "ok", raise(device, "e1", "spo2-low", "high")["type"])
		synctest.Wait()
		rev := func() uint64 {
			e, err := w.store.Get(t.Context(), "p1", "a/spo2-low")
			require.NoError(t, err)
			return e.Rev
		}
		before := rev()
		require.Equal(t, "ok", raise(device, "e2", "spo2-low", "high")["type"])
		require.Equal(t, before, rev(), "the same again is not stored")
		shown := objectAt(raise(pat, "e3", "spo2-low", "info"), "alert")
		require.Equal(t, "high", shown["priority"])
		require.Len(t, shown["sources"], 2)
		shown = objectAt(pat.ask(`{"type":"clear","req":"1","patient":"p1","key":"spo2-low","alert_id":"e1","event_id":"c1"}`), "alert")
		require.Equal(t, "present", shown["condition"])
		require.Equal(t, "forbidden", pat.ask(`{"type":"clear","req":"1","patient":"p1","key":"spo2-low","alert_id":"e1","event_id":"c2"}`)["code"], "not its own any more")

		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "spo2-low", Text: "rule", Priority: PriorityMedium})
		require.NoError(t, err)
		a, err := w.hub.Clear(t.Context(), AlertRef{Patient: "p1", Key: "spo2-low"})
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, a.Condition, "the host ends its own")
		a, err = w.hub.Clear(t.Context(), AlertRef{Patient: "p1", Key: "spo2-low"})
		require.NoError(t, err)
		require.Equal(t, ConditionOver, a.Condition, "and the others' values where it gives none")

		for _, key := range []string{"no-data.mon-1", "no-data.x", noDataMore, "no-data-from.gateway", outageKey("Gateway 7")} {
			require.Equal(t, "alert.key", raise(device, "r-"+key, key, "low")["field"])
		}
		require.Equal(t, "alert.key", device.ask(`{"type":"raise","req":"1","event_id":"no-data.mon-1","alert":{"patient":"p1","text":"x","priority":"low"}}`)["field"])
	})
}

// A drill is named apart from a real alert; a fixed ID opens one occurrence only.
func TestDrillsAndIDs(t *testing.T) {
	w := newWorld(t, nil, nil)
	defer w.close()
	for _, test := range []bool{false, true} {
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityLow, Test: test})
		require.NoError(t, err)
	}
	a, err := w.hub.Clear(t.Context(), AlertRef{Patient: "p1", Key: "k", Test: true})
	require.NoError(t, err)
	require.True(t, a.Test)
	real, err := w.hub.Alert(t.Context(), "p1", "k")
	require.NoError(t, err)
	require.Equal(t, ConditionPresent, real.Condition)

	fixed := Raise{Patient: "p1", Key: "fixed", ID: "always", Text: "x", Priority: PriorityInfo}
	_, err = w.hub.Raise(t.Context(), fixed)
	require.NoError(t, err)
	_, err = w.hub.Clear(t.Context(), AlertRef{Patient: "p1", Key: "fixed"})
	require.NoError(t, err)
	_, err = w.hub.Raise(t.Context(), fixed)
	require.ErrorIs(t, err, ErrEnded)
}

// Low alerts take no room of high ones, and one source none of another's; a high
// one too many may be tried again, and the host is bounded too.
func TestRoomForAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxAlerts: 1, Pager: &pager{}})
		defer w.close()
		device, pat := w.dial("device"), w.dial("pat")
		defer device.ws.CloseNow()
		defer pat.ws.CloseNow()
		n := 0
		raise := func(r *raw, priority string) object {
			n++
			return r.ask(fmt.Sprintf(`{"type":"raise","req":"1","event_id":"e%d","alert":{"patient":"p1","key":"k%d","text":"x","priority":"%s"}}`, n, n, priority))
		}
		require.Equal(t, "ok", raise(device, "low")["type"])
		require.Equal(t, "limit", raise(device, "low")["code"])
		require.Equal(t, "ok", raise(pat, "low")["type"])
		require.Equal(t, "ok", raise(device, "medium")["type"])
		for range highRoom {
			require.Equal(t, "ok", raise(device, "high")["type"])
		}
		refused := raise(device, "high")
		require.Equal(t, "limit", refused["code"])
		require.Equal(t, "later", refused["retry"])
		for i := range hostRoom + 1 {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint("h", i), Text: "x", Priority: PriorityLow})
			require.Equal(t, i == hostRoom, err != nil)
		}
	})
}

// The leading source tells its inputs, however often others say the same; those
// of the others are not kept, and an age that has grown is no news.
func TestInputsOfSources(t *testing.T) {
	t.Parallel()
	now := wireTime
	inputs := []SourceInput{{Code: "8867-4", Value: "131", Unit: "/min", VitalID: "m-7", Age: time.Second},
		{Code: "80288-4", Coded: Coding{"http://snomed.info/sct", "248234008"}}}
	say := func(a *Alert, by string, p Priority, in ...SourceInput) Alert {
		return raiseAlert(a, Raise{ID: "ev-" + by, Text: "x", Priority: p, Source: Source{Rule: "r", Inputs: in}}, by, now)
	}
	a := say(nil, "judge", PriorityMedium, inputs...)
	inputs[0].Value = "7"
	require.EqualValues(t, "131", a.Source.Inputs[0].Value, "it shares nothing with the Raise")
	require.Equal(t, text(&a), text(stored(t, a)))
	a = say(&a, "app", PriorityLow, SourceInput{Code: "8867-4"})
	a = *stored(t, a)
	require.Equal(t, "judge", a.Source.By)
	require.Len(t, a.Source.Inputs, 2)
	older := slices.Clone(a.Source.Inputs)
	older[0].Age += time.Minute
	require.True(t, a.unchangedBy(&Raise{Text: "x", Priority: PriorityMedium, Source: Source{Rule: "r", Inputs: older}}, "judge"))
	require.False(t, a.unchangedBy(&Raise{Text: "y", Priority: PriorityMedium, Source: Source{Rule: "r", Inputs: older}}, "judge"))
	a = say(&a, "app", PriorityInfo)
	require.Len(t, a.Source.Inputs, 2, "another source takes nothing away")
	b := withdrawAssertion(&a, "judge", now)
	require.Equal(t, "app", b.Source.By)
	require.Empty(t, b.Source.Inputs)
	b = withdrawAssertion(&a, "app", now)
	require.Equal(t, "judge", b.Source.By)
	require.Len(t, b.Source.Inputs, 2)
}

// Sources of little urgency keep no more urgent one out, as many as they are: it
// displaces the newest of the least urgent. That is reported as what it is.
func TestUrgentSourceDisplacesAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		raised := 0
		raise := func(by string, p Priority) (Alert, error) {
			raised++
			return w.hub.raise(t.Context(), by, Raise{Patient: "p1", Key: "k", ID: fmt.Sprint("e", raised), Text: by, Priority: p})
		}
		complaint := func() (Alert, error) {
			synctest.Wait()
			return w.hub.Alert(t.Context(), SystemPatient, complaintKey(AlertRef{Patient: "p1", Key: "a/k"}, sourcesRule))
		}
		for i := range sourcesMost {
			_, err := raise(fmt.Sprint("app-", i), PriorityInfo)
			require.NoError(t, err)
		}
		_, err := complaint()
		require.ErrorIs(t, err, ErrNotFound, "there was room")
		a, err := raise("monitor", PriorityHigh)
		require.NoError(t, err)
		require.Equal(t, PriorityHigh, a.Priority)
		require.Len(t, a.Sources, sourcesMost)
		require.True(t, a.assertedBy("app-0"))
		require.False(t, a.assertedBy("app-15"), "the newest")
		c, err := complaint()
		require.NoError(t, err)
		require.Equal(t, AlertRef{Patient: "p1", Key: "k"}, c.About)
		require.Equal(t, ConditionPresent, c.Condition)
		_, err = w.hub.Alert(t.Context(), SystemPatient, crowdedKey("monitor"))
		require.ErrorIs(t, err, ErrNotFound, "the monitor has not too many alerts")

		_, err = raise("app-15", PriorityInfo)
		var refused *RequestError
		require.ErrorAs(t, err, &refused)
		require.Equal(t, CodeLimit, refused.Code, "it displaces no equal one")
		for i := range sourcesMost - 1 {
			_, err = raise(fmt.Sprint("pump-", i), PriorityHigh)
			require.NoError(t, err)
		}
		_, err = raise("pump-15", PriorityHigh)
		require.ErrorAs(t, err, &refused)
		require.Equal(t, RetryLater, refused.Retry)

		_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerClose, Force: true, Reason: "x"})
		require.NoError(t, err)
		c, err = complaint()
		require.NoError(t, err)
		require.Equal(t, ConditionOver, c.Condition)
	})
}
