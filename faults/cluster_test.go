package faults

import (
	"context"
	"flag"
	"fmt"
	"net/url"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/faults/proxy"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// nodesFor is how long the tests of several nodes that go on at random do so.
var nodesFor = flag.Duration("faults.nodes", 20*time.Second, "how long several nodes are broken at random")

// patienceOfClients is how long a client of these tests waits for a node that
// says nothing, instead of the 50 s that the protocol gives.
const patienceOfClients = 4 * time.Second

// busy is the time that a busy machine adds to a promised time, with the race
// detector more.
func busy() time.Duration {
	if drive.Raced() {
		return 20 * time.Second
	}
	return 3 * time.Second
}

// A member is a node of a cluster. Its way to the database, the one on which it
// listens, and that of its clients lead through proxies of its own.
type member struct {
	*drive.Node
	db, hear, front *proxy.Proxy
}

// cluster returns nodes, not started yet, on one database.
func cluster(t *testing.T, dsn string, nodes int) []*member {
	config, err := pgx.ParseConfig(dsn)
	require.NoError(t, err)
	socket := config.Host + "/.s.PGSQL.5432"
	var list []*member
	for range nodes {
		m := &member{Node: drive.NewNode(t, "-store", "postgres")}
		m.db, m.hear, m.front = newProxy(t, "unix", socket), newProxy(t, "unix", socket), newProxy(t, "tcp", m.Addr)
		through := func(p *proxy.Proxy, more string) string {
			return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable%s", url.PathEscape(config.User), p.Addr(), config.Database, more)
		}
		m.Args = append(m.Args, "-dsn", through(m.db, "&pool_max_conns=10&pool_ping_timeout=1s"), "-listen-dsn", through(m.hear, ""))
		m.Front = m.front.Addr()
		m.Quiet = true // the store is out of reach at times
		list = append(list, m)
	}
	return list
}

func newProxy(t *testing.T, network, address string) *proxy.Proxy {
	p, err := proxy.New(network, address)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// database makes a database, with the tables in it.
func database(t *testing.T) (dsn string) {
	dsn = pgtest.Database(t)
	migrate(t, dsn)
	return dsn
}

func migrate(t *testing.T, dsn string) {
	require.NoError(t, pgstore.Migrate(t.Context(), pool(t, dsn), ""))
}

func startAll(members []*member) {
	for _, m := range members {
		m.Start()
	}
}

// nodesOf are the members as a ward knows them.
func nodesOf(members []*member) []*drive.Node {
	var list []*drive.Node
	for _, m := range members {
		list = append(list, m.Node)
	}
	return list
}

// wardOn is a ward on a cluster, small enough for several at once.
func wardOn(t *testing.T, members []*member, seed uint64) *drive.Ward {
	return drive.Open(t, drive.Options{Nodes: nodesOf(members), Seed: seed, Beds: 4, Pause: 120 * time.Millisecond,
		Silence: patienceOfClients, Slack: 20 * time.Second,
		Blind: true}) // nodes are cut off from the store, and their clocks differ a little from its
}

// after waits, and reports whether ctx is still there.
func after(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
