package pgstore

import (
	"context"
	"crypto/rand"
	"encoding/json"

	"github.com/jackc/pgx/v5"
)

// A log of which nothing is left is forgotten, with its head. Should something
// come again, its numbers begin with 1, which clients may know already of that
// epoch: so no epoch is used again for a patient who was forgotten in it. Logs
// that are there stay in theirs.
const (
	laterEpochSQL = `
		insert into carewire.epochs (epoch, identity, later)
		select $2, e.identity, true from carewire.epochs e join carewire.heads h on h.patient = $1 and h.epoch = e.num
		where e.num = (select max(num) from carewire.epochs) and not exists (select from carewire.log where patient = $1)`

	forgetSQL = `
		with gone as (delete from carewire.heads h where h.patient = $1 and not exists (select from carewire.log l where l.patient = $1) returning patient),
			marks as (delete from carewire.pruned p using gone where p.patient = gone.patient)
		delete from carewire.states s using gone where s.patient = gone.patient`
)

// queueForget forgets a log that has come to nothing.
func (s *Store) queueForget(b *pgx.Batch, patient string) {
	b.Queue(s.sql(laterEpochSQL), patient, rand.Text())
	b.Queue(s.sql(forgetSQL), patient)
}

const (
	endSQL         = `select coalesce((select seq from carewire.heads where patient = $1), 0)`
	eraseStatesSQL = `delete from carewire.states where patient = $1`
	eraseIDsSQL    = `delete from carewire.ids where patient = $1`
	eraseLeftSQL   = `delete from carewire.pending where ` + patientSQL + ` = $1`
	eraseSQL       = `
		with gone as (
			delete from carewire.log where patient = $1 and seq in (select seq from carewire.log where patient = $1 and seq <= $2 order by seq limit $3)
			returning patient, kind, seq
		), marks as (
			insert into carewire.pruned as p (patient, kind, seq) select patient, kind, max(seq) from gone group by patient, kind
			on conflict (patient, kind) do update set seq = greatest(p.seq, excluded.seq)
		)
		select count(*) from gone`
)

// Erase implements [carewire.Eraser]. It also removes the patient's pending
// events of transactions. The server's files hold the deleted rows until
// autovacuum has run, and its WAL and backups for as long as you keep them.
func (s *Store) Erase(ctx context.Context, patient string) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	name, err := json.Marshal(patient)
	if err != nil {
		return err
	}
	var end int64
	err = s.alone(ctx, patient, func(b *pgx.Batch) {
		b.Queue(s.sql(endSQL), patient).QueryRow(func(row pgx.Row) error { return row.Scan(&end) })
		b.Queue(s.sql(eraseStatesSQL), patient)
		b.Queue(s.sql(eraseIDsSQL), patient)
		b.Queue(s.sql(eraseLeftSQL), string(name[1:len(name)-1]))
	})
	for gone := perPrune; err == nil && gone == perPrune; {
		if err = s.usable(ctx); err != nil {
			return err
		}
		err = s.alone(ctx, patient, func(b *pgx.Batch) {
			b.Queue(s.sql(eraseSQL), patient, end, perPrune).QueryRow(func(row pgx.Row) error { return row.Scan(&gone) })
		})
	}
	return failure("erase", err)
}
