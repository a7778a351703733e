package boltstore

import (
	"bytes"
	"context"
	"errors"
	"os"
	"strconv"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A backup that is written while others append is a store as it was at one
// moment: each patient's log is whole up to its head.
func TestBackup(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	for i := range 100 {
		add(t, s, vital("a", i), alert("b", "k"+strconv.Itoa(i), 1))
	}
	ctx, stop := context.WithCancel(t.Context())
	appended := make(chan error)
	go func() {
		for n := 1000; ; n++ {
			if _, err := s.Append(ctx, []carewire.Entry{vital("a", n), alert("b", "x"+strconv.Itoa(n), 1)}); err != nil {
				appended <- err
				return
			}
		}
	}()
	var copies [3]bytes.Buffer
	for i := range copies {
		require.NoError(t, s.Backup(t.Context(), &copies[i]))
	}
	stop()
	require.ErrorIs(t, <-appended, context.Canceled)
	now := readAll(t, s, "a")
	for i := range copies {
		path := newPath(t)
		require.NoError(t, os.WriteFile(path, copies[i].Bytes(), 0o600))
		b := open(t, path, &Options{Reserve: 1, NewEpoch: true})
		require.Len(t, b.epochs, 2)
		require.NotEmpty(t, readAll(t, b, "a"))
		for _, patient := range []string{"a", "b"} {
			entries := readAll(t, b, patient)
			require.GreaterOrEqual(t, len(entries), 100)
			require.Len(t, readAll(t, s, patient)[:len(entries)], len(entries))
			head, err := b.Heads(t.Context(), []string{patient})
			require.NoError(t, err)
			require.Equal(t, uint64(len(entries)), head[0].Seq)
		}
		require.Equal(t, now[:100], readAll(t, b, "a")[:100])
		add(t, b, vital("a", 5000))
	}
}

// A backup that cannot be written says so, and one that uses up the room that
// alerts need gives way.
func TestBackupFails(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), small())
	add(t, s, vital("a", 1))
	require.ErrorIs(t, s.Backup(t.Context(), failing{os.ErrDeadlineExceeded, nil}), os.ErrDeadlineExceeded)
	require.ErrorIs(t, s.Backup(t.Context(), failing{nil, func() { s.crowded.Store(true) }}), carewire.ErrFull)
	ctx, stop := context.WithCancel(t.Context())
	require.ErrorIs(t, s.Backup(ctx, failing{nil, stop}), context.Canceled)
	add(t, s, vital("a", 2))
}

type failing struct {
	err    error
	before func()
}

func (f failing) Write(p []byte) (int, error) {
	if f.before != nil {
		f.before()
	}
	return len(p), f.err
}

func TestCompact(t *testing.T) {
	t.Parallel()
	path := newPath(t)
	require.NoError(t, os.WriteFile(path+".compact", []byte("the remains of an attempt"), 0o600))
	s := open(t, path, small())
	for i := range 20 {
		var batch []carewire.Entry
		for n := range 500 {
			batch = append(batch, vital("p"+strconv.Itoa(n%5), 500*i+n))
		}
		add(t, s, append(batch, alert("p1", "k"+strconv.Itoa(i), 1))...)
	}
	require.ErrorIs(t, Compact(path), ErrLocked)
	require.NoError(t, s.Prune(t.Context(), start.AddDate(1, 0, 0), carewire.Retention{Vitals: 1}))
	require.NoError(t, s.Erase(t.Context(), "p2"))
	want, err := ask(t, s)
	require.ErrorIs(t, err, carewire.ErrGap, "pruned")
	require.NoError(t, s.Close())
	before, err := os.Stat(path)
	require.NoError(t, err)
	require.NoError(t, Compact(path))
	after, err := os.Stat(path)
	require.NoError(t, err)
	require.Less(t, after.Size(), before.Size()/4)
	require.NoFileExists(t, path+".compact")
	s = open(t, path, small())
	got, err := ask(t, s)
	require.ErrorIs(t, err, carewire.ErrGap)
	require.Equal(t, want, got)
	checkPieces(t, s)
	require.NoError(t, s.Close())

	// Nothing but a whole store is compacted.
	require.NoError(t, os.WriteFile(path, bytes.Repeat([]byte("text"), 10_000), 0o600))
	require.ErrorIs(t, Compact(path), ErrVersion)
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Len(t, text, 40_000)
}

func TestSize(t *testing.T) {
	t.Parallel()
	s := open(t, newPath(t), &Options{Reserve: 1, MaxBytes: 10 << 20})
	empty, err := s.Size(t.Context())
	require.NoError(t, err)
	for i := range 10 {
		e := alert("a", "k"+strconv.Itoa(i), 1)
		e.Data = make([]byte, 100_000)
		add(t, s, e)
	}
	full, err := s.Size(t.Context())
	require.NoError(t, err)
	require.InDelta(t, 1_000_000, full.Used-empty.Used, 400_000)
	require.Equal(t, int64(10<<20), full.Used+full.Free)
	require.NoError(t, s.Erase(t.Context(), "a"))
	erased, err := s.Size(t.Context())
	require.NoError(t, err)
	require.InDelta(t, empty.Used, erased.Used, 100_000)
}

// A store whose file was deleted or replaced takes nothing more, and shows nothing.
func TestFileIsGone(t *testing.T) {
	t.Parallel()
	for name, harm := range map[string]func(path string) error{
		"deleted": os.Remove,
		"moved":   func(path string) error { return os.Rename(path, path+".moved") },
		"replaced": func(path string) error {
			return errors.Join(os.Rename(path, path+".moved"), os.WriteFile(path, nil, 0o600))
		},
	} {
		path := newPath(t)
		s := open(t, path, small())
		add(t, s, vital("a", 1))
		require.NoError(t, harm(path))
		s.looked.Store(0) // a second has passed
		_, err := s.Append(t.Context(), []carewire.Entry{vital("a", 2)})
		require.ErrorIs(t, err, ErrFailed, name)
		_, err = s.Waiting(t.Context(), start, 0)
		require.ErrorIs(t, err, ErrFailed, name)
		require.ErrorIs(t, s.Close(), ErrFailed, name)
	}
}
