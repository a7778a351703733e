package rules

import (
	"fmt"
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
