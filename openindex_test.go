package carewire

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"
)

// bulkStore looks up many keys at once, and counts how it is asked.
type bulkStore struct {
	*MemoryStore
	gets, bulks atomic.Int64
}

func (s *bulkStore) Get(ctx context.Context, patient, key string) (Entry, error) {
	s.gets.Add(1)
	return s.MemoryStore.Get(ctx, patient, key)
}

func (s *bulkStore) States(ctx context.Context, keys []StateKey) (found []Entry, err error) {
	s.bulks.Add(1)
	for _, k := range keys {
		e, err := s.MemoryStore.Get(ctx, k.Patient, k.Key)
		if err == nil {
			found = append(found, e)
		} else if !errors.Is(err, ErrNotFound) {
			return nil, err
		}
	}
	return found, nil
}

// A Hub that starts looks up the readers of open alerts and notices, and asks for many
// readings at once where the Store can answer that.
func TestReadingsAreFoundInBulk(t *testing.T) {
	for _, bulk := range []bool{true, false} {
		synctest.Test(t, func(t *testing.T) {
			memory := NewMemoryStore(nil)
			w := newWorld(t, memory, nil)
			const notices = 1200
			for i := range notices {
				_, err := w.hub.Notify(t.Context(), Notice{Patient: "p1", ID: fmt.Sprint("n", i), To: []string{"person:nurse", "person:doctor"}, Text: "x"})
				require.NoError(t, err)
			}
			r := w.dial("nurse")
			for i := range 700 {
				require.Equal(t, "ok", r.ask(fmt.Sprintf(`{"type":"receipt","req":"r%d","patient":"p1","notice_id":"n%d","stage":"read"}`, i, i))["type"])
			}
			r.ws.CloseNow()
			w.close()

			s := &bulkStore{MemoryStore: memory}
			var store Store = s
			if !bulk {
				store = struct{ Store }{s}
			}
			w = newWorld(t, store, nil)
			defer w.close()
			synctest.Wait()
			require.Equal(t, notices-700, w.hub.open.countTo([]string{"person:nurse"}, []string{"p1"}))
			require.Equal(t, notices, w.hub.open.countTo([]string{"person:doctor"}, []string{"p1"}))
			if bulk {
				require.LessOrEqual(t, s.bulks.Load(), int64(8))
				require.Zero(t, s.gets.Load())
			}
		})
	}
}
