package boltstore

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A commit that fails ends everything: its entries may be in the file or not,
// so they are neither confirmed nor shown.
func TestFailedCommit(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, small())
	add(t, s, vital("a", 1), vital("a", 2))
	readOnly, err := os.Open(path)
	require.NoError(t, err)
	require.NoError(t, syscall.Dup3(int(readOnly.Fd()), int(s.file.Fd()), syscall.O_CLOEXEC))

	again, err := s.Append(t.Context(), []carewire.Entry{vital("a", 1)})
	require.NoError(t, err)
	require.True(t, again[0].Repeated, "nothing had to be written for it")
	for range 2 {
		_, err = s.Append(t.Context(), []carewire.Entry{vital("a", 3)})
		require.ErrorIs(t, err, ErrFailed)
		_, err = s.Heads(t.Context(), []string{"a"})
		require.ErrorIs(t, err, ErrFailed)
	}
	require.ErrorIs(t, s.Close(), ErrFailed)
	require.NoError(t, readOnly.Close())

	s = open(t, path, small())
	require.Equal(t, uint64(3), add(t, s, vital("a", 3))[0].Seq)
	require.Len(t, readAll(t, s, "a"), 3)
}
