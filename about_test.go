package carewire

import (
	"context"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A complaint says which alert it is about: in inboxes, history and replies, to
// those who may watch that patient, and to nobody else.
func TestComplaintsNameTheirAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Options{Pager: &pager{deaf: map[string]bool{"person:nurse": true, "person:doctor": true}},
			Policy: steps([]string{"person:nurse", "person:doctor"}),
			Authorizer: allows(func(_ context.Context, a Access) ([]Decision, error) {
				list := make([]Decision, len(a.Patients))
				for i, p := range a.Patients {
					list[i].Allow = a.Principal.ID != "doctor" || p == SystemPatient
				}
				return list, nil
			})}
		w := newWorld(t, nil, o)
		defer w.close()
		watcher := w.dial("nurse")
		watcher.until("inbox")
		watcher.ask(`{"type":"watch","req":"1","patients":["@system"]}`)
		watcher.until("synced")
		drill := Raise{Patient: "p1", Key: "drill", ID: "d-1", Text: "x", Priority: PriorityHigh, Test: true, To: []string{"person:nurse"}}
		for _, r := range []Raise{
			{Patient: "p1", Key: "low", ID: "l-1", Text: "x", Priority: PriorityLow},
			{Patient: "p1", Key: "mid", ID: "m-1", Text: "x", Priority: PriorityMedium},
			{Patient: "p2", Key: "mid", ID: "m-2", Text: "x", Priority: PriorityMedium}, drill} {
			_, err := w.hub.Raise(t.Context(), r)
			require.NoError(t, err)
			time.Sleep(time.Second)
		}
		c, err := w.hub.Alert(t.Context(), SystemPatient, troubleUnreached)
		require.NoError(t, err)
		require.Equal(t, PriorityMedium, c.Priority, "that of the most urgent, and no more")
		require.Equal(t, AlertRef{Patient: "p1", Key: "mid", ID: "m-1"}, c.About, "one for all, and the first of these")

		for range 2 {
			a := objectAt(watcher.until("alert"), "alert")
			require.Equal(t, SystemPatient, a["patient"])
			require.NotContains(t, a, "about", "a frame that is made for all")
			require.NotContains(t, fmt.Sprint(a), "p1")
		}
		about := object{"patient": "p1", "key": "mid", "alert_id": "m-1"}
		for who, want := range map[string]any{"nurse": about, "doctor": nil} {
			r := w.dial(who)
			var shown object
			for _, it := range listAt(r.until("inbox"), "items") {
				if a := objectAt(it, "alert"); a["key"] == troubleUnreached {
					shown = a
				}
			}
			require.NotNil(t, shown, who)
			require.Equal(t, want, shown["about"], who)
			events := listAt(r.ask(`{"type":"history","req":"1","patient":"@system","key":"unreached","kinds":["alert"]}`), "events")
			last := objectAt(events[len(events)-1], "alert")
			require.Equal(t, want, last["about"], who)
			reply := r.ask(fmt.Sprintf(`{"type":"answer","req":"2","patient":"@system","key":"unreached","alert_id":"%s","event_id":"e-%s","do":"reject"}`, c.ID, who))
			require.Equal(t, want, valueAt(reply, "alert", "about"), who)
			reply = r.ask(fmt.Sprintf(`{"type":"answer","req":"3","patient":"@system","key":"unreached","alert_id":"%s","event_id":"f-%s","do":"release"}`, c.ID, who))
			require.Equal(t, "refused", reply["code"])
			require.NotContains(t, reply["alert"], "about", who)
		}
	})
}

// A complaint about a drill is a drill, too.
func TestComplaintsAboutDrills(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Pager: &pager{deaf: map[string]bool{"person:trainer": true}}, TestRecipients: []string{"person:trainer"}, Policy: threeSteps})
		defer w.close()
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", ID: "d-1", Text: "x", Priority: PriorityLow, Test: true})
		require.NoError(t, err)
		time.Sleep(time.Second)
		items, _, err := w.hub.Open(t.Context(), OpenQuery{Patients: []string{SystemPatient}})
		require.NoError(t, err)
		require.Len(t, items, 1)
		c := items[0].Alert
		require.True(t, c.Test)
		require.Equal(t, PriorityLow, c.Priority)
		require.Equal(t, AlertRef{Patient: "p1", Key: "k", ID: "d-1", Test: true}, c.About)
	})
}

// A source has bounded room for open alerts of all patients together, for each
// priority separately. A flood from it is one high alert, which ends with the flood.
func TestRoomOfOneSource(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxSourceAlerts: 4, Pager: &pager{}})
		defer w.close()
		flood, other := w.dial("device"), w.dial("service")
		n := 0
		raise := func(r *raw, patient, priority string) any {
			n++
			reply := r.ask(fmt.Sprintf(`{"type":"raise","req":"1","event_id":"e%d","alert":{"patient":"%s","key":"k%d","text":"x","priority":"%s"}}`, n, patient, n, priority))
			if reply["type"] == "ok" {
				return "ok"
			}
			return fmt.Sprint(reply["code"], " ", reply["retry"])
		}
		for i := range 4 {
			require.Equal(t, "ok", raise(flood, fmt.Sprint("p", i%3+1), "low"))
		}
		for range 3 {
			require.Equal(t, "limit never", raise(flood, "p1", "low"))
			require.Equal(t, "limit never", raise(flood, "p3", "low"))
		}
		require.Equal(t, "ok", raise(flood, "p1", "medium"), "another priority")
		require.Equal(t, "ok", raise(other, "p1", "low"), "another source")
		for i := range 4 * highRoom {
			require.Equal(t, "ok", raise(flood, fmt.Sprint("p", i%3+1), "high"))
		}
		require.Equal(t, "limit later", raise(flood, "p1", "high"))
		items, _, err := w.hub.Open(t.Context(), OpenQuery{Patients: []string{SystemPatient}})
		require.NoError(t, err)
		var floods []*Alert
		for _, it := range items {
			if it.Alert.Source.Rule == crowdedRule {
				floods = append(floods, it.Alert)
			}
		}
		require.Len(t, floods, 1)
		require.Equal(t, PriorityHigh, floods[0].Priority)
		require.Equal(t, "p1", floods[0].About.Patient)
		require.NoError(t, w.hub.Discharge(t.Context(), "p1"))
		require.NoError(t, w.hub.Discharge(t.Context(), "p2"))
		time.Sleep(time.Second)
		c, err := w.hub.Alert(t.Context(), SystemPatient, floods[0].Key)
		require.NoError(t, err)
		require.Equal(t, ConditionOver, c.Condition)
	})
}
