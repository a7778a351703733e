package carewire

import (
	"context"
	"slices"
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
		return []Entry{{Patient: patient, Position: Position{"e", s.match}, Kind: KindVital, Time: wireTime, Data: []byte(`{"patient":"p1","code":"8867-4","value":60,"unit":"/min","time":"2026-03-01T08:00:00Z"}`)}}, nil
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
		for _, q := range []HistoryQuery{
			{Kinds: []Kind{KindVital}, From: time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)},
			{Kinds: []Kind{KindVital}},
			{Kinds: []Kind{KindVital, KindAccess}},
		} {
			found := 0
			q.Patient, s.reads, s.most = "p1", 0, 0
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
		}
		page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindAccess}})
		require.NoError(t, err)
		require.Zero(t, page.Next, "vitals that nobody asks for make no pages")
		_, err = w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Key: "k", Cursor: 1<<64 - 2})
		require.NoError(t, err)
	})
}

// queryStore notes by which queries it is read.
type queryStore struct {
	*MemoryStore
	queries []ReadQuery
}

func (s *queryStore) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	noted := q
	noted.Last -= min(after.Seq, q.Last)
	s.queries = append(s.queries, noted)
	return s.MemoryStore.Read(ctx, patient, after, q)
}

// Whatever history is asked for, the Store looks through a bounded number of entries
// for each page: numbers if vitals are wanted, else undroppable entries. Together the
// pages have all that matches.
func TestHistoryOfKindsIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &queryStore{MemoryStore: NewMemoryStore(&MemoryOptions{Vitals: -1, Others: -1})}
		w := newWorld(t, s, nil)
		defer w.close()
		now := time.Now()
		var all []Entry
		add := func(e Entry) {
			e.Patient, e.Audience, e.Time, e.Received = "p1", AudienceStaff, now.Add(time.Duration(len(all))*time.Second), now
			all = append(all, e)
		}
		for i := range 3000 {
			add(Entry{Kind: KindReceipt, Data: []byte(`{"patient":"p1","alert_id":"a","stage":"read","at":"2026-03-01T08:00:00Z"}`)})
			add(Entry{Kind: KindVital, Data: []byte(`{"patient":"p1","code":"8867-4","value":60,"unit":"/min","time":"2026-03-01T08:00:00Z"}`)})
			if i%1000 == 500 {
				add(Entry{Kind: KindAccess, Key: "x/one", Open: true, Data: []byte(`{"kind":"paused","patients":["p1"]}`)})
				add(Entry{Kind: KindStrip, Key: "s/k", Data: []byte(`{}`)})
				add(Entry{Kind: KindTimer, Data: []byte(`{}`)})
			}
		}
		_, err := s.Append(t.Context(), all)
		require.NoError(t, err)
		kinds := func(k ...Kind) []Kind { return k }
		for name, q := range map[string]HistoryQuery{
			"all":                 {},
			"vitals":              {Kinds: kinds(KindVital)},
			"access":              {Kinds: kinds(KindAccess)},
			"access and vitals":   {Kinds: kinds(KindAccess, KindVital)},
			"strips":              {Kinds: kinds(KindStrip)},
			"alerts, never":       {Kinds: kinds(KindAlert)},
			"receipts from":       {Kinds: kinds(KindReceipt), From: now.Add(4000 * time.Second), To: now.Add(4100 * time.Second)},
			"access, small pages": {Kinds: kinds(KindAccess), Limit: 1},
			"key":                 {Kinds: kinds(KindAlert, KindAccess), Key: "k"},
		} {
			q.Patient, s.queries = "p1", nil
			want := 0
			m := ReadQuery{Kinds: q.Kinds, From: q.From, To: q.To}
			for i := range all {
				k := all[i].Kind
				if m.matches(&all[i]) && q.Key == "" && k != KindTimer && (k != KindStrip || len(q.Kinds) > 0) {
					want++
				}
			}
			got := 0
			for pages := 0; ; pages++ {
				require.Less(t, pages, 100, name)
				list, next, err := w.hub.historyPage(t.Context(), &q, nil)
				require.NoError(t, err, name)
				got += len(list)
				if next == 0 {
					break
				}
				require.Greater(t, next, q.Cursor, name)
				q.Cursor = next
			}
			require.Equal(t, want, got, name)
			for _, r := range s.queries {
				numbers := r.Last > 0 && r.Last <= historyNumbers
				entries := (slices.Equal(r.Kinds, smallEvents) || slices.Equal(r.Kinds, undroppable)) && r.Key == "" && r.From.IsZero() && r.To.IsZero() && r.Limit <= historyEntries
				require.True(t, numbers || entries, "%s: %+v", name, r)
			}
		}
	})
}

// That entries of another kind are no longer kept is no gap in those that are asked for.
func TestHistoryBehindAPrunedKind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := NewMemoryStore(nil)
		w := newWorld(t, s, nil)
		defer w.close()
		now := time.Now()
		_, err := s.Append(t.Context(), []Entry{
			{Patient: "p1", Kind: KindReceipt, Audience: AudienceStaff, Received: now, Data: []byte(`{}`)},
			{Patient: "p1", Kind: KindAccess, Key: "x/one", Open: true, Audience: AudienceStaff, Received: now, Data: []byte(`{}`)},
		})
		require.NoError(t, err)
		require.NoError(t, s.Prune(t.Context(), now.Add(2*time.Hour), Retention{Others: time.Hour}))
		list, next, err := w.hub.historyPage(t.Context(), &HistoryQuery{Patient: "p1", Kinds: []Kind{KindAccess}}, nil)
		require.NoError(t, err)
		require.Zero(t, next)
		require.Len(t, list, 1)
		_, _, err = w.hub.historyPage(t.Context(), &HistoryQuery{Patient: "p1", Kinds: []Kind{KindReceipt}}, nil)
		require.ErrorIs(t, err, ErrGap)
	})
}
