package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// glass grants p9 to the doctor, and to the nurse in an emergency only, for ten minutes.
func glass(a Access, patient string) (Decision, error) {
	switch {
	case patient != "p9" || a.Principal.ID == "doctor":
		return Decision{Allow: true}, nil
	case a.Emergency && a.Reason == "not breathing" && a.Principal.ID == "nurse":
		return Decision{true, time.Now().Add(10 * time.Minute)}, nil
	}
	return Decision{}, nil
}

const breakGlass = `{"type":"watch","req":"1","patients":["p1","p9"],"emergency":true,"reason":"not breathing"}`

func TestEmergency(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		j := &judge{decide: glass}
		w := newWorld(t, nil, &Options{Authorizer: j})
		defer w.close()
		a, err := w.hub.Raise(t.Context(), Raise{Patient: "p9", Key: "k", Text: "x", Priority: PriorityLow})
		require.NoError(t, err)
		doctor := w.dial("doctor")
		defer doctor.ws.CloseNow()
		doctor.ask(`{"type":"watch","req":"1","patients":["p9"]}`)
		doctor.until("synced")
		nurse, phone := w.dial("nurse"), w.dial("nurse")
		defer nurse.ws.CloseNow()
		defer phone.ws.CloseNow()
		watch := `{"type":"watch","req":"1","patients":["p9"]}`
		history := `{"type":"history","req":"2","patient":"p9"}`
		require.Equal(t, []any{object{"patient": "p9", "code": "forbidden"}}, phone.ask(watch)["refused"])
		require.Equal(t, "forbidden", phone.ask(history)["code"])

		require.Equal(t, []any{"p1", "p9"}, nurse.ask(breakGlass)["watching"])
		begun := doctor.until("access")
		ends := start.Add(10 * time.Minute).UTC().Format("2006-01-02T15:04:05.000Z07:00")
		require.Equal(t, object{"kind": "emergency", "principal": "nurse", "reason": "not breathing", "until": ends}, begun["access"])
		// While it runs, the same person may answer from elsewhere too.
		require.Equal(t, "ok", phone.ask(history)["type"])
		require.Equal(t, []any{"p9"}, phone.ask(watch)["watching"])
		require.Equal(t, "ok", phone.ask(`{"type":"answer","req":"3","patient":"p9","key":"k","alert_id":"` + a.ID + `","event_id":"e","do":"accept"}`)["type"])
		// A client that comes to watch now sees that it runs.
		late := w.dial("doctor")
		defer late.ws.CloseNow()
		late.send(watch)
		require.Equal(t, begun, late.until("access"))

		n, p, d := nurse.follow(), phone.follow(), doctor.follow()
		w.vitals("p9", 605)
		synctest.Wait()
		for _, f := range []*followed{n, p} {
			vital, revoked := f.last(start)
			require.Equal(t, 600, revoked)
			require.InDelta(t, 599, vital, 1)
		}
		require.Equal(t, "emergency_ended", valueAt(d.others["access"], "access", "kind"))
		require.Equal(t, "undefined", valueAt(d.others["alert"], "alert", "responsibility", "state"), "a person who may not see it is not responsible")
		require.Len(t, d.vitals, 605, "a person whose rights do not change gets everything")
		require.ErrorIs(t, w.hub.access.decide(t.Context(), new(people["nurse"]), ActionHistory, []string{"p9"})["p9"], ErrForbidden)
	})
}

// While an emergency runs the Authorizer is asked for each of the person's actions,
// and every Options.Recheck for its watches. It may grant some actions only.
func TestEmergencyIsAskedForAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		var asked []Access
		var times []time.Duration
		j := &judge{decide: func(a Access, patient string) (Decision, error) {
			if !a.Emergency || patient != "p9" {
				return Decision{Allow: patient != "p9"}, nil
			}
			asked, times = append(asked, a), append(times, time.Since(start))
			return Decision{a.Action == ActionWatch, time.Now().Add(10 * time.Minute)}, nil // as if to prolong it
		}}
		w := newWorld(t, nil, &Options{Authorizer: j})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		require.Equal(t, []any{"p1", "p9"}, nurse.ask(breakGlass)["watching"])
		require.Equal(t, "forbidden", nurse.ask(`{"type":"raise","req":"2","event_id":"e","alert":{"patient":"p9","key":"k","text":"x","priority":"low"}}`)["code"])
		require.Equal(t, "forbidden", nurse.ask(`{"type":"history","req":"3","patient":"p9"}`)["code"])
		require.Equal(t, []Action{ActionWatch, ActionRaise, ActionHistory}, []Action{asked[0].Action, asked[1].Action, asked[2].Action})
		n := nurse.follow()
		w.vitals("p9", 605)
		synctest.Wait()
		_, revoked := n.last(start)
		require.Equal(t, 600, revoked, "asking again prolongs nothing")
		require.GreaterOrEqual(t, len(times), 3+9, "each minute")
		for i, a := range asked[3:] {
			require.Equal(t, []any{ActionWatch, "not breathing", []string{"p9"}}, []any{a.Action, a.Reason, a.Patients})
			require.LessOrEqual(t, times[3+i]-times[2+i], time.Minute+visitEvery)
		}
	})
}

// The default rules grant nothing in an emergency.
func TestEmergencyIsNotForTheDefaultRules(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		ok := nurse.ask(breakGlass)
		require.Equal(t, []any{"p1"}, ok["watching"])
		require.Equal(t, []any{object{"patient": "p9", "code": "forbidden"}}, ok["refused"])
		require.Equal(t, "invalid", nurse.ask(`{"type":"watch","req":"2","patients":["p1"],"emergency":true}`)["code"], "without a reason")
	})
}

// An emergency can end before its time, and another node knows its state.
func TestEmergencyEnds(t *testing.T) {
	for name, c := range map[string]struct {
		end    func(t *testing.T, w *world, j *judge)
		within time.Duration
	}{
		"revoked": {func(t *testing.T, w *world, _ *judge) {
			require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Patients: []string{"p9"}}))
		}, 2 * time.Second},
		"revoked altogether": {func(t *testing.T, w *world, _ *judge) {
			require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		}, 2 * time.Second},
		"refused when asked again": {func(t *testing.T, _ *world, j *judge) {
			j.rule(func(_ Access, patient string) (Decision, error) { return Decision{Allow: patient != "p9"}, nil })
		}, 66 * time.Second},
		"its node has died": {func(t *testing.T, w *world, _ *judge) { w.close() }, 10*time.Minute + 2*time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				j := &judge{decide: glass}
				w := newWorld(t, nil, &Options{Authorizer: j})
				if name != "its node has died" {
					defer w.close()
				}
				other := newWorld(t, w.store, &Options{Authorizer: j})
				defer other.close()
				nurse := w.dial("nurse")
				defer nurse.ws.CloseNow()
				require.Equal(t, []any{"p1", "p9"}, nurse.ask(breakGlass)["watching"])
				nurse.follow()
				time.Sleep(2 * time.Second)
				there := func() error {
					return other.hub.access.decide(t.Context(), new(people["nurse"]), ActionHistory, []string{"p9"})["p9"]
				}
				require.NoError(t, there(), "the other node knows it")
				c.end(t, w, j)
				time.Sleep(c.within)
				e, err := w.store.Get(t.Context(), "p9", emergencyKey("nurse"))
				require.NoError(t, err)
				require.False(t, e.Open)
				ev, err := e.event()
				require.NoError(t, err)
				require.Equal(t, "emergency_ended", ev.Access.Kind)
				require.EqualValues(t, 2, e.Rev, "it ends once")
				require.ErrorIs(t, there(), ErrForbidden)
			})
		})
	}
}

// A grant that cannot be written down is not given.
func TestEmergencyIsWrittenFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seam{Store: NewMemoryStore(nil)}
		w := newWorld(t, s, &Options{Authorizer: &judge{decide: glass}})
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.until("inbox")
		s.failing.Store(true)
		ok := nurse.ask(breakGlass)
		require.Equal(t, []any{"p1"}, ok["watching"])
		require.Equal(t, []any{object{"patient": "p9", "code": "unavailable"}}, ok["refused"])
		s.failing.Store(false)
	})
}

// An emergency that is prolonged as it ends goes on.
func TestEmergencyProlongedAsItEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		h, doctor := w.hub, people["doctor"]
		require.NoError(t, h.access.emergencies.begin(t.Context(), &doctor, "p1", "x", h.now().Add(time.Second)))
		e, err := w.store.Get(t.Context(), "p1", emergencyKey("doctor"))
		require.NoError(t, err)
		require.NoError(t, h.access.emergencies.begin(t.Context(), &doctor, "p1", "x", h.now().Add(time.Hour)))
		h.escalator.do(t.Context(), &e) // it was found to be due before
		require.Contains(t, h.access.emergencies.running("doctor", h.now()), "p1")
		time.Sleep(time.Hour + 2*time.Second)
		e, err = w.store.Get(t.Context(), "p1", emergencyKey("doctor"))
		require.NoError(t, err)
		require.False(t, e.Open)
	})
}
