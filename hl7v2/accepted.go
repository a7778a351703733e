package hl7v2

import (
	"crypto/sha256"
	"sync"
)

const acceptedKept = 10_000

// accepted remembers the latest messages that were accepted, by their digests. A
// sender that has lost an acknowledgement repeats its message, perhaps when the
// message holds no longer: it must not be carried out again.
type accepted struct {
	mu    sync.Mutex
	known map[[sha256.Size]byte]bool
	order [][sha256.Size]byte // a ring, the oldest at next
	next  int
}

func (a *accepted) has(message []byte) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.known[sha256.Sum256(message)]
}

func (a *accepted) add(message []byte) {
	sum := sha256.Sum256(message)
	a.mu.Lock()
	defer a.mu.Unlock()
	switch {
	case a.known[sum]:
		return
	case a.known == nil:
		a.known = make(map[[sha256.Size]byte]bool)
	}
	a.known[sum] = true
	if len(a.order) < acceptedKept {
		a.order = append(a.order, sum)
		return
	}
	delete(a.known, a.order[a.next])
	a.order[a.next] = sum
	a.next = (a.next + 1) % acceptedKept
}
