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

// Backup writes a copy of the store, as it stands now, while appends and reads
// go on. It is a file that Open takes, once with [Options.NewEpoch].
//
// What is freed meanwhile is not used again before Backup ends, so the file may
// grow, and w should be quick: a file, not a line. When the reserve is half used
// up, Backup gives way and returns an error that matches carewire.ErrFull. What
// was written before an error is no backup.
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

// Compact writes the file at path anew, without the pages that are free, while no
// Store has it open. It needs as much room on the disk as the new file has. Until
// it returns nil the file is the one before, whatever happens; what an attempt
// that was interrupted has left, in a file with the suffix ".compact", is
// overwritten by the next. The error matches ErrLocked, ErrVersion (also for a
// version before: open it once), ErrCorrupt or what the operating system said.
func Compact(path string) error {
	if err := inspect(path, 1, false); err != nil {
		return err
	}
	src, _, err := openBolt(path, &bbolt.Options{Timeout: 1})
	if err != nil {
		return err
	}
	defer src.Close()
	err = src.View(func(tx *bbolt.Tx) error {
		old, err := view{tx: tx}.isOld()
		if old {
			return ErrVersion
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
