package rules

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A clinging Store answers no question about the alerts, or the log, of p1.
type clinging struct {
	carewire.Store
	gets, reads atomic.Bool
	end         chan struct{}
}

func (s *clinging) cling(ctx context.Context) error {
	select {
	case <-ctx.Done():
	case <-s.end:
	}
	return errCut
}

func (s *clinging) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	if patient == "p1" && s.gets.Load() {
		return carewire.Entry{}, s.cling(ctx)
	}
	return s.Store.Get(ctx, patient, key)
}

func (s *clinging) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	if patient == "p1" && s.reads.Load() {
		return nil, s.cling(ctx)
	}
	return s.Store.Read(ctx, patient, after, q)
}

// What hangs for one patient delays the alert of no other: the raise of an alert, the
// Settings, the reading of the log. Afterwards that patient's alert comes too.
func TestNoPatientWaitsForAnother(t *testing.T) {
	for _, what := range []string{"raise", "settings", "log"} {
		t.Run(what, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				store := &clinging{Store: carewire.NewMemoryStore(nil), end: make(chan struct{})}
				w := newWard(t, store)
				defer w.close()
				defer close(store.end)
				looks := w.hubOn(store.Store)
				var hangs atomic.Bool
				o := Options{Patients: func(context.Context) ([]string, error) { return []string{"p1", "p2"}, nil },
					Settings: func(ctx context.Context, patient string) (Settings, error) {
						if patient == "p1" && hangs.Load() {
							<-ctx.Done()
							return Settings{}, ctx.Err()
						}
						return Settings{}, nil
					}}
				publish := func(rate float64) {
					_, err := w.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", rate), carewire.HeartRate.Of("p2", rate))
					require.NoError(t, err)
				}
				publish(100)
				store.reads.Store(what == "log")
				hangs.Store(what == "settings")
				j, _ := w.run(w.hub, o, high(Timing{}))
				time.Sleep(12 * time.Second)
				store.gets.Store(what == "raise")
				j.Changed()
				time.Sleep(2 * time.Second) // p1's Settings are being asked for
				publish(200)
				time.Sleep(time.Second)
				_, err := looks.Alert(t.Context(), "p1", "hr-high")
				require.Equal(t, what == "settings", err == nil)
				a, err := looks.Alert(t.Context(), "p2", "hr-high")
				require.NoError(t, err)
				require.Equal(t, carewire.ConditionPresent, a.Condition)
				store.gets.Store(false)
				store.reads.Store(false)
				hangs.Store(false)
				time.Sleep(20 * time.Second)
				_, err = looks.Alert(t.Context(), "p1", "hr-high")
				require.NoError(t, err)
			})
		})
	}
}
