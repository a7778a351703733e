// Package v1 has the queries of pgstore's first release, for tables of version
// 1: to append, read and prune. Tests have its nodes run beside those of today.
package v1

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
)

// ErrUnsafe means that the server may lose committed data.
var ErrUnsafe = errors.New("the server may lose what it has committed")

// Store is a node of version 1.
type Store struct {
	pool     *pgxpool.Pool
	schema   string
	volatile bool
	timeout  time.Duration
	lockWait string // for lock_timeout
	idle     string // for idle_in_transaction_session_timeout, of the appending role
	log      *slog.Logger

	queue   chan *request
	fullAt  atomic.Int64 // when the server last had no room, in Unix nanoseconds
	closing chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

// Open opens the store in the schema carewire as version 1 did.
func Open(ctx context.Context, pool *pgxpool.Pool) (*Store, error) {
	s := &Store{pool: pool, schema: "carewire", timeout: time.Minute, lockWait: "60000ms", idle: milliseconds(maxIdle), log: slog.New(slog.DiscardHandler),
		queue: make(chan *request), closing: make(chan struct{})}
	var has int
	if err := s.pool.QueryRow(ctx, `select version from carewire.version`).Scan(&has); err != nil {
		return nil, err
	}
	if has != 1 {
		return nil, errors.New("the tables are of another version")
	}
	if err := s.startEpoch(ctx, false); err != nil {
		return nil, err
	}
	for range 2 {
		s.running.Go(s.write)
	}
	return s, nil
}

// Close ends the Store. Entries that are being written are written; all further
// calls return ErrClosed. It always returns nil, and leaves the pool open.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.closing) })
	s.running.Wait()
	return nil
}

// usable returns why a call is to fail at once.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return carewire.ErrClosed
	default:
		return nil
	}
}

// identity names the server, its timeline and the tables: a backup that was
// restored, or a standby that was promoted, differs in one of them.
const identity = `(select system_identifier from pg_control_system())::text || '/' ||
	left(pg_walfile_name(pg_current_wal_lsn()), 8) || '/' || (select tableoid from carewire.version)::text`

// safe is whether committed data survives.
const safe = `current_setting('fsync')::boolean and current_setting('full_page_writes')::boolean and current_setting('synchronous_commit') <> 'off'`

// startEpoch begins a new epoch if the server is not the one that wrote the
// last one, or if it is to.
func (s *Store) startEpoch(ctx context.Context, anyway bool) error {
	err := pgx.BeginFunc(ctx, s.pool, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, s.sql(`lock table carewire.epochs in exclusive mode`)); err != nil {
			return err
		}
		var same, durable bool
		var now string
		query := `select ` + identity + `, ` + safe + `, ` + identity + ` is not distinct from (select identity from carewire.epochs order by num desc limit 1)`
		if err := tx.QueryRow(ctx, s.sql(query)).Scan(&now, &durable, &same); err != nil {
			return err
		}
		if !durable && !s.volatile {
			return ErrUnsafe
		}
		if same && !anyway {
			return nil
		}
		if _, err := tx.Exec(ctx, s.sql(`insert into carewire.epochs (epoch, identity) values ($1, $2)`), rand.Text(), now); err != nil {
			return err
		}
		// In a new server transactions are counted from the beginning.
		_, err := tx.Exec(ctx, s.sql(`update carewire.states set changed = pg_current_xact_id() where changed >= pg_snapshot_xmax(pg_current_snapshot())`))
		return err
	})
	if errors.Is(err, ErrUnsafe) {
		return ErrUnsafe
	}
	return failure("epoch", err)
}

// failure says which call failed. Of the server's message it keeps the code
// only: its texts may quote values.
func failure(call string, err error) error {
	if err == nil {
		return nil
	}
	if e := new(pgconn.PgError); errors.As(err, &e) {
		return &ServerError{Call: call, Code: e.Code}
	}
	return fmt.Errorf("pgstore: %s: %w", call, err)
}

// ServerError is an error of the server. It holds no text of the server's,
// which may quote values.
type ServerError struct {
	Call string // the Store's operation
	Code string // the SQLSTATE
}

// Error returns the call and the code.
func (e *ServerError) Error() string { return "pgstore: " + e.Call + ": SQLSTATE " + e.Code }

func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", max(d.Milliseconds(), 1)) }

func (s *Store) sql(statement string) string { return statement }

var _ carewire.Store = (*Store)(nil)
