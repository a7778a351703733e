package carewire

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInsistKeepsOneRetryOfEachKey(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackground()
		var old, other, newest atomic.Int32
		failing := func(n *atomic.Int32, until int32) func(context.Context) error {
			return func(context.Context) error {
				if n.Add(1) <= until {
					return ErrUnavailable
				}
				return nil
			}
		}
		b.retryUntilDone(t.Context(), "a", failing(&old, 1000))
		b.retryUntilDone(t.Context(), "b", failing(&other, 1))
		for range 100 {
			b.retryUntilDone(t.Context(), "a", failing(&newest, 101))
		}
		time.Sleep(time.Minute)
		synctest.Wait()
		require.EqualValues(t, 1, old.Load(), "replaced before its second try")
		require.EqualValues(t, 2, other.Load())
		require.EqualValues(t, 102, newest.Load(), "a hundred first tries, and one goroutine that tries again")
		require.Empty(t, b.retries)
		require.NoError(t, b.end(t.Context()))
	})
}

func TestInsistGivesUpHopelessWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackground()
		for _, err := range []error{nil, ErrForbidden, ErrConflict, errors.New("other")} {
			n := 0
			b.retryUntilDone(t.Context(), "a", func(context.Context) error { n++; return err })
			time.Sleep(time.Minute)
			require.Equal(t, 1, n, err)
		}
		require.NoError(t, b.end(t.Context()))
	})
}

func TestEndWaitsForAllThatWasStarted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackground()
		var ended atomic.Bool
		require.True(t, b.start(func() {
			<-b.quit
			time.Sleep(time.Second)
			ended.Store(true)
		}))
		b.retryUntilDone(t.Context(), "never", func(context.Context) error { return ErrFull })
		require.NoError(t, b.end(t.Context()))
		require.True(t, ended.Load())
		require.Error(t, b.ctx.Err())
		require.False(t, b.start(func() { t.Error("started after the end") }))
		require.NoError(t, b.end(t.Context()), "once more")
	})
}

func TestEndGivesUpHangingWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackground()
		b.start(func() { <-b.ctx.Done() })
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		require.ErrorIs(t, b.end(ctx), context.DeadlineExceeded)
		synctest.Wait()
	})
}
