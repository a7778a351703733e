package fhir

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A client that reads slowly is told of its token's end in time, and of no event
// after it.
func TestTokenEndsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		was := people["nurse"]
		defer func() { people["nurse"] = was }()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		short, from := was, time.Now()
		short.Expires = from.Add(10 * time.Second)
		people["nurse"] = short
		l := w.listen()()
		l.say("bind-with-token " + w.token("nurse", id))
		l.next("handshake")
		for range 40 {
			w.publish("p1", 60)
		}
		events, warned := 0, false
		for {
			time.Sleep(500 * time.Millisecond)
			n := readTold(t, l.text())
			if n.failure == tokenEnded {
				break
			}
			warned = warned || n.failure == tokenEnds
			events += len(n.numbers)
		}
		assert.True(t, warned)
		assert.Greater(t, events, 10)
		assert.LessOrEqual(t, events, 21, "the event being written when the token ended is the last")
		assert.Equal(t, websocket.StatusCode(3000), l.closed())
		people["nurse"] = was
		assert.Equal(t, "active", at(w.do("nurse", "GET", "Subscription/"+id, "").json(), "status"), "the subscription goes on")
	})
}

// After its token has ended, a binding tells of nothing, not even before its clock
// has rung.
func TestNothingAfterTheToken(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
	w.publish("p1", 60)
	sub, err := w.server.subscriptions.get(t.Context(), id)
	require.NoError(t, err)
	who := people["nurse"]
	b := &binding{s: w.server, sub: sub, who: who, to: new(silentTeller)}
	list := []happened{{number: 1}}
	n, err := b.tellAgain(t.Context(), list)
	require.NoError(t, err)
	require.Equal(t, 1, n)
	b.who.Expires = time.Now()
	n, err = b.tellAgain(t.Context(), list)
	require.ErrorIs(t, err, errTokenOver)
	require.Zero(t, n)
	require.ErrorIs(t, b.heartbeat(t.Context()), errTokenOver)
	require.ErrorIs(t, b.tellNew(t.Context()), errTokenOver)
	require.Zero(t, b.told.N)
	b.who = who
	require.NoError(t, b.tellNew(t.Context()))
	require.EqualValues(t, 1, b.told.N)
}

// An event that a binding has read after its subscription was deleted is not told,
// at whichever moment that was.
func TestNothingAfterADeletion(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
	sub, err := w.server.subscriptions.get(t.Context(), id)
	require.NoError(t, err)
	require.Equal(t, 204, w.do("nurse", "DELETE", "Subscription/"+id, "").Code)
	w.publish("p1", 60)
	to := new(silentTeller)
	b := &binding{s: w.server, sub: sub, who: people["nurse"], to: to}
	require.ErrorIs(t, b.tellNew(t.Context()), errEnded)
	require.Equal(t, []string{typeHeartbeat}, to.kinds)
}

// Heartbeats come between the events of a long backlog.
func TestHeartbeatsUnderWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		l := w.listen()()
		l.say("bind-with-token " + w.token("nurse", id))
		l.next("handshake")
		for range 100 {
			w.publish("p1", 60)
		}
		next, beats := 1, 0
		for next <= 100 {
			time.Sleep(500 * time.Millisecond)
			n := readTold(t, l.text())
			if n.kind == typeHeartbeat {
				beats++
				assert.Equal(t, next-1, n.count)
				continue
			}
			require.Equal(t, []int{next}, n.numbers)
			next++
		}
		assert.GreaterOrEqual(t, beats, 2, "in 50 seconds")
		l.ws.CloseNow()
	})
}

// Access that ends while an endpoint takes nothing is noticed before the event is
// posted again.
func TestHookAccessEndsWhileItWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &receiver{t: t}
		rules := &switchable{}
		w := newWorld(t, nil, &carewire.Options{Authorizer: rules}, &Options{Hooks: hooked(e)})
		defer w.close()
		id := w.subscribe("nurse", hookWish("https://hooks.test/a"))
		time.Sleep(3 * time.Second)
		e.answer(func() int { return 503 })
		w.publish("p1", 60)
		time.Sleep(2 * time.Second)
		rules.fails.Store(true)
		e.answer(nil)
		time.Sleep(time.Minute)
		_, numbers := e.kinds()
		assert.Empty(t, numbers, "undecided events wait")
		rules.fails.Store(false)
		time.Sleep(5 * time.Second)
		_, numbers = e.kinds()
		assert.Equal(t, []int{1}, numbers)

		e.answer(func() int { return 503 })
		w.publish("p1", 61)
		time.Sleep(2 * time.Second)
		rules.no.Store(true)
		e.answer(nil)
		time.Sleep(time.Hour)
		_, numbers = e.kinds()
		assert.Equal(t, []int{1}, numbers)
		assert.Equal(t, failureTexts[failedAccess], w.do("nurse", "GET", "Subscription/"+id, "").json()["error"])
	})
}

// flaky is an Authorizer that allows all, but decides only every other time while
// it is on.
type flaky struct {
	on    atomic.Bool
	asked atomic.Int64
}

func (a *flaky) Authorize(_ context.Context, q carewire.Access) ([]carewire.Decision, error) {
	if a.on.Load() && a.asked.Add(1)%2 == 0 {
		return nil, errors.New("down")
	}
	list := make([]carewire.Decision, len(q.Patients))
	for i := range list {
		list[i].Allow = true
	}
	return list, nil
}

// An endpoint that takes nothing for an hour is in error also where access is
// undecided now and then.
func TestDeadHookWithAFlakyAuthorizer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &receiver{t: t}
		rules := &flaky{}
		w := newWorld(t, nil, &carewire.Options{Authorizer: rules}, &Options{Hooks: hooked(e)})
		defer w.close()
		id := w.subscribe("nurse", hookWish("https://hooks.test/a"))
		time.Sleep(3 * time.Second)
		e.answer(func() int { return 503 })
		rules.on.Store(true)
		w.publish("p1", 60)
		time.Sleep(hookGiveUp - time.Minute)
		failed := w.server.Stats().HooksFailed
		assert.Greater(t, failed, uint64(5))
		assert.Less(t, failed, uint64(40), "the pauses grow")
		time.Sleep(time.Minute + 2*hookPauses)
		rules.on.Store(false)
		assert.Equal(t, failureTexts[failedHook], w.do("nurse", "GET", "Subscription/"+id, "").json()["error"])
	})
}

// An endpoint that the host no longer allows, or whose owner's right to it cannot
// be told, is posted nothing.
func TestHookIsAllowedNoLonger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		e := &receiver{t: t}
		hooks := hooked(e)
		var mu sync.Mutex
		allow := func() bool { return true }
		hooks.Allow = func(*url.URL, carewire.Principal) bool {
			mu.Lock()
			defer mu.Unlock()
			return allow()
		}
		w := newWorld(t, nil, nil, &Options{Hooks: hooks})
		defer w.close()
		w.subscribe("nurse", hookWish("https://hooks.test/a"))
		time.Sleep(3 * time.Second)
		for _, no := range []func() bool{func() bool { return false }, func() bool { panic("host") }} {
			mu.Lock()
			allow = no
			mu.Unlock()
			w.publish("p1", 60)
			time.Sleep(20 * time.Second)
		}
		_, numbers := e.kinds()
		assert.Empty(t, numbers)
	})
}

// A token unbinds its own bindings, however many came before it, and nothing that
// another has bound anew.
func TestUnbindOfManyTokens(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		l := w.listen()()
		var first, last string
		for range 510 {
			last = w.token("nurse", id)
			if first == "" {
				first = last
			}
			l.say("bind-with-token " + last)
			l.next("handshake")
			time.Sleep(time.Second)
		}
		assert.Equal(t, 1, w.server.Stats().Bindings)
		unbind := func(token string) { l.say(`{"type":"unbind-from-token","payload":{"token":"` + token + `"}}`) }
		unbind(first)
		w.publish("p1", 60)
		require.Equal(t, []int{1}, l.next(typeEvent).numbers)
		unbind(last)
		l.say(`{"type":"ping"}`)
		require.Equal(t, `{"type":"pong"}`, l.text())
		assert.Equal(t, 0, w.server.Stats().Bindings)
		l.ws.CloseNow()
	})
}

// Sockets without a binding give their places to new ones, so that they keep
// nobody out.
func TestIdleSocketsGiveWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, &Options{MaxSockets: 2})
		defer w.close()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		dial := w.listen()
		bind := func(l *listener) string {
			token := w.token("nurse", id)
			l.say("bind-with-token " + token)
			l.next("handshake")
			return token
		}
		first := dial()
		token := bind(first)
		second := dial()
		synctest.Wait() // its handshake is over at the Server too
		third := dial()
		assert.Equal(t, websocket.StatusTryAgainLater, second.closed())
		bind(third)
		_, err := websocketDial(w, "X-Any", "x")
		assert.ErrorContains(t, err, "503", "all are bound")
		first.say(`{"type":"unbind-from-token","payload":{"token":"` + token + `"}}`)
		first.say(`{"type":"ping"}`)
		require.Equal(t, `{"type":"pong"}`, first.text())
		synctest.Wait()
		fourth := dial()
		assert.Equal(t, websocket.StatusTryAgainLater, first.closed(), "without a binding again")
		bind(fourth)
		synctest.Wait() // first and second are gone
		assert.Equal(t, 2, w.server.Stats().Sockets)
		fourth.ws.CloseNow()
		third.ws.CloseNow()
		synctest.Wait()
		assert.Equal(t, Stats{}.Sockets, w.server.Stats().Sockets)
	})
}

// The places of sockets and bindings, counted.
func TestPlacesOfSockets(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	x := &w.server.sockets
	idle := func() *socket { return &socket{s: w.server, end: func() {}} }
	var list []*socket
	remove := func() {
		for _, k := range list {
			x.remove(k)
		}
		list = nil
	}
	defer func() { remove() }()
	for range 3 {
		list = append(list, idle())
		require.True(t, x.add(list[len(list)-1]))
	}
	var failed *failure
	for i := range bindingsMost {
		require.NoError(t, x.take(list[i/maxBindings], "one"))
	}
	require.ErrorAs(t, x.take(list[2], "one"), &failed)
	require.Equal(t, http.StatusTooManyRequests, failed.status)
	require.Error(t, x.take(list[0], "another"), "of one socket")
	require.NoError(t, x.take(list[2], "another"))
	x.give(list[0], "one")
	require.NoError(t, x.take(list[2], "one"))
	for range idleMost {
		list = append(list, idle())
		require.True(t, x.add(list[len(list)-1]))
	}
	require.Len(t, x.idle, idleMost)
	require.Same(t, list[3], x.idle[0])
	list = append(list, idle())
	require.True(t, x.add(list[len(list)-1]))
	require.Len(t, x.idle, idleMost)
	require.Same(t, list[4], x.idle[0], "the one that waited longest")
	remove()
	require.Empty(t, x.all)
	require.Zero(t, x.places)
	require.Empty(t, x.idle)
}

// A Server that closes tells its clients, also those that connect meanwhile.
func TestCloseTellsClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil, nil)
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		dial := w.listen()
		bound, idle := dial(), dial()
		bound.say("bind-with-token " + w.token("nurse", id))
		bound.next("handshake")
		bound.reading()
		idle.reading()
		synctest.Wait()
		go w.close()
		assert.Equal(t, websocket.StatusServiceRestart, bound.closed())
		assert.Equal(t, websocket.StatusServiceRestart, idle.closed())
	})
	for range 20 {
		w := newWorld(t, nil, nil, nil)
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				if ws, err := websocketDial(w, "X-Any", "x"); err == nil {
					ws.Read(t.Context())
				} else if errors.Is(err, t.Context().Err()) {
					t.Error("not answered")
				}
			})
		}
		w.close()
		wg.Wait()
	}
}

// Counts of subscriptions that are gone take no room for ever.
func TestMarksAreBounded(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	x := &w.server.subscriptions
	for i := range marksMost + 10 {
		x.note(t.Context(), &subscription{ID: itoa(i), Count: "c"}, tally{1, 1})
	}
	require.Len(t, x.marks, marksMost)
}
