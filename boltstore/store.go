// Package boltstore keeps the logs of a carewire Hub in one file, by means of
// go.etcd.io/bbolt: a durable [carewire.Store] for one process, without a
// server beside it.
//
// # Durability
//
// What Append has answered is synced. Appends that come at the same time share
// a sync, and nothing can be read before it is synced. If writing or syncing
// fails, nobody knows what the disk holds: from then on the Store refuses
// everything with [ErrFailed], until it is opened anew.
//
// # A full disk
//
// The Store keeps [Options.Reserve] bytes of the file filled ahead of its
// need. When the file cannot grow any more, be it that the disk is full or
// that MaxBytes is reached, vitals are refused with [carewire.ErrFull], while
// everything else is taken as long as the reserve lasts. Pruning makes
// room again inside the file, which never shrinks.
//
// # Backups
//
// Copy the file while no Store has it open. Whoever restores a backup opens it
// with [Options.NewEpoch] once: the numbers after the backup were given out
// before, and clients must not take new entries for those that they know.
package boltstore

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/carewire/carewire"
)

var (
	// ErrLocked means that another Store has the file open, in this process or
	// in another one.
	ErrLocked = errors.New("boltstore: the file is in use by another store")

	// ErrFailed means that a write failed, now or earlier. Look after the disk,
	// close the Store and open it anew.
	ErrFailed = errors.New("boltstore: a write failed, the store has to be opened anew")

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

	// Reserve is how many bytes are kept for what is not a vital when the disk
	// or MaxBytes is exhausted; the file has at least this
	// size. 0: 32 MiB; less than 1 MiB counts as 1 MiB.
	Reserve int64

	// NewEpoch starts a new epoch, as it must be after a backup was restored or
	// part of the file was lost. Clients then load what they show afresh instead
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

	queue   chan *request
	closing chan struct{}
	written chan struct{} // closed when the writer has ended
	close   func() error

	writing sync.Mutex // held during a transaction that writes; guards the next two
	full    time.Time  // when the disk was last found full
	fill    func(offset, n int64) error

	reading sync.RWMutex // held during a commit, and to begin to read; guards failed
	failed  error        // why the store is not used any more
}

// Open opens the store in the file at path, or makes it: the file readable by
// its owner only, and its directory too if there is none. Nil options are all
// defaults. The error matches ErrLocked, ErrVersion, ErrCorrupt or what the
// operating system said. After a crash Open reads the whole file.
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
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	info, err := os.Stat(path)
	fresh := errors.Is(err, os.ErrNotExist) || err == nil && info.Size() == 0
	if !fresh {
		if err := inspect(path, timeout, o.NewEpoch); err != nil {
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
		db: db, file: file, maxBytes: o.MaxBytes, reserve: max(reserve, 1<<20),
		queue: make(chan *request), closing: make(chan struct{}), written: make(chan struct{}),
	}
	s.fill = s.fillWithZeros
	s.close = sync.OnceValue(s.shut)
	if err := s.begin(o.NewEpoch); err != nil {
		_ = db.Close()
		return nil, err
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
// bbolt panics over what is in it.
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

var bucketNames = []string{"meta", "heads", "log", "states", "ids", "due", "changes", "pruned", "expiry"}

// begin makes the buckets of a new file, and reads or makes the epochs.
func (s *Store) begin(newEpoch bool) error {
	err := s.update(func(tx *bbolt.Tx) error {
		if tx.Bucket([]byte("meta")) != nil {
			epochs, ok, err := get(view{tx: tx}, "meta", []byte("epochs"), parseEpochs)
			if err != nil || !ok {
				return damaged("meta", cmp.Or(err, ErrCorrupt))
			}
			if s.epochs = epochs; !newEpoch {
				return errNothing
			}
		}
		for _, name := range bucketNames {
			if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
				return err
			}
		}
		s.epochs = append(s.epochs, rand.Text())
		meta := tx.Bucket([]byte("meta"))
		return errors.Join(put(meta, []byte("version"), []byte{version}), put(meta, []byte("epochs"), encodeEpochs(s.epochs)))
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// Durable implements [carewire.Durable]: what Append has answered survives.
func (s *Store) Durable() bool { return true }

// Close waits for the appends under way and closes the file. It may be called
// more than once; calls of all other methods then return carewire.ErrClosed.
func (s *Store) Close() error { return s.close() }

func (s *Store) shut() error {
	close(s.closing)
	<-s.written
	s.writing.Lock()
	s.db.NoFreelistSync = false // with the free pages written down, Open need not look for them
	s.writing.Unlock()
	err := s.update(func(*bbolt.Tx) error { return nil })
	s.reading.Lock()
	s.failed = carewire.ErrClosed
	s.reading.Unlock()
	return errors.Join(err, s.db.Close())
}

// errNothing ends a transaction in which there is nothing to commit.
var errNothing = errors.New("boltstore: nothing to commit")

// update runs a transaction that writes. An error of f leaves everything as it
// was, unless it matches ErrFailed; all other errors are final.
func (s *Store) update(f func(tx *bbolt.Tx) error) error {
	s.writing.Lock()
	defer s.writing.Unlock()
	s.reading.RLock()
	err := s.failed
	s.reading.RUnlock()
	if err != nil {
		return err
	}
	var tx *bbolt.Tx
	ended := false
	err = guard(func() (err error) {
		if tx, err = s.db.Begin(true); err == nil {
			err = f(tx)
			ended = true
		}
		return err
	})
	if err == nil {
		return s.commit(tx)
	}
	if tx != nil {
		_ = guard(tx.Rollback)
	}
	if !ended || errors.Is(err, ErrFailed) {
		s.reading.Lock()
		defer s.reading.Unlock()
		return s.fail(err)
	}
	return err
}

// commit writes and syncs what tx has changed. Nobody begins to read meanwhile:
// bbolt shows a commit before it is synced, and nobody may act on an entry, or
// know its number, that could still be lost.
func (s *Store) commit(tx *bbolt.Tx) error {
	s.reading.Lock()
	defer s.reading.Unlock()
	err := guard(tx.Commit)
	if err != nil {
		_ = guard(tx.Rollback) // it holds bbolt's lock if Commit panicked
		return s.fail(err)
	}
	return nil
}

// fail ends the use of the store. The caller holds s.reading.
func (s *Store) fail(err error) error {
	s.failed = failed(err)
	return s.failed
}

func failed(err error) error {
	if errors.Is(err, ErrFailed) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrFailed, err)
}

// view runs a transaction that reads.
func (s *Store) view(ctx context.Context, f func(v view) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	tx, err := s.beginView()
	if err != nil {
		return err
	}
	return guard(func() error {
		defer func() { _ = tx.Rollback() }()
		return f(view{tx, s.epochs})
	})
}

func (s *Store) beginView() (*bbolt.Tx, error) {
	s.reading.RLock()
	defer s.reading.RUnlock()
	if s.failed != nil {
		return nil, s.failed
	}
	tx, err := s.db.Begin(false)
	if err != nil {
		return nil, fmt.Errorf("boltstore: %w", err)
	}
	return tx, nil
}

// put writes a value with its checksum.
func put(b *bbolt.Bucket, key, value []byte) error { return b.Put(key, seal(key, value)) }

// view is one consistent state of the store.
type view struct {
	tx     *bbolt.Tx
	epochs []string
}

// bucket returns a bucket that begin has made.
func (v view) bucket(name string) *bbolt.Bucket { return v.tx.Bucket([]byte(name)) }

// get reads a value with parse; the zero T if there is none.
func get[T any](v view, bucket string, key []byte, parse func([]byte) (T, error)) (T, bool, error) {
	var none T
	sealed := v.bucket(bucket).Get(key)
	if sealed == nil {
		return none, false, nil
	}
	b, err := unseal(key, sealed)
	if err != nil {
		return none, false, damaged(bucket, err)
	}
	t, err := parse(b)
	return t, true, damaged(bucket, err)
}

// head returns the head of a patient; the zero one if there is none.
func (v view) head(patient string) (head, error) {
	h, ok, err := get(v, "heads", headKey(patient), parseHead)
	if err == nil && ok && (h.num == 0 || len(h.epochs) == 0) {
		err = damaged("heads", ErrCorrupt)
	}
	return h, err
}

// publicHead returns h as the Store's callers see it.
func (v view) publicHead(patient string, h head) (carewire.Head, error) {
	head := carewire.Head{Patient: patient, Must: h.must}
	for _, end := range h.epochs {
		if end.epoch >= uint32(len(v.epochs)) {
			return carewire.Head{}, damaged("heads", ErrCorrupt)
		}
		head.Position = carewire.Position{Epoch: v.epochs[end.epoch], Seq: end.seq}
		head.Epochs = append(head.Epochs, head.Position)
	}
	return head, nil
}

// checked returns the record of a value of the log, if it belongs there.
func (v view) checked(key, sealed []byte) (record, error) {
	b, err := unseal(key, sealed)
	if err != nil {
		return record{}, damaged("log", err)
	}
	r, err := parseEntry(b)
	if err == nil && !bytes.Equal(key[8:], logKey(0, class(r.kind), r.seq)[8:]) {
		err = ErrCorrupt
	}
	return r, damaged("log", err)
}

// newest returns the entry that a state tells of.
func (v view) newest(num uint64, key string, s state) (carewire.Entry, error) {
	at := logKey(num, class(s.kind), s.seq)
	sealed := v.bucket("log").Get(at)
	if sealed == nil {
		return carewire.Entry{}, fmt.Errorf("%w: an entry is missing", ErrCorrupt)
	}
	r, err := v.checked(at, sealed)
	if err != nil {
		return carewire.Entry{}, err
	}
	if string(r.key) != key || r.open != s.open || !r.due.Equal(s.due) {
		return carewire.Entry{}, fmt.Errorf("%w: an entry is not what its state says", ErrCorrupt)
	}
	return r.entry(v.epochs)
}

var (
	_ carewire.Store   = (*Store)(nil)
	_ carewire.Pruner  = (*Store)(nil)
	_ carewire.Durable = (*Store)(nil)
	_ io.Closer        = (*Store)(nil)
)
