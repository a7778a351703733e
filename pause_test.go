package carewire

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// During a pause nobody is told of the alerts that it covers. The alerts that
// are still present when it ends are told then.
func TestPause(t *testing.T) {
	for _, c := range []struct {
		name  string
		pause Pause
		alert Raise // raised a minute into the pause
		do    func(w *world) error
		want  []string // pages within ten minutes after that
	}{
		{name: "a physiological alert", alert: high("k"), want: []string{"5m0s person:nurse", "5m30s person:doctor", "6m30s group:icu", "8m30s group:icu"}},
		{name: "it ends meanwhile", alert: high("k"), do: func(w *world) error {
			_, err := w.hub.Clear(w.t.Context(), AlertRef{Patient: "p1", Key: "k"})
			return err
		}},
		{name: "ended by a clinician", alert: high("k"), do: func(w *world) error { return w.hub.Unpause(w.t.Context(), people["doctor"], "p1") },
			want: []string{"2m0s person:nurse", "2m30s person:doctor", "3m30s group:icu", "5m30s group:icu", "9m30s group:icu"}},
		{name: "accepted meanwhile", alert: high("k"), do: func(w *world) error {
			_, err := w.hub.Answer(w.t.Context(), people["nurse"], AlertRef{Patient: "p1", Key: "k"}, Answer{Do: AnswerAccept})
			return err
		}},
		{name: "unpausable", alert: Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh, Unpausable: true},
			want: []string{"1m0s person:nurse", "1m30s person:doctor", "2m30s group:icu", "4m30s group:icu", "8m30s group:icu"}},
		{name: "a technical alert", alert: Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh, Kind: AlertTechnical},
			want: []string{"1m0s person:nurse", "1m30s person:doctor", "2m30s group:icu", "4m30s group:icu", "8m30s group:icu"}},
		{name: "another patient", alert: Raise{Patient: "p2", Key: "k", Text: "x", Priority: PriorityHigh},
			want: []string{"1m0s person:nurse", "1m30s person:doctor", "2m30s group:icu", "4m30s group:icu", "8m30s group:icu"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			escalating(t, func(w *world, p *pager, start time.Time) {
				t := w.t
				require.NoError(t, w.hub.Pause(t.Context(), people["nurse"], Pause{Patient: "p1", For: 5 * time.Minute, Reason: "bronchoscopy"}))
				time.Sleep(time.Minute)
				_, err := w.hub.Raise(t.Context(), c.alert)
				require.NoError(t, err)
				time.Sleep(time.Minute)
				if c.do != nil {
					require.NoError(t, c.do(w))
				}
				time.Sleep(8 * time.Minute)
				require.Equal(t, c.want, p.told(start))
			})
		})
	}
}

// The silence of a device is held back only if the pause says so. An escalation
// that was under way when the pause began waits. A pause is known after a
// restart.
func TestPauseOfSilence(t *testing.T) {
	for _, silence := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := &pager{}
			o := &Options{Policy: threeSteps, Pager: p}
			w := newWorld(t, nil, o)
			_, err := w.hub.Raise(t.Context(), high("k"))
			require.NoError(t, err)
			_, err = w.hub.Publish(t.Context(), monitor())
			require.NoError(t, err)
			synctest.Wait()
			start := time.Now()
			p.told(start)
			require.NoError(t, w.hub.Pause(t.Context(), people["nurse"], Pause{Patient: "p1", For: 5 * time.Minute, Reason: "transport", Silence: silence}))
			w.close()
			w = newWorld(t, w.store, o)
			defer w.close()
			time.Sleep(time.Minute)
			told := p.told(start)
			if silence {
				require.Empty(t, told)
			} else {
				require.Len(t, told, 2, "of the device only: %v", told)
			}
			time.Sleep(4*time.Minute + 2*time.Second)
			require.Contains(t, p.told(start), "5m0s person:doctor", "the next step of the alert")
		})
	}
}

// The right to pause, the bounds of a pause, and the events that watchers see
// of it.
func TestPauseRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notary{}
		w := newWorld(t, nil, &Options{Auditor: n})
		defer w.close()
		nurse, viewer := w.watching("nurse", "every"), w.dial("viewer")
		defer nurse.ws.CloseNow()
		defer viewer.ws.CloseNow()
		require.Equal(t, "forbidden", viewer.ask(`{"type":"pause","req":"1","patient":"p1","for_s":60,"reason":"x"}`)["code"])
		require.Equal(t, "forbidden", viewer.ask(`{"type":"unpause","req":"1","patient":"p1"}`)["code"])
		require.Equal(t, "for_s", nurse.ask(`{"type":"pause","req":"1","patient":"p1","for_s":601,"reason":"x"}`)["field"])
		nurse.send(`{"type":"pause","req":"1","patient":"p1","for_s":600,"reason":"x","silence":true}`)
		paused := objectAt(nurse.until("access"), "access")
		require.Equal(t, "pause", paused["kind"])
		require.Equal(t, "nurse", paused["principal"])
		require.Equal(t, "x", paused["reason"])
		require.Equal(t, true, paused["silence"])
		require.NotEmpty(t, paused["until"])
		late := w.watching("doctor", "latest") // it is in the snapshot
		defer late.ws.CloseNow()
		events, _, err := w.hub.Latest(t.Context(), "p1")
		require.NoError(t, err)
		require.Equal(t, "pause", events[len(events)-1].Access.Kind)
		late.send(`{"type":"unpause","req":"1","patient":"p1"}`)
		require.Equal(t, "pause_ended", valueAt(nurse.until("access"), "access", "kind"))
		synctest.Wait()
		require.Contains(t, n.lines(), "pause refused code=forbidden who=viewer patient=p1 reason=x")
		require.NoError(t, w.hub.Pause(t.Context(), people["nurse"], Pause{Patient: "p1", For: time.Minute, Reason: "x"}))
		time.Sleep(61 * time.Second)
		events, _, err = w.hub.Latest(t.Context(), "p1")
		require.NoError(t, err)
		require.Empty(t, events, "it has ended by itself")
		for _, bad := range []Pause{{}, {Patient: "p1", For: time.Minute}, {Patient: "p1", Reason: "x"}, {Patient: SystemPatient, For: time.Minute, Reason: "x"}} {
			var invalid *ValidationError
			require.ErrorAs(t, w.hub.Pause(t.Context(), people["nurse"], bad), &invalid)
		}
	})
}

// An alert that may end by itself does, though nobody was told of it.
func TestAlertThatEndsByItself(t *testing.T) {
	escalating(t, func(w *world, p *pager, start time.Time) {
		t := w.t
		p.deaf["person:nurse"] = true
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "lead-off", Text: "x", Priority: PriorityLow, Kind: AlertTechnical, NoLatch: true})
		require.NoError(t, err)
		time.Sleep(2 * time.Second)
		a, err := w.hub.Clear(t.Context(), AlertRef{Patient: "p1", Key: "lead-off"})
		require.NoError(t, err)
		require.False(t, a.Open())
		time.Sleep(time.Hour)
		require.Empty(t, p.told(start))
	})
}

// History has the pause with who, why and until when, and its end with who ended it.
func TestPauseIsInHistory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		start := time.Now()
		require.NoError(t, w.hub.Pause(t.Context(), people["nurse"], Pause{Patient: "p1", For: 5 * time.Minute, Reason: "bronchoscopy", Silence: true}))
		time.Sleep(time.Minute)
		require.NoError(t, w.hub.Unpause(t.Context(), people["doctor"], "p1"))
		require.NoError(t, w.hub.Pause(t.Context(), people["nurse"], Pause{Patient: "p1", For: time.Minute, Reason: "x-ray"}))
		time.Sleep(2 * time.Minute)
		doctor := w.dial("doctor")
		defer doctor.ws.CloseNow()
		var got []string
		for _, ev := range listAt(doctor.ask(`{"type":"history","req":"1","patient":"p1","kinds":["access"]}`), "events") {
			a := objectAt(ev, "access")
			got = append(got, fmt.Sprint(a["kind"], " ", a["principal"], " ", a["reason"], " ", a["silence"]))
		}
		require.Equal(t, []string{"pause nurse bronchoscopy true", "pause_ended doctor <nil> <nil>", "pause nurse x-ray <nil>", "pause_ended <nil> <nil> <nil>"}, got)
		page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindAccess}})
		require.NoError(t, err)
		require.Equal(t, 5*time.Minute, page.Events[0].Access.Until.Sub(start))
	})
}
