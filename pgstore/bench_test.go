package pgstore

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pgstore/pgtest"
)

func benchVital(patient, n int) carewire.Entry {
	at := start.Add(time.Duration(n) * time.Second)
	return carewire.Entry{Patient: fmt.Sprint("p", patient), Kind: carewire.KindVital, Key: "8867-4|monitor-1|", Sender: "device-1", ID: fmt.Sprint("v", n),
		Audience: carewire.AudienceAll, Time: at, Received: at, Data: make([]byte, 200)}
}

// One Append of that many vitals, each of another patient.
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{1, 100, 1000} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			s := open(b, connect(b, pgtest.Database(b), 10), nil)
			batch := make([]carewire.Entry, size)
			n := 0
			for b.Loop() {
				n++
				for i := range batch {
					batch[i] = benchVital(i, n)
				}
				_, err := s.Append(b.Context(), batch)
				require.NoError(b, err)
			}
			b.ReportMetric(float64(size*n)/b.Elapsed().Seconds(), "entries/s")
		})
	}
}

// Many Appends of one vital at the same time, which share transactions.
func BenchmarkAppendTogether(b *testing.B) {
	s := open(b, connect(b, pgtest.Database(b), 10), nil)
	var n atomic.Int64
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			i := int(n.Add(1))
			if _, err := s.Append(b.Context(), []carewire.Entry{benchVital(i%500, i)}); err != nil {
				b.Error(err)
			}
		}
	})
	b.ReportMetric(float64(n.Load())/b.Elapsed().Seconds(), "entries/s")
}
