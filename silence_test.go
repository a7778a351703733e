package carewire

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The alert that a device is silent ends when it is heard again, though the
// Store fails just then.
func TestSilenceEndsAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Bool
		store := &seam{Store: NewMemoryStore(nil), appending: func(next Store, ctx context.Context, entries []Entry) ([]AppendResult, error) {
			if refused.Load() && slices.ContainsFunc(entries, func(e Entry) bool { return e.Kind == KindAlert }) {
				return nil, errInjected
			}
			return next.Append(ctx, entries)
		}}
		w := newWorld(t, store, nil)
		defer w.close()
		_, err := w.hub.Publish(t.Context(), monitor())
		require.NoError(t, err)
		time.Sleep(20 * time.Second)
		a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, a.Condition)
		refused.Store(true)
		time.AfterFunc(3*time.Second, func() { refused.Store(false) })
		for range 20 { // not when the timer is due
			w.hub.Publish(t.Context(), monitor())
			time.Sleep(4 * time.Second)
		}
		a, err = w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.NoError(t, err)
		require.Equal(t, ConditionOver, a.Condition)
	})
}

// late is a Store whose answer to a Read of vitals is old when it comes.
type late struct {
	Store
	meanwhile atomic.Pointer[func()]
}

func (s *late) Read(ctx context.Context, patient string, after Position, q ReadQuery) ([]Entry, error) {
	list, err := s.Store.Read(ctx, patient, after, q)
	if slices.Equal(q.Kinds, []Kind{KindVital}) {
		if f := s.meanwhile.Swap(nil); f != nil {
			(*f)()
		}
	}
	return list, err
}

// A device that is heard again just when it is reported as silent is not silent,
// with any node hearing and reporting it.
func TestHeardWhileItIsSaidToBeSilent(t *testing.T) {
	for _, nodes := range []int{1, 2} {
		synctest.Test(t, func(t *testing.T) {
			store := &late{Store: NewMemoryStore(nil)}
			w := newWorld(t, store, nil)
			defer w.close()
			hears := w
			if nodes == 2 {
				hears = newWorld(t, store.Store, nil)
				defer hears.close()
			}
			_, err := hears.hub.Publish(t.Context(), monitor())
			require.NoError(t, err)
			time.Sleep(14 * time.Second)
			store.meanwhile.Store(new(func() {
				hears.hub.Publish(t.Context(), monitor())
				time.Sleep(200 * time.Millisecond)
			}))
			time.Sleep(6 * time.Second)
			if nodes == 2 {
				w.close()
			}
			for range 12 {
				_, err := hears.hub.Publish(t.Context(), monitor())
				require.NoError(t, err)
				time.Sleep(4 * time.Second)
			}
			a, err := hears.hub.Alert(t.Context(), "p1", "no-data.mon-1")
			require.NoError(t, err, "it was said")
			require.Equal(t, ConditionOver, a.Condition)
		})
	}
}

// A device that measures several things, each at its own pace, is silent when it
// misses the shortest of these paces.
func TestSilenceOfADeviceWithSeveralPaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		send := func(v Vital, every time.Duration) {
			v.Device, v.Every = "mon-1", every
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
		}
		silent := func() bool {
			a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
			return err == nil && a.Condition == ConditionPresent
		}
		pulse, pressure := HeartRate.Of("p1", 60), BloodPressure.Of("p1", 120, 80)
		send(pressure, 15*time.Minute)
		for range 60 {
			send(pulse, time.Second)
			time.Sleep(time.Second)
		}
		require.False(t, silent())
		time.Sleep(12 * time.Second)
		require.True(t, silent(), "by the pulse, though the pressure came first")
		// Where only the pressure still comes, the pulse is no longer promised.
		for range 3 {
			send(pressure, 15*time.Minute)
			time.Sleep(15 * time.Minute)
			require.False(t, silent())
		}
		send(pulse, time.Second)
		time.Sleep(12 * time.Second)
		require.True(t, silent(), "the pulse is promised again")
		// A vital that is measured less often from now on is not missed.
		for range 30 {
			send(pulse, time.Minute)
			time.Sleep(time.Minute)
			require.False(t, silent())
		}
		time.Sleep(3 * time.Minute)
		require.True(t, silent())
	})
}

// A device that falls silent raises one technical alert, which ends when it is heard again.
func TestSilentDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		reading := func(v Vital) Vital {
			v.Device, v.Every = "mon-1", 5*time.Second
			return v
		}
		noData := func() *Alert {
			e, err := w.store.Get(t.Context(), "p1", "a/no-data.mon-1")
			if errors.Is(err, ErrNotFound) {
				return nil
			}
			a, _ := decodeAlert(&e)
			return a
		}
		send := func() {
			_, err := w.hub.Publish(t.Context(), reading(HeartRate.Of("p1", 60)), reading(SpO2.Of("p1", 97)))
			require.NoError(t, err)
		}
		for range 100 {
			send()
			time.Sleep(5 * time.Second)
		}
		require.Nil(t, noData())
		time.Sleep(9 * time.Second)
		require.Nil(t, noData())
		time.Sleep(8 * time.Second)
		a := noData()
		require.NotNil(t, a, "three intervals have passed")
		require.Equal(t, ConditionPresent, a.Condition)
		require.Equal(t, AlertTechnical, a.Kind)
		time.Sleep(10 * time.Minute)
		require.Equal(t, a.ID, noData().ID, "one alert, however long")
		send()
		synctest.Wait()
		require.Equal(t, ConditionOver, noData().Condition)
		time.Sleep(20 * time.Second)
		require.Equal(t, ConditionPresent, noData().Condition, "silent again")
	})
}

// A Hub that was down has heard nobody, and blames no device for it before it
// has listened itself.
func TestRestartBlamesNoDevice(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		v := HeartRate.Of("p1", 60)
		v.Device, v.Every = "mon-1", 5*time.Second
		_, err := w.hub.Publish(t.Context(), v)
		require.NoError(t, err)
		synctest.Wait()
		w.close()
		time.Sleep(time.Hour)
		w = newWorld(t, store, nil)
		defer w.close()
		time.Sleep(14 * time.Second)
		_, err = w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.ErrorIs(t, err, ErrNotFound)
		time.Sleep(3 * time.Second)
		a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.NoError(t, err)
		require.Equal(t, ConditionPresent, a.Condition)
	})
}

// expecting makes silences without a Hub. hears appends a vital and has it heard.
func expecting(t *testing.T, o *Options) (b *workbench, s *silences, hears func(Vital)) {
	b = newWorkbench(t, NewMemoryStore(nil))
	s = newSilences(b.core, newComplaints(b.core, b.raise, nil), b.raise, o, newHostCalls(&Options{CallTimeout: time.Second}, new(counters)).silence)
	of := &series{}
	return b, s, func(v Vital) {
		t.Helper()
		v.Time, v.Received = b.clock.now(), b.clock.now()
		var w encoder
		v.encode(&w)
		e := Entry{Patient: v.Patient, Kind: KindVital, Key: v.key(), Audience: AudienceAll, Sender: "gateway", Time: v.Time, Received: v.Received, Data: w.b}
		_, err := b.logs.append(t.Context(), e, false)
		require.NoError(t, err)
		of.keep(v.Received)
		of.heard = v.Received
		s.noteHeard(&v, of, &e, false)
		synctest.Wait()
	}
}

// A promise of the next reading is one timer in the log. It is put off when it
// comes due and the device was heard since. Otherwise the alert is raised, and
// ends when the device is heard again.
func TestSilenceIsATimer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b, s, hears := expecting(t, &Options{})
		v, timer := monitor(), timerKey("mon-1", false)
		for range 3 { // at 0, 5 and 10 s
			hears(v)
			require.EqualValues(t, 1, b.entry("p1", timer).Rev, "written once")
			time.Sleep(5 * time.Second)
		}
		e := b.entry("p1", timer)
		require.True(t, e.Open)
		require.Equal(t, b.clock.now(), e.Due, "15 seconds after the first")
		s.handleDue(t.Context(), e)
		e = b.entry("p1", timer)
		require.Equal(t, b.clock.now().Add(10*time.Second), e.Due, "15 seconds after the last")
		require.Empty(t, b.keys())

		time.Sleep(10 * time.Second)
		s.handleDue(t.Context(), e)
		require.Equal(t, []string{"no-data.mon-1"}, b.keys())
		require.Equal(t, PriorityMedium, b.alert("p1", "no-data.mon-1").Priority)
		require.False(t, b.entry("p1", timer).Open)

		hears(v)
		require.Equal(t, ConditionOver, b.alert("p1", "no-data.mon-1").Condition)
		require.True(t, b.entry("p1", timer).Open, "it is expected again")
	})
}

// A device that has promised nothing is expected at the pace that it has kept,
// unless only promises count.
func TestSilenceByPace(t *testing.T) {
	for _, only := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			b, _, hears := expecting(t, &Options{PromisedOnly: only})
			v := monitor()
			v.Every = 0
			for i := range 11 { // ten intervals
				require.False(t, b.entry("p1", timerKey("mon-1", false)).Open, i)
				hears(v)
				time.Sleep(5 * time.Second)
			}
			require.Equal(t, !only, b.entry("p1", timerKey("mon-1", false)).Open)
		})
	}
}

// The host's priority counts; if it gives none, a promise counts as medium and a
// pace as low.
func TestUrgencyOfSilence(t *testing.T) {
	for _, c := range []struct {
		says     Priority
		err      error
		promised bool
		want     Priority
	}{
		{PriorityHigh, nil, false, PriorityHigh},
		{PriorityInfo, nil, true, PriorityInfo},
		{"", nil, true, PriorityMedium},
		{"", errInjected, true, PriorityMedium},
		{"", errInjected, false, PriorityLow},
		{"sky-high", nil, false, PriorityLow},
	} {
		b, s, _ := expecting(t, &Options{SilencePriority: func(_ context.Context, patient string, promised bool) (Priority, error) {
			require.Equal(t, "p1", patient)
			require.Equal(t, c.promised, promised)
			return c.says, c.err
		}})
		require.Equal(t, c.want, s.alertPriority(t.Context(), "p1", c.promised), "%+v", c)
		b.stop()
	}
}

// A device that raises, also the same alert again, is not silent, though none of its
// vitals come. A vital that it has promised is missed all the same, and another's
// raise says nothing.
func TestRaiseIsASignOfLife(t *testing.T) {
	for name, c := range map[string]struct {
		every time.Duration
		by    string
		alive bool
	}{
		"its own":   {0, "device", true},
		"promised":  {5 * time.Second, "device", false},
		"another's": {0, "service", false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				defer w.close()
				device := people["device"]
				for range 15 {
					v, done := HeartRate.Of("p1", 72), make(chan []PublishResult, 1)
					v.Device, v.Every = "device", c.every
					w.hub.publish(t.Context(), &device, []Vital{v}, nil, func(r []PublishResult) { done <- r })
					require.NoError(t, (<-done)[0].Err)
					time.Sleep(5 * time.Second)
				}
				raise := func(n int) Alert {
					a, err := w.hub.raise(t.Context(), c.by, Raise{Patient: "p1", Key: "leads", ID: fmt.Sprint("e", n), Text: "x", Priority: PriorityLow})
					require.NoError(t, err)
					return a
				}
				for n := range 20 {
					require.EqualValues(t, 1, raise(n).Rev, "nothing is stored of the repeats")
					time.Sleep(20 * time.Second)
				}
				require.Equal(t, !c.alive, silent(t, w, "p1", "no-data.device"))
				time.Sleep(90 * time.Second)
				require.True(t, silent(t, w, "p1", "no-data.device"))
				raise(99)
				synctest.Wait()
				require.Equal(t, !c.alive, silent(t, w, "p1", "no-data.device"))
			})
		})
	}
}
