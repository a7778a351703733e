package pgstore

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/pgtest"
	"github.com/carewire/carewire/spread"
	"github.com/carewire/carewire/storetest"
)

// Several schemas as one Store. The long form has one and seven of them, too.
func TestSpread(t *testing.T) {
	counts := []int{3}
	if os.Getenv("PGSTORE_LONG") != "" {
		counts = []int{1, 3, 7}
	}
	server := pgtest.Start(t, "fsync=off") // its contents are tested here, not whether they survive
	var schemas atomic.Int64
	for _, n := range counts {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			pool := connect(t, server.DSN(), 40)
			open := func(t *testing.T, schemas []string) carewire.Store {
				members := make([]spread.Member, n)
				for i, schema := range schemas {
					members[i] = spread.Member{Name: fmt.Sprint(i), Store: open(t, pool, &Options{Schema: schema, NoListen: true, Volatile: true})}
				}
				s, err := spread.Open(t.Context(), members, nil)
				require.NoError(t, err)
				t.Cleanup(func() { _ = s.Close() })
				return s
			}
			storetest.Run(t, func(t *testing.T) carewire.Store {
				names := make([]string, n)
				for i := range names {
					names[i] = fmt.Sprint("member", schemas.Add(1))
				}
				return open(t, names)
			}, &storetest.Options{Reopen: func(t *testing.T, s carewire.Store) carewire.Store {
				var names []string
				require.NoError(t, s.(*spread.Store).Close())
				for _, m := range s.(*spread.Store).Stores() {
					names = append(names, m.Store.(*Store).schema)
					require.NoError(t, m.Store.(*Store).Close())
				}
				return open(t, names)
			}})
		})
	}
}
