package carewire

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

// With an alert the ten seconds before and after are kept, for those who may see the
// alert, days later too; once, and not with alerts that are none of the body.
func TestStrips(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		nurse := watchWaves(join(t, dial(), "nurse"))
		began := time.Now()
		raise := func(a Raise) {
			a.Patient, a.Text = "p1", "x"
			_, err := w.hub.Raise(t.Context(), a)
			require.NoError(t, err)
		}
		var raised time.Time
		for n := 1; n <= 120; n++ {
			if n != 70 { // a gap
				c := chunk(n, began)
				test := c
				test.Test = true
				require.NoError(t, w.hub.PublishWaves(c, test))
			}
			switch n {
			case 60:
				raised = time.Now()
				raise(Raise{Key: "asystole", Priority: PriorityHigh, To: []string{"person:nurse"}, Audience: AudienceNamed})
				raise(Raise{Key: "asystole", Priority: PriorityHigh, To: []string{"person:nurse"}, Audience: AudienceNamed})
				raise(Raise{Key: "leads", Priority: PriorityMedium, Kind: AlertTechnical})
				raise(Raise{Key: "info", Priority: PriorityInfo})
				raise(Raise{Key: "tried", Priority: PriorityHigh, Test: true})
			}
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(25 * time.Hour)
		page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindStrip}})
		require.NoError(t, err)
		require.Len(t, page.Events, 2)
		byAlert, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindStrip}, Key: "asystole"})
		require.NoError(t, err)
		require.Len(t, byAlert.Events, 1)
		s := byAlert.Events[0].Strip
		require.WithinDuration(t, raised, s.Raised, time.Second)
		require.False(t, s.Dropped)
		require.Len(t, s.Waves, 2, "two pieces, with a gap between")
		before, after := s.Waves[0], s.Waves[1]
		require.Equal(t, []uint64{21, 71}, []uint64{before.Number, after.Number})
		require.Len(t, before.Samples, 49*62)
		require.GreaterOrEqual(t, after.End().Sub(raised), 10*time.Second)
		require.LessOrEqual(t, after.End().Sub(raised), 12*time.Second)
		require.Equal(t, chunk(21, began).Samples, before.Samples[:62])
		all, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1"})
		require.NoError(t, err)
		for _, ev := range all.Events {
			require.Nil(t, ev.Strip, "only where it is asked for")
		}
		require.Empty(t, nurse.of(EventStrip), "every watcher gets a gap")
		r := w.dial("nurse")
		defer r.ws.CloseNow()
		ask := `{"type":"history","req":"1","patient":"p1","kinds":["strip"],"key":"asystole"}`
		require.Len(t, r.ask(ask)["events"], 1)
		d := w.dial("doctor")
		defer d.ws.CloseNow()
		require.Empty(t, d.ask(ask)["events"], "a person whom the alert does not concern")
	})
}

// Options.Strips is the lowest priority that has strips.
func TestStripsByPriority(t *testing.T) {
	for least, want := range map[Priority]int{"": 2, PriorityLow: 3, PriorityMedium: 2, PriorityHigh: 1, NoStrips: 0} {
		t.Run(string(least), func(t *testing.T) {
			bedsideTest(t, &Options{Strips: least}, func(t *testing.T, w *world, _ func() net.Conn) {
				began := time.Now()
				for n := 1; n <= 60; n++ {
					require.NoError(t, w.hub.PublishWaves(chunk(n, began)))
					if n == 4 {
						for _, p := range []Priority{PriorityLow, PriorityMedium, PriorityHigh} {
							_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: string(p), Priority: p, Text: "x"})
							require.NoError(t, err)
						}
					}
					time.Sleep(250 * time.Millisecond)
				}
				time.Sleep(time.Minute)
				page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindStrip}})
				require.NoError(t, err)
				require.Len(t, page.Events, want)
			})
		})
	}
}

// A strip is bounded however many signals there are, and a strip in the making when
// the Hub ends is kept.
func TestStripsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		began := time.Now()
		for n := 1; n <= 60; n++ {
			for lead := range 12 {
				c := chunk(n, began)
				c.Device = fmt.Sprint("mon-", lead)
				for i := range c.Samples {
					c.Samples[i] = int32(i * i * n % 997)
				}
				require.NoError(t, w.hub.PublishWaves(c))
			}
			time.Sleep(250 * time.Millisecond)
		}
		for i := range stripsMost + 3 {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint("k", i), Text: "x", Priority: PriorityHigh})
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, uint64(3), w.hub.Stats().Limits.Waves)
		w.close()
		entries, err := store.Read(t.Context(), "p1", Position{}, ReadQuery{Kinds: []Kind{KindStrip}})
		require.NoError(t, err)
		require.Len(t, entries, stripsMost)
		for i := range entries {
			require.LessOrEqual(t, len(entries[i].Data), stripBytes)
			require.Greater(t, len(entries[i].Data), stripBytes/3)
			ev, err := entries[i].event()
			require.NoError(t, err)
			require.True(t, ev.Strip.Dropped)
		}
	})
}

// An urgent alert has its strip though less urgent ones have taken the places.
func TestUrgentAlertHasItsStrip(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, _ func() net.Conn) {
		began := time.Now()
		for n := 1; n <= 60; n++ {
			require.NoError(t, w.hub.PublishWaves(chunk(n, began)))
			if n >= 4 && n < 4+stripsMost+2 {
				p := PriorityMedium
				if n >= 4+stripsMost {
					p = PriorityHigh
				}
				_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint(p, n), Priority: p, Text: "x"})
				require.NoError(t, err)
			}
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(time.Minute)
		page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindStrip}})
		require.NoError(t, err)
		var keys []string
		for _, ev := range page.Events {
			keys = append(keys, ev.Strip.Key)
		}
		require.ElementsMatch(t, []string{"medium6", "medium7", "high8", "high9"}, keys)
		require.EqualValues(t, 2, w.hub.Stats().Limits.Waves)
	})
}

// Where there is no room for all signals, one lead of the ECG and all else come
// before further leads.
func TestFurtherLeadsFindNoRoom(t *testing.T) {
	s := &stripping{alert: Alert{Patient: "p1", Key: "k", ID: "a"}}
	began := time.Now()
	for n := 1; n <= 84; n++ {
		for _, code := range []string{"131329", "131330", "131331", "131389", "131390", "131391", "131392", "150452", "151780"} {
			c := chunk(n, began)
			c.Code = code
			for i := range c.Samples {
				c.Samples[i] = int32(i * i * n % 997)
			}
			s.take(&waveChunk{Wave: c})
		}
	}
	e := s.entry(began)
	require.LessOrEqual(t, len(e.Data), stripBytes)
	var got Strip
	require.NoError(t, got.UnmarshalJSON(e.Data))
	require.True(t, got.Dropped)
	var codes []string
	for _, w := range got.Waves {
		codes = append(codes, w.Code)
	}
	codes = slices.Compact(codes)
	require.Subset(t, codes, []string{"131330", "150452", "151780"})
	require.Less(t, len(codes), 9)
}

// A strip has the waves of the ten seconds before the alert: of a device that fell
// silent a minute ago nothing.
func TestStripsHaveNothingOld(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, _ func() net.Conn) {
		began := time.Now()
		strip := func(key string) []Event {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityHigh})
			require.NoError(t, err)
			time.Sleep(stripAfter + 2*stripWait)
			page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindStrip}, Key: key})
			require.NoError(t, err)
			return page.Events
		}
		for n := 1; n <= 40; n++ {
			require.NoError(t, w.hub.PublishWaves(chunk(n, began)))
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(4100 * time.Millisecond)
		got := strip("soon")
		require.Len(t, got, 1)
		require.Equal(t, uint64(18), got[0].Strip.Waves[0].Number)
		require.Empty(t, strip("late"))
	})
}

// An alert is delivered while the waves of its patient cannot be looked at: nothing of
// the strip is made before.
func TestAlertWaitsForNoStrip(t *testing.T) {
	w := newWorld(t, nil, nil)
	defer w.close()
	require.NoError(t, w.hub.PublishWaves(chunk(1, time.Now())))
	nurse := w.dial("nurse")
	defer nurse.ws.CloseNow()
	nurse.send(`{"type":"watch","req":"1","patients":["p1"]}`)
	nurse.until("synced")
	y := w.hub.signals.bay("p1")
	y.mu.Lock()
	unlock := sync.OnceFunc(y.mu.Unlock)
	held := time.AfterFunc(process.Patience, unlock) // lest a failure hangs
	defer unlock()
	_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Text: "x", Priority: PriorityHigh, Audience: AudienceAll})
	require.NoError(t, err)
	nurse.until("alert")
	require.True(t, held.Stop(), "the alert has waited for the waves")
}

// A halting is a Store whose appends of strips can be held up, and fail.
type halting struct {
	*MemoryStore
	appending chan chan error
}

func (s *halting) Append(ctx context.Context, entries []Entry) ([]AppendResult, error) {
	if entries[0].Kind == KindStrip {
		outcome := make(chan error)
		s.appending <- outcome
		if err := <-outcome; err != nil {
			return nil, err
		}
	}
	return s.MemoryStore.Append(ctx, entries)
}

// Nothing of a patient who was erased, or discharged, comes into the log afterwards:
// neither a strip whose time is not over, nor one that is being appended, nor one whose
// appending has failed, nor one at another node.
func TestNoStripComesAfterItsPatientIsErased(t *testing.T) {
	for name, end := range map[string]func(h *Hub, ctx context.Context) error{
		"erased":     func(h *Hub, ctx context.Context) error { return h.Erase(ctx, "p1") },
		"discharged": func(h *Hub, ctx context.Context) error { return h.Discharge(ctx, "p1") },
	} {
		synctest.Test(t, func(t *testing.T) {
			s := &halting{NewMemoryStore(nil), make(chan chan error)}
			w, other := newWorld(t, s, nil), newWorld(t, s, nil)
			defer other.close()
			defer w.close()
			raise := func(key string, nodes ...*world) {
				t.Helper()
				for _, node := range nodes {
					require.NoError(t, node.hub.PublishWaves(chunk(1, time.Now())))
				}
				a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityHigh})
				require.NoError(t, err)
				time.Sleep(2 * time.Second) // the other node has heard of it while it was open
				for _, node := range nodes {
					b := node.hub.signals.bay("p1")
					b.mu.Lock()
					require.Len(t, b.bedsides["p1"].strips, 1, "each node makes one")
					b.mu.Unlock()
				}
				_, err = w.hub.Clear(t.Context(), a.Ref())
				require.NoError(t, err)
				_, err = w.hub.Answer(t.Context(), people["doctor"], a.Ref(), Answer{Do: AnswerAccept})
				require.NoError(t, err)
			}
			none := func(why string) {
				t.Helper()
				time.Sleep(time.Minute)
				entries, err := s.Read(t.Context(), "p1", Position{}, ReadQuery{Kinds: []Kind{KindStrip}})
				require.True(t, err == nil || errors.Is(err, ErrGap))
				require.Empty(t, entries, "%s: %s", name, why)
			}
			raise("a", w, other)
			require.NoError(t, end(w.hub, t.Context()))
			none("its time is not over")

			raise("b", w)
			appending := <-s.appending
			ended := make(chan error)
			go func() { ended <- end(w.hub, t.Context()) }()
			synctest.Wait()
			select {
			case <-ended:
				t.Fatal("it must wait")
			default:
			}
			appending <- errors.New("the disk")
			require.NoError(t, <-ended)
			none("its appending has failed")
		})
	}
}
