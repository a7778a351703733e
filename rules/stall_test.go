package rules

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A hooked Store has its hook called before an Append, which may wait, or fail.
type hooked struct {
	carewire.Store
	append func([]carewire.Entry) error
}

func (s *hooked) Append(ctx context.Context, e []carewire.Entry) ([]carewire.AppendResult, error) {
	if err := s.append(e); err != nil {
		return nil, err
	}
	return s.Store.Append(ctx, e)
}

// conditions lists an alert's conditions in the log, each change once.
func (w *ward) conditions(key string) (list []carewire.Condition) {
	var rev uint64
	page, err := w.hub.History(context.Background(), carewire.HistoryQuery{Patient: "p1", Kinds: []carewire.Kind{carewire.KindAlert}, Key: key, Limit: 1000})
	require.NoError(w.t, err)
	for _, e := range page.Events {
		if n := len(list); e.Alert.Rev > rev && (n == 0 || list[n-1] != e.Alert.Condition) {
			list = append(list, e.Alert.Condition)
		}
		rev = e.Alert.Rev
	}
	return list
}

// A crossing is owed while the Store takes no alerts, and the Judge sees its own
// alert of the one before late: that does not settle the debt.
func TestOwedCrossingOutlivesALateState(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		refused := 0
		w := newWard(t, &hooked{Store: carewire.NewMemoryStore(nil), append: func(list []carewire.Entry) error {
			for i := range list {
				var a carewire.Alert
				if list[i].Kind == carewire.KindAlert && a.UnmarshalJSON(list[i].Data) == nil && a.Rev == 3 && refused < 3 {
					refused++
					return errCut
				}
			}
			return nil
		}})
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{Flaps: -1}))
		var readings []carewire.Vital
		for _, rate := range []float64{200, 100, 201, 101} {
			readings = append(readings, carewire.HeartRate.Of("p1", rate))
		}
		_, err := w.hub.Publish(t.Context(), readings...)
		require.NoError(t, err)
		time.Sleep(10 * time.Second)
		present, over := carewire.ConditionPresent, carewire.ConditionOver
		require.Equal(t, []carewire.Condition{present, over, present, over}, w.conditions("hr-high"), "a crossing is lost")
		require.Equal(t, 3, refused)
	})
}

// A raise and its clear are owed together, and the alert before has ended: the clear is
// that of the new alert, which the next crossing needs.
func TestOwedClearIsOfTheAlertRaisedMeanwhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unheard{Store: carewire.NewMemoryStore(nil)}
		w := newWard(t, store)
		defer w.close()
		w.run(w.hub, Options{}, high(Timing{Flaps: -1}))
		w.rate(200)
		by := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}
		_, err := w.hub.Answer(t.Context(), by, carewire.AlertRef{Patient: "p1", Key: "hr-high"}, carewire.Answer{Do: carewire.AnswerAccept})
		require.NoError(t, err)
		w.rate(100) // it is accepted and over: it has ended
		store.cut.Store(true)
		w.rate(200, 100, 201)
		store.cut.Store(false)
		time.Sleep(5 * time.Second)
		w.rate(100)
		present, over := carewire.ConditionPresent, carewire.ConditionOver
		require.Equal(t, []carewire.Condition{present, over, present, over, present, over}, w.conditions("hr-high"), "a crossing is lost")
		require.Len(t, w.alerts("hr-high"), 2, "nobody has accepted the second one, which came back")
	})
}

// Readings that the Store takes in late, or the Judge sees late, are not missing: no
// alert comes from their delay. Those that are missing are told afterwards.
func TestReadingsOnTheirWayAreNotMissing(t *testing.T) {
	for _, c := range []string{"the node is slow to write", "another node is slow to write", "the Store is away"} {
		for phase := range 5 { // of the comparison with the Store, every five seconds
			t.Run(fmt.Sprint(c, " ", phase), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) { readingsOnTheirWay(t, c, time.Duration(phase)*time.Second) })
			})
		}
	}
}

func readingsOnTheirWay(t *testing.T, what string, phase time.Duration) {
	var vitals, others atomic.Int64 // when they are written, Unix nanoseconds
	slow := &hooked{Store: carewire.NewMemoryStore(nil), append: func(list []carewire.Entry) error {
		if slices.ContainsFunc(list, func(e carewire.Entry) bool { return e.Kind == carewire.KindVital }) {
			time.Sleep(time.Until(time.Unix(0, vitals.Load())))
		}
		time.Sleep(time.Until(time.Unix(0, others.Load())))
		return nil
	}}
	w := newWard(t, slow)
	defer w.close()
	judging := w.hub
	switch what {
	case "another node is slow to write":
		judging = w.hubOn(slow.Store)
	case "the Store is away":
		judging = w.hubOn(slow)
	}
	w.run(judging, Options{},
		Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: 2 * time.Second}, high(Timing{Delay: 3 * time.Second}))
	publish := func(v ...carewire.Vital) { go w.hub.Publish(context.Background(), v...) }
	rate, spo2 := func(v float64) carewire.Vital { return carewire.HeartRate.Of("p1", v) }, carewire.SpO2.Of("p1", 97)
	time.Sleep(20*time.Second + phase)

	publish(rate(200), spo2)
	time.Sleep(time.Second)
	publish(rate(200)) // neither beyond the limit, nor without a saturation, for long enough
	time.Sleep(200 * time.Millisecond)
	switch now := time.Now(); what {
	case "the node is slow to write":
		vitals.Store(now.Add(7 * time.Second).UnixNano())
	case "another node is slow to write": // and what it has written is seen up to five seconds late
		vitals.Store(now.Add(4 * time.Second).UnixNano())
	case "the Store is away":
		others.Store(now.Add(20 * time.Second).UnixNano())
		vitals.Store(now.Add(24 * time.Second).UnixNano())
	}
	for range 60 {
		publish(rate(100), spo2)
		time.Sleep(time.Second)
	}
	time.Sleep(10 * time.Second)
	require.Empty(t, w.alerts("spo2-off"))
	require.Empty(t, w.alerts("hr-high"))

	for range 20 {
		publish(rate(200))
		time.Sleep(time.Second)
	}
	require.Len(t, w.alerts("spo2-off"), 1)
	require.Len(t, w.alerts("hr-high"), 1)
}

// Where readings are judged half a minute after they were received, time lags as much.
func TestTimeLagsAsReadingsDo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		set := mustSet(t, Absent{About: About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: 2 * time.Second})
		j, err := New(w.hub, set, &Options{Patients: func(context.Context) ([]string, error) { return nil, nil }})
		require.NoError(t, err)
		require.NoError(t, j.beat(t.Context(), false))
		j.dutyEnds.Store(int64(time.Hour))
		b := newBed(nil, "p1", 0)
		b.c = NewCase(set, "p1", Settings{})
		r := &row{judge: j, wards: new(sync.WaitGroup), beds: map[string]*bed{"p1": b}}
		b.row = r
		r.ctx, r.stop = context.WithCancel(t.Context())
		defer r.stop()
		go r.tick()
		time.Sleep(time.Minute)
		seq := uint64(0)
		see := func(v carewire.Vital, late time.Duration) {
			seq++
			v.Received = w.hub.Now().Add(-late)
			v.Time = v.Received
			r.see(&carewire.Event{Type: carewire.EventVital, Patient: "p1", Position: carewire.Position{Epoch: "e", Seq: seq}, Vital: &v})
		}
		see(carewire.SpO2.Of("p1", 97), 30*time.Second)
		see(carewire.HeartRate.Of("p1", 70), 28500*time.Millisecond)
		time.Sleep(10 * time.Second)
		require.Empty(t, w.alerts("spo2-off"))
		time.Sleep(30 * time.Second)
		require.Len(t, w.alerts("spo2-off"), 1, "it is missing indeed")
	})
}
