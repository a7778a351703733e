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

// RaiseTx leaves an alert in the host's own transaction. If tx commits, a Hub
// that drains (see [Store.Drain]) raises it; if tx rolls back, nobody does. It
// is one INSERT and locks nothing. An alert without an ID gets one, so that it
// is raised once, whichever node dies. The error is a
// *carewire.ValidationError, or the database's; then tx can only be rolled
// back.
func (s *Store) RaiseTx(ctx context.Context, tx pgx.Tx, r carewire.Raise) error {
	return s.leaveAlert(ctx, onPgx(tx), r)
}

// RaiseSQL is RaiseTx for a transaction of database/sql, with any driver for
// PostgreSQL.
func (s *Store) RaiseSQL(ctx context.Context, tx *sql.Tx, r carewire.Raise) error {
	return s.leaveAlert(ctx, onSQL(tx), r)
}

// ClearTx leaves in the host's own transaction that the condition of an alert is
// over, as RaiseTx does that it has begun. An empty ID in ref means the alert that
// is open when the Hub takes it, after the events that were left before it. It is
// cleared once, whichever node dies.
func (s *Store) ClearTx(ctx context.Context, tx pgx.Tx, ref carewire.AlertRef) error {
	return s.leaveClear(ctx, onPgx(tx), ref)
}

// ClearSQL is ClearTx for a transaction of database/sql, with any driver for
// PostgreSQL.
func (s *Store) ClearSQL(ctx context.Context, tx *sql.Tx, ref carewire.AlertRef) error {
	return s.leaveClear(ctx, onSQL(tx), ref)
}

// NotifyTx leaves a notice in the host's own transaction, as RaiseTx does an
// alert. One without an ID gets one.
func (s *Store) NotifyTx(ctx context.Context, tx pgx.Tx, n carewire.Notice) error {
	return s.leaveNotice(ctx, onPgx(tx), n)
}

// NotifySQL is NotifyTx for a transaction of database/sql, with any driver for
// PostgreSQL.
func (s *Store) NotifySQL(ctx context.Context, tx *sql.Tx, n carewire.Notice) error {
	return s.leaveNotice(ctx, onSQL(tx), n)
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

func (s *Store) leaveAlert(ctx context.Context, in execute, r carewire.Raise) error {
	if r.ID == "" {
		r.ID = rand.Text()
	}
	if err := r.Validate(); err != nil {
		return err
	}
	return s.leaveOne(ctx, in, leftRaise, r)
}

// cleared is an AlertRef as it is left.
type cleared struct {
	Patient string `json:"patient"`
	Key     string `json:"key"`
	ID      string `json:"alert_id,omitempty"`
	Test    bool   `json:"test,omitempty"`
	EventID string `json:"event_id,omitempty"`
}

func (s *Store) leaveClear(ctx context.Context, in execute, ref carewire.AlertRef) error {
	if err := ref.Validate(); err != nil {
		return err
	}
	return s.leaveOne(ctx, in, leftClear, cleared{ref.Patient, ref.Key, ref.ID, ref.Test, rand.Text()})
}

func (s *Store) leaveNotice(ctx context.Context, in execute, n carewire.Notice) error {
	if n.ID == "" {
		n.ID = rand.Text()
	}
	if err := n.Validate(); err != nil {
		return err
	}
	return s.leaveOne(ctx, in, leftNotice, n)
}

func (s *Store) leaveOne(ctx context.Context, in execute, what leftAs, event any) error {
	b, err := json.Marshal(event)
	if err != nil {
		return err
	}
	return s.leave(ctx, in, carewire.KindAlert, what, []string{string(b)})
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
	return s.leave(ctx, in, carewire.KindVital, 0, events)
}

// The events come as one JSON array of strings, which every driver can send.
const leaveSQL = `
	insert into carewire.pending (kind, what, event)
	select $1::smallint, $2::smallint, e.event from json_array_elements_text($3::json) with ordinality e (event, i) order by e.i`

func (s *Store) leave(ctx context.Context, in execute, kind carewire.Kind, what leftAs, events []string) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	list, err := json.Marshal(events)
	if err != nil {
		return err
	}
	return failure("leave", in(ctx, s.sql(leaveSQL), int64(kind), int64(what), string(list)))
}
