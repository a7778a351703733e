package pgstore

import (
	"context"
	"encoding/binary"
	"log/slog"
	"net"
	"testing"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/pgstore/pgtest"
)

// through returns a pool that connects through a PgBouncer. It sends no cancel
// requests: PgBouncer before 1.21 may end itself at one (its issue 822), and
// nothing here needs them.
func through(t *testing.T, dsn string, conns int32) *pgxpool.Pool {
	config, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	config.MaxConns = conns
	config.ConnConfig.DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, network, addr)
		return uncancelled{conn}, err
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

type uncancelled struct{ net.Conn }

func (c uncancelled) Write(p []byte) (int, error) {
	if len(p) == 16 && binary.BigEndian.Uint32(p[4:]) == 80877102 { // a cancel request
		return 0, net.ErrClosed
	}
	return c.Conn.Write(p)
}

// The whole contract holds behind a PgBouncer that pools by transaction.
func TestStoreBehindPgBouncer(t *testing.T) {
	t.Parallel()
	testStore(t, through(t, pgtest.Bouncer(t, pgtest.Database(t)), 40))
}

// Behind PgBouncer nothing is heard. A Store says so, and polls once a second. With
// the server's own address in Listen it hears.
func TestListeningBehindPgBouncer(t *testing.T) {
	t.Parallel()
	dsn := pgtest.Database(t)
	bouncer := pgtest.Bouncer(t, dsn)
	log := make(told, 10)
	deaf := open(t, through(t, bouncer, 8), &Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	hearing := open(t, through(t, bouncer, 8), &Options{Listen: dsn})
	waitFor(t, hearing.Wake(), "a wake-up as soon as it listens")
	require.True(t, hearing.hearing.Load())
	other := open(t, through(t, bouncer, 8), &Options{Listen: dsn})
	mustAppend(t, other, notice("a", "1"))
	waitFor(t, hearing.Wake(), "a wake-up of another node's append")
	for range 3 {
		waitFor(t, deaf.Wake(), "a wake-up each second")
	}
	require.Contains(t, <-log, "not listening")
	require.False(t, deaf.hearing.Load())
}
