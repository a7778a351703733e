package pgstore

import (
	"context"
	"crypto/rand"
	"database/sql"
	"encoding/json"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carewire/carewire"
)

// RaiseTx leaves an alert in the host's own transaction: it is raised if tx
// commits, by a Hub that drains (see [Store.Drain]), and not if it rolls back.
// It is one INSERT and locks nothing. An alert without an ID gets one, by which
// it is raised once, whoever dies. The error is a *carewire.ValidationError, or
// the database's; then tx can only be rolled back.
func (s *Store) RaiseTx(ctx context.Context, tx pgx.Tx, a carewire.Alert) error {
	return s.leaveAlert(ctx, onPgx(tx), a)
}

// RaiseSQL is RaiseTx for a transaction of database/sql, with any driver for
// PostgreSQL.
func (s *Store) RaiseSQL(ctx context.Context, tx *sql.Tx, a carewire.Alert) error {
	return s.leaveAlert(ctx, onSQL(tx), a)
}

// PublishTx leaves vitals in the host's own transaction, as RaiseTx does
// alerts. A Vital without a Time was measured now.
func (s *Store) PublishTx(ctx context.Context, tx pgx.Tx, vitals ...carewire.Vital) error {
	return s.leaveVitals(ctx, onPgx(tx), vitals)
}

// PublishSQL is PublishTx for a transaction of database/sql, with any driver
// for PostgreSQL.
func (s *Store) PublishSQL(ctx context.Context, tx *sql.Tx, vitals ...carewire.Vital) error {
	return s.leaveVitals(ctx, onSQL(tx), vitals)
}

// execute runs a statement in a host's transaction.
type execute func(ctx context.Context, statement string, args ...any) error

func onPgx(tx pgx.Tx) execute {
	return func(ctx context.Context, statement string, args ...any) error {
		_, err := tx.Exec(ctx, statement, args...)
		return err
	}
}

func onSQL(tx *sql.Tx) execute {
	return func(ctx context.Context, statement string, args ...any) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	}
}

func (s *Store) leaveAlert(ctx context.Context, in execute, a carewire.Alert) error {
	if a.ID == "" {
		a.ID = rand.Text()
	}
	if err := a.Validate(); err != nil {
		return err
	}
	b, err := json.Marshal(a)
	if err != nil {
		return err
	}
	return s.leave(ctx, in, carewire.KindAlert, []string{string(b)})
}

func (s *Store) leaveVitals(ctx context.Context, in execute, vitals []carewire.Vital) error {
	var events []string
	for _, v := range vitals {
		if v.ID == "" {
			v.ID = rand.Text()
		}
		if v.Time.IsZero() {
			v.Time = time.Now().UTC()
		}
		if err := v.Validate(); err != nil {
			return err
		}
		b, err := json.Marshal(v)
		if err != nil {
			return err
		}
		events = append(events, string(b))
	}
	if len(events) == 0 {
		return ctx.Err()
	}
	return s.leave(ctx, in, carewire.KindVital, events)
}

// The events come as one JSON array of strings, which every driver can send.
const leaveSQL = `
	insert into carewire.pending (kind, event)
	select $1::smallint, e.event from json_array_elements_text($2::json) with ordinality e (event, i) order by e.i`

func (s *Store) leave(ctx context.Context, in execute, kind carewire.Kind, events []string) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	list, err := json.Marshal(events)
	if err != nil {
		return err
	}
	return failure("leave", in(ctx, s.sql(leaveSQL), int64(kind), string(list)))
}
