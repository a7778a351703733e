package rules

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A narrow Store has no room for the rules' own vitals while it is closed.
type narrow struct {
	carewire.Store
	closed atomic.Bool
}

func (s *narrow) Append(ctx context.Context, list []carewire.Entry) ([]carewire.AppendResult, error) {
	var room []carewire.Entry
	results, at := make([]carewire.AppendResult, len(list)), make([]int, 0, len(list))
	for i := range list {
		if s.closed.Load() && list[i].Kind == carewire.KindVital && strings.Contains(string(list[i].Data), ownDevice) {
			results[i].Err = carewire.ErrFull
		} else {
			room, at = append(room, list[i]), append(at, i)
		}
	}
	if len(room) == 0 {
		return results, nil
	}
	took, err := s.Store.Append(ctx, room)
	for k := range took {
		results[at[k]] = took[k]
	}
	return results, err
}

// A score that the Store has no room for holds up no alert. It is published when there is room.
func TestScoresHoldUpNoAlert(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &narrow{Store: carewire.NewMemoryStore(nil)}
		store.closed.Store(true)
		w := newWard(t, store)
		defer w.close()
		pulse := Score{About: About{Key: "score", Text: "Score"}, Code: "score", System: House, Bands: []Band{{Min: 2, Priority: carewire.PriorityHigh}},
			Parts: []Part{{Name: "heart rate", Inputs: []Input{{Code: carewire.HeartRate.Code}}, Unit: "/min", MaxAge: time.Hour, Rows: []Row{upTo(180, 0), above(2)}}}}
		w.run(w.hub, Options{}, pulse, high(Timing{}))
		w.rate(100, 200, 100)
		present, over := carewire.ConditionPresent, carewire.ConditionOver
		for _, key := range []string{"hr-high", "score"} {
			require.Equal(t, []carewire.Condition{present, over}, w.conditions(key), key)
		}
		total := func() (list []carewire.Decimal) {
			page, err := w.hub.History(t.Context(), carewire.HistoryQuery{Patient: "p1", Kinds: []carewire.Kind{carewire.KindVital}, Limit: 1000})
			require.NoError(t, err)
			for _, e := range page.Events {
				if e.Vital.Code == "score" {
					list = append(list, e.Vital.Value)
				}
			}
			return list
		}
		require.Empty(t, total())
		store.closed.Store(false)
		time.Sleep(3 * time.Second)
		require.Equal(t, carewire.Decimal("0"), total()[0])
	})
}

// The Hub refuses an alert, for too many are open. It is raised when there is room, and
// holds up no other alert meanwhile, nor its own rise to high. If it is over by then,
// nothing is said.
func TestRefusedForRoomIsRaisedLater(t *testing.T) {
	severe := high(Timing{})
	severe.Severe = &Severe{At: 220}
	low := Limit{About: About{Key: "spo2-low", Text: "Low saturation", Priority: carewire.PriorityHigh}, Code: carewire.SpO2.Code, Unit: "%", Side: Below, At: 90}
	present, over := carewire.ConditionPresent, carewire.ConditionOver
	for name, c := range map[string]struct {
		rates []float64 // while there is no room
		full  []carewire.Condition
		freed []carewire.Condition
		then  []carewire.Condition // when it is over in the end
	}{
		"still so":              {[]float64{200, 200}, nil, []carewire.Condition{present}, []carewire.Condition{present, over}},
		"over":                  {[]float64{200, 100}, nil, nil, nil},
		"again":                 {[]float64{200, 100, 200}, nil, []carewire.Condition{present}, []carewire.Condition{present, over}},
		"high, which has room":  {[]float64{200, 230}, []carewire.Condition{present}, []carewire.Condition{present}, []carewire.Condition{present, over}},
		"high, and over":        {[]float64{200, 230, 100}, []carewire.Condition{present, over}, []carewire.Condition{present, over}, []carewire.Condition{present, over}},
		"high and medium again": {[]float64{230, 200}, []carewire.Condition{present}, []carewire.Condition{present}, []carewire.Condition{present, over}},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, carewire.NewMemoryStore(nil))
				defer w.close()
				nobody := carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
					return carewire.Principal{}, carewire.ErrUnauthenticated
				})
				var err error
				w.hub, err = carewire.New(nobody, w.store, &carewire.Options{MaxAlerts: 1, Logger: slog.New(slog.DiscardHandler)})
				require.NoError(t, err)
				w.ends = append(w.ends, func() { w.hub.Shutdown(context.Background()) })
				j, err := New(w.hub, mustSet(t, severe, low), &Options{Logger: slog.New(slog.NewTextHandler(&out, nil)),
					Patients: func(context.Context) ([]string, error) { return []string{"p1"}, nil }})
				require.NoError(t, err)
				ctx, stop := context.WithCancel(t.Context())
				ran := make(chan error, 1)
				go func() { ran <- j.Run(ctx) }()
				time.Sleep(3 * time.Second)
				for i := range 10 { // as many as the host may have open
					_, err := w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: fmt.Sprint("other-", i), ID: fmt.Sprint("o", i), Text: "Other",
						Priority: carewire.PriorityMedium, Kind: carewire.AlertTechnical})
					require.NoError(t, err)
				}
				w.rate(c.rates...)
				_, err = w.hub.Publish(t.Context(), carewire.SpO2.Of("p1", 80))
				require.NoError(t, err)
				time.Sleep(10 * time.Second)
				require.Equal(t, c.full, w.conditions("hr-high"))
				require.Equal(t, []carewire.Condition{present}, w.conditions("spo2-low"), "held up")
				w.answer("other-0", carewire.Answer{Do: carewire.AnswerClose, Force: true, Reason: "known"})
				time.Sleep(3 * time.Second)
				require.Equal(t, c.freed, w.conditions("hr-high"))
				w.rate(100)
				time.Sleep(3 * time.Second)
				require.Equal(t, c.then, w.conditions("hr-high"))
				stop()
				<-ran
			})
			require.LessOrEqual(t, strings.Count(out.String(), "an alert was refused"), 2)
		})
	}
}
