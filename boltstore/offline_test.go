package boltstore

import (
	"bytes"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// Inspect counts the entries that were written, settled or not, and leaves
// alone a store that is in use.
func TestInspect(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	_, err := Inspect(path)
	require.ErrorIs(t, err, os.ErrNotExist)
	s := open(t, path, small())
	add(t, s, vital("a", 1), vital("a", 2), vital("b", 1), alert("b", "k", 1), alert("b", "l", 1))
	ended := alert("b", "l", 2)
	ended.Open = false
	add(t, s, ended)
	_, err = Inspect(path)
	require.ErrorIs(t, err, ErrLocked)
	require.ErrorIs(t, Verify(path), ErrLocked)
	require.NoError(t, s.Close())

	before, err := os.ReadFile(path)
	require.NoError(t, err)
	r, err := Inspect(path)
	require.NoError(t, err)
	require.NoError(t, Verify(path))
	require.Equal(t, int64(len(before)), r.Bytes)
	require.Greater(t, r.Bytes, r.Used)
	require.Positive(t, r.Used)
	r.Bytes, r.Used = 0, 0
	require.Equal(t, Report{Epochs: 1, Patients: 2, Vitals: 3, Others: 3, Open: 1, Waiting: 1}, r)
	after, err := os.ReadFile(path)
	require.NoError(t, err)
	require.True(t, bytes.Equal(before, after), "the file was written to")

	require.NoError(t, os.WriteFile(path, []byte("no store, "+string(make([]byte, 1<<14))), 0o600))
	require.ErrorIs(t, Verify(path), ErrVersion)
}

// Verify finds a changed value in any bucket, and an entry that is missing.
func TestVerify(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	for _, name := range bucketNames {
		fill(t, path)
		s := open(t, path, small())
		if name != "journal" {
			settle(t, s)
		}
		if name == "pruned" || name == "expiry" {
			require.NoError(t, s.update(func(v view) error {
				return put(v.bucket(name), append(numKey(1), byte(carewire.KindVital)), make([]byte, 8))
			}))
		}
		require.NoError(t, s.Close())
		require.NoError(t, Verify(path), name)

		s = open(t, path, small())
		require.NoError(t, s.update(func(v view) error {
			k, value := v.bucket(name).Cursor().First()
			value = bytes.Clone(value)
			value[len(value)-1] ^= 1
			return v.bucket(name).Put(bytes.Clone(k), value)
		}))
		require.NoError(t, s.Close())
		require.ErrorIs(t, Verify(path), ErrCorrupt, name)
		require.NoError(t, os.Remove(path))
	}

	fill(t, path)
	s := open(t, path, small())
	settle(t, s)
	require.NoError(t, s.update(func(v view) error {
		return v.bucket("log").Delete(logKey(1, undroppable, 2))
	}))
	require.NoError(t, s.Close())
	_, err := Inspect(path)
	require.NoError(t, err, "Inspect does not read the logs")
	require.ErrorIs(t, Verify(path), ErrCorrupt)
}
