package boltstore

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A store that is filled and pruned again and again stays within its bounds,
// and finds the room that it needs before it writes.
func TestFullAgainAndAgain(t *testing.T) {
	t.Parallel()
	const most, reserve = 4 << 20, 1 << 20
	s := open(t, newPath(t), &Options{MaxBytes: most, Reserve: reserve})
	n := 0
	next := func() (patient string, at time.Time) {
		n++
		return fmt.Sprint("p", rand.IntN(40)), start.Add(time.Duration(n) * time.Second)
	}
	for range 5 {
		taken := 0
		for full := false; !full; {
			var batch []carewire.Entry
			for range 1 + rand.IntN(200) {
				patient, _ := next()
				v := vital(patient, n)
				v.Data = make([]byte, 50+rand.IntN(600))
				batch = append(batch, v)
			}
			patient, at := next()
			a := alert(patient, fmt.Sprint("k", n), 1)
			a.Open, a.Received = false, at
			batch = append(batch, a)
			got, err := s.Append(t.Context(), batch)
			require.NoError(t, err)
			for _, a := range got {
				if a.Err != nil {
					require.ErrorIs(t, a.Err, carewire.ErrFull)
					full = true
				} else {
					taken++
				}
			}
		}
		require.Greater(t, taken, 300)
		info, err := os.Stat(s.file.Name())
		require.NoError(t, err)
		require.LessOrEqual(t, info.Size(), int64(most+reserve))
		_, now := next()
		require.NoError(t, s.Prune(t.Context(), now, carewire.Retention{Vitals: time.Duration(1+rand.IntN(1000)) * time.Second, Others: time.Hour}))
	}
}
