package carewire

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// WatchEach shows the same events as Watch, and the events that it lent are
// overwritten.
func TestWatchEachIsWatch(t *testing.T) {
	h := benchHub(t)
	ctx, stop := context.WithTimeout(t.Context(), patienceOfTests)
	defer stop()
	const n = 50
	publish := func() {
		for i := range n {
			v := HeartRate.Of("p1", float64(60+i))
			if i%3 == 0 {
				v = BloodPressure.Of("p1", 120, float64(60+i))
			}
			v.ID, v.Device, v.Quality = fmt.Sprintf("v%d", i), "mon-1", []Quality{QualityValidated}
			_, err := h.Publish(ctx, v)
			require.NoError(t, err)
		}
		_, err := h.Raise(ctx, Raise{Patient: "p1", Key: "k", Text: "a \"text\" with ünïcode", Priority: PriorityInfo})
		require.NoError(t, err)
	}
	publish()
	o := WatchOptions{Patients: []string{"p1"}, Since: map[string]Position{"p1": {}}, Delivery: DeliverEvery}
	var want, got []string
	for e, err := range h.Watch(ctx, o) {
		require.NoError(t, err)
		if e.Type == EventSynced {
			break
		}
		want = append(want, eventText(&e))
	}
	each, enough := context.WithCancel(ctx)
	defer enough()
	err := h.WatchEach(each, o, func(e *Event) {
		if e.Type == EventSynced {
			enough()
			return
		}
		got = append(got, eventText(e))
	})
	require.ErrorIs(t, err, context.Canceled)
	require.Greater(t, len(want), n)
	require.Equal(t, want, got)
}

// eventText writes an event as it is at this moment.
func eventText(e *Event) string {
	v, _ := json.Marshal(e.Vital)
	a, _ := json.Marshal(e.Alert)
	return fmt.Sprint(e.Type, e.Patient, e.Position.Seq, e.Must, e.Recovered, string(v), string(a))
}

// WatchEach reports the end of a quiet patient's log, again and again.
func TestWatchEachTellsHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var heads []string
		w.hub.WatchEach(ctx, WatchOptions{Patients: []string{"p1", "p2"}, Delivery: DeliverEvery}, func(e *Event) {
			for _, h := range e.Heads {
				heads = append(heads, fmt.Sprint(h.Patient, " ", h.Seq))
			}
		})
		require.GreaterOrEqual(t, len(heads), 6)
		require.LessOrEqual(t, len(heads), 10)
		slices.Sort(heads)
		require.Equal(t, []string{"p1 1", "p2 0"}, slices.Compact(heads))
	})
}

// I4: no head is seen before the events that it counts, including events that were
// read from the Store and wait for a slow watch.
func TestNoHeadOvertakesAPage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxOutboxBytes: 4 << 10})
		defer w.close()
		publish := func(patient string, n int) {
			_, err := w.hub.Publish(context.Background(), slices.Repeat([]Vital{HeartRate.Of(patient, 60)}, n)...) // at once
			require.NoError(t, err)
		}
		publish("p1", 1)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		defer cancel()
		time.AfterFunc(time.Minute, func() {
			publish("p2", 1)
			time.Sleep(time.Second)
			publish("p1", 100) // more than fits
			publish("p2", 1)   // it is seen while they are read
		})
		seen, early := map[string]uint64{}, 0
		w.hub.WatchEach(ctx, WatchOptions{Patients: []string{"p1", "p2"}, Delivery: DeliverEvery}, func(e *Event) {
			for _, h := range e.Heads {
				require.WithinDuration(t, time.Now(), e.Time, 31*time.Second)
				if h.Seq > seen[h.Patient] {
					early++
				}
			}
			if e.Vital != nil {
				seen[strings.Clone(e.Vital.Patient)] = e.Seq
			}
			if e.Vital != nil && e.Vital.Patient == "p2" {
				time.Sleep(30 * time.Second)
			}
		})
		require.EqualValues(t, 2, seen["p2"])
		require.EqualValues(t, 101, seen["p1"])
		require.Zero(t, early)
	})
}

// The heads that a watch is slow to see neither pile up nor end it.
func TestHeadsWaitForSlowWatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxPatients: 3000, MaxTotalOutboxBytes: 1})
		defer w.close()
		var patients []string
		for i := range 3000 {
			patients = append(patients, fmt.Sprint("p", i))
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Minute)
		defer cancel()
		heads, slow := map[string]bool{}, true
		err := w.hub.WatchEach(ctx, WatchOptions{Patients: patients, Delivery: DeliverEvery}, func(e *Event) {
			if e.Type == EventHead && slow {
				slow = false
				time.Sleep(10 * time.Minute)
			}
			for _, h := range e.Heads {
				heads[strings.Clone(h.Patient)] = true
			}
		})
		require.ErrorIs(t, err, context.DeadlineExceeded)
		require.Len(t, heads, 3000)
	})
}

// A loop over many readings makes no garbage for each of them.
func TestWatchEachMakesNoGarbage(t *testing.T) {
	text := []byte(`{"type":"vital","patient":"p1","epoch":"e","seq":7,"must":1,"vital":{"patient":"p1","code":"8867-4","value":72,"unit":"/min","vital_id":"m.1","time":"2026-11-22T10:00:00.000Z","received":"2026-11-22T10:00:00.000Z","device":"m"}}`)
	var rate float64
	d := borrower{see: func(e *Event) { rate = e.Vital.Value.Float64() }}
	require.Zero(t, testing.AllocsPerRun(100, func() { d.next(text) }))
	require.Equal(t, 72.0, rate)
	require.Equal(t, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), d.vital.Received)
}

// The host's own watching follows a group, as a client's does: on every node, and
// also when nobody says that it has changed.
func TestHostFollowsGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := &wards{list: map[string][]string{"icu": {"g1", "g2"}}}
		w := newWorld(t, nil, &Options{Directory: dir})
		defer w.close()
		other := newWorld(t, w.store, &Options{Directory: dir})
		defer other.close()
		ctx, cancel := context.WithCancel(t.Context())
		var mu sync.Mutex
		var seen []string
		since := func() []string {
			mu.Lock()
			defer mu.Unlock()
			list := seen
			seen = nil
			slices.Sort(list)
			return list
		}
		done := make(chan error, 1)
		go func() {
			for e, err := range other.hub.Watch(ctx, WatchOptions{Groups: []string{"icu"}, Delivery: DeliverEvery}) {
				if err != nil {
					done <- err
					return
				}
				if e.Type != EventSync && e.Type != EventSynced {
					mu.Lock()
					seen = append(seen, string(e.Type)+" "+e.Patient)
					mu.Unlock()
				}
			}
		}()
		publish := func() {
			for _, p := range []string{"g1", "g2", "g3"} {
				_, err := w.hub.Publish(t.Context(), HeartRate.Of(p, 60))
				require.NoError(t, err)
			}
			time.Sleep(10 * time.Second)
		}
		time.Sleep(time.Second)
		publish()
		require.Equal(t, []string{"vital g1", "vital g2"}, since())
		dir.set("icu", "g2", "g3")
		require.NoError(t, w.hub.MembersChanged(t.Context(), "icu"))
		time.Sleep(10 * time.Second)
		require.Equal(t, []string{"granted g3", "revoked g1", "vital g3"}, since(), "with the newcomer's earlier events")
		publish()
		require.Equal(t, []string{"vital g2", "vital g3"}, since())
		dir.set("icu", "g1")
		time.Sleep(3 * time.Minute)
		require.Equal(t, []string{"granted g1", "revoked g2", "revoked g3", "vital g1"}, since(), "nobody has said so")
		publish()
		require.Equal(t, []string{"vital g1"}, since())
		cancel()
		require.ErrorIs(t, <-done, context.Canceled)
	})
}
