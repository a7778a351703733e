package faults

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/faults/drive"
)

var small = &boltstore.Options{Reserve: 1}

var start = time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)

// history appends the n-th batch of a ward's life to a store.
func history(t testing.TB, s carewire.Store, n int) {
	var list []carewire.Entry
	for p := range 4 {
		patient := "p" + strconv.Itoa(p)
		at := start.Add(time.Duration(n) * time.Second)
		for i := range 5 {
			list = append(list, carewire.Entry{Patient: patient, Kind: carewire.KindVital, Key: "8867-4|" + strconv.Itoa(i), Sender: "device",
				ID: fmt.Sprint("v", n, ".", i), Audience: carewire.AudienceAll, Time: at, Received: at, Data: []byte(fmt.Sprintf(`{"n":%d}`, n))})
		}
		key := "a" + strconv.Itoa(n/3)
		list = append(list, carewire.Entry{Patient: patient, Kind: carewire.KindAlert, Key: key, Rev: uint64(n%3) + 1, Open: n%3 < 2 || n%2 == 0, Due: at,
			To: []string{"group:ward"}, Audience: carewire.AudienceStaff, Sender: "rules", ID: fmt.Sprint("e", n), Time: at, Received: at, Data: []byte(`{}`)})
	}
	got, err := s.Append(context.Background(), list)
	require.NoError(t, err)
	for _, a := range got {
		require.NoError(t, a.Err)
	}
}

// content is everything that a store says, errors of reading joined.
func content(s carewire.Store) (map[string]any, error) {
	ctx := context.Background()
	said := make(map[string]any)
	var errs []error
	note := func(what string, answer any, err error) {
		said[what] = answer
		errs = append(errs, err)
	}
	for p := range 4 {
		patient := "p" + strconv.Itoa(p)
		log, err := s.Read(ctx, patient, carewire.Position{}, carewire.ReadQuery{Limit: 10000})
		note("log "+patient, log, err)
		latest, head, err := s.Latest(ctx, patient)
		note("latest "+patient, latest, err)
		note("head "+patient, head, err)
		for n := range 12 {
			e, err := s.Get(ctx, patient, "a"+strconv.Itoa(n))
			if errors.Is(err, carewire.ErrNotFound) {
				err = nil
			}
			note(fmt.Sprint("state ", patient, n), e, err)
		}
	}
	waiting, err := s.Waiting(ctx, start.Add(time.Hour), 0)
	note("waiting", waiting, err)
	changed, _, err := s.Changed(ctx, "", 0)
	slices.SortFunc(changed, func(x, y carewire.Entry) int { return slices.Compare([]byte(x.Patient+x.Key), []byte(y.Patient+y.Key)) })
	note("changed", changed, err)
	return said, errors.Join(errs...)
}

// opened is the report of a file when it is opened for the first time.
func opened(t testing.TB, dir string, file []byte) (map[string]any, error) {
	path := filepath.Join(dir, "store")
	os.Remove(path)
	require.NoError(t, os.WriteFile(path, file, 0o600))
	s, err := boltstore.Open(path, small)
	if err != nil {
		left, readErr := os.ReadFile(path)
		require.NoError(t, readErr)
		require.Equal(t, len(file), len(left), "a file that is refused was changed")
		require.True(t, string(file) == string(left), "a file that is refused was changed")
		return nil, err
	}
	defer s.Close()
	if err := s.Checked(t.Context()); err != nil {
		return nil, err
	}
	return content(s)
}

// refused reports whether err is an explicit word about damage.
func refused(err error) bool {
	return errors.Is(err, boltstore.ErrCorrupt) || errors.Is(err, boltstore.ErrVersion)
}

// grown returns a store's file after each of its last commits, the last of all
// after it was closed, or not, as a node that was killed leaves it.
func grown(t testing.TB, closed bool) (files [][]byte, said []map[string]any) {
	path := filepath.Join(t.TempDir(), "store")
	s, err := boltstore.Open(path, small)
	require.NoError(t, err)
	defer s.Close()
	for n := range 22 {
		history(t, s, n)
		if n < 18 {
			continue
		}
		file, err := os.ReadFile(path)
		require.NoError(t, err)
		now, err := content(s)
		require.NoError(t, err)
		files, said = append(files, file), append(said, now)
	}
	if closed {
		require.NoError(t, s.Close())
		file, err := os.ReadFile(path)
		require.NoError(t, err)
		files[3] = file
	}
	return files, said
}

// A flipped bit anywhere in the file is refused, or makes no difference.
func TestFlippedBits(t *testing.T) {
	t.Parallel()
	if drive.Raced() { // which ends the process over pointers that bbolt takes from damaged pages, before anybody follows them
		out, err := exec.Command("go", "test", "-count=1", "-run", "^TestFlippedBits$", "-v", ".").CombinedOutput()
		require.NoError(t, err, "%s", out)
		t.Logf("%s", out)
		return
	}
	_, rng := drive.Seeded(t)
	for _, closed := range []bool{true, false} {
		files, said := grown(t, closed)
		whole, want := files[3], said[3]
		got, err := opened(t, t.TempDir(), whole)
		require.NoError(t, err)
		require.Equal(t, want, got)
		used := slices.DeleteFunc(pages(whole), func(p int) bool { return !slices.ContainsFunc(whole[p:p+page], func(b byte) bool { return b != 0 }) })
		explicit, dir := 0, t.TempDir()
		for range 250 {
			file := slices.Clone(whole)
			at := used[rng.IntN(len(used))] + rng.IntN(page)
			file[at] ^= 1 << rng.IntN(8)
			got, err := opened(t, dir, file)
			if err != nil {
				require.True(t, refused(err), "a bit of byte %d: %v", at, err)
				explicit++
				continue
			}
			require.Equal(t, want, got, "a bit of byte %d makes a silent difference", at)
		}
		t.Logf("closed %v: %d of 250 were refused, the others made no difference", closed, explicit)
		require.NotZero(t, explicit)
	}
}

const page = 4096

func pages(file []byte) (list []int) {
	for p := 0; p+page <= len(file); p += page {
		list = append(list, p)
	}
	return list
}

// A file that was cut short is refused, or holds everything.
func TestTruncated(t *testing.T) {
	t.Parallel()
	for _, closed := range []bool{true, false} {
		files, said := grown(t, closed)
		whole, want := files[3], said[3]
		end := len(whole) // of the bytes that are not zero
		for end > 0 && whole[end-1] == 0 {
			end--
		}
		var cuts []int
		for _, p := range pages(whole[:end]) {
			cuts = append(cuts, p, p+page/2)
		}
		for at := end - 2*page; at <= end; at += 13 { // through the last records
			cuts = append(cuts, at)
		}
		cuts = append(cuts, end, end+1, end+page, len(whole)-1)
		explicit, dir := 0, t.TempDir()
		for _, at := range cuts {
			if at == 0 {
				continue // an empty file is a new store: nobody could tell it from one
			}
			got, err := opened(t, dir, whole[:at])
			if err != nil {
				require.True(t, refused(err), "cut at %d: %v", at, err)
				explicit++
				continue
			}
			require.Equal(t, want, got, "cut at %d of %d", at, len(whole))
		}
		t.Logf("closed %v: %d of %d cuts were refused", closed, explicit, len(cuts))
		require.NotZero(t, explicit)
	}
}

// The power fails during a commit: any of its pages have reached the disk, one
// in part. All that was confirmed before is there, and of the commit all or
// nothing.
func TestTornCommits(t *testing.T) {
	t.Parallel()
	_, rng := drive.Seeded(t)
	files, said := grown(t, false)
	dir := t.TempDir()
	for n := 1; n < len(files); n++ {
		before, after := files[n-1], files[n]
		before = append(slices.Clone(before), make([]byte, max(0, len(after)-len(before)))...)
		var data []int
		meta := -1
		for _, p := range pages(after) {
			switch {
			case slices.Equal(before[p:p+page], after[p:p+page]):
			case p < 2*page:
				meta = p
			default:
				data = append(data, p)
			}
		}
		require.NotEqual(t, -1, meta)
		require.NotEmpty(t, data)
		for range 40 { // before the first sync: some of the data, one page of it in part
			file := slices.Clone(before)
			for _, p := range data {
				if to := rng.IntN(3); to > 0 {
					upTo := page
					if to == 1 {
						upTo = rng.IntN(page)
					}
					copy(file[p:p+upTo], after[p:])
				}
			}
			got, err := opened(t, dir, file)
			require.NoError(t, err)
			require.Equal(t, said[n-1], got)
		}
		for _, upTo := range []int{8, 16, 24, 40, 48, 60, 64, 68, 72, 76, 80, 512, page} { // before the second: part of the meta page
			file := slices.Clone(after)
			copy(file[meta:meta+page], before[meta:meta+page])
			copy(file[meta:meta+upTo], after[meta:])
			got, err := opened(t, dir, file)
			switch {
			case err != nil:
				require.True(t, refused(err), err)
			case upTo < 80:
				require.True(t, assert.ObjectsAreEqual(said[n-1], got) || assert.ObjectsAreEqual(said[n], got))
			default:
				require.Equal(t, said[n], got)
			}
		}
	}
}
