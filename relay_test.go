package carewire

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"strings"
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
		var many []Vital
		for i := range 500 { // more than one message holds
			many = append(many, HeartRate.Of("p1", float64(60+i%100)))
		}
		_, err = there.hub.Publish(t.Context(), many...)
		require.NoError(t, err)
		for seq := 0; seq < 504; {
			v := nurse.until("vital")
			require.Greater(t, seqOf(v), seq)
			seq = seqOf(v)
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

// Other nodes learn at once of alerts in an inbox, of revocations, of groups and of
// discharges, though nothing of it is watched.
func TestNewsReachOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		members := []string{"p1"}
		x := newNodes(t, 2, Options{Directory: directoryFunc(func(context.Context, string) ([]string, error) {
			mu.Lock()
			defer mu.Unlock()
			return slices.Clone(members), nil
		})})
		defer x.close()
		here, there := x.hubs[0], x.hubs[1]
		nurse := here.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.until("inbox")
		doctor := here.dial("doctor")
		defer doctor.ws.CloseNow()
		doctor.ask(`{"type":"watch","req":"g","groups":["icu"]}`)
		doctor.until("synced")
		settle()
		time.Sleep(300 * time.Millisecond) // between two looks at the Store
		soon := func(name string, do func() error, comes func()) {
			t.Helper()
			began := time.Now()
			require.NoError(t, do())
			comes()
			require.LessOrEqual(t, time.Since(began), 2*newsEvery, name)
			time.Sleep(50*time.Millisecond + time.Until(began.Add(time.Second)))
		}
		soon("inbox", func() error {
			_, err := there.hub.Raise(t.Context(), Raise{Patient: "p3", Key: "k", Text: "x", Priority: PriorityHigh, To: []string{"person:nurse"}})
			return err
		}, func() { nurse.until("inbox") })
		mu.Lock()
		members = append(members, "p2")
		mu.Unlock()
		soon("group", func() error { return there.hub.MembersChanged(t.Context(), "icu") }, func() {
			require.Equal(t, "p2", doctor.until("granted")["patient"])
		})
		soon("revocation", func() error {
			return there.hub.Revoke(t.Context(), Revocation{Principal: "doctor", Patients: []string{"p1"}, Until: time.Now().Add(time.Hour)})
		}, func() { require.Equal(t, "p1", doctor.until("revoked")["patient"]) })
	})
}

// A watch that begins while entries come by the Relay sees each one from there on, once.
func TestWatchBeginsBetweenMessages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newNodes(t, 2, Options{})
		defer x.close()
		here, there := x.hubs[0], x.hubs[1]
		var watchers []*eachSeen
		for i := range 60 {
			_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", float64(60+i)))
			require.NoError(t, err)
			if i%3 == 0 {
				watchers = append(watchers, watchAll(t, here.hub, []string{"p1"}))
			}
			if i%7 == 0 {
				time.Sleep(30 * time.Millisecond)
			}
		}
		settle()
		for _, w := range watchers {
			seen := w.seqs("p1")
			require.NotEmpty(t, seen)
			for i, seq := range seen {
				require.Equal(t, seen[0]+uint64(i), seq)
			}
			require.EqualValues(t, 60, seen[len(seen)-1])
		}
	})
}

// Entries of another epoch are not used: the Store is asked, and the watch begins anew.
func TestRelayedEntriesOfAnotherLog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		swapped := &seam{Store: NewMemoryStore(nil)}
		ether := newEther()
		here, there := newWorld(t, swapped, &Options{Relay: ether}), newWorld(t, swapped, &Options{Relay: ether})
		defer here.close()
		defer there.close()
		for range 3 {
			_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", 70))
			require.NoError(t, err)
		}
		nurse := here.watching("nurse", "every")
		defer nurse.ws.CloseNow()
		settle()
		var held []parcel
		ether.by(func(p parcel) { held = append(held, p) })
		_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", 70)) // 4, on its way
		require.NoError(t, err)
		synctest.Wait()
		ether.by(nil)
		require.Len(t, held, 1)
		swapped.Store = NewMemoryStore(nil) // a backup was restored
		began := time.Now()
		for range 5 {
			_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", 71))
			require.NoError(t, err)
			synctest.Wait()
		}
		sync := nurse.until("sync")
		require.Equal(t, false, sync["recovered"])
		require.Zero(t, time.Since(began))
		held[0].arrive(held[0].message)
		_, err = there.hub.Publish(t.Context(), HeartRate.Of("p1", 72))
		require.NoError(t, err)
		for seq := 0; seq < 6; {
			v := nurse.until("vital")
			require.Equal(t, sync["epoch"], v["epoch"])
			require.NotEqual(t, 70.0, valueAt(v, "vital", "value"))
			require.Greater(t, seqOf(v), seq)
			seq = seqOf(v)
		}
	})
}

// Where a Relay has just brought the entries, the wake-ups of the Store cause no read.
// If it brings nothing, they do.
func TestWakeUpsBesideARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, ether := NewMemoryStore(nil), newEther()
		shared := &sharedStore{Store: store, wake: make(chan []string)}
		here, there := newWorld(t, shared, &Options{Relay: ether}), newWorld(t, store, &Options{Relay: ether})
		defer here.close()
		defer there.close()
		nurse := here.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.ask(`{"type":"watch","req":"w","patients":["p1","p2"],"delivery":"every"}`)
		nurse.until("synced")
		nurse.until("synced")
		settle()
		publish := func(patient string) {
			_, err := there.hub.Publish(t.Context(), HeartRate.Of(patient, 60))
			require.NoError(t, err)
			synctest.Wait()
		}
		publish("p1") // the first entry of a log is read
		shared.since()
		publish("p1")
		shared.wake <- []string{"p1", "p2"}
		synctest.Wait()
		require.Equal(t, []string{"p2"}, shared.since())
		ether.by(func(parcel) {})
		time.Sleep(relayMoot)
		shared.since()
		publish("p1")
		shared.wake <- []string{"p1"}
		for seq := 0; seq < 3; {
			seq = seqOf(nurse.until("vital"))
		}
		require.Equal(t, []string{"p1"}, shared.since())
	})
}

// An entry is read soon if its message is lost, though the Relay has just brought another
// one of the patient. While the log goes on, wake-ups cause no read.
func TestLostMessageBehindAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store, ether := NewMemoryStore(nil), newEther()
		shared := &sharedStore{Store: store, wake: make(chan []string)}
		here, there := newWorld(t, shared, &Options{Relay: ether}), newWorld(t, store, &Options{Relay: ether})
		defer here.close()
		defer there.close()
		publish := func() {
			_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
			require.NoError(t, err)
			synctest.Wait() // the Relay is faster
			shared.wake <- []string{"p1"}
			synctest.Wait()
		}
		publish()
		seen := watchAll(t, here.hub, []string{"p1"})
		settle()
		shared.since()
		for range 4 { // before the next look at all logs
			publish()
			time.Sleep(relayOwed / 2)
		}
		require.Equal(t, upTo[uint64](1, 5), seen.seqs("p1"))
		require.Empty(t, shared.since())
		for i, pause := range []time.Duration{0, relayMoot / 2, relayMoot, 3 * relayMoot} {
			publish()
			time.Sleep(pause)
			ether.by(func(parcel) {})
			publish()
			ether.by(nil)
			if pause < relayMoot {
				time.Sleep(relayOwed)
				synctest.Wait()
			}
			require.Equal(t, upTo(1, 7+2*uint64(i)), seen.seqs("p1"), "%v after another one", pause)
		}
	})
}

// An event does not wait behind the waves that go to other nodes, nor behind those that
// come from there.
func TestEventsOvertakeWaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newNodes(t, 2, Options{})
		defer x.close()
		here, there := x.hubs[0].hub, x.hubs[1].hub
		_, err := there.Publish(t.Context(), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		seen := watchAll(t, here, []string{"p1"})
		release, handled := make(chan struct{}), 0
		here.peers.subscribe(topic{topicWaves, "p2"}, func(*relayMessage) { <-release; handled++ })
		settle()
		x.ether.parcels()

		sending := make(chan struct{})
		proceed, goOn := sync.OnceFunc(func() { close(sending) }), sync.OnceFunc(func() { close(release) })
		defer goOn()
		defer proceed()
		x.ether.by(func(p parcel) { <-sending; p.arrive(p.message) })
		began := time.Now()
		for n := range 10 {
			w := chunk(n+1, began)
			w.Patient = "p2"
			require.NoError(t, there.PublishWaves(w))
		}
		synctest.Wait() // the first is being sent
		_, err = there.Publish(t.Context(), HeartRate.Of("p1", 61))
		require.NoError(t, err)
		synctest.Wait()
		for range 2 {
			select {
			case sending <- struct{}{}:
			case <-time.After(time.Second):
				require.Fail(t, "a handler of waves holds the Relay up")
			}
		}
		time.Sleep(100 * time.Millisecond) // a watch gathers its events
		require.Equal(t, []uint64{1, 2}, seen.seqs("p1"), "before nine waves that are to be sent, and one that has come")
		x.ether.by(nil)
		proceed()
		synctest.Wait()
		require.Zero(t, handled)
		_, err = there.Publish(t.Context(), HeartRate.Of("p1", 62))
		require.NoError(t, err)
		time.Sleep(100 * time.Millisecond)
		require.Equal(t, []uint64{1, 2, 3}, seen.seqs("p1"), "before ten waves that have come")
		goOn()
		synctest.Wait()
		require.Equal(t, 10, handled)
		require.Less(t, time.Since(began), time.Second, "before the next look at the Store")
	})
}

// A Relay that panics, fails or hangs harms nobody: the node itself shows its events,
// and the others read them from the Store. When it works again, it is used.
func TestBrokenRelay(t *testing.T) {
	for name, broken := range map[string]func(x *ether, release chan struct{}){
		"panics": func(x *ether, _ chan struct{}) { x.by(func(parcel) { panic("relay") }) },
		"fails":  func(x *ether, _ chan struct{}) { x.down(true) },
		"hangs":  func(x *ether, release chan struct{}) { x.by(func(parcel) { <-release }) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				x := newNodes(t, 2, Options{})
				defer x.close()
				release := make(chan struct{})
				broken(x.ether, release)
				here, there := watchAll(t, x.hubs[0].hub, []string{"p1"}), watchAll(t, x.hubs[1].hub, []string{"p1"})
				settle()
				publish := func() {
					_, err := x.hubs[1].hub.Publish(t.Context(), HeartRate.Of("p1", 60))
					require.NoError(t, err)
					time.Sleep(100 * time.Millisecond)
				}
				for range outgoingMost / 8 {
					_, err := x.hubs[1].hub.Publish(t.Context(), HeartRate.Of("p2", 60), HeartRate.Of("p2", 61), HeartRate.Of("p2", 62), HeartRate.Of("p2", 63), HeartRate.Of("p2", 64), HeartRate.Of("p2", 65), HeartRate.Of("p2", 66), HeartRate.Of("p2", 67), HeartRate.Of("p2", 68))
					require.NoError(t, err)
				}
				publish()
				require.Len(t, there.seqs("p1"), 1)
				require.Empty(t, here.seqs("p1"))
				time.Sleep(10 * time.Second)
				require.Len(t, here.seqs("p1"), 1)
				require.NotZero(t, x.hubs[1].hub.Stats().Relay.Dropped)
				close(release)
				x.ether.by(nil)
				x.ether.down(false)
				time.Sleep(relayAgree + time.Second)
				publish()
				require.Len(t, here.seqs("p1"), 2)
			})
		})
	}
}

// Hubs that begin at the same time agree on a key. A key that is damaged is not used,
// which is said once; a new one is used within a minute.
func TestKeyOfARelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		store, ether := NewMemoryStore(nil), newEther()
		plain := newWorld(t, store, nil)
		defer plain.close()
		share := func(value string) {
			_, err := plain.hub.Share(t.Context(), relayShared, func([]byte) []byte { return []byte(value) })
			require.NoError(t, err)
		}
		share(`{"key":"AAAA"}`)
		o := Options{Relay: ether, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		here, there := newWorld(t, store, &o), newWorld(t, store, &o)
		defer here.close()
		defer there.close()
		_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", 59))
		require.NoError(t, err)
		seen := watchAll(t, here.hub, []string{"p1"})
		time.Sleep(10 * time.Second)
		require.Empty(t, ether.parcels())
		require.Equal(t, 2, strings.Count(log.String(), "key for messages"))
		publish := func() {
			_, err := there.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
			require.NoError(t, err)
			time.Sleep(100 * time.Millisecond)
		}
		for i, key := range []string{"AQ", "Ag"} {
			share(`{"key":"` + key + strings.Repeat("A", 41) + `="}`)
			time.Sleep(relayAgree + time.Second)
			used := here.hub.Stats().Relay.Used
			publish()
			require.Equal(t, used+1, here.hub.Stats().Relay.Used)
			require.Len(t, seen.seqs("p1"), 2+i)
		}
		require.Zero(t, here.hub.Stats().Relay.Ignored)
	})
}
