package pgstore

import (
	"context"
	"crypto/cipher"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
)

// ErrUnsafe means that the server may lose committed transactions: fsync,
// full_page_writes or synchronous_commit is off. See [Options.Volatile].
var ErrUnsafe = errors.New("pgstore: the server may lose committed transactions (fsync, full_page_writes or synchronous_commit is off)")

// Options of a Store.
type Options struct {
	// Schema holds the tables: one schema is one tenant. "": carewire.
	Schema string

	// Listen says how to connect for LISTEN, which needs a connection of its own
	// to the server itself, past any PgBouncer. "": as the pool does, with its
	// BeforeConnect.
	Listen string

	// NoListen makes no such connection, and sends no notifications. Other
	// nodes' entries are then looked for once a second.
	NoListen bool

	// Volatile opens a Store on a server that would be refused with ErrUnsafe.
	// Durable then reports false, and clients are told so.
	Volatile bool

	// NewEpoch starts a new epoch, as it must be after a copy of the server's
	// files or of a volume was put back: the database cannot see that. Give it
	// once, to one node, while no other one runs. Clients then load their
	// screens afresh instead of resuming.
	NewEpoch bool

	// Identity names the database where the server's own functions cannot be had
	// (pg_control_system, pg_walfile_name, pg_current_wal_lsn), as in engines that
	// only speak PostgreSQL's protocol. It must then change, at all nodes, whenever
	// the database may have lost data: after a standby was promoted, and after a
	// restore. Of these the Store sees by itself only that a dump was restored. "":
	// the server is asked.
	Identity string

	// LockTimeout is how long an Append waits for another node that appends to
	// the same patient. 0: 3 s.
	LockTimeout time.Duration

	// Timeout bounds an Append from its turn on; after that its outcome is
	// unknown. The unfinished work of a node is ended after the same time, or
	// after two seconds if the node has stopped between its two round trips.
	// Reads may take as long: a connection that the network has forgotten gives
	// no error for many minutes. 0: 10 s.
	Timeout time.Duration

	// Writers is how many transactions append at the same time, each on one
	// connection of the pool. 0: 2.
	Writers int

	// Logger is told when the listening connection is lost and found. It gets no
	// health data. nil: slog.Default().
	Logger *slog.Logger
}

// Store is a [carewire.Store] in a PostgreSQL schema, shared by any number of
// nodes. Open makes one.
type Store struct {
	pool     *pgxpool.Pool
	schema   string
	volatile bool
	timeout  time.Duration
	lockWait string      // for lock_timeout
	idle     string      // for idle_in_transaction_session_timeout, of the appending role
	identity string      // an expression that names the server, its timeline and the tables
	node     string      // names this Store in notifications
	sealer   cipher.AEAD // of their contents
	log      *slog.Logger

	parts     atomic.Pointer[[]span] // of the log
	queue     chan *request
	reading   chan struct{} // holds one for each Read and Latest under way
	committed *news         // of this node, which others are to be told
	heard     *news         // of other nodes, which the Hub is to be told
	wake      chan []string
	hearing   atomic.Bool  // of other nodes, by the listening connection
	fullAt    atomic.Int64 // when the server last had no room, in Unix nanoseconds
	closing   chan struct{}
	ctx       context.Context // ends with closing
	stop      context.CancelFunc
	once      sync.Once
	running   sync.WaitGroup
}

// Open opens the store whose tables are in pool's database. The pool stays the
// host's. It must reach the primary server, needs at least Writers+2
// connections, and must be closed after the Store. Nil options mean the
// defaults. The error matches ErrVersion, ErrUnsafe or the database's error.
func Open(ctx context.Context, pool *pgxpool.Pool, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	s := &Store{
		pool: pool, schema: schemaName(o.Schema), volatile: o.Volatile, identity: identity(o.Identity), node: rand.Text(), log: o.Logger,
		timeout: orDefault(o.Timeout, 10*time.Second),
		queue:   make(chan *request), committed: newNews(), heard: newNews(), wake: make(chan []string), closing: make(chan struct{}),
	}
	s.lockWait = milliseconds(orDefault(o.LockTimeout, 3*time.Second))
	s.idle = milliseconds(min(s.timeout, maxIdle))
	if s.log == nil {
		s.log = slog.Default()
	}
	writers := o.Writers
	if writers <= 0 {
		writers = 2
	}
	if int(pool.Config().MaxConns) < writers+2 { // else those who wait for each other might hold them all
		return nil, errors.New("pgstore: the pool needs two connections more than there are Writers")
	}
	s.reading = make(chan struct{}, max(int(pool.Config().MaxConns)-writers-spare, 1))
	if err := s.checkVersion(ctx); err != nil {
		return nil, err
	}
	if err := s.readParts(ctx); err != nil {
		return nil, failure("open", err)
	}
	if err := s.startEpoch(ctx, o.NewEpoch); err != nil {
		return nil, err
	}
	var err error
	if s.sealer, err = s.newSealer(ctx); err != nil {
		return nil, err
	}
	s.ctx, s.stop = context.WithCancel(context.Background())
	for range writers {
		s.running.Go(s.write)
	}
	s.running.Go(s.poll)
	s.running.Go(s.rouse)
	if !o.NoListen {
		as := pool.Config()
		if o.Listen != "" {
			as.BeforeConnect = nil
			if as.ConnConfig, err = pgx.ParseConfig(o.Listen); err != nil {
				s.Close()
				return nil, errors.New("pgstore: Options.Listen is no usable connection string")
			}
		}
		s.running.Go(s.notify)
		s.running.Go(func() { s.listen(as) })
	}
	return s, nil
}

// spare is the number of connections that Read and Latest leave to all other
// calls, beside those of the writers: clients' reads wait before the reads for
// paging do.
const spare = 2

// Close ends the Store. Writes in progress complete; all further calls return
// ErrClosed. It always returns nil, and leaves the pool open.
func (s *Store) Close() error {
	s.once.Do(func() {
		close(s.closing)
		s.stop()
	})
	s.running.Wait()
	return nil
}

// Durable implements [carewire.Durable]: it is true unless [Options.Volatile]
// was given.
func (s *Store) Durable() bool { return !s.volatile }

// Now implements [carewire.Clock] with the database's time.
func (s *Store) Now(ctx context.Context) (time.Time, error) {
	var now time.Time
	if err := s.usable(ctx); err != nil {
		return now, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	err := s.pool.QueryRow(ctx, `select clock_timestamp()`).Scan(&now)
	return now.UTC(), failure("now", err)
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
func identity(given string) string {
	server := `(select system_identifier from pg_control_system())::text || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)`
	if given != "" {
		server = `convert_from('\x` + hex.EncodeToString([]byte(given)) + `', 'UTF8')`
	}
	return server + ` || '/' || (select tableoid from carewire.version)::text`
}

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
		query := `select ` + s.identity + `, ` + safe + `, ` + s.identity + ` is not distinct from (select identity from carewire.epochs order by num desc limit 1)`
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
	Call string // the operation of the Store
	Code string // the SQLSTATE
}

// Error returns the call and the code.
func (e *ServerError) Error() string { return "pgstore: " + e.Call + ": SQLSTATE " + e.Code }

func orDefault(d, def time.Duration) time.Duration {
	if d <= 0 {
		return def
	}
	return d
}

func milliseconds(d time.Duration) string { return fmt.Sprintf("%dms", max(d.Milliseconds(), 1)) }

var (
	_ carewire.Store       = (*Store)(nil)
	_ carewire.Waker       = (*Store)(nil)
	_ carewire.Clock       = (*Store)(nil)
	_ carewire.Durable     = (*Store)(nil)
	_ carewire.Pruner      = (*Store)(nil)
	_ carewire.StateReader = (*Store)(nil)
	_ carewire.Eraser      = (*Store)(nil)
	_ carewire.Sizer       = (*Store)(nil)
	_ io.Closer            = (*Store)(nil)
)
