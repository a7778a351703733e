package pgtest_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// A host's test with a PostgreSQL, in which ten minutes pass at once.
func Example() {
	var t *testing.T // of the test
	dsn := pgtest.Database(t)
	synctest.Test(t, func(t *testing.T) {
		ctx := context.Background()
		pool, err := pgxpool.New(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		defer pool.Close()
		if err := pgstore.Migrate(ctx, pool, ""); err != nil {
			t.Fatal(err)
		}
		store, err := pgstore.Open(ctx, pool, &pgstore.Options{NoListen: true})
		if err != nil {
			t.Fatal(err)
		}
		defer store.Close()
		hub, err := carewire.New(&carewiretest.Door{}, pgtest.WithClock(store), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer hub.Shutdown(ctx)
		time.Sleep(10 * time.Minute)
	})
}
