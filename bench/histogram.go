package main

import (
	"math/bits"
	"sync/atomic"
	"time"
)

// A histogram counts durations in steps of less than one percent.
type histogram struct {
	counts [64 << 7]atomic.Uint32
}

func (h *histogram) add(d time.Duration) {
	n := uint64(max(d, 0))
	shift := max(bits.Len64(n)-8, 0)
	h.counts[uint64(shift)<<7+n>>shift].Add(1)
}

func (h *histogram) reset() {
	for i := range h.counts {
		h.counts[i].Store(0)
	}
}

// quantile returns the duration that a share q of all does not exceed, in milliseconds.
func (h *histogram) quantile(q float64) float64 {
	var total, sum uint64
	for i := range h.counts {
		total += uint64(h.counts[i].Load())
	}
	for i := range h.counts {
		sum += uint64(h.counts[i].Load())
		if sum > 0 && float64(sum) >= q*float64(total) {
			shift := max(i>>7-1, 0)
			return float64(uint64(i-shift<<7)<<shift) / 1e6
		}
	}
	return 0
}
