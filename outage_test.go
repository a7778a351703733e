package carewire

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func noAlertAtAll(t *testing.T, w *world) {
	t.Helper()
	items, _, err := w.hub.Open(t.Context(), OpenQuery{Patients: []string{"p1", "p2", "p3"}})
	require.NoError(t, err)
	require.Empty(t, items)
	require.False(t, silent(t, w, SystemPatient, outageKey(hostSender)))
}

// A device that has kept a pace is expected to go on, though it has promised
// nothing, over a restart too; unless the host has turned that off, or it keeps none.
func TestSilenceOfADeviceThatKeptAPace(t *testing.T) {
	pace := func(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }
	uneven := func(d ...time.Duration) func(int) time.Duration {
		return func(n int) time.Duration { return d[n%len(d)] }
	}
	for _, c := range []struct {
		name    string
		pause   func(int) time.Duration
		n       int
		options Options
		want    Priority // "": nothing is expected
	}{
		{"a second", pace(time.Second), 11, Options{}, PriorityLow},
		{"five minutes", pace(5 * time.Minute), 11, Options{}, PriorityLow},
		{"nearly even", uneven(10*time.Second, 13*time.Second, 7*time.Second), 11, Options{}, PriorityLow},
		{"too few", pace(time.Second), 10, Options{}, ""},
		{"uneven", uneven(10*time.Second, 30*time.Second), 50, Options{}, ""},
		{"too slow", pace(6 * time.Minute), 30, Options{}, ""},
		{"turned off", pace(time.Second), 30, Options{PromisedOnly: true}, ""},
		{"the host's priority", pace(time.Second), 11, Options{SilencePriority: func(_ context.Context, patient string, promised bool) (Priority, error) {
			if patient != "p1" || promised {
				return "", errInjected
			}
			return PriorityHigh, nil
		}}, PriorityHigh},
	} {
		for _, restart := range []bool{false, true} {
			t.Run(fmt.Sprint(c.name, " ", restart), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := NewMemoryStore(nil)
					w := newWorld(t, store, &c.options)
					defer func() { w.close() }()
					for n := range c.n {
						sends(t, w, "p1", "mon-1", 0)
						if n < c.n-1 {
							time.Sleep(c.pause(n))
						}
					}
					noAlertAtAll(t, w)
					if restart {
						synctest.Wait()
						w.close()
						w = newWorld(t, store, &c.options)
					}
					time.Sleep(20 * time.Minute)
					a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
					if c.want == "" {
						require.ErrorIs(t, err, ErrNotFound)
						return
					}
					require.NoError(t, err)
					require.Equal(t, c.want, a.Priority)
					require.Equal(t, ConditionPresent, a.Condition)
					for n := range 10 {
						sends(t, w, "p1", "mon-1", 0)
						time.Sleep(c.pause(n))
					}
					sends(t, w, "p1", "mon-1", 0)
					synctest.Wait()
					require.False(t, silent(t, w, "p1", "no-data.mon-1"), "it is heard")
				})
			})
		}
	}
}

// A device's promise counts, and not its pace.
func TestPromiseOverridesPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		for range 30 {
			sends(t, w, "p1", "mon-1", 10*time.Minute)
			time.Sleep(time.Second)
		}
		time.Sleep(29 * time.Minute)
		noAlertAtAll(t, w)
		time.Sleep(2 * time.Minute)
		a, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
		require.NoError(t, err)
		require.Equal(t, PriorityMedium, a.Priority)
	})
}

// A device that says goodbye, is stopped, or is moved to another bed, is not
// expected any more: there is no alert, and one that was there does not stay.
func TestGoodbye(t *testing.T) {
	goodbye := func(t *testing.T, w *world) {
		v := Vital{Patient: "p1", Code: HeartRate.Code, Device: "mon-1", Absent: AbsentNotPerformed}
		_, err := w.hub.Publish(t.Context(), v)
		require.NoError(t, err)
	}
	stop := func(t *testing.T, w *world) {
		require.NoError(t, w.hub.StopDevice(t.Context(), "p1", "mon-1"))
	}
	move := func(t *testing.T, w *world) {
		for range 15 {
			sends(t, w, "p2", "mon-1", 5*time.Second)
			time.Sleep(5 * time.Second)
		}
		require.NoError(t, w.hub.StopDevice(t.Context(), "p2", "mon-1"))
	}
	for name, leave := range map[string]func(*testing.T, *world){"not performed": goodbye, "stopped": stop, "moved": move} {
		for _, every := range []time.Duration{0, 5 * time.Second} {
			for _, late := range []time.Duration{time.Second, 90 * time.Second} {
				t.Run(fmt.Sprint(name, every, late), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						w := newWorld(t, nil, nil)
						defer w.close()
						for range 15 {
							sends(t, w, "p1", "mon-1", every)
							time.Sleep(5 * time.Second)
						}
						time.Sleep(late)
						require.Equal(t, late > time.Minute, silent(t, w, "p1", "no-data.mon-1"))
						leave(t, w)
						time.Sleep(10 * time.Minute)
						noAlertAtAll(t, w)
						sends(t, w, "p1", "mon-1", 5*time.Second)
						time.Sleep(20 * time.Second)
						require.True(t, silent(t, w, "p1", "no-data.mon-1"), "it is expected again")
					})
				})
			}
		}
	}
}

// A device that measures something else still is expected to go on with that. One
// whose ID is not its own was not moved.
func TestNoGoodbye(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		sends(t, w, "p1", "mon-1", 5*time.Second)
		spo2 := SpO2.Of("p1", 97)
		spo2.Device, spo2.Every = "mon-1", 10*time.Second
		_, err := w.hub.Publish(t.Context(), spo2)
		require.NoError(t, err)
		off := Vital{Patient: "p1", Code: HeartRate.Code, Device: "mon-1", Absent: AbsentNotPerformed}
		_, err = w.hub.Publish(t.Context(), off)
		require.NoError(t, err)
		time.Sleep(25 * time.Second)
		noAlertAtAll(t, w)
		time.Sleep(10 * time.Second)
		require.True(t, silent(t, w, "p1", "no-data.mon-1"))

		for range 20 {
			sends(t, w, "p2", "spo2", 5*time.Second)
			sends(t, w, "p3", "spo2", 5*time.Second)
			time.Sleep(5 * time.Second)
		}
		for range 5 {
			sends(t, w, "p3", "spo2", 5*time.Second)
			time.Sleep(5 * time.Second)
		}
		require.True(t, silent(t, w, "p2", "no-data.spo2"), "spo2 serves p3 as well")
	})
}

// A refused vital was not heard, nor is one that was taken in before.
func TestRefusedIsNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxKeys: 1})
		defer w.close()
		v := monitor()
		v.ID = "first"
		_, err := w.hub.Publish(t.Context(), v)
		require.NoError(t, err)
		for range 10 {
			time.Sleep(2 * time.Second)
			refused := monitor()
			refused.Code, refused.Unit = RespiratoryRate.Code, "/min"
			_, err := w.hub.Publish(t.Context(), refused)
			require.ErrorIs(t, err, errLimit)
			r, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			require.True(t, r[0].Repeated)
		}
		require.True(t, silent(t, w, "p1", "no-data.mon-1"))
	})
}

// When a gateway falls silent there is one alert and one chain of pages, which
// names the beds, and when it is back none is left; a device that stays silent then
// gets its own.
func TestOneOutageOneAlert(t *testing.T) {
	const beds, modules = 30, 3
	for _, every := range []time.Duration{5 * time.Second, 0} {
		for _, nodes := range []int{1, 2} {
			t.Run(fmt.Sprint(every, nodes), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store, p := NewMemoryStore(nil), &pager{}
					options := &Options{Pager: p, Policy: threeSteps}
					w := newWorld(t, store, options)
					defer w.close()
					if nodes == 2 {
						defer newWorld(t, store, options).close()
					}
					send := func(missing string) {
						for bed := range beds {
							for module := range modules {
								if device := fmt.Sprintf("b%02d-m%d", bed, module); device != missing {
									sends(t, w, fmt.Sprintf("bed-%02d", bed), device, every)
								}
							}
						}
						time.Sleep(5 * time.Second)
					}
					for range 15 {
						send("")
					}
					noAlertAtAll(t, w)
					time.Sleep(5 * time.Minute)
					items, _, err := w.hub.Open(t.Context(), OpenQuery{})
					require.NoError(t, err)
					require.Len(t, items, 1)
					a := items[0].Alert
					require.Equal(t, SystemPatient, a.Patient)
					require.Equal(t, map[bool]Priority{true: PriorityMedium, false: PriorityLow}[every > 0], a.Priority)
					for _, want := range []string{"@host", "bed-00", "bed-29"} {
						require.Contains(t, a.Text, want)
					}
					levels := make(map[int]int)
					p.mu.Lock()
					for _, page := range p.pages {
						require.Equal(t, a.Key, page.Alert.Key)
						levels[page.Level]++
					}
					p.mu.Unlock()
					for level, n := range levels {
						require.Equal(t, 1, n, "pages of level %d", level)
					}
					for range 40 {
						send("b07-m1")
					}
					items, _, err = w.hub.Open(t.Context(), OpenQuery{})
					require.NoError(t, err)
					keys := make([]string, 0, 2)
					for _, i := range items {
						if i.Alert.Condition == ConditionPresent {
							keys = append(keys, i.Alert.Key)
						} else {
							require.True(t, strings.HasPrefix(i.Alert.Key, outagePrefix))
						}
					}
					slices.Sort(keys)
					require.Equal(t, []string{"no-data.b07-m1"}, keys)
				})
			})
		}
	}
}

// A device that falls silent while its gateway goes on has its own alert at once.
func TestOneDeviceIsNoOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		sends(t, w, "p1", "a", 5*time.Second)
		for range 4 {
			sends(t, w, "p2", "b", 5*time.Second)
			sends(t, w, "p3", "c", 5*time.Second)
			time.Sleep(5 * time.Second)
		}
		require.True(t, silent(t, w, "p1", "no-data.a"))
		time.Sleep(20 * time.Second)
		require.True(t, silent(t, w, "p2", "no-data.b") || silent(t, w, SystemPatient, outageKey(hostSender)))
	})
}
