package pgstore

import (
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/pgstore/pgtest"
)

// The whole contract holds behind a PgBouncer that pools by transaction.
func TestStoreBehindPgBouncer(t *testing.T) {
	testStore(t, connect(t, pgtest.Bouncer(t, pgtest.Database(t)), 40))
}

// Behind PgBouncer nothing is heard, which a Store says, and looks once a
// second; with the server's own address in Listen it hears.
func TestListeningBehindPgBouncer(t *testing.T) {
	dsn := pgtest.Database(t)
	through := pgtest.Bouncer(t, dsn)
	log := make(told, 10)
	deaf := open(t, connect(t, through, 8), &Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	hearing := open(t, connect(t, through, 8), &Options{Listen: dsn})
	waitFor(t, hearing.Wake(), "a wake-up as soon as it listens")
	require.True(t, hearing.hearing.Load())
	other := open(t, connect(t, through, 8), &Options{Listen: dsn})
	mustAppend(t, other, notice("a", "1"))
	waitFor(t, hearing.Wake(), "a wake-up of another node's append")
	for range 3 {
		waitFor(t, deaf.Wake(), "a wake-up each second")
	}
	require.Contains(t, <-log, "not listening")
	require.False(t, deaf.hearing.Load())
}
