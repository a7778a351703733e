package boltstore

import (
	"bytes"
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// withEndedKeys returns a store with one open alert and one vital of patient "a",
// beside so many keys that have ended.
func withEndedKeys(t testing.TB, s *Store, n int) {
	var batch []carewire.Entry
	for i := range n {
		e := alert("a", fmt.Sprint("k", i), 0)
		e.ID, e.Open = fmt.Sprint("ended", i), false
		batch = append(batch, e)
	}
	for _, b := range [][]carewire.Entry{append(batch, alert("a", "open", 1)), {vital("a", 1)}} {
		results, err := s.Append(t.Context(), b)
		require.NoError(t, err)
		for _, r := range results {
			require.NoError(t, r.Err)
		}
	}
}

// Latest reads no key that has ended: not even damage there shows in it.
func TestLatestReadsNoEndedKeys(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	withEndedKeys(t, s, 500)
	damaged := 0
	require.NoError(t, s.update(func(v view) error {
		states := v.bucket("states")
		var keys [][]byte
		err := states.ForEach(func(k, _ []byte) error {
			if bytes.HasPrefix(k[8:], []byte("k")) {
				keys = append(keys, bytes.Clone(k))
			}
			return nil
		})
		for _, k := range keys {
			damaged++
			require.NoError(t, states.Put(k, []byte("damaged")))
		}
		return err
	}))
	require.Equal(t, 500, damaged)
	for range 2 {
		found, _, err := s.Latest(t.Context(), "a")
		require.NoError(t, err)
		require.Len(t, found, 2)
		settle(t, s)
	}
	_, err := s.Get(t.Context(), "a", "k7")
	require.ErrorIs(t, err, ErrCorrupt)
}

// A key that ends leaves the index, and one that opens again comes back.
func TestLatestFollowsKeys(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	listed := func() (n int) {
		require.NoError(t, s.view(t.Context(), nil, func(v view) error {
			n = v.bucket("live").Stats().KeyN
			return nil
		}))
		return n
	}
	for rev := uint64(1); rev <= 6; rev++ {
		e := alert("a", "x", rev)
		e.ID, e.Open = fmt.Sprint("x", rev), rev%2 == 1
		add(t, s, e)
		found, _, err := s.Latest(t.Context(), "a")
		require.NoError(t, err)
		require.Len(t, found, int(rev%2))
		require.Equal(t, int(rev%2), listed())
	}
}

// A file of version 3 has no index of the states that Latest shows, or the rest of
// one that was interrupted: Open makes it.
func TestLatestOfAnOldFile(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, small())
	withEndedKeys(t, s, 20)
	require.NoError(t, s.Close())
	db, err := bbolt.Open(path, 0o600, nil)
	require.NoError(t, err)
	require.NoError(t, db.Update(func(tx *bbolt.Tx) error {
		require.NoError(t, tx.DeleteBucket([]byte("live")))
		live, err := tx.CreateBucket([]byte("live"))
		require.NoError(t, err)
		require.NoError(t, put(live, stateKey(1, "k3"), nil))
		return put(tx.Bucket([]byte("meta")), []byte("version"), []byte{3})
	}))
	require.NoError(t, db.Close())
	for range 2 {
		s = open(t, path, small())
		require.NoError(t, s.Checked(t.Context()))
		found, _, err := s.Latest(t.Context(), "a")
		require.NoError(t, err)
		require.Len(t, found, 2)
		require.NoError(t, s.Close())
	}
	require.NoError(t, Verify(path))
}

func BenchmarkLatest(b *testing.B) {
	for _, n := range []int{0, 100_000} {
		b.Run(fmt.Sprint("ended=", n), func(b *testing.B) {
			s, err := Open(b.TempDir()+"/store", nil)
			require.NoError(b, err)
			defer s.Close()
			withEndedKeys(b, s, n)
			b.ReportAllocs()
			for b.Loop() {
				_, _, err := s.Latest(b.Context(), "a")
				require.NoError(b, err)
			}
		})
	}
}
