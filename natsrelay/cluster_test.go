package natsrelay

import (
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// Three nodes, each at a server of its own of a cluster, get each other's entries by the
// Relay. When a server dies, its node goes over to another one.
func TestCluster(t *testing.T) {
	var servers []*server.Server
	for i := range 3 {
		o := &server.Options{ServerName: fmt.Sprint("server-", i), Cluster: server.ClusterOpts{Name: "carewire", Host: "127.0.0.1", Port: -1, PoolSize: -1, NoAdvertise: true}}
		if i > 0 {
			o.Routes = server.RoutesFromStr("nats-route://" + servers[0].ClusterAddr().String())
		}
		servers = append(servers, serve(t, o))
	}
	eventually(t, "the servers know each other", func() bool {
		return servers[0].NumRoutes() >= 2 && servers[1].NumRoutes() >= 2 && servers[2].NumRoutes() >= 2
	})
	store := carewire.NewMemoryStore(nil)
	var hubs []*carewire.Hub
	for i := range 3 {
		urls := servers[i].ClientURL() + "," + servers[(i+1)%3].ClientURL()
		hubs = append(hubs, node(t, store, relay(t, urls, nats.DontRandomize())))
	}
	publish(t, hubs[0], 59)
	var watches []*seen
	for _, h := range hubs {
		watches = append(watches, watch(t, h))
	}
	around := func() {
		t.Helper()
		for i := range 3 {
			until(t, hubs[i], hubs[(i+1)%3])
			until(t, hubs[i], hubs[(i+2)%3])
		}
		last := publish(t, hubs[0], 70)
		for _, w := range watches {
			eventually(t, "all have the last entry", func() bool { return w.last() >= last })
			w.whole(t)
		}
	}
	around()
	servers[0].Shutdown()
	servers[0].WaitForShutdown()
	around()
}

// A server that stalls delays nobody: the entries of the meantime come from the Store,
// and those that come late by the Relay show nothing twice.
func TestStalledServer(t *testing.T) {
	s := serve(t, &server.Options{})
	line := newLine(t, s.Addr().String())
	store := carewire.NewMemoryStore(nil)
	a := node(t, store, relay(t, "nats://"+line.address, nats.NoEcho()))
	b := node(t, store, relay(t, s.ClientURL()))
	publish(t, a, 59)
	seenByA, seenByB := watch(t, a), watch(t, b)
	until(t, a, b)
	line.stall()
	var last uint64
	for i := range 500 {
		last = publish(t, a, float64(60+i%100))
	}
	eventually(t, "the node itself shows them", func() bool { return seenByA.last() >= last })
	eventually(t, "the other has them from the Store", func() bool { return seenByB.last() >= last })
	line.flow()
	until(t, a, b)
	last = publish(t, a, 71)
	eventually(t, "both have the last entry", func() bool { return seenByA.last() >= last && seenByB.last() >= last })
	seenByA.whole(t)
	seenByB.whole(t)
}

// A line carries connections to a server, and can stall.
type line struct {
	address string

	mu      sync.Mutex
	flowing *sync.Cond
	stalled bool
}

func newLine(t *testing.T, to string) *line {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	x := &line{address: l.Addr().String()}
	x.flowing = sync.NewCond(&x.mu)
	t.Cleanup(func() { x.flow(); l.Close() })
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.DialTimeout("tcp", to, time.Minute)
			if err != nil {
				in.Close()
				continue
			}
			go x.carry(in, out)
			go x.carry(out, in)
		}
	}()
	return x
}

func (x *line) carry(from, to net.Conn) {
	defer from.Close()
	defer to.Close()
	b := make([]byte, 4096)
	for {
		n, err := from.Read(b)
		x.mu.Lock()
		for x.stalled {
			x.flowing.Wait()
		}
		x.mu.Unlock()
		if _, failed := to.Write(b[:n]); failed != nil || err != nil {
			return
		}
	}
}

func (x *line) stall() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stalled = true
}

func (x *line) flow() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stalled = false
	x.flowing.Broadcast()
}
