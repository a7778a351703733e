package carewire

import (
	"context"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// clockStore has a clock that is an hour ahead, and is asked over a line that
// may be slow on the way there.
type clockStore struct {
	Store
	slow atomic.Int64
}

func (c *clockStore) Now(context.Context) (time.Time, error) {
	time.Sleep(time.Duration(c.slow.Load()))
	return time.Now().Add(time.Hour), nil
}

// A clock that took long to answer says little: what it said before holds. The
// first answer counts however long it took.
func TestSlowAnswersOfTheStoresClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &clockStore{Store: NewMemoryStore(nil)}
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
