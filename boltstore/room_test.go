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

// Pruning finds its room before it writes, too: when the reserve is used up,
// the unsettled vitals of many patients are not written to the file at once, and yet
// all old entries go in the end.
func TestPruneWhenFull(t *testing.T) {
	t.Parallel()
	const most, reserve = 8 << 20, 4 << 20
	s := open(t, newPath(t), &Options{MaxBytes: most, Reserve: reserve})
	n := 0
	fill := func(size int, e func() carewire.Entry) {
		for full := false; !full; {
			batch := make([]carewire.Entry, size)
			for i := range batch {
				n++
				batch[i] = e()
				batch[i].Data = make([]byte, 300)
			}
			got, err := s.Append(t.Context(), batch)
			require.NoError(t, err)
			full = got[0].Err != nil
		}
	}
	fill(200, func() carewire.Entry { return vital(fmt.Sprint("p", n%40), n) })
	fill(50, func() carewire.Entry { return alert(fmt.Sprint("q", n%40), fmt.Sprint("k", n), 1) })
	require.Greater(t, s.journaled, int64(reserve))
	require.NoError(t, s.Prune(t.Context(), start.AddDate(0, 0, 1), carewire.Retention{Vitals: time.Hour}))
	info, err := os.Stat(s.file.Name())
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), int64(most+reserve))
	require.Empty(t, s.live)
	require.Len(t, journals(t, s), 1, "the journals go, too")
	add(t, s, vital("p1", n+1))
}

// On a full disk, of more alerts at once than the reserve has room for, those that
// fit are accepted.
func TestBurstWhenFull(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), &Options{MaxBytes: 2 << 20, Reserve: 1 << 20})
	for n := 0; ; n++ {
		v := vital("a", n)
		v.Data = make([]byte, 10_000)
		got, err := s.Append(t.Context(), []carewire.Entry{v})
		require.NoError(t, err)
		if got[0].Err != nil {
			break
		}
	}
	var burst []carewire.Entry
	for i := range 100 {
		burst = append(burst, alert("a", fmt.Sprint("k", i), 1))
	}
	got, err := s.Append(t.Context(), burst)
	require.NoError(t, err)
	require.NoError(t, got[0].Err)
	require.ErrorIs(t, got[99].Err, carewire.ErrFull)
}
