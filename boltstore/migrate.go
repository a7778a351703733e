package boltstore

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/carewire/carewire"
)

// Version 3 had no bucket live. Version 2 wrote values of any length, too: each
// journal as a bucket of its own, entries of the log up to 8 KB together, and
// the IDs of a patient's vitals as two sorted lists in the bucket oldDigests, by
// age and num. Open rewrites them, in steps. An interrupted migration continues at the next Open, and the
// last step changes the version.
const (
	oldestVersion = 2
	oldDigests    = "digests"
	oldStep       = 256 * 1024 // bytes that one step writes anew
	liveStep      = 16 * 1024  // the same for the bucket live: a full file must open, too
)

func (s *Store) migrate() error {
	for _, step := range []struct {
		to byte  // the version that it leads to
		by int64 // bytes that it writes anew at a time
		do func(v view, from []byte) (next []byte, err error)
	}{{3, oldStep, migrateJournal}, {3, oldStep, migrateLog}, {3, oldStep, migrateDigests}, {4, liveStep, migrateLive}} {
		var from []byte
		for more := true; more; more = from != nil {
			err := s.update(func(v view) (err error) {
				at := from
				from = nil
				if was, err := v.version(); err != nil || was == 0 || was >= step.to {
					return cmp.Or(err, errNothing)
				}
				for _, name := range []string{"vitalids", "live"} {
					if _, err := v.tx.CreateBucketIfNotExists([]byte(name)); err != nil {
						return err
					}
				}
				need := perCommit*s.pageSize + 4*step.by
				if room, err := s.room(v.tx, need); err != nil || room < need {
					return cmp.Or(err, fmt.Errorf("boltstore: no room to bring the file to version %d: %w", version, carewire.ErrFull))
				}
				from, err = step.do(v, at)
				return err
			})
			if err != nil && !errors.Is(err, errNothing) {
				return err
			}
		}
	}
	err := s.update(func(v view) error {
		was, err := v.version()
		if err != nil || was == 0 || was == version {
			return cmp.Or(err, errNothing)
		}
		if v.bucket(oldDigests) != nil {
			err = v.tx.DeleteBucket([]byte(oldDigests))
		}
		return errors.Join(err, put(v.bucket("meta"), []byte("version"), []byte{version}))
	})
	if errors.Is(err, errNothing) {
		return nil
	}
	return err
}

// version returns the version of the file; 0 if it is new.
func (v view) version() (byte, error) {
	if v.bucket("meta") == nil {
		return 0, nil
	}
	b, err := unseal([]byte("version"), v.bucket("meta").Get([]byte("version")))
	if err != nil || len(b) != 1 {
		return 0, damaged("meta", ErrCorrupt)
	}
	return b[0], nil
}

// migrateJournal writes the next journal that is a bucket as values.
func migrateJournal(v view, _ []byte) (next []byte, err error) {
	journals := v.bucket("journal")
	c := journals.Cursor()
	for k, value := c.First(); k != nil; k, value = c.Next() {
		if value != nil {
			continue
		}
		key := bytes.Clone(k)
		var sealed []byte
		err := journals.Bucket(key).ForEach(func(_, part []byte) error {
			sealed = append(sealed, part...)
			return nil
		})
		if err != nil {
			return nil, err
		}
		d := decoder{b: key}
		return key, errors.Join(journals.DeleteBucket(key), putJournal(journals, d.uint64(), sealed))
	}
	return nil, nil
}

// migrateLog writes entries that are too long for a piece anew.
func migrateLog(v view, from []byte) (next []byte, err error) {
	log := v.bucket("log")
	c := log.Cursor()
	k, value := c.Seek(from)
	var keys [][]byte
	for done := 0; k != nil && done < oldStep; k, value = c.Next() {
		if len(value) > piece {
			keys = append(keys, bytes.Clone(k))
		}
		done += len(value)
	}
	if k != nil {
		next = bytes.Clone(k)
	}
	for _, key := range keys {
		value, err := unseal(key, log.Get(key))
		if err != nil {
			return nil, damaged("log", err)
		}
		value = bytes.Clone(value)
		if err := errors.Join(log.Delete(key), putLong(log, key, value)); err != nil {
			return nil, err
		}
	}
	return next, nil
}

// migrateDigests adds a part of the first list to the pieces, those after the
// record from, and deletes the list with its last part.
func migrateDigests(v view, from []byte) (next []byte, err error) {
	old := v.bucket(oldDigests)
	if old == nil {
		return nil, nil
	}
	k, sealed := old.Cursor().First()
	if k == nil {
		return nil, nil
	}
	list, err := unseal(k, sealed)
	if err != nil || len(list)%idRecordLen != 0 || len(k) != 9 {
		return nil, damaged(oldDigests, ErrCorrupt)
	}
	d := decoder{b: k[1:]}
	num := d.uint64()
	rest := list
	if len(from) == digestLen {
		at, _ := findDigest(list, from)
		rest = list[at:]
	}
	part := rest[:min(len(rest), oldStep/8/idRecordLen*idRecordLen)]
	if next = []byte{}; len(rest) > len(part) {
		next = bytes.Clone(rest[len(part):][:digestLen])
	}
	if err := v.addDigests(num, bytes.Clone(part)); err != nil {
		return nil, err
	}
	if len(rest) == len(part) {
		err = old.Delete(bytes.Clone(k))
	}
	return next, err
}

// migrateLive lists some of the states that Latest shows, those from a key on.
func migrateLive(v view, from []byte) (next []byte, err error) {
	if from == nil { // an interrupted migration may have listed states that have ended since
		if err := v.tx.DeleteBucket([]byte("live")); err != nil {
			return nil, err
		}
		if _, err := v.tx.CreateBucket([]byte("live")); err != nil {
			return nil, err
		}
	}
	live := v.bucket("live")
	c := v.bucket("states").Cursor()
	k, sealed := c.Seek(from)
	for done := 0; k != nil && done < liveStep; k, sealed = c.Next() {
		b, err := unseal(k, sealed)
		if err != nil {
			return nil, damaged("states", err)
		}
		st, err := parseState(b)
		if err != nil {
			return nil, damaged("states", err)
		}
		if st.shows() {
			if err := put(live, k, nil); err != nil {
				return nil, err
			}
		}
		done += len(k) + len(sealed)
	}
	return bytes.Clone(k), nil
}
