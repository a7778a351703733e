package faults

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/faults/proxy"
	"github.com/carewire/carewire/pgstore"
)

// inForce is the time within which an end of access made on one node holds on all.
const inForce = 5 * time.Second

// wards is a Directory.
type wards struct {
	mu       sync.Mutex
	patients []string
}

func (w *wards) Patients(context.Context, string) ([]string, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.patients, nil
}

// Nobody tells nodes of each other: the listening connections are held. Access
// that is revoked on one node ends on the other within five seconds: nothing is
// sent to the person any more, and their session is closed. The same
// holds for a patient who has left a group, and a patient who joins one is shown.
func TestAccessEndsOnEveryNode(t *testing.T) {
	t.Parallel()
	dsn := database(t)
	config, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	hear := newProxy(t, "unix", config.ConnConfig.Host+"/.s.PGSQL.5432")
	var door carewiretest.Door
	group := &wards{patients: []string{"p1", "p2"}}
	var hubs []*carewire.Hub
	for range 2 {
		p := pool(t, dsn)
		store, err := pgstore.Open(t.Context(), p, &pgstore.Options{Logger: slog.New(slog.DiscardHandler),
			Listen: fmt.Sprintf("postgres://carewire@%s/%s?sslmode=disable", hear.Addr(), config.ConnConfig.Database)})
		require.NoError(t, err)
		t.Cleanup(func() { store.Close() })
		hub, err := carewire.New(&door, store, &carewire.Options{Directory: group, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(func() { hub.Shutdown(context.Background()) })
		hubs = append(hubs, hub)
	}
	server := carewiretest.Serve(t, hubs[1])
	person := func(id string) *carewire.Client {
		c := server.Dial("/", door.Token(carewire.Principal{ID: id, Role: carewire.RoleClinician, Groups: []string{"ward"}}))
		_, err := c.Watch(t.Context(), carewire.WatchOptions{Groups: []string{"ward"}, Delivery: carewire.DeliverEvery})
		require.NoError(t, err)
		return c
	}
	revoked, moved := person("revoked"), person("moved")
	carewiretest.Await(t, moved, carewiretest.OfType(carewire.EventSynced))
	hear.SetBoth(proxy.Fault{Hold: true})

	var publishing sync.WaitGroup
	ctx, stop := context.WithCancel(t.Context())
	defer publishing.Wait()
	defer stop()
	publishing.Go(func() {
		for n := 0; after(ctx, 20*time.Millisecond); n++ {
			_, err := hubs[1].Publish(ctx, carewire.HeartRate.Of("p1", float64(60+n%40)), carewire.HeartRate.Of("p2", 60), carewire.HeartRate.Of("p3", 60))
			if ctx.Err() == nil {
				assert.NoError(t, err)
			}
		}
	})
	// last is when the last vital of a patient came, looked at until the client
	// ends or a while after.
	last := func(c *carewire.Client, patient string, d time.Duration) (at time.Time, err error) {
		ctx, cancel := context.WithTimeout(t.Context(), d)
		defer cancel()
		for e, err := range c.Events(ctx) {
			if err != nil {
				return at, err
			}
			if e.Type == carewire.EventVital && e.Patient == patient {
				at = time.Now()
			}
		}
		return at, nil
	}

	carewiretest.Await(t, revoked, carewiretest.OfType(carewire.EventVital)) // the node has something to send
	require.NoError(t, hubs[0].Revoke(t.Context(), carewire.Revocation{Principal: "revoked"}))
	before := time.Now()
	_, err = last(revoked, "p1", inForce+busy())
	require.ErrorIs(t, err, carewire.ErrForbidden, "the session is closed with 3003")
	require.Less(t, time.Since(before), inForce+busy())

	group.mu.Lock()
	group.patients = []string{"p2", "p3"}
	group.mu.Unlock()
	require.NoError(t, hubs[0].MembersChanged(t.Context(), "ward"))
	before = time.Now()
	for lost, gained := false, false; !lost || !gained; {
		e := carewiretest.Await(t, moved, func(e carewire.Event) bool { return e.Type == carewire.EventGranted || e.Type == carewire.EventRevoked })
		lost = lost || e.Type == carewire.EventRevoked && e.Patient == "p1"
		gained = gained || e.Type == carewire.EventGranted && e.Patient == "p3"
	}
	require.Less(t, time.Since(before), inForce+busy())
	at, err := last(moved, "p1", time.Second)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.True(t, at.IsZero(), "nothing comes after that")
}
