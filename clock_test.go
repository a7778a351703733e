package carewire

import (
	"context"
	"log/slog"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// clocked is a Store with a clock that can be set, asked over a line that may
// be slow on the way there. The times are in nanoseconds.
type clocked struct {
	Store
	ahead, slow atomic.Int64
}

func (s *clocked) Now(context.Context) (time.Time, error) {
	time.Sleep(time.Duration(s.slow.Load()))
	return time.Now().Add(time.Duration(s.ahead.Load())), nil
}

// A clock that is set an hour back delays nothing by more than the ten seconds
// in which that is noticed; one that is set an hour ahead makes due entries
// come early, and once. (It is the Store's that jumps here: in a bubble the
// wall clock cannot. Hub.now is the sum of both.)
func TestClockIsSet(t *testing.T) {
	const margin = 12 * time.Second // until it is noticed, and the next poll
	hb := HeartRate.Of("p1", 60)
	hb.Device, hb.Every = "mon-1", 5*time.Second
	for _, step := range []time.Duration{-time.Hour, -10 * time.Minute, time.Hour} {
		for _, restarted := range []bool{false, true} {
			synctest.Test(t, func(t *testing.T) {
				t.Log(step, "restarted:", restarted)
				store, p := &clocked{Store: NewMemoryStore(nil)}, &pager{}
				options := &Options{Policy: threeSteps, Pager: p}
				store.ahead.Store(int64(-min(step, 0))) // a clock that is set back was ahead
				w := newWorld(t, store, options)
				defer func() { w.close() }()
				time.Sleep(11 * time.Second)

				_, err := w.hub.Raise(t.Context(), high("open"))
				require.NoError(t, err)
				a, err := w.hub.Raise(t.Context(), high("accepted"))
				require.NoError(t, err)
				_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), Answer{Do: AnswerAccept, For: 5 * time.Minute})
				require.NoError(t, err)
				_, err = w.hub.Publish(t.Context(), hb)
				require.NoError(t, err)
				synctest.Wait()
				p.told(time.Now())
				start := time.Now()
				store.ahead.Add(int64(step))
				if restarted {
					w.close()
					w = newWorld(t, store, options)
				}

				time.Sleep(15*time.Second + margin)
				silent, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
				require.NoError(t, err, "a device that fell silent as the clock was set")
				require.Equal(t, ConditionPresent, silent.Condition)
				require.Empty(t, levels(p, "open")[1], "was told before the clock was set")
				time.Sleep(15 * time.Second)
				require.Len(t, levels(p, "open")[2], 1, "due after thirty seconds")
				time.Sleep(time.Minute)
				require.Len(t, levels(p, "open")[3], 1, "due after a minute more")
				time.Sleep(5*time.Minute + margin - time.Since(start))
				require.NotEmpty(t, levels(p, "accepted"), "the acceptance has run out")
				for _, key := range []string{"open", "accepted"} {
					for level, to := range levels(p, key) {
						require.Len(t, to, 1, "%s %d: once", key, level)
					}
				}
			})
		}
	}
}

// A clock that jumps ahead makes no device look silent.
func TestClockAheadBlamesNoDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &clocked{Store: NewMemoryStore(nil)}
		w := newWorld(t, store, nil)
		defer w.close()
		v := HeartRate.Of("p1", 60)
		v.Device, v.Every = "mon-1", 5*time.Second
		time.Sleep(2 * time.Second) // the clock is read between two readings
		for n := range 30 {
			if n == 10 {
				store.ahead.Store(int64(time.Hour))
			}
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			time.Sleep(5 * time.Second)
		}
		_, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.ErrorIs(t, err, ErrNotFound)
	})
}

// An answer of the clock that took long says little: the last one holds. The first
// answer counts in any case.
func TestSlowAnswersOfTheStoresClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &clocked{Store: NewMemoryStore(nil)}
		store.ahead.Store(int64(time.Hour))
		store.slow.Store(int64(4 * time.Second))
		hub, err := New(AuthenticatorFunc(byToken), store, nil)
		require.NoError(t, err)
		defer hub.Shutdown(context.Background())
		ahead := func(after time.Duration) time.Duration {
			time.Sleep(after)
			synctest.Wait()
			return time.Until(hub.now()).Round(time.Second)
		}
		require.Equal(t, time.Hour+2*time.Second, ahead(5*time.Second))
		store.slow.Store(0)
		require.Equal(t, time.Hour, ahead(20*time.Second))
		store.slow.Store(int64(4 * time.Second))
		require.Equal(t, time.Hour, ahead(40*time.Second))
	})
}

// Entries that wait are brought forward after the clock was set back, even if
// the Store fails just then or the alert is raised again before.
func TestClockIsSetWhileMuchHappens(t *testing.T) {
	for _, raised := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			var refused atomic.Bool
			s := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
				if refused.Load() {
					return nil, errInjected
				}
				return next.Append(ctx, entries)
			}}
			p := &pager{}
			w := newWorld(t, s, &Options{Policy: threeSteps, Pager: p})
			defer w.close()
			w.hub.clock.skew.Store(int64(time.Hour)) // the wall clock is ahead, for in a bubble it cannot be
			time.Sleep(11 * time.Second)
			start := time.Now()
			_, err := w.hub.Raise(t.Context(), high("k"))
			require.NoError(t, err)
			time.Sleep(5 * time.Second)
			w.hub.clock.skew.Store(0)
			if raised {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "still", Priority: PriorityHigh})
				require.NoError(t, err)
			}
			time.Sleep(3 * time.Second)
			refused.Store(!raised)
			time.Sleep(5 * time.Second)
			refused.Store(false)
			time.Sleep(time.Minute - time.Since(start))
			require.Len(t, levels(p, "k")[2], 1, "raised again: %v", raised)
		})
	}
}

// A clock tells its Store's time. An answer that took long is believed only if
// nothing better is known, and steps move no ticks.
func TestClockFollowsItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &clocked{Store: NewMemoryStore(nil)}
		c := newClock(store, slog.New(slog.DiscardHandler))
		off := func() time.Duration { return time.Until(c.now()).Round(time.Second) }
		store.ahead.Store(int64(time.Hour))
		store.slow.Store(int64(4 * time.Second))
		before := c.ticks()
		require.True(t, c.compare(t.Context(), false), "the first answer")
		require.Equal(t, time.Hour+2*time.Second, off(), "it may be from any moment of the four seconds")
		require.EqualValues(t, 4*time.Second, c.ticks()-before)

		store.ahead.Store(int64(2 * time.Hour))
		require.False(t, c.compare(t.Context(), true), "too slow to be believed")
		require.Equal(t, time.Hour+2*time.Second, off())

		store.slow.Store(0)
		require.True(t, c.compare(t.Context(), true))
		require.Equal(t, 2*time.Hour, off())
		require.Equal(t, c.now(), c.awakeSince(), "no device was silent during the jump")

		own := newClock(store.Store, slog.New(slog.DiscardHandler))
		require.False(t, own.compare(t.Context(), false), "a Store without a clock")
		require.Equal(t, time.Now().UTC(), own.now())
	})
}

// bringForward is called at the start and after the clock was set back, until it
// has found nothing more to do, and not otherwise.
func TestClockBringsForward(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &clocked{Store: NewMemoryStore(nil)}
		c := newClock(store, slog.New(slog.DiscardHandler))
		var at []int // in seconds
		left, start := 0, time.Now()
		quit := make(chan struct{})
		go c.run(t.Context(), quit, func() (more bool) {
			at = append(at, int(time.Since(start).Seconds()))
			left--
			return left > 0
		})
		seen := func() []int {
			synctest.Wait()
			defer func() { at = nil }()
			return at
		}
		time.Sleep(35 * time.Second)
		require.Equal(t, []int{0}, seen())
		store.ahead.Store(int64(time.Hour))
		time.Sleep(30 * time.Second)
		require.Empty(t, seen(), "it was set ahead")
		left = 3
		store.ahead.Store(0)
		time.Sleep(60 * time.Second)
		require.Equal(t, []int{70, 80, 90}, seen())
		close(quit)
	})
}
