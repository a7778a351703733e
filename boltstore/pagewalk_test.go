package boltstore

import (
	"encoding/binary"
	"os"
	"slices"
	"testing"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// A key of a page that leads to others, greater than all that it leads to, is
// found before bbolt sees it, which would end the process.
func TestDamagedBranch(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, small())
	for i := range 10 {
		var batch []carewire.Entry
		for n := range 300 {
			batch = append(batch, vital("a", 300*i+n))
		}
		add(t, s, batch...)
		settle(t, s)
	}
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	size := int(s.pageSize)
	found := 0
	require.NoError(t, s.db.View(func(tx *bbolt.Tx) error {
		for id := 2; id*size < int(tx.Size()); id++ {
			info, err := tx.Page(id)
			require.NoError(t, err)
			if info.Type != "branch" || info.Count < 2 {
				continue
			}
			damage := slices.Clone(whole)
			at := id*size + pageHeader + pageElement
			pos, n := int(binary.NativeEndian.Uint32(damage[at:])), int(binary.NativeEndian.Uint32(damage[at+4:]))
			damage[at+pos+n-1]++
			damaged := newPath(t)
			require.NoError(t, os.WriteFile(damaged, damage, 0o600))
			if b, err := Open(damaged, small()); err == nil { // the page begins later than it could
				require.NoError(t, b.Close())
			} else {
				require.ErrorIs(t, err, ErrCorrupt)
				found++
			}
		}
		return nil
	}))
	require.NotZero(t, found)
	copied := newPath(t)
	require.NoError(t, os.WriteFile(copied, whole, 0o600))
	open(t, copied, small())
}
