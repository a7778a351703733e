package boltstore

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"os"
	"time"

	"go.etcd.io/bbolt"
)

// inspect looks at an existing file without writing to it: whether it is a store
// of this version, and whether bbolt can open it for writing, which crashes over
// pages that lead nowhere. acceptLoss takes the rest when the last commit is
// damaged; thorough looks whether the indexes are whole, too.
func inspect(path string, timeout time.Duration, acceptLoss, thorough bool) error {
	db, file, err := openBolt(path, &bbolt.Options{Timeout: timeout, ReadOnly: true})
	if err != nil {
		return err
	}
	defer db.Close()
	m, err := inspectMeta(file, db.Info().PageSize, acceptLoss)
	if err != nil {
		return err
	}
	return guard(func() error {
		return db.View(func(tx *bbolt.Tx) error {
			if first, _ := tx.Cursor().First(); first == nil {
				return nil // a crash came before anything was written
			}
			if err := inspectVersion(tx); err != nil {
				return err
			}
			if was, err := (view{tx: tx}).version(); err != nil {
				return err
			} else if was < version || thorough {
				if err := inspectIndexes(view{tx: tx}); err != nil {
					return err
				}
			}
			if m.clean {
				return nil
			}
			return inspectPages(file, db.Info().PageSize, m)
		})
	})
}

// inspectMeta compares both meta pages with their checksums. A commit writes
// one of them in turn, and bbolt silently takes the older one if the newer one
// is damaged: that would lose entries that were accepted.
func inspectMeta(file *os.File, pageSize int, acceptLoss bool) (newest meta, err error) {
	info, err := file.Stat()
	if err != nil {
		return meta{}, fmt.Errorf("boltstore: %w", err)
	}
	for page := range int64(2) {
		var m [64]byte // the page's header has 16 bytes, see bbolt's internal/common/meta.go
		if _, err := file.ReadAt(m[:], page*int64(pageSize)+16); err != nil {
			return meta{}, fmt.Errorf("boltstore: %w", err)
		}
		freelist, pages, txid := binary.NativeEndian.Uint64(m[32:]), binary.NativeEndian.Uint64(m[40:]), binary.NativeEndian.Uint64(m[48:])
		sum := fnv.New64a()
		_, _ = sum.Write(m[:56])
		if sum.Sum64() != binary.NativeEndian.Uint64(m[56:]) {
			if !acceptLoss {
				return meta{}, fmt.Errorf("%w: a meta page", ErrCorrupt)
			}
			continue
		}
		if txid < newest.txid {
			continue
		}
		newest = meta{txid, binary.NativeEndian.Uint64(m[16:]), pages, freelist != 1<<64-1}
		if pages > uint64(info.Size())/uint64(pageSize) {
			return meta{}, fmt.Errorf("%w: the file is too short", ErrCorrupt)
		}
	}
	return newest, nil
}

// meta is the content of a meta page.
type meta struct {
	txid, root, pages uint64
	clean             bool // the file was closed properly
}

// inspectIndexes compares the data that must agree: heads with the number of patients,
// and states with the indexes made of them. A head that cannot be found would
// give numbers twice; an alert that is not in "due" would never be escalated.
func inspectIndexes(v view) error {
	was, err := v.version()
	if err != nil {
		return err
	}
	patients, due, changes, live := uint64(0), 0, 0, 0
	err = v.bucket("heads").ForEach(func(k, sealed []byte) error {
		patients++
		_, err := v.patient(string(k[1:]))
		return err
	})
	if err != nil {
		return err
	}
	err = v.bucket("states").ForEach(func(k, sealed []byte) error {
		st, _, err := get(v, "states", k, parseState)
		if err != nil {
			return err
		}
		if st.waits() {
			due++
			if v.bucket("due").Get(timeKey(st.due, k)) == nil {
				return damaged("due", ErrCorrupt)
			}
		}
		if st.shows() && was >= 4 { // an earlier version has no such index
			live++
			if v.bucket("live").Get(k) == nil {
				return damaged("live", ErrCorrupt)
			}
		}
		if st.change != 0 {
			changes++
			if v.bucket("changes").Get(changeKey(st.change)) == nil {
				return damaged("changes", ErrCorrupt)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	if was >= 4 && live != v.bucket("live").Stats().KeyN || patients != v.bucket("heads").Sequence() || due != v.bucket("due").Stats().KeyN || changes != v.bucket("changes").Stats().KeyN {
		return fmt.Errorf("%w: the indexes do not agree", ErrCorrupt)
	}
	return nil
}

// inspectVersion accepts a file that has the version's stamp.
func inspectVersion(tx *bbolt.Tx) error {
	meta := tx.Bucket([]byte("meta"))
	if meta == nil || meta.Get([]byte("version")) == nil {
		return ErrVersion
	}
	b, err := unseal([]byte("version"), meta.Get([]byte("version")))
	if err != nil {
		return damaged("meta", err)
	}
	if len(b) != 1 || b[0] < oldestVersion || b[0] > version {
		return fmt.Errorf("%w: it is of version %d, known is %d", ErrVersion, b, version)
	}
	return nil
}
