package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// Two tenants, each with a Hub and a Store of its own, share nothing: with the
// same names for people, patients, alerts and events, each sees its own only.
func TestTenantsShareNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := &Options{Origins: []string{"https://ehr.test"}}
		one, two := newWorld(t, nil, o), newWorld(t, nil, o)
		defer one.close()
		defer two.close()
		here, there := one.dial("nurse"), two.dial("nurse")
		defer here.ws.CloseNow()
		defer there.ws.CloseNow()
		for _, nurse := range []*raw{here, there} {
			assert.Empty(t, nurse.until("inbox")["items"])
			nurse.ask(`{"type":"watch","req":"1","patients":["p1"]}`)
			nurse.until("synced")
		}
		_, err := one.hub.Publish(t.Context(), HeartRate.Of("p1", 71))
		require.NoError(t, err)
		_, err = one.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", ID: "a", Text: "one", Priority: PriorityHigh, To: []string{"person:nurse"}})
		require.NoError(t, err)
		assert.EqualValues(t, 71, valueAt(here.until("vital"), "vital", "value"))
		assert.Equal(t, "one", valueAt(here.until("alert"), "alert", "text"))
		time.Sleep(10 * time.Second) // escalation, inboxes

		assert.Empty(t, there.ask(`{"type":"history","req":"2","patient":"p1"}`)["events"])
		assert.Equal(t, "forbidden", there.ask(`{"type":"answer","req":"3","patient":"p1","key":"k","alert_id":"a","event_id":"e","do":"accept"}`)["code"])
		later := two.dial("nurse")
		defer later.ws.CloseNow()
		assert.Empty(t, later.until("inbox")["items"])
		a, err := two.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", ID: "a", Text: "two", Priority: PriorityLow})
		require.NoError(t, err, "the same ID with other content is another tenant's affair")
		assert.EqualValues(t, 1, a.Rev)
		assert.Equal(t, "two", valueAt(there.until("alert"), "alert", "text"), "the first alert it sees")

		ticket := one.poster("nurse").ticket()
		p := shake(t, dialler(two, two.net, nil)(), withTicket(ticket, page))
		assert.Equal(t, 401, p.status.StatusCode, "a ticket of the other tenant's")
		require.NoError(t, one.hub.Revoke(t.Context(), Revocation{Principal: "nurse"}))
		assert.Equal(t, "ok", there.ask(`{"type":"history","req":"4","patient":"p1"}`)["type"])
		assert.Zero(t, two.hub.Stats().Handshakes.Forbidden)
	})
}
