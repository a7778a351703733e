package carewire

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// newTestQueue is an auditQueue without a Hub.
func newTestQueue(record func(context.Context, Record) error) *auditQueue {
	o := (&Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}).withDefaults()
	began := time.Now()
	calls := newHostCalls(&o, new(counters))
	return newAuditQueue(auditorFunc(record), &calls, newBackground(), o.Logger, time.Now,
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

// While the Auditor fails nobody may begin to read. Everything else goes on,
// and is recorded afterwards.
func TestFailingAuditor(t *testing.T) {
	for name, fail := range map[string]func(context.Context) error{
		"fails":  func(context.Context) error { return errors.New("disk full") },
		"panics": func(context.Context) error { panic("x") },
		"hangs":  func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := &notary{}
				w := newWorld(t, nil, &Options{Auditor: n, Authorizer: &judge{decide: glass}})
				doctor, nurse := w.watching("doctor", "every"), w.dial("nurse")
				defer doctor.ws.CloseNow()
				defer nurse.ws.CloseNow()
				nurse.until("inbox")
				synctest.Wait()
				n.fail(fail)
				a, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", ID: "a", Text: "x", Priority: PriorityHigh, To: []string{"person:nurse"}})
				require.NoError(t, err)
				require.Len(t, nurse.until("inbox")["items"], 1, "delivered")
				require.Equal(t, "ok", nurse.ask(`{"type":"answer","req":"1","patient":"p1","key":"k","alert_id":"` + a.ID + `","event_id":"e","do":"accept"}`)["type"])
				for _, text := range []string{breakGlass, `{"type":"watch","req":"2","patients":["p1","p9"]}`} {
					ok := nurse.ask(text)
					require.Empty(t, ok["watching"])
					require.Contains(t, ok["refused"], any(object{"patient": "p1", "code": "unavailable"}))
				}
				require.Equal(t, "unavailable", nurse.ask(`{"type":"history","req":"3","patient":"p1"}`)["code"])
				_, err = w.store.Get(t.Context(), "p9", emergencyKey("nurse"))
				require.ErrorIs(t, err, ErrNotFound, "no glass is broken")
				start := time.Now()
				_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
				require.NoError(t, err)
				doctor.until("vital")
				require.Zero(t, time.Since(start))
				require.Positive(t, w.hub.Stats().AuditFailed)
				require.Positive(t, w.hub.Stats().AuditWaiting)

				n.fail(nil)
				d := doctor.follow()
				nurse.follow()
				w.vitals("p1", 60) // the failed record is tried again
				synctest.Wait()
				require.Zero(t, w.hub.Stats().AuditWaiting)
				require.Zero(t, w.hub.Stats().AuditLost)
				require.Len(t, n.of(AuditAnswer), 1)
				require.Len(t, d.vitals, 60)
				again := w.dial("nurse")
				require.Equal(t, []any{"p1", "p9"}, again.ask(breakGlass)["watching"])
				again.ws.CloseNow()
				w.close()
			})
		})
	}
}

// A record that finds no room is counted, and the log says so. A Hub ends
// although its Auditor never answers.
func TestAuditOverflow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		n := &notary{failing: func(context.Context) error { return errNoIdea }}
		w := newWorld(t, nil, &Options{Auditor: n, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		for range recordsMax + 10 {
			w.hub.audit.record(Record{Event: AuditConnect})
		}
		time.Sleep(2 * time.Second)
		require.EqualValues(t, 10, w.hub.Stats().AuditLost)
		require.Equal(t, 1, strings.Count(log.String(), "audit records are lost"))
		start := time.Now()
		w.close()
		require.LessOrEqual(t, time.Since(start), 10*time.Second)
		require.EqualValues(t, recordsMax+10, w.hub.Stats().AuditLost)
		require.Equal(t, 2, strings.Count(log.String(), "audit records are lost"))
	})
}

// A record that the Auditor refuses again and again while it takes others is given
// up, with a log line. While it takes nothing, no record is given up.
func TestRecordThatIsAlwaysRefused(t *testing.T) {
	for _, poisons := range []int{1, 3} {
		for _, shut := range []bool{false, true} {
			t.Run(fmt.Sprint(poisons, " shut down at once: ", shut), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					var log lockedBuffer
					var down atomic.Bool
					down.Store(true)
					n := &notary{}
					auditor := auditorFunc(func(ctx context.Context, r Record) error {
						if down.Load() || strings.HasPrefix(r.Key, "poison") {
							return errNoIdea
						}
						return n.Record(ctx, r)
					})
					w := newWorld(t, nil, &Options{Auditor: auditor, Logger: slog.New(slog.NewTextHandler(&log, nil))})
					raise := func(key string) {
						_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityInfo})
						require.NoError(t, err)
					}
					for i := range poisons {
						raise(fmt.Sprint("poison", i))
					}
					for i := range 5 {
						raise(fmt.Sprint("good", i))
					}
					time.Sleep(30 * time.Minute)
					require.Zero(t, w.hub.Stats().AuditRejected, "it is the Auditor that fails")
					require.Zero(t, w.hub.Stats().AuditLost)
					down.Store(false)
					if !shut {
						time.Sleep(time.Duration(poisons) * 6 * time.Minute)
						require.Zero(t, w.hub.Stats().AuditWaiting)
						raise("later")
						time.Sleep(time.Second)
						require.Len(t, n.of(AuditRaise), 6)
					}
					w.close()
					var keys []string
					for _, r := range n.of(AuditRaise) {
						keys = append(keys, r.Key)
					}
					for i := range 5 {
						require.Contains(t, keys, fmt.Sprint("good", i))
					}
					require.EqualValues(t, poisons, w.hub.Stats().AuditRejected+w.hub.Stats().AuditLost)
					if !shut {
						require.EqualValues(t, poisons, w.hub.Stats().AuditRejected)
						require.Equal(t, poisons, strings.Count(log.String(), "given up"))
					}
					require.NotContains(t, log.String(), "poison")
				})
			})
		}
	}
}

// A watch of many patients takes the Auditor long. That is no failure, and others
// read meanwhile.
func TestLongListIsNoFaultOfTheAuditor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const each, many = 20 * time.Millisecond, 500
		var taken atomic.Int64
		a := newTestQueue(func(ctx context.Context, _ Record) error {
			select {
			case <-time.After(each):
				taken.Add(1)
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		require.Greater(t, each*many, a.first.timeout)
		list := make([]Record, many)
		for i := range list {
			list[i] = Record{Event: AuditWatch, Who: Person{ID: "crowd"}}
		}
		var all sync.WaitGroup
		all.Go(func() {
			assert.Equal(t, make([]error, many), a.recordFirst(t.Context(), list))
		})
		time.Sleep(a.first.timeout + time.Second)
		begun := time.Now()
		require.Equal(t, []error{nil}, a.recordFirst(t.Context(), []Record{{Event: AuditWatch, Who: Person{ID: "nurse"}}}))
		require.Equal(t, each, time.Since(begun))
		all.Wait()
		require.EqualValues(t, many+1, taken.Load())
		require.Zero(t, a.failed.Load())
		require.NoError(t, a.work.end(context.Background()))
	})
}

// The reads of one principal do not delay another's, and those of all do not delay
// the queue. A read that finds no place does not count as a failure of the Auditor.
func TestReadsDelayNoOtherRecord(t *testing.T) {
	for _, greedy := range []int{1, auditFirstAtOnce / auditFirstEach} {
		t.Run(fmt.Sprint(greedy, " principals"), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var queued atomic.Int64
				a := newTestQueue(func(_ context.Context, r Record) error {
					if r.Event == AuditHistory {
						time.Sleep(3 * time.Second) // a call may take five
					}
					if r.Event == AuditAnswer {
						queued.Add(1)
					}
					return nil
				})
				a.work.start(a.run)
				var all sync.WaitGroup
				var without atomic.Int64
				for i := range greedy * 4 * auditFirstEach {
					all.Go(func() {
						if a.recordFirst(t.Context(), []Record{{Event: AuditHistory, Who: Person{ID: fmt.Sprint("greedy", i%greedy)}}})[0] != nil {
							without.Add(1)
						}
					})
				}
				for range 5 {
					synctest.Wait()
					was, begun := queued.Load(), time.Now()
					a.record(Record{Event: AuditAnswer})
					synctest.Wait()
					require.Equal(t, was+1, queued.Load())
					if greedy == 1 {
						require.Equal(t, []error{nil}, a.recordFirst(t.Context(), []Record{{Event: AuditWatch, Who: Person{ID: "nurse"}}}))
						require.Zero(t, time.Since(begun))
					}
					time.Sleep(time.Second)
				}
				all.Wait()
				require.EqualValues(t, greedy*2*auditFirstEach, without.Load(), "those that would have waited for six seconds")
				require.Zero(t, a.failed.Load())
				require.NoError(t, a.work.end(context.Background()))
			})
		})
	}
}
