package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A discharge ends all open work of a patient on each node, also after a restart. A
// patient who comes back begins anew.
func TestDischarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := &notary{}
		p := &pager{}
		w := newWorld(t, nil, &Options{Auditor: n, Policy: threeSteps, Pager: p, MaxKeys: 1})
		other := newWorld(t, w.store, &Options{Policy: threeSteps, Pager: p, MaxKeys: 1})
		defer other.close()
		_, err := w.hub.Publish(t.Context(), monitor())
		require.NoError(t, err)
		a, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		_, err = w.hub.Raise(t.Context(), high("accepted"))
		require.NoError(t, err)
		_, err = w.hub.Answer(t.Context(), people["nurse"], AlertRef{Patient: "p1", Key: "accepted"}, Answer{Do: AnswerAccept})
		require.NoError(t, err)
		_, err = w.hub.Notify(t.Context(), Notice{Patient: "p1", ID: "n", To: []string{"person:nurse"}, Text: "x"})
		require.NoError(t, err)
		here, there := w.watching("nurse", "every"), other.watching("nurse", "every")
		defer here.ws.CloseNow()
		defer there.ws.CloseNow()
		synctest.Wait()
		start := time.Now()
		p.told(start)

		require.NoError(t, w.hub.Discharge(t.Context(), "p1"))
		require.Equal(t, "p1", here.until("revoked")["patient"])
		require.Equal(t, "p1", there.until("revoked")["patient"])
		here.ws.CloseNow()
		there.ws.CloseNow()
		time.Sleep(time.Hour)
		require.Empty(t, p.told(start), "nobody is told, and no device missed")
		ended, err := w.hub.Alert(t.Context(), "p1", "k")
		require.NoError(t, err)
		require.False(t, ended.Open())
		require.Equal(t, &Closing{By: Person{ID: hostSender}, At: ended.Ended, Reason: "discharged"}, ended.Closed)
		require.Equal(t, a.Rev+1, ended.Rev)
		require.NoError(t, w.hub.Discharge(t.Context(), "p1"), "it may be called again")
		require.Contains(t, n.lines(), "discharge done who=@host asserted=true patient=p1")

		w.close()
		w = newWorld(t, w.store, &Options{Policy: threeSteps, Pager: p, MaxKeys: 1})
		defer func() { w.close() }()
		waiting, err := w.store.Waiting(t.Context(), time.Now().AddDate(1, 0, 0), 0)
		require.NoError(t, err)
		require.Empty(t, waiting)
		latest, _, err := w.hub.Latest(t.Context(), "p1")
		require.NoError(t, err)
		for _, ev := range latest {
			require.Equal(t, EventAccess, ev.Type, "nothing but the discharge")
			require.Equal(t, "discharged", ev.Access.Kind)
		}
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		require.Empty(t, nurse.until("inbox")["items"])

		v := RespiratoryRate.Of("p1", 15) // another key, though there is room for one
		_, err = w.hub.Publish(t.Context(), v)
		require.NoError(t, err)
		nurse.ask(`{"type":"watch","req":"1","patients":["p1"]}`)
		require.Equal(t, v.Code, valueAt(nurse.until("vital"), "vital", "code"))
		time.Sleep(10 * time.Second)
		require.Equal(t, 1, w.hub.Stats().Watches, "a watch from after the discharge goes on")
		require.NoError(t, w.hub.Erase(t.Context(), "p1"), "nothing is open")
	})
}
