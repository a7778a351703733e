package pgstore

import (
	"context"
	"log/slog"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// A host tests time with a PostgreSQL: an acceptance runs out after minutes,
// which pass at once, and the alert is told again.
func TestTimeOnPostgreSQL(t *testing.T) {
	dsn := pgtest.Database(t)
	began := time.Now()
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		pool, err := pgxpool.New(ctx, dsn)
		require.NoError(t, err)
		defer pool.Close()
		require.NoError(t, Migrate(ctx, pool, ""))
		store, err := Open(ctx, pool, &Options{NoListen: true, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer store.Close()
		pages := &carewiretest.Recorder{}
		hub, err := carewire.New(&carewiretest.Door{}, pgtest.WithClock(store), &carewire.Options{Pager: pages, Logger: slog.New(slog.DiscardHandler),
			MaxHold: carewire.Holds{High: 10 * time.Minute}})
		require.NoError(t, err)
		defer hub.Shutdown(ctx)
		start := time.Now()
		_, err = hub.Raise(ctx, carewire.Raise{Patient: "p1", Key: "k", Text: "x", Priority: carewire.PriorityHigh, To: []string{"person:nurse"}})
		require.NoError(t, err)
		require.Len(t, pages.Pages(t, 1), 1)
		a, err := hub.Alert(ctx, "p1", "k")
		require.NoError(t, err)
		require.Less(t, a.Raised.Sub(start).Abs(), time.Minute, "the log has the bubble's time")
		_, err = hub.Answer(ctx, carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}, a.Ref(), carewire.Answer{Do: carewire.AnswerAccept})
		require.NoError(t, err)
		time.Sleep(9 * time.Minute)
		a, err = hub.Alert(ctx, "p1", "k")
		require.NoError(t, err)
		require.Equal(t, carewire.ResponsibilityAccepted, a.Responsibility.State)
		time.Sleep(2 * time.Minute)
		a, err = hub.Alert(ctx, "p1", "k")
		require.NoError(t, err)
		require.Equal(t, carewire.ResponsibilityUndefined, a.Responsibility.State)
		require.GreaterOrEqual(t, len(pages.Pages(t, 2)), 2)
	})
	require.Less(t, time.Since(began), 11*time.Minute)
}

// The size of the tables grows with the entries.
func TestSize(t *testing.T) {
	store := open(t, connect(t, pgtest.Database(t), 4), nil)
	before, err := store.Size(t.Context())
	require.NoError(t, err)
	require.Positive(t, before.Used)
	require.EqualValues(t, -1, before.Free)
	_, err = store.pool.Exec(t.Context(), `create table carewire.more as select repeat(md5(n::text), 100) from generate_series(1, 1000) n`)
	require.NoError(t, err)
	after, err := store.Size(t.Context())
	require.NoError(t, err)
	require.Greater(t, after.Used, before.Used)
}
