package carewire

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// WatchEach shows what Watch shows, and what it lent is overwritten.
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

// A loop over many readings makes no garbage for each of them.
func TestWatchEachMakesNoGarbage(t *testing.T) {
	text := []byte(`{"type":"vital","patient":"p1","epoch":"e","seq":7,"must":1,"vital":{"patient":"p1","code":"8867-4","value":72,"unit":"/min","vital_id":"m.1","time":"2026-11-22T10:00:00.000Z","received":"2026-11-22T10:00:00.000Z","device":"m"}}`)
	var rate float64
	d := borrower{see: func(e *Event) { rate = e.Vital.Value.Float64() }}
	require.Zero(t, testing.AllocsPerRun(100, func() { d.next(text) }))
	require.Equal(t, 72.0, rate)
	require.Equal(t, time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC), d.vital.Received)
}
