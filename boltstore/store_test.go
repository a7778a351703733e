package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/hubtest"
	"github.com/carewire/carewire/storetest"
)

// The test binary is also the other process that some tests need.
func TestMain(m *testing.M) {
	switch path := os.Getenv("BOLTSTORE_PATH"); os.Getenv("BOLTSTORE_CHILD") {
	case "open":
		_, err := Open(path, &Options{Timeout: -1})
		fmt.Println(errors.Is(err, ErrLocked))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

func child(t *testing.T, what, path string) *exec.Cmd {
	exe, err := os.Executable()
	require.NoError(t, err)
	cmd := exec.CommandContext(t.Context(), exe)
	cmd.Env = append(os.Environ(), "BOLTSTORE_CHILD="+what, "BOLTSTORE_PATH="+path)
	cmd.Stderr = os.Stderr
	return cmd
}

// small keeps the files of tests small.
func small() *Options { return &Options{Reserve: 1} }

func open(t *testing.T, path string, o *Options) *Store {
	t.Helper()
	s, err := Open(path, o)
	require.NoError(t, err)
	t.Cleanup(func() { _ = s.Close() })
	return s
}

func newPath(t *testing.T) string { return filepath.Join(t.TempDir(), "store") }

var start = time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)

func vital(patient string, n int) carewire.Entry {
	at := start.Add(time.Duration(n) * time.Second)
	return carewire.Entry{
		Patient: patient, Kind: carewire.KindVital, Key: "8867-4|monitor-1|", Sender: "device-1", ID: "v" + strconv.Itoa(n),
		Audience: carewire.AudienceAll, Time: at, Received: at, Data: []byte(`{"n":` + strconv.Itoa(n) + `}`),
	}
}

func alert(patient, key string, rev uint64) carewire.Entry {
	return carewire.Entry{
		Patient: patient, Kind: carewire.KindAlert, Key: key, Rev: rev, Open: true, Due: start, To: []string{"group:ward-5"},
		Audience: carewire.AudienceStaff, Sender: "rules", ID: key + strconv.FormatUint(rev, 10), Time: start, Received: start, Data: []byte(`{}`),
	}
}

// add appends entries, of which none may be refused.
func add(t *testing.T, s *Store, entries ...carewire.Entry) []carewire.AppendResult {
	t.Helper()
	got, err := s.Append(t.Context(), entries)
	require.NoError(t, err)
	for _, a := range got {
		require.NoError(t, a.Err)
	}
	return got
}

// settle takes everything that is in memory to its place in the file.
func settle(t *testing.T, s *Store) {
	t.Helper()
	require.NoError(t, s.Prune(t.Context(), start, carewire.Retention{}))
	require.Empty(t, s.live)
}

func readAll(t *testing.T, s *Store, patient string) []carewire.Entry {
	t.Helper()
	entries, err := s.Read(t.Context(), patient, carewire.Position{}, carewire.ReadQuery{Limit: 10_000})
	require.NoError(t, err)
	return entries
}

func TestContract(t *testing.T) {
	t.Parallel()
	storetest.Run(t,
		func(t *testing.T) carewire.Store { return open(t, newPath(t), small()) },
		&storetest.Options{Reopen: func(t *testing.T, s carewire.Store) carewire.Store {
			path := s.(*Store).file.Name()
			require.NoError(t, s.(*Store).Close())
			return open(t, path, small())
		}})
}

func TestLocked(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, small())
	_, err := Open(path, &Options{Timeout: -1})
	require.ErrorIs(t, err, ErrLocked, "in the same process")
	cmd := child(t, "open", path)
	out, err := cmd.Output()
	require.NoError(t, err)
	require.Equal(t, "true\n", string(out), "in another process")
	require.NoError(t, s.Close())
	require.NoError(t, s.Close())
	open(t, path, small())
}

func TestModes(t *testing.T) {
	t.Parallel()
	if runtime.GOOS == "windows" {
		t.Skip("files have no mode there")
	}
	path := filepath.Join(t.TempDir(), "made", "store")
	open(t, path, small())
	file, err := os.Stat(path)
	require.NoError(t, err)
	dir, err := os.Stat(filepath.Dir(path))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), file.Mode().Perm())
	require.Equal(t, os.FileMode(0o700), dir.Mode().Perm())
}

// Only files that this version wrote are opened, and others not touched.
func TestVersion(t *testing.T) {
	t.Parallel()
	change := func(f func(tx *bbolt.Tx) error) string {
		path := newPath(t)
		require.NoError(t, open(t, path, small()).Close())
		db, err := bbolt.Open(path, 0o600, nil)
		require.NoError(t, err)
		require.NoError(t, db.Update(f))
		require.NoError(t, db.Close())
		return path
	}
	newer := change(func(tx *bbolt.Tx) error {
		return put(tx.Bucket([]byte("meta")), []byte("version"), []byte{version + 1})
	})
	foreign := change(func(tx *bbolt.Tx) error { return tx.DeleteBucket([]byte("meta")) })
	text := newPath(t)
	require.NoError(t, os.WriteFile(text, bytes.Repeat([]byte("something else\n"), 10_000), 0o600))
	for _, path := range []string{newer, foreign, text} {
		before, err := os.ReadFile(path)
		require.NoError(t, err)
		_, err = Open(path, small())
		require.ErrorIs(t, err, ErrVersion)
		after, err := os.ReadFile(path)
		require.NoError(t, err)
		require.True(t, bytes.Equal(before, after))
	}
}

// fill makes a store with a bit of everything and returns its answers.
func fill(t *testing.T, path string) map[string]any {
	s := open(t, path, small())
	var batch []carewire.Entry
	for i := range 200 {
		batch = append(batch, vital("p"+strconv.Itoa(i%5), i), alert("p"+strconv.Itoa(i%5), "k"+strconv.Itoa(i%20), uint64(i/20+1)))
	}
	add(t, s, batch...)
	said, err := ask(t, s)
	require.NoError(t, err)
	require.NoError(t, s.Close())
	return said
}

// ask reads all that fill wrote.
func ask(t *testing.T, s *Store) (map[string]any, error) {
	said := map[string]any{}
	var errs []error
	note := func(what string, answer any, err error) {
		if said[what] = answer; err != nil {
			errs = append(errs, err)
			delete(said, what)
		}
	}
	for p := range 5 {
		patient := "p" + strconv.Itoa(p)
		entries, err := s.Read(t.Context(), patient, carewire.Position{}, carewire.ReadQuery{Limit: 10_000})
		note("read "+patient, entries, err)
		latest, head, err := s.Latest(t.Context(), patient)
		note("latest "+patient, latest, err)
		note("head "+patient, head, err)
	}
	waiting, err := s.Waiting(t.Context(), start.Add(time.Hour), 0)
	note("waiting", waiting, err)
	changed, _, err := s.Changed(t.Context(), "", 0)
	note("changed", changed, err)
	return said, errors.Join(errs...)
}

// A damaged file is refused, or answers with ErrCorrupt, or answers as before:
// every entry that it returns is one that was written.
func TestDamage(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	want := fill(t, path)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	written := map[string]carewire.Entry{}
	for p := range 5 {
		for _, e := range want["read p"+strconv.Itoa(p)].([]carewire.Entry) {
			written[fmt.Sprint(e.Patient, " ", e.Seq)] = e
		}
	}
	s := open(t, path, small())
	require.NoError(t, s.db.View(func(tx *bbolt.Tx) error { whole = whole[:tx.Size()]; return nil }))
	reported := 0
	for range 40 {
		damagedFile := newPath(t)
		damage := slices.Clone(whole)
		damage[rand.IntN(len(whole))] ^= 1 << rand.IntN(8)
		require.NoError(t, os.WriteFile(damagedFile, damage, 0o600))
		s, err := Open(damagedFile, small())
		if err != nil {
			require.True(t, errors.Is(err, ErrCorrupt) || errors.Is(err, ErrVersion), "%v", err)
			reported++
			continue
		}
		said, err := ask(t, s)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			reported++
		}
		for what, answer := range said {
			if entries, ok := answer.([]carewire.Entry); ok {
				for _, e := range entries {
					require.Equal(t, written[fmt.Sprint(e.Patient, " ", e.Seq)], e)
				}
			}
			if strings.HasPrefix(what, "read") {
				require.True(t, reflect.DeepEqual(want[what], answer), what)
			}
		}
		require.NoError(t, s.db.Close())
		close(s.closing)
	}
	require.NotZero(t, reported)
}

// A changed value in any bucket is reported.
func TestDamagedValues(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	for _, name := range []string{"heads", "log", "states", "live", "due", "changes", "ids", "vitalids"} {
		fill(t, path)
		s := open(t, path, small())
		settle(t, s)
		var key, value []byte
		change := func(f func(v []byte) []byte) {
			require.NoError(t, s.update(func(v view) error {
				b := v.bucket(name)
				if key == nil {
					k, v := b.Cursor().First()
					key, value = bytes.Clone(k), bytes.Clone(v)
				}
				return b.Put(key, f(bytes.Clone(value)))
			}))
		}
		change(func(v []byte) []byte { v[0] ^= 1; return v })
		find := func() error {
			_, err := ask(t, s)
			if name == "ids" || name == "vitalids" {
				again := []carewire.Entry{alert("p0", "k0", 1)}
				for i := range 40 {
					again = append(again, vital("p0", 5*i))
				}
				_, err = s.Append(t.Context(), again)
			}
			return err
		}
		require.ErrorIs(t, find(), ErrCorrupt, name)
		change(func(v []byte) []byte { return v[:2] })
		require.ErrorIs(t, find(), ErrCorrupt, name)
		add(t, s, alert("p6", "x", 0)) // others are not concerned
		change(func(v []byte) []byte { return v })
		require.NoError(t, s.Close())
		require.NoError(t, os.Remove(path))
	}
}

// The count of the others shows that an entry is gone from the log.
func TestMissingEntries(t *testing.T) {
	t.Parallel()
	for _, seq := range []uint64{1, 2, 5, 6, 9, 10} {
		s := open(t, newPath(t), small())
		for i := range 5 {
			add(t, s, vital("a", i), alert("a", "x", uint64(i+1)))
			settle(t, s) // each into a value of its own
		}
		require.Len(t, readAll(t, s, "a"), 10)
		require.NoError(t, s.update(func(v view) error {
			return v.bucket("log").Delete(logKey(1, byte(1-seq%2), seq))
		}))
		_, err := s.Read(t.Context(), "a", carewire.Position{}, carewire.ReadQuery{})
		require.ErrorIs(t, err, ErrCorrupt, seq)
	}
}

// bbolt goes back to the older meta page when the newer one is damaged, which
// loses a commit. The store is opened so only if the operator says so, and then
// with a new epoch.
func TestDamagedMeta(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	fill(t, path)
	whole, err := os.ReadFile(path)
	require.NoError(t, err)
	for page := range 2 {
		damage := slices.Clone(whole)
		damage[page*os.Getpagesize()+16+50] ^= 1
		require.NoError(t, os.WriteFile(path, damage, 0o600))
		_, err = Open(path, small())
		require.ErrorIs(t, err, ErrCorrupt)
		s := open(t, path, &Options{Reserve: 1, NewEpoch: true})
		before := readAll(t, s, "p0")
		now := add(t, s, vital("p0", 1000))[0]
		require.NotEqual(t, before[0].Epoch, now.Epoch)
		require.NoError(t, s.Close())
	}
	require.NoError(t, os.WriteFile(path, whole[:5*os.Getpagesize()], 0o600))
	_, err = Open(path, small())
	require.ErrorIs(t, err, ErrCorrupt)
}

// NewEpoch marks the entries that are written after a backup was restored;
// earlier entries keep their epoch, and marks begin anew.
func TestNewEpoch(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, small())
	old := add(t, s, alert("a", "x", 1), vital("a", 1))
	_, mark, err := s.Changed(t.Context(), "", 0)
	require.NoError(t, err)
	require.NoError(t, s.Close())

	s = open(t, path, &Options{Reserve: 1, NewEpoch: true})
	heads, err := s.Heads(t.Context(), []string{"a"})
	require.NoError(t, err)
	require.Equal(t, []carewire.Position{old[1].Position}, heads[0].Epochs, "nothing was written in the new one")
	changed, _, err := s.Changed(t.Context(), mark, 0)
	require.NoError(t, err)
	require.Len(t, changed, 1)
	now := add(t, s, vital("a", 2))
	require.NotEqual(t, old[0].Epoch, now[0].Epoch)
	require.Equal(t, uint64(3), now[0].Seq)
	heads, err = s.Heads(t.Context(), []string{"a"})
	require.NoError(t, err)
	require.Equal(t, []carewire.Position{old[1].Position, now[0].Position}, heads[0].Epochs)
	again, err := s.Append(t.Context(), []carewire.Entry{alert("a", "x", 1)})
	require.NoError(t, err)
	require.True(t, again[0].Repeated)
	require.Equal(t, old[0].Position, again[0].Position)
	log := readAll(t, s, "a")
	require.Equal(t, []string{old[0].Epoch, old[0].Epoch, now[0].Epoch}, []string{log[0].Epoch, log[1].Epoch, log[2].Epoch})
}

// After a write that failed nothing is written or read, until the store is
// opened anew.
func TestFailedWrite(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	s := open(t, path, small())
	was := add(t, s, vital("a", 1))[0]
	require.NoError(t, s.file.Close()) // as if the disk had gone
	for range 3 {
		_, err := s.Append(t.Context(), []carewire.Entry{vital("a", 2)})
		require.ErrorIs(t, err, ErrFailed)
	}
	require.ErrorIs(t, s.Prune(t.Context(), start.AddDate(9, 0, 0), carewire.Retention{Vitals: 1}), ErrFailed)
	_, _, err := s.Latest(t.Context(), "a")
	require.ErrorIs(t, err, ErrFailed, "it might show entries that will be lost")
	require.ErrorIs(t, s.Close(), ErrFailed)
	_, err = s.Append(t.Context(), []carewire.Entry{vital("a", 2)})
	require.ErrorIs(t, err, carewire.ErrClosed)

	s = open(t, path, small())
	now := add(t, s, vital("a", 2))[0]
	require.Equal(t, carewire.Position{Epoch: was.Epoch, Seq: 2}, now.Position)
}

// When the disk is full, vitals are refused first and alerts are still taken.
func TestDiskFull(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	add(t, s, vital("a", 0))
	full := func(int64, int64) error { return &os.PathError{Op: "write", Path: s.file.Name(), Err: syscall.ENOSPC} }
	s.fill = full
	fillUp(t, s)
	s.fill = s.fillWithZeros // there is room again
	s.full = time.Time{}
	add(t, s, vital("a", 100_000))
	require.NoError(t, s.db.View(func(tx *bbolt.Tx) error {
		for err := range tx.Check() {
			return err
		}
		return nil
	}))
}

// MaxBytes bounds the file for vitals, and with the reserve for all others;
// pruning makes room.
func TestMaxBytes(t *testing.T) {
	t.Parallel()
	const most, reserve = 2 << 20, 1 << 20
	s := open(t, newPath(t), &Options{MaxBytes: most, Reserve: reserve})
	fillUp(t, s)
	info, err := os.Stat(s.file.Name())
	require.NoError(t, err)
	require.LessOrEqual(t, info.Size(), int64(most+reserve))
	require.NoError(t, s.Prune(t.Context(), start.AddDate(2, 0, 0), carewire.Retention{Vitals: time.Hour}))
	add(t, s, vital("a", 100_000))
	_, err = s.Read(t.Context(), "a", carewire.Position{}, carewire.ReadQuery{})
	require.ErrorIs(t, err, carewire.ErrGap)
}

// fillUp appends vitals until they are refused, wants alerts to be taken then,
// and appends alerts until they are refused, too.
func fillUp(t *testing.T, s *Store) {
	var last []carewire.Entry
	taken := 0
	refused := func(n int, e func(i int) carewire.Entry) bool {
		last = nil
		for i := range 20 {
			one := e(n*20 + i)
			one.Data = bytes.Repeat([]byte("1"), 1000)
			last = append(last, one)
		}
		got, err := s.Append(t.Context(), last)
		require.NoError(t, err)
		for _, a := range got {
			if a.Err == nil {
				taken++
			} else {
				require.ErrorIs(t, a.Err, carewire.ErrFull)
			}
		}
		return got[0].Err != nil
	}
	n := 1
	for ; !refused(n, func(i int) carewire.Entry { return vital("a", i) }); n++ {
		require.Less(t, n, 1000)
	}
	got, err := s.Append(t.Context(), append(last, alert("a", "x", 1)))
	require.NoError(t, err)
	require.ErrorIs(t, got[0].Err, carewire.ErrFull)
	require.NoError(t, got[20].Err, "the reserve is for alerts")
	taken = 0
	for n = 0; !refused(n, func(i int) carewire.Entry { return alert("b", strconv.Itoa(i), 1) }); n++ {
		require.Less(t, n, 1000)
	}
	require.Greater(t, n, 2)
	heads, err := s.Heads(t.Context(), []string{"b"})
	require.NoError(t, err)
	require.Equal(t, uint64(taken), heads[0].Seq)
}

// A batch whose context ends in the queue is not written. One that is being
// written may be.
func TestContextInTheQueue(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	s.mu.Lock() // the writer cannot go on
	underWay, cancel := context.WithCancel(t.Context())
	errs := make(chan error)
	go func() {
		_, err := s.Append(underWay, []carewire.Entry{vital("a", 1)})
		errs <- err
	}()
	late, stop := context.WithCancel(t.Context())
	queued := request{ctx: late, items: []item{{patient: "a", encoded: encodeEntry(&carewire.Entry{Patient: "a"})}}, done: make(chan struct{})}
	cancel()
	require.ErrorIs(t, <-errs, context.Canceled)
	stop()
	s.mu.Unlock()
	s.queue <- &queued
	<-queued.done
	require.ErrorIs(t, queued.err, context.Canceled)
	require.LessOrEqual(t, len(readAll(t, s, "a")), 1)
}

// Many entries are pruned in several transactions, while others are appended.
func TestPruneMany(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	n := 0
	for range 6 {
		var batch []carewire.Entry
		for range 500 {
			batch = append(batch, vital("p"+strconv.Itoa(n%3), n))
			n++
		}
		add(t, s, batch...)
	}
	ahead := vital("p0", 0)
	ahead.ID, ahead.Received = "ahead", start.AddDate(50, 0, 0)
	add(t, s, ahead, vital("p0", n))
	done := make(chan error)
	go func() {
		done <- s.Prune(t.Context(), start.AddDate(1, 0, 0), carewire.Retention{Vitals: 24 * time.Hour, Others: time.Hour})
	}()
	var more uint64
	for err := errors.New("under way"); err != nil; {
		select {
		case err = <-done:
			require.NoError(t, err)
		default:
			more++
			add(t, s, alert("p1", "x", more))
		}
	}
	for p := range 3 {
		head, err := s.Heads(t.Context(), []string{"p" + strconv.Itoa(p)})
		require.NoError(t, err)
		left, err := s.Read(t.Context(), "p"+strconv.Itoa(p), carewire.Position{Seq: 999}, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindVital}})
		if p == 0 { // the newest of its key, and the one before, which came with a clock that was ahead
			require.ErrorIs(t, err, carewire.ErrGap)
			left, err = s.Read(t.Context(), "p0", carewire.Position{Seq: 1000}, carewire.ReadQuery{})
			require.NoError(t, err)
			require.Len(t, left, 2)
			require.Equal(t, head[0].Seq, left[1].Seq)
			continue
		}
		require.NoError(t, err)
		require.Len(t, left, 1, "the newest of its key")
	}
	ids, bytes := 0, 0
	require.NoError(t, s.view(t.Context(), nil, func(v view) error {
		return errors.Join(
			v.bucket("ids").ForEach(func(k, v []byte) error { ids++; return nil }),
			v.bucket("vitalids").ForEach(func(k, v []byte) error { bytes += len(v) - 4; return nil }),
		)
	}))
	require.Equal(t, int(more), ids)
	require.Equal(t, 4*idRecordLen, bytes, "IDs go with their vitals")
}

// IDs of undroppable entries outlive them, and are forgotten in the end.
func TestIDsExpire(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	n := alert("a", "", 0)
	n.Kind, n.Open = carewire.KindNotice, false
	add(t, s, n)
	for _, days := range []int{2, 399} {
		require.NoError(t, s.Prune(t.Context(), start.AddDate(0, 0, days), carewire.Retention{Others: time.Hour}))
		got := add(t, s, n)
		require.True(t, got[0].Repeated)
	}
	require.NoError(t, s.Prune(t.Context(), start.AddDate(0, 0, 400), carewire.Retention{}))
	require.False(t, add(t, s, n)[0].Repeated)
}

// A Prune that was stopped leaves the digests of the pruned entries. An alert that
// uses such an ID anew is recognised all the same.
func TestIDOfAPrunedVital(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	v := vital("a", 1)
	v.Key = ""
	add(t, s, v, vital("a", 2))
	settle(t, s)
	log := prunedLog{patient: "a", class: vitals}
	p := pruner{store: s, now: start.Add(time.Hour), before: start.Add(2 * time.Second)}
	require.NoError(t, s.update(func(view view) error {
		a, err := view.patient("a")
		require.NoError(t, err)
		_, _, err = p.chunk(view, a, &log)
		return err
	}))
	require.NotZero(t, log.pruned)
	again := alert("a", "x", 0)
	again.Sender, again.ID = v.Sender, v.ID
	require.False(t, add(t, s, again)[0].Repeated)
	require.True(t, add(t, s, again)[0].Repeated)
}

// An entry that is too long for the file is refused before it is queued.
func TestTooLong(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	for _, e := range []carewire.Entry{
		{Patient: strings.Repeat("a", maxName+1)},
		{Patient: "a", Key: strings.Repeat("a", maxName+1)},
		{Patient: "a", Sender: strings.Repeat("a", maxName/2), ID: strings.Repeat("a", maxName/2+1)},
		{Patient: "a", Data: make([]byte, maxData)},
	} {
		_, err := s.Append(t.Context(), []carewire.Entry{e})
		require.ErrorIs(t, err, errTooLong)
	}
	name := strings.Repeat("a", maxName)
	e := carewire.Entry{Patient: name, Kind: carewire.KindAlert, Key: name, Sender: name[1:], ID: "a", Open: true, Due: start, Data: make([]byte, 1<<20)}
	add(t, s, e, carewire.Entry{Kind: carewire.KindNotice})
	got, _, err := s.Latest(t.Context(), name)
	require.NoError(t, err)
	require.Len(t, got, 1)
	waiting, err := s.Waiting(t.Context(), start, 0)
	require.NoError(t, err)
	require.Equal(t, got, waiting)
	checkPieces(t, s)
}

func FuzzDecode(f *testing.F) {
	for _, e := range []carewire.Entry{{}, vital("a", 1), alert("p-17", "spo2-low", 3), {To: []string{"", "a", strings.Repeat("b", 300)}}} {
		f.Add(encodeEntry(&e))
	}
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 200))
	f.Fuzz(func(t *testing.T, b []byte) {
		key := []byte("key")
		if got, err := unseal(key, b); err == nil {
			require.Equal(t, b, seal(key, got))
		}
		_, _ = parseHead(b)
		_, _ = parseState(b)
		_, _ = parseID(b)
		_, _ = parseEpochs(b)
		r, err := parseEntry(b)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			return
		}
		epochs := []string{"e"}
		r.epoch = 0
		e, err := r.entry(epochs)
		if err != nil {
			require.ErrorIs(t, err, ErrCorrupt)
			return
		}
		again := encodeEntry(&e)
		place(again, 0, r.seq, r.must, r.count)
		r, err = parseEntry(again)
		require.NoError(t, err)
		back, err := r.entry(epochs)
		require.NoError(t, err)
		require.Equal(t, e, back)
	})
}

// Keys sort like the values that they encode.
func TestTimeKeysSort(t *testing.T) {
	t.Parallel()
	times := []time.Time{{}, time.Unix(-1, 0), time.Unix(-1, 5), time.Unix(0, 0), time.Unix(0, 1), start, start.Add(1), start.AddDate(1000, 0, 0)}
	for i := 1; i < len(times); i++ {
		require.Negative(t, bytes.Compare(timeKey(times[i-1], nil), timeKey(times[i], nil)), i)
		d := decoder{b: timeKey(times[i], nil)}
		require.True(t, d.time().Equal(times[i]))
	}
}

func TestAccessEnds(t *testing.T) { hubtest.Access(t, open(t, newPath(t), small())) }

func TestRetention(t *testing.T) {
	hubtest.Retention(t, func(t *testing.T) hubtest.Keeper { return open(t, newPath(t), small()) })
}
