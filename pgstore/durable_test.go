package pgstore

import (
	"context"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/pgtest"
	"github.com/carewire/carewire/storetest"
)

// pooled is a Store that closes its pool, too.
type pooled struct {
	*Store
	pool *pgxpool.Pool
}

func (p pooled) Close() error {
	defer p.pool.Close()
	return p.Store.Close()
}

func openPooled(dsn string, o *Options) (carewire.Store, error) {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, dsn+" pool_max_conns=8")
	if err != nil {
		return nil, err
	}
	if err = Migrate(ctx, pool, ""); err == nil {
		var s *Store
		if s, err = Open(ctx, pool, o); err == nil {
			return pooled{s, pool}, nil
		}
	}
	pool.Close()
	return nil, err
}

// direct runs a statement on a connection of its own.
func direct(t *testing.T, dsn, sql string) {
	t.Helper()
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, dsn)
	require.NoError(t, err)
	defer conn.Close(ctx)
	_, err = conn.Exec(ctx, sql)
	require.NoError(t, err)
}

// refuseWrites has the server answer every write to the log with a code.
func refuseWrites(code string) func(t *testing.T, dsn string, _ carewire.Store) func() {
	return func(t *testing.T, dsn string, _ carewire.Store) func() {
		direct(t, dsn, `create function refuse() returns trigger language plpgsql as $$ begin raise exception using errcode = '`+code+`'; end $$;
			create trigger refuse before insert on carewire.log execute function refuse()`)
		return func() { direct(t, dsn, `drop function refuse cascade`) }
	}
}

func TestDurable(t *testing.T) {
	storetest.RunDurable(t, storetest.Durable{
		Place: func(t *testing.T) string { return pgtest.Database(t) },
		Open:  func(dsn string) (carewire.Store, error) { return openPooled(dsn, &Options{NoListen: true}) },
		Break: refuseWrites("58030"), // io_error
		Fill:  refuseWrites("53100"), // disk_full
		Copy: func(t *testing.T, dsn string) func() {
			server, name, _ := strings.Cut(dsn, "dbname=")
			server += "dbname=postgres"
			direct(t, server, `create database copy_of_`+name+` template `+name)
			return func() {
				direct(t, server, `drop database `+name)
				direct(t, server, `alter database copy_of_`+name+` rename to `+name)
			}
		},
		OpenCopy: func(dsn string) (carewire.Store, error) {
			return openPooled(dsn, &Options{NoListen: true, NewEpoch: true})
		},
	})
}

func BenchmarkStore(b *testing.B) {
	storetest.Bench(b, func(b *testing.B) carewire.Store { return open(b, connect(b, pgtest.Database(b), 10), nil) })
}
