package pgstore_test

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/pgstore/pgtest"
)

func nobody(*http.Request) (carewire.Principal, error) {
	return carewire.Principal{}, carewire.ErrUnauthenticated
}

// Several nodes open the same schema; each has a Hub of its own.
func ExampleOpen() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	if err := pgstore.Migrate(ctx, pool, "carewire"); err != nil {
		panic(err)
	}
	store, err := pgstore.Open(ctx, pool, nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	hub, err := carewire.New(carewire.AuthenticatorFunc(nobody), store, nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx) // before the Store is closed
	results, err := hub.Publish(ctx, carewire.HeartRate.Of("p-17", 72))
	fmt.Println("number", results[0].Seq, err)
}

// An alert is raised if the host's own transaction commits.
func ExampleStore_RaiseTx() {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, os.Getenv("DATABASE_URL"))
	if err != nil {
		panic(err)
	}
	defer pool.Close()
	if err := pgstore.Migrate(ctx, pool, "carewire"); err != nil {
		panic(err)
	}
	store, err := pgstore.Open(ctx, pool, nil)
	if err != nil {
		panic(err)
	}
	defer store.Close()
	hub, err := carewire.New(carewire.AuthenticatorFunc(nobody), store, nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	go store.Drain(ctx, hub) // on every node: one of them works

	err = pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
		// The host's own statements stand here.
		return store.RaiseTx(ctx, tx, carewire.Raise{
			Patient: "p-17", Key: "potassium", Priority: carewire.PriorityHigh, Text: "Critical potassium",
		})
	})
	if err != nil {
		panic(err)
	}
	for e, err := range hub.Watch(ctx, carewire.WatchOptions{Patients: []string{"p-17"}}) {
		if err != nil {
			panic(err)
		}
		if e.Alert != nil {
			fmt.Println(e.Alert.Key)
			return
		}
	}
}

// The examples have no output of their own, since they need a database.
func TestExamples(t *testing.T) {
	t.Setenv("DATABASE_URL", pgtest.Database(t))
	require.NotPanics(t, ExampleOpen)
	require.NotPanics(t, ExampleStore_RaiseTx)
}
