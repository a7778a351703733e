package main

import (
	"context"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire/pgstore/pgtest"
)

// Of two callers of asOnlyOne one runs, and the other when the first has ended.
func TestAsOnlyOne(t *testing.T) {
	dsn := pgtest.Database(t)
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	pool, err := pgxpool.New(ctx, dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	began := make(chan string, 2)
	run := func(ctx context.Context, name string) (ended chan struct{}) {
		ended = make(chan struct{})
		go func() {
			defer close(ended)
			asOnlyOne(ctx, pool, func(ctx context.Context) {
				began <- name
				<-ctx.Done()
			})
		}()
		return ended
	}
	first, end := context.WithCancel(ctx)
	firstEnded := run(first, "first")
	if name := <-began; name != "first" {
		t.Fatal(name)
	}
	second, endSecond := context.WithCancel(ctx)
	secondEnded := run(second, "second")
	for tried := 0; tried < 2; {
		err := pool.QueryRow(ctx, `select count(*) from pg_stat_activity where state = 'idle' and query like 'select pg_try_advisory_lock%'`).Scan(&tried)
		if err != nil {
			t.Fatal(err)
		}
		select {
		case name := <-began:
			t.Fatalf("%s runs too", name)
		case <-time.After(10 * time.Millisecond):
		}
	}
	end()
	<-firstEnded
	if name := <-began; name != "second" {
		t.Fatal(name)
	}
	endSecond()
	<-secondEnded
}
