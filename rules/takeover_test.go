package rules

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

var takeOverPatients = flag.Int("rules.patients", 2000, "how many TestTakeOverOfThousands has; 5000 were tried")

// Two Judges have thousands of patients, and one of them dies just when all of them
// need an alert: within ten seconds the other has raised those of its own patients, and
// of the dead one's. The bubble's clock counts no CPU time, which BenchmarkTakeUp does.
func TestTakeOverOfThousands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		patients := *takeOverPatients
		names := make([]string, patients)
		for i := range names {
			names[i] = fmt.Sprint("p", i)
		}
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		store := &severed{Store: w.store}
		o := Options{Patients: func(context.Context) ([]string, error) { return names, nil }}
		publish := func(rate float64) {
			for list := range slices.Chunk(names, 500) {
				vitals := make([]carewire.Vital, len(list))
				for i, p := range list {
					vitals[i] = carewire.HeartRate.Of(p, rate)
				}
				_, err := w.hub.Publish(t.Context(), vitals...)
				require.NoError(t, err)
			}
		}
		o.Node = "a"
		dies, _ := w.run(w.hubOn(store), o, high(Timing{}))
		o.Node = "b"
		stays, _ := w.run(w.hub, o, high(Timing{}))
		time.Sleep(10 * time.Second)
		publish(100)
		time.Sleep(5 * time.Second)
		require.Equal(t, patients, dies.count()+stays.count())
		require.Greater(t, dies.count(), patients/3)
		require.Greater(t, stays.count(), patients/3)

		died := time.Now()
		store.cut.Store(true)
		publish(200)
		time.Sleep(10*time.Second - time.Since(died))
		for _, p := range names {
			a, err := w.hub.Alert(t.Context(), p, "hr-high")
			require.NoError(t, err, p)
			require.Equal(t, carewire.ConditionPresent, a.Condition)
		}
	})
}

// A retentive Store keeps the least number behind which it was asked for entries.
type retentive struct {
	carewire.Store
	mu    sync.Mutex
	least uint64
}

// forget forgets the reads so far.
func (s *retentive) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.least = 1 << 60
}

func (s *retentive) lowest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.least
}

func (s *retentive) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	if patient == "p1" {
		s.mu.Lock()
		s.least = min(s.least, after.Seq)
		s.mu.Unlock()
	}
	return s.Store.Read(ctx, patient, after, q)
}

// A Judge that takes a patient over reads the end of the log only, as far back as its
// rules look, and not the months before it.
func TestTakeOverReadsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &retentive{Store: carewire.NewMemoryStore(nil)}
		w := newWard(t, store)
		defer w.close()
		for range 50 {
			_, err := w.hub.Publish(t.Context(), slices.Repeat([]carewire.Vital{carewire.HeartRate.Of("p1", 100)}, 100)...)
			require.NoError(t, err)
		}
		time.Sleep(time.Hour + 20*time.Minute)
		w.rate(slices.Repeat([]float64{200}, 1000)...)
		store.forget()
		w.run(w.hub, Options{}, high(Timing{Delay: 10 * time.Minute}))
		least := store.lowest() // before w.alerts reads all
		require.Greater(t, least, uint64(800))
		require.Len(t, w.alerts("hr-high"), 1)
	})
}
