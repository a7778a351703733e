package carewire

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// newTestQueue is an auditQueue without a Hub.
func newTestQueue(record func(context.Context, Record) error) *auditQueue {
	o := (&Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}).withDefaults()
	began := time.Now()
	return newAuditQueue(auditorFunc(record), newHostCalls(&o, new(counters)).audit, newBackground(), o.Logger, time.Now,
		func() int64 { return int64(time.Since(began)) + 1 })
}

func TestAuditQueueKeepsOrderWhileTheAuditorFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		var got []string
		failures := 5
		a := newTestQueue(func(_ context.Context, r Record) error {
			mu.Lock()
			defer mu.Unlock()
			if failures > 0 {
				failures--
				return errInjected
			}
			got = append(got, r.ID)
			return nil
		})
		a.work.start(a.run)
		for _, id := range []string{"1", "2", "3"} {
			a.record(Record{Event: AuditRaise, ID: id})
		}
		synctest.Wait()
		require.Equal(t, 3, a.length())
		time.Sleep(time.Minute)
		synctest.Wait()
		require.Equal(t, []string{"1", "2", "3"}, got)
		require.EqualValues(t, 5, a.failed.Load())
		require.NoError(t, a.work.end(t.Context()))
	})
}

func TestAuditQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestQueue(func(context.Context, Record) error { return nil })
		for range recordsMax + 3 {
			a.record(Record{Event: AuditRaise})
		}
		require.Equal(t, recordsMax, a.length())
		require.EqualValues(t, 3, a.lost.Load())
	})
}

func TestReadsAreRefusedWithoutTheirRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failing := true
		calls := 0
		a := newTestQueue(func(context.Context, Record) error {
			calls++
			if failing {
				return errInjected
			}
			return nil
		})
		require.Equal(t, []error{ErrUnavailable}, a.recordFirst(t.Context(), []Record{{Event: AuditWatch}}))
		failing = false
		require.Equal(t, []error{ErrUnavailable}, a.recordFirst(t.Context(), []Record{{Event: AuditWatch}}), "not asked again at once")
		require.Equal(t, 1, calls)
		time.Sleep(auditDown)
		require.Equal(t, []error{nil, nil}, a.recordFirst(t.Context(), []Record{{Event: AuditWatch}, {Event: AuditHistory}}))
	})
}
