package pgstore

import (
	"context"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carewire/carewire"
)

// columns are those of an entry, as entries reads them.
const columns = `l.patient, e.epoch, l.seq, l.must, l.kind, l.key, l.rev, l.open, l.due, l.audience, l.addressed, l.sender, l.id, l.sum, l.time, l.received, l.data`

// newest are the newest entries of keys, each looked up by its number: joined in
// another way, a whole log might be read for them.
const newest = `carewire.states s` + withEntry

const withEntry = `
	cross join lateral (select * from carewire.log l where l.patient = s.patient and l.seq = s.seq and (l.part = 0 or l.part = s.part) limit 1) l
	join carewire.epochs e on e.num = l.epoch`

// entries reads rows that begin with columns; the others go to more.
func entries(rows pgx.Rows, more ...any) ([]carewire.Entry, error) {
	var found []carewire.Entry
	var e carewire.Entry
	var due, at, received *time.Time
	var sum []byte
	into := append([]any{&e.Patient, &e.Epoch, &e.Seq, &e.Must, &e.Kind, &e.Key, &e.Rev, &e.Open, &due, &e.Audience, &e.To, &e.Sender, &e.ID, &sum,
		&at, &received, &e.Data}, more...)
	_, err := pgx.ForEachRow(rows, into, func() error {
		e.Due, e.Time, e.Received = orZero(due), orZero(at), orZero(received)
		e.Sum = [16]byte{}
		copy(e.Sum[:], sum)
		found = append(found, e)
		e.To, e.Data = nil, nil
		return nil
	})
	return found, err
}

// entries runs a statement that finds entries.
func (s *Store) entries(ctx context.Context, call, sql string, args ...any) ([]carewire.Entry, error) {
	if err := s.usable(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	rows, err := s.pool.Query(ctx, s.sql(sql), args...)
	if err != nil {
		return nil, failure(call, err)
	}
	found, err := entries(rows)
	return found, failure(call, err)
}

// asked is view for clients' reads, of which there may be many: it takes no
// connection that appends or paging may need.
func (s *Store) asked(ctx context.Context, call string, queue func(b *pgx.Batch)) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	select {
	case s.reading <- struct{}{}:
		defer func() { <-s.reading }()
		return s.view(ctx, call, queue)
	case <-s.closing:
		return carewire.ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
}

// view runs the queries that queue adds on one consistent view, in one round
// trip.
func (s *Store) view(ctx context.Context, call string, queue func(b *pgx.Batch)) error {
	if err := s.usable(ctx); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	b := &pgx.Batch{}
	b.Queue(`begin isolation level repeatable read read only`)
	queue(b)
	b.Queue(`commit`)
	return failure(call, s.pool.SendBatch(ctx, b).Close())
}

const (
	readSQL = `
		select ` + columns + ` from carewire.log l join carewire.epochs e on e.num = l.epoch
		where l.patient = $1 and l.seq > $2 and l.seq <= $8 and ($3::smallint[] is null or l.kind = any($3)) and ($4 = '' or l.key = $4)
			and ($5::timestamptz is null or l.time >= $5) and ($6::timestamptz is null or l.time < $6)`
	readEndSQL = ` order by l.seq limit $7`

	gapSQL = `select exists (select from carewire.pruned where patient = $1 and seq > $2 and ($3::smallint[] is null or kind = any($3)))`
)

// Read implements [carewire.Store].
func (s *Store) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	sql := readSQL
	var kinds []int16
	vitals := len(q.Kinds) == 0
	for _, k := range q.Kinds {
		kinds = append(kinds, int16(k))
		vitals = vitals || k == carewire.KindVital
	}
	if !vitals {
		sql += ` and l.part = 0 and l.kind <> 1` // there is an index of them
	}
	seq, last := int64(min(after.Seq, 1<<62)), int64(1<<62)
	if q.Last > 0 {
		last = int64(min(q.Last, 1<<62))
	}
	var found []carewire.Entry
	var gap bool
	err := s.asked(ctx, "read", func(b *pgx.Batch) {
		b.Queue(s.sql(gapSQL), patient, seq, kinds).QueryRow(func(row pgx.Row) error { return row.Scan(&gap) })
		b.Queue(s.sql(sql+readEndSQL), patient, seq, kinds, q.Key, fromTime(q.From), fromTime(q.To), min(orThousand(q.Limit), 10_000), last).Query(func(rows pgx.Rows) (err error) {
			found, err = entries(rows)
			return err
		})
	})
	if err == nil && gap {
		err = carewire.ErrGap
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

// fromTime is a bound of entries' times, which are whole microseconds: an entry
// that is not before t is not before the next microsecond.
func fromTime(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	up := t.UTC().Truncate(time.Microsecond)
	if up.Before(t) {
		up = up.Add(time.Microsecond)
	}
	return &up
}

func orThousand(limit int) int {
	if limit <= 0 {
		return 1000
	}
	return limit
}

const (
	latestSQL = `
		select ` + columns + ` from ` + newest + `
		where s.patient = $1 and (s.kind = 1 or s.open) and s.kind <> 6 order by l.seq`

	headsOfSQL = `
		select h.patient, h.seq, h.must, e.epoch, h.past_ends,
			array(select p.epoch from unnest(h.past_epochs) with ordinality u (num, n) join carewire.epochs p using (num) order by u.n)
		from unnest($1::text[]) w (patient) join carewire.heads h on h.patient = w.patient join carewire.epochs e on e.num = h.epoch where h.seq > 0`
)

// Latest implements [carewire.Store].
func (s *Store) Latest(ctx context.Context, patient string) ([]carewire.Entry, carewire.Head, error) {
	var found []carewire.Entry
	heads := map[string]carewire.Head{}
	err := s.asked(ctx, "latest", func(b *pgx.Batch) {
		b.Queue(s.sql(headsOfSQL), []string{patient}).Query(readHeads(heads))
		b.Queue(s.sql(latestSQL), patient).Query(func(rows pgx.Rows) (err error) {
			found, err = entries(rows)
			return err
		})
	})
	if err != nil {
		return nil, carewire.Head{}, err
	}
	h := heads[patient]
	h.Patient = patient
	return found, h, nil
}

func readHeads(into map[string]carewire.Head) func(pgx.Rows) error {
	return func(rows pgx.Rows) error {
		var h carewire.Head
		var ends []uint64
		var epochs []string
		_, err := pgx.ForEachRow(rows, []any{&h.Patient, &h.Seq, &h.Must, &h.Epoch, &ends, &epochs}, func() error {
			h.Epochs = nil
			for i := range ends {
				h.Epochs = append(h.Epochs, carewire.Position{Epoch: epochs[i], Seq: ends[i]})
			}
			h.Epochs = append(h.Epochs, h.Position)
			into[h.Patient] = h
			return nil
		})
		return err
	}
}

const getSQL = `
	select ` + columns + ` from ` + newest + `
	where s.patient = $1 and s.key = $2`

// Get implements [carewire.Store].
func (s *Store) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	found, err := s.entries(ctx, "get", getSQL, patient, key)
	if err == nil && len(found) == 0 {
		err = carewire.ErrNotFound
	}
	if err != nil {
		return carewire.Entry{}, err
	}
	return found[0], nil
}

const statesOfSQL = `
	select ` + columns + ` from unnest($1::text[], $2::text[]) w (patient, key)
	cross join lateral (select * from carewire.states s where s.patient = w.patient and s.key = w.key limit 1) s` + withEntry

// States implements [carewire.StateReader].
func (s *Store) States(ctx context.Context, keys []carewire.StateKey) ([]carewire.Entry, error) {
	patients, names := make([]string, len(keys)), make([]string, len(keys))
	for i, k := range keys {
		patients[i], names[i] = k.Patient, k.Key
	}
	return s.entries(ctx, "states", statesOfSQL, patients, names)
}

// Heads implements [carewire.Store].
func (s *Store) Heads(ctx context.Context, patients []string) ([]carewire.Head, error) {
	if err := s.usable(ctx); err != nil || len(patients) == 0 {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	heads := map[string]carewire.Head{}
	rows, err := s.pool.Query(ctx, s.sql(headsOfSQL), patients)
	if err == nil {
		err = readHeads(heads)(rows)
	}
	if err != nil {
		return nil, failure("heads", err)
	}
	list := make([]carewire.Head, len(patients))
	for i, patient := range patients {
		list[i] = heads[patient]
		list[i].Patient = patient
		list[i].Epochs = append([]carewire.Position(nil), list[i].Epochs...)
	}
	return list, nil
}

const waitingSQL = `
	select ` + columns + ` from ` + newest + `
	where s.open and s.due is not null and s.due <= $1 order by s.due limit $2`

// Waiting implements [carewire.Store].
func (s *Store) Waiting(ctx context.Context, due time.Time, limit int) ([]carewire.Entry, error) {
	return s.entries(ctx, "waiting", waitingSQL, due.UTC(), orThousand(limit))
}
