package carewire

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The alert that a device is silent ends when it is heard again, though the
// Store fails just then.
func TestSilenceEndsAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Bool
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			if refused.Load() && slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind == KindAlert }) {
				return nil, errInjected
			}
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, nil)
		defer w.close()
		_, err := w.hub.Publish(t.Context(), monitor())
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, a.Condition)
		refused.Store(true)
		time.AfterFunc(3*time.Second, func() { refused.Store(false) })
		for range 20 { // not when the timer is due
			w.hub.Publish(t.Context(), monitor())
			time.Sleep(4 * time.Second)
		}
		a, err = w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.NoError(t, err)
		require.Equal(t, ConditionOver, a.Condition)
	})
}

// late is a Store whose answer to a Read of vitals is old when it comes.
type late struct {
	Store
	meanwhile atomic.Pointer[func()]
}

func (s *late) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	list, err := s.Store.Read(ctx, patient, after, q)
	if slices.Equal(q.Kinds, []Kind{KindVital}) {
		if f := s.meanwhile.Swap(nil); f != nil {
			(*f)()
		}
	}
	return list, err
}

// A device that is heard again just when it is said to be silent is not silent,
// on whichever node it is heard and said.
func TestHeardWhileItIsSaidToBeSilent(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store := &late{Store: NewMemoryStore(nil)}
			w := newWorld(t, store, nil)
			defer w.close()
			hears := w
			if nodes == 2 {
				hears = newWorld(t, store.Store, nil)
				defer hears.close()
			}
			_, err := hears.hub.Publish(t.Context(), monitor())
			require.NoError(t, err)
			time.Sleep(14 * time.Second)
			store.meanwhile.Store(new(func() {
				hears.hub.Publish(t.Context(), monitor())
				time.Sleep(200 * time.Millisecond)
			}))
			time.Sleep(6 * time.Second)
			if nodes == 2 {
				w.close()
			}
			for range 12 {
				_, err := hears.hub.Publish(t.Context(), monitor())
				require.NoError(t, err)
				time.Sleep(4 * time.Second)
			}
			a, err := hears.hub.Alert(t.Context(), "p1", "no-data.mon-1")
			require.NoError(t, err, "it was said")
			require.Equal(t, ConditionOver, a.Condition)
		})
	}
}

// A device that measures several things, each in its own time, is silent when
// it keeps not even the shortest of them.
func TestSilenceOfADeviceWithSeveralPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		send := func(v Vital, every time.Duration) {
			v.Device, v.Every = "mon-1", every
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
		}
		silent := func() bool {
			a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
			return err == nil && a.Condition == ConditionPresent
		}
		pulse, pressure := HeartRate.Of("p1", 60), BloodPressure.Of("p1", 120, 80)
		send(pressure, 15*time.Minute)
		for range 60 {
			send(pulse, time.Second)
			time.Sleep(time.Second)
		}
		require.False(t, silent())
		time.Sleep(12 * time.Second)
		require.True(t, silent(), "by the pulse, though the pressure came first")
		// Where only the pressure still comes, the pulse is no longer promised.
		for range 3 {
			send(pressure, 15*time.Minute)
			time.Sleep(15 * time.Minute)
			require.False(t, silent())
		}
		send(pulse, time.Second)
		time.Sleep(12 * time.Second)
		require.True(t, silent(), "the pulse is promised again")
		// What is measured less often from now on is not missed.
		for range 30 {
			send(pulse, time.Minute)
			time.Sleep(time.Minute)
			require.False(t, silent())
		}
		time.Sleep(3 * time.Minute)
		require.True(t, silent())
	})
}

// A device that falls silent raises one technical alert, which ends when it is heard again.
func TestSilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		reading := func(v Vital) Vital {
			v.Device, v.Every = "mon-1", 5*time.Second
			return v
		}
		noData := func() *Alert {
			e, err := w.store.Get(t.Context(), "p1", "a/no-data.mon-1")
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			a, _ := decodeAlert(&e)
			return a
		}
		send := func() {
			_, err := w.hub.Publish(t.Context(), reading(HeartRate.Of("p1", 60)), reading(SpO2.Of("p1", 97)))
			require.NoError(t, err)
		}
		for range 100 {
			send()
			time.Sleep(5 * time.Second)
		}
		require.Nil(t, noData())
		time.Sleep(9 * time.Second)
		require.Nil(t, noData())
		time.Sleep(8 * time.Second)
		a := noData()
		require.NotNil(t, a, "three intervals have passed")
		require.Equal(t, ConditionPresent, a.Condition)
		require.Equal(t, AlertTechnical, a.Kind)
		time.Sleep(10 * time.Minute)
		require.Equal(t, a.ID, noData().ID, "one alert, however long")
		send()
		synctest.Wait()
		require.Equal(t, ConditionOver, noData().Condition)
		time.Sleep(20 * time.Second)
		require.Equal(t, ConditionPresent, noData().Condition, "silent again")
	})
}

// A Hub that was down has heard nobody, and blames no device for it before it
// has listened itself.
func TestRestartBlamesNoDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		v := HeartRate.Of("p1", 60)
		v.Device, v.Every = "mon-1", 5*time.Second
		_, err := w.hub.Publish(t.Context(), v)
		require.NoError(t, err)
		synctest.Wait()
		w.close()
		time.Sleep(time.Hour)
		w = newWorld(t, store, nil)
		defer w.close()
		time.Sleep(14 * time.Second)
		_, err = w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.ErrorIs(t, err, ErrNotFound)
		time.Sleep(3 * time.Second)
		a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, a.Condition)
	})
}
