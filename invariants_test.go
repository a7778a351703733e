package carewire

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// watching dials, watches p1 and reads up to synced.
func (w *world) watching(token, delivery string) *raw {
	w.t.Helper()
	r := w.dial(token)
	r.ask(`{"type":"watch","req":"w","patients":["p1"],"delivery":"` + delivery + `"}`)
	r.until("synced")
	return r
}

// I2: a late vital does not replace a newer one that waits, and is not worth
// sending after it.
func TestLateVitalReplacesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		slow := w.watching("nurse", "latest")
		defer slow.ws.CloseNow()
		at := func(ago time.Duration, value float64) {
			v := HeartRate.Of("p1", value)
			v.Time = time.Now().Add(-ago)
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			synctest.Wait()
		}
		at(0, 60) // is being written; the others wait
		at(0, 61)
		at(time.Hour, 40)
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		require.EqualValues(t, 60, valueAt(slow.read(), "vital", "value"))
		require.EqualValues(t, 61, valueAt(slow.read(), "vital", "value"))
		require.Equal(t, "alert", slow.read()["type"])
	})
}

// I7: the same ID with the same content is answered as the first time; with
// other content it is refused.
func TestRepeatedSendsAreRecognised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse, device, pat := w.dial("nurse"), w.dial("device"), w.dial("pat")
		for _, r := range []*raw{nurse, device, pat} {
			defer r.ws.CloseNow()
		}
		for _, c := range []struct {
			by                   *raw
			first, again, reused string
		}{
			{device,
				`{"type":"raise","req":"1","event_id":"e1","alert":{"patient":"p1","key":"k","text":"x","priority":"high"}}`,
				`{"type":"raise","event_id":"e1","alert":{"priority":"high","patient":"p1","key":"k","text":"x"},"req":"2"}`,
				`{"type":"raise","req":"3","event_id":"e1","alert":{"patient":"p1","key":"k","text":"y","priority":"high"}}`},
			{pat,
				`{"type":"notify","req":"1","notice":{"patient":"p1","notice_id":"n1","to":["group:icu"],"text":"x"}}`,
				`{"type":"notify","req":"2","notice":{"patient":"p1","notice_id":"n1","to":["group:icu"],"text":"x"}}`,
				`{"type":"notify","req":"3","notice":{"patient":"p1","notice_id":"n1","to":["group:icu"],"text":"y"}}`},
		} {
			first, again := c.by.ask(c.first), c.by.ask(c.again)
			require.Equal(t, "ok", first["type"], first)
			delete(first, "req")
			delete(again, "req")
			require.Equal(t, first, again)
			require.Equal(t, "id_reused", c.by.ask(c.reused)["code"])
		}
		// An answer that no longer fits the alert's state.
		answer := `{"type":"answer","req":"%s","patient":"p1","key":"k","alert_id":"e1","event_id":"%s","do":"%s"}`
		require.Equal(t, "ok", nurse.ask(fmt.Sprintf(answer, "1", "a1", "accept"))["type"])
		released := nurse.ask(fmt.Sprintf(answer, "2", "a2", "release"))
		require.Equal(t, "ok", released["type"])
		require.Equal(t, released, nurse.ask(fmt.Sprintf(answer, "2", "a2", "release")))
		require.Equal(t, "refused", nurse.ask(fmt.Sprintf(answer, "3", "a3", "release"))["code"])
		require.Equal(t, "id_reused", nurse.ask(fmt.Sprintf(answer, "4", "a2", "accept"))["code"])
		spoken := `{"type":"answer","req":"5","patient":"p1","key":"k","alert_id":"e1","event_id":"a5","do":"reject","source":{"kind":"speech","model":"ears 2","confidence":%s}}`
		rejected := nurse.ask(fmt.Sprintf(spoken, "0.67"))
		require.Equal(t, "ok", rejected["type"], rejected)
		require.Equal(t, rejected, nurse.ask(fmt.Sprintf(spoken, "0.67")))
		require.Equal(t, "id_reused", nurse.ask(fmt.Sprintf(spoken, "0.90"))["code"])
		// The same ID of another sender is another event.
		ok := nurse.ask(`{"type":"raise","req":"5","event_id":"e1","alert":{"patient":"p1","key":"other","text":"x","priority":"low"}}`)
		require.Equal(t, "ok", ok["type"], ok)
	})
}

// I7: a repeated send is answered as the first time when vitals that came after
// it are no longer kept.
func TestRepeatedSendsAreRecognisedAfterPruning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Retention: Retention{Vitals: time.Minute}})
		defer w.close()
		device, pat := w.dial("device"), w.dial("pat")
		defer device.ws.CloseNow()
		defer pat.ws.CloseNow()
		raise := `{"type":"raise","req":"1","event_id":"e1","alert":{"patient":"p1","key":"k","text":"x","priority":"high"}}`
		notify := `{"type":"notify","req":"2","notice":{"patient":"p1","notice_id":"n1","to":["group:icu"],"text":"x"}}`
		raised, notified := device.ask(raise), pat.ask(notify)
		for range 2 { // the newest of a key stays
			require.NotEmpty(t, device.ask(`{"type":"publish","req":"3","vitals":[{"patient":"p1","code":"8867-4","value":70,"unit":"/min"}]}`)["results"])
			time.Sleep(time.Second)
		}
		require.NoError(t, w.store.(Pruner).Prune(t.Context(), time.Now().Add(time.Hour), Retention{Vitals: time.Minute}))
		require.Equal(t, raised, device.ask(raise))
		require.Equal(t, notified, pat.ask(notify))
	})
}

// I7: a repeated answer that no longer fits the alert's state is not refused
// while the Store cannot say that it was taken before.
func TestRepeatedAnswerWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unwritable{Store: NewMemoryStore(nil)}
		w := newWorld(t, store, nil)
		defer w.close()
		nurse, device := w.dial("nurse"), w.dial("device")
		defer nurse.ws.CloseNow()
		defer device.ws.CloseNow()
		device.ask(`{"type":"raise","req":"1","event_id":"e1","alert":{"patient":"p1","key":"k","text":"x","priority":"high"}}`)
		answer := `{"type":"answer","req":"2","patient":"p1","key":"k","alert_id":"e1","event_id":"a1","do":"close","force":true,"reason":"x"}`
		closed := nurse.ask(answer)
		require.Equal(t, "ok", closed["type"], closed)
		store.fails.Store(true)
		again := nurse.ask(answer)
		require.Equal(t, "unknown later", fmt.Sprint(again["code"], " ", again["retry"]))
		store.fails.Store(false)
		require.Equal(t, closed, nurse.ask(answer))
	})
}

// I8: a client outside an event's audience gets a gap in its place, live and
// when catching up.
func TestOutsidersGetGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		pat := w.watching("pat", "latest")
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "for staff", Priority: PriorityInfo})
		require.NoError(t, err)
		gap := pat.read()
		require.Equal(t, "gap", gap["type"])
		require.Equal(t, object{"type": "gap", "patient": "p1", "epoch": gap["epoch"], "seq": 1.0, "must": 1.0}, gap)
		pat.ws.CloseNow()
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k2", Text: "for staff", Priority: PriorityInfo})
		require.NoError(t, err)
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k3", Text: "for all", Priority: PriorityInfo, Audience: AudienceAll})
		require.NoError(t, err)
		pat = w.dial("pat")
		defer pat.ws.CloseNow()
		pat.send(fmt.Sprintf(`{"type":"watch","req":"w","patients":["p1"],"since":{"p1":{"epoch":%q,"seq":1}}}`, gap["epoch"]))
		require.Equal(t, true, pat.until("sync")["recovered"])
		require.Equal(t, object{"type": "gap", "patient": "p1", "epoch": gap["epoch"], "seq": 2.0, "must": 2.0}, pat.read())
		require.Equal(t, "for all", valueAt(pat.read(), "alert", "text"))
		require.EqualValues(t, 3, pat.read()["must"])
	})
}
