package boltstore

import (
	"bytes"
	"encoding/binary"
	"slices"

	"go.etcd.io/bbolt"
)

// piece is how many bytes a value may have: with its key, four fit into a page.
// bbolt splits no leaf of four or fewer, so that a longer value would take pages
// that lie side by side, and on a disk that is full, nobody knows whether there
// are such. Like this, every page that is free can be used, and only pages have
// to be counted.
const piece = 900

// putLong puts a value with its checksum under a key of the log, in pieces under
// the key and their numbers if it is too long for one.
func putLong(b *bbolt.Bucket, key, value []byte) error {
	b.FillPercent = 0.95 // later values go behind it
	sealed := seal(key, value)
	if len(sealed) <= piece {
		return b.Put(key, sealed)
	}
	n := uint16(0)
	for part := range slices.Chunk(sealed, piece) {
		if err := b.Put(binary.BigEndian.AppendUint16(bytes.Clone(key), n), part); err != nil {
			return err
		}
		n++
	}
	return nil
}

// long returns the value that begins under k, put together, and its key. The
// cursor moves on behind it, to the key and value returned last.
func long(c *bbolt.Cursor, k, v []byte) (key, sealed, nextKey, next []byte) {
	if len(k) != logKeyLen+2 {
		nextKey, next = c.Next()
		return k, v, nextKey, next
	}
	key = k[:logKeyLen:logKeyLen]
	for ; len(k) == logKeyLen+2 && bytes.HasPrefix(k, key); k, v = c.Next() {
		sealed = append(sealed, v...)
	}
	return key, sealed, k, v
}

// deleteLong deletes a value that putLong has put.
func deleteLong(b *bbolt.Bucket, key []byte) error {
	c := b.Cursor()
	for k, _ := c.Seek(key); bytes.HasPrefix(k, key); k, _ = c.Seek(key) {
		if err := b.Delete(bytes.Clone(k)); err != nil {
			return err
		}
	}
	return nil
}
