package boltstore

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/spread"
	"github.com/carewire/carewire/storetest"
)

// Several files as one Store. The long form has one and seven of them, too.
func TestSpread(t *testing.T) {
	counts := []int{3}
	if os.Getenv("BOLTSTORE_LONG") != "" {
		counts = []int{1, 3, 7}
	}
	for _, n := range counts {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			open := func(t *testing.T, paths []string) carewire.Store {
				members := make([]spread.Member, n)
				for i, path := range paths {
					members[i] = spread.Member{Name: fmt.Sprint(i), Store: open(t, path, small())}
				}
				s, err := spread.Open(t.Context(), members, nil)
				require.NoError(t, err)
				t.Cleanup(func() { _ = s.Close() })
				return s
			}
			storetest.Run(t, func(t *testing.T) carewire.Store {
				paths := make([]string, n)
				for i := range paths {
					paths[i] = newPath(t)
				}
				return open(t, paths)
			}, &storetest.Options{Reopen: func(t *testing.T, s carewire.Store) carewire.Store {
				var paths []string
				require.NoError(t, s.(*spread.Store).Close())
				for _, m := range s.(*spread.Store).Stores() {
					paths = append(paths, m.Store.(*Store).path)
					require.NoError(t, m.Store.(*Store).Close())
				}
				return open(t, paths)
			}})
		})
	}
}
