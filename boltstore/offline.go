package boltstore

import (
	"cmp"
	"fmt"
	"math"
	"os"

	"go.etcd.io/bbolt"

	"github.com/carewire/carewire"
)

// Report describes the content of a file.
type Report struct {
	Bytes    int64  // the size of the file
	Used     int64  // bytes of the pages that are in use
	Epochs   int    // how often a log was begun: once, and once for each NewEpoch
	Patients int    // with a log, SystemPatient's among them
	Vitals   uint64 // that were ever taken in; those that were pruned count
	Others   uint64 // entries of other kinds, likewise
	Open     int    // entries that wait for somebody or something
	Waiting  int    // of these, the ones with a time at which they are due
}

// Inspect describes the file at path, which no Store may have open. It
// writes nothing. It looks at the indexes, and at nothing that is in the logs:
// Verify does. The errors are those of Verify.
func Inspect(path string) (Report, error) {
	var r Report
	err := offline(path, func(s *Store, v view) error {
		info, err := s.file.Stat()
		if err != nil {
			return fmt.Errorf("boltstore: %w", err)
		}
		r.Bytes, r.Epochs = info.Size(), len(v.epochs)
		r.Used = v.tx.Size() - int64(s.db.Stats().FreePageN)*s.pageSize
		err = v.eachPatient(func(p *patient) error {
			r.Patients++
			r.Vitals += p.counts[vitals]
			r.Others += p.counts[undroppable] + p.counts[timers]
			return nil
		})
		if err != nil {
			return err
		}
		r.Waiting = v.bucket("due").Stats().KeyN
		return v.bucket("states").ForEach(func(k, _ []byte) error {
			st, _, err := get(v, "states", k, parseState)
			if st.open {
				r.Open++
			}
			return err
		})
	})
	return r, err
}

// Verify reads the whole file at path, while no Store has it open: every page,
// every value against its checksum, and every log from end to end. It writes
// nothing. nil means that all accepted entries are there and unchanged. The
// error matches ErrLocked, ErrVersion (also for an older version: open it
// once), ErrCorrupt or the operating system's error.
func Verify(path string) error {
	return offline(path, func(_ *Store, v view) error {
		for fault := range v.tx.Check() {
			if fault != nil {
				return fmt.Errorf("%w: a page", ErrCorrupt)
			}
		}
		for _, name := range bucketNames {
			if name == "log" || name == "journal" { // in pieces; read below, and before
				continue
			}
			err := v.bucket(name).ForEach(func(k, sealed []byte) error {
				_, err := unseal(k, sealed)
				return damaged(name, err)
			})
			if err != nil {
				return err
			}
		}
		if err := v.verifyValues(); err != nil {
			return err
		}
		return v.eachPatient(v.verifyLog)
	})
}

// verifyValues checks every value of the log, of all patients.
func (v view) verifyValues() error {
	c := v.bucket("log").Cursor()
	for k, value := c.First(); k != nil; {
		var key, sealed []byte
		key, sealed, k, value = long(c, k, value)
		if _, err := chunk(key, sealed, 0, math.MaxUint64); err != nil {
			return err
		}
	}
	return nil
}

// verifyLog reads a log from end to end.
func (v view) verifyLog(p *patient) error {
	pruned, err := v.pruned(p.num)
	if err != nil {
		return err
	}
	log, err := v.reader(p, 0, &carewire.ReadQuery{}, pruned)
	for ok := true; err == nil && ok; {
		var r record
		if r, ok, err = log.next(); err == nil && ok {
			_, err = r.entry(v.epochs)
		}
	}
	return err
}

// eachPatient calls f with every patient that has a log, settled or not.
func (v view) eachPatient(f func(*patient) error) error {
	heads := v.bucket("heads")
	err := heads.ForEach(func(k, _ []byte) error {
		p, err := v.patient(string(k[1:]))
		if err != nil {
			return err
		}
		return f(p)
	})
	for name, p := range v.live {
		if err == nil && heads.Get(headKey(name)) == nil {
			err = f(p)
		}
	}
	return err
}

// offline shows f the store in a file that no Store has open.
func offline(path string, f func(*Store, view) error) error {
	if _, err := os.Stat(path); err != nil {
		return fmt.Errorf("boltstore: %w", err)
	}
	if err := inspect(path, 1, false, true); err != nil {
		return err
	}
	db, file, err := openBolt(path, &bbolt.Options{Timeout: 1, ReadOnly: true, PreLoadFreelist: true})
	if err != nil {
		return err
	}
	defer db.Close()
	s := &Store{db: db, file: file, pageSize: int64(db.Info().PageSize), reserve: 32 << 20, live: map[string]*patient{}}
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			v := view{tx: tx, live: s.live}
			was, err := v.version()
			if err != nil || was < version {
				return cmp.Or(err, ErrVersion)
			}
			epochs, ok, err := get(v, "meta", []byte("epochs"), parseEpochs)
			if err != nil || !ok {
				return damaged("meta", cmp.Or(err, ErrCorrupt))
			}
			v.epochs = epochs
			if err := s.replay(v); err != nil {
				return err
			}
			return f(s, v)
		})
	})
}
