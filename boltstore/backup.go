package boltstore

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// Backup writes a copy of the store in its present state, while appends and
// reads continue. Open accepts it, once with [Options.NewEpoch].
//
// Pages that are freed meanwhile are not reused before Backup ends, so the file
// may grow, and w should be fast: a file, not a network connection. When the
// reserve is half used up, Backup gives way and returns an error that matches
// carewire.ErrFull. Output before an error is no backup.
func (s *Store) Backup(ctx context.Context, w io.Writer) error {
	s.crowded.Store(false)
	to := &backupWriter{ctx: ctx, store: s, w: w}
	err := s.view(ctx, nil, func(v view) error {
		_, err := v.tx.WriteTo(to)
		return cmp.Or(to.err, err) // bbolt keeps only its text
	})
	if err != nil {
		return fmt.Errorf("boltstore: backup: %w", err)
	}
	return nil
}

type backupWriter struct {
	ctx   context.Context
	store *Store
	w     io.Writer
	err   error
}

func (b *backupWriter) Write(p []byte) (n int, err error) {
	if err = b.ctx.Err(); err == nil && b.store.crowded.Load() {
		err = carewire.ErrFull
	}
	if err == nil {
		n, err = b.w.Write(p)
	}
	b.err = err
	return n, err
}

// Compact rewrites the file at path without its free pages, while no Store has
// it open. It needs room on the disk for the new file. Until it returns nil the
// old file stays in place, unchanged. The remains of an interrupted attempt, in
// a file with the suffix ".compact", are overwritten by the next. The error
// matches ErrLocked, ErrVersion (also for an older version: open it once),
// ErrCorrupt or the operating system's error.
func Compact(path string) error {
	if err := inspect(path, 1, false, true); err != nil {
		return err
	}
	src, _, err := openBolt(path, &bbolt.Options{Timeout: 1})
	if err != nil {
		return err
	}
	defer src.Close()
	err = src.View(func(tx *bbolt.Tx) error {
		was, err := view{tx: tx}.version()
		if was < version {
			return cmp.Or(err, ErrVersion)
		}
		return err
	})
	if err != nil {
		return err
	}
	fresh := path + ".compact"
	if err := os.Remove(fresh); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("boltstore: %w", err)
	}
	dst, _, err := openBolt(fresh, &bbolt.Options{NoSync: true, PageSize: src.Info().PageSize})
	if err != nil {
		return err
	}
	err = guard(func() error { return bbolt.Compact(dst, src, 4<<20) })
	if err == nil {
		err = dst.Sync()
	}
	if closed := dst.Close(); err == nil {
		err = closed
	}
	if err == nil {
		err = os.Rename(fresh, path)
	}
	if err != nil {
		_ = os.Remove(fresh)
		return fmt.Errorf("boltstore: %w", err)
	}
	syncDir(filepath.Dir(path))
	return nil
}
