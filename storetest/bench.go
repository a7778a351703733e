package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/carewire/carewire"
)

// Bench measures the operations that a Hub needs from a store, each on a new
// and empty store from open: appending vitals and alerts, and the reads when a
// client connects, is behind, or every second. Use it to compare stores, or
// versions of one. The cost of an operation depends on the disk.
func Bench(b *testing.B, open func(b *testing.B) carewire.Store) {
	for _, callers := range []int{1, 64} {
		for _, size := range []int{1, 100} {
			b.Run(fmt.Sprintf("vitals/callers=%d/each=%d", callers, size), func(b *testing.B) {
				benchAppend(b, open(b), callers, size, func(n int) carewire.Entry { return benchVital(n%500, n) })
			})
		}
	}
	b.Run("alerts/callers=8/each=1", func(b *testing.B) {
		benchAppend(b, open(b), 8, 1, func(n int) carewire.Entry { return benchAlert(n%500, n) })
	})
	for _, c := range []struct {
		name string
		ask  func(ctx context.Context, s carewire.Store, mark string) error
	}{
		{"latest", func(ctx context.Context, s carewire.Store, _ string) error {
			_, _, err := s.Latest(ctx, "p0")
			return err
		}},
		{"read/500", func(ctx context.Context, s carewire.Store, _ string) error {
			_, err := s.Read(ctx, "p0", carewire.Position{Seq: 100}, carewire.ReadQuery{Limit: 500})
			return err
		}},
		{"changed/nothing", func(ctx context.Context, s carewire.Store, mark string) error {
			_, _, err := s.Changed(ctx, mark, 1000)
			return err
		}},
		{"waiting/10 of 1000", func(ctx context.Context, s carewire.Store, _ string) error {
			_, err := s.Waiting(ctx, t0.Add(9*time.Second), 1000)
			return err
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			s := open(b)
			mark := benchFill(b, s)
			b.ReportAllocs()
			for b.Loop() {
				if err := c.ask(b.Context(), s, mark); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// benchAppend has some goroutines append at the same time, so many entries with
// each call.
func benchAppend(b *testing.B, s carewire.Store, callers, size int, entry func(n int) carewire.Entry) {
	var n atomic.Int64
	var wg sync.WaitGroup
	b.ReportAllocs()
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			batch := make([]carewire.Entry, size)
			for i := int(n.Add(1)); i <= b.N; i = int(n.Add(1)) {
				for k := range batch {
					batch[k] = entry(i*size + k)
				}
				results, err := s.Append(b.Context(), batch)
				for _, a := range results {
					err = errors.Join(err, a.Err)
				}
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N*size)/b.Elapsed().Seconds(), "entries/s")
}

// benchFill gives one patient 1,000 vitals of 20 keys, and a hundred of them ten
// open alerts each, due one second after the other; it returns a mark behind all.
func benchFill(b *testing.B, s carewire.Store) (mark string) {
	var batch []carewire.Entry
	for i := range 1000 {
		v := benchVital(0, i)
		v.Key = fmt.Sprint("key-", i%20)
		batch = append(batch, v)
	}
	for i := range 1000 {
		batch = append(batch, benchAlert(i%100, i))
	}
	if _, err := s.Append(b.Context(), batch); err != nil {
		b.Fatal(err)
	}
	for {
		list, next, err := s.Changed(b.Context(), mark, 1000)
		if err != nil {
			b.Fatal(err)
		}
		if mark = next; len(list) < 1000 {
			return mark
		}
	}
}

func benchVital(patient, n int) carewire.Entry {
	v := vital(fmt.Sprint("p", patient), "8867-4|monitor-1|", time.Duration(n)*time.Millisecond)
	v.ID, v.Data = fmt.Sprint("v", n), benchData
	return v
}

func benchAlert(patient, n int) carewire.Entry {
	a := alert(fmt.Sprint("p", patient), fmt.Sprint("a/", n), 1, time.Duration(n)*time.Second)
	a.ID, a.Data = fmt.Sprint("a", n), benchData
	return a
}

var benchData = make([]byte, 200)
