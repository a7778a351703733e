package pgstore

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// Reads that take for ever, as many as come, take no connection that appends and
// paging need.
func TestReadsLeaveConnections(t *testing.T) {
	dsn := pgtest.Database(t)
	s := open(t, connect(t, dsn, 6), &Options{NoListen: true, Timeout: process.Patience})
	locked, err := pgx.Connect(t.Context(), dsn)
	require.NoError(t, err)
	defer locked.Close(context.Background())
	_, err = locked.Exec(t.Context(), `begin; lock table carewire.pruned`, pgx.QueryExecModeSimpleProtocol)
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() {
			_, err := s.Read(ctx, "a", carewire.Position{}, carewire.ReadQuery{})
			assert.ErrorIs(t, err, context.Canceled)
		})
	}
	require.Eventually(t, func() bool { return len(s.reading) == cap(s.reading) }, process.Patience, time.Millisecond)
	mustAppend(t, s, notice("a", "1"))
	_, err = s.Waiting(t.Context(), start, 10)
	require.NoError(t, err)
	_, err = s.Now(t.Context())
	require.NoError(t, err)
	cancel()
	wg.Wait()
}

// If the server lacks the functions, as engines do that only speak its protocol, the
// host names the database; a new name is a new epoch.
func TestIdentityOfTheHost(t *testing.T) {
	dsn := pgtest.Database(t)
	admin := connect(t, dsn, 4)
	require.NoError(t, Migrate(t.Context(), admin, ""))
	exec(t, admin, `create role plain login; grant usage on schema carewire to plain; grant select, insert, update, delete on all tables in schema carewire to plain;
		revoke execute on function pg_control_system(), pg_walfile_name(pg_lsn), pg_current_wal_lsn() from public`, pgx.QueryExecModeSimpleProtocol)
	pool, err := pgxpool.New(t.Context(), strings.Replace(dsn, "user=carewire", "user=plain", 1))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	_, err = Open(t.Context(), pool, nil)
	require.Error(t, err)
	var last carewire.Position
	for i, name := range []string{"it's one", "it's one", "another"} {
		s, err := Open(t.Context(), pool, &Options{Identity: name})
		require.NoError(t, err)
		at := mustAppend(t, s, notice("a", fmt.Sprint(i)))[0].Position
		require.Equal(t, uint64(i+1), at.Seq)
		if i > 0 {
			require.Equal(t, i == 1, at.Epoch == last.Epoch)
		}
		last = at
		require.NoError(t, s.Close())
	}
}
