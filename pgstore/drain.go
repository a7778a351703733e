package pgstore

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
)

const (
	drainEvery = 200 * time.Millisecond // the interval between looks at the events of hosts' transactions
	perDrain   = 100                    // events taken at once
)

// Drain gives hub the events of RaiseTx, ClearTx, NotifyTx and PublishTx, in
// the order of their transactions, vitals last. It returns the reason when ctx
// ends, the hub is shut down or the Store is closed. Run it in a goroutine on
// every node: one of them works, and another takes over when that one dies. An
// event that was given to a hub but not yet marked as done is given again, and
// recognised by its ID.
//
// An event that the hub can never accept (it is invalid, or its ID stands for
// other content) stays in the table pending, with the reason in the column
// refused: check it. All others are retried after two seconds, and later events
// for the same patient wait.
func (s *Store) Drain(ctx context.Context, hub *carewire.Hub) error {
	failing := false
	for {
		n, err := s.drainSome(ctx, hub)
		if stop := s.usable(ctx); stop != nil {
			return stop
		}
		if errors.Is(err, carewire.ErrClosed) {
			return carewire.ErrClosed
		}
		if err != nil && !failing {
			s.log.Warn("pgstore: the events that transactions have left cannot be read", "error", err)
		}
		if failing = err != nil; n == perDrain && !failing {
			continue
		}
		select {
		case <-time.After(drainEvery):
		case <-ctx.Done():
		case <-s.closing:
		}
	}
}

// left is an event that a transaction left.
type left struct {
	n     int64
	kind  carewire.Kind // KindVital, else KindAlert
	what  leftAs
	event string
	err   error // its result
}

// leftAs is the call to be made with an event that is no vital.
type leftAs int16

const (
	leftRaise leftAs = iota
	leftClear
	leftNotice
)

// read returns the patient of an event, and the function that gives it to the
// Hub.
func (e *left) read() (patient string, give func(context.Context, *carewire.Hub) error, err error) {
	switch e.what {
	case leftClear:
		var c cleared
		err = json.Unmarshal([]byte(e.event), &c)
		return c.Patient, func(ctx context.Context, hub *carewire.Hub) error {
			_, err := hub.ClearOnce(ctx, carewire.AlertRef{Patient: c.Patient, Key: c.Key, ID: c.ID, Test: c.Test}, c.EventID)
			return err
		}, err
	case leftNotice:
		var n carewire.Notice
		err = json.Unmarshal([]byte(e.event), &n)
		return n.Patient, func(ctx context.Context, hub *carewire.Hub) error {
			_, err := hub.Notify(ctx, n)
			return err
		}, err
	default:
		var r carewire.Raise
		err = json.Unmarshal([]byte(e.event), &r)
		return r.Patient, func(ctx context.Context, hub *carewire.Hub) error {
			_, err := hub.Raise(ctx, r)
			return err
		}, err
	}
}

const (
	// One node drains at a time, or their events would mix.
	turnSQL = `select pg_try_advisory_xact_lock(hashtextextended($1, 0))`

	// An event to be retried holds up later events for its patient: an
	// earlier state would otherwise overwrite an alert.
	patientSQL = `substring(event from '"patient"\s*:\s*"((?:[^"\\]|\\.)*)"')`
	leftSQL    = `
		with later as materialized (
			select kind, ` + patientSQL + ` as patient, min(n) as n from carewire.pending
			where refused is null and after > statement_timestamp() group by 1, 2)
		select n, kind, what, event from carewire.pending p where refused is null and after <= statement_timestamp()
			and not exists (select from later l where l.kind = p.kind and l.patient = ` + patientSQL + ` and l.n < p.n)
		order by kind desc, n limit $1`

	takenSQL   = `delete from carewire.pending where n = any($1::bigint[])`
	laterSQL   = `update carewire.pending set after = clock_timestamp() + interval '2 seconds' where n = any($1::bigint[])`
	refusedSQL = `update carewire.pending p set refused = w.why from unnest($1::bigint[], $2::text[]) w (n, why) where p.n = w.n`
)

// drainSome gives hub some events and returns how many there were.
func (s *Store) drainSome(ctx context.Context, hub *carewire.Hub) (int, error) {
	if err := s.usable(ctx); err != nil {
		return 0, err
	}
	looking, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	conn, err := s.pool.Acquire(looking)
	if err != nil {
		return 0, failure("drain", err)
	}
	defer conn.Release()
	// Accepted events are marked as done, even if ctx ends meanwhile.
	late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 6*s.timeout)
	defer cancel()
	var events []*left
	mine := false
	b := &pgx.Batch{}
	b.Queue(beginSQL)
	b.Queue(settingsSQL, s.lockWait, milliseconds(s.timeout)) // the hub may take its time
	b.Queue(turnSQL, "carewire drain "+s.schema).QueryRow(func(row pgx.Row) error { return row.Scan(&mine) })
	b.Queue(s.sql(leftSQL), perDrain).Query(func(rows pgx.Rows) error {
		var e left
		_, err := pgx.ForEachRow(rows, []any{&e.n, &e.kind, &e.what, &e.event}, func() error {
			events = append(events, new(e))
			return nil
		})
		return err
	})
	if err := conn.SendBatch(looking, b).Close(); err != nil {
		return 0, failure("drain", err)
	}
	if !mine || len(events) == 0 {
		_, err := conn.Exec(late, `rollback`)
		return 0, failure("drain", err)
	}
	// The transaction must outlast it: else nothing is crossed out, and the same
	// events come again for ever.
	giving, cancel := context.WithTimeout(ctx, s.timeout/2)
	defer cancel()
	give(giving, hub, events)
	return len(events), s.crossOut(late, conn, events, giving.Err() != nil)
}

// give hands events to hub, as many as it takes before ctx ends: all vitals
// together, and other events of different patients side by side.
func give(ctx context.Context, hub *carewire.Hub, events []*left) {
	var vitals []carewire.Vital
	var published []*left
	var wg sync.WaitGroup
	others := map[string][]func(failed error) error{} // each told whether the one before it failed
	for _, e := range events {
		if e.kind == carewire.KindVital {
			var v carewire.Vital
			if e.err = json.Unmarshal([]byte(e.event), &v); e.err == nil {
				vitals, published = append(vitals, v), append(published, e)
			}
			continue
		}
		patient, give, err := e.read()
		if e.err = err; err != nil {
			continue
		}
		others[patient] = append(others[patient], func(failed error) error {
			if failed == nil || refusal(failed) != "" { // else the later ones wait, too
				failed = give(ctx, hub)
			}
			e.err = failed
			return failed
		})
	}
	for _, list := range others {
		wg.Go(func() {
			var err error
			for _, do := range list {
				err = do(err)
			}
		})
	}
	results, err := hub.Publish(ctx, vitals...)
	for i, e := range published {
		if e.err = err; results != nil {
			e.err = results[i].Err
		}
	}
	wg.Wait()
}

// crossOut writes down the results of events, and ends the transaction. If time
// was short, those that the hub has not taken keep their place.
func (s *Store) crossOut(ctx context.Context, conn *pgxpool.Conn, events []*left, short bool) error {
	var taken, later, refused []int64
	var reasons []string
	var closed error
	for _, e := range events {
		switch why := refusal(e.err); {
		case e.err == nil:
			taken = append(taken, e.n)
		case why != "":
			refused, reasons = append(refused, e.n), append(reasons, why)
		case errors.Is(e.err, carewire.ErrClosed):
			closed = carewire.ErrClosed
		case !short:
			later = append(later, e.n)
		}
	}
	b := &pgx.Batch{}
	b.Queue(s.sql(takenSQL), taken)
	b.Queue(s.sql(laterSQL), later)
	b.Queue(s.sql(refusedSQL), refused, reasons)
	b.Queue(`commit`)
	return errors.Join(closed, failure("drain", conn.SendBatch(ctx, b).Close()))
}

// refusal is why the hub will never take an event; "" if it may.
func refusal(err error) string {
	var invalid *carewire.ValidationError
	var request *carewire.RequestError
	var syntax *json.SyntaxError
	switch {
	case errors.As(err, &invalid):
		return "invalid: " + invalid.Field
	case errors.Is(err, carewire.ErrIDReused):
		return string(carewire.CodeIDReused)
	case errors.Is(err, carewire.ErrEnded): // another occurrence was to be cleared
		return string(carewire.CodeEnded)
	case errors.Is(err, carewire.ErrNotFound): // there is no such alert
		return string(carewire.CodeForbidden)
	case errors.As(err, &request) && request.Retry == carewire.RetryNever:
		return string(request.Code)
	case errors.As(err, &syntax):
		return string(carewire.CodeMalformed)
	}
	return ""
}
