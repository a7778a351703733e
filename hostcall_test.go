package carewire

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// Appends and calls of the host's code are traced, those that panic too, and
// each ends once.
func TestTrace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type spanKey struct{}
		var mu sync.Mutex
		began, ended, failed := map[string]int{}, map[string]int{}, map[string]int{}
		o := &Options{
			Trace: func(ctx context.Context, operation string) (context.Context, func(error)) {
				mu.Lock()
				defer mu.Unlock()
				began[operation]++
				return context.WithValue(ctx, spanKey{}, operation), func(err error) {
					mu.Lock()
					defer mu.Unlock()
					ended[operation]++
					if err != nil {
						failed[operation]++
					}
				}
			},
			Authorizer: authorizer(func(ctx context.Context, a Access) ([]Decision, error) {
				require.Equal(t, "authorize", ctx.Value(spanKey{}), "the context is the trace's")
				return nil, errors.New("down")
			}),
			Pager: pagerFunc(func(context.Context, Page) error { panic("x") }),
		}
		w := newWorld(t, nil, o)
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh, To: []string{"person:nurse"}})
		require.NoError(t, err)
		w.dial("nurse").ask(`{"type":"watch","req":"1","patients":["p1"]}`)
		synctest.Wait()
		w.close()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, began, ended)
		for _, operation := range []string{"append", "authorize", "page"} {
			require.Positive(t, began[operation], operation)
		}
		require.Equal(t, began["page"], failed["page"])
		require.Equal(t, began["authorize"], failed["authorize"])
		require.Zero(t, failed["append"])
	})
}
