package carewire

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// know is a client's state of one patient, kept as the protocol tells it to.
type know struct {
	pos    Position
	must   uint64
	counts bool              // must is exact: synced was seen
	start  uint64            // the number after which everything owed has come one by one
	had    map[uint64]string // the events that came under each number, since the last fresh start
	newest map[string]uint64 // the newest number of each vital's code
}

// a follower is a model client that is cut off after a number of frames, comes
// back, and goes on from where it was.
type follower struct {
	t        *testing.T
	w        *world
	token    string
	delivery Delivery
	cutAfter int // frames; 0: never
	known    map[string]*know
	syncs    []string // the contents of every sync: for a failure's message
}

// connect follows p1 and p2 until the world ends or the cut.
func (f *follower) connect() (cut bool) {
	r, err := f.w.tryDial(f.token)
	if err != nil {
		return false
	}
	defer r.ws.CloseNow()
	since := ""
	for p, k := range f.known {
		if !k.counts {
			delete(f.known, p) // cut before synced: the events are not complete
			continue
		}
		if since != "" {
			since += ","
		}
		since += fmt.Sprintf(`%q:{"epoch":%q,"seq":%d}`, p, k.pos.Epoch, k.pos.Seq)
	}
	r.ws.Write(context.Background(), websocket.MessageText, fmt.Appendf(nil, `{"type":"watch","req":"w","patients":["p1","p2"],"delivery":%q,"since":{%s}}`, f.delivery, since))
	for n := 1; ; n++ {
		_, b, err := r.ws.Read(context.Background())
		if err != nil {
			return false
		}
		f.take(b)
		if n == f.cutAfter {
			return true
		}
	}
}

func (f *follower) take(b []byte) {
	var o struct {
		Type, Patient, Epoch string
		Seq, Must            uint64
		Recovered            bool
		Vital                struct{ Code string }
		Heads                []struct {
			Patient   string
			Seq, Must uint64
		}
	}
	if err := json.Unmarshal(b, &o); err != nil {
		f.t.Errorf("%v", err)
	}
	switch o.Type {
	case "sync":
		f.syncs = append(f.syncs, string(b))
		if k := f.known[o.Patient]; k == nil || !o.Recovered {
			f.known[o.Patient] = &know{had: make(map[uint64]string), newest: make(map[string]uint64)}
		}
	case "synced":
		k := f.known[o.Patient]
		if k.counts && k.must != o.Must {
			f.t.Errorf("must: counted %d, synced says %d", k.must, o.Must)
		}
		if !k.counts {
			k.start = o.Seq
		}
		k.pos, k.must, k.counts = Position{o.Epoch, o.Seq}, o.Must, true
	case "vital", "alert", "notice", "receipt", "access", "gap":
		k := f.known[o.Patient]
		if k == nil {
			f.t.Errorf("an event before its sync: %s", b)
			return
		}
		if k.had[o.Seq] != "" {
			f.t.Errorf("%d twice; %v", o.Seq, f.syncs)
		}
		if o.Seq <= k.pos.Seq && k.counts {
			f.t.Errorf("%d after %d", o.Seq, k.pos.Seq)
		}
		if k.counts {
			want := k.must
			if o.Type != "vital" {
				want++
			}
			if o.Must != want && !(o.Type == "gap" && o.Must == k.must) {
				f.t.Errorf("at %d must is %d, counted %d", o.Seq, o.Must, want)
			}
			if f.delivery == DeliverEvery && o.Seq != k.pos.Seq+1 {
				f.t.Errorf("every: %d after %d", o.Seq, k.pos.Seq)
			}
			k.pos, k.must = Position{o.Epoch, o.Seq}, o.Must
		}
		k.had[o.Seq] = o.Type
		if o.Type == "vital" {
			k.newest[o.Vital.Code] = max(k.newest[o.Vital.Code], o.Seq)
		}
	case "head":
		for _, h := range o.Heads {
			if k := f.known[h.Patient]; k.counts && (k.must != h.Must || k.pos.Seq > h.Seq) {
				f.t.Errorf("head says %d at %d, counted %d at %d", h.Must, h.Seq, k.must, k.pos.Seq)
			}
		}
	}
}

// check compares the state of f with the log.
func (f *follower) check(store Store) {
	principal := people[f.token]
	for _, patient := range []string{"p1", "p2"} {
		k := f.known[patient]
		require.NotNil(f.t, k)
		entries, head, err := store.Latest(context.Background(), patient)
		require.NoError(f.t, err)
		require.Equal(f.t, head.Must, k.must, "%s: counted", patient)
		owed := func(e *Entry) string {
			switch {
			case e.Kind.Droppable() && f.delivery == DeliverAlerts:
				return ""
			case !principal.sees(e):
				return "gap"
			}
			return kindName(e.Kind)
		}
		for i := range entries { // the newest and the open entries are known, whichever way they came
			e := &entries[i]
			if owed(e) != "" && (owed(e) != "gap" || k.had[e.Seq] != "") {
				require.Equal(f.t, owed(e), k.had[e.Seq], "%s/%d", patient, e.Seq)
			}
			if e.Kind == KindVital && f.delivery != DeliverAlerts {
				require.Equal(f.t, e.Seq, k.newest[strings.Fields(e.Key)[1]], "the newest of %s", e.Key)
			}
		}
		log, err := store.Read(context.Background(), patient, Position{Seq: k.start}, ReadQuery{Limit: 10000})
		if err != nil {
			continue // pruned since
		}
		for i := range log {
			e := &log[i]
			if owed(e) != "" && (!e.Kind.Droppable() || f.delivery == DeliverEvery) {
				require.Equal(f.t, owed(e), k.had[e.Seq], "%s/%d; %v", patient, e.Seq, f.syncs)
			}
		}
	}
}

// history makes random events, now and then in bursts.
func (w *world) history(r *rand.Rand, n int) {
	for i := range n {
		patient := []string{"p1", "p2"}[r.IntN(2)]
		ctx := context.Background()
		switch r.IntN(6) {
		case 0:
			a := Raise{Patient: patient, Key: "k" + strconv.Itoa(r.IntN(3)), Text: "x", Priority: PriorityInfo}
			if r.IntN(2) == 0 {
				a.Audience = AudienceAll
			}
			w.hub.Raise(ctx, a)
		case 1:
			w.hub.Clear(ctx, AlertRef{Patient: patient, Key: "k" + strconv.Itoa(r.IntN(3))})
		case 2:
			w.hub.Notify(ctx, Notice{Patient: patient, To: []string{"person:nurse"}, Text: "x"})
		default:
			v := []Vital{HeartRate.Of(patient, 60), SpO2.Of(patient, 97)}[r.IntN(2)]
			w.hub.Publish(ctx, v)
		}
		if i%3 == 0 || r.IntN(2) == 0 {
			synctest.Wait()
		}
	}
	synctest.Wait()
}

// The connection is cut after every single frame of random histories, and the
// client resumes: nothing that its delivery promises is missing, nothing comes
// twice, and recovered is never wrong.
func TestResumeAfterEveryFrame(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for _, delivery := range []Delivery{DeliverLatest, DeliverEvery, DeliverAlerts} {
		for _, token := range []string{"nurse", "family"} {
			for _, small := range []bool{false, true} {
				t.Run(fmt.Sprintf("%s/%s/pruned=%v", delivery, token, small), func(t *testing.T) {
					t.Parallel()
					for cut := 1; cut <= 24; cut++ {
						synctest.Test(t, func(t *testing.T) {
							o := &MemoryOptions{}
							if small {
								o.Vitals, o.Others = 6, 4
							}
							store := NewMemoryStore(o)
							// Every other time hardly anything may wait: the queue overflows.
							w := newWorld(t, store, &Options{MaxOutboxBytes: []int{0, 600}[cut%2]})
							f := &follower{t: t, w: w, token: token, delivery: delivery, cutAfter: cut, known: make(map[string]*know)}
							done := make(chan struct{})
							go func() {
								defer close(done)
								for cuts := 0; f.connect(); cuts++ {
									if cuts == 12 {
										f.cutAfter = 0
									}
								}
							}()
							defer func() { w.close(); <-done }()
							w.history(rand.New(rand.NewPCG(seed, uint64(cut))), 40)
							f.check(store)
						})
					}
				})
			}
		}
	}
}

// I1: a number at or below the cursor, or another epoch, gives every watcher a new beginning.
func TestAnotherLogIsANewBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seam{Store: NewMemoryStore(nil)}
		w := newWorld(t, s, nil)
		defer w.close()
		nurse := w.watching("nurse", "every")
		defer nurse.ws.CloseNow()
		for range 3 {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 70))
			require.NoError(t, err)
			nurse.until("vital")
		}
		s.Store = NewMemoryStore(nil) // a backup was restored under our feet
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 71))
		require.NoError(t, err)
		sync := nurse.until("sync")
		require.Equal(t, false, sync["recovered"])
		v := nurse.read()
		require.Equal(t, 1, seqOf(v))
		require.Equal(t, sync["epoch"], v["epoch"])
		require.Equal(t, "synced", nurse.read()["type"])
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 72))
		require.NoError(t, err)
		require.Equal(t, 2, seqOf(nurse.until("vital")))
	})
}

// I5: an event that comes while a client is catching up comes to it once.
func TestEventsDuringCatchUpComeOnce(t *testing.T) {
	for _, since := range []string{``, `,"since":{"p1":{"epoch":"","seq":0}}`} {
		synctest.Test(t, func(t *testing.T) {
			s := &seam{Store: NewMemoryStore(nil)}
			w := newWorld(t, s, nil)
			defer w.close()
			publish := func(key string) {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityInfo})
				require.NoError(t, err)
			}
			publish("before")
			once := true
			s.reading = func() {
				if once {
					once = false
					publish("meanwhile")
				}
			}
			nurse := w.dial("nurse")
			defer nurse.ws.CloseNow()
			nurse.send(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every"` + since + `}`)
			nurse.until("synced")
			publish("after")
			require.Equal(t, "after", valueAt(nurse.read(), "alert", "key"))
		})
	}
}

// Positions of another log are never honoured; positions of this log always are.
func TestResumePositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		defer w.close()
		for i := range 3 {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k" + strconv.Itoa(i), Text: "x", Priority: PriorityInfo})
			require.NoError(t, err)
		}
		heads, err := store.Heads(t.Context(), []string{"p1"})
		require.NoError(t, err)
		epoch := heads[0].Epoch
		for _, c := range []struct {
			name, since string
			recovered   bool
			events      int
		}{
			{"the end", `{"epoch":"` + epoch + `","seq":3}`, true, 0},
			{"the middle", `{"epoch":"` + epoch + `","seq":1}`, true, 2},
			{"before the first, with epoch", `{"epoch":"` + epoch + `","seq":0}`, true, 3},
			{"before the first", `{"epoch":"","seq":0}`, true, 3},
			{"beyond the end", `{"epoch":"` + epoch + `","seq":4}`, false, 3},
			{"far beyond the end", `{"epoch":"` + epoch + `","seq":999999999999999}`, false, 3},
			{"another epoch", `{"epoch":"other","seq":1}`, false, 3},
		} {
			r := w.dial("nurse")
			r.send(`{"type":"watch","req":"w","patients":["p1"],"since":{"p1":` + c.since + `}}`)
			r.until("ok")
			o := r.read()
			require.Equal(t, "sync", o["type"])
			require.Equal(t, c.recovered, o["recovered"], c.name)
			for range c.events {
				require.Equal(t, "alert", r.read()["type"], c.name)
			}
			o = r.read()
			require.Equal(t, "synced", o["type"], c.name)
			require.Equal(t, c.recovered, o["recovered"])
			require.EqualValues(t, 3, o["must"])
			r.ws.CloseNow()
		}
	})
}

// I5: a client that resumes while the Store fails is given the missing events
// when it works again, and no new beginning. So is a client that was let in
// then without a position.
func TestResumeWhileTheStoreFails(t *testing.T) {
	for _, found := range []string{"compared", "appended"} {
		synctest.Test(t, func(t *testing.T) {
			store := &seam{Store: NewMemoryStore(nil)}
			w := newWorld(t, store, nil)
			defer w.close()
			publish := func() {
				_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60), HeartRate.Of("p1", 61))
				require.NoError(t, err)
			}
			publish()
			head, err := store.Heads(t.Context(), []string{"p1"})
			require.NoError(t, err)
			publish()
			nurse := w.dial("nurse")
			defer nurse.ws.CloseNow()
			store.failing.Store(true)
			nurse.send(fmt.Sprintf(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every","since":{"p1":{"epoch":%q,"seq":%d}}}`, head[0].Epoch, head[0].Seq))
			time.Sleep(3 * time.Second)
			store.failing.Store(false)
			if found == "appended" {
				publish()
			}
			sync := nurse.until("sync")
			require.Equal(t, true, sync["recovered"], found)
			for seq := 3; seq <= 4; seq++ {
				require.Equal(t, seq, seqOf(nurse.until("vital")))
			}
			time.Sleep(10 * time.Second)
			publish()
			last := 6
			if found == "appended" {
				last = 8
			}
			for seq := 5; seq <= last; seq++ {
				require.Equal(t, seq, seqOf(nurse.until("vital")), found)
			}
		})
	}
}

// A snapshot of any size comes in pages, as the client takes it: alerts first, the most
// urgent before all, and then the position from which the events go on. The newest
// state of only a few patients is held for a client.
func TestSnapshotComesInPages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const alerts, vitals = 300, 200
		store, now := NewMemoryStore(nil), time.Now()
		patients := []string{"p1", "p2", "p3", "p4", "p5", "p6"}
		for _, patient := range patients {
			var batch []Entry
			for i := range alerts {
				in := Raise{Patient: patient, Key: fmt.Sprint("k", i), ID: fmt.Sprint(patient, "e", i), Text: strings.Repeat("x", 500), Priority: []Priority{PriorityLow, PriorityHigh, PriorityMedium}[i%3], Test: true}
				a := raiseAlert(nil, in, "device", now)
				a.stop() // nobody is to be paged
				e := alertEntry(&a, now)
				e.Rev = 1
				batch = append(batch, e, noticeEntry(&Notice{Patient: patient, ID: fmt.Sprint(patient, "n", i), From: "device", To: []string{"role:clinician"}, Audience: AudienceNamed, Text: strings.Repeat("x", 500), Time: now}, 1))
			}
			_, err := store.Append(t.Context(), batch)
			require.NoError(t, err)
		}
		w := newWorld(t, store, &Options{Authorizer: &judge{decide: everyone}})
		defer w.close()
		for _, patient := range patients {
			for i := range vitals {
				sends(t, w, patient, fmt.Sprint("monitor", i), 0)
			}
		}
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.send(`{"type":"watch","req":"1","patients":["p1","p2","p3","p4","p5","p6"]}`)
		synctest.Wait()
		c := w.hub.registry.of("nurse")[0]
		ranks := make(map[string]int) // the last one of each patient
		counts := make(map[string]map[string]int)
		ended := 0
		for ended < len(patients) {
			o := nurse.read()
			patient, typ := fmt.Sprint(o["patient"]), o["type"].(string)
			synctest.Wait()
			c.mu.Lock()
			c.out.mu.Lock()
			held := 0
			for _, w := range c.watches {
				if w.catch.holds() {
					held++
				}
			}
			read := c.out.read
			c.out.mu.Unlock()
			c.mu.Unlock()
			require.LessOrEqual(t, read, readAhead+2*pageBytes)
			require.LessOrEqual(t, held, 1+readAhead/pageBytes)
			rank := 0
			switch typ {
			case "sync":
				require.Equal(t, false, o["recovered"])
				ranks[patient], counts[patient] = 10, make(map[string]int)
				continue
			case "synced":
				head, err := store.Heads(t.Context(), []string{patient})
				require.NoError(t, err)
				require.EqualValues(t, head[0].Seq, o["seq"])
				require.EqualValues(t, head[0].Must, o["must"])
				require.Equal(t, map[string]int{"alert": alerts, "notice": alerts, "vital": vitals}, counts[patient])
				ended++
				continue
			case "alert":
				rank = 2 + Priority(fmt.Sprint(valueAt(o, "alert", "priority"))).rank()
			case "notice":
				rank = 1
			case "vital":
			default:
				continue
			}
			require.LessOrEqual(t, rank, ranks[patient], typ)
			ranks[patient] = rank
			counts[patient][typ]++
		}
		sends(t, w, "p2", "monitor1", 0)
		head, err := store.Heads(t.Context(), []string{"p2"})
		require.NoError(t, err)
		require.EqualValues(t, head[0].Seq, nurse.until("vital")["seq"])
	})
}
