package fhir

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// $resend asks for access at each event, and says when an endpoint took none.
func TestResendUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &receiver{t: t}
		rules := &switchable{}
		store := carewire.NewMemoryStore(nil)
		w := newWorld(t, store, &carewire.Options{Authorizer: rules}, &Options{Hooks: hooked(e)})
		defer w.close()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		hook := w.subscribe("nurse", hookWish("https://hooks.test/a"))
		time.Sleep(3 * time.Second)
		l := w.listen()()
		l.say("bind-with-token " + w.token("nurse", id))
		l.next("handshake")
		for i := range 5 {
			w.publish("p1", 60)
			require.Equal(t, []int{i + 1}, l.next(typeEvent).numbers)
		}
		go w.do("nurse", "GET", "Subscription/"+id+"/$resend", "")
		require.Equal(t, []int{1}, l.next(typeEvent).numbers)
		synctest.Wait() // the second is being written
		rules.no.Store(true)
		require.Equal(t, []int{2}, l.next(typeEvent).numbers)
		assert.Equal(t, failedAccess, l.next("heartbeat").failure, "and not the third")
		l.ws.CloseNow()
		rules.no.Store(false)

		r := w.do("nurse", "GET", "Subscription/"+hook+"/$resend", "")
		require.Equal(t, 200, r.Code, r.Body)
		assert.Contains(t, r.Body.String(), "sent again: 5")
		e.answer(func() int { return 503 })
		r = w.do("nurse", "GET", "Subscription/"+hook+"/$resend", "")
		assert.Equal(t, 502, r.Code, r.Body)
		without := newWorld(t, store, &carewire.Options{Authorizer: rules}, nil)
		defer without.close()
		r = without.do("nurse", "GET", "Subscription/"+hook+"/$resend", "")
		assert.Equal(t, 502, r.Code, "at a Server that offers no hooks: %s", r.Body)
	})
}

// A resend on a socket ends when its subscription is deleted, changed,
// unbound or bound anew.
func TestResendEndsWithTheBinding(t *testing.T) {
	body := quietWish("")
	type under struct {
		w         *world
		l         *listener
		id, token string
	}
	for name, c := range map[string]struct {
		do   func(under)
		said string // before silence
	}{
		"deleted": {func(u under) {
			require.Equal(t, 204, u.w.do("nurse", "DELETE", "Subscription/"+u.id, "").Code)
		}, typeHeartbeat},
		"changed": {func(u under) {
			changed := strings.Replace(strings.Replace(body, `"id-only"`, `"empty"`, 1), `"status"`, `"id":"`+u.id+`","status"`, 1)
			require.Equal(t, 200, u.w.do("nurse", "PUT", "Subscription/"+u.id, changed).Code)
		}, typeHeartbeat},
		"unbound": {func(u under) {
			u.l.say(`{"type":"unbind-from-token","payload":{"token":"` + u.token + `"}}`)
		}, ""},
		"bound anew": {func(u under) {
			u.l.say("bind-with-token " + u.w.token("nurse", u.id))
		}, typeHandshake},
	} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, nil, nil)
			defer w.close()
			id := w.subscribe("nurse", body)
			u := under{w, w.listen()(), id, w.token("nurse", id)}
			u.l.say("bind-with-token " + u.token)
			u.l.next(typeHandshake)
			for i := range 5 {
				w.publish("p1", 60)
				require.Equal(t, []int{i + 1}, u.l.next(typeEvent).numbers)
			}
			go w.do("nurse", "GET", "Subscription/"+id+"/$resend", "")
			require.Equal(t, []int{1}, u.l.next(typeEvent).numbers)
			synctest.Wait() // the second is being written
			c.do(u)
			synctest.Wait()
			require.Equal(t, []int{2}, u.l.next(typeEvent).numbers, name)
			if c.said != "" {
				u.l.next(c.said)
			}
			u.l.say(`{"type":"ping"}`)
			assert.Equal(t, `{"type":"pong"}`, u.l.text(), name)
			u.l.ws.CloseNow()
		})
	}
}

// A resend to an endpoint ends with the subscription, or the access, and
// the answer says why.
func TestResendToAnEndpointEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &receiver{t: t}
		rules := &switchable{}
		w := newWorld(t, nil, &carewire.Options{Authorizer: rules}, &Options{Hooks: hooked(e)})
		defer w.close()
		id := w.subscribe("nurse", hookWish("https://hooks.test/a"))
		time.Sleep(3 * time.Second)
		w.publish("p1", 60, 61, 62)
		time.Sleep(time.Second)
		want := []int{1, 2, 3}
		for _, c := range []struct {
			happens func()
			status  int
		}{
			{func() { rules.fails.Store(true) }, 503},
			{func() { rules.no.Store(true) }, 403},
			{func() { w.do("nurse", "DELETE", "Subscription/"+id, "") }, 404},
		} {
			e.answer(func() int { // while the first is posted
				c.happens()
				return 200
			})
			r := w.do("nurse", "GET", "Subscription/"+id+"/$resend", "")
			assert.Equal(t, c.status, r.Code, r.Body)
			want = append(want, 1)
			_, numbers := e.kinds()
			assert.Equal(t, want, numbers)
			rules.fails.Store(false)
			rules.no.Store(false)
		}
	})
}

// A resend is refused beyond the number that the nodes remember, for one principal
// and in all, and not lost.
func TestResendsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
		ids := map[string]string{"nurse": w.subscribe("nurse", body), "gateway": w.subscribe("gateway", body)}
		resend := func(who string) int {
			return w.do(who, "GET", "Subscription/"+ids[who]+"/$resend", "").Code
		}
		for range resendEach {
			require.Equal(t, 200, resend("nurse"))
		}
		require.Equal(t, 429, resend("nurse"))
		require.Equal(t, 200, resend("gateway"), "another's are not counted")
		for i := range resendMost - resendEach - 1 {
			sub := &subscription{Owner: carewire.Principal{ID: itoa(i)}}
			require.NoError(t, w.server.resends.share(t.Context(), sub, interval{}))
		}
		require.Equal(t, 429, resend("gateway"))
		time.Sleep(resendWithin)
		require.Equal(t, 200, resend("nurse"))
		require.Equal(t, 200, resend("gateway"))
	})
}
