package fhir

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// receiver is an endpoint, reached without a network.
type receiver struct {
	t    *testing.T
	mu   sync.Mutex
	key  []byte
	got  []told
	deny func() int // the status to answer with; nil: 200
}

func (e *receiver) RoundTrip(r *http.Request) (*http.Response, error) {
	body, _ := io.ReadAll(r.Body)
	e.mu.Lock()
	defer e.mu.Unlock()
	rec := httptest.NewRecorder()
	if e.deny != nil {
		if status := e.deny(); status != 200 {
			rec.WriteHeader(status)
			return rec.Result(), nil
		}
	}
	if !VerifyHook(e.key, r.Header.Get("Carewire-Signature"), body, time.Now(), time.Minute) {
		e.t.Error("badly signed")
	}
	e.got = append(e.got, readTold(e.t, string(body)))
	return rec.Result(), nil
}

func (e *receiver) kinds() (list []string, numbers []int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	for _, n := range e.got {
		list = append(list, n.kind)
		numbers = append(numbers, n.numbers...)
	}
	return list, numbers
}

func (e *receiver) answer(f func() int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.deny = f
}

func hooked(e *receiver) *Hooks {
	h := &Hooks{Secret: []byte("0123456789abcdef"), Client: &http.Client{Transport: e},
		Allow: func(u *url.URL, _ carewire.Principal) bool { return u.Host == "hooks.test" }}
	e.key = h.Key("https://hooks.test/a")
	return h
}

func hookWish(endpoint string) string {
	return strings.Replace(strings.Replace(wish("vitals", "Observation?patient=Patient/p1", "id-only"), `"type":"websocket"`, `"type":"rest-hook","endpoint":"`+endpoint+`"`, 1),
		`{"url":"`+backportBase+`StructureDefinition/backport-heartbeat-period","valueUnsignedInt":20},`, "", 1)
}

// Notifications are posted, signed, tried again, and gone on with by another node.
func TestHooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &receiver{t: t}
		store := carewire.NewMemoryStore(nil)
		w := newWorld(t, store, nil, &Options{Hooks: hooked(e)})
		assert.Equal(t, 422, w.do("nurse", "POST", "Subscription", hookWish("https://inside.test/")).Code, "an endpoint that is not allowed")
		id := w.subscribe("nurse", hookWish("https://hooks.test/a"))
		time.Sleep(3 * time.Second)
		kinds, _ := e.kinds()
		assert.Equal(t, []string{"handshake"}, kinds)
		w.publish("p1", 60, 61)
		time.Sleep(time.Second)
		_, numbers := e.kinds()
		assert.Equal(t, []int{1, 2}, numbers)

		failures := 0
		e.answer(func() int {
			if failures++; failures <= 3 {
				return 503
			}
			return 200
		})
		w.publish("p1", 62, 63)
		time.Sleep(6 * time.Second)
		_, numbers = e.kinds()
		assert.Equal(t, []int{1, 2}, numbers, "the third try is after three, and the next after seven seconds")
		time.Sleep(2 * time.Second)
		_, numbers = e.kinds()
		assert.Equal(t, []int{1, 2, 3, 4}, numbers)
		assert.EqualValues(t, 3, w.server.Stats().HooksFailed)
		assert.EqualValues(t, 5, w.server.Stats().HooksPosted, "a handshake and four events")

		other := newWorld(t, store, nil, &Options{Hooks: hooked(e)})
		want := []int{1, 2, 3, 4}
		for i := range 10 { // both nodes run: one posts
			w.publish("p1", 64)
			want = append(want, 5+i)
			time.Sleep(2 * time.Second)
		}
		_, numbers = e.kinds()
		assert.Equal(t, want, numbers, "two nodes double nothing")
		w.close()
		other.publish("p1", 64)
		want = append(want, 15)
		time.Sleep(5 * time.Second)
		kinds, numbers = e.kinds()
		assert.Equal(t, want, numbers, "the other node goes on, and doubles nothing")
		assert.Equal(t, 1, strings.Count(strings.Join(kinds, " "), "handshake"))

		require.Equal(t, 204, other.do("nurse", "DELETE", "Subscription/"+id, "").Code)
		time.Sleep(10 * time.Second)
		other.publish("p1", 65)
		time.Sleep(10 * time.Second)
		_, numbers = e.kinds()
		assert.Len(t, numbers, 15)
		other.close()
	})
}

// An endpoint that takes nothing for an hour sets the subscription in error, and
// reactivating it goes on with the count.
func TestHookIsGivenUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &receiver{t: t}
		w := newWorld(t, nil, nil, &Options{Hooks: hooked(e)})
		defer w.close()
		body := hookWish("https://hooks.test/a")
		id := w.subscribe("nurse", body)
		time.Sleep(3 * time.Second)
		e.answer(func() int { return 302 })
		w.publish("p1", 60)
		time.Sleep(2 * time.Hour)
		got := w.do("nurse", "GET", "Subscription/"+id, "").json()
		assert.Equal(t, "error", got["status"])
		assert.Equal(t, failureTexts[failedHook], got["error"])
		e.answer(nil)
		require.Equal(t, 200, w.do("nurse", "PUT", "Subscription/"+id, strings.Replace(body, `"status"`, `"id":"`+id+`","status"`, 1)).Code)
		time.Sleep(5 * time.Second)
		w.publish("p1", 61)
		time.Sleep(time.Second)
		kinds, numbers := e.kinds()
		assert.Equal(t, []string{"handshake", "handshake", "event-notification"}, kinds)
		assert.Equal(t, []int{2}, numbers, "the handshake has told of the first")
	})
}

// Access is asked for on behalf of the subscriber.
func TestHookAccessEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &receiver{t: t}
		w := newWorld(t, nil, nil, &Options{Hooks: hooked(e)})
		defer w.close()
		id := w.subscribe("nurse", hookWish("https://hooks.test/a"))
		time.Sleep(3 * time.Second)
		require.NoError(t, w.hub.Revoke(t.Context(), carewire.Revocation{Principal: "nurse", Patients: []string{"p1"}}))
		w.publish("p1", 60)
		time.Sleep(3 * time.Second)
		kinds, numbers := e.kinds()
		assert.Equal(t, []string{"handshake", "heartbeat"}, kinds)
		assert.Empty(t, numbers)
		_ = id
	})
}

// A hook that is deleted, or could not be created, leaves nothing in the Store, at
// whichever step it failed.
func TestDeletedHookLeavesNothing(t *testing.T) {
	for _, prefix := range []string{"-", ownerKey, hooksKey, leaseKey} {
		synctest.Test(t, func(t *testing.T) {
			e := &receiver{t: t}
			store := &failing{Store: carewire.NewMemoryStore(nil)}
			w := newWorld(t, store, nil, &Options{Hooks: hooked(e)})
			defer w.close()
			id := w.subscribe("nurse", hookWish("https://hooks.test/a"))
			time.Sleep(3 * time.Second)
			store.prefix.Store(&prefix)
			require.Equal(t, 204, w.do("nurse", "DELETE", "Subscription/"+id, "").Code, prefix)
			if prefix == hooksKey || prefix == ownerKey {
				require.Equal(t, 503, w.do("nurse", "POST", "Subscription", hookWish("https://hooks.test/a")).Code)
			}
			time.Sleep(time.Minute)
			store.prefix.Store(nil)
			time.Sleep(time.Minute)
			kinds, _ := e.kinds()
			require.Equal(t, []string{"handshake"}, kinds, prefix)
			ids, err := w.server.subscriptions.list(t.Context(), hooksKey)
			require.NoError(t, err)
			require.Empty(t, ids, prefix)
			for _, key := range append(store.keys, leaseKey+id) {
				entry, err := store.Get(t.Context(), carewire.SystemPatient, key)
				require.NoError(t, err)
				require.False(t, entry.Open, "%s: %s", prefix, key)
			}
		})
	}
}

func TestVerifyHook(t *testing.T) {
	now := time.Unix(1000, 0)
	key := []byte("k")
	good := "t=1000,v1=" + signature(key, "1000", []byte("x"))
	assert.True(t, VerifyHook(key, good, []byte("x"), now.Add(time.Minute), time.Minute))
	assert.False(t, VerifyHook(key, good, []byte("y"), now, time.Minute))
	assert.False(t, VerifyHook([]byte("other"), good, []byte("x"), now, time.Minute))
	assert.False(t, VerifyHook(key, good, []byte("x"), now.Add(time.Hour), time.Minute), "too old")
	assert.False(t, VerifyHook(key, strings.Replace(good, "1000", "1001", 1), []byte("x"), now, time.Minute))
	assert.False(t, VerifyHook(key, "", nil, now, time.Minute))
}
