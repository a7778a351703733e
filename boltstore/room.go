package boltstore

import (
	"errors"
	"io"
	"syscall"
	"time"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// The number of pages that a change may cost, counted with care: a leaf and its
// parts after a split, and the pages that lead there, which leaves that are
// written together share.
const (
	perCommit  = 32 // beside the pages that are counted apart
	perEntry   = 9  // of an entry that is not a vital: log, ID, state, live, due, changes and head
	perPatient = 10 // of settling: head, log, states, live and digests
	perState   = 2
	perID      = 2
)

// room returns the number of bytes that the file has for new pages, after
// trying to reach the wanted number: the free pages, and those behind the last
// used one. Pages that were freed during a read count only after the read has
// ended.
func (s *Store) room(tx *bbolt.Tx, want int64) (int64, error) {
	info, err := s.file.Stat()
	if err != nil {
		return 0, failed(err)
	}
	stats := s.db.Stats()
	free := int64(stats.FreePageN)
	if s.quiet {
		free += int64(stats.PendingPageN)
	}
	size := info.Size()
	room := size - tx.Size() + free*s.pageSize
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

// entryCost is how many bytes an item may cost that is not a vital.
func (s *Store) entryCost(it *item) int64 { return perEntry*s.pageSize + 2*int64(len(it.encoded)) }

// left returns the part of the room that an entry may use of the reserve. Entries
// that are neither vitals nor alerts may use the first quarter, alerts an eighth
// more, and urgent entries all but the last quarter, which pruning needs to make room.
func (s *Store) left(it *item, room int64) int64 {
	switch {
	case it.urgent:
		return room - s.reserve/4
	case it.kind == carewire.KindAlert:
		return room - s.reserve/8*5
	}
	return room - s.reserve/4*3
}

// journalCost is how many bytes the vitals of a commit may cost that have so many
// bytes with their lengths.
func journalCost(vitals int64) int64 { return vitals + vitals/4 }

// settleCost is how many bytes settling p may cost. Its new IDs each change a
// piece, but no more pieces than there are.
func (s *Store) settleCost(p *patient) int64 {
	ids := min(int64(len(p.ids)), int64(p.counts[vitals])/(pieceIDs/2)+1)
	return (perPatient+perState*int64(len(p.states))+perID*ids)*s.pageSize + 2*p.bytes + 64*int64(len(p.unsettled))
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
