package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// An addressee who watches nobody gets the alert, and its later states. A
// watcher does not get it twice. A person who may not see it does not get it.
func TestInbox(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse, doctor, nobody := w.dial("nurse"), w.watching("doctor", "latest"), w.dial("nobody")
		for _, r := range []*raw{nurse, doctor, nobody} {
			defer r.ws.CloseNow()
		}
		nurse.until("inbox")
		nobody.until("inbox")
		a := high("k")
		a.To = []string{"group:icu", "person:nobody"}
		_, err := w.hub.Raise(t.Context(), a)
		require.NoError(t, err)
		item := objectAt(nurse.until("inbox"), "items", 0, "alert")
		require.Equal(t, "k-1", item["alert_id"])
		require.Equal(t, "alert", doctor.read()["type"])
		_, err = w.hub.Answer(t.Context(), people["doctor"], AlertRef{Patient: "p1", Key: "k"}, Answer{Do: AnswerAccept})
		require.NoError(t, err)
		for valueAt(item, "responsibility", "state") != "accepted" {
			item = objectAt(nurse.until("inbox"), "items", 0, "alert")
		}
		// Connecting later shows the open entries, in one go.
		late := w.dial("nurse")
		defer late.ws.CloseNow()
		box := late.until("inbox")
		require.Equal(t, true, box["done"])
		require.Len(t, box["items"], 1)
		require.EqualValues(t, 1, late.until("heartbeat")["inbox"])
		require.EqualValues(t, 0, nobody.until("heartbeat")["inbox"], "addressed, and not entitled")
	})
}

// A notice is in the inbox of its addressees until they have read it.
func TestNoticeIsOpenUntilItIsRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		unread := func(token string) int {
			r := w.dial(token)
			defer r.ws.CloseNow()
			return len(listAt(r.until("inbox"), "items"))
		}
		read := func(token string) {
			r := w.dial(token)
			defer r.ws.CloseNow()
			require.Equal(t, "ok", r.ask(`{"type":"receipt","req":"r","patient":"p1","notice_id":"n1","stage":"read"}`)["type"])
		}
		_, err := w.hub.Notify(t.Context(), Notice{Patient: "p1", ID: "n1", To: []string{"patient", "person:nurse"}, Text: "x"})
		require.NoError(t, err)
		require.Equal(t, []int{1, 1, 0}, []int{unread("pat"), unread("nurse"), unread("doctor")})
		read("pat")
		require.Equal(t, []int{0, 1}, []int{unread("pat"), unread("nurse")})
		read("nurse")
		require.Equal(t, []int{0, 0}, []int{unread("pat"), unread("nurse")})
		e, err := w.store.Get(t.Context(), "p1", "n/n1")
		require.NoError(t, err)
		require.False(t, e.Open)
	})
}

// A notice that was read stays read, even if the Store failed when a new Hub asked
// for its readers.
func TestReadNoticeStaysRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unreadable{Store: NewMemoryStore(nil)}
		before := newWorld(t, store, nil)
		_, err := before.hub.Notify(t.Context(), Notice{Patient: "p1", ID: "n", Text: "x", To: []string{"person:nurse", "person:doctor"}})
		require.NoError(t, err)
		nurse := before.dial("nurse")
		require.Equal(t, "ok", nurse.ask(`{"type":"receipt","req":"1","patient":"p1","notice_id":"n","stage":"read"}`)["type"])
		nurse.ws.CloseNow()
		before.close()

		store.now.Store(true)
		w := newWorld(t, store, nil)
		defer w.close()
		time.Sleep(3 * time.Second)
		store.now.Store(false)
		time.Sleep(5 * time.Second)
		for name, items := range map[string]int{"nurse": 0, "doctor": 1} {
			r := w.dial(name)
			require.Len(t, r.until("inbox")["items"], items, name)
			r.ws.CloseNow()
		}
	})
}
