package boltstore

import (
	"bytes"
	"compress/gzip"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

var writeGolden = flag.Bool("boltstore.golden", false, "write testdata/vN.gz, the file of this version")

// history plays one history, always the same, to a store in memory, and to s if
// there is one: vitals with many IDs, some settled and some not, entries of all
// kinds, and some that were pruned.
func history(t *testing.T, s *Store) *model {
	m := &model{t: t, rand: rand.New(rand.NewPCG(7, 7)), memory: carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: -1, Others: -1}), now: start}
	take := func(batch []carewire.Entry) {
		_, err := m.memory.Append(t.Context(), batch)
		require.NoError(t, err)
		if s != nil {
			_, err = s.Append(t.Context(), batch)
			require.NoError(t, err)
		}
		m.sent = append(m.sent, batch...)
	}
	some := func(n int) {
		for range n {
			var batch []carewire.Entry
			for range 1 + m.rand.IntN(20) {
				batch = append(batch, m.entry())
			}
			take(batch)
		}
	}
	some(20)
	keep := carewire.Retention{Vitals: 10 * time.Minute, Others: 20 * time.Minute}
	require.NoError(t, m.memory.Prune(t.Context(), m.now, keep))
	if s != nil {
		require.NoError(t, s.Prune(t.Context(), m.now, keep))
	}
	m.sent = nil
	for i := range 35 {
		var batch []carewire.Entry
		for n := range 100 {
			batch = append(batch, vital("p4", 100*i+n))
		}
		take(batch)
		if s != nil && i%4 == 0 {
			settle(t, s)
		}
	}
	some(20)
	return m
}

// TestGolden opens the files of earlier versions, and finds all of their entries.
func TestGolden(t *testing.T) {
	t.Parallel()
	if *writeGolden {
		path := newPath(t)
		s := open(t, path, small())
		history(t, s)
		require.NoError(t, s.Close())
		file, err := os.ReadFile(path)
		require.NoError(t, err)
		var packed bytes.Buffer
		w, err := gzip.NewWriterLevel(&packed, gzip.BestCompression)
		require.NoError(t, err)
		_, err = w.Write(file)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		require.NoError(t, os.MkdirAll("testdata", 0o755))
		require.NoError(t, os.WriteFile(filepath.Join("testdata", fmt.Sprintf("v%d.gz", version)), packed.Bytes(), 0o644))
	}
	files, err := filepath.Glob("testdata/v*.gz")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, name := range files {
		path := newPath(t)
		packed, err := os.Open(name)
		require.NoError(t, err)
		defer packed.Close()
		r, err := gzip.NewReader(packed)
		require.NoError(t, err)
		file, err := io.ReadAll(r)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(path, file, 0o600))
		m := history(t, nil)
		for range 2 {
			m.store = open(t, path, small())
			m.compare()
			for range 20 { // IDs are known, too
				m.append()
			}
			m.compare()
			require.NoError(t, m.store.Close())
		}
	}
}
