package carewire

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Waves reach the watchers at other nodes, and a lost chunk is seen by the number.
// Where nobody watches them nothing is sent. One node makes the strip of an alert, that
// with the device.
func TestWavesReachOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newNodes(t, 3, Options{})
		defer x.close()
		one, two, three := x.hubs[0], x.hubs[1], x.hubs[2]
		here := watchWaves(join(t, dialler(one, one.net, nil)(), "nurse"))
		there := watchWaves(join(t, dialler(two, two.net, nil)(), "doctor"))
		require.NotContains(t, there.of(EventWelcome)[0].Welcome.Features, "waves-local")
		began := time.Now()
		device := join(t, dialler(one, one.net, nil)(), "device")
		record(device)
		settle()
		next := func(first, last int) {
			for n := first; n <= last; n++ {
				sendChunks(device, chunk(n, began))
				time.Sleep(250 * time.Millisecond)
			}
		}
		next(1, 4)
		require.Equal(t, upTo(1, 4), here.numbers("mon-1"))
		require.Equal(t, upTo(1, 4), there.numbers("mon-1"))
		was, is := here.of(EventWave)[3].Wave, there.of(EventWave)[3].Wave
		require.Equal(t, was, is, "as it was taken in")
		require.Zero(t, three.hub.Stats().Signals, "nobody watches there")
		require.Zero(t, two.hub.Stats().WavesIn)
		require.EqualValues(t, 4, one.hub.Stats().WavesIn)

		x.ether.by(func(parcel) {})
		next(5, 6)
		x.ether.by(nil)
		next(7, 8)
		require.Equal(t, upTo(1, 8), here.numbers("mon-1"))
		require.Equal(t, append(upTo(1, 4), 7, 8), there.numbers("mon-1"))
		waves := there.of(EventWave)
		require.False(t, waves[4].Wave.Follows(waves[3].Wave))
		require.True(t, waves[5].Wave.Follows(waves[4].Wave))

		_, err := two.hub.Raise(t.Context(), high("k")) // not where the device is
		require.NoError(t, err)
		next(9, 60)
		time.Sleep(15 * time.Second)
		strips, err := x.store.Read(t.Context(), "p1", Position{}, ReadQuery{Kinds: []Kind{KindStrip}})
		require.NoError(t, err)
		require.Len(t, strips, 1)
		require.Equal(t, append(upTo(1, 4), upTo(7, 60)...), there.numbers("mon-1"))
	})
}

// A chunk that comes twice, late, or after its signal has begun to come in here is not
// shown.
func TestOldWavesOfOtherNodesAreNotShown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newNodes(t, 2, Options{})
		defer x.close()
		one, two := x.hubs[0], x.hubs[1]
		there := watchWaves(join(t, dialler(two, two.net, nil)(), "doctor"))
		settle()
		began := time.Now()
		send := func(w *world, n int) {
			require.NoError(t, w.hub.PublishWaves(chunk(n, began)))
			synctest.Wait()
		}
		x.ether.by(func(p parcel) {
			p.arrive(p.message)
			p.arrive(p.message)
		})
		send(one, 1)
		var held []parcel
		x.ether.by(func(p parcel) { held = append(held, p) })
		send(one, 2)
		send(one, 3)
		x.ether.by(nil)
		send(one, 4)
		held[1].arrive(held[1].message) // 3, overtaken by 4
		synctest.Wait()
		send(two, 5) // the device has moved
		held[0].arrive(held[0].message)
		time.Sleep(time.Second)
		require.Equal(t, []int{1, 4, 5}, there.numbers("mon-1"))

		held = nil
		x.ether.by(func(p parcel) { held = append(held, p) })
		began = began.Add(time.Hour)
		send(one, 100)
		time.Sleep(relayLate + time.Second)
		for _, p := range held {
			p.arrive(p.message)
		}
		time.Sleep(time.Second)
		require.Equal(t, []int{1, 4, 5}, there.numbers("mon-1"))
	})
}

// The waves of other nodes end with the watcher's access and with the last watcher, and
// at once with the device's right.
func TestWavesOfOtherNodesEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newNodes(t, 2, Options{})
		defer x.close()
		one, two := x.hubs[0], x.hubs[1]
		quiet := x.ether.subjects()
		nurse := join(t, dialler(two, two.net, nil)(), "nurse")
		there := watchWaves(nurse)
		doctor := watchWaves(join(t, dialler(two, two.net, nil)(), "doctor"))
		device := join(t, dialler(one, one.net, nil)(), "device")
		record(device)
		settle()
		require.Equal(t, quiet+2, x.ether.subjects(), "the log and the waves of p1")
		began := time.Now()
		next := func(first, last int) {
			for n := first; n <= last; n++ {
				sendChunks(device, chunk(n, began))
				time.Sleep(250 * time.Millisecond)
			}
		}
		next(1, 2)
		require.NoError(t, one.hub.Revoke(t.Context(), Revocation{Principal: "doctor", Patients: []string{"p1"}, Until: time.Now().Add(time.Hour)}))
		time.Sleep(2 * newsEvery)
		next(3, 4)
		require.Equal(t, upTo(1, 2), doctor.numbers("mon-1"))
		require.Equal(t, upTo(1, 4), there.numbers("mon-1"))
		require.NoError(t, two.hub.Revoke(t.Context(), Revocation{Principal: "device", Patients: []string{"p1"}, Until: time.Now().Add(time.Hour)}))
		time.Sleep(2 * newsEvery)
		next(5, 6)
		require.Equal(t, upTo(1, 4), there.numbers("mon-1"))
		nurse.send(`{"type":"unwatch","req":"2","patients":["p1"]}`)
		time.Sleep(time.Second)
		require.Equal(t, quiet, x.ether.subjects())
	})
}

// A signal that begins anew at its own node, with lesser numbers and another start, does so
// at the other nodes, at once.
func TestWavesBeginAnewAtOtherNodes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		x := newNodes(t, 2, Options{})
		defer x.close()
		one, two := x.hubs[0], x.hubs[1]
		there := watchWaves(join(t, dialler(two, two.net, nil)(), "doctor"))
		settle()
		began := time.Now()
		send := func(first, last int, start time.Time) {
			for n := first; n <= last; n++ {
				require.NoError(t, one.hub.PublishWaves(chunk(n, start)))
				time.Sleep(250 * time.Millisecond)
			}
		}
		send(7, 9, began)
		send(1, 2, began.Add(-time.Hour)) // the clock was set back, too
		require.Equal(t, []int{7, 8, 9, 1, 2}, there.numbers("mon-1"))

		again := began.Add(time.Hour)
		for range 2 { // connections of a device
			device := join(t, dialler(one, one.net, nil)(), "device")
			record(device)
			for n := 1; n <= 2; n++ {
				sendChunks(device, chunk(n, again))
				time.Sleep(250 * time.Millisecond)
			}
			again = again.Add(time.Second)
		}
		require.Equal(t, []int{7, 8, 9, 1, 2, 1, 2, 1, 2}, there.numbers("mon-1"))

		late := watchWaves(join(t, dialler(two, two.net, nil)(), "nurse"))
		time.Sleep(time.Second)
		require.Equal(t, there.numbers("mon-1"), late.numbers("mon-1"), "of the last ten seconds by this node's own clock")
		time.Sleep(waveMemory)
		later := watchWaves(join(t, dialler(two, two.net, nil)(), "nurse"))
		time.Sleep(time.Second)
		require.Empty(t, later.numbers("mon-1"))
	})
}
