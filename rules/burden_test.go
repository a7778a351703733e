package rules

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// An alert that is held because it flaps is counted, live and from the log alike;
// one of high priority is not, for it is not held.
func TestFlapsHeldAreCounted(t *testing.T) {
	for priority, want := range map[carewire.Priority]uint64{carewire.PriorityMedium: 1, carewire.PriorityHigh: 0} {
		synctest.Test(t, func(t *testing.T) {
			w := newWard(t, carewire.NewMemoryStore(nil))
			defer w.close()
			r := high(Timing{Flaps: 1, Settle: time.Minute})
			r.Priority = priority
			began := w.hub.Now()
			j, _ := w.run(w.hub, Options{}, r)
			for range 2 {
				w.rate(200)
				w.answer("hr-high", carewire.Answer{Do: carewire.AnswerAccept})
				w.rate(repeat(70, 100)...)
			}
			live := j.Stats().Rules["hr-high"]
			require.Equal(t, uint64(2), live.Raised)
			require.Equal(t, want, live.FlapsHeld, "%s", priority)
			report, err := Report(t.Context(), w.hub, ReportQuery{Patients: []string{"p1"}, From: began, To: w.hub.Now().Add(time.Hour)})
			require.NoError(t, err)
			require.Len(t, report, 1)
			require.Equal(t, live, report[0].Counts)
		})
	}
}

// The report is by day, ward and rule, in the location of From; keys choose.
func TestReportByDayAndWard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		east := time.FixedZone("east", 3*3600)
		from := w.hub.Now().In(east)
		raise := func(patient, key string) {
			_, err := w.hub.Raise(context.Background(), carewire.Raise{Patient: patient, Key: key, Text: "x", Priority: carewire.PriorityLow})
			require.NoError(t, err)
		}
		for _, p := range []string{"p1", "p2", "p3"} {
			raise(p, "a")
		}
		raise("p1", "b")
		time.Sleep(22 * time.Hour) // the next day in the east, not here
		raise("p2", "b")
		ward := func(p string) string { return map[string]string{"p1": "north", "p2": "north", "p3": "south"}[p] }
		q := ReportQuery{Patients: []string{"p1", "p2", "p3", "p4"}, From: from, To: w.hub.Now().Add(time.Hour), Ward: ward}
		lines := func() (list []string) {
			report, err := Report(t.Context(), w.hub, q)
			require.NoError(t, err)
			for _, b := range report {
				require.Equal(t, uint64(b.Patients), b.Raised)
				list = append(list, b.Day+" "+b.Ward+" "+b.Rule+" "+string('0'+rune(b.Patients)))
			}
			return list
		}
		require.Equal(t, []string{"2000-01-01 north a 2", "2000-01-01 north b 1", "2000-01-01 south a 1", "2000-01-02 north b 1"}, lines())
		q.Keys = []string{"b"}
		require.Equal(t, []string{"2000-01-01 north b 1", "2000-01-02 north b 1"}, lines())
		q.To = from.Add(time.Hour)
		require.Equal(t, []string{"2000-01-01 north b 1"}, lines())
	})
}
