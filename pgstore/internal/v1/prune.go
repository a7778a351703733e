package v1

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carewire/carewire"
)

const (
	rememberIDs = 400 * 24 * time.Hour
	perPrune    = 2000 // entries that one transaction deletes, while appends to the patient wait
)

const (
	// Which entries are old enough. The newest state of a key stays if it is
	// open or a vital.
	oldSQL = ` from carewire.log l where (l.received < $1 or l.received is null) and (l.kind in (1, 6)) = $2
		and not exists (select from carewire.states s where s.patient = l.patient and s.key = l.key and s.seq = l.seq and (s.open or s.kind = 1))`

	patientsSQL = `select distinct l.patient` + oldSQL

	lockSQL = `select from carewire.heads where patient = $1 for update`

	pruneSQL = `
		with gone as (
			delete from carewire.log where patient = $3 and seq in (select l.seq` + oldSQL + ` and l.patient = $3 order by l.seq limit $4)
			returning *
		), marks as (
			insert into carewire.pruned as p (patient, kind, seq) select patient, kind, max(seq) from gone group by patient, kind
			on conflict (patient, kind) do update set seq = greatest(p.seq, excluded.seq)
		), ended as (
			delete from carewire.states s using gone where s.patient = gone.patient and s.key = gone.key and s.seq = gone.seq
		), remembered as (
			insert into carewire.ids (patient, sender, id, sum, epoch, seq, must, expires)
			select patient, sender, id, sum, epoch, seq, must, received + $5::interval from gone
			where id <> '' and kind not in (1, 6) and received + $5::interval > $6
		)
		select count(*) from gone`

	forgetSQL = `
		delete from carewire.ids where (patient, sender, id) in (
			select patient, sender, id from carewire.ids where expires <= $1 limit $2)`
)

// Prune implements [carewire.Pruner]. It works in short transactions, one
// patient at a time; if ctx ends it has done a part.
func (s *Store) Prune(ctx context.Context, at time.Time, keep carewire.Retention) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	for droppable, age := range map[bool]time.Duration{true: keep.Vitals, false: keep.Others} {
		if age <= 0 {
			continue
		}
		before := at.Add(-age).UTC()
		rows, err := s.pool.Query(ctx, s.sql(patientsSQL), before, droppable)
		if err != nil {
			return failure("prune", err)
		}
		patients, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			return failure("prune", err)
		}
		for _, patient := range patients {
			if err := s.prune(ctx, patient, at.UTC(), before, droppable); err != nil {
				return err
			}
		}
	}
	for {
		if err := s.usable(ctx); err != nil {
			return err
		}
		gone, err := s.pool.Exec(ctx, s.sql(forgetSQL), at.UTC(), perPrune)
		if err != nil || gone.RowsAffected() < perPrune {
			return failure("prune", err)
		}
	}
}

// prune forgets the old entries of one log.
func (s *Store) prune(ctx context.Context, patient string, at, before time.Time, droppable bool) error {
	for {
		if err := s.usable(ctx); err != nil {
			return err
		}
		var gone int
		b := &pgx.Batch{}
		b.Queue(beginSQL)
		b.Queue(settingsSQL, s.lockWait, s.idle)
		b.Queue(s.sql(lockSQL), patient)
		b.Queue(s.sql(pruneSQL), before, droppable, patient, perPrune, rememberIDs, at).QueryRow(func(row pgx.Row) error { return row.Scan(&gone) })
		b.Queue(`commit`)
		if err := s.pool.SendBatch(ctx, b).Close(); err != nil {
			return failure("prune", err)
		}
		if gone < perPrune {
			return nil
		}
	}
}
