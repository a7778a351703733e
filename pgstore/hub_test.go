package pgstore

import (
	"context"
	"fmt"
	"log/slog"
	"strconv"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/internal/hubtest"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// node is one of several processes that a load balancer would choose from.
type node struct {
	hub    *carewire.Hub
	server *carewiretest.Server
	pages  *carewiretest.Recorder
}

func newNode(t *testing.T, dsn string, door *carewiretest.Door, o *Options, policy carewire.Policy) *node {
	n := &node{pages: &carewiretest.Recorder{}}
	store := open(t, connect(t, dsn, 8), o)
	hub, err := carewire.New(door, store, &carewire.Options{Policy: policy, Pager: n.pages, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	n.hub, n.server = hub, carewiretest.Serve(t, hub)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), process.Patience)
		defer cancel()
		assert.NoError(t, hub.Shutdown(ctx))
		n.server.Close()
	})
	return n
}

// Two nodes share a database. A vital that a device sends to one node reaches
// the watchers of the other, in order and complete; an answer given at one is
// seen at the other; each level of an alert is recorded once; a revocation
// reaches both.
func TestTwoNodes(t *testing.T) {
	for name, o := range map[string]*Options{"listening": {}, "polling": {NoListen: true}} {
		t.Run(name, func(t *testing.T) {
			dsn := pgtest.Database(t)
			var door carewiretest.Door
			policy := func(_ context.Context, _ carewire.Alert, step int) (carewire.Step, error) {
				if step > 3 {
					return carewire.Step{}, carewire.ErrNoStep
				}
				return carewire.Step{To: []string{"person:nurse"}, After: time.Second}, nil
			}
			one, two := newNode(t, dsn, &door, o, policy), newNode(t, dsn, &door, o, policy)
			nurse := two.server.Dial("/", door.Token(carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}))
			defer nurse.Close()
			device := one.server.Dial("/", door.Token(carewire.Principal{ID: "device", Role: carewire.RoleDevice, Patients: []string{"p1"}}))
			defer device.Close()
			_, err := nurse.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p1"}, Delivery: carewire.DeliverEvery})
			require.NoError(t, err)
			carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventSynced))

			const vitals = 40
			go func() {
				for i := range vitals {
					_, err := device.Publish(t.Context(), carewire.HeartRate.Of("p1", 60+float64(i)))
					assert.NoError(t, err)
				}
			}()
			for i := range vitals {
				e := carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventVital))
				require.Equal(t, uint64(i+1), e.Seq)
				require.Equal(t, carewire.Decimal(strconv.Itoa(60+i)), e.Vital.Value)
			}

			raised, err := one.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Text: "x", Priority: carewire.PriorityHigh, To: []string{"person:nurse"}})
			require.NoError(t, err)
			carewiretest.Await(t, nurse, func(e carewire.Event) bool { return e.Alert != nil && e.Alert.Escalation.Level >= 3 })
			_, err = nurse.Answer(t.Context(), raised.Ref(), carewire.Answer{Do: carewire.AnswerAccept})
			require.NoError(t, err)
			seen, err := one.hub.Alert(t.Context(), "p1", "k")
			require.NoError(t, err)
			require.Equal(t, carewire.ResponsibilityAccepted, seen.Responsibility.State)
			history, err := one.hub.History(t.Context(), carewire.HistoryQuery{Patient: "p1", Key: "k"})
			require.NoError(t, err)
			levels := map[string]int{}
			for _, e := range history.Events {
				if e.Alert != nil && e.Alert.Escalation.State == carewire.EscalationNotified && e.Alert.Responsibility.State != carewire.ResponsibilityAccepted {
					levels[fmt.Sprint(e.Alert.Escalation.Level)]++
				}
			}
			for level, n := range levels {
				require.Equal(t, 1, n, "records of level "+level)
			}
			require.GreaterOrEqual(t, len(levels), 3)

			require.NoError(t, one.hub.Revoke(t.Context(), carewire.Revocation{Principal: "nurse"}))
			select {
			case <-nurse.Done():
			case <-time.After(process.Patience):
				t.Fatal("a revocation did not reach the other node")
			}
		})
	}
}

// A listener that cannot hear the pool's notifications says so, once, and other
// nodes' entries are looked for all the same.
func TestDeafListener(t *testing.T) {
	log := make(told, 10)
	other := pgtest.Database(t)
	s := open(t, connect(t, pgtest.Database(t), 8), &Options{Listen: other, Logger: slog.New(slog.NewTextHandler(log, nil))})
	for range 3 {
		waitFor(t, s.Wake(), "a wake-up each second")
	}
	require.Contains(t, <-log, "not listening")
	require.NoError(t, s.Close())
	require.Empty(t, log)
}

// told is a log that a test waits for.
type told chan string

func (c told) Write(p []byte) (int, error) { c <- string(p); return len(p), nil }

// A node that lost its listening connection says so, listens again, and then
// looks for the entries that it has missed.
func TestListenerComesBack(t *testing.T) {
	dsn := pgtest.Database(t)
	log := make(told, 10)
	pool := connect(t, dsn, 8)
	s := open(t, pool, &Options{Logger: slog.New(slog.NewTextHandler(log, nil))})
	waitFor(t, s.Wake(), "a wake-up as soon as it listens")
	other := open(t, connect(t, dsn, 8), &Options{})
	for i := range 2 {
		mustAppend(t, other, notice("a", fmt.Sprint(i)))
		waitFor(t, s.Wake(), "a wake-up of another node's append")
		if i == 0 {
			exec(t, pool, `select pg_terminate_backend(pid) from pg_stat_activity where datname = current_database() and query ilike 'listen %'`)
			require.Contains(t, <-log, "not listening")
			require.Contains(t, <-log, "listening again")
			waitFor(t, s.Wake(), "a wake-up when it listens again")
		}
	}
}

// A pool whose password, or another setting, is known only when it connects
// listens as well.
func TestListeningNeedsBeforeConnect(t *testing.T) {
	config, err := pgxpool.ParseConfig(pgtest.Database(t))
	require.NoError(t, err)
	right := config.ConnConfig.Database
	config.MaxConns, config.ConnConfig.Database = 8, "nowhere"
	config.BeforeConnect = func(_ context.Context, c *pgx.ConnConfig) error {
		c.Database = right
		return nil
	}
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	require.Eventually(t, open(t, pool, nil).hearing.Load, process.Patience, 10*time.Millisecond)
}

func TestAccessEnds(t *testing.T) {
	hubtest.Access(t, open(t, connect(t, pgtest.Database(t), 8), nil))
}

func TestRetention(t *testing.T) {
	hubtest.Retention(t, func(t *testing.T) hubtest.Keeper { return open(t, connect(t, pgtest.Database(t), 8), nil) })
}
