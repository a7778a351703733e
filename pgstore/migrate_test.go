package pgstore

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/internal/v1"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// firstTables makes the tables as the first release made them.
func firstTables(t *testing.T, pool *pgxpool.Pool) {
	text, err := Migrations.ReadFile("migrations/0001_initial.sql")
	require.NoError(t, err)
	exec(t, pool, `begin; create schema carewire; set local search_path = carewire; `+string(text)+`; commit`, pgx.QueryExecModeSimpleProtocol)
}

// appender appends to a log on one node, again and again.
type appender struct {
	store interface {
		Append(context.Context, []carewire.Entry) ([]carewire.AppendResult, error)
	}
	name string
	n    int
	sent map[string]carewire.Position // by ID
}

// append adds a vital and an alert for each of some patients.
func (a *appender) append(t *testing.T) bool {
	a.n++
	var batch []carewire.Entry
	for p := range 3 {
		v := vitalOn(0, fmt.Sprint("p", p), "hr")
		v.Time = start.Add(time.Duration(a.n) * time.Second)
		v.Received = time.Now()
		v.ID = fmt.Sprint(a.name, a.n)
		n := notice(v.Patient, v.ID+"n")
		batch = append(batch, v, n)
	}
	results, err := a.store.Append(t.Context(), batch)
	if !assert.NoError(t, err) {
		return false
	}
	for i, r := range results {
		if !assert.NoError(t, r.Err) || !assert.False(t, r.Repeated) {
			return false
		}
		a.sent[batch[i].Patient+"/"+batch[i].ID] = r.Position
	}
	return true
}

// A node of the first release appends, reads and prunes while its tables are
// migrated, beside a node of today, and after a restart; both see the same log,
// without holes, and each knows the entries sent to the other.
func TestMigrateWhileNodesServe(t *testing.T) {
	dsn := pgtest.Database(t)
	admin := connect(t, dsn, 4)
	firstTables(t, admin)
	old, err := v1.Open(t.Context(), connect(t, dsn, 8))
	require.NoError(t, err)
	before := &appender{store: old, name: "old", sent: map[string]carewire.Position{}}
	for range 20 {
		require.True(t, before.append(t))
	}

	stop := make(chan struct{})
	var wg sync.WaitGroup
	run := func(a *appender) {
		wg.Go(func() {
			for a.append(t) {
				select {
				case <-stop:
					return
				default:
				}
			}
		})
	}
	run(before)
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	require.NoError(t, Migrate(ctx, admin, ""))
	today := open(t, connect(t, dsn, 8), &Options{LockTimeout: time.Minute, Timeout: time.Minute})
	keep := carewire.Retention{Vitals: 10 * perDay}
	require.NoError(t, today.Prune(t.Context(), time.Now(), keep)) // which makes parts
	beside := &appender{store: today, name: "new", sent: map[string]carewire.Position{}}
	run(beside)
	again, err := v1.Open(t.Context(), connect(t, dsn, 8)) // as after a restart
	require.NoError(t, err)
	restarted := &appender{store: again, name: "again", sent: map[string]carewire.Position{}}
	run(restarted)
	for range 3 {
		require.NoError(t, old.Prune(t.Context(), time.Now(), keep))
		require.NoError(t, today.Prune(t.Context(), time.Now(), keep))
	}
	close(stop)
	wg.Wait()
	if t.Failed() {
		return
	}
	var parted int
	require.NoError(t, admin.QueryRow(t.Context(), `select count(*) from carewire.log where part > 0`).Scan(&parted))
	require.Equal(t, 3*beside.n, parted)

	all := []*appender{before, beside, restarted}
	for _, reader := range []carewire.Store{today, old} {
		sameLogs(t, reader, today, all)
		knowsAll(t, reader, all)
	}
	require.NoError(t, old.Close())
	require.NoError(t, again.Close())
}

// sameLogs wants the sent entries, and no others, to be in reader's logs, without
// holes, and reader to show the newest as today does.
func sameLogs(t *testing.T, reader, today carewire.Store, all []*appender) {
	for p := range 3 {
		patient := fmt.Sprint("p", p)
		seen := map[string]carewire.Position{}
		for after := (carewire.Position{}); ; {
			page, err := reader.Read(t.Context(), patient, after, carewire.ReadQuery{Limit: 500})
			require.NoError(t, err)
			for _, e := range page {
				require.Equal(t, after.Seq+1, e.Seq)
				seen[patient+"/"+e.ID], after = e.Position, e.Position
			}
			if len(page) < 500 {
				break
			}
		}
		for _, a := range all {
			require.NotEmpty(t, a.sent)
			for id, at := range a.sent {
				if id[:len(patient)] == patient {
					require.Equal(t, at, seen[id])
					delete(seen, id)
				}
			}
		}
		require.Empty(t, seen)
		latest, head, err := reader.Latest(t.Context(), patient)
		require.NoError(t, err)
		newest, headToday, err := today.Latest(t.Context(), patient)
		require.NoError(t, err)
		require.Equal(t, newest, latest)
		require.Equal(t, headToday, head)
	}
}

// knowsAll wants a node to recognise the entries sent to any of them.
func knowsAll(t *testing.T, to carewire.Store, all []*appender) {
	for _, sent := range all {
		for _, id := range []string{fmt.Sprint(sent.name, 1), fmt.Sprint(sent.name, sent.n)} {
			v := vitalOn(0, "p1", "hr")
			v.ID, v.Received, v.Time = id, time.Now(), start.Add(time.Second)
			got, err := to.Append(t.Context(), []carewire.Entry{v, notice("p1", id+"n")})
			require.NoError(t, err)
			for i, r := range got {
				require.NoError(t, r.Err)
				require.True(t, r.Repeated, "entry %d of %s", i, id)
			}
		}
	}
}

// A step that finds the log in use is tried again, and holds nobody up for long.
func TestMigrateWaitsForReaders(t *testing.T) {
	pool := connect(t, pgtest.Database(t), 10)
	firstTables(t, pool)
	reading, err := pool.Begin(t.Context())
	require.NoError(t, err)
	_, err = reading.Exec(t.Context(), `select count(*) from carewire.log`)
	require.NoError(t, err)
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	require.Error(t, Migrate(ctx, pool, ""))
	require.NoError(t, reading.Rollback(t.Context()))
	require.NoError(t, Migrate(t.Context(), pool, ""))
	open(t, pool, nil)
}
