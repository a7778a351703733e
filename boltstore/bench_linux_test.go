package boltstore

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/carewire/carewire"
)

// sample makes vitals with IDs that are in no order, of 500 patients with 4
// keys each.
func sample(n int) carewire.Entry {
	v := vital("", n)
	v.Patient, v.Key, v.Data = benchPatients[n%500], benchKeys[n/500%4], benchData
	v.ID = strconv.FormatUint(uint64(n)*0x9e3779b97f4a7c15, 36) + "-0123456789"
	return v
}

var (
	benchPatients, benchKeys = names("patient-", 500), names("8867-4|monitor-", 4)
	benchData                = bytes.Repeat([]byte("x"), 200)
)

func names(prefix string, n int) []string {
	names := make([]string, n)
	for i := range names {
		names[i] = prefix + strconv.Itoa(i)
	}
	return names
}

// Vitals are appended by some goroutines at the same time, one or more with each
// call; every one is durable when its call returns. "floor" writes the same
// bytes and syncs as often as calls of one goroutine do, and nothing else.
func BenchmarkAppend(b *testing.B) {
	for _, perCall := range []int{1, 64, 512} {
		b.Run(fmt.Sprint("floor/", perCall), func(b *testing.B) { benchmarkFloor(b, perCall) })
		for _, callers := range []int{1, 2, 64, 512} {
			if perCall*callers <= 4096 {
				b.Run(fmt.Sprint(perCall, "/callers", callers), func(b *testing.B) { benchmarkAppend(b, perCall, callers) })
			}
		}
	}
}

func benchmarkAppend(b *testing.B, perCall, callers int) {
	s, err := Open(filepath.Join(b.TempDir(), "store"), nil)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var n atomic.Int64
	var wg sync.WaitGroup
	measure(b, perCall, func() {
		for range callers {
			wg.Go(func() {
				batch := make([]carewire.Entry, perCall)
				for i := n.Add(1); i <= int64(b.N); i = n.Add(1) {
					for k := range batch {
						batch[k] = sample(int(i)*perCall + k)
					}
					if _, err := s.Append(context.Background(), batch); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
	})
}

func benchmarkFloor(b *testing.B, perCall int) {
	file, err := os.Create(filepath.Join(b.TempDir(), "floor"))
	if err != nil {
		b.Fatal(err)
	}
	defer file.Close()
	e := sample(1)
	group := bytes.Repeat(encodeEntry(&e), perCall)
	measure(b, perCall, func() {
		for range b.N {
			if _, err := file.Write(group); err != nil {
				b.Fatal(err)
			}
			if err := syscall.Fdatasync(int(file.Fd())); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// measure reports the cost of f for each entry.
func measure(b *testing.B, perCall int, f func()) {
	var before, after syscall.Rusage
	b.ReportAllocs()
	b.ResetTimer()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &before)
	f()
	_ = syscall.Getrusage(syscall.RUSAGE_SELF, &after)
	n := float64(b.N * perCall)
	cpu := after.Utime.Nano() - before.Utime.Nano() + after.Stime.Nano() - before.Stime.Nano()
	b.ReportMetric(n/b.Elapsed().Seconds(), "entries/s")
	b.ReportMetric(float64(cpu)/n, "cpu-ns/entry")
}
