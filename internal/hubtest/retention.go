// Package hubtest tests a Hub on any Store, over the wire.
package hubtest

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
)

// Keeper is a Store that prunes.
type Keeper interface {
	carewire.Store
	carewire.Pruner
}

// a ward is a Hub on a store, with a nurse who may watch p1.
type ward struct {
	t      *testing.T
	store  Keeper
	hub    *carewire.Hub
	server *carewiretest.Server
	token  string
}

func open(t *testing.T, store Keeper) *ward {
	w := &ward{t: t, store: store}
	var door carewiretest.Door
	w.token = door.Token(carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}})
	hub, err := carewire.New(&door, store, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	w.must(err)
	w.hub, w.server = hub, carewiretest.Serve(t, hub)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := hub.Shutdown(ctx); err != nil {
			t.Error(err)
		}
	})
	return w
}

func (w *ward) must(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// prune has the store forget all that it may, as if a thousand days had gone
// by.
func (w *ward) prune(keep carewire.Retention) {
	w.t.Helper()
	w.must(w.store.Prune(w.t.Context(), time.Now().AddDate(0, 0, 1000), keep))
}

func (w *ward) publish(vitals ...carewire.Vital) {
	w.t.Helper()
	_, err := w.hub.Publish(w.t.Context(), vitals...)
	w.must(err)
}

func (w *ward) raise(key string) carewire.Alert {
	w.t.Helper()
	a, err := w.hub.Raise(w.t.Context(), carewire.Raise{Patient: "p1", Key: key, Text: "x", Priority: carewire.PriorityInfo})
	w.must(err)
	return a
}

func (w *ward) end(a carewire.Alert) {
	w.t.Helper()
	by := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}
	_, err := w.hub.Answer(w.t.Context(), by, a.Ref(), carewire.Answer{Do: carewire.AnswerClose, Force: true, Reason: "x"})
	w.must(err)
}

func (w *ward) notify() {
	w.t.Helper()
	_, err := w.hub.Notify(w.t.Context(), carewire.Notice{Patient: "p1", Text: "x", Audience: carewire.AudienceAll})
	w.must(err)
}

// frame holds the fields of an event that matter here.
type frame struct {
	Type      string
	Patient   string
	Epoch     string
	Seq, Must uint64
	Recovered bool
}

// resume watches from a position and returns the events between sync and
// synced.
func (w *ward) resume(delivery carewire.Delivery, since carewire.Position) (sync, synced frame, events []string) {
	w.t.Helper()
	c := w.server.DialSlow("/", w.token)
	c.Send(fmt.Sprintf(`{"type":"watch","req":"1","patients":["p1"],"delivery":%q,"since":{"p1":{"epoch":%q,"seq":%d}}}`, delivery, since.Epoch, since.Seq))
	for {
		var f frame
		w.must(json.Unmarshal([]byte(c.Next()), &f))
		switch {
		case f.Type == "sync":
			sync = f
		case f.Type == "synced":
			return sync, f, events
		case f.Patient == "p1":
			events = append(events, fmt.Sprint(f.Type, " ", f.Seq))
		}
	}
}

var kinds = map[carewire.Kind]string{carewire.KindVital: "vital", carewire.KindAlert: "alert", carewire.KindNotice: "notice",
	carewire.KindReceipt: "receipt", carewire.KindAccess: "access"}

// Retention tests the events of a client that resumes from before or behind
// pruned entries: with each delivery, and for each of the two classes that are
// kept for different times. It opens one store for each.
func Retention(t *testing.T, openStore func(t *testing.T) Keeper) {
	for _, c := range []struct {
		name      string
		keep      carewire.Retention
		recovered map[carewire.Delivery]bool // from before the pruned entries
	}{
		{"nothing", carewire.Retention{},
			map[carewire.Delivery]bool{carewire.DeliverLatest: true, carewire.DeliverEvery: true, carewire.DeliverAlerts: true}},
		{"vitals", carewire.Retention{Vitals: time.Hour},
			map[carewire.Delivery]bool{carewire.DeliverLatest: true, carewire.DeliverEvery: false, carewire.DeliverAlerts: true}},
		{"others", carewire.Retention{Others: time.Hour},
			map[carewire.Delivery]bool{carewire.DeliverLatest: false, carewire.DeliverEvery: false, carewire.DeliverAlerts: false}},
		{"both", carewire.Retention{Vitals: time.Hour, Others: time.Hour},
			map[carewire.Delivery]bool{carewire.DeliverLatest: false, carewire.DeliverEvery: false, carewire.DeliverAlerts: false}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := open(t, openStore(t))
			w.publish(carewire.HeartRate.Of("p1", 60))
			w.raise("stays")
			over := w.raise("over")
			w.publish(carewire.HeartRate.Of("p1", 61), carewire.SpO2.Of("p1", 97))
			w.notify()
			w.end(over)
			w.publish(carewire.HeartRate.Of("p1", 62)) // the newest ones stay
			log, err := w.store.Read(t.Context(), "p1", carewire.Position{}, carewire.ReadQuery{})
			w.must(err)
			end := log[len(log)-1]
			w.prune(c.keep)
			latest, head, err := w.store.Latest(t.Context(), "p1")
			w.must(err)
			if head.Position != end.Position || head.Must != end.Must || len(latest) != 3 {
				t.Fatalf("after Prune the head is %v and %d states are left, want %v and 3", head, len(latest), end.Position)
			}
			for delivery, recovered := range c.recovered {
				for _, from := range []struct {
					seq  uint64
					gone bool // something behind it is
				}{{0, true}, {1, true}, {end.Seq - 1, false}, {end.Seq, false}} {
					want := recovered || !from.gone
					sync, synced, events := w.resume(delivery, carewire.Position{Epoch: end.Epoch, Seq: from.seq})
					about := fmt.Sprintf("%s, from %d", delivery, from.seq)
					if sync.Recovered != want || synced.Recovered != want {
						t.Errorf("%s: recovered was %v and %v, want %v", about, sync.Recovered, synced.Recovered, want)
					}
					if synced.Seq != end.Seq || synced.Must != end.Must {
						t.Errorf("%s: synced was at %d with must %d, want %d and %d", about, synced.Seq, synced.Must, end.Seq, end.Must)
					}
					if owed := owed(log, latest, delivery, from.seq, want); !slices.Equal(events, owed) {
						t.Errorf("%s: came %v, want %v", about, events, owed)
					}
				}
			}
		})
	}
	t.Run("while it is pruned", func(t *testing.T) {
		t.Parallel()
		pruneWhileWatched(t, openStore(t))
	})
}

// owed are the events that a client must get: all that its delivery has behind
// a number, or if that cannot be, the newest and open ones.
func owed(log, latest []carewire.Entry, delivery carewire.Delivery, after uint64, recovered bool) (list []string) {
	newest := func(e carewire.Entry) bool {
		return slices.ContainsFunc(latest, func(l carewire.Entry) bool { return l.Seq == e.Seq })
	}
	for _, e := range log {
		vital := e.Kind == carewire.KindVital
		switch {
		case vital && delivery == carewire.DeliverAlerts, recovered && e.Seq <= after:
			continue
		case recovered && vital && delivery == carewire.DeliverLatest, !recovered:
			if !newest(e) {
				continue
			}
		}
		list = append(list, fmt.Sprint(kinds[e.Kind], " ", e.Seq))
	}
	return list
}

// pruneWhileWatched prunes again and again while vitals and alerts come. A
// watcher gets every event; a client that comes back from before the mark is
// told, and open entries are there for everybody.
func pruneWhileWatched(t *testing.T, store Keeper) {
	w := open(t, store)
	stays := w.raise("stays")
	live := w.server.Dial("/", w.token)
	_, err := live.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p1"}, Delivery: carewire.DeliverEvery})
	w.must(err)
	synced := carewiretest.Await(t, live, carewiretest.OfType(carewire.EventSynced))

	const rounds = 60
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	pruned := make(chan struct{})
	wg.Go(func() {
		defer close(pruned)
		for ctx.Err() == nil {
			if err := store.Prune(t.Context(), time.Now().AddDate(0, 0, 1000), carewire.Retention{Vitals: time.Hour, Others: time.Hour}); err != nil {
				t.Error(err)
				return
			}
			select {
			case pruned <- struct{}{}:
			default:
			}
		}
	})
	wg.Go(func() {
		defer stop()
		for i := range rounds {
			if i%5 == 0 {
				<-pruned
			}
			if _, err := w.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", float64(i+40)), carewire.SpO2.Of("p1", 97)); err != nil {
				t.Error(err)
				return
			}
			if _, err := w.hub.Notify(t.Context(), carewire.Notice{Patient: "p1", Text: "x", Audience: carewire.AudienceAll}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	next := synced.Seq + 1
	for ; next <= synced.Seq+3*rounds; next++ {
		e := carewiretest.Await(t, live, func(e carewire.Event) bool { return e.Patient == "p1" && e.Type != carewire.EventHead })
		if e.Seq != next {
			t.Fatalf("%s with number %d came, want number %d", e.Type, e.Seq, next)
		}
		if next%40 == 0 {
			for _, delivery := range []carewire.Delivery{carewire.DeliverLatest, carewire.DeliverEvery, carewire.DeliverAlerts} {
				_, _, events := w.resume(delivery, carewire.Position{Epoch: e.Epoch})
				if !slices.Contains(events, fmt.Sprint("alert ", synced.Seq)) {
					t.Errorf("with %s the open alert did not come: %v", delivery, events)
				}
			}
		}
	}
	wg.Wait()
	now, err := w.hub.Alert(t.Context(), "p1", "stays")
	w.must(err)
	if now.ID != stays.ID || !now.Open() {
		t.Errorf("the open alert is %v", now)
	}
	if _, err := store.Read(t.Context(), "p1", carewire.Position{}, carewire.ReadQuery{}); err == nil {
		t.Error("nothing was pruned")
	}
}
