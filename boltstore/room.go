package boltstore

import (
	"errors"
	"io"
	"syscall"
	"time"

	"go.etcd.io/bbolt"
)

// room returns how many bytes the file has for new pages, after trying to make
// it as many as wanted.
func (s *Store) room(tx *bbolt.Tx, want int64) (int64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, failed(err)
	}
	stats := s.db.Stats()
	size, pageSize := info.Size(), int64(s.db.Info().PageSize)
	room := size - tx.Size() + int64(stats.FreePageN+stats.PendingPageN)*pageSize
	if room >= want {
		return room, nil
	}
	grow := want - room + s.reserve/2
	if s.maxBytes > 0 {
		grow = min(grow, s.maxBytes+s.reserve-size)
	}
	if grow <= 0 || time.Since(s.full) < time.Second {
		return room, nil
	}
	if err = s.fill(size, grow); err == nil {
		return room + grow, nil
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		s.full = time.Now()
		err = s.file.Truncate(size)
	}
	if err != nil {
		return 0, failed(err)
	}
	return room, nil
}

// fillWithZeros writes n zeros at the end of the file, so that its pages have
// their place on the disk before they are needed. bbolt alone would only set the
// file's length, and find the disk full in the midst of a commit.
func (s *Store) fillWithZeros(offset, n int64) error {
	_, err := io.Copy(io.NewOffsetWriter(s.file, offset), io.LimitReader(zeros{}, n))
	if err == nil {
		err = s.file.Sync()
	}
	return err
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
