package fhir

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// rates publishes heart rates of a patient.
func (w *world) rates(patient string, values ...float64) {
	w.t.Helper()
	for _, v := range values {
		_, err := w.hub.Publish(w.t.Context(), carewire.HeartRate.Of(patient, v))
		require.NoError(w.t, err)
	}
}

// counted is a subscription's status as $status says it, and its count.
func (w *world) counted(id string) string {
	w.t.Helper()
	b := w.do("nurse", "GET", "Subscription/"+id+"/$status", "").json()
	said := make(map[any]any)
	for _, p := range at(b, "entry", 0, "resource", "parameter").([]any) {
		said[at(p, "name")] = at(p, "valueString")
		if code := at(p, "valueCode"); code != nil {
			said[at(p, "name")] = code
		}
	}
	return fmt.Sprint(said["status"], " ", said["events-since-subscription-start"])
}

// replace puts another wish in a subscription's place.
func (w *world) replace(id, body string) {
	w.t.Helper()
	r := w.do("nurse", "PUT", "Subscription/"+id, strings.Replace(body, `"resourceType":"Subscription",`, `"resourceType":"Subscription","id":"`+id+`",`, 1))
	require.Equal(w.t, 200, r.Code, r.Body)
}

// A count that begins anew at one node begins anew at all, regardless of their counts
// before: here for another filter, or another patient whose log is as
// long as the first's was.
func TestCountBeginsAnewEverywhere(t *testing.T) {
	for _, other := range []string{"Observation?patient=Patient/p1&code=8867-4", "Observation?patient=Patient/p_2"} {
		synctest.Test(t, func(t *testing.T) {
			store := carewire.NewMemoryStore(nil)
			one, two := newWorld(t, store, nil, nil), newWorld(t, store, nil, nil)
			defer one.close()
			defer two.close()
			one.rates("p1", 50)
			one.rates("p_2", 50)
			id := one.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
			l := two.listen()()
			l.say("bind-with-token " + two.token("nurse", id))
			l.next(typeHandshake)
			for i := range 3 {
				one.rates("p1", 60+float64(i))
				require.Equal(t, []int{i + 1}, l.next(typeEvent).numbers)
			}
			l.ws.CloseNow()
			synctest.Wait()
			one.replace(id, wish("vitals", other, "id-only"))
			one.rates("p1", 70)
			one.rates("p_2", 70)
			require.Equal(t, "requested 1", one.counted(id))
			require.Equal(t, "requested 1", two.counted(id))
			l = two.listen()()
			l.say("bind-with-token " + two.token("nurse", id))
			require.Equal(t, 1, l.next(typeHandshake).count)
			one.rates("p1", 71)
			one.rates("p_2", 71)
			require.Equal(t, []int{2}, l.next(typeEvent).numbers)
			require.Equal(t, "active 2", one.counted(id))
			require.Equal(t, "active 2", two.counted(id))
			l.ws.CloseNow()
		})
	}
}

// interrupted is a Store that lets somebody in before it writes a subscription.
type interrupted struct {
	carewire.Store
	first func()
}

func (s *interrupted) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	if f := s.first; f != nil && strings.HasPrefix(entries[0].Key, subscriptionKey) {
		s.first = nil
		f()
	}
	return s.Store.Append(ctx, entries)
}

// A count of the old events that runs while a subscription is being changed
// does not count them for the new one.
func TestCountWhileItBeginsAnew(t *testing.T) {
	store := &interrupted{Store: carewire.NewMemoryStore(nil)}
	w := newWorld(t, store, nil, nil)
	defer w.close()
	id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
	w.rates("p1", 60, 61, 62)
	require.Equal(t, "requested 3", w.counted(id))
	store.first = func() { assert.Equal(t, "requested 3", w.counted(id)) }
	w.replace(id, wish("vitals", "Observation?patient=Patient/p1&code=8867-4", "id-only"))
	require.Equal(t, "requested 0", w.counted(id))
	w.rates("p1", 63)
	require.Equal(t, "requested 1", w.counted(id))
}

// A binding that fails after its subscription was changed leaves the new one alone.
func TestOldBindingFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		old, err := w.server.subscriptions.get(t.Context(), id)
		require.NoError(t, err)
		b := &binding{s: w.server, sub: old, who: people["nurse"], to: new(silentTeller), version: versionR4}
		w.replace(id, wish("vitals", "Observation?patient=Patient/p_2", "id-only"))
		require.ErrorIs(t, b.failed(t.Context(), carewire.ErrForbidden), errEnded)
		require.Equal(t, "requested 0", w.counted(id))
		now, err := w.server.subscriptions.get(t.Context(), id)
		require.NoError(t, err)
		b = &binding{s: w.server, sub: now, who: people["nurse"], to: new(silentTeller), version: versionR4}
		require.ErrorIs(t, b.failed(t.Context(), carewire.ErrForbidden), errEnded)
		require.Equal(t, "error 0", w.counted(id), "its own binding's failure counts")
	})
}

// A subscription that is replaced while a binding makes it active is not made so,
// and the binding notices.
func TestReplacedWhileMadeActive(t *testing.T) {
	for name, other := range map[string]string{
		"with another count": wish("vitals", "Observation?patient=Patient/p_2", "id-only"),
		"with the same":      wish("vitals", "Observation?patient=Patient/p1", "full-resource"),
	} {
		store := &interrupted{Store: carewire.NewMemoryStore(nil)}
		w := newWorld(t, store, nil, nil)
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		old, err := w.server.subscriptions.get(t.Context(), id)
		require.NoError(t, err)
		b := &binding{s: w.server, sub: old, who: people["nurse"], to: new(silentTeller), version: versionR4}
		store.first = func() { w.replace(id, other) }
		require.NoError(t, b.next(t.Context()), name)
		require.Equal(t, "requested 0", w.counted(id), name)
		require.ErrorIs(t, b.next(t.Context()), errEnded, name)
		require.Equal(t, "requested 0", w.counted(id), name)
		w.close()
	}
}

// A PUT or a DELETE does not fail because a binding makes the subscription active
// at that moment.
func TestChangedWhileMadeActive(t *testing.T) {
	store := &interrupted{Store: carewire.NewMemoryStore(nil)}
	w := newWorld(t, store, nil, nil)
	defer w.close()
	body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
	id := w.subscribe("nurse", body)
	active := func() {
		_, err := w.server.subscriptions.change(t.Context(), id, func(sub *subscription) { sub.Status = statusActive })
		require.NoError(t, err)
	}
	store.first = active
	w.replace(id, body)
	require.Equal(t, "requested 0", w.counted(id))
	store.first = active
	r := w.do("nurse", "DELETE", "Subscription/"+id, "")
	require.Equal(t, 204, r.Code, r.Body)
	require.Equal(t, 404, w.do("nurse", "GET", "Subscription/"+id, "").Code)
}

// A PUT that asks for the same events goes on with their count.
func TestCountGoesOn(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
	id := w.subscribe("nurse", body)
	w.rates("p1", 60, 61)
	old, err := w.server.subscriptions.get(t.Context(), id)
	require.NoError(t, err)
	w.replace(id, body)
	w.rates("p1", 62)
	require.Equal(t, "requested 3", w.counted(id))
	now, err := w.server.subscriptions.get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, old.Count, now.Count)
}

// silentTeller tells nobody, and notes the notifications that it should have told.
type silentTeller struct{ kinds []string }

func (x *silentTeller) tell(_ context.Context, _ *binding, m message) error {
	x.kinds = append(x.kinds, m.kind)
	return nil
}
func (*silentTeller) complain(error) {}

// failing is a Store that does not write entries under some keys.
type failing struct {
	carewire.Store
	prefix atomic.Pointer[string]
	keys   []string // of subscriptions that were written
}

func (s *failing) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	if p := s.prefix.Load(); p != nil && strings.HasPrefix(entries[0].Key, *p) {
		return nil, errors.New("down")
	}
	if key := entries[0].Key; strings.HasPrefix(key, subscriptionKey) {
		s.keys = append(s.keys, key)
	}
	return s.Store.Append(ctx, entries)
}

// A subscription that could not be created, or was deleted only in part, takes
// no place.
func TestFailuresTakeNoPlace(t *testing.T) {
	for _, prefix := range []string{subscriptionKey, ownerKey} {
		store := &failing{Store: carewire.NewMemoryStore(nil)}
		w := newWorld(t, store, nil, &Options{MaxSubscriptions: 3})
		body := wish("vitals", "Observation?patient=Patient/p1", "id-only")
		create := func() result { return w.do("nurse", "POST", "Subscription", body) }
		listed := func() int {
			list, _ := w.do("nurse", "GET", "Subscription", "").json()["entry"].([]any)
			return len(list)
		}
		fill := func() (ids []string) {
			for range 3 {
				ids = append(ids, w.subscribe("nurse", body))
			}
			require.Equal(t, 429, create().Code, prefix)
			require.Equal(t, 3, listed(), prefix)
			return ids
		}
		store.prefix.Store(&prefix)
		for range 5 {
			require.Equal(t, 503, create().Code, prefix)
		}
		require.Zero(t, listed())
		for _, key := range store.keys {
			e, err := store.Get(t.Context(), carewire.SystemPatient, key)
			require.NoError(t, err)
			require.False(t, e.Open, "an event that nobody knows of is not kept")
		}
		store.prefix.Store(nil)
		ids := fill()
		store.prefix.Store(&prefix)
		deleted := map[string]int{subscriptionKey: 503, ownerKey: 204}[prefix]
		for _, id := range ids {
			require.Equal(t, deleted, w.do("nurse", "DELETE", "Subscription/"+id, "").Code, prefix)
		}
		store.prefix.Store(nil)
		if prefix == ownerKey { // they are gone, and their owner's list still names them
			require.Zero(t, listed())
			fill()
		}
		require.Equal(t, 3, listed())
		w.close()
	}
}
