package pgstore

import (
	"context"
	"database/sql"
	"errors"
	"log/slog"
	"slices"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	_ "github.com/jackc/pgx/v5/stdlib"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// A drained is a Hub that carries out the events that transactions leave.
type drained struct {
	*Store
	dsn   string
	pool  *pgxpool.Pool
	hub   *carewire.Hub
	ended chan error // the results of Drain
}

func newDrained(t *testing.T) *drained {
	d := &drained{dsn: pgtest.Database(t), ended: make(chan error, 1)}
	d.pool = connect(t, d.dsn, 12)
	d.Store = open(t, d.pool, nil)
	hub, err := carewire.New(new(carewiretest.Door), d.Store, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	d.hub = hub
	t.Cleanup(func() { d.hub.Shutdown(context.Background()) })
	return d
}

func (d *drained) drain(t *testing.T) {
	go func() { d.ended <- d.Drain(t.Context(), d.hub) }()
}

// left waits until that many events are still pending.
func (d *drained) left(t *testing.T, n int) {
	t.Helper()
	require.Eventually(t, func() bool {
		var is int
		return d.pool.QueryRow(t.Context(), `select count(*) from carewire.pending where refused is null`).Scan(&is) == nil && is == n
	}, process.Patience, 20*time.Millisecond)
}

func (d *drained) log(t *testing.T, patient string, kind carewire.Kind) []carewire.Entry {
	t.Helper()
	log, err := d.Read(t.Context(), patient, carewire.Position{}, carewire.ReadQuery{Kinds: []carewire.Kind{kind}})
	require.NoError(t, err)
	return log
}

func fall(id string) carewire.Raise {
	return carewire.Raise{Patient: "p1", ID: id, Key: "fall", Text: "x", Priority: carewire.PriorityHigh, To: []string{"person:nurse"}}
}

// An event that a transaction left is there if it committed, in order and once;
// a transaction that is open or rolled back is nothing to anybody.
func TestTransactionsLeaveEvents(t *testing.T) {
	d := newDrained(t)
	open, err := d.pool.Begin(t.Context())
	require.NoError(t, err)
	late := fall("late")
	late.Key = "late" // under the same key it would say nothing new
	require.NoError(t, d.RaiseTx(t.Context(), open, late))
	undone := errors.New("undone")
	require.ErrorIs(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error {
		require.NoError(t, d.PublishTx(t.Context(), tx, carewire.HeartRate.Of("p1", 10)))
		return undone
	}), undone)
	const vitals = 250 // more than are taken at once
	require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error {
		for i := range vitals / 2 {
			two := []carewire.Vital{carewire.HeartRate.Of("p1", float64(20+2*i)), carewire.HeartRate.Of("p1", float64(21+2*i))}
			if err := d.PublishTx(t.Context(), tx, two...); err != nil {
				return err
			}
		}
		return d.RaiseTx(t.Context(), tx, fall("f1"))
	}))
	d.drain(t)
	d.left(t, 0)
	log := d.log(t, "p1", carewire.KindVital)
	require.Len(t, log, vitals)
	for i, e := range log {
		var v carewire.Vital
		require.NoError(t, v.UnmarshalJSON(e.Data))
		require.Equal(t, carewire.Decimal(strconv.Itoa(20+i)), v.Value)
	}
	a, err := d.hub.Alert(t.Context(), "p1", "fall")
	require.NoError(t, err)
	require.Equal(t, "f1", a.ID)
	require.NoError(t, open.Commit(t.Context()))
	d.left(t, 0)
	require.True(t, slices.ContainsFunc(d.log(t, "p1", carewire.KindAlert), func(e carewire.Entry) bool { return e.ID == "late" }))
	require.NoError(t, d.hub.Shutdown(t.Context()))
	require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error { return d.RaiseTx(t.Context(), tx, fall("f3")) }))
	require.ErrorIs(t, <-d.ended, carewire.ErrClosed)
}

// An event that was given to a Hub by a node that died before it crossed it
// out is recognised, and one that can never be taken is put aside.
func TestPendingTwiceAndNever(t *testing.T) {
	d := newDrained(t)
	require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error {
		v := carewire.HeartRate.Of("p1", 60)
		v.ID = "v1"
		if err := errors.Join(d.RaiseTx(t.Context(), tx, fall("f1")), d.PublishTx(t.Context(), tx, v)); err != nil {
			return err
		}
		_, err := tx.Exec(t.Context(), `insert into carewire.pending (kind, event) select kind, event from carewire.pending`)
		return err
	}))
	changed := fall("f1")
	changed.Text = "another"
	require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error { return d.RaiseTx(t.Context(), tx, changed) }))
	for kind, event := range map[int]string{1: `{"patient":"p1","code":"8867-4","value":"x"}`, 2: `not JSON`} {
		exec(t, d.pool, `insert into carewire.pending (kind, event) values ($1, $2)`, kind, event)
	}
	d.drain(t)
	d.left(t, 0)
	require.Len(t, d.log(t, "p1", carewire.KindVital), 1)
	own := 0
	for _, e := range d.log(t, "p1", carewire.KindAlert) {
		if e.ID == "f1" {
			own++
		}
	}
	require.Equal(t, 1, own)
	rows, err := d.pool.Query(t.Context(), `select refused from carewire.pending order by n`)
	require.NoError(t, err)
	refused, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Len(t, refused, 3)
	require.Equal(t, "id_reused", refused[0])
}

// slow is a store that takes its time for each Append.
type slow struct{ carewire.Store }

func (s slow) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	select {
	case <-time.After(50 * time.Millisecond):
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	return s.Store.Append(ctx, entries)
}

// Where a Hub takes longer for a hundred events than a transaction may take, they
// are crossed out all the same, as many at a time as it has taken, and in order.
func TestHubThatDrainsSlowly(t *testing.T) {
	d := newDrained(t)
	quick := open(t, d.pool, &Options{Timeout: time.Second})
	hub, err := carewire.New(new(carewiretest.Door), slow{quick}, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { hub.Shutdown(context.Background()) })
	require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error {
		for i := range 60 {
			a := fall(strconv.Itoa(i))
			a.Key, a.To = a.ID, nil
			if err := d.RaiseTx(t.Context(), tx, a); err != nil {
				return err
			}
		}
		return d.PublishTx(t.Context(), tx, carewire.HeartRate.Of("p1", 60))
	}))
	go quick.Drain(t.Context(), hub)
	d.left(t, 0)
	next := 0
	for _, e := range d.log(t, "p1", carewire.KindAlert) {
		if e.ID != "" {
			require.Equal(t, strconv.Itoa(next), e.ID)
			next++
		}
	}
	require.Equal(t, 60, next)
	require.Len(t, d.log(t, "p1", carewire.KindVital), 1)
}

// Invalid events fail the call, before the database sees them; database/sql
// does as well as pgx.
func TestLeavingByDatabaseSQL(t *testing.T) {
	d := newDrained(t)
	db, err := sql.Open("pgx", d.dsn)
	require.NoError(t, err)
	defer db.Close()
	tx, err := db.BeginTx(t.Context(), nil)
	require.NoError(t, err)
	var invalid *carewire.ValidationError
	require.ErrorAs(t, d.RaiseSQL(t.Context(), tx, carewire.Raise{Patient: "p1"}), &invalid)
	require.ErrorAs(t, d.PublishSQL(t.Context(), tx, carewire.Vital{}), &invalid)
	require.NoError(t, d.RaiseSQL(t.Context(), tx, fall("")))
	require.NoError(t, d.PublishSQL(t.Context(), tx, carewire.HeartRate.Of("p1", 60), carewire.HeartRate.Of("p1", 61)))
	require.NoError(t, d.PublishSQL(t.Context(), tx))
	require.ErrorAs(t, d.ClearSQL(t.Context(), tx, carewire.AlertRef{Patient: "p1"}), &invalid)
	require.ErrorAs(t, d.NotifySQL(t.Context(), tx, carewire.Notice{Patient: "p1"}), &invalid)
	require.NoError(t, d.ClearSQL(t.Context(), tx, carewire.AlertRef{Patient: "p1", Key: "fall"}))
	require.NoError(t, d.NotifySQL(t.Context(), tx, carewire.Notice{Patient: "p1", Text: "x", Audience: carewire.AudienceAll}))
	require.NoError(t, tx.Commit())
	d.drain(t)
	d.left(t, 0)
	require.Len(t, d.log(t, "p1", carewire.KindVital), 2)
	require.NotEmpty(t, d.log(t, "p1", carewire.KindAlert))
	require.Len(t, d.log(t, "p1", carewire.KindNotice), 1)
}

// Clears and notices in transactions come after the alerts that were raised
// there before, even in the same transaction. They come once, and a clear
// without an alert is put aside.
func TestTransactionsClearAndNotify(t *testing.T) {
	d := newDrained(t)
	tell := carewire.Notice{Patient: "p1", Text: "x", Audience: carewire.AudienceAll}
	require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error {
		return errors.Join(
			d.ClearTx(t.Context(), tx, carewire.AlertRef{Patient: "p1", Key: "never"}),
			d.RaiseTx(t.Context(), tx, fall("one")),
			d.ClearTx(t.Context(), tx, carewire.AlertRef{Patient: "p1", Key: "fall", ID: "another"}),
			d.ClearTx(t.Context(), tx, carewire.AlertRef{Patient: "p1", Key: "fall", ID: "one"}),
			d.NotifyTx(t.Context(), tx, tell))
	}))
	exec(t, d.pool, `insert into carewire.pending (kind, what, event) select kind, what, event from carewire.pending where what > 0`) // as after a crash
	d.drain(t)
	d.left(t, 0)
	a, err := d.hub.Alert(t.Context(), "p1", "fall")
	require.NoError(t, err)
	require.Equal(t, carewire.ConditionOver, a.Condition)
	require.Len(t, d.log(t, "p1", carewire.KindNotice), 1)
	rows, err := d.pool.Query(t.Context(), `select refused from carewire.pending order by n`)
	require.NoError(t, err)
	refused, err := pgx.CollectRows(rows, pgx.RowTo[string])
	require.NoError(t, err)
	require.Equal(t, []string{"forbidden", "ended", "forbidden", "ended"}, refused)
}

// A clear that a transaction has left, and that is given again after a crash, does not
// end an alert that has been raised since.
func TestTransactionClearsOnce(t *testing.T) {
	d := newDrained(t)
	require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error {
		return errors.Join(d.RaiseTx(t.Context(), tx, fall("one")), d.ClearTx(t.Context(), tx, carewire.AlertRef{Patient: "p1", Key: "fall"}))
	}))
	exec(t, d.pool, `create table given as select kind, what, event from carewire.pending`)
	d.drain(t)
	d.left(t, 0)
	_, err := d.hub.Raise(t.Context(), fall("two"))
	require.NoError(t, err)
	exec(t, d.pool, `insert into carewire.pending (kind, what, event) select kind, what, event from given`) // as after a crash
	d.left(t, 0)
	a, err := d.hub.Alert(t.Context(), "p1", "fall")
	require.NoError(t, err)
	require.Equal(t, carewire.ConditionPresent, a.Condition)
}

// refusing is a store that refuses the entries that a test chooses.
type refusing struct {
	carewire.Store
	refuses func(e carewire.Entry) bool
}

func (r refusing) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	if slices.ContainsFunc(entries, r.refuses) {
		return nil, carewire.ErrUnknownOutcome
	}
	return r.Store.Append(ctx, entries)
}

// An event that a Hub could not take yet is not overtaken by a later one for
// the same patient, which it would overwrite; others go on.
func TestPendingIsNotOvertaken(t *testing.T) {
	d := newDrained(t)
	var down atomic.Bool
	down.Store(true)
	tried := make(chan bool, 100)
	hub, err := carewire.New(new(carewiretest.Door), refusing{d.Store, func(e carewire.Entry) bool {
		if e.ID != "first" || !down.Load() {
			return false
		}
		tried <- true
		return true
	}}, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { hub.Shutdown(context.Background()) })
	leave := func(patient, id string) {
		require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error {
			a := fall(id)
			a.Patient, a.Text = patient, id
			return d.RaiseTx(t.Context(), tx, a)
		}))
	}
	leave("p1", "first")
	go d.Drain(t.Context(), hub)
	waitFor(t, tried, "the first one")
	leave("p1", "second")
	leave("p2", "other")
	waitFor(t, tried, "the first one again")
	down.Store(false)
	d.left(t, 0)
	a, err := hub.Alert(t.Context(), "p1", "fall")
	require.NoError(t, err)
	require.Equal(t, "second", a.Text)
	_, err = hub.Alert(t.Context(), "p2", "fall")
	require.NoError(t, err)
}

// As long as nothing can be crossed out, it is tried with a pause, however much
// there is.
func TestPendingThatCannotBeCrossedOut(t *testing.T) {
	d := newDrained(t)
	exec(t, d.pool, `create sequence tries`)
	exec(t, d.pool, `create function full_disk() returns trigger language plpgsql as $$ begin perform nextval('tries'); raise exception using errcode = '53100'; end $$`)
	exec(t, d.pool, `create trigger full_disk before delete on carewire.pending for each statement execute function full_disk()`)
	require.NoError(t, pgx.BeginFunc(t.Context(), d.pool, func(tx pgx.Tx) error {
		return d.PublishTx(t.Context(), tx, slices.Repeat([]carewire.Vital{carewire.HeartRate.Of("p1", 60)}, perDrain+1)...)
	}))
	began, tries := time.Now(), 0
	d.drain(t)
	require.Eventually(t, func() bool {
		return d.pool.QueryRow(t.Context(), `select case when is_called then last_value else 0 end from tries`).Scan(&tries) == nil && tries >= 6
	}, process.Patience, 20*time.Millisecond)
	require.GreaterOrEqual(t, time.Since(began), time.Duration(tries-1)*drainEvery)
	exec(t, d.pool, `drop function full_disk cascade`)
	d.left(t, 0)
	require.Len(t, d.log(t, "p1", carewire.KindVital), perDrain+1)
}
