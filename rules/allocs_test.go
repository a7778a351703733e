package rules

import (
	"fmt"
	"runtime"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A reading that changes nothing makes no garbage, whichever of twelve rules judge
// it; and where scores change and are published, most readings make none.
func TestReadingsMakeNoGarbage(t *testing.T) {
	set, err := NewSet(twelve()...)
	require.NoError(t, err)
	c, now, seq := NewCase(set, "p", adult), start, uint64(0)
	see := func(vitals []carewire.Vital) {
		now = now.Add(time.Second)
		for i := range vitals {
			seq++
			vitals[i].Time, vitals[i].Received = now, now
			c.Vital(carewire.Position{Epoch: "e", Seq: seq}, &vitals[i])
		}
		if len(c.owed) > 0 {
			c.Owed()
		}
	}
	see(observed("p"))
	var seconds [7][]carewire.Vital // five goes round after seven
	for k := range seconds {
		seconds[k] = five("p", k)
		for i := range seconds[k] {
			seconds[k][i].ID = fmt.Sprintf("monitor-7.%06d", 5*k+i)
		}
	}
	k := 0
	go7 := func(step int) func() {
		return func() {
			for range 7 * 10 {
				see(seconds[k%7])
				k += step
			}
		}
	}
	for range 20 { // the steady state is reached
		go7(1)()
	}
	require.Zero(t, testing.AllocsPerRun(5, go7(0)), "350 readings that stay the same")
	require.Less(t, testing.AllocsPerRun(5, go7(1)), 350., "350 readings that change the score")
}

// What a Case knows of a patient does not grow with the readings, nor without end with
// the sensors. docs/rules.md states these bounds.
func TestMemoryOfAPatient(t *testing.T) {
	set, err := NewSet(twelve()...)
	require.NoError(t, err)
	for _, x := range []struct{ sensors, most int }{{2, 32 << 10}, {100, 96 << 10}} {
		const patients = 50
		heap := func() uint64 {
			var m runtime.MemStats
			runtime.GC()
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		before := heap()
		cases := make([]*Case, patients)
		for i := range cases {
			c, seq := NewCase(set, "p", adult), uint64(0)
			cases[i] = c
			see := func(at time.Time, vitals []carewire.Vital, device string) {
				for k := range vitals {
					seq++
					vitals[k].Time, vitals[k].Received, vitals[k].Device = at, at, device
					c.Vital(carewire.Position{Epoch: "e", Seq: seq}, &vitals[k])
				}
				c.Owed()
			}
			see(start, observed("p"), "chart")
			for k := range 700 {
				see(start.Add(time.Duration(k)*time.Second), five("p", k), fmt.Sprint("monitor", k%x.sensors))
			}
		}
		each := int(heap()-before) / patients
		t.Log(x.sensors, "sensors of each number:", each, "bytes a patient")
		require.Less(t, each, x.most)
		require.Greater(t, each, 4<<10, "nothing was measured")
		runtime.KeepAlive(cases)
	}
}
