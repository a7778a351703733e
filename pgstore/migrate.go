package pgstore

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// version is that of the tables, and how many files there are.
const version = 1

// Migrations are the files that make the tables and bring them up to date, in
// the directory migrations, in order of their names. A host whose application
// may not change the schema runs them itself, each in one transaction and with
// the store's schema first in search_path:
//
//	create schema carewire;
//	set search_path = carewire;
//	\i 0001_initial.sql
//
//go:embed migrations/*.sql
var Migrations embed.FS

// ErrVersion means that the tables are not there, or not of the version that
// this package needs: run Migrate, or the files in Migrations.
var ErrVersion = errors.New("pgstore: the tables are missing or of another version")

// Migrate makes the schema ("" stands for carewire) and its tables, or brings
// them up to date. What is up to date is left alone. Several nodes may call it
// at once. The error matches ErrVersion if the tables are newer than this package.
func Migrate(ctx context.Context, pool *pgxpool.Pool, schema string) error {
	files, err := Migrations.ReadDir("migrations")
	if err != nil {
		return err
	}
	tx, err := pool.Begin(ctx)
	if err != nil {
		return failure("migrate", err)
	}
	defer func() { _ = tx.Rollback(ctx) }()
	s := &Store{schema: schemaName(schema)}
	// Held until the end of the transaction, so that only one node migrates.
	if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock(hashtextextended($1, 0))`, "carewire "+s.schema); err != nil {
		return failure("migrate", err)
	}
	has := 0
	var known bool
	if err := tx.QueryRow(ctx, `select to_regclass($1) is not null`, s.sql(`carewire.version`)).Scan(&known); err != nil {
		return failure("migrate", err)
	}
	if known {
		if err := tx.QueryRow(ctx, s.sql(`select version from carewire.version`)).Scan(&has); err != nil {
			return failure("migrate", err)
		}
	} else {
		var there bool // creating one that is there needs a right that the role may not have
		if err := tx.QueryRow(ctx, `select exists (select from pg_namespace where nspname = $1)`, s.schema).Scan(&there); err != nil {
			return failure("migrate", err)
		}
		if !there {
			if _, err := tx.Exec(ctx, `create schema `+s.quoted()); err != nil {
				return failure("migrate", err)
			}
		}
	}
	if has > len(files) {
		return ErrVersion
	}
	if _, err := tx.Exec(ctx, `set local search_path = `+s.quoted()); err != nil {
		return failure("migrate", err)
	}
	for _, f := range files[has:] {
		text, err := Migrations.ReadFile("migrations/" + f.Name())
		if err != nil {
			return err
		}
		if _, err := tx.Conn().PgConn().Exec(ctx, string(text)).ReadAll(); err != nil {
			return fmt.Errorf("pgstore: %s: %w", f.Name(), failure("migrate", err))
		}
	}
	return failure("migrate", tx.Commit(ctx))
}

// checkVersion returns ErrVersion unless the tables are those of this package.
func (s *Store) checkVersion(ctx context.Context) error {
	var has int
	err := s.pool.QueryRow(ctx, s.sql(`select version from carewire.version`)).Scan(&has)
	if e := new(pgconn.PgError); errors.As(err, &e) && (e.Code == "42P01" || e.Code == "3F000") || errors.Is(err, pgx.ErrNoRows) {
		return ErrVersion
	}
	if err == nil && has != version {
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
