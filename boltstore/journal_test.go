package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// journals returns the counts of the journals in the file.
func journals(t *testing.T, s *Store) (counts []uint64) {
	t.Helper()
	require.NoError(t, s.view(t.Context(), nil, func(v view) error {
		return v.bucket("journal").ForEach(func(k, _ []byte) error {
			d := decoder{b: k}
			if count := d.uint64(); len(counts) == 0 || counts[len(counts)-1] != count {
				counts = append(counts, count)
			}
			return nil
		})
	}))
	return counts
}

// The journals that are kept are bounded. Patients who have waited longest are
// settled first, and one with many vitals at once.
func TestSettling(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	s.maxJournals = 10_000
	n := 0
	for round := range 100 {
		var batch []carewire.Entry
		for p := range 10 {
			n++
			batch = append(batch, vital(fmt.Sprint("p", p), n))
		}
		if round == 50 {
			batch = append(batch, vital("seldom", 0))
		}
		add(t, s, batch...)
		require.LessOrEqual(t, len(journals(t, s)), 6)
		if round > 20 {
			since := map[uint64]bool{}
			for _, p := range s.live {
				since[p.since] = true
			}
			require.Greater(t, len(since), 1, "they are settled a few at a time")
		}
	}
	for p := range 10 {
		require.Len(t, readAll(t, s, fmt.Sprint("p", p)), 100)
	}
	require.Len(t, readAll(t, s, "seldom"), 1)
	require.Nil(t, s.live["seldom"])

	s.maxJournals = 1 << 20
	large := vital("large", 0)
	large.Data = make([]byte, maxUnsettled)
	add(t, s, large)
	require.NotNil(t, s.live["large"])
	add(t, s, vital("p0", 0))
	require.Nil(t, s.live["large"])
}

// Entries that were not settled when the store was closed are there again, and
// were not before they are needed.
func TestReplay(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	want := fill(t, path)
	s := open(t, path, small())
	require.Len(t, s.live, 5)
	require.Len(t, s.live["p1"].unsettled, 40)
	got, err := ask(t, s)
	require.NoError(t, err)
	require.Equal(t, want, got)
	again, err := s.Append(t.Context(), []carewire.Entry{vital("p1", 1)})
	require.NoError(t, err)
	require.True(t, again[0].Repeated)
	settle(t, s)
	require.NoError(t, s.Close())
	s = open(t, path, small())
	require.Empty(t, s.live, "the journal is still there, but settled")
	require.Len(t, journals(t, s), 1)
	got, err = ask(t, s)
	require.NoError(t, err)
	require.Equal(t, want, got)
}

// A vital that is in the journal does not take the place of a vital that was
// written after it, when it is read again.
func TestReplayInOrder(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, small())
	over := alert("a", "x", 1)
	over.Open, over.Due, over.Time = false, time.Time{}, start.Add(-time.Hour)
	v := vital("a", 1)
	v.Key = "x"
	_, mark, err := s.Changed(t.Context(), "", 0)
	require.NoError(t, err)
	add(t, s, v, over)
	for range 2 {
		got, err := s.Get(t.Context(), "a", "x")
		require.NoError(t, err)
		require.Equal(t, carewire.KindAlert, got.Kind)
		changed, _, err := s.Changed(t.Context(), mark, 0)
		require.NoError(t, err)
		require.Len(t, changed, 1)
		require.NoError(t, s.Close())
		s = open(t, path, small())
		require.Len(t, s.live, 1)
	}
	v.ID = "again"
	add(t, s, v)
	changed, _, err := s.Changed(t.Context(), mark, 0)
	require.NoError(t, err)
	require.Empty(t, changed, "the alert is the newest of its key no more")
}

// Entries that are pruned from a patient's log are forgotten in memory, too.
func TestPruneOfLive(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	add(t, s, vital("a", 1))
	over := alert("a", "x", 1)
	over.Open, over.Due = false, time.Time{}
	add(t, s, over)
	p := pruner{store: s, now: start.Add(time.Hour), before: start.Add(time.Minute), logs: []prunedLog{{patient: "a", class: undroppable}}}
	require.NoError(t, s.pruneSteps(t.Context(), p.log))
	require.Len(t, s.live, 1)
	_, err := s.Get(t.Context(), "a", "x")
	require.ErrorIs(t, err, carewire.ErrNotFound)
	over.ID = "again"
	add(t, s, over)
}

// A journal that is damaged, or not there, is found when the store is opened.
func TestDamagedJournal(t *testing.T) {
	t.Parallel()
	for name, damage := range map[string]func(journals *bbolt.Bucket) error{
		"value": func(j *bbolt.Bucket) error {
			part := append([]byte{}, j.Get(partKey(2, 0))...)
			part[20] ^= 1
			return j.Put(partKey(2, 0), part)
		},
		"piece":  func(j *bbolt.Bucket) error { return j.Delete(partKey(3, 1)) },
		"first":  func(j *bbolt.Bucket) error { return deleteLong(j, countKey(1)) },
		"middle": func(j *bbolt.Bucket) error { return deleteLong(j, countKey(2)) },
		"last":   func(j *bbolt.Bucket) error { return deleteLong(j, countKey(3)) },
		"order": func(j *bbolt.Bucket) error {
			sealed := append([]byte{}, j.Get(partKey(1, 0))...)
			entries := sealed[:len(sealed)-4]
			return j.Put(partKey(2, 0), seal(countKey(2), entries))
		},
	} {
		path := newPath(t)
		s := open(t, path, small())
		add(t, s, vital("a", 1))
		add(t, s, vital("a", 2))
		large := vital("a", 3)
		large.Data = make([]byte, 2*piece)
		add(t, s, large)
		require.NoError(t, s.update(func(v view) error { return damage(v.bucket("journal")) }))
		require.NoError(t, s.Close())
		_, err := Open(path, small())
		require.ErrorIs(t, err, ErrCorrupt, name)
	}
}

func partKey(count uint64, n uint32) []byte { return binary.BigEndian.AppendUint32(countKey(count), n) }

// checkPieces wants no value to be longer than four of which share a page, and
// the digests of each piece to be sorted and to belong there.
func checkPieces(t *testing.T, s *Store) {
	t.Helper()
	require.NoError(t, s.view(t.Context(), nil, func(v view) error {
		last := digest{}
		return v.tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
			return b.ForEach(func(k, value []byte) error {
				require.LessOrEqual(t, 4*(16+len(k)+len(value))+16, 4096, "%s", name)
				if string(name) != "vitalids" {
					return nil
				}
				list, err := unseal(k, value)
				require.NoError(t, err)
				require.NotEmpty(t, list)
				for record := range slices.Chunk(list, idRecordLen) {
					require.Negative(t, bytes.Compare(last[:], record[:digestLen]))
					last = digest(record)
				}
				require.LessOrEqual(t, bytes.Compare(last[:], k[8:]), 0)
				if digest(k[8:]) == lastDigest {
					last = digest{}
				}
				return nil
			})
		})
	}))
}

// IDs of settled vitals are known for as long as the vitals, however many there
// are.
func TestManyIDs(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, small())
	const n, each = 4000, 100
	var all []carewire.Entry
	for i := range n {
		all = append(all, vital("a", i))
	}
	const newest = n - 1 // it is kept, however old
	all[newest].Time = start.AddDate(0, 1, 0)
	for i := 0; i < n; i += each {
		add(t, s, all[i:i+each]...)
		settle(t, s)
	}
	require.NoError(t, s.Close())
	s = open(t, path, small())
	checkPieces(t, s)
	for _, known := range []bool{true, false} {
		got, err := s.Append(t.Context(), all)
		require.NoError(t, err)
		for i, a := range got {
			require.Equal(t, known || i == newest, a.Repeated, i)
		}
		other := all[newest]
		other.Sum[3]++
		got, err = s.Append(t.Context(), []carewire.Entry{other})
		require.NoError(t, err)
		require.ErrorIs(t, got[0].Err, carewire.ErrIDReused)
		require.NoError(t, s.Prune(t.Context(), start.AddDate(1, 0, 0), carewire.Retention{Vitals: 1}))
	}
}
