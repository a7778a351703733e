package carewire

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A countedStore counts the reads of logs and heads.
type countedStore struct {
	Store
	reads atomic.Int64
}

func (s *countedStore) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	s.reads.Add(1)
	return s.Store.Read(ctx, patient, after, q)
}

func (s *countedStore) Heads(ctx context.Context, patients []string) ([]Head, error) {
	s.reads.Add(1)
	return s.Store.Heads(ctx, patients)
}

// A nodes is several Hubs on one Store, with an ether between them.
type nodes struct {
	ether  *ether
	store  Store
	counts []*countedStore
	hubs   []*world
}

func newNodes(t *testing.T, n int, o Options) *nodes {
	x := &nodes{ether: newEther(), store: NewMemoryStore(&MemoryOptions{Vitals: -1})}
	o.Relay = x.ether
	for range n {
		counted := &countedStore{Store: x.store}
		x.counts = append(x.counts, counted)
		x.hubs = append(x.hubs, newWorld(t, counted, &o))
	}
	synctest.Wait() // they have the key
	return x
}

func (x *nodes) close() {
	for _, w := range x.hubs {
		w.close()
	}
}

// settle waits until the last subscriptions are known everywhere.
func settle() {
	time.Sleep(2 * relayJoin)
	synctest.Wait()
}

// Entries of another node come at once, by way of the Relay, and nothing is read for
// them.
func TestRelayedEntriesAreNotRead(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newNodes(t, 2, Options{})
		defer x.close()
		here, there := x.hubs[0], x.hubs[1]
		_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", 59))
		require.NoError(t, err)
		nurse := here.watching("nurse", "every")
		defer nurse.ws.CloseNow()
		settle()
		before, began := x.counts[0].reads.Load(), time.Now()
		for i := range 3 {
			_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", float64(60+i)))
			require.NoError(t, err)
			v := nurse.until("vital")
			require.EqualValues(t, i+2, v["seq"])
			require.EqualValues(t, 60+i, valueAt(v, "vital", "value"))
		}
		require.Equal(t, before, x.counts[0].reads.Load())
		_, err = there.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		require.Equal(t, "k", valueAt(nurse.until("alert"), "alert", "key"))
		require.Zero(t, time.Since(began))
		s := here.hub.Stats()
		require.GreaterOrEqual(t, s.Relay.Used, uint64(4))
		require.Zero(t, s.Relay.Gaps)
		require.GreaterOrEqual(t, total(s.Lag), uint64(4))
		require.GreaterOrEqual(t, there.hub.Stats().Relay.Sent, uint64(4))
		for _, p := range x.ether.parcels() {
			require.NotContains(t, p.subject, "p1")
			for _, secret := range []string{"8867-4", "nurse", "value"} {
				require.False(t, bytes.Contains(p.message, []byte(secret)), "in the clear")
			}
		}
	})
}

// However the Relay treats the messages, watchers at all nodes see each log, whole
// and in order.
func TestRelayThatLies(t *testing.T) {
	for name, carry := range map[string]func(r *rand.Rand, delay func(time.Duration, func())) func(parcel){
		"loses all": func(*rand.Rand, func(time.Duration, func())) func(parcel) { return func(parcel) {} },
		"loses some": func(r *rand.Rand, _ func(time.Duration, func())) func(parcel) {
			return func(p parcel) {
				if r.IntN(3) > 0 {
					p.arrive(p.message)
				}
			}
		},
		"doubles": func(*rand.Rand, func(time.Duration, func())) func(parcel) {
			return func(p parcel) { p.arrive(p.message); p.arrive(p.message) }
		},
		"reorders": func(r *rand.Rand, delay func(time.Duration, func())) func(parcel) {
			return func(p parcel) {
				delay(time.Duration(r.IntN(200))*time.Millisecond, func() { p.arrive(p.message) })
			}
		},
		"delays": func(r *rand.Rand, delay func(time.Duration, func())) func(parcel) {
			return func(p parcel) {
				p.arrive(p.message)
				delay(time.Duration(r.IntN(30))*time.Second, func() { p.arrive(p.message) })
			}
		},
		"forges": func(r *rand.Rand, _ func(time.Duration, func())) func(parcel) {
			return func(p parcel) {
				m := bytes.Clone(p.message)
				m[r.IntN(len(m))] ^= 1 << r.IntN(8)
				p.arrive(m)
				p.arrive(p.message[:r.IntN(len(p.message))])
				p.arrive(nil)
				if r.IntN(2) == 0 {
					p.arrive(p.message)
				}
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newNodes(t, 3, Options{MaxRequests: -1})
				defer x.close()
				r := rand.New(rand.NewPCG(1, 2))
				var mu sync.Mutex
				locked := func(f func(parcel)) func(parcel) {
					return func(p parcel) { mu.Lock(); defer mu.Unlock(); f(p) }
				}
				x.ether.by(locked(carry(r, func(d time.Duration, f func()) { time.AfterFunc(d, f) })))
				patients := []string{"p1", "p2"}
				var watchers []*eachSeen
				for _, w := range x.hubs {
					watchers = append(watchers, watchAll(t, w.hub, patients))
				}
				settle()
				writes := rand.New(rand.NewPCG(3, 4))
				for i := range 200 {
					hub, p := x.hubs[writes.IntN(3)].hub, patients[writes.IntN(2)]
					if i%10 == 0 {
						_, err := hub.Raise(t.Context(), Raise{Patient: p, Key: fmt.Sprint("k", i), Text: "x", Priority: PriorityInfo})
						require.NoError(t, err)
					} else {
						_, err := hub.Publish(t.Context(), HeartRate.Of(p, float64(i)))
						require.NoError(t, err)
					}
					if writes.IntN(4) == 0 {
						time.Sleep(time.Duration(writes.IntN(500)) * time.Millisecond)
					}
				}
				time.Sleep(30 * time.Second)
				for _, p := range patients {
					log, err := x.store.Read(t.Context(), p, Position{}, ReadQuery{Limit: 10000})
					require.NoError(t, err)
					for i, w := range watchers {
						require.Equal(t, seqsOf(log), w.seqs(p), "%s at node %d", p, i)
					}
				}
			})
		})
	}
}

// An eachSeen notes the numbers that a WatchEach sees.
type eachSeen struct {
	mu   sync.Mutex
	seen map[string][]uint64
}

func watchAll(t *testing.T, h *Hub, patients []string) *eachSeen {
	f := &eachSeen{seen: make(map[string][]uint64)}
	ctx, cancel := context.WithCancel(t.Context())
	t.Cleanup(cancel)
	go h.WatchEach(ctx, WatchOptions{Patients: patients, Delivery: DeliverEvery}, func(e *Event) {
		if e.Vital == nil && e.Alert == nil && e.Notice == nil && e.Type != EventGap {
			return
		}
		f.mu.Lock()
		defer f.mu.Unlock()
		p := string(append([]byte(nil), e.Patient...))
		f.seen[p] = append(f.seen[p], e.Seq)
	})
	return f
}

func (f *eachSeen) seqs(patient string) []uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen[patient])
}

func seqsOf(log []Entry) (list []uint64) {
	for i := range log {
		list = append(list, log[i].Seq)
	}
	return list
}
