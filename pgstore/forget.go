package pgstore

import (
	"crypto/rand"

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
