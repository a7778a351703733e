package pgstore

import (
	"context"
	"embed"
	"errors"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// version is that of the tables, and how many files there are.
const version = 5

// Migrations are the files that make the tables and bring them up to date, in
// the directory migrations, in order of their names. A host whose application
// may not change the schema runs them itself, with the store's schema first in
// search_path: each in one transaction, but those named _concurrently statement
// by statement. Nodes of the version before serve meanwhile:
//
//	create schema carewire;
//	set search_path = carewire;
//	\i 0001_initial.sql
//
//go:embed migrations/*.sql
var Migrations embed.FS

// ErrVersion means that the tables are not there, or not of a version that this
// package does with: run Migrate, or the files in Migrations.
var ErrVersion = errors.New("pgstore: the tables are missing or of another version")

const (
	lockAgain   = 200 * time.Millisecond // before a step that had to wait is tried again
	lockMigrate = "500ms"                // how long a step waits, and all others behind it
)

// Migrate creates the schema ("" stands for carewire) and its tables, or
// updates them. It leaves current tables alone. Several nodes may call it at
// once. Nodes with open tables, also those of the previous version, continue to
// serve: Migrate works in steps that hold no lock for long, and retries a step
// that had to wait until ctx ends. The next call continues an interrupted one.
// It needs two connections. The error matches ErrVersion if the tables are
// newer than this package supports.
func Migrate(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	s := &Store{pool: pool, schema: schemaName(schema)}
	for {
		done, err := s.migrateStep(ctx)
		if err != nil && !isLocked(err) {
			return failure("migrate", err)
		}
		if done {
			return nil
		}
		if err == nil {
			continue
		}
		select {
		case <-time.After(lockAgain):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// errOthers means that another node migrates; it counts as a lock.
var errOthers = &pgconn.PgError{Code: "55P03"}

// migrateStep runs the next file, and reports whether there was none.
func (s *Store) migrateStep(ctx context.Context) (done bool, err error) {
	files, err := Migrations.ReadDir("migrations")
	if err != nil {
		return false, err
	}
	oldest, has, err := s.tables(ctx)
	switch {
	case err != nil:
		return false, err
	case oldest > version:
		return false, ErrVersion
	case has >= len(files):
		return true, nil
	}
	err = pgx.BeginTxFunc(ctx, s.pool, pgx.TxOptions{IsoLevel: pgx.ReadCommitted}, func(tx pgx.Tx) error {
		settings := `set local lock_timeout = '` + lockMigrate + `'; set local idle_in_transaction_session_timeout = 0; set local search_path = ` + s.quoted()
		if _, err := tx.Exec(ctx, settings, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
		// Held until the end of the transaction, so that only one node migrates. By
		// the simple protocol no snapshot stays, which making an index would wait for.
		var mine bool
		lock := `select pg_try_advisory_xact_lock(hashtextextended($1, 0))`
		if err := tx.QueryRow(ctx, lock, pgx.QueryExecModeSimpleProtocol, "carewire "+s.schema).Scan(&mine); err != nil {
			return err
		}
		if !mine {
			return errOthers
		}
		if _, has, err = s.tables(ctx); err != nil || has >= len(files) {
			return err
		}
		if has == 0 {
			if err := s.createSchema(ctx, tx); err != nil {
				return err
			}
		}
		return s.runFile(ctx, tx, files[has].Name())
	})
	return false, err
}

// createSchema makes the schema unless it is there: to make one that is needs a
// right that the role may not have.
func (s *Store) createSchema(ctx context.Context, tx pgx.Tx) error {
	var there bool
	err := tx.QueryRow(ctx, `select exists (select from pg_namespace where nspname = $1)`, s.schema).Scan(&there)
	if err == nil && !there {
		_, err = tx.Exec(ctx, `create schema `+s.quoted())
	}
	return err
}

// runFile runs a file in tx, or beside it if its statements want no transaction.
func (s *Store) runFile(ctx context.Context, tx pgx.Tx, name string) error {
	text, err := Migrations.ReadFile("migrations/" + name)
	if err != nil {
		return err
	}
	if !strings.HasSuffix(name, "_concurrently.sql") {
		_, err = tx.Exec(ctx, string(text), pgx.QueryExecModeSimpleProtocol)
		return err
	}
	in := s.quoted() + "." // search_path is that of a transaction
	text = []byte(strings.NewReplacer("if exists ", "if exists "+in, " on ", " on "+in, "update ", "update "+in).Replace(string(text)))
	for statement := range strings.SplitSeq(string(text), ";\n") {
		if strings.TrimSpace(statement) == "" {
			continue
		}
		if _, err := s.pool.Exec(ctx, statement, pgx.QueryExecModeSimpleProtocol); err != nil {
			return err
		}
	}
	return nil
}

// tables returns the files that were run, and the oldest version that supports
// the result: 0 if there are no tables.
func (s *Store) tables(ctx context.Context) (oldest, newest int, err error) {
	err = s.pool.QueryRow(ctx, s.sql(`select v.version, coalesce((to_jsonb(v) ->> 'newest')::int, v.version) from carewire.version v`)).Scan(&oldest, &newest)
	if e := new(pgconn.PgError); errors.As(err, &e) && (e.Code == "42P01" || e.Code == "3F000") {
		err = nil
	}
	return oldest, newest, err
}

// checkVersion returns ErrVersion unless this package can use the tables.
func (s *Store) checkVersion(ctx context.Context) error {
	oldest, newest, err := s.tables(ctx)
	if errors.Is(err, pgx.ErrNoRows) || err == nil && (newest < version || oldest > version) {
		return ErrVersion
	}
	return failure("open", err)
}

func schemaName(name string) string {
	if name == "" {
		return "carewire"
	}
	return name
}

func (s *Store) quoted() string { return pgx.Identifier{s.schema}.Sanitize() }

// sql puts the schema's name into a statement that is written for carewire.
func (s *Store) sql(statement string) string {
	if s.schema == "carewire" {
		return statement
	}
	return strings.ReplaceAll(statement, "carewire.", s.quoted()+".")
}
