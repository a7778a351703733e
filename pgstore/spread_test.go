package pgstore

import (
	"fmt"
	"os"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/pgtest"
	"github.com/carewire/carewire/spread"
	"github.com/carewire/carewire/storetest"
)

// Several servers as one Store. The long form has one and seven of them, too.
func TestSpread(t *testing.T) {
	counts := []int{3}
	if os.Getenv("PGSTORE_LONG") != "" {
		counts = []int{1, 3, 7}
	}
	for _, n := range counts {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			pools := make([]*pgxpool.Pool, n)
			for i := range pools {
				pools[i] = connect(t, pgtest.Start(t, "fsync=off").DSN(), 8) // only what it keeps is tested here, not whether it survives
			}
			var tenants atomic.Int64
			open := func(t *testing.T, tenant string) carewire.Store {
				members := make([]spread.Member, n)
				for i, pool := range pools {
					members[i] = spread.Member{Name: fmt.Sprint(i), Store: open(t, pool, &Options{Schema: tenant, NoListen: true, Volatile: true})}
				}
				s, err := spread.Open(t.Context(), members, nil)
				require.NoError(t, err)
				t.Cleanup(func() { _ = s.Close() })
				return s
			}
			storetest.Run(t, func(t *testing.T) carewire.Store {
				return open(t, fmt.Sprint("tenant", tenants.Add(1)))
			}, &storetest.Options{Reopen: func(t *testing.T, s carewire.Store) carewire.Store {
				require.NoError(t, s.(*spread.Store).Close())
				members := s.(*spread.Store).Members()
				for _, m := range members {
					require.NoError(t, m.Store.(*Store).Close())
				}
				return open(t, members[0].Store.(*Store).schema)
			}})
		})
	}
}
