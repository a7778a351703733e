package fhir

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// quietWish is a wish with a heartbeat an hour, so that it is no heartbeat that
// notices something.
func quietWish(more string) string {
	return strings.Replace(strings.Replace(wish("vitals", "Observation?patient=Patient/p1", "id-only"), `"valueUnsignedInt":20`, `"valueUnsignedInt":3600`, 1),
		`"status"`, more+`"status"`, 1)
}

// bound binds a subscription in each way: with a token, in both forms, and on the
// old channel.
func (w *world) bound(dial func(...string) *listener, id string) (r4, json, old *listener) {
	w.t.Helper()
	r4, json, old = dial(), dial(), dial("Authorization", "Bearer nurse")
	r4.say("bind-with-token " + w.token("nurse", id))
	r4.next(typeHandshake)
	json.say(`{"type":"bind-with-token","payload":{"token":"` + w.token("nurse", id) + `"}}`)
	json.next(typeHandshake)
	old.say("bind " + id)
	require.Equal(w.t, "bound "+id, old.text())
	for _, l := range []*listener{r4, json, old} {
		l.reading()
	}
	return r4, json, old
}

// reading reads messages as they come, so that the client is not taken for dead.
func (l *listener) reading() {
	l.inbox = make(chan string, 100)
	go func() {
		defer close(l.inbox)
		for {
			_, b, err := l.ws.Read(context.Background())
			if err != nil {
				l.code = websocket.CloseStatus(err)
				return
			}
			l.inbox <- string(b)
		}
	}()
}

// ended requires that the old channel is told of the end of a subscription, and closed.
func (l *listener) ended(id string, code websocket.StatusCode) {
	l.t.Helper()
	text := l.text()
	assert.Equal(l.t, "deleted", at(jsonOf(text), "issue", 0, "code"), text)
	assert.Contains(l.t, text, id)
	assert.Equal(l.t, code, l.closed())
}

// Every channel ends when its subscription does, to the second, and tells of
// nothing afterwards.
func TestEndOfASubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		end := time.Now().Add(100 * time.Second)
		id := w.subscribe("nurse", quietWish(`"end":"`+instant(end)+`",`))
		r4, json, old := w.bound(w.listen(), id)
		for _, l := range []*listener{r4, json} {
			n := l.next(typeHeartbeat)
			assert.Equal(t, statusOff, n.status)
			l.say(`{"type":"ping"}`)
			assert.Equal(t, `{"type":"pong"}`, l.text())
			defer l.ws.CloseNow()
		}
		assert.Equal(t, end, time.Now())
		old.ended(id, websocket.StatusNormalClosure)
		assert.Equal(t, end, time.Now())
		w.publish("p1", 60)
		time.Sleep(time.Minute)
		r4.say(`{"type":"ping"}`)
		assert.Equal(t, `{"type":"pong"}`, r4.text(), "later events are not told")
	})
}

// The old channel ends with its principal's token, and with access.
func TestEndOfAccessOnTheOldChannel(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		was := people["nurse"]
		defer func() { people["nurse"] = was }()
		id := w.subscribe("nurse", quietWish(""))
		short := was
		short.Expires = time.Now().Add(70 * time.Second)
		people["nurse"] = short
		dial, from := w.listen(), time.Now()
		l := dial("Authorization", "Bearer nurse")
		l.say("bind " + id)
		l.text()
		l.ended(id, 3000)
		assert.Equal(t, 70*time.Second, time.Since(from))

		people["nurse"] = was
		l = dial("Authorization", "Bearer nurse")
		l.say("bind " + id)
		l.text()
		require.NoError(t, w.hub.Revoke(t.Context(), carewire.Revocation{Principal: "nurse", Patients: []string{"p1"}}))
		from = time.Now()
		l.ended(id, websocket.StatusNormalClosure)
		assert.LessOrEqual(t, time.Since(from), lookEvery, "though nothing has happened")
	})
}

// A subscription that is deleted or changed ends every channel, at the node that
// was asked at once, at others before the next event, or within half a minute.
func TestDeletedAtAnotherNode(t *testing.T) {
	for name, happens := range map[string]bool{"and something happens": true, "and nothing happens": false} {
		synctest.Test(t, func(t *testing.T) {
			store := carewire.NewMemoryStore(nil)
			one, two := newWorld(t, store, nil, nil), newWorld(t, store, nil, nil)
			defer one.close()
			defer two.close()
			id := one.subscribe("nurse", quietWish(""))
			r4, json, old := one.bound(one.listen(), id)
			_, _, there := two.bound(two.listen(), id)
			from := time.Now()
			require.Equal(t, 204, two.do("nurse", "DELETE", "Subscription/"+id, "").Code)
			if happens {
				one.publish("p1", 60)
			}
			there.ended(id, websocket.StatusNormalClosure)
			assert.Zero(t, time.Since(from), name)
			for _, l := range []*listener{r4, json} {
				n := l.next(typeHeartbeat)
				assert.Equal(t, statusOff, n.status, name)
				defer l.ws.CloseNow()
			}
			old.ended(id, websocket.StatusNormalClosure)
			assert.LessOrEqual(t, time.Since(from), lookEvery, name)
		})
	}
}

// A subscription that is changed is to be bound again.
func TestChangedWhileBound(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		body := quietWish("")
		id := w.subscribe("nurse", body)
		r4, json, old := w.bound(w.listen(), id)
		require.Equal(t, 200, w.do("nurse", "PUT", "Subscription/"+id,
			strings.Replace(strings.Replace(body, `"id-only"`, `"empty"`, 1), `"status"`, `"id":"`+id+`","status"`, 1)).Code)
		for _, l := range []*listener{r4, json} {
			assert.Equal(t, statusRequested, l.next(typeHeartbeat).status)
			defer l.ws.CloseNow()
		}
		old.ended(id, websocket.StatusNormalClosure)
		r4.say("bind-with-token " + w.token("nurse", id))
		r4.next(typeHandshake)
		w.publish("p1", 60)
		assert.Equal(t, []string{"<nil>"}, r4.next(typeEvent).focus)
	})
}

// unreadable is a Store whose logs cannot be read now and then.
type unreadable struct {
	carewire.Store
	fails atomic.Bool
}

func (s *unreadable) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	if s.fails.Load() {
		return nil, errors.New("down")
	}
	return s.Store.Read(ctx, patient, after, q)
}

// If the log cannot be read, every channel says so, and goes on when it can be read.
func TestStoreFailsAtBinding(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unreadable{Store: carewire.NewMemoryStore(nil)}
		w := newWorld(t, store, nil, nil)
		defer w.close()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		w.publish("p1", 60)
		dial := w.listen()
		store.fails.Store(true)
		l, old := dial(), dial("Authorization", "Bearer nurse")
		l.say("bind-with-token " + w.token("nurse", id))
		assert.Equal(t, "transient", at(jsonOf(l.text()), "issue", 0, "code"))
		old.say("bind " + id)
		assert.Equal(t, "transient", at(jsonOf(old.text()), "issue", 0, "code"))
		time.Sleep(10 * time.Second)
		store.fails.Store(false)
		assert.Equal(t, 1, l.next(typeHandshake).count, "said once, and then bound")
		assert.Equal(t, "bound "+id, old.text())

		store.fails.Store(true)
		w.publish("p1", 61)
		n := l.next(typeHeartbeat)
		assert.Equal(t, []string{statusActive, storeDown}, []string{n.status, n.failure}, "a heartbeat does not say that all is well")
		store.fails.Store(false)
		assert.Equal(t, []int{2}, l.next(typeEvent).numbers)
		assert.Equal(t, "ping "+id, old.text())
		assert.Empty(t, l.next(typeHeartbeat).failure)
		l.ws.CloseNow()
		old.ws.CloseNow()
	})
}

// A request that is no handshake is refused like any other request.
func TestSocketWantsAHandshake(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	for _, c := range []struct {
		method string
		header []string
		status int
	}{
		{"GET", nil, http.StatusUpgradeRequired},
		{"GET", []string{"Connection", "Upgrade"}, http.StatusUpgradeRequired},
		{"POST", []string{"Connection", "Upgrade", "Upgrade", "websocket"}, http.StatusMethodNotAllowed},
		{"GET", []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "7"}, http.StatusBadRequest},
		{"GET", []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "secret"}, http.StatusBadRequest},
	} {
		r := w.do("", c.method, socketPath, "", c.header...)
		assert.Equal(t, c.status, r.Code, "%v", c)
		assert.Equal(t, "application/fhir+json; charset=utf-8", r.Header().Get("Content-Type"))
		assert.Equal(t, "not-supported", at(r.json(), "issue", 0, "code"))
		assert.NotContains(t, r.Body.String(), "secret")
		if c.status == http.StatusUpgradeRequired {
			assert.Equal(t, "websocket", r.Header().Get("Upgrade"))
		}
	}
}
