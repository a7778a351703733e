package rules

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A tardy Store keeps appended entries back for a time.
type tardy struct {
	carewire.Store
	by time.Duration
}

func (s *tardy) Append(ctx context.Context, e []carewire.Entry) ([]carewire.AppendResult, error) {
	time.Sleep(s.by)
	return s.Store.Append(ctx, e)
}

// A vital that the Store takes in almost a minute after its receipt is judged by the Judge
// that takes over, though the one before has said that it has judged up to then: its
// patient was quiet. A crossing that is over by then is among it.
func TestTakenInLate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		judges, stores := map[string]*Judge{}, map[string]*severed{}
		for _, name := range []string{"a", "b"} {
			stores[name] = &severed{Store: w.store}
			judges[name], _ = w.run(w.hubOn(stores[name]), Options{Node: name}, high(Timing{}))
		}
		late := w.hubOn(&tardy{w.store, 50 * time.Second})
		time.Sleep(5 * time.Second)
		w.rate(100)
		time.Sleep(time.Minute)
		published := make(chan error)
		go func() {
			_, err := late.Publish(context.Background(), carewire.HeartRate.Of("p1", 200), carewire.HeartRate.Of("p1", 100))
			published <- err
		}()
		time.Sleep(49 * time.Second)
		for name, j := range judges {
			stores[name].cut.Store(j.holds("p1"))
		}
		require.NoError(t, <-published)
		time.Sleep(10 * time.Second)
		list := w.alerts("hr-high")
		require.Len(t, list, 1, "a crossing is lost")
		require.Equal(t, carewire.ConditionOver, list[0].Condition)
	})
}

// A patient from whom nothing comes, or nothing ever came, does not hold back the
// time up to which a node has judged: a Judge that takes over would read the log
// from there on.
func TestQuietPatientsAreJudgedUpToNow(t *testing.T) {
	for name, rates := range map[string][]float64{"nothing came": nil, "nothing comes any more": {100}, "something else came": {100}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, carewire.NewMemoryStore(nil))
				defer w.close()
				j, _ := w.run(w.hub, Options{}, high(Timing{}))
				w.rate(rates...)
				if name == "something else came" {
					require.NoError(t, w.hub.Discharge(t.Context(), "p1"))
				}
				time.Sleep(10 * time.Minute)
				own, all := j.judgedUpTo()
				require.Less(t, (millisOf(w.hub.Now()) - own).duration(), 2*time.Minute)
				require.Equal(t, own, all)
			})
		})
	}
}

// A Judge does not report that it has judged up to a time at which work was due that it
// has not done.
func TestDueWorkIsDoneFirst(t *testing.T) {
	h := newChart(t, Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: 2 * time.Second})
	h.vital(carewire.SpO2.Of("p1", 97))
	h.now = h.now.Add(1500 * time.Millisecond)
	h.vital(carewire.HeartRate.Of("p1", 70))
	b := &bed{c: h.c}
	b.advanced(millisOf(start.Add(2 * time.Second)))
	b.advanced(millisOf(start.Add(3 * time.Second)))
	require.EqualValues(t, millisOf(start.Add(2*time.Second)), b.judged.Load())
	h.wait(2 * time.Second)
	b.advanced(millisOf(start.Add(3 * time.Second)))
	require.EqualValues(t, millisOf(start.Add(3*time.Second)), b.judged.Load())
}
