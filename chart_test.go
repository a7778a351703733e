package carewire

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A device whose clock is set back is noticed. Its readings are ordered by their
// receipt, flagged, shown, and heard, after a restart and on another node too.
// When its clock is right again it counts as before.
func TestDeviceClockIsSetBack(t *testing.T) {
	for name, step := range map[string]time.Duration{"summer time ends": -time.Hour, "reset to 1970": -56 * 365 * 24 * time.Hour, "four minutes": -4 * time.Minute} {
		for _, change := range []string{"", "restart", "other node"} {
			t.Run(name+" "+change, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					store := NewMemoryStore(nil)
					w := newWorld(t, store, nil)
					defer func() { w.close() }()
					other := newWorld(t, store, nil)
					defer func() { other.close() }()
					send := func(step time.Duration) {
						v := monitor()
						v.Time = time.Now().Add(step)
						_, err := w.hub.Publish(t.Context(), v)
						require.NoError(t, err)
						time.Sleep(5 * time.Second)
					}
					newest := func() *Vital {
						events, _, err := w.hub.Latest(t.Context(), "p1")
						require.NoError(t, err)
						i := slices.IndexFunc(events, func(e Event) bool { return e.Vital != nil })
						return events[i].Vital
					}
					w, other = other, w // it knows the device from before
					send(0)
					w, other = other, w
					for range 15 {
						send(0)
					}
					for n := range 60 {
						send(step)
						if v := newest(); n > 0 && !(change == "other node" && n == 21) {
							require.Equal(t, []Quality{QualityClock}, v.Quality, n)
							require.WithinDuration(t, time.Now().Add(-5*time.Second), v.Received, time.Second, n)
							require.WithinDuration(t, v.Received.Add(step), v.Time, time.Second)
						}
						switch {
						case n == 20 && change == "restart":
							w.close()
							w = newWorld(t, store, nil)
						case n == 20 && change == "other node":
							w, other = other, w
						}
					}
					_, err := w.hub.Alert(t.Context(), "p1", "no-data.mon-1")
					require.ErrorIs(t, err, ErrNotFound)
					for range 3 {
						send(0)
					}
					v := newest()
					require.Empty(t, v.Quality)
					require.WithinDuration(t, time.Now().Add(-5*time.Second), v.Time, time.Second)
				})
			})
		}
	}
}

// Readings that were kept during an outage and are sent afterwards join the log
// behind the newest, in any order of arrival.
func TestLateVitalsAreNotTheNewest(t *testing.T) {
	const n = 120
	for name, at := range map[string]func(i int) int{"oldest first": func(i int) int { return i }, "newest first": func(i int) int { return n - 1 - i }} {
		for _, pace := range []time.Duration{0, 20 * time.Millisecond, time.Second} {
			t.Run(fmt.Sprint(name, " ", pace), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t, nil, nil)
					defer w.close()
					send := func(at time.Time, id string) {
						v := monitor()
						v.Time, v.ID, v.Value = at, id, "60"
						_, err := w.hub.Publish(t.Context(), v)
						require.NoError(t, err)
					}
					send(time.Now(), "first")
					time.Sleep(30 * time.Minute)
					back := time.Now()
					live := ""
					for i := range n {
						if i%10 == 0 {
							live = fmt.Sprint("live", i)
							send(time.Now(), live)
						}
						send(back.Add(-30*time.Minute+time.Duration(at(i))*15*time.Second), fmt.Sprint("kept", i))
						time.Sleep(pace)
						events, _, err := w.hub.Latest(t.Context(), "p1")
						require.NoError(t, err)
						for _, e := range events {
							if e.Vital != nil {
								require.Equal(t, live, e.Vital.ID)
								require.Empty(t, e.Vital.Quality)
							}
						}
					}
				})
			})
		}
	}
}

// A clock of the server that was ahead and is set right hides nothing.
func TestServerClockIsSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &clocked{Store: NewMemoryStore(nil)}
		store.ahead.Store(int64(time.Hour))
		w := newWorld(t, store, nil)
		defer w.close()
		time.Sleep(time.Second)
		for n := range 10 {
			if n == 5 {
				store.ahead.Store(0)
				time.Sleep(15 * time.Second)
			}
			v := monitor()
			v.Every, v.ID = 0, fmt.Sprint(n)
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			e, err := store.Get(t.Context(), "p1", v.key())
			require.NoError(t, err)
			require.Equal(t, v.ID, e.ID)
			require.NotContains(t, string(e.Data), `"clock"`)
			time.Sleep(5 * time.Second)
		}
	})
}

// A vital that is not heard for a day gives its place to another one when there are
// too many; one that is not heard for a week is no longer shown.
func TestKeysThatAreNotHeard(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		now := time.Now()
		old := func(device string, age time.Duration) {
			v := HeartRate.Of("p1", 60)
			v.Device = device
			at, err := v.accept(now.Add(-age), AgeAdult)
			require.NoError(t, err)
			data, err := v.MarshalJSON()
			require.NoError(t, err)
			_, err = store.Append(t.Context(), []Entry{{Patient: "p1", Kind: KindVital, Key: v.key(), Audience: AudienceAll, Sender: hostSender, Time: at, Received: at, Data: data}})
			require.NoError(t, err)
		}
		old("week", 7*24*time.Hour+time.Minute)
		old("days", 6*24*time.Hour)
		old("day", 24*time.Hour-time.Minute)
		w := newWorld(t, store, &Options{MaxKeys: 2})
		defer w.close()
		send := func(device string) error {
			v := HeartRate.Of("p1", 60)
			v.Device = device
			_, err := w.hub.Publish(t.Context(), v)
			return err
		}
		shown := func() (devices []string) {
			events, _, err := w.hub.Latest(t.Context(), "p1")
			require.NoError(t, err)
			for _, e := range events {
				devices = append(devices, e.Vital.Device)
			}
			return devices
		}
		require.Equal(t, []string{"days", "day"}, shown())
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.send(`{"type":"watch","req":"1","patients":["p1"]}`)
		var watched []any
		for o := nurse.read(); o["type"] != "synced"; o = nurse.read() {
			if o["type"] == "vital" {
				watched = append(watched, valueAt(o, "vital", "device"))
			}
		}
		require.Equal(t, []any{"days", "day"}, watched)
		nurse.ws.CloseNow()
		require.NoError(t, send("new"), "days gives its place up")
		require.ErrorIs(t, send("more"), errLimit)
		time.Sleep(time.Minute)
		require.NoError(t, send("more"), "day does too")
		require.ErrorIs(t, send("other"), errLimit)
		require.NoError(t, send("new"))
		require.Equal(t, []string{"days", "day", "more", "new"}, shown())
	})
}
