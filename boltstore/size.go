package boltstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/carewire/carewire"
)

// Size implements [carewire.Sizer]: Used are the pages in use, Free is the room
// that vitals may still have of MaxBytes and the disk.
func (s *Store) Size(ctx context.Context) (carewire.StoreSize, error) {
	var size carewire.StoreSize
	err := s.view(ctx, nil, func(v view) error {
		info, err := s.file.Stat()
		if err != nil {
			return fmt.Errorf("boltstore: %w", err)
		}
		stats := s.db.Stats()
		size.Used = v.tx.Size() - int64(stats.FreePageN+stats.PendingPageN)*s.pageSize
		size.Free = diskFree(s.path)
		if size.Free >= 0 {
			size.Free += info.Size() - s.reserve - size.Used
		}
		if left := s.maxBytes - size.Used; s.maxBytes > 0 && (size.Free < 0 || left < size.Free) {
			size.Free = left
		}
		if size.Free < 0 && (s.maxBytes > 0 || diskFree(s.path) >= 0) {
			size.Free = 0
		}
		return nil
	})
	return size, err
}

var errGone = fmt.Errorf("%w: the file was deleted or replaced", ErrFailed)

// gone returns an error once the open file is no longer the one of its name:
// further writes would be lost with the process. It checks once a second.
func (s *Store) gone() error {
	now, last := time.Now().UnixNano(), s.looked.Load()
	if now-last > int64(time.Second) && s.looked.CompareAndSwap(last, now) {
		named, err := os.Stat(s.path)
		own, ownErr := s.file.Stat()
		if errors.Is(err, os.ErrNotExist) || err == nil && ownErr == nil && !os.SameFile(named, own) {
			s.isGone.Store(true)
		}
	}
	if s.isGone.Load() {
		return errGone
	}
	return nil
}
