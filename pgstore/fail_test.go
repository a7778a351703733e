package pgstore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

var start = time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)

func notice(patient, id string) carewire.Entry {
	return carewire.Entry{Patient: patient, Kind: carewire.KindNotice, Sender: "s", ID: id, Audience: carewire.AudienceAll,
		Time: start, Received: start, Data: []byte(`{}`)}
}

func mustAppend(t *testing.T, s *Store, entries ...carewire.Entry) []carewire.AppendResult {
	t.Helper()
	results, err := s.Append(t.Context(), entries)
	require.NoError(t, err)
	return results
}

func exec(t *testing.T, pool *pgxpool.Pool, sql string, args ...any) {
	t.Helper()
	_, err := pool.Exec(t.Context(), sql, args...)
	require.NoError(t, err)
}

// Backends are killed while eight goroutines append. A failed append is
// repeated with its ID until it is answered; nothing is lost, doubled or out of
// order.
func TestKilledBackends(t *testing.T) {
	dsn := pgtest.Database(t)
	s := open(t, connect(t, dsn, 10), nil)
	killer := connect(t, dsn, 2)
	const writers, each = 8, 25
	var unknown, kills int
	var mu sync.Mutex
	var wg sync.WaitGroup
	done := make(chan struct{})
	for w := range writers {
		wg.Go(func() {
			for i := range each {
				e := notice("a", fmt.Sprint(w, "-", i))
				for {
					got, err := s.Append(t.Context(), []carewire.Entry{e, notice(fmt.Sprint("b", w), e.ID)})
					if err == nil {
						assert.NoError(t, got[0].Err)
						assert.Equal(t, uint64(i+1), got[1].Seq)
						break
					}
					assert.ErrorIs(t, err, carewire.ErrUnknownOutcome)
					mu.Lock()
					unknown++
					mu.Unlock()
				}
			}
		})
	}
	go func() { wg.Wait(); close(done) }()
	pause := 20 * time.Millisecond // and longer and longer, so that a slow machine completes a new connection
	for running := true; running; pause += pause / 8 {
		tag, err := killer.Exec(t.Context(), `select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid() and datname = current_database()
			and state in ('active', 'idle in transaction')`)
		require.NoError(t, err)
		kills += int(tag.RowsAffected())
		select {
		case <-done:
			running = false
		case <-time.After(pause):
		}
	}
	t.Logf("%d backends killed, %d outcomes unknown", kills, unknown)
	require.Positive(t, unknown)
	log, err := s.Read(t.Context(), "a", carewire.Position{}, carewire.ReadQuery{})
	require.NoError(t, err)
	require.Len(t, log, writers*each)
	ids := map[string]bool{}
	for i := range log {
		require.Equal(t, uint64(i+1), log[i].Seq)
		ids[log[i].ID] = true
	}
	require.Len(t, ids, writers*each)
}

// A restart of the server is waited for by repeating, and the epoch stays.
func TestCrashOfTheServer(t *testing.T) {
	server := pgtest.Start(t)
	pool := connect(t, server.DSN(), 10)
	s := open(t, pool, nil)
	first := mustAppend(t, s, notice("a", "1"))[0]
	server.Kill()
	_, err := s.Append(t.Context(), []carewire.Entry{notice("a", "2")})
	require.ErrorIs(t, err, carewire.ErrUnknownOutcome)
	_, err = s.Heads(t.Context(), []string{"a"})
	require.Error(t, err)
	server.Restart(t)
	again := mustAppend(t, s, notice("a", "1"), notice("a", "2"))
	require.Equal(t, carewire.AppendResult{Position: first.Position, Must: 1, Repeated: true}, again[0])
	require.Equal(t, carewire.Position{Epoch: first.Epoch, Seq: 2}, again[1].Position)
	waitFor(t, s.Wake(), "the store listens again")
}

func waitFor[T any](t *testing.T, c <-chan T, what string) (got T) {
	t.Helper()
	select {
	case got = <-c:
	case <-time.After(process.Patience):
		t.Fatal("never: " + what)
	}
	return got
}

// A patient whose log somebody else holds delays nobody for longer than
// LockTimeout, and nothing that waited for it is written.
func TestLockTimeout(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, &Options{LockTimeout: 50 * time.Millisecond})
	mustAppend(t, s, notice("a", "1"), notice("b", "1"))
	tx, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = tx.Exec(t.Context(), `select from carewire.heads where patient = 'a' for update`)
	require.NoError(t, err)
	_, err = s.Append(t.Context(), []carewire.Entry{notice("b", "2"), notice("a", "2")})
	require.ErrorIs(t, err, carewire.ErrUnknownOutcome)
	var refused *ServerError
	require.ErrorAs(t, err, &refused)
	require.Equal(t, "55P03", refused.Code)
	require.Equal(t, uint64(2), mustAppend(t, s, notice("b", "3"))[0].Seq, "others go on")
	require.NoError(t, tx.Rollback(t.Context()))
	require.Equal(t, uint64(3), mustAppend(t, s, notice("b", "2"), notice("a", "2"))[0].Seq)
}

// A node that stops in the middle of a transaction holds others up no longer
// than Timeout, and than they wait for a head: the server ends the transaction.
func TestNodeThatStopsInTheMiddle(t *testing.T) {
	for _, o := range []*Options{{}, {Timeout: 2 * time.Second}} {
		pool := connect(t, pgtest.Database(t), 10)
		s := open(t, pool, o)
		f := &flush{store: s, create: true, items: []*item{{Entry: notice("a", "1")}}, heads: map[string]*head{}}
		conn, err := pool.Acquire(t.Context())
		require.NoError(t, err)
		defer conn.Release()
		require.NoError(t, f.look(t.Context(), conn))
		other := open(t, pool, nil)
		require.Equal(t, uint64(1), mustAppend(t, other, notice("a", "2"))[0].Seq)
	}
}

func TestUnsafeServer(t *testing.T) {
	server := pgtest.Start(t)
	for _, setting := range []string{"fsync", "full_page_writes", "synchronous_commit"} {
		pool := connect(t, server.DSN(), 10)
		require.NoError(t, Migrate(t.Context(), pool, ""))
		set := func(to string) {
			exec(t, pool, `alter system set `+setting+` = `+to)
			exec(t, pool, `select pg_reload_conf()`)
			require.Eventually(t, func() bool {
				var is string
				return pool.QueryRow(t.Context(), `show `+setting).Scan(&is) == nil && is == to
			}, process.Patience, 10*time.Millisecond)
		}
		s := open(t, pool, nil)
		require.True(t, s.Durable())
		mustAppend(t, s, notice("a", setting))
		set("off")
		_, err := Open(t.Context(), pool, nil)
		require.ErrorIs(t, err, ErrUnsafe, setting)
		require.Eventually(t, func() bool { // each connection learns of it by itself
			_, err := s.Append(t.Context(), []carewire.Entry{notice("a", setting)})
			return errors.Is(err, ErrUnsafe)
		}, process.Patience, 10*time.Millisecond, setting)
		v := open(t, pool, &Options{Volatile: true})
		require.False(t, v.Durable())
		mustAppend(t, v, notice("a", setting+"2"))
		set("on")
	}
}

func TestVersions(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	_, err := Open(t.Context(), pool, nil)
	require.ErrorIs(t, err, ErrVersion, "no schema")
	var wg sync.WaitGroup
	for range 4 { // several nodes at once
		wg.Go(func() { assert.NoError(t, Migrate(t.Context(), pool, "")) })
	}
	wg.Wait()
	_, err = Open(t.Context(), pool, &Options{Schema: "other"})
	require.ErrorIs(t, err, ErrVersion)
	exec(t, pool, `update carewire.version set newest = newest + 1`)
	require.NoError(t, Migrate(t.Context(), pool, ""), "a newer one that this one does with")
	s, err := Open(t.Context(), pool, nil)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	exec(t, pool, `update carewire.version set version = newest`)
	_, err = Open(t.Context(), pool, nil)
	require.ErrorIs(t, err, ErrVersion, "a newer one")
	require.ErrorIs(t, Migrate(t.Context(), pool, ""), ErrVersion)
	exec(t, pool, `update carewire.version set version = 1, newest = 4`)
	_, err = Open(t.Context(), pool, nil)
	require.ErrorIs(t, err, ErrVersion, "an older one")
	exec(t, pool, `delete from carewire.version`)
	_, err = Open(t.Context(), pool, nil)
	require.ErrorIs(t, err, ErrVersion)
}

// The role of an application needs no more than the package comment says.
func TestRoleWithoutDDL(t *testing.T) {
	dsn := pgtest.Database(t)
	admin := connect(t, dsn, 2)
	exec(t, admin, `create role app login`)
	exec(t, admin, `create schema ehr`)
	files, err := Migrations.ReadDir("migrations")
	require.NoError(t, err)
	for _, f := range files { // as docs/deployment.md has it
		text, err := Migrations.ReadFile("migrations/" + f.Name())
		require.NoError(t, err)
		statements := []string{string(text)}
		if strings.HasSuffix(f.Name(), "_concurrently.sql") {
			statements = strings.Split(string(text), ";\n")
		}
		conn, err := admin.Acquire(t.Context())
		require.NoError(t, err)
		for _, one := range append([]string{`set search_path = ehr`}, statements...) {
			_, err := conn.Exec(t.Context(), one, pgx.QueryExecModeSimpleProtocol)
			require.NoError(t, err, f.Name())
		}
		conn.Release()
	}
	exec(t, admin, `grant usage on schema ehr to app; grant select, insert, update, delete on all tables in schema ehr to app`)
	pool, err := pgxpool.New(t.Context(), strings.Replace(dsn, "user=carewire", "user=app", 1))
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	s := open(t, pool, &Options{Schema: "ehr"})
	mustAppend(t, s, notice("a", "1"))
	require.NoError(t, s.Prune(t.Context(), start.AddDate(3, 0, 0), carewire.Retention{Vitals: 10 * perDay, Others: time.Hour}))
	require.NotEmpty(t, *s.parts.Load())
	vital := benchVital(1, 1)
	vital.Received = start.AddDate(3, 0, 0)
	mustAppend(t, s, vital)
	require.NoError(t, s.Prune(t.Context(), start.AddDate(4, 0, 0), carewire.Retention{Vitals: 10 * perDay, Others: time.Hour}))
	require.NoError(t, pgx.BeginFunc(t.Context(), pool, func(tx pgx.Tx) error { return s.PublishTx(t.Context(), tx, carewire.HeartRate.Of("p1", 60)) }))
	require.Error(t, Migrate(t.Context(), pool, "more"))
}

func TestEntriesThatCannotBeKept(t *testing.T) {
	s := open(t, connect(t, pgtest.Database(t), 10), nil)
	long := strings.Repeat("x", maxName+1)
	bad := []carewire.Entry{
		notice("a", long), notice(long, "1"), notice("a\x00", "1"), notice("a", "\xff"),
		{Patient: "a", Key: long}, {Patient: "a", Sender: "\x00"}, {Patient: "a", To: []string{"\xff"}},
		{Patient: "a", Time: time.Date(300000, 1, 1, 0, 0, 0, 0, time.UTC)}, {Patient: "a", Data: make([]byte, maxData+1)},
	}
	got := mustAppend(t, s, append(bad, notice("a", long[:maxName]))...)
	for i := range bad {
		require.Error(t, got[i].Err, i)
	}
	require.NoError(t, got[len(bad)].Err)
	require.Equal(t, uint64(1), got[len(bad)].Seq)
	odd := notice("a", `"{}\,`)
	odd.To = []string{`a"b`, `\`, `{x,y}`, "null", "", " "}
	mustAppend(t, s, odd)
	log, err := s.Read(t.Context(), "a", carewire.Position{Seq: 1}, carewire.ReadQuery{})
	require.NoError(t, err)
	require.Equal(t, odd.To, log[0].To)
}

// Nodes that append to the same patients in different orders do not wait for
// each other in a circle, neither for known patients nor for new ones.
func TestOppositeOrders(t *testing.T) {
	dsn := pgtest.Database(t)
	var wg sync.WaitGroup
	for node := range 3 {
		s := open(t, connect(t, dsn, 8), &Options{LockTimeout: time.Minute, Timeout: time.Minute})
		wg.Go(func() {
			for i := range 15 {
				var batch []carewire.Entry
				for k := range 6 {
					patient := (node*2 + k*(1+2*(node%2))) % 6 // each node begins with another one
					batch = append(batch, notice(fmt.Sprint("p", patient, "-", i/5), fmt.Sprint(node, i, k)))
				}
				_, err := s.Append(t.Context(), batch)
				assert.NoError(t, err)
			}
		})
	}
	wg.Wait()
}

// When the server has no room, vitals are refused before all others; known
// entries are answered all the same, also of a patient who is new.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, nil)
	first := mustAppend(t, s, notice("a", "1"))[0]
	fill := func(when string) {
		exec(t, pool, `drop trigger if exists full_disk on carewire.log`)
		exec(t, pool, `create trigger full_disk before insert on carewire.log for each row `+when+` execute function full_disk()`)
	}
	exec(t, pool, `create function full_disk() returns trigger language plpgsql as $$ begin raise exception using errcode = '53100'; end $$`)
	fill(`when (new.kind = 1)`)
	for range 2 { // the second time vitals are not tried
		got := mustAppend(t, s, benchVital(1, 1), notice("a", "1"), notice("a", "2"), benchVital(2, 1))
		require.ErrorIs(t, got[0].Err, carewire.ErrFull)
		require.ErrorIs(t, got[3].Err, carewire.ErrFull)
		require.Equal(t, carewire.AppendResult{Position: first.Position, Must: 1, Repeated: true}, got[1])
		require.Equal(t, uint64(2), got[2].Seq)
	}
	fill(``)
	exec(t, pool, `create trigger full_disk before insert on carewire.heads for each row execute function full_disk()`)
	refused := time.Now()
	got := mustAppend(t, s, notice("a", "1"), notice("a", "3"), notice("new", "1"), notice("a", "3"))
	require.True(t, got[0].Repeated)
	for _, a := range got[1:] {
		require.ErrorIs(t, a.Err, carewire.ErrFull)
	}
	exec(t, pool, `drop function full_disk cascade`)
	require.Equal(t, uint64(3), mustAppend(t, s, notice("a", "3"))[0].Seq)
	require.Equal(t, uint64(1), mustAppend(t, s, notice("new", "1"))[0].Seq)
	if err := mustAppend(t, s, benchVital(1, 1))[0].Err; time.Since(refused) < vitalsWait {
		require.ErrorIs(t, err, carewire.ErrFull, "for some seconds new room is kept for others")
	}
	require.Eventually(t, func() bool { return mustAppend(t, s, benchVital(1, 1))[0].Err == nil }, process.Patience, 50*time.Millisecond)
}

// Errors hold no names: PostgreSQL's own texts would.
func TestErrorsHoldNoValues(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, nil)
	exec(t, pool, `alter table carewire.log add constraint c check (patient <> 'secret-name')`)
	_, err := s.Append(t.Context(), []carewire.Entry{notice("secret-name", "1")})
	require.ErrorContains(t, err, "23514")
	require.NotContains(t, fmt.Sprintf("%+v", err), "secret")
}

// Epochs change when the log may have lost its end, and only then.
func TestEpochs(t *testing.T) {
	server := pgtest.Start(t)
	pool := connect(t, server.DSN(), 10)
	s := open(t, pool, nil)
	first := mustAppend(t, s, notice("a", "1"), notice("a", "2"))[1].Position
	epochAfter := func(s *Store, id string) carewire.Position {
		t.Helper()
		p := mustAppend(t, s, notice("a", id))[0].Position
		heads, err := s.Heads(t.Context(), []string{"a"})
		require.NoError(t, err)
		require.Equal(t, p, heads[0].Position)
		require.Equal(t, p, heads[0].Epochs[len(heads[0].Epochs)-1])
		require.Equal(t, first, heads[0].Epochs[0], "the end of the first epoch stays known")
		return p
	}

	promoted := server.Copy(t, true)
	p := epochAfter(open(t, connect(t, promoted.DSN(), 10), nil), "3")
	require.NotEqual(t, first.Epoch, p.Epoch, "a standby was promoted")
	require.Equal(t, uint64(3), p.Seq)

	copied := server.Copy(t, false)
	c := open(t, connect(t, copied.DSN(), 10), &Options{NewEpoch: true})
	p = epochAfter(c, "3")
	require.NotEqual(t, first.Epoch, p.Epoch, "the host said so")
	_ = c.Close()
	require.Equal(t, p.Epoch, epochAfter(open(t, connect(t, copied.DSN(), 10), nil), "4").Epoch, "once")

	// Another database, filled from a dump.
	exec(t, pool, `create database restored`)
	restored := server.Dump(t, "postgres", "restored")
	other, err := pgxpool.New(t.Context(), restored)
	require.NoError(t, err)
	t.Cleanup(other.Close)
	o := open(t, other, nil)
	changed, _, err := o.Changed(t.Context(), "", 10)
	require.NoError(t, err)
	require.Empty(t, changed)
	p = epochAfter(o, "3")
	require.NotEqual(t, first.Epoch, p.Epoch, "a dump was restored")

	// In a node that runs on.
	exec(t, pool, `update carewire.epochs set identity = 'the server before'`)
	before := mustAppend(t, s, notice("b", "1"))[0]
	require.NotEqual(t, first.Epoch, before.Epoch)
	require.Equal(t, uint64(1), before.Seq)
}

// A mark from before is invalid after a restore, and entries numbered by another
// server's transactions are not returned for ever.
func TestChangedAfterRestore(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, nil)
	alert := carewire.Entry{Patient: "a", Kind: carewire.KindAlert, Key: "k", Rev: 1, Open: true, Data: []byte(`{}`)}
	mustAppend(t, s, alert)
	_, mark, err := s.Changed(t.Context(), "", 10)
	require.NoError(t, err)
	exec(t, pool, `update carewire.states set changed = '999999999'`)
	exec(t, pool, `update carewire.epochs set identity = 'the server before'`)
	_ = s.Close()
	s = open(t, pool, nil)
	for i, want := range []int{1, 0, 0} {
		var found []carewire.Entry
		found, mark, err = s.Changed(t.Context(), mark, 10)
		require.NoError(t, err)
		require.Len(t, found, want, i)
	}
}

// A host's transaction that stays open hides nothing and repeats nothing.
func TestChangedBesideLongTransactions(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, nil)
	exec(t, pool, `create table other (n int)`)
	long, err := pool.Begin(t.Context())
	require.NoError(t, err)
	defer func() { _ = long.Rollback(context.Background()) }()
	_, err = long.Exec(t.Context(), `insert into other values (1)`)
	require.NoError(t, err)
	mark := ""
	for i := range 3 {
		mustAppend(t, s, carewire.Entry{Patient: "a", Kind: carewire.KindAlert, Key: fmt.Sprint("k", i), Rev: 1, Open: true, Data: []byte(`{}`)})
		for _, want := range []int{1, 0} {
			var found []carewire.Entry
			found, mark, err = s.Changed(t.Context(), mark, 10)
			require.NoError(t, err)
			require.Len(t, found, want)
		}
	}
}

// An entry that commits late, with a transaction number that a follower has
// gone past already, is still returned.
func TestChangedFindsLateCommits(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	s := open(t, pool, nil)
	f := &flush{store: s, create: true, heads: map[string]*head{}, states: map[stateKey]*state{}, known: map[idKey]known{},
		items: []*item{{Entry: carewire.Entry{Patient: "late", Kind: carewire.KindAlert, Key: "k", Rev: 1, Data: []byte(`{}`)}}}}
	conn, err := pool.Acquire(t.Context())
	require.NoError(t, err)
	defer conn.Release()
	_, mark, err := s.Changed(t.Context(), "", 10)
	require.NoError(t, err)
	require.NoError(t, f.look(t.Context(), conn)) // its head is new: it has a number
	f.decide()
	for i := range 4 {
		mustAppend(t, s, carewire.Entry{Patient: "a", Kind: carewire.KindAlert, Key: fmt.Sprint("k", i), Rev: 1, Data: []byte(`{}`)})
	}
	found, mark, err := s.Changed(t.Context(), mark, 2)
	require.NoError(t, err)
	require.Len(t, found, 2)
	require.NoError(t, f.commit(t.Context(), conn))
	var keys []string
	for n := 2; n == 2; {
		found, mark, err = s.Changed(t.Context(), mark, 2)
		require.NoError(t, err)
		for _, e := range found {
			keys = append(keys, e.Patient+e.Key)
		}
		n = len(found)
	}
	require.Equal(t, []string{"ak2", "ak3", "latek"}, keys)
}
