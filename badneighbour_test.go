package carewire

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/time/rate"
)

// One bad client costs the others nothing: one test for each way of being bad.

func TestRefusedDevicesAreNotListenedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxKeys: 10})
		defer w.close()
		refused := 0
		for i := range 50 {
			var list []Vital
			for k := range 10 {
				v := HeartRate.Of("p1", 60)
				v.Device, v.Every = fmt.Sprint("d", i, "-", k), time.Second
				list = append(list, v)
			}
			results, _ := w.hub.Publish(t.Context(), list...)
			for _, r := range results {
				if r.Err != nil {
					refused++
				}
			}
		}
		require.Equal(t, 490, refused)
		time.Sleep(time.Minute)
		require.LessOrEqual(t, w.hub.open.alertsOf("p1"), 10)
	})
}

func TestPlacesAreShared(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := newSharedPlaces[string](2, 3, time.Second)
		first, ok := p.take(t.Context(), "a")
		require.True(t, ok)
		second, ok := p.take(t.Context(), "a")
		require.True(t, ok)
		_, ok = p.take(t.Context(), "a")
		require.False(t, ok, "no more for one")
		other, ok := p.take(t.Context(), "b")
		require.True(t, ok)
		_, ok = p.take(t.Context(), "c")
		require.False(t, ok, "no more for all")
		first()
		third, ok := p.take(t.Context(), "c")
		require.True(t, ok)
		second()
		other()
		third()
		require.Empty(t, p.byKey, "nothing stays")
	})
}

func TestInventedGroupsDoNotStay(t *testing.T) {
	o := (&Options{}).withDefaults()
	x := newGroups(directoryFunc(func(context.Context, string) ([]string, error) { return nil, nil }), newHostCalls(&o, new(counters)).directory)
	for i := range 2 * groupsMost {
		_, err := x.members(t.Context(), fmt.Sprint("g", i))
		require.NoError(t, err)
		require.LessOrEqual(t, len(x.byID), groupsMost)
	}
}

func TestPacesOfOthersAreKept(t *testing.T) {
	var p principalPaces
	busy := p.pace("busy", 10)
	require.True(t, busy.requests.AllowN(time.Now(), 20))
	for i := range 3 * principalPacesMost {
		p.paces[fmt.Sprint(i)] = pace{requests: rate.NewLimiter(10, 20)}
		if i%5000 == 0 {
			p.pace(fmt.Sprint("new", i), 10)
		}
	}
	require.False(t, p.pace("busy", 10).requests.AllowN(time.Now(), 19), "a flood of others is no new beginning")
}

func TestTimesAreStrict(t *testing.T) {
	for text, good := range map[string]bool{
		`"2026-01-02T01:00:00Z"`: true, `"2026-01-02T01:00:00.5Z"`: true, `"2026-01-02T01:00:00+05:45"`: true, `"2026-01-02T01:00:00-23:59"`: true,
		`"2026-01-02T1:00:00Z"`: false, `"2026-01-02T01:00:00,5Z"`: false, `"2026-01-02T01:00:00+24:00"`: false, `"2026-01-02T01:00:00+23:60"`: false,
	} {
		s := scanner{b: []byte(text)}
		s.time()
		require.Equal(t, good, s.err == nil, text)
	}
}

// A prolongation by seconds is not written again and again.
func TestEmergencyIsNotWrittenForSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		h := w.hub
		nurse := people["nurse"]
		for i := range 100 {
			require.NoError(t, h.access.emergencies.begin(t.Context(), &nurse, "p9", "x", h.now().Add(time.Hour+time.Duration(i)*time.Millisecond)))
		}
		_, head, err := w.store.Latest(t.Context(), "p9")
		require.NoError(t, err)
		require.EqualValues(t, 1, head.Seq)
	})
}

func TestHandshakesWithMoreThanOneMeaning(t *testing.T) {
	good := func() *http.Request {
		r, err := http.NewRequest(http.MethodGet, "http://localhost/", nil)
		require.NoError(t, err)
		for name, v := range map[string]string{"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="} {
			r.Header.Set(name, v)
		}
		return r
	}
	status, _ := checkUpgrade(good())
	require.Zero(t, status)
	for name, spoil := range map[string]func(*http.Request){
		"a body":       func(r *http.Request) { r.ContentLength = 5 },
		"chunks":       func(r *http.Request) { r.TransferEncoding, r.ContentLength = []string{"chunked"}, -1 },
		"two versions": func(r *http.Request) { r.Header.Add("Sec-WebSocket-Version", "13") },
	} {
		r := good()
		spoil(r)
		status, _ := checkUpgrade(r)
		require.Equal(t, http.StatusBadRequest, status, name)
	}
}

// If many devices of one patient fall silent, people are told only a few times. When
// all are heard again, no alert stays.
func TestSilentDevicesAreGrouped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		send := func(from, to int) {
			var list []Vital
			for i := from; i < to; i++ {
				v := HeartRate.Of("p1", 60)
				v.Device, v.Every = fmt.Sprint("d", i), time.Second
				list = append(list, v)
			}
			_, err := w.hub.Publish(t.Context(), list...)
			require.NoError(t, err)
		}
		const n = 100
		send(0, n)
		for range 60 {
			send(n-10, n) // their gateway is there
			time.Sleep(time.Second)
		}
		require.Equal(t, noDataMost+1, w.hub.open.alertsOf("p1"))
		condition := func() Condition {
			a, err := w.hub.Alert(t.Context(), "p1", noDataMore)
			require.NoError(t, err)
			return a.Condition
		}
		require.Equal(t, ConditionPresent, condition())
		for range 20 {
			send(0, n/2)
			send(n-10, n)
			time.Sleep(time.Second)
		}
		require.Equal(t, ConditionPresent, condition(), "others are still silent")
		for range 20 {
			send(0, n)
			time.Sleep(time.Second)
		}
		require.Equal(t, ConditionOver, condition())
		for i := range n {
			if a, err := w.hub.Alert(t.Context(), "p1", noData(fmt.Sprint("d", i))); err == nil {
				require.Equal(t, ConditionOver, a.Condition)
			}
		}
	})
}

// An alert does not wait while the Store is read for the patients of vitals that
// were published with it.
func TestAlertsDoNotWaitForUnknownPatients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &seam{Store: NewMemoryStore(nil), reading: func() { time.Sleep(50 * time.Millisecond) }}
		w := newWorld(t, store, &Options{Lanes: 1})
		defer w.close()
		const n = 500
		var published sync.WaitGroup
		for i := range n {
			published.Go(func() {
				for value := range 3 {
					_, err := w.hub.Publish(t.Context(), HeartRate.Of(fmt.Sprint("unknown", i), float64(60+value)))
					if err != nil {
						t.Error(err)
					}
				}
			})
		}
		synctest.Wait()
		begun := time.Now()
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		require.Zero(t, time.Since(begun))
		published.Wait()
		require.Positive(t, time.Since(begun), "the vitals have waited")
		for i := range n {
			list, err := store.Store.Read(t.Context(), fmt.Sprint("unknown", i), Position{}, ReadQuery{})
			require.NoError(t, err)
			require.Len(t, list, 3)
		}
	})
}

// Vitals of a patient whose keys are being read stay in order, and are refused
// when they cannot be.
func TestVitalsOfUnknownPatientsStayInOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var failing atomic.Bool
		inner := NewMemoryStore(&MemoryOptions{Vitals: -1})
		store := &latestFails{Store: inner, failing: &failing}
		w := newWorld(t, store, &Options{Lanes: 1})
		defer w.close()
		const n = 3000
		done := make(chan []PublishResult, n)
		for i := range n {
			v := HeartRate.Of("p1", 60)
			v.ID = fmt.Sprint(i)
			w.hub.publish(t.Context(), nil, []Vital{v}, nil, func(r []PublishResult) { done <- r })
			if i%1000 == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		for range n {
			require.NoError(t, (<-done)[0].Err)
		}
		list, err := inner.Read(t.Context(), "p1", Position{}, ReadQuery{Limit: 10000})
		require.NoError(t, err)
		require.Len(t, list, n)
		for i, e := range list {
			require.Equal(t, fmt.Sprint(i), e.ID)
		}
		failing.Store(true)
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p2", 60))
		require.ErrorIs(t, err, ErrUnavailable)
		failing.Store(false)
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p2", 60))
		require.NoError(t, err)
	})
}

// latestFails is a Store of which Latest is slow, and may fail.
type latestFails struct {
	Store
	failing *atomic.Bool
}

func (s *latestFails) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	time.Sleep(20 * time.Millisecond)
	if s.failing.Load() {
		return nil, Head{}, errInjected
	}
	return s.Store.Latest(ctx, patient)
}

// Many notices at once delay an alert by at most one append.
func TestAlertsGoBeforeNotices(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var largest atomic.Int64
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			time.Sleep(time.Duration(len(entries)) * time.Millisecond)
			largest.Store(max(largest.Load(), int64(len(entries))))
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, &Options{Lanes: 1})
		defer w.close()
		var sent sync.WaitGroup
		for i := range 5000 {
			sent.Go(func() {
				w.hub.Notify(t.Context(), Notice{Patient: "p1", ID: fmt.Sprint("n", i), To: []string{"person:x"}, Text: "x"})
			})
		}
		synctest.Wait()
		begun := time.Now()
		_, err := w.hub.Raise(t.Context(), high("k"))
		require.NoError(t, err)
		require.LessOrEqual(t, time.Since(begun), 2*(batchMax+1)*time.Millisecond)
		sent.Wait()
		require.LessOrEqual(t, largest.Load(), int64(batchMax+10))
	})
}

// A read that was given up by its caller is no fault of the Store.
func TestAbandonedReadsAreNoFaultOfTheStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowReads{Store: NewMemoryStore(nil)}
		w := newWorld(t, store, &Options{Recheck: -1})
		defer w.close()
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
		require.NoError(t, err)
		store.slow.Store(true)
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.send(`{"type":"watch","req":"w","patients":["p1"]}`)
		for i := range 40 {
			go func() {
				ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
				defer cancel()
				if i%2 == 0 {
					w.hub.History(ctx, HistoryQuery{Patient: "p1"})
				} else {
					w.hub.Latest(ctx, "p1")
				}
			}()
		}
		for range 30 {
			time.Sleep(time.Second)
			require.NoError(t, w.hub.Ready())
			require.Equal(t, storeOK, w.hub.Stats().StoreState)
			_, err := w.hub.Raise(t.Context(), high("k"))
			require.NoError(t, err)
		}
	})
}

// slowReads is a Store whose logs take a minute to be read.
type slowReads struct {
	Store
	slow atomic.Bool
}

func (s *slowReads) wait(ctx context.Context) error {
	if !s.slow.Load() {
		return nil
	}
	select {
	case <-time.After(time.Minute):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (s *slowReads) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	if err := s.wait(ctx); err != nil {
		return nil, err
	}
	return s.Store.Read(ctx, patient, after, q)
}

func (s *slowReads) Latest(ctx context.Context, patient string) ([]Entry, Head, error) {
	if err := s.wait(ctx); err != nil {
		return nil, Head{}, err
	}
	return s.Store.Latest(ctx, patient)
}

// Reads for clients take only a part of the places, and urgent ones go first.
// The Store's state is that of the call that has been under way for longest.
func TestLongestCallOfTheStoreDecides(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newStoreHealth()
		state := func() string {
			state, _ := h.state()
			return state
		}
		var none error
		first := h.begin(t.Context())
		time.Sleep(1500 * time.Millisecond)
		second, third := h.begin(t.Context()), h.begin(t.Context())
		require.Equal(t, storeOK, state())
		time.Sleep(time.Second)
		require.Equal(t, storeSlow, state())
		first(&none)
		require.Equal(t, storeOK, state(), "those that began later take no longer than they may")
		third(&none)
		time.Sleep(2 * time.Second)
		require.Equal(t, storeSlow, state())
		time.Sleep(8 * time.Second)
		require.Equal(t, storeFailing, state())
		require.False(t, h.onlyFull())
		second(&none)
		require.Equal(t, storeOK, state())
	})
}

func TestReadsForClientsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &slowReads{Store: NewMemoryStore(nil)}
		store.slow.Store(true)
		r := newAskedReads(newGuardedStore(store, time.Now, nil, nil), time.Now)
		for range 3 * askedAtOnce {
			go r.latest(t.Context(), 0, "p1")
		}
		synctest.Wait()
		r.places[0].mu.Lock()
		require.Less(t, r.places[0].taken, askedAtOnce)
		r.places[0].mu.Unlock()
		begun := time.Now()
		_, _, err := r.latest(t.Context(), PriorityHigh.rank(), "p1")
		require.NoError(t, err)
		require.Equal(t, time.Minute, time.Since(begun), "it has waited for none of them")
	})
}

// A connection that watches a group larger than MaxPatients stays when the group is
// read again, and a client that watches all of a large group is told so in frames of
// a bounded size.
func TestLargeGroupsStayWatched(t *testing.T) {
	var ward []string
	for i := range 20000 {
		ward = append(ward, fmt.Sprintf("patient-of-a-large-ward-with-a-long-name-%05d", i))
	}
	for _, most := range []int{500, 30000} {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t, nil, &Options{MaxPatients: most, Directory: directoryFunc(func(context.Context, string) ([]string, error) { return ward, nil })})
			defer w.close()
			nurse := w.dial("nurse")
			defer nurse.ws.CloseNow()
			nurse.send(`{"type":"watch","req":"1","groups":["icu"],"delivery":"alerts"}`)
			watching, synced, largest := make(map[string]bool), make(map[string]bool), 0
			for begun := time.Now(); time.Since(begun) < 4*time.Minute; {
				_, b, err := nurse.ws.Read(t.Context())
				require.NoError(t, err, "%d watched, %d synced", len(watching), len(synced))
				largest = max(largest, len(b))
				typ := peekType(b)
				switch typ {
				case "ok":
					r, err := decodeReply(b, typ)
					require.NoError(t, err)
					for _, p := range r.Watching {
						watching[p] = true
					}
				case "granted", "synced":
					ev, _, err := decodeEvent(b)
					require.NoError(t, err)
					if typ == "granted" {
						watching[ev.Patient] = true
					} else {
						require.True(t, watching[ev.Patient])
						synced[ev.Patient] = true
					}
				}
			}
			require.Len(t, watching, min(most, len(ward)))
			require.Equal(t, watching, synced)
			require.LessOrEqual(t, largest, 64<<10)
		})
	}
}

// A request by POST whose reply finds no room is answered, and gives its seats back.
func TestPostWhoseReplyFindsNoRoom(t *testing.T) {
	left := false
	l := &replyLine{reply: make(chan []byte, 1), leave: func() { left = true }}
	w := newWorld(t, nil, nil)
	defer w.close()
	c := &conn{hub: w.hub, line: l}
	c.token.Store(&Principal{ID: "nurse"})
	c.out = c.replyTo(l, []byte(`{"type":"history","req":"h7","patient":"p1"}`))
	c.out.send(make([]byte, controlSize+1))
	require.True(t, left)
	var o object
	require.NoError(t, json.Unmarshal(<-l.reply, &o))
	require.Equal(t, "h7", o["req"])
	require.Equal(t, string(CodeUnknown), o["code"])
}
