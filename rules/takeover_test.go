package rules

import (
	"context"
	"flag"
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

var takeOverPatients = flag.Int("rules.patients", 2000, "how many TestTakeOverOfThousands has; 5000 were tried")

// Two Judges have thousands of patients, and one of them dies just when all of them
// need an alert: within ten seconds the other has raised those of its own patients, and
// of the dead one's. The bubble's clock counts no CPU time, which BenchmarkTakeOver of boltstore does.
func TestTakeOverOfThousands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		patients := *takeOverPatients
		names := make([]string, patients)
		for i := range names {
			names[i] = fmt.Sprint("p", i)
		}
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		store := &severed{Store: w.store}
		o := Options{Patients: func(context.Context) ([]string, error) { return names, nil }}
		publish := func(rate float64) {
			for list := range slices.Chunk(names, 500) {
				vitals := make([]carewire.Vital, len(list))
				for i, p := range list {
					vitals[i] = carewire.HeartRate.Of(p, rate)
				}
				_, err := w.hub.Publish(t.Context(), vitals...)
				require.NoError(t, err)
			}
		}
		o.Node = "a"
		dies, _ := w.run(w.hubOn(store), o, high(Timing{}))
		o.Node = "b"
		stays, _ := w.run(w.hub, o, high(Timing{}))
		time.Sleep(10 * time.Second)
		publish(100)
		time.Sleep(5 * time.Second)
		require.Equal(t, patients, dies.count()+stays.count())
		require.Greater(t, dies.count(), patients/3)
		require.Greater(t, stays.count(), patients/3)

		died := time.Now()
		store.cut.Store(true)
		publish(200)
		time.Sleep(10*time.Second - time.Since(died))
		for _, p := range names {
			a, err := w.hub.Alert(t.Context(), p, "hr-high")
			require.NoError(t, err, p)
			require.Equal(t, carewire.ConditionPresent, a.Condition)
		}
	})
}

// A retentive Store keeps the least number behind which it was asked for entries.
type retentive struct {
	carewire.Store
	mu    sync.Mutex
	least uint64
}

// forget forgets the reads so far.
func (s *retentive) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.least = 1 << 60
}

func (s *retentive) lowest() uint64 {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.least
}

func (s *retentive) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	if patient == "p1" {
		s.mu.Lock()
		s.least = min(s.least, after.Seq)
		s.mu.Unlock()
	}
	return s.Store.Read(ctx, patient, after, q)
}

// A Judge that takes a patient over reads the end of the log only, as far back as its
// rules look, and not the months before it.
func TestTakeOverReadsTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &retentive{Store: carewire.NewMemoryStore(nil)}
		w := newWard(t, store)
		defer w.close()
		for range 50 {
			_, err := w.hub.Publish(t.Context(), slices.Repeat([]carewire.Vital{carewire.HeartRate.Of("p1", 100)}, 100)...)
			require.NoError(t, err)
		}
		time.Sleep(time.Hour + 20*time.Minute)
		w.rate(slices.Repeat([]float64{200}, 1000)...)
		store.forget()
		w.run(w.hub, Options{}, high(Timing{Delay: 10 * time.Minute}))
		time.Sleep(10 * time.Second) // the rule looks back farther than the urgent ones
		least := store.lowest()      // before w.alerts reads all
		require.Greater(t, least, uint64(800))
		require.Len(t, w.alerts("hr-high"), 1)
	})
}

// A counting Store counts the entries that are read.
type counting struct {
	carewire.Store
	read atomic.Int64
}

func (s *counting) Read(ctx context.Context, patient string, after carewire.Position, q carewire.ReadQuery) ([]carewire.Entry, error) {
	list, err := s.Store.Read(ctx, patient, after, q)
	s.read.Add(int64(len(list)))
	return list, err
}

// Patients have five numbers a second, and their Judge dies. Before the next one judges by
// the rules that look back a minute, it reads three minutes of each log at most, though
// others look back ten. These follow: each crossing is raised once.
func TestUrgentRulesWaitForNoOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		names := make([]string, 12)
		for i := range names {
			names[i] = fmt.Sprint("p", i)
		}
		reads := &counting{Store: carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: 10_000})}
		w := newWard(t, reads)
		defer w.close()
		store := &severed{Store: reads.Store}
		o := Options{Patients: func(context.Context) ([]string, error) { return names, nil }}
		rise := func(key string, by float64) Rule {
			return Change{About: About{Key: key, Text: "Rise"}, Code: carewire.HeartRate.Code, Unit: "/min", Direction: Rise, By: by, Within: 10 * time.Minute}
		}
		set := []Rule{high(Timing{Delay: 2 * time.Second}), rise("hr-jump", 90), rise("hr-rise", 110),
			Combination{About: About{Key: "both", Text: "Both"}, All: []string{"hr-high", "hr-rise"}}}
		publish := func(rate float64, seconds int) {
			for range seconds {
				for _, p := range names {
					vitals := five(p, 0)
					vitals[0] = carewire.HeartRate.Of(p, rate)
					_, err := w.hub.Publish(t.Context(), vitals...)
					require.NoError(t, err)
				}
				time.Sleep(time.Second)
			}
		}
		o.Node = "a"
		dies, _ := w.run(w.hubOn(store), o, set...)
		o.Node = "b"
		stays, _ := w.run(w.hub, o, set...)
		publish(80, 60)
		publish(175, 8*60)
		require.Equal(t, len(names), dies.count()+stays.count())
		others := len(names) - stays.count()
		require.NotZero(t, others)
		reads.read.Store(0)
		store.cut.Store(true)
		died := time.Now()
		missing := func(key string) (n int) {
			for _, p := range names {
				if _, err := w.hub.Alert(t.Context(), p, key); err != nil {
					n++
				}
			}
			return n
		}
		for missing("hr-high") > 0 && time.Since(died) < 20*time.Second {
			publish(195, 1)
		}
		require.Less(t, time.Since(died), 10*time.Second)
		require.Less(t, reads.read.Load(), int64(others*3*60*5))
		require.NotZero(t, missing("hr-rise"), "nobody knows yet of the time before")
		require.NotZero(t, missing("both"))
		publish(195, 15)
		require.Zero(t, missing("hr-rise"))
		require.Zero(t, missing("both"))
		for _, p := range names {
			page, err := w.hub.History(t.Context(), carewire.HistoryQuery{Patient: p, Kinds: []carewire.Kind{carewire.KindAlert}})
			require.NoError(t, err)
			raised := make(map[string]string)
			for _, e := range page.Events {
				if a := e.Alert; a.Source.By == host && a.Key != "no-data" {
					require.Contains(t, []string{"", a.ID}, raised[a.Key], "raised twice")
					require.Equal(t, carewire.ConditionPresent, a.Condition)
					raised[a.Key] = a.ID
				}
			}
			require.Len(t, raised, 4)
		}
	})
}

// A probe that was taken off before a Judge begins counts no more than it did for the
// Judge before: its last reading neither raises an alert nor ends one.
func TestProbeThatWasTakenOff(t *testing.T) {
	low := func(sensors Sensors, delay time.Duration) Limit {
		return Limit{About: About{Key: "spo2-low", Text: "Low"}, Timing: Timing{Delay: delay}, Code: carewire.SpO2.Code, Unit: "%", Side: Below, At: 90, Sensors: sensors}
	}
	for name, c := range map[string]struct {
		rule        Limit
		finger, ear float64
		want        []carewire.Condition
	}{
		"any": {low(SensorsAny, 90*time.Second), 80, 97, nil},
		"all": {low(SensorsAll, 10*time.Second), 97, 80, []carewire.Condition{carewire.ConditionPresent}},
	} {
		for _, ago := range []time.Duration{3 * time.Minute, 20 * time.Minute} {
			t.Run(fmt.Sprint(name, " ", ago), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWard(t, carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: 10_000}))
					defer w.close()
					_, stop := w.run(w.hub, Options{}, c.rule)
					probe := func(site string, spo2 float64, seconds int) {
						for range seconds {
							v := carewire.SpO2.Of("p1", spo2)
							v.Site, v.Device = site, "monitor"
							_, err := w.hub.Publish(t.Context(), append(five("p1", 0)[2:], v)...)
							require.NoError(t, err)
							time.Sleep(time.Second)
						}
					}
					probe("finger", 97, 60)
					probe("finger", c.finger, 5) // taken off
					probe("ear", c.ear, int(ago.Seconds()))
					require.Equal(t, c.want, w.conditions("spo2-low"))
					stop()
					w.run(w.hub, Options{}, c.rule)
					probe("ear", c.ear, 3*60)
					require.Equal(t, c.want, w.conditions("spo2-low"))
				})
			})
		}
	}
}
