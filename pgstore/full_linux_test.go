package pgstore

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/internal/smalldisk"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// The tables are on a disk of their own, and it fills. Confirmed entries stay,
// refusals are ErrFull, and the room of a ballast file that is deleted goes to
// alerts first: as docs/deployment.md says.
func TestFullTablespace(t *testing.T) {
	smalldisk.Run(t, "24m", func(t *testing.T, dir string) {
		server := pgtest.Start(t)
		space := filepath.Join(dir, "space")
		require.NoError(t, os.Mkdir(space, 0o700))
		require.NoError(t, server.Give(space))
		pool := connect(t, server.DSN()+" default_tablespace=small", 10)
		admin := connect(t, server.DSN(), 2)
		exec(t, admin, `create tablespace small location '`+space+`'`)
		s := open(t, pool, nil)
		free := smalldisk.Fill(t, dir, 2<<20)

		n, taken, refused := 0, map[string]uint64{}, time.Time{}
		add := func(patient string, entry func(id string) carewire.Entry, size int) error {
			batch := make([]carewire.Entry, size)
			for i := range batch {
				n++
				batch[i] = entry(fmt.Sprint(n))
				batch[i].Patient, batch[i].Data = patient, make([]byte, 500)
			}
			begun := time.Now()
			var err error
			for _, a := range mustAppend(t, s, batch...) {
				if err = a.Err; err != nil {
					require.ErrorIs(t, err, carewire.ErrFull)
					refused = begun
					continue
				}
				taken[patient]++
				require.Equal(t, taken[patient], a.Seq)
			}
			return err
		}
		vital := func(id string) carewire.Entry { return benchVital(0, n) }
		alert := func(id string) carewire.Entry { return notice("", id) }
		for add("v", vital, 100) == nil {
			require.Less(t, n, 100_000)
		}
		for add("a", alert, 20) == nil { // some may fit
			require.Less(t, n, 100_000)
		}
		free()
		lately := refused
		require.NoError(t, add("a", alert, 20))
		if err := add("v", vital, 1); time.Since(lately) < vitalsWait {
			require.Error(t, err)
		}
		require.NoError(t, add("a", alert, 20))
		require.Eventually(t, func() bool { return add("v", vital, 1) == nil }, process.Patience, 50*time.Millisecond)
		heads, err := s.Heads(t.Context(), []string{"v", "a"})
		require.NoError(t, err)
		require.Equal(t, []uint64{taken["v"], taken["a"]}, []uint64{heads[0].Seq, heads[1].Seq})
	})
}
