package faults

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/faults/proxy"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore"
)

// pool connects to a database past all proxies, as the host's own code does.
func pool(t *testing.T, dsn string) *pgxpool.Pool {
	config, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	config.MaxConns = 50
	p, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// One transaction of the host's stays open all the time, 32 others at once are slow,
// a third of them is rolled back, and one node's commits are slow, too. Nobody else
// waits for any of them. Committed events are in the logs, each once, and events
// that were rolled back are not; no watcher has skipped anything.
func TestSlowCommitsHideAndStallNothing(t *testing.T) {
	t.Parallel()
	const transactions, each = 32, 4
	dsn := database(t)
	p := pool(t, dsn)
	store, err := pgstore.Open(t.Context(), p, &pgstore.Options{NoListen: true, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { store.Close() })
	members := cluster(t, dsn, 2)
	startAll(members)
	seed, _ := drive.Seeded(t)
	w := wardOn(t, members, seed)
	w.Load()
	members[0].db.Set(proxy.Down, proxy.Fault{Delay: 100 * time.Millisecond})
	patients := []string{"h-0", "h-1", "h-2", "h-3"}
	seen := newWitness(t, members[1], slices.Concat(patients, []string{"h-open"})...)

	alert := func(patient, id string) carewire.Raise {
		return carewire.Raise{Patient: patient, ID: id, Key: id, Text: "x", Priority: carewire.PriorityHigh, Test: true}
	}
	open, err := p.Begin(t.Context())
	require.NoError(t, err)
	t.Cleanup(func() { _ = open.Rollback(context.Background()) }) // else the pool would wait for it
	require.NoError(t, store.RaiseTx(t.Context(), open, alert("h-open", "open")))
	require.NoError(t, store.PublishTx(t.Context(), open, carewire.HeartRate.Of("h-open", 60)))

	undone := errors.New("undone")
	var running sync.WaitGroup
	for i := range transactions {
		rng := rand.New(rand.NewPCG(seed, uint64(i)))
		running.Go(func() {
			for n := range each {
				err := pgx.BeginFunc(t.Context(), p, func(tx pgx.Tx) error {
					patient, id := patients[i%len(patients)], fmt.Sprint("tx-", i, "-", n)
					v := carewire.HeartRate.Of(patient, float64(i))
					v.ID = id
					err := errors.Join(store.PublishTx(t.Context(), tx, v), store.RaiseTx(t.Context(), tx, alert(patient, id+"a")))
					after(t.Context(), drive.Between(rng, 0, time.Second))
					if i%3 == 0 {
						return errors.Join(undone, err)
					}
					return err
				})
				if i%3 == 0 {
					assert.Equal(t, undone.Error(), err.Error())
				} else {
					assert.NoError(t, err)
				}
			}
		})
	}
	// Meanwhile the nodes answer, of the same patients too, and show the committed events.
	caller := &drive.Caller{URLs: []string{members[1].URL()}, Token: "device-h"}
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience) // one transaction stays open for longer
	defer cancel()
	for n := range 5 {
		f, _, err := caller.Call(ctx, map[string]any{"type": "publish", "vitals": []any{
			map[string]any{"patient": "h-open", "code": "8867-4", "value": n, "unit": "/min"}}})
		require.NoError(t, err, "it was stalled")
		require.Equal(t, "ok", f.Type)
		after(t.Context(), 300*time.Millisecond)
	}
	running.Wait()
	nothingLeft := func() (bool, string) {
		var left int
		var refused *string
		err := p.QueryRow(t.Context(), `select count(*), min(refused) from carewire.pending`).Scan(&left, &refused)
		return err == nil && left == 0, fmt.Sprint(left, " events are left, refused: ", refused != nil, " ", err)
	}
	process.Poll(t, 2*process.Patience, nothingLeft)
	ofOpen := func(f *drive.Frame) bool { return f.Patient == "h-open" && f.Type == "alert" }
	require.Zero(t, seen.count(ofOpen), "its transaction is open")
	require.NoError(t, open.Commit(t.Context()))
	process.Poll(t, process.Patience, func() (bool, string) { return seen.count(ofOpen) > 0, "the alert of the open transaction" })

	ids := map[string]int{}
	for _, patient := range patients {
		var last carewire.Position
		for {
			log, err := store.Read(t.Context(), patient, last, carewire.ReadQuery{})
			require.NoError(t, err)
			if len(log) == 0 {
				break
			}
			for _, e := range log {
				require.Equal(t, last.Seq+1, e.Seq)
				last = e.Position
				if e.ID != "" {
					ids[e.ID]++
				}
			}
		}
		process.Poll(t, process.Patience, func() (bool, string) {
			watched := seen.count(func(f *drive.Frame) bool {
				return f.Patient == patient && (f.Type == "vital" || f.Type == "alert" || f.Type == "gap")
			})
			return watched == int(last.Seq), fmt.Sprintf("%s: %d of %d were sent to the watcher, whose line has ended: %t", patient, watched, last.Seq, seen.Ended())
		})
	}
	for i := range transactions {
		for n := range each {
			want := 1
			if i%3 == 0 {
				want = 0
			}
			id := fmt.Sprint("tx-", i, "-", n)
			require.Equal(t, want, ids[id], id)
			require.Equal(t, want, ids[id+"a"], id)
		}
	}
	members[0].db.Heal()
	w.Verify()
	w.Finish()
}
