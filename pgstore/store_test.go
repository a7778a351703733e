package pgstore

import (
	"context"
	"fmt"
	"log/slog"
	"sync/atomic"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/pgtest"
	"github.com/carewire/carewire/storetest"
)

func connect(t testing.TB, dsn string, conns int32) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	config.MaxConns = conns
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func open(t testing.TB, pool *pgxpool.Pool, o *Options) *Store {
	t.Helper()
	if o == nil {
		o = &Options{}
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	require.NoError(t, Migrate(t.Context(), pool, o.Schema))
	s, err := Open(t.Context(), pool, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func TestStore(t *testing.T) {
	testStore(t, connect(t, pgtest.Database(t), 40))
}

// As behind a PgBouncer that gives each transaction another connection, where
// no prepared statement is found again.
func TestStoreWithoutPreparedStatements(t *testing.T) {
	testStore(t, connect(t, pgtest.Database(t)+" default_query_exec_mode=exec", 40))
}

// As it is when vitals are in parts of their own.
func TestStoreInParts(t *testing.T) {
	testStore(t, connect(t, pgtest.Database(t), 40), span{dayOf(start) - 1, dayOf(start) + 1}, span{dayOf(start) + 1, dayOf(start) + 3})
}

func testStore(t *testing.T, pool *pgxpool.Pool, parts ...span) {
	var schemas atomic.Int64
	storetest.Run(t, func(t *testing.T) carewire.Store {
		s := open(t, pool, &Options{Schema: fmt.Sprintf(`tenant "%d'`, schemas.Add(1))})
		addParts(t, s, parts...)
		return s
	}, &storetest.Options{Reopen: func(t *testing.T, s carewire.Store) carewire.Store {
		require.NoError(t, s.(*Store).Close())
		return open(t, pool, &Options{Schema: s.(*Store).schema})
	}})
}

func addParts(t *testing.T, s *Store, parts ...span) {
	for _, p := range parts {
		exec(t, s.pool, s.sql(`select carewire.add_part($1, $2)`), p.first, p.after)
	}
	require.NoError(t, s.readParts(t.Context()))
}
