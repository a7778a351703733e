package pgstore

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/carewire/carewire"
)

const (
	perDay = 24 * time.Hour

	// partsInAll is how many parts a retention's vitals are in: so few that one
	// may look into all of them, so many that little is kept for longer than it
	// need be. A retention of fewer days is not worth parts.
	partsInAll = 5

	rest = 0 // the part that takes entries of no other part
)

// span is the days whose vitals are a part of the log, from first until the day
// before after.
type span struct{ first, after int32 }

// dayOf counts days from 1970.
func dayOf(t time.Time) int32 {
	if t.Year() < 1970 || t.Year() > 9999 {
		return 0
	}
	return int32(t.Unix() / int64(perDay/time.Second))
}

// partOf says where an entry is kept.
func (s *Store) partOf(e *carewire.Entry) int32 {
	day := dayOf(e.Received)
	if e.Kind != carewire.KindVital || !slices.ContainsFunc(*s.parts.Load(), func(p span) bool { return p.first <= day && day < p.after }) {
		return rest
	}
	return day
}

// sentBefore is the first part in which an entry with e's ID may be: a vital is
// not received before it is measured, give or take a day for clocks that differ.
func sentBefore(e *carewire.Entry) int32 {
	day := dayOf(e.Received)
	if !e.Time.IsZero() {
		day = min(day, dayOf(e.Time))
	}
	return max(day-1, rest+1)
}

// readParts finds out which parts there are.
func (s *Store) readParts(ctx context.Context) error {
	rows, err := s.pool.Query(ctx, s.sql(`select first, after from carewire.parts order by first`))
	if err != nil {
		return err
	}
	list, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (p span, err error) { return p, row.Scan(&p.first, &p.after) })
	if err == nil {
		s.parts.Store(&list)
	}
	return err
}

// isNoPart reports whether an entry's part is not there any more.
func isNoPart(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "23514"
}

// wide is how many days a part has; 0: vitals are kept so short that there are none.
func wide(vitals time.Duration) int32 { return int32(vitals / (partsInAll * perDay)) }

// addParts makes parts for today and tomorrow, so that there is one when a day
// begins. Another node may do the same: one of them finds it done.
func (s *Store) addParts(ctx context.Context, now time.Time, wide int32) error {
	today := dayOf(now)
	for wide > 0 && today > 0 {
		end := today
		if list := *s.parts.Load(); len(list) > 0 {
			end = max(end, list[len(list)-1].after)
		}
		if end > today+1 {
			return nil
		}
		_, err := s.pool.Exec(ctx, s.sql(`select carewire.add_part($1, $2)`), end, end+wide)
		if e := new(pgconn.PgError); errors.As(err, &e) && e.Code == "42P07" { // it is there
			err = nil
		}
		if err == nil {
			err = s.readParts(ctx)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const (
	// The newest entry of a key outlives its part.
	staysSQL = `select distinct patient from carewire.states where part >= $1 and part < $2 order by patient limit $3`
	staySQL  = `
		with stays as (select key, seq, part from carewire.states where patient = $1 and part >= $2 and part < $3),
			moved as (update carewire.log l set part = 0 from stays s where l.patient = $1 and l.seq = s.seq and l.part = s.part)
		update carewire.states s set part = 0 from stays where s.patient = $1 and s.key = stays.key`

	markSQL = `
		insert into carewire.pruned as p (patient, kind, seq)
		select patient, kind, max(seq) from carewire.log where part >= $1 and part < $2 group by patient, kind order by patient, kind
		on conflict (patient, kind) do update set seq = greatest(p.seq, excluded.seq)`
)

// dropParts drops the parts all of which is from before a time. One that cannot
// be had now is dropped the next time.
func (s *Store) dropParts(ctx context.Context, before time.Time) error {
	for _, p := range slices.Clone(*s.parts.Load()) {
		if p.after > dayOf(before) {
			break
		}
		if err := s.empty(ctx, p); err != nil {
			return err
		}
		var dropped bool
		err := s.pool.QueryRow(ctx, s.sql(`select carewire.drop_part($1)`), p.first).Scan(&dropped)
		if err != nil && !isLocked(err) {
			return err
		}
		if err := s.readParts(ctx); err != nil {
			return err
		}
	}
	return nil
}

// empty moves the entries that stay out of a part, and marks the rest as
// pruned.
func (s *Store) empty(ctx context.Context, p span) error {
	for {
		rows, err := s.pool.Query(ctx, s.sql(staysSQL), p.first, p.after, perPrune)
		if err != nil {
			return err
		}
		patients, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return err
		}
		for _, patient := range patients {
			if err := s.usable(ctx); err != nil {
				return err
			}
			err := s.alone(ctx, patient, func(b *pgx.Batch) { b.Queue(s.sql(staySQL), patient, p.first, p.after) })
			if err != nil {
				return err
			}
		}
		if len(patients) < perPrune {
			break
		}
	}
	_, err := s.pool.Exec(ctx, s.sql(markSQL), p.first, p.after)
	return err
}

// alone runs the queries that queue adds in one transaction, in which nobody
// else appends to the patient's log.
func (s *Store) alone(ctx context.Context, patient string, queue func(b *pgx.Batch)) error {
	b := &pgx.Batch{}
	b.Queue(beginSQL)
	b.Queue(settingsSQL, s.lockWait, s.idle)
	b.Queue(s.sql(lockSQL), patient)
	queue(b)
	b.Queue(`commit`)
	return s.pool.SendBatch(ctx, b).Close()
}
