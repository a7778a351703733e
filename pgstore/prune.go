package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carewire/carewire"
)

const (
	rememberIDs = 400 * 24 * time.Hour
	perPrune    = 2000 // entries that are looked at together, and patients
)

const lockSQL = `select from carewire.heads where patient = $1 for update`

const (
	// The oldest entries of part 0, a page of them. Both classes have an index.
	oldSQL = `
		select coalesce(received, '-infinity')::text, patient, seq from carewire.log
		where part = 0 and (coalesce(received, '-infinity'), patient, seq) > ($1::text::timestamptz, $2, $3) and coalesce(received, '-infinity') < $4 and `
	oldVitals = `kind in (1, 6)`
	oldOthers = `kind not in (1, 6)`
	oldEndSQL = ` order by coalesce(received, '-infinity'), patient, seq limit $5`

	// Entries of one patient are pruned if they are not open, and not the newest
	// vital of their key, unless the patient is gone: nothing is open, and
	// nothing has come since $3.
	pruneSQL = `
		with absent as materialized (
			select coalesce((select l.received < $3 or l.received is null from carewire.log l where l.patient = $1 order by l.seq desc limit 1), true)
				and not exists (select from carewire.states where patient = $1 and (kind = 1 or open) and open) as is
		), gone as (
			delete from carewire.log l where l.part = 0 and l.patient = $1 and l.seq = any($2::bigint[])
				and not exists (select from carewire.states s where s.patient = l.patient and s.key = l.key and s.seq = l.seq
					and (s.open or s.kind = 1 and not (select a.is from absent a)))
			returning *
		), marks as (
			insert into carewire.pruned as p (patient, kind, seq) select patient, kind, max(seq) from gone group by patient, kind
			on conflict (patient, kind) do update set seq = greatest(p.seq, excluded.seq)
		), ended as (
			delete from carewire.states s using gone where s.patient = gone.patient and s.key = gone.key and s.seq = gone.seq
		)
		insert into carewire.ids (patient, sender, id, sum, epoch, seq, must, expires)
		select patient, sender, id, sum, epoch, seq, must, received + $4::interval from gone
		where id <> '' and kind not in (1, 6) and received + $4::interval > $5`

	forgetIDsSQL = `
		delete from carewire.ids where ctid = any (array(select ctid from carewire.ids where expires <= $1 order by expires limit $2))`
)

// Prune implements [carewire.Pruner]. If vitals are kept for five days or
// longer, it drops them in parts of a fifth of that time, so they stay for up
// to a fifth longer. Other entries are deleted one by one, in short
// transactions. If ctx ends, it has done a part of the work. Call it once an
// hour or more often, so that there are parts for new entries.
func (s *Store) Prune(ctx context.Context, at time.Time, keep carewire.Retention) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	err := s.readParts(ctx)
	if err == nil && keep.Vitals > 0 {
		err = s.pruneVitals(ctx, at.UTC(), keep.Vitals)
	}
	if err == nil && keep.Others > 0 {
		err = s.pruneRest(ctx, oldOthers, at.UTC(), at.Add(-keep.Others).UTC())
	}
	for err == nil {
		if err = s.usable(ctx); err != nil {
			return err
		}
		gone, failed := s.pool.Exec(ctx, s.sql(forgetIDsSQL), at.UTC(), perPrune)
		if err = failed; err == nil && gone.RowsAffected() < perPrune {
			return nil
		}
	}
	return failure("prune", err)
}

func (s *Store) pruneVitals(ctx context.Context, at time.Time, keep time.Duration) error {
	if err := s.addParts(ctx, at, wide(keep)); err != nil {
		return err
	}
	before := at.Add(-keep)
	if err := s.dropParts(ctx, before); err != nil {
		return err
	}
	return s.pruneRest(ctx, oldVitals, at, before)
}

// pruneRest deletes the old entries of one class in part 0, page after page. It
// passes kept entries only once.
func (s *Store) pruneRest(ctx context.Context, class string, at, before time.Time) error {
	received, patient, seq := "-infinity", "", int64(0)
	for {
		if err := s.usable(ctx); err != nil {
			return err
		}
		rows, err := s.pool.Query(ctx, s.sql(oldSQL+class+oldEndSQL), received, patient, seq, before, perPrune)
		if err != nil {
			return err
		}
		n, old := 0, map[string][]int64{}
		_, err = pgx.ForEachRow(rows, []any{&received, &patient, &seq}, func() error {
			n++
			old[patient] = append(old[patient], seq)
			return nil
		})
		if err != nil {
			return err
		}
		for of, seqs := range old {
			if err := s.usable(ctx); err != nil {
				return err
			}
			if err := s.prune(ctx, of, seqs, at, before); err != nil {
				return err
			}
		}
		if n < perPrune {
			return nil
		}
	}
}

// prune forgets entries of one log, and the log if nothing is left of it.
func (s *Store) prune(ctx context.Context, patient string, seqs []int64, at, before time.Time) error {
	return s.alone(ctx, patient, func(b *pgx.Batch) {
		b.Queue(s.sql(pruneSQL), patient, seqs, before, rememberIDs, at)
		s.queueForget(b, patient)
	})
}
