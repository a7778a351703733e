package rules

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A ward is a Hub with Judges, inside a bubble.
type ward struct {
	t     *testing.T
	store carewire.Store
	hub   *carewire.Hub
	ends  []func()
}

func newWard(t *testing.T, store carewire.Store) *ward {
	w := &ward{t: t, store: store}
	w.hub = w.newHub()
	return w
}

func (w *ward) newHub() *carewire.Hub { return w.hubOn(w.store) }

func (w *ward) hubOn(store carewire.Store) *carewire.Hub {
	nobody := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	})
	hub, err := carewire.New(nobody, store, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(w.t, err)
	w.ends = append(w.ends, func() { hub.Shutdown(context.Background()) })
	return hub
}

// A severed Store is out of reach once it is cut.
type severed struct {
	carewire.Store
	cut atomic.Bool
}

var errCut = errors.New("out of reach")

func (s *severed) Append(ctx context.Context, e []carewire.Entry) ([]carewire.AppendResult, error) {
	if s.cut.Load() {
		return nil, errCut
	}
	return s.Store.Append(ctx, e)
}

func (s *severed) Get(ctx context.Context, patient, key string) (carewire.Entry, error) {
	if s.cut.Load() {
		return carewire.Entry{}, errCut
	}
	return s.Store.Get(ctx, patient, key)
}

// run runs a Judge until the function that it returns is called.
func (w *ward) run(hub *carewire.Hub, o Options, rules ...Rule) (j *Judge, stop func()) {
	set, err := NewSet(rules...)
	require.NoError(w.t, err)
	if o.Patients == nil {
		o.Patients = func(context.Context) ([]string, error) { return []string{"p1"}, nil }
	}
	o.Logger = slog.New(slog.DiscardHandler)
	j, err = New(hub, set, &o)
	require.NoError(w.t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { defer close(done); j.Run(ctx) }()
	stop = func() { cancel(); <-done }
	w.ends = append(w.ends, stop)
	time.Sleep(3 * time.Second)
	return j, stop
}

func (w *ward) close() {
	for i := len(w.ends) - 1; i >= 0; i-- {
		w.ends[i]()
	}
}

// rate publishes heart rates, one a second. It repeats one that was written together
// with an alert that the Store did not take.
func (w *ward) rate(rates ...float64) {
	for _, r := range rates {
		v := carewire.HeartRate.Of("p1", r)
		v.ID = rand.Text()
		_, err := w.hub.Publish(context.Background(), v)
		for range 10 {
			if !errors.Is(err, carewire.ErrUnknownOutcome) {
				break
			}
			_, err = w.hub.Publish(context.Background(), v)
		}
		require.NoError(w.t, err)
		time.Sleep(time.Second)
	}
}

// alerts lists all occurrences of an alert in the log, each with its last state.
func (w *ward) alerts(key string) (list []carewire.Alert) {
	q := carewire.HistoryQuery{Patient: "p1", Kinds: []carewire.Kind{carewire.KindAlert}, Key: key}
	for {
		page, err := w.hub.History(context.Background(), q)
		require.NoError(w.t, err)
		for _, e := range page.Events {
			if n := len(list); n > 0 && list[n-1].ID == e.Alert.ID {
				list[n-1] = *e.Alert
			} else {
				list = append(list, *e.Alert)
			}
		}
		if q.Cursor = page.Next; q.Cursor == 0 {
			return list
		}
	}
}

func TestJudgeRaisesAndClears(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{Delay: 2 * time.Second}))
		w.rate(179, 181, 180, 181, 180, 181)
		list := w.alerts("hr-high")
		require.Len(t, list, 1)
		a := list[0]
		require.Equal(t, carewire.ConditionPresent, a.Condition)
		require.Equal(t, carewire.PriorityMedium, a.Priority)
		require.Equal(t, "hr-high v1", a.Source.Rule)
		require.Equal(t, "≤ 180 /min, well at 175, for 2s", a.Source.Limits)
		require.Equal(t, carewire.Decimal("181"), a.Source.Value)
		w.rate(100)
		list = w.alerts("hr-high")
		require.Len(t, list, 1)
		require.Equal(t, carewire.ConditionOver, list[0].Condition)
		require.True(t, list[0].Latched)
	})
}

// A crossing that happens while no Judge runs is raised by the next one, and
// nothing is raised twice.
func TestJudgeMakesUpForMissedEntries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		rule := high(Timing{Delay: 2 * time.Second})
		_, stop := w.run(w.hub, Options{Node: "a"}, rule)
		w.rate(100, 200, 200, 200, 200)
		require.Len(t, w.alerts("hr-high"), 1)
		stop()
		_, stop = w.run(w.hub, Options{Node: "a"}, rule)
		w.rate(200, 200, 200)
		require.Len(t, w.alerts("hr-high"), 1, "raised again after a restart")
		by := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}
		_, err := w.hub.Answer(context.Background(), by, carewire.AlertRef{Patient: "p1", Key: "hr-high"}, carewire.Answer{Do: carewire.AnswerAccept})
		require.NoError(t, err)
		stop()
		w.rate(100, 100, 200, 200, 200, 200, 100, 100) // over, and a crossing that ends
		_, stop = w.run(w.hub, Options{Node: "b"}, rule)
		list := w.alerts("hr-high")
		require.Len(t, list, 2)
		require.False(t, list[0].Open())
		require.Equal(t, carewire.ConditionOver, list[1].Condition)
		stop()
		w.run(w.hub, Options{Node: "c"}, rule)
		require.Len(t, w.alerts("hr-high"), 2)
	})
}

// Of several Judges on one Store one judges a patient, and another has raised its
// alerts within ten seconds when it is cut off without a word, at whichever
// moment of its beat. All of them explain where the rules stand.
func TestAnotherJudgeTakesOver(t *testing.T) {
	for _, phase := range []time.Duration{0, 400 * time.Millisecond, 900 * time.Millisecond, 1400 * time.Millisecond, 1900 * time.Millisecond} {
		t.Run(phase.String(), func(t *testing.T) { takesOver(t, phase) })
	}
}

func takesOver(t *testing.T, phase time.Duration) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		rule := high(Timing{Delay: 2 * time.Second})
		judges, stores := map[string]*Judge{}, map[string]*severed{}
		for _, name := range []string{"a", "b", "c"} {
			stores[name] = &severed{Store: w.store}
			judges[name], _ = w.run(w.hubOn(stores[name]), Options{Node: name}, rule)
		}
		time.Sleep(5 * time.Second)
		holder := ""
		for name, j := range judges {
			if j.holds("p1") {
				require.Empty(t, holder, "two judge the same patient")
				holder = name
			}
		}
		require.NotEmpty(t, holder)
		time.Sleep(phase)
		died := time.Now()
		stores[holder].cut.Store(true)
		w.rate(200, 200, 200, 200, 200, 200, 200, 200, 200, 200)
		time.Sleep(10*time.Second - time.Since(died))
		list := w.alerts("hr-high")
		require.Len(t, list, 1)
		require.Equal(t, carewire.ConditionPresent, list[0].Condition)
		require.LessOrEqual(t, list[0].Raised.Sub(died), 10*time.Second)
		delete(judges, holder)
		for name, j := range judges {
			s, err := j.Explain("p1")
			require.NoError(t, err, name)
			require.Equal(t, StandingPresent, s[0].State, name)
		}
	})
}

// A patient's Settings that one node is told count at the node that judges.
func TestChangedIsToldToAllNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		var limit atomic.Int64
		o := Options{Settings: func(context.Context, string) (Settings, error) {
			if at := limit.Load(); at != 0 {
				return Settings{Limits: map[string]LimitSetting{"hr-high": {At: new(float64(at))}}}, nil
			}
			return Settings{}, nil
		}}
		var judges []*Judge
		for _, name := range []string{"a", "b"} {
			o.Node = name
			j, _ := w.run(w.newHub(), o, high(Timing{}))
			judges = append(judges, j)
		}
		time.Sleep(6 * time.Second)
		for i, at := range []int64{150, 140} { // told at one, then at the other: one of them does not judge
			limit.Store(at)
			judges[i].Changed("p1")
			time.Sleep(6 * time.Second)
			w.rate(float64(at), float64(at+1))
			time.Sleep(20 * time.Second) // a Store in memory wakes no other Hub
			require.Equal(t, carewire.ConditionPresent, w.alerts("hr-high")[0].Condition)
			w.rate(100)
			time.Sleep(20 * time.Second)
			require.Equal(t, carewire.ConditionOver, w.alerts("hr-high")[0].Condition)
		}
	})
}

// An unheard Store takes no alerts while it is cut.
type unheard struct {
	carewire.Store
	cut atomic.Bool
}

func (s *unheard) Append(ctx context.Context, e []carewire.Entry) ([]carewire.AppendResult, error) {
	if s.cut.Load() && e[0].Kind == carewire.KindAlert {
		return nil, errCut
	}
	return s.Store.Append(ctx, e)
}

// A node that is behind gives a patient up to one that has just come, which goes
// before it has judged anything. Raises that the first one still owed are not
// lost.
func TestGivenUpWhileBehind(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		store := &unheard{Store: w.store}
		w.run(w.hubOn(store), Options{Node: "a"}, high(Timing{}))
		other := "b"
		for (&roster{Members: map[string]member{"a": {}, other: {}}}).owner("p1") != other {
			other += "b"
		}
		store.cut.Store(true)
		w.rate(100, 200, 100)
		time.Sleep(20 * time.Second)
		_, err := w.hub.Share(t.Context(), rosterKey, func(old []byte) []byte {
			now := millisOf(w.hub.Now())
			b, err := json.Marshal(report(old, other, now, now-10_000, now-10_000, 0))
			require.NoError(t, err)
			return b
		})
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		store.cut.Store(false)
		time.Sleep(20 * time.Second)
		list := w.alerts("hr-high")
		require.Len(t, list, 1, "a crossing is lost")
		require.Equal(t, carewire.ConditionOver, list[0].Condition)
	})
}

// A reading whose judgement was given up is held to until others have judged on
// from there.
func TestTakenOver(t *testing.T) {
	for _, c := range []struct {
		members map[string]member
		want    bool
	}{
		{map[string]member{"me": {Generation: 7}}, true},
		{map[string]member{"me": {Generation: 6}}, false},
		{map[string]member{"me": {Generation: 7}, "b": {Generation: 6, Own: 200}}, false},
		{map[string]member{"me": {Generation: 7}, "b": {Generation: 7, Own: 100}}, false},
		{map[string]member{"me": {Generation: 7}, "b": {Generation: 7, Own: 101, Judged: 50}}, true},
		{map[string]member{"me": {Generation: 7}, "b": {Generation: 7, Own: 101}, "c": {Generation: 7, Own: 99}}, false},
	} {
		r := roster{Generation: 7, Members: c.members}
		require.Equal(t, c.want, r.takenOver("me", 100), "%v", c.members)
	}
}

// A Judge that lags behind repeats transitions that another one has carried out
// meanwhile: no raise and no clear of it has an effect on later occurrences.
func TestLaggingJudgeChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		j, err := New(w.hub, mustSet(t, high(Timing{Flaps: -1})), &Options{Patients: func(context.Context) ([]string, error) { return nil, nil }})
		require.NoError(t, err)
		judged := func(rates ...float64) (list []Transition) {
			h := newChart(t, high(Timing{Flaps: -1}))
			for _, r := range rates {
				h.vital(carewire.HeartRate.Of("p1", r))
				h.now = h.now.Add(time.Second)
			}
			return h.found
		}
		done := judged(190, 170, 200)
		require.Len(t, done, 3)
		for i := range done {
			a, err := j.do(t.Context(), &done[i])
			require.NoError(t, err)
			if i == 0 {
				done[1].Alert.ID = a.ID
			}
		}
		late := judged(190, 170, 200)
		late[1].Alert.ID = done[1].Alert.ID
		for i := range late {
			_, err := j.do(t.Context(), &late[i])
			require.NoError(t, err)
			a, err := w.hub.Alert(t.Context(), "p1", "hr-high")
			require.NoError(t, err)
			require.Equal(t, carewire.ConditionPresent, a.Condition)
			require.EqualValues(t, 3, a.Rev)
		}
	})
}

func mustSet(t testing.TB, rules ...Rule) *Set {
	set, err := NewSet(rules...)
	require.NoError(t, err)
	return set
}
