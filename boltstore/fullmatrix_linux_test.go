package boltstore

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/smalldisk"
)

// longForm fills disks of 600 MB, with up to 5,000 patients; `make full` sets it.
// It is no flag, because smalldisk passes no flags to its child.
var longForm = os.Getenv("BOLTSTORE_LONG") != ""

// A store on a disk that fills, or up to its MaxBytes, refuses vitals and takes
// alerts and answers, also after it was opened anew, of any patients' vitals
// and whether or not they have IDs. Its file stays within the bound, and pruning
// makes room.
func TestFullDiskMatrix(t *testing.T) {
	size, reserve, mostBytes, numbers := "20m", int64(2<<20), int64(10<<20), []int{1, 10, 200}
	if longForm {
		size, reserve, mostBytes, numbers = "600m", 0, 68<<20, []int{1, 4, 10, 50, 200, 5000}
	}
	smalldisk.Run(t, size, func(t *testing.T, dir string) {
		for _, patients := range numbers {
			for _, ids := range []bool{true, false} {
				for _, most := range []int64{0, mostBytes} {
					c := fullCase{t: t, patients: patients, ids: ids, options: Options{Reserve: reserve, MaxBytes: most}}
					t.Run(c.String(), func(t *testing.T) {
						c.t = t
						c.path = filepath.Join(dir, "store")
						defer os.Remove(c.path)
						c.run()
					})
				}
			}
		}
	})
}

type fullCase struct {
	t        *testing.T
	path     string
	patients int
	ids      bool
	options  Options

	n, taken, alerts int
	written          int64   // bytes of new pages
	closest          float64 // the greatest part of the estimated room that was needed
}

func (c *fullCase) String() string {
	return fmt.Sprintf("patients=%d ids=%t MaxBytes=%dM", c.patients, c.ids, c.options.MaxBytes>>20)
}

func (c *fullCase) run() {
	t := c.t
	began := time.Now()
	s := c.open()
	c.fill(s)
	c.full(s)
	filled, written := c.taken, c.written
	for range 2 {
		require.NoError(t, s.Close())
		s = c.open()
		c.publish(s, 100)
		c.full(s)
	}
	bytes := c.inBounds(s)
	kept := 0
	for i := range c.patients {
		heads, err := s.Heads(t.Context(), []string{c.patient(i)})
		require.NoError(t, err)
		kept += int(heads[0].Seq - heads[0].Must)
	}
	require.Equal(t, c.taken, kept)
	for range 2 {
		require.NoError(t, s.Prune(t.Context(), start.AddDate(1, 0, 0), carewire.Retention{Vitals: time.Hour}))
		before := c.taken
		c.fill(s)
		require.Greater(t, c.taken-before, filled/2, "pruning makes room")
		c.full(s)
		c.inBounds(s)
	}
	require.NoError(t, s.Close())
	t.Logf("%v: %d vitals taken, %d bytes of file and %d written for each, at most %.2f of the need, in %v", c, filled, bytes/int64(filled), written/int64(filled),
		c.closest, time.Since(began).Round(time.Millisecond))
}

// fill publishes until vitals are refused.
func (c *fullCase) fill(s *Store) {
	for c.publish(s, 256) > 0 {
		require.Less(c.t, c.n, 10_000_000)
	}
}

// publish appends so many vitals and returns how many were taken.
func (c *fullCase) publish(s *Store, n int) (taken int) {
	batch := make([]carewire.Entry, n)
	for i := range batch {
		c.n++
		v := vital(c.patient(c.n), c.n)
		v.Data = []byte(`{"patient":"p","code":"8867-4","value":71,"unit":"/min","device":"monitor-1","time":"2026-03-01T08:00:00Z"}`)
		v.Received = start
		if v.ID = ""; c.ids {
			v.ID = strconv.FormatUint(uint64(c.n)*0x9e3779b97f4a7c15, 36)
			binary.BigEndian.PutUint64(v.Sum[:], uint64(c.n))
		}
		batch[i] = v
	}
	got, err := s.Append(c.t.Context(), batch)
	require.NoError(c.t, err)
	for _, a := range got {
		if a.Err == nil {
			taken++
		} else {
			require.ErrorIs(c.t, a.Err, carewire.ErrFull)
		}
	}
	c.taken += taken
	return taken
}

func (c *fullCase) patient(n int) string { return "patient-" + strconv.Itoa(n%c.patients) }

// full raises and answers alerts, while vitals are tried, too.
func (c *fullCase) full(s *Store) {
	for range 10 {
		c.alerts++
		a := alert(c.patient(c.alerts), "alert-"+strconv.Itoa(c.alerts), 1)
		a.Data, a.Urgent = make([]byte, 700), true
		add(c.t, s, a)
		c.publish(s, 20)
		a.Rev, a.ID, a.Open = 2, a.ID+"-answer", false
		a.Due = time.Time{}
		add(c.t, s, a)
	}
}

// open opens the store, and wants every commit to take no more than was thought.
func (c *fullCase) open() *Store {
	s := open(c.t, c.path, &c.options)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.spent = func(need, used int64) {
		assert.LessOrEqual(c.t, used, need)
		c.written += used
		c.closest = max(c.closest, float64(used)/float64(need))
	}
	return s
}

func (c *fullCase) inBounds(s *Store) int64 {
	info, err := os.Stat(c.path)
	require.NoError(c.t, err)
	if c.options.MaxBytes > 0 {
		require.LessOrEqual(c.t, info.Size(), c.options.MaxBytes+s.reserve)
	}
	return info.Size()
}

// A long read, as by a backup, keeps pages from being used again. That counts:
// vitals are refused earlier, alerts are taken, nothing fails, and afterwards
// there is room again.
func TestFullWhileSomebodyReads(t *testing.T) {
	smalldisk.Run(t, "14m", func(t *testing.T, dir string) {
		for _, most := range []int64{0, 6 << 20} {
			c := fullCase{t: t, patients: 7, ids: true, path: filepath.Join(dir, "store"), options: Options{Reserve: 2 << 20, MaxBytes: most}}
			s := c.open()
			c.fill(s)
			filled := c.taken
			c.full(s)
			reading, err := s.beginView(nil)
			require.NoError(t, err)
			t.Cleanup(func() { _ = reading.tx.Rollback() }) // else Close would wait for it
			if err := s.Prune(t.Context(), start.AddDate(1, 0, 0), carewire.Retention{Vitals: time.Hour}); err != nil {
				require.ErrorIs(t, err, carewire.ErrFull)
			}
			c.fill(s)
			c.full(s)
			c.inBounds(s)
			require.NoError(t, reading.tx.Rollback())
			require.NoError(t, s.Prune(t.Context(), start.AddDate(1, 0, 0), carewire.Retention{Vitals: time.Hour}))
			c.fill(s)
			require.Greater(t, c.taken, filled+1000, "there is room again")
			c.full(s)
			c.inBounds(s)
			require.NoError(t, s.Close())
			require.NoError(t, os.Remove(c.path))
		}
	})
}

// Alerts and answers rank before everything else, and high ones before the others:
// each leaves a part of the reserve to those that rank before it.
func TestReserveIsForAlerts(t *testing.T) {
	smalldisk.Run(t, "64m", func(t *testing.T, dir string) {
		c := fullCase{t: t, patients: 3, ids: true, path: filepath.Join(dir, "store"), options: Options{Reserve: 8 << 20, MaxBytes: 8 << 20}}
		s := c.open()
		c.fill(s)
		for _, kind := range []carewire.Kind{carewire.KindNotice, carewire.KindReceipt, carewire.KindAccess, carewire.KindTimer, carewire.KindAlert} {
			taken := 0
			for n := range 10_000 {
				e := alert(c.patient(n), fmt.Sprint("other-", kind, "-", n), 1)
				e.Kind, e.Data = kind, make([]byte, 4000)
				got, err := s.Append(t.Context(), []carewire.Entry{e})
				require.NoError(t, err)
				if got[0].Err == nil {
					taken++
				} else {
					require.ErrorIs(t, got[0].Err, carewire.ErrFull)
				}
			}
			require.Less(t, taken, 10_000, kind)
			if kind == carewire.KindAlert {
				require.Greater(t, taken, 100, "notices, receipts, grants and timers leave alerts their room")
			}
		}
		for range 50 { // 1,000 high alerts and answers
			c.full(s)
		}
		c.inBounds(s)
	})
}
