package carewire

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// longStore has a log of a million entries, of which one matches, and takes down
// how many numbers each Read may look through.
type longStore struct {
	*MemoryStore
	match uint64
	most  uint64
	reads int
}

func (s *longStore) Heads(_ context.Context, patients []string) ([]Head, error) {
	return []Head{{Patient: patients[0], Position: Position{"e", 1_000_000}}}, nil
}

func (s *longStore) Read(_ context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	s.reads++
	s.most = max(s.most, q.Last-after.Seq)
	if after.Seq < s.match && s.match <= q.Last {
		return []Entry{{Patient: patient, Position: Position{"e", s.match}, Kind: KindVital, Data: []byte(`{"patient":"p1","code":"8867-4","value":60,"unit":"/min","time":"2026-03-01T08:00:00Z"}`)}}, nil
	}
	return nil, nil
}

// A page of history looks through a bounded number of entries, even if few match;
// with its cursor, a caller gets through the whole log.
func TestHistoryLooksThroughSoMuch(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &longStore{MemoryStore: NewMemoryStore(nil), match: 777_777}
		w := newWorld(t, s, nil)
		defer w.close()
		found := 0
		q := HistoryQuery{Patient: "p1", Kinds: []Kind{KindVital}, From: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)}
		for pages := 1; ; pages++ {
			page, err := w.hub.History(t.Context(), q)
			require.NoError(t, err)
			found += len(page.Events)
			if page.Next == 0 {
				require.Equal(t, 20, pages)
				break
			}
			require.Greater(t, page.Next, q.Cursor)
			q.Cursor = page.Next
		}
		require.Equal(t, 1, found)
		require.Equal(t, 20, s.reads)
		require.Equal(t, uint64(historyNumbers), s.most)
		_, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Key: "k", Cursor: 1<<64 - 2})
		require.NoError(t, err)
	})
}
