package boltstore

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"os"
)

// inspectPages goes through all pages that lead somewhere, as they are in the
// file: their kinds, bounds and keys, and that each is led to once. bbolt does so
// when it looks for free pages, in a goroutine of its own, where a fault ends the
// process. The layouts are those of bbolt's internal/common.
func inspectPages(file *os.File, pageSize int, m meta) error {
	w := &pageWalk{file: file, pageSize: uint64(pageSize), seen: make([]bool, m.pages)}
	return w.walk(m.root, nil, nil, 0)
}

type pageWalk struct {
	file     *os.File
	pageSize uint64
	seen     []bool
}

const (
	pageHeader  = 16 // id, flags, count, overflow
	pageElement = 16 // branch: pos, ksize, pgid; leaf: flags, pos, ksize, vsize
	branchPage  = 1
	leafPage    = 2
	leafBucket  = 1 // the flag of an element that is a bucket
	deepest     = 32
)

var errPage = fmt.Errorf("%w: a page", ErrCorrupt)

// walk looks at a page, whose keys have to be from first and before end; nil is
// no bound.
func (w *pageWalk) walk(id uint64, first, end []byte, depth int) error {
	page, err := w.read(id)
	if err != nil || depth > deepest {
		return errPage
	}
	order := binary.NativeEndian
	kind, n := order.Uint16(page[8:]), int(order.Uint16(page[10:]))
	if kind != branchPage && kind != leafPage || kind == branchPage && n == 0 || pageHeader+n*pageElement > len(page) {
		return errPage
	}
	keys := make([][]byte, n)
	for i := range n {
		at := uint64(pageHeader + i*pageElement)
		e := page[at:]
		pos, size, value := uint64(order.Uint32(e)), uint64(order.Uint32(e[4:])), uint64(0)
		if kind == leafPage {
			pos, size, value = uint64(order.Uint32(e[4:])), uint64(order.Uint32(e[8:])), uint64(order.Uint32(e[12:]))
		}
		if at+pos+size+value > uint64(len(page)) {
			return errPage
		}
		key := page[at+pos:][:size]
		if i > 0 && bytes.Compare(keys[i-1], key) >= 0 || i == 0 && bytes.Compare(key, first) < 0 || end != nil && bytes.Compare(key, end) >= 0 {
			return errPage
		}
		keys[i] = key
		if kind == leafPage && order.Uint32(e)&leafBucket != 0 {
			if value < 16 {
				return errPage
			}
			if root := order.Uint64(page[at+pos+size:]); root != 0 { // else it is in the page
				if err := w.walk(root, nil, nil, depth+1); err != nil {
					return err
				}
			}
		}
	}
	for i := 0; kind == branchPage && i < n; i++ {
		next := end
		if i+1 < n {
			next = keys[i+1]
		}
		if err := w.walk(order.Uint64(page[pageHeader+i*pageElement+8:]), keys[i], next, depth+1); err != nil {
			return err
		}
	}
	return nil
}

// read returns a page with those that belong to it.
func (w *pageWalk) read(id uint64) ([]byte, error) {
	if id < 2 || id >= uint64(len(w.seen)) {
		return nil, errPage
	}
	page := make([]byte, w.pageSize)
	if _, err := w.file.ReadAt(page, int64(id*w.pageSize)); err != nil {
		return nil, err
	}
	over := uint64(binary.NativeEndian.Uint32(page[12:]))
	if binary.NativeEndian.Uint64(page) != id || over >= uint64(len(w.seen))-id {
		return nil, errPage
	}
	for i := id; i <= id+over; i++ {
		if w.seen[i] {
			return nil, errPage
		}
		w.seen[i] = true
	}
	if over == 0 {
		return page, nil
	}
	page = make([]byte, (over+1)*w.pageSize)
	_, err := w.file.ReadAt(page, int64(id*w.pageSize))
	return page, err
}
