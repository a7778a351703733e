package main

import (
	"context"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// asOnlyOne runs f in one of all the processes that call it with the same
// database, until ctx ends. When that one is gone, another takes over within a
// second.
func asOnlyOne(ctx context.Context, pool *pgxpool.Pool, f func(context.Context)) {
	for ctx.Err() == nil {
		onceChosen(ctx, pool, f)
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}

// onceChosen runs f when it has a lock that PostgreSQL gives to one connection
// only, for as long as that connection lives.
func onceChosen(ctx context.Context, pool *pgxpool.Pool, f func(context.Context)) {
	conn, err := pgx.ConnectConfig(ctx, pool.Config().ConnConfig)
	if err != nil {
		return
	}
	defer conn.Close(context.Background())
	var running sync.WaitGroup
	defer running.Wait() // before the lock is given back
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	for began := false; ; {
		chosen, err := tryLock(ctx, conn) // a session that has the lock already gets it again
		if err != nil {
			return
		}
		if chosen && !began {
			began = true
			running.Go(func() { f(ctx) })
		}
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
			return
		}
	}
}

func tryLock(ctx context.Context, conn *pgx.Conn) (locked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	err = conn.QueryRow(ctx, `select pg_try_advisory_lock(hashtext('the monitors of the ward'))`).Scan(&locked)
	return locked, err
}
