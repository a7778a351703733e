package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/spread"
)

// openPostgres opens the store that any number of wards with the same databases,
// in the same order, share.
func (w *ward) openPostgres() (carewire.Store, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	w.closeStore = func() error { return nil }
	if len(w.dsns) < 2 {
		return w.openDatabase(ctx, append(w.dsns, "")[0])
	}
	var members []spread.Member
	for i, dsn := range w.dsns {
		store, err := w.openDatabase(ctx, dsn)
		if err != nil {
			return nil, errors.Join(err, w.closeStore())
		}
		members = append(members, spread.Member{Name: fmt.Sprint(i), Store: store})
	}
	store, err := spread.Open(ctx, members, nil)
	if err != nil {
		return nil, errors.Join(err, w.closeStore())
	}
	closeMembers := w.closeStore
	w.closeStore = func() error { return errors.Join(store.Close(), closeMembers()) }
	return store, nil
}

// openDatabase opens the store in one database, for closeStore to close. The first
// one also says which of several wards simulates and judges.
func (w *ward) openDatabase(ctx context.Context, dsn string) (*pgstore.Store, error) {
	config, err := pgxpool.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("-dsn is not usable") // it may hold a password
	}
	config.PingTimeout = cmp.Or(config.PingTimeout, time.Second)
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, errors.New("-dsn is not usable")
	}
	if err = pgstore.Migrate(ctx, pool, "ward"); err == nil {
		var store *pgstore.Store
		if store, err = pgstore.Open(ctx, pool, &pgstore.Options{Schema: "ward", Logger: w.log}); err == nil {
			w.pool = cmp.Or(w.pool, pool)
			before := w.closeStore
			w.closeStore = func() error {
				defer closePool(pool)
				return errors.Join(store.Close(), before())
			}
			return store, nil
		}
	}
	pool.Close()
	return nil, err
}

// closePool waits no longer than two seconds: pgx would wait for a connection
// that the network has forgotten much longer, and the end of the program closes it.
func closePool(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(2 * time.Second):
	}
}
