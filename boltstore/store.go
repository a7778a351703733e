// Package boltstore keeps the logs of a carewire Hub in one file, by means of
// go.etcd.io/bbolt: a durable [carewire.Store] for one process, without a
// server.
//
// # Durability
//
// Entries that Append has confirmed are synced. Concurrent appends share a
// sync, and no entry can be read before it is synced. If writing or syncing
// fails, the content of the disk is unknown: from then on the Store refuses
// everything with [ErrFailed], until it is reopened.
//
// # Vitals
//
// A commit writes all of its vitals at once into a journal. Later, a few
// patients with each commit, the vitals are settled: moved to their patient's
// log, with their indexes. Until then they are in memory, too: usually as much
// as [Options.Reserve], and at most twice that. So the append of a vital costs
// little. Open reads the journals again.
//
// # A full disk
//
// The Store keeps [Options.Reserve] bytes of the file filled ahead of its need.
// When the file cannot grow, because the disk is full or MaxBytes is reached,
// it refuses vitals with [carewire.ErrFull]. It accepts high alerts, answers and
// revocations until three quarters of the reserve are used, other alerts until
// three eighths are, and all else, such as notices, receipts and grants, until a
// quarter is. The last quarter is for pruning. Pruning makes room inside the file,
// which never shrinks. The file is written in single pages, so every free page can
// be used.
//
// # A deleted file
//
// If the file is deleted or replaced while a Store has it open, the Store fails
// with ErrFailed within a second.
//
// # Versions
//
// Open upgrades a file of an earlier version. It may rewrite the file, and needs
// little more room than the file has. Later versions are refused with
// ErrVersion.
//
// # Backups
//
// [Store.Backup] writes a backup while the Store is in use. A copy of the file
// works too, while no Store has it open. After restoring a backup, open it once
// with [Options.NewEpoch]: the numbers after the backup were given out before,
// and clients must not mistake new entries for those that they know.
package boltstore

import (
	"cmp"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/carewire/carewire"
)

var (
	// ErrLocked means that another Store has the file open, in this process or
	// in another one.
	ErrLocked = errors.New("boltstore: the file is in use by another store")

	// ErrFailed means that a write failed, now or earlier. Check the disk, then
	// close the Store and open it again.
	ErrFailed = errors.New("boltstore: a write failed; reopen the store")

	// ErrVersion means that the file is not a carewire store, or was written by
	// a version of this package that this one does not know.
	ErrVersion = errors.New("boltstore: not a store of a known version")
)

// Options of a Store.
type Options struct {
	// Timeout is how long Open waits for another Store to close the file.
	// 0: one second; negative: it does not wait.
	Timeout time.Duration

	// MaxBytes is the size from which the file no longer grows for vitals.
	// Everything else may use up to Reserve more. 0 or negative: no bound but
	// the disk's.
	MaxBytes int64

	// Reserve is the number of bytes reserved for undroppable entries when the
	// disk or MaxBytes is exhausted; the file has at least this size. About as
	// many bytes of vitals are kept in memory. 0: 32 MiB; less than 1 MiB
	// counts as 1 MiB.
	Reserve int64

	// NewEpoch starts a new epoch, as it must be after a backup was restored or
	// part of the file was lost. Clients then load their screens afresh instead
	// of resuming. It also opens a file whose last commit is damaged, as it was
	// before that commit.
	NewEpoch bool
}

// Store is a [carewire.Store] in a file. Open makes one.
type Store struct {
	db       *bbolt.DB
	file     *os.File
	epochs   []string // the last one is current
	maxBytes int64
	reserve  int64
	pageSize int64
	path     string // absolute

	looked  atomic.Int64 // when it was last seen that the file is there, in nanoseconds
	isGone  atomic.Bool  // it was not
	crowded atomic.Bool  // a backup is to give way

	check   check
	queue   chan *request
	closing chan struct{}
	written chan struct{} // closed when the writer has ended
	close   func() error

	// mu is held by a transaction that writes until it is synced, and by all
	// others while they begin to read. It guards the following fields.
	mu     sync.RWMutex
	failed error                  // why the store is not used any more
	quiet  bool                   // nobody was reading when the transaction began
	need   int64                  // bytes that the transaction is thought to need at most
	spent  func(need, used int64) // of each commit; for tests
	full   time.Time              // when the disk was last found full
	fill   func(offset, n int64) error

	journal     uint64              // the count of the oldest journal
	live        map[string]*patient // those who have unsettled vitals
	oldest      []*patient          // the same in order of since, with some that are live no more
	heavy       []*patient          // those who have a lot of them
	journaled   int64               // bytes of all journals since the store was opened
	maxJournals int64               // bytes of the journals that are kept
}

// Open opens the store in the file at path, or creates it, with its directory:
// the file is readable by its owner only. Nil options mean the defaults. The
// error matches ErrLocked, ErrVersion, ErrCorrupt or the operating system's
// error. After a crash Open reads the whole file. Otherwise it takes no longer for
// a large one: Open compares the indexes afterwards, see [Store.Checked].
func Open(path string, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	timeout := o.Timeout
	if timeout == 0 {
		timeout = time.Second
	}
	timeout = max(timeout, 1) // bbolt takes 0 for ever
	reserve := o.Reserve
	if reserve == 0 {
		reserve = 32 << 20
	}
	path, err := filepath.Abs(path)
	if err == nil {
		err = os.MkdirAll(filepath.Dir(path), 0o700)
	}
	if err != nil {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	info, err := os.Stat(path)
	fresh := errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0
	if !fresh {
		if err == nil && info.Size() < 2*4096 {
			return nil, fmt.Errorf("%w: the file is too short", ErrCorrupt)
		}
		if err := inspect(path, timeout, o.NewEpoch, false); err != nil {
			return nil, err
		}
	}
	db, file, err := openBolt(path, &bbolt.Options{
		Timeout: timeout, NoFreelistSync: true, FreelistType: bbolt.FreelistMapType, InitialMmapSize: mapped,
	})
	if err != nil {
		return nil, err
	}
	db.AllocSize = 0 // room does it
	s := &Store{
		db: db, file: file, pageSize: int64(db.Info().PageSize), path: path, maxBytes: o.MaxBytes, reserve: max(reserve, 1<<20), live: map[string]*patient{},
		queue: make(chan *request), closing: make(chan struct{}), written: make(chan struct{}),
	}
	s.fill = s.fillWithZeros
	s.maxJournals = 2 * s.reserve // as a rule half of them are kept, see ripe
	s.close = sync.OnceValue(s.shut)
	if err = s.migrate(); err == nil {
		err = s.begin(o.NewEpoch)
	}
	if err == nil {
		err = s.fillReserve()
	}
	if err != nil {
		_ = db.Close()
		return nil, err
	}
	if err = s.startCheck(fresh); err != nil {
		_ = db.Close()
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	if fresh {
		syncDir(filepath.Dir(path))
	}
	go s.write()
	return s, nil
}

// mapped is how much address space bbolt maps at first. Every time it needs
// more, appending waits for all reads to end.
var mapped = func() int {
	if runtime.GOOS == "windows" || ^uint(0)>>32 == 0 {
		return 0 // there it would be the file's size, or there is not as much
	}
	return 1 << 30
}()

// openBolt opens the file and keeps hold of it, so that it is released even if
// bbolt panics over its content.
func openBolt(path string, o *bbolt.Options) (db *bbolt.DB, file *os.File, err error) {
	o.OpenFile = func(name string, flag int, mode os.FileMode) (*os.File, error) {
		var err error
		file, err = os.OpenFile(name, flag, mode)
		return file, err
	}
	err = guard(func() error {
		db, err = bbolt.Open(path, 0o600, o)
		return err
	})
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		err = ErrLocked
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrVersionMismatch):
		err = fmt.Errorf("%w: %w", ErrVersion, err)
	case errors.Is(err, bolterrors.ErrChecksum):
		err = fmt.Errorf("%w: %w", ErrCorrupt, err)
	case err != nil && !errors.Is(err, ErrCorrupt):
		err = fmt.Errorf("boltstore: %w", err)
	}
	if err != nil && file != nil {
		_ = file.Close()
	}
	return db, file, err
}

// guard turns a panic of bbolt, or a page that cannot be read, into an error.
func guard(f func() error) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: the database is inconsistent", ErrCorrupt)
		}
	}()
	return f()
}

// syncDir makes the name of a new file durable, where that can be done.
func syncDir(dir string) {
	if d, err := os.Open(dir); err == nil {
		_ = d.Sync()
		_ = d.Close()
	}
}

var bucketNames = []string{"meta", "journal", "heads", "log", "states", "live", "vitalids", "ids", "due", "changes", "pruned", "expiry"}

// begin makes the buckets of a new file, reads or makes the epochs, and takes
// unsettled entries into memory.
func (s *Store) begin(newEpoch bool) error {
	err := s.update(func(v view) error {
		if v.bucket("meta") != nil {
			epochs, ok, err := get(v, "meta", []byte("epochs"), parseEpochs)
			if err != nil || !ok {
				return damaged("meta", cmp.Or(err, ErrCorrupt))
			}
			s.epochs = epochs
			if err := s.replay(v); err != nil || !newEpoch {
				return cmp.Or(err, errNothing)
			}
		}
		for _, name := range bucketNames {
			if _, err := v.tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		s.journal = max(s.journal, 1)
		s.epochs = append(s.epochs, rand.Text())
		meta := v.bucket("meta")
		return errors.Join(put(meta, []byte("version"), []byte{version}), put(meta, []byte("epochs"), encodeEpochs(s.epochs)))
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// fillReserve takes the room of the reserve before others do, if it is there.
func (s *Store) fillReserve() error {
	err := s.update(func(v view) error {
		_, err := s.room(v.tx, s.reserve)
		return cmp.Or(err, errNothing)
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// Durable implements [carewire.Durable]: entries that Append has confirmed
// survive.
func (s *Store) Durable() bool { return true }

// Close waits for the appends under way and closes the file. It may be called
// more than once; calls of all other methods then return carewire.ErrClosed.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	close(s.closing)
	<-s.written
	<-s.check.done
	err := s.update(func(view) error {
		s.db.NoFreelistSync = false // with the free pages written down, Open need not look for them
		return nil
	})
	s.mu.Lock()
	s.failed = carewire.ErrClosed
	s.mu.Unlock()
	return errors.Join(err, s.db.Close())
}

// errNothing ends a transaction in which there is nothing to commit.
var errNothing = errors.New("boltstore: nothing to commit")

// update runs a transaction that writes. An error of f leaves everything as it
// was, unless it matches ErrFailed; all other errors are final. Nobody begins to
// read meanwhile: bbolt shows a commit before it is synced, and nobody may act
// on an entry, or know its number, that could still be lost.
func (s *Store) update(f func(v view) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := cmp.Or(s.failed, s.gone()); err != nil {
		return err
	}
	var tx *bbolt.Tx
	ended := false
	before := s.db.Stats()
	s.quiet, s.need = before.OpenTxN == 0, 0
	err := guard(func() (err error) {
		if tx, err = s.db.Begin(true); err == nil {
			err = f(view{tx, s.epochs, s.live})
			ended = true
		}
		return err
	})
	if err == nil {
		if err = guard(tx.Commit); err == nil {
			if after := s.db.Stats(); s.spent != nil && s.need > 0 {
				s.spent(s.need, after.TxStats.GetPageAlloc()-before.TxStats.GetPageAlloc())
			}
			return nil
		}
		ended = false
	}
	if tx != nil {
		_ = guard(tx.Rollback) // it holds bbolt's lock if Commit panicked
	}
	if !ended || errors.Is(err, ErrFailed) {
		s.failed = failed(err)
		return s.failed
	}
	return err
}

func failed(err error) error {
	if errors.Is(err, ErrFailed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

var (
	_ carewire.Store   = (*Store)(nil)
	_ carewire.Pruner  = (*Store)(nil)
	_ carewire.Durable = (*Store)(nil)
	_ carewire.Eraser  = (*Store)(nil)
	_ carewire.Sizer   = (*Store)(nil)
	_ carewire.Checker = (*Store)(nil)
	_ io.Closer        = (*Store)(nil)
)
