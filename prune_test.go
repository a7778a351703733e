package carewire

import (
	"bytes"
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// growing is a Store that grows by 1,000 bytes an hour, and remembers how it was
// pruned.
type growing struct {
	*MemoryStore
	began  time.Time
	pruned []Retention
}

func (s *growing) Size(context.Context) (StoreSize, error) {
	used := int64(time.Since(s.began).Hours() * 1000)
	return StoreSize{Used: used, Free: 100_000 - used}, nil
}

func (s *growing) Prune(_ context.Context, _ time.Time, keep Retention) error {
	s.pruned = append(s.pruned, keep)
	return nil
}

func TestDefaultRetention(t *testing.T) {
	const day = 24 * time.Hour
	for _, c := range []struct {
		set, want Retention
		said      string
		prunes    int
	}{
		{Retention{}, Retention{Vitals: 30 * day}, "vitals=720h0m0s others=\"for ever\"", 2},
		{Retention{Vitals: -1}, Retention{}, "vitals=\"for ever\" others=\"for ever\"", 0},
		{Retention{Vitals: -1, Others: day}, Retention{Others: day}, "vitals=\"for ever\" others=24h0m0s", 2},
		{Retention{Vitals: day, Others: -1}, Retention{Vitals: day}, "vitals=24h0m0s others=\"for ever\"", 2},
	} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			s := &growing{MemoryStore: NewMemoryStore(nil), began: time.Now()}
			w := newWorld(t, s, &Options{Retention: c.set, Logger: slog.New(slog.NewTextHandler(&log, nil))})
			time.Sleep(20*time.Minute + time.Second)
			synctest.Wait()
			w.close()
			require.Contains(t, log.String(), c.said)
			require.Len(t, s.pruned, c.prunes)
			for _, keep := range s.pruned {
				require.Equal(t, c.want, keep)
			}
		})
	}
}

func TestStoreSize(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, &growing{MemoryStore: NewMemoryStore(nil), began: time.Now()}, nil)
		defer w.close()
		synctest.Wait()
		s := w.hub.Stats()
		require.Zero(t, s.StoreBytes)
		require.Zero(t, s.StoreFullIn, "not known yet")
		time.Sleep(50*time.Hour + time.Second)
		s = w.hub.Stats()
		require.InDelta(t, 50_000, s.StoreBytes, 20)
		require.InDelta(t, 24_000, s.StoreGrowth, 20)
		require.InDelta(t, 50, s.StoreFullIn.Hours(), 0.1)
		require.LessOrEqual(t, len(w.hub.janitor.sizes), 27)

		other := newWorld(t, nil, nil)
		defer other.close()
		time.Sleep(time.Hour)
		require.Zero(t, other.hub.Stats().StoreBytes, "a store that does not know")
	})
}
