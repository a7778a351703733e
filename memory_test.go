package carewire_test

import (
	"context"
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/hubtest"
	"github.com/carewire/carewire/storetest"
)

var memoryTime = time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)

func TestMemoryStore(t *testing.T) {
	t.Parallel()
	storetest.Run(t, func(t *testing.T) carewire.Store {
		s := carewire.NewMemoryStore(nil)
		t.Cleanup(func() { require.NoError(t, s.Close()) })
		return s
	}, nil)
}

func BenchmarkMemoryStore(b *testing.B) {
	storetest.Bench(b, func(*testing.B) carewire.Store { return carewire.NewMemoryStore(nil) })
}

// Every MemoryStore has its own epoch, so that nobody takes one log for another.
func TestMemoryStoreEpoch(t *testing.T) {
	t.Parallel()
	n := carewire.Entry{Patient: "a", Kind: carewire.KindNotice}
	one, err := carewire.NewMemoryStore(nil).Append(t.Context(), []carewire.Entry{n})
	require.NoError(t, err)
	other, err := carewire.NewMemoryStore(nil).Append(t.Context(), []carewire.Entry{n})
	require.NoError(t, err)
	require.NotEqual(t, one[0].Epoch, other[0].Epoch)
}

// Each kind of each patient is bounded for itself; open entries and the newest
// vital of each key stay; IDs are remembered with their entries.
func TestMemoryStoreBounds(t *testing.T) {
	t.Parallel()
	s := carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: 20, Others: 8})
	add := func(e carewire.Entry) carewire.AppendResult {
		got, err := s.Append(t.Context(), []carewire.Entry{e})
		require.NoError(t, err)
		require.NoError(t, got[0].Err)
		return got[0]
	}
	count := func(kind carewire.Kind, after uint64) []carewire.Entry {
		entries, err := s.Read(t.Context(), "a", carewire.Position{Seq: after}, carewire.ReadQuery{Kinds: []carewire.Kind{kind}})
		require.NoError(t, err)
		return entries
	}
	open := add(carewire.Entry{Patient: "a", Kind: carewire.KindAlert, Key: "x", Rev: 1, Open: true})
	quiet := add(carewire.Entry{Patient: "a", Kind: carewire.KindVital, Key: "quiet", Time: memoryTime})
	first := carewire.Entry{Patient: "a", Kind: carewire.KindVital, Key: "hr", Sender: "s", ID: "0", Time: memoryTime}
	last := add(first)
	for i := 1; i < 500; i++ {
		v := first
		v.ID, v.Time = fmt.Sprint(i), memoryTime.Add(time.Duration(i))
		last = add(v)
	}
	_, err := s.Read(t.Context(), "a", carewire.Position{}, carewire.ReadQuery{})
	require.ErrorIs(t, err, carewire.ErrGap)
	vitals := count(carewire.KindVital, last.Seq-19)
	require.Len(t, vitals, 19, "the newest are kept")
	_, err = s.Read(t.Context(), "a", carewire.Position{Seq: last.Seq - 26}, carewire.ReadQuery{})
	require.ErrorIs(t, err, carewire.ErrGap, "no more than a quarter beyond the bound is kept")
	newest, err := s.Get(t.Context(), "a", "quiet")
	require.NoError(t, err)
	require.Equal(t, quiet.Position, newest.Position)
	require.Equal(t, []uint64{open.Seq}, []uint64{count(carewire.KindAlert, 0)[0].Seq})
	require.False(t, add(first).Repeated, "its ID went with it")

	for range 100 {
		add(carewire.Entry{Patient: "a", Kind: carewire.KindNotice})
		add(carewire.Entry{Patient: "b", Kind: carewire.KindNotice})
	}
	require.Len(t, count(carewire.KindAlert, 0), 1, "other kinds do not push it out")
	head, err := s.Heads(t.Context(), []string{"b"})
	require.NoError(t, err)
	require.Equal(t, uint64(100), head[0].Must)

	for range 100 { // an ended state of a key goes like any other entry
		add(carewire.Entry{Patient: "b", Kind: carewire.KindAlert, Key: "over", Rev: 0})
		add(carewire.Entry{Patient: "b", Kind: carewire.KindAlert})
	}
	for range 20 {
		add(carewire.Entry{Patient: "b", Kind: carewire.KindAlert})
	}
	_, err = s.Get(t.Context(), "b", "over")
	require.ErrorIs(t, err, carewire.ErrNotFound)
}

// The list of changes loses the entries that were written again, and nothing
// else.
func TestMemoryStoreForgetsOldChanges(t *testing.T) {
	t.Parallel()
	s := carewire.NewMemoryStore(nil)
	batch := []carewire.Entry{{Patient: "still", Kind: carewire.KindAlert, Key: "x", Open: true}}
	for i := range 10_000 {
		batch = append(batch, carewire.Entry{Patient: fmt.Sprint("p", i%10), Kind: carewire.KindAlert, Key: "x", Open: true})
	}
	_, err := s.Append(t.Context(), batch)
	require.NoError(t, err)
	entries, _, err := s.Changed(t.Context(), "", 100)
	require.NoError(t, err)
	require.Len(t, entries, 11)
	require.Equal(t, "still", entries[0].Patient)
}

// Monitors of 1,000 patients, each sending batches of 4 vitals.
func BenchmarkMemoryStoreAppend(b *testing.B) {
	s := carewire.NewMemoryStore(nil)
	var n atomic.Int64
	b.ReportAllocs()
	b.RunParallel(func(pb *testing.PB) {
		batch := make([]carewire.Entry, 4)
		for pb.Next() {
			i := n.Add(1)
			for k := range batch {
				batch[k] = carewire.Entry{
					Patient: fmt.Sprint("p", i%1000), Kind: carewire.KindVital, Key: [...]string{"hr", "spo2", "rr", "bp"}[k], Sender: "m",
					ID: fmt.Sprint(i, k), Time: memoryTime.Add(time.Duration(i)), Received: memoryTime, Data: make([]byte, 200),
				}
			}
			if _, err := s.Append(context.Background(), batch); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.ReportMetric(float64(4*b.N)/b.Elapsed().Seconds(), "vitals/s")
}

// 100,000 alerts wait, of which 1,000 are asked for.
func BenchmarkMemoryStoreWaiting(b *testing.B) {
	s := carewire.NewMemoryStore(nil)
	for i := range 100_000 {
		e := carewire.Entry{Patient: fmt.Sprint("p", i%1000), Kind: carewire.KindAlert, Key: fmt.Sprint(i), Open: true, Due: memoryTime.Add(time.Duration(i * 7919 % 100_000))}
		if _, err := s.Append(b.Context(), []carewire.Entry{e}); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		if _, err := s.Waiting(b.Context(), memoryTime.Add(time.Hour), 0); err != nil {
			b.Fatal(err)
		}
	}
}

func TestAccessEnds(t *testing.T) { hubtest.Access(t, carewire.NewMemoryStore(nil)) }

func TestRetention(t *testing.T) {
	hubtest.Retention(t, func(*testing.T) hubtest.Keeper { return carewire.NewMemoryStore(nil) })
}
