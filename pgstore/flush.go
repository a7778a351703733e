package pgstore

import (
	"cmp"
	"context"
	"errors"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
)

// flush is one transaction that appends: it locks the heads of all patients
// and looks up the entries to compare with (one round trip), decides in memory, and
// writes and commits (another one).
type flush struct {
	store  *Store
	items  []*item
	heads  map[string]*head
	states map[stateKey]*state
	known  map[idKey]known
	epochs map[int32]string // from since on
	since  int32            // logs that are in an epoch before it go on in the newest one
	num    int32            // the newest one
	full   fullness
	create bool // some patient may have no head yet
	taken  []*item
}

// fullness says which entries a flush refuses because the server has no room.
type fullness int

const (
	hasRoom     fullness = iota
	noVitals             // vitals, so that the rest may find the remaining room
	noRoomAtAll          // everything that is new
)

type (
	stateKey struct{ patient, key string }
	idKey    struct{ patient, sender, id string }
)

// head is the end of a patient's log.
type head struct {
	seq, must uint64
	epoch     int32 // 0: there is no log yet
	past      bool  // it was another one
	there     bool  // in the table
	moved     bool
}

// state is the state of a key.
type state struct {
	seq, rev uint64
	kind     carewire.Kind
	open     bool
	due      time.Time
	time     time.Time
	part     int32
	changed  int64 // the transaction that wrote it; 0: none that counts; now: this one
	moved    bool
	there    bool // in the table
}

const now = -1

// known is the result of an entry with an ID.
type known struct {
	sum  [16]byte
	at   carewire.Position
	must uint64
}

// transact gives every item its result. After an error nobody knows whether
// anything was written, except after errNewEpoch: nothing was.
func (s *Store) transact(ctx context.Context, items []*item, full fullness) error {
	err := s.try(ctx, items, full, false)
	for again := 0; (err == errNoHead || isNoPart(err)) && again < 4; again++ { // nothing was written
		if err == errNoHead || s.readParts(ctx) == nil {
			err = s.try(ctx, items, full, true)
		}
	}
	return err
}

// try is transact, unless somebody has no head and none is to be made.
func (s *Store) try(ctx context.Context, items []*item, full fullness, create bool) error {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return err
	}
	defer conn.Release()
	f := &flush{store: s, items: items, full: full, create: create, heads: map[string]*head{}, states: map[stateKey]*state{}, known: map[idKey]known{}}
	if err = f.look(ctx, conn); err == nil {
		if f.decide(); len(f.taken) > 0 {
			err = f.commit(ctx, conn)
		}
	}
	if !conn.Conn().IsClosed() && conn.Conn().PgConn().TxStatus() != 'I' {
		if _, rollback := conn.Exec(ctx, `rollback`); err == nil {
			err = rollback
		}
	}
	return err
}

// maxIdle is how long a node that appends may leave its transaction alone: in
// between it only decides.
const maxIdle = 2 * time.Second

// lostSQL ends lost transactions that hold heads: the server waits in the
// middle of a node's message, which the node itself has long given up. No
// timeout of the server applies there.
const lostSQL = `
	select count(pg_terminate_backend(a.pid)) from pg_locks l join pg_stat_activity a using (pid)
	where l.locktype = 'relation' and l.relation = (select tableoid from carewire.heads limit 1) and l.database = a.datid and l.mode in ('RowShareLock', 'RowExclusiveLock')
		and a.datname = current_database() and a.usename = current_user
		and a.state = 'active' and a.wait_event = 'ClientRead' and a.xact_start < clock_timestamp() - $1::interval`

// endLost makes way after an append has waited in vain for a head.
func (s *Store) endLost(ctx context.Context) {
	var ended int
	if err := s.pool.QueryRow(ctx, s.sql(lostSQL), s.timeout).Scan(&ended); err == nil && ended > 0 {
		s.log.Warn("pgstore: rolled back transactions of lost nodes", "transactions", ended)
	}
}

// isLocked reports whether somebody else held the rows that were to be locked.
func isLocked(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "55P03"
}

// errNoHead means that a patient has no head: nothing has come yet, or its log
// was forgotten just now.
var errNoHead = errors.New("pgstore: a patient has no head")

// isFull reports whether the server had no room: then the transaction was undone.
func isFull(err error) bool {
	var e *pgconn.PgError
	return errors.As(err, &e) && e.Code == "53100"
}

const (
	beginSQL = `begin isolation level read committed read write`

	settingsSQL = `select set_config('lock_timeout', $1, true), set_config('idle_in_transaction_session_timeout', $2, true),
		set_config('plan_cache_mode', 'force_generic_plan', true)` // or each flush would be planned anew, for its parts

	newHeadsSQL = `insert into carewire.heads (patient) select unnest($1::text[]) on conflict do nothing`
	headsSQL    = `
		select h.patient, h.seq, h.must, h.epoch from unnest($1::text[]) w (patient) join carewire.heads h on h.patient = w.patient
		order by h.patient for update of h`

	// In the middle stands the server's name.
	epochsSQL    = `select array_agg(num order by num), array_agg(epoch order by num), (array_agg(identity order by num desc))[1] = `
	epochsEndSQL = `, ` + safe + ` from carewire.epochs where num >= ` + sinceEpoch

	// Epochs that are later than this one begin logs that are new, and no others.
	sinceEpoch = `(select num from carewire.epochs where not later order by num desc limit 1)`

	statesSQL = `
		select s.patient, s.key, s.seq, s.rev, s.kind, s.open, s.due, s.time, s.part, coalesce(s.changed::text::bigint, 0)
		from unnest($1::text[], $2::text[]) w (patient, key)
		cross join lateral (select * from carewire.states s where s.patient = w.patient and s.key = w.key limit 1) s`

	knownSQL = `
		select w.patient, w.sender, w.id, k.sum, e.epoch, k.seq, k.must
		from unnest($1::text[], $2::text[], $3::text[]) w (patient, sender, id)
		cross join lateral (
			select l.sum, l.epoch, l.seq, l.must from carewire.log l where l.patient = w.patient and l.sender = w.sender and l.id = w.id and l.id <> '' and (l.part = 0 or l.part >= $4)
			union all
			select i.sum, i.epoch, i.seq, i.must from carewire.ids i where i.patient = w.patient and i.sender = w.sender and i.id = w.id
			limit 1) k
		join carewire.epochs e on e.num = k.epoch`
)

// look locks the heads, in the same order as everybody, and reads the entries that the
// items are compared with. Each statement sees all earlier commits.
func (f *flush) look(ctx context.Context, conn *pgxpool.Conn) error {
	s := f.store
	b := &pgx.Batch{}
	b.Queue(beginSQL)
	b.Queue(settingsSQL, s.lockWait, s.idle)
	states, ids := map[stateKey]bool{}, map[idKey]bool{}
	fresh := map[string]bool{} // patients that may need a head
	from := int32(math.MaxInt32)
	for _, it := range f.items {
		f.heads[it.Patient] = &head{}
		if !f.refuses(it.Kind) {
			fresh[it.Patient] = true
		}
		if it.Key != "" {
			states[stateKey{it.Patient, it.Key}] = true
		}
		if it.ID != "" {
			ids[idKey{it.Patient, it.Sender, it.ID}] = true
			from = min(from, sentBefore(&it.Entry))
		}
	}
	patients := slices.Sorted(maps.Keys(f.heads))
	if f.create {
		b.Queue(s.sql(newHeadsSQL), slices.Sorted(maps.Keys(fresh)))
	}
	b.Queue(s.sql(headsSQL), patients).Query(func(rows pgx.Rows) error {
		var patient string
		var h head
		_, err := pgx.ForEachRow(rows, []any{&patient, &h.seq, &h.must, &h.epoch}, func() error {
			h.there = true
			f.heads[patient] = new(h)
			return nil
		})
		return err
	})
	b.Queue(s.sql(epochsSQL + s.identity + epochsEndSQL)).QueryRow(func(row pgx.Row) error {
		var nums []int32
		var names []string
		var same, durable bool
		if err := row.Scan(&nums, &names, &same, &durable); err != nil {
			return err
		}
		f.epochs = map[int32]string{}
		for i, num := range nums {
			f.epochs[num] = names[i]
			f.num = num
		}
		f.since = nums[0]
		if !durable && !s.volatile {
			return ErrUnsafe
		}
		if !same {
			return errNewEpoch
		}
		return nil
	})
	if len(states) > 0 {
		var of, keys []string
		for k := range states {
			of, keys = append(of, k.patient), append(keys, k.key)
		}
		b.Queue(s.sql(statesSQL), of, keys).Query(f.readStates)
	}
	if len(ids) > 0 {
		var of, senders, named []string
		for k := range ids {
			of, senders, named = append(of, k.patient), append(senders, k.sender), append(named, k.id)
		}
		b.Queue(s.sql(knownSQL), of, senders, named, from).Query(f.readKnown)
	}
	if err := conn.SendBatch(ctx, b).Close(); err != nil {
		return err
	}
	for patient := range fresh {
		if !f.heads[patient].there {
			return errNoHead
		}
	}
	return nil
}

func (f *flush) readStates(rows pgx.Rows) error {
	var k stateKey
	var st state
	var due, at *time.Time
	_, err := pgx.ForEachRow(rows, []any{&k.patient, &k.key, &st.seq, &st.rev, &st.kind, &st.open, &due, &at, &st.part, &st.changed}, func() error {
		st.due, st.time, st.there = orZero(due), orZero(at), true
		f.states[k] = new(st)
		return nil
	})
	return err
}

func (f *flush) readKnown(rows pgx.Rows) error {
	var k idKey
	var is known
	var sum []byte
	_, err := pgx.ForEachRow(rows, []any{&k.patient, &k.sender, &k.id, &sum, &is.at.Epoch, &is.at.Seq, &is.must}, func() error {
		copy(is.sum[:], sum)
		f.known[k] = is
		return nil
	})
	return err
}

// decide gives every item its result, as if it were written already.
func (f *flush) decide() {
	for _, it := range f.items {
		it.result = f.take(it)
	}
}

// refuses reports whether new entries of a kind are refused for lack of room.
func (f *flush) refuses(kind carewire.Kind) bool {
	return f.full == noRoomAtAll || f.full == noVitals && kind == carewire.KindVital
}

func (f *flush) take(it *item) carewire.AppendResult {
	id := idKey{it.Patient, it.Sender, it.ID}
	if was, ok := f.known[id]; ok && it.ID != "" {
		if was.sum != it.Sum {
			return carewire.AppendResult{Err: carewire.ErrIDReused}
		}
		return carewire.AppendResult{Position: was.at, Must: was.must, Repeated: true}
	}
	key := stateKey{it.Patient, it.Key}
	st := f.states[key]
	if st == nil {
		st = &state{}
	}
	if it.Rev != 0 && it.Rev != st.rev+1 {
		return carewire.AppendResult{Err: carewire.ErrConflict}
	}
	if f.refuses(it.Kind) {
		return carewire.AppendResult{Err: carewire.ErrFull}
	}
	h := f.heads[it.Patient]
	if h.epoch < f.since {
		h.past, h.epoch = h.seq > 0, f.num
	}
	h.seq++
	if !it.Kind.Droppable() {
		h.must++
	}
	h.moved = true
	it.Position, it.Must = carewire.Position{Epoch: f.epochs[h.epoch], Seq: h.seq}, h.must
	it.part, it.epoch = f.store.partOf(&it.Entry), h.epoch
	f.taken = append(f.taken, it)
	if it.ID != "" {
		f.known[id] = known{it.Sum, it.Position, it.Must}
	}
	if it.Key != "" {
		f.states[key] = st
		st.take(it)
	}
	return carewire.AppendResult{Position: it.Position, Must: it.Must}
}

// take makes an entry the newest state, if it is.
func (st *state) take(it *item) {
	newest := st.seq == 0 || it.Kind != carewire.KindVital || carewire.TakesPlace(it.Time, it.Received, st.time)
	st.moved = st.moved || newest || it.Rev > st.rev
	st.rev = max(st.rev, it.Rev)
	if newest {
		st.seq, st.kind, st.open, st.due, st.time, st.part, st.changed = it.Seq, it.Kind, it.Open, it.Due, it.Time, it.part, 0
		if !it.Kind.Droppable() {
			st.changed = now
		}
	}
}

const (
	pastSQL = `
		update carewire.heads set past_epochs = past_epochs || epoch, past_ends = past_ends || seq
		where patient = any($1::text[])`

	headSQL = `
		update carewire.heads h set seq = w.seq, must = w.must, epoch = w.epoch
		from unnest($1::text[], $2::bigint[], $3::bigint[], $4::int[]) w (patient, seq, must, epoch) where h.patient = w.patient`

	logSQL = `
		insert into carewire.log (epoch, patient, seq, must, kind, key, rev, open, due, audience, addressed, sender, id, sum, time, received, data, part)
		select unnest($1::int[]), unnest($2::text[]), unnest($3::bigint[]), unnest($4::bigint[]), unnest($5::smallint[]), unnest($6::text[]), unnest($7::bigint[]), unnest($8::boolean[]),
			unnest($9::timestamptz[]), unnest($10::smallint[]), unnest($11::text[])::text[], unnest($12::text[]), unnest($13::text[]), unnest($14::bytea[]),
			unnest($15::timestamptz[]), unnest($16::timestamptz[]), unnest($17::bytea[]), unnest($18::int[])`

	statesGiven = `
		from (select patient, key, seq, rev, kind, open, due, time, part, case changed when 0 then null when -1 then pg_current_xact_id() else changed::text::xid8 end as changed
			from unnest($1::text[], $2::text[], $3::bigint[], $4::bigint[], $5::smallint[], $6::boolean[], $7::timestamptz[], $8::timestamptz[], $9::int[], $10::bigint[])
				w (patient, key, seq, rev, kind, open, due, time, part, changed)) w`

	// Apart, because to insert or update costs nearly twice an update.
	newStatesSQL = `insert into carewire.states (patient, key, seq, rev, kind, open, due, time, part, changed) select *` + statesGiven
	stateSQL     = `
		update carewire.states s set seq = w.seq, rev = w.rev, kind = w.kind, open = w.open, due = w.due, time = w.time, part = w.part, changed = w.changed` + statesGiven + `
		where s.patient = w.patient and s.key = w.key`
)

// commit writes the accepted entries.
func (f *flush) commit(ctx context.Context, conn *pgxpool.Conn) error {
	s := f.store
	b := &pgx.Batch{}
	var patients, past []string
	var seqs, musts []uint64
	var epochs []int32
	for patient, h := range f.heads {
		if h.moved {
			patients, seqs, musts, epochs = append(patients, patient), append(seqs, h.seq), append(musts, h.must), append(epochs, h.epoch)
		}
		if h.past {
			past = append(past, patient)
		}
	}
	if past != nil {
		b.Queue(s.sql(pastSQL), past)
	}
	b.Queue(s.sql(headSQL), patients, seqs, musts, epochs)
	f.queueLog(b)
	f.queueStates(b, newStatesSQL, false)
	f.queueStates(b, stateSQL, true)
	b.Queue(`commit`)
	return conn.SendBatch(ctx, b).Close()
}

func (f *flush) queueLog(b *pgx.Batch) {
	n := len(f.taken)
	patients, keys, to, senders, ids := make([]string, n), make([]string, n), make([]*string, n), make([]string, n), make([]string, n)
	seqs, musts, revs := make([]uint64, n), make([]uint64, n), make([]uint64, n)
	kinds, audiences, open := make([]int16, n), make([]int16, n), make([]bool, n)
	dues, times, received := make([]*time.Time, n), make([]*time.Time, n), make([]*time.Time, n)
	sums, data := make([][]byte, n), make([][]byte, n)
	epochs, parts := make([]int32, n), make([]int32, n)
	for i, it := range f.taken {
		patients[i], seqs[i], musts[i], kinds[i], keys[i], revs[i], open[i] = it.Patient, it.Seq, it.Must, int16(it.Kind), it.Key, it.Rev, it.Open
		dues[i], audiences[i], senders[i], ids[i], sums[i] = orNull(it.Due), int16(it.Audience), it.Sender, it.ID, it.Sum[:]
		times[i], received[i], data[i] = orNull(it.Time), orNull(it.Received), it.Data
		epochs[i], parts[i] = it.epoch, it.part
		if len(it.To) > 0 {
			to[i] = new(arrayLiteral(it.To))
		}
	}
	b.Queue(f.store.sql(logSQL), epochs, patients, seqs, musts, kinds, keys, revs, open, dues, audiences, to, senders, ids, sums, times, received, data, parts)
}

// queueStates writes those states that are in the table, or those that are not.
func (f *flush) queueStates(b *pgx.Batch, sql string, there bool) {
	var patients, keys []string
	var seqs, revs []uint64
	var kinds []int16
	var open []bool
	var dues, times []*time.Time
	var parts []int32
	var changed []int64
	order := func(a, b stateKey) int {
		return cmp.Or(strings.Compare(a.patient, b.patient), strings.Compare(a.key, b.key))
	}
	for _, k := range slices.SortedFunc(maps.Keys(f.states), order) {
		st := f.states[k]
		if !st.moved || st.there != there {
			continue
		}
		patients, keys, seqs, revs, kinds = append(patients, k.patient), append(keys, k.key), append(seqs, st.seq), append(revs, st.rev), append(kinds, int16(st.kind))
		open, dues, times, parts, changed = append(open, st.open), append(dues, orNull(st.due)), append(times, orNull(st.time)), append(parts, st.part), append(changed, st.changed)
	}
	if len(patients) > 0 {
		b.Queue(f.store.sql(sql), patients, keys, seqs, revs, kinds, open, dues, times, parts, changed)
	}
}

// arrayLiteral writes a text[] as PostgreSQL reads it: there are no arrays of
// arrays of different lengths.
func arrayLiteral(list []string) string {
	quote := strings.NewReplacer(`\`, `\\`, `"`, `\"`)
	quoted := make([]string, len(list))
	for i, one := range list {
		quoted[i] = `"` + quote.Replace(one) + `"`
	}
	return "{" + strings.Join(quoted, ",") + "}"
}

// A zero time is null.
func orNull(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

func orZero(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return t.UTC()
}
