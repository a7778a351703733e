package natsrelay

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
	"github.com/stretchr/testify/require"
)

// patience is how long a test waits for an event, on a machine that may be very busy.
const patience = 2 * time.Minute

// eventually waits for something to become true.
func eventually(t *testing.T, name string, f func() bool) {
	t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.After(patience); !f(); {
		select {
		case <-tick.C:
		case <-end:
			require.Fail(t, "not within "+patience.String()+": "+name)
		}
	}
}

// serve starts a NATS server on the loopback.
func serve(t *testing.T, o *server.Options) *server.Server {
	t.Helper()
	o.Host, o.NoLog, o.NoSigs = "127.0.0.1", true, true
	if o.Port == 0 {
		o.Port = server.RANDOM_PORT
	}
	s, err := server.NewServer(o)
	require.NoError(t, err)
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	require.True(t, s.ReadyForConnections(patience))
	return s
}

// dial connects to a NATS server.
func dial(t *testing.T, url string, o ...nats.Option) *nats.Conn {
	t.Helper()
	c, err := nats.Connect(url, append([]nats.Option{nats.MaxReconnects(-1), nats.ReconnectWait(20 * time.Millisecond), nats.ReconnectJitter(0, 0)}, o...)...)
	require.NoError(t, err)
	t.Cleanup(c.Close)
	return c
}

// relay makes a Relay over a connection of its own.
func relay(t *testing.T, url string, o ...nats.Option) *Relay {
	t.Helper()
	r, err := New(dial(t, url, o...), nil)
	require.NoError(t, err)
	t.Cleanup(r.Close)
	return r
}

// node starts a Hub.
func node(t *testing.T, store carewire.Store, r carewire.Relay) *carewire.Hub {
	t.Helper()
	nobody := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	})
	h, err := carewire.New(nobody, store, &carewire.Options{Relay: r, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		require.NoError(t, h.Shutdown(ctx))
	})
	return h
}

// A seen notes the events of a watch of one patient: numbers of entries, and of chunks
// of waves.
type seen struct {
	mu     sync.Mutex
	seqs   []uint64
	chunks []uint64
}

// watch watches p1 with its waves.
func watch(t *testing.T, h *carewire.Hub) *seen {
	t.Helper()
	s := &seen{}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	synced := make(chan struct{})
	var first sync.Once
	go func() {
		defer close(done)
		for ev, err := range h.Watch(ctx, carewire.WatchOptions{Patients: []string{"p1"}, Delivery: carewire.DeliverEvery, Waves: []string{"*"}}) {
			if err != nil {
				return
			}
			s.mu.Lock()
			switch ev.Type {
			case carewire.EventSynced:
				first.Do(func() { close(synced) })
			case carewire.EventVital, carewire.EventAlert, carewire.EventGap:
				s.seqs = append(s.seqs, ev.Seq)
			case carewire.EventWave:
				s.chunks = append(s.chunks, ev.Wave.Number)
			}
			s.mu.Unlock()
		}
	}()
	<-synced
	return s
}

func (s *seen) last() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.seqs) == 0 {
		return 0
	}
	return s.seqs[len(s.seqs)-1]
}

// whole checks that no entry was missed, doubled or out of order.
func (s *seen) whole(t *testing.T) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := 1; i < len(s.seqs); i++ {
		require.Equal(t, s.seqs[i-1]+1, s.seqs[i])
	}
}

// publish publishes a vital of p1, and returns its number.
func publish(t *testing.T, h *carewire.Hub, value float64) uint64 {
	t.Helper()
	r, err := h.Publish(t.Context(), carewire.HeartRate.Of("p1", value))
	require.NoError(t, err)
	require.NoError(t, r[0].Err)
	return r[0].Seq
}

// until publishes at one Hub until the other has used an entry of the Relay.
func until(t *testing.T, from, to *carewire.Hub) {
	t.Helper()
	before := to.Stats().Relay.Used
	eventually(t, "an entry comes by the Relay", func() bool {
		publish(t, from, 60)
		return to.Stats().Relay.Used > before
	})
}

// Entries and waves go from node to node. After the server was away for a while, they
// do so again; entries of the meantime come from the Store.
func TestHubsOverNATS(t *testing.T) {
	s := serve(t, &server.Options{})
	store := carewire.NewMemoryStore(nil)
	ra, rb := relay(t, s.ClientURL()), relay(t, s.ClientURL(), nats.NoEcho())
	a, b := node(t, store, ra), node(t, store, rb)
	publish(t, a, 59)
	seenByA, seenByB := watch(t, a), watch(t, b)
	until(t, a, b)
	until(t, b, a)
	number := uint64(0)
	eventually(t, "a wave comes", func() bool {
		number++
		err := a.PublishWaves(carewire.Wave{Patient: "p1", Code: "131330", System: "MDC", Unit: "mV", Rate: 100, Number: number, Time: time.Now(), Samples: make([]int32, 25)})
		require.True(t, err == nil || errors.Is(err, carewire.ErrBusy))
		seenByB.mu.Lock()
		defer seenByB.mu.Unlock()
		return len(seenByB.chunks) > 0
	})

	port := s.Addr().(*net.TCPAddr).Port
	s.Shutdown()
	s.WaitForShutdown()
	eventually(t, "the connections are down", func() bool { return !ra.conn.IsConnected() && !rb.conn.IsConnected() })
	require.ErrorIs(t, ra.Send("x", nil), ErrDisconnected)
	last := publish(t, a, 70)
	eventually(t, "it comes from the Store", func() bool { return seenByB.last() >= last })
	require.NotZero(t, a.Stats().Relay.Dropped)

	serve(t, &server.Options{Port: port})
	until(t, a, b)
	until(t, b, a)
	last = publish(t, a, 71)
	eventually(t, "all have it", func() bool { return seenByA.last() >= last && seenByB.last() >= last })
	seenByA.whole(t)
	seenByB.whole(t)
}

// Relay's own calls: prefixes, subjects of several Hubs on one connection, and Close.
func TestRelay(t *testing.T) {
	s := serve(t, &server.Options{})
	conn := dial(t, s.ClientURL())
	for _, bad := range []string{".", "a.", "a..b", "a.*", ">", "a b"} {
		_, err := New(conn, &Options{Prefix: bad})
		require.Error(t, err, bad)
	}
	_, err := New(nil, nil)
	require.Error(t, err)
	one, err := New(conn, &Options{Prefix: "one.x"})
	require.NoError(t, err)
	two, err := New(conn, nil)
	require.NoError(t, err)
	defer two.Close()
	got := make(chan string, 16)
	listen := func(r *Relay, name string) (stop func()) {
		stop, err := r.Subscribe("s", func(m []byte) { got <- name + " " + string(m) })
		require.NoError(t, err)
		return stop
	}
	listen(one, "first")
	stop := listen(one, "second")
	listen(two, "other")
	require.NoError(t, one.Send("s", []byte("a")))
	require.ElementsMatch(t, []string{"first a", "second a"}, []string{<-got, <-got})
	stop()
	stop()
	require.NoError(t, one.Send("s", []byte("b")))
	require.Equal(t, "first b", <-got)
	require.NoError(t, two.Send("s", []byte("c")))
	require.Equal(t, "other c", <-got)
	one.Close()
	one.Close()
	_, err = one.Subscribe("s", func([]byte) {})
	require.ErrorIs(t, err, carewire.ErrClosed)
	require.NoError(t, two.Send("s", []byte("d")))
	require.Equal(t, "other d", <-got)
	require.Empty(t, got)
}
