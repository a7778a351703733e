package carewire

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// sharedStore is a Store that tells of other nodes, and notes the patients whose heads
// were asked for.
type sharedStore struct {
	Store
	wake  chan []string
	hold  chan struct{} // not nil: Heads waits for it
	mu    sync.Mutex
	asked []string
}

func (s *sharedStore) Wake() <-chan []string { return s.wake }

func (s *sharedStore) Heads(ctx context.Context, patients []string) ([]Head, error) {
	s.mu.Lock()
	s.asked = append(s.asked, patients...)
	hold := s.hold
	s.mu.Unlock()
	if hold != nil {
		<-hold
	}
	return s.Store.Heads(ctx, patients)
}

// since returns the patients whose heads were asked for since it was last
// called.
func (s *sharedStore) since() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	asked := s.asked
	s.asked = nil
	slices.Sort(asked)
	return asked
}

// After a wake-up the heads of the named patients are compared, of all if it
// names nobody; entries without a wake-up are found all the same.
func TestWakeUps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		shared := &sharedStore{Store: store, wake: make(chan []string)}
		w := newWorld(t, shared, &Options{Lanes: 2})
		defer w.close()
		other, err := New(AuthenticatorFunc(byToken), store, nil)
		require.NoError(t, err)
		defer other.Shutdown(context.Background())
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.ask(`{"type":"watch","req":"w","patients":["p1","p2","p3"],"delivery":"every"}`)
		for range 3 {
			nurse.until("synced")
		}
		publish := func() {
			for _, p := range []string{"p1", "p2", "p3"} {
				_, err := other.Publish(t.Context(), HeartRate.Of(p, 70))
				require.NoError(t, err)
			}
			shared.since()
		}
		// comes returns the patients whose vitals come, and the time until the
		// last of them.
		comes := func(n int) (of []string, after time.Duration) {
			begin := time.Now()
			for range n {
				of = append(of, nurse.until("vital")["patient"].(string))
			}
			slices.Sort(of)
			return of, time.Since(begin)
		}

		publish()
		shared.wake <- []string{"p3", "p9", "p1", "p3"}
		of, after := comes(2)
		require.Equal(t, []string{"p1", "p3"}, of)
		require.Zero(t, after)
		require.Equal(t, []string{"p1", "p3"}, shared.since())
		of, after = comes(1)
		require.Equal(t, []string{"p2"}, of, "whose wake-up was lost")
		require.NotZero(t, after)
		require.LessOrEqual(t, after, 5*time.Second)

		publish()
		shared.wake <- nil
		of, after = comes(3)
		require.Equal(t, []string{"p1", "p2", "p3"}, of)
		require.Zero(t, after)
	})
}

// A client that watches many patients does not delay new events until the heads
// of all were compared.
func TestComparingManyDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		shared := &sharedStore{Store: NewMemoryStore(nil), wake: make(chan []string)}
		w := newWorld(t, shared, &Options{Lanes: 1})
		defer w.close()
		patients := make([]string, 4*headsMax)
		for i := range patients {
			patients[i] = fmt.Sprint("many-", i)
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		go func() {
			for range w.hub.Watch(ctx, WatchOptions{Patients: patients}) {
			}
		}()
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60)) // the keys of its vitals are known then
		require.NoError(t, err)
		synctest.Wait()
		shared.since()

		hold := make(chan struct{})
		shared.mu.Lock()
		shared.hold = hold
		shared.mu.Unlock()
		shared.wake <- nil
		published := false
		go func() {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 70))
			assert.NoError(t, err)
			published = true
		}()
		synctest.Wait()
		hold <- struct{}{} // the one under way
		hold <- struct{}{} // the comparison that comes together with new entries
		synctest.Wait()
		require.True(t, published, "before the third of four comparisons")
		close(hold)
		synctest.Wait()
		require.Len(t, shared.since(), len(patients))
	})
}

// The lag of a node behind the others is measured by their entries only.
func TestLagBehindOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		here := newWorld(t, store, nil)
		defer here.close()
		there := newWorld(t, store, nil)
		defer there.close()
		nurse := here.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.ask(watchP1)
		nurse.until("synced")
		_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", 72))
		require.NoError(t, err)
		_, err = here.hub.Publish(t.Context(), HeartRate.Of("p2", 72))
		require.NoError(t, err)
		nurse.until("vital")
		lag := here.hub.Stats().Lag
		require.EqualValues(t, 1, total(lag))
		require.Positive(t, lag.Sum)
		require.LessOrEqual(t, lag.Sum, time.Minute)
		require.Zero(t, total(there.hub.Stats().Lag))
	})
}
