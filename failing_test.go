package carewire

import (
	"context"
	"encoding/json"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// S5: in every way of failing of the Store, watchers are told in time, and get
// status in place of heartbeats; the Hub is not ready; known alerts go through their
// steps all the same, and that is recorded once the Store is well.
func TestStoreFailsInEveryWay(t *testing.T) {
	refuseAll := func(_ Store, _ context.Context, list []Entry) ([]AppendResult, error) {
		results := make([]AppendResult, len(list))
		for i := range results {
			results[i].Err = ErrFull
		}
		return results, nil
	}
	for _, c := range []struct {
		name          string
		slow, failing time.Duration // until status says so; 0: it does not
		calls         func(s *seam) (heal func())
		append        func(next Store, ctx context.Context, list []Entry) ([]AppendResult, error)
	}{
		{name: "every call fails", failing: 2 * time.Second, calls: func(s *seam) func() {
			s.failing.Store(true)
			return func() { s.failing.Store(false) }
		}},
		{name: "every call hangs", slow: 4 * time.Second, failing: 12 * time.Second, calls: func(s *seam) func() {
			gate := make(chan struct{})
			s.hanging.Store(&gate)
			return func() { s.hanging.Store(nil); close(gate) }
		}},
		{name: "appends fail", failing: 2 * time.Second, append: func(Store, context.Context, []Entry) ([]AppendResult, error) { return nil, errInjected }},
		{name: "appends hang", slow: 4 * time.Second, failing: 12 * time.Second, append: func(_ Store, ctx context.Context, _ []Entry) ([]AppendResult, error) {
			<-ctx.Done()
			return nil, ctx.Err()
		}},
		{name: "full", failing: 2 * time.Second, append: refuseAll},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &seam{Store: NewMemoryStore(nil)}
				var down atomic.Pointer[context.Context]
				s.appending = func(next Store, ctx context.Context, list []Entry) ([]AppendResult, error) {
					if until := down.Load(); until != nil {
						return c.append(next, *until, list)
					}
					return next.Append(ctx, list)
				}
				p := &pager{}
				w := newWorld(t, s, &Options{Policy: threeSteps, Pager: p})
				defer w.close()
				nurse := w.watching("nurse", "latest")
				start := time.Now()
				_, err := w.hub.Raise(t.Context(), high("k"))
				require.NoError(t, err)
				ctx, stop := context.WithCancel(t.Context())
				go func() { // a device
					for ctx.Err() == nil {
						once, cancel := context.WithTimeout(ctx, time.Second)
						w.hub.Publish(once, HeartRate.Of("p1", 72))
						<-once.Done()
						cancel()
					}
				}()
				time.Sleep(5 * time.Second)
				require.Equal(t, []string{"0s person:nurse"}, p.told(start))
				require.NoError(t, w.hub.Ready())

				var heal func()
				if c.calls != nil {
					heal = c.calls(s)
				} else {
					until, cancel := context.WithCancel(context.Background())
					down.Store(&until)
					heal = func() { down.Store(nil); cancel() }
				}
				began := time.Now()
				frames := make(chan []object, 1)
				go func() { frames <- timeline(nurse, began) }()
				time.Sleep(15 * time.Second)
				require.Equal(t, storeFailing, w.hub.Stats().StoreState)
				time.Sleep(4 * time.Minute)
				require.ErrorIs(t, w.hub.Ready(), ErrUnavailable)
				pages := p.told(start)
				require.GreaterOrEqual(t, len(pages), 2)
				for i, want := range []struct {
					to          string
					from, until time.Duration
				}{{"person:doctor", 30 * time.Second, 40 * time.Second}, {"group:icu", 90 * time.Second, 110 * time.Second}} {
					require.Contains(t, pages[i], want.to)
					at, err := time.ParseDuration(pages[i][:len(pages[i])-len(want.to)-1])
					require.NoError(t, err)
					require.True(t, at >= want.from && at <= want.until, pages[i])
				}
				a, err := s.Store.Get(t.Context(), "p1", "a/k")
				require.NoError(t, err)
				require.Less(t, a.Rev, uint64(4), "nothing more was recorded")

				healed := time.Since(began)
				heal()
				time.Sleep(110 * time.Second) // and between two levels
				require.NoError(t, w.hub.Ready())
				alert, err := w.hub.Alert(t.Context(), "p1", "k")
				require.NoError(t, err)
				require.GreaterOrEqual(t, alert.Escalation.Level, 2)
				require.Equal(t, EscalationNotified, alert.Escalation.State)
				stop()
				nurse.ws.CloseNow()

				list := <-frames
				var states []string
				last := time.Duration(0)
				for _, f := range list {
					at := f["at"].(time.Duration)
					require.LessOrEqual(t, at-last, 24*time.Second, "something comes all the time")
					last = at
					if len(states) > 0 && states[len(states)-1] == storeFailing {
						require.NotEqual(t, "heartbeat", f["type"])
					}
					if f["type"] != "status" {
						continue
					}
					state := f["store"].(string)
					if len(states) == 0 || states[len(states)-1] != state {
						states = append(states, state)
						switch state {
						case storeSlow:
							require.LessOrEqual(t, at, c.slow)
						case storeFailing:
							require.LessOrEqual(t, at, c.failing)
						case storeOK:
							require.True(t, at >= healed && at <= healed+3*time.Second, "ok at %v, healed at %v", at, healed)
						}
					}
				}
				want := []string{storeFailing, storeOK}
				if c.slow > 0 {
					want = slices.Insert(want, 0, storeSlow)
				}
				require.Equal(t, want, states)
			})
		})
	}
}

// timeline reads a client's frames to its end, and says when after start they came.
func timeline(r *raw, start time.Time) (list []object) {
	for {
		_, b, err := r.ws.Read(context.Background())
		if err != nil {
			return list
		}
		var o object
		if json.Unmarshal(b, &o) == nil {
			o["at"] = time.Since(start)
			list = append(list, o)
		}
	}
}

// A Store without room refuses vitals before all others: alerts and answers are
// taken as before, watchers are told that something is not taken in, and the Hub
// stays in service.
func TestVitalsAreRefusedBeforeAlerts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seam{Store: NewMemoryStore(nil)}
		var full atomic.Bool
		s.appending = func(next Store, ctx context.Context, list []Entry) ([]AppendResult, error) {
			results := make([]AppendResult, len(list))
			for i := range list {
				if full.Load() && list[i].Kind == KindVital {
					results[i].Err = ErrFull
					continue
				}
				one, err := next.Append(ctx, list[i:i+1])
				if err != nil {
					return nil, err
				}
				results[i] = one[0]
			}
			return results, nil
		}
		p := &pager{}
		w := newWorld(t, s, &Options{Policy: threeSteps, Pager: p})
		defer w.close()
		nurse, device := w.watching("nurse", "every"), w.dial("device")
		defer nurse.ws.CloseNow()
		defer device.ws.CloseNow()
		publish := func() object {
			o := device.ask(`{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"}]}`)
			return objectAt(o, "results", 0)
		}
		require.EqualValues(t, 1, publish()["seq"])
		full.Store(true)
		refused := objectAt(publish(), "error")
		require.Equal(t, "full", refused["code"])
		require.Equal(t, "later", refused["retry"])
		require.Equal(t, "failing", nurse.until("status")["store"])
		start := time.Now()
		for i := range 3 { // each of them taken, while vitals are not
			key := "k" + string(rune('0'+i))
			require.Equal(t, "ok", device.ask(replace(`{"type":"raise","req":"2","event_id":"K","alert":{"patient":"p1","key":"K","text":"x","priority":"high"}}`, "K", key))["type"])
			time.Sleep(2 * time.Second)
			require.Equal(t, "ok", nurse.ask(replace(`{"type":"answer","req":"3","patient":"p1","key":"K","alert_id":"K","event_id":"aK","do":"accept"}`, "K", key, "aK", "a"+key))["type"])
			require.NotNil(t, publish()["error"])
			time.Sleep(3 * time.Second)
			state, _ := w.hub.store.state()
			require.Equal(t, storeFailing, state, "an alert that was taken says nothing about vitals")
			require.NoError(t, w.hub.Ready(), "alerts are still taken")
		}
		require.Len(t, p.told(start), 3)
		full.Store(false)
		require.NotNil(t, publish()["seq"])
		require.Equal(t, "ok", nurse.until("status")["store"])
	})
}
