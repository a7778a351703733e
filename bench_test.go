package carewire

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Each benchmark is one step of the way that events go; bench/ measures whole
// servers. Functions that are declared free of allocations here are checked in
// CI.

const benchPublish = `{"type":"publish","req":"41","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min","time":"2026-11-22T10:00:00.000Z","device":"monitor-7","vital_id":"monitor-7.000123"}]}`

func BenchmarkDecode(b *testing.B) {
	b.ReportAllocs()
	frame := []byte(benchPublish)
	for b.Loop() {
		if _, err := decodeRequest(frame, 100); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkValidate(b *testing.B) {
	b.ReportAllocs()
	v := HeartRate.Of("p1", 72)
	v.ID = "monitor-7.000123"
	for b.Loop() {
		if err := v.Validate(); err != nil {
			b.Fatal(err)
		}
	}
}

// A benchHub is a Hub on a store in memory, with watchers whose lines take everything at once.
func benchHub(b testing.TB) *Hub {
	h, err := New(AuthenticatorFunc(byToken), NewMemoryStore(nil), &Options{Logger: slog.New(slog.DiscardHandler), MaxPerPrincipal: -1})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { h.Shutdown(context.Background()) })
	return h
}

// swallow is a line that takes everything at once.
type swallow struct{ bytes atomic.Int64 }

func (s *swallow) WriteFrames(p []byte, _ bool) error { s.bytes.Add(int64(len(p))); return nil }

func benchWatches(h *Hub, n int, d Delivery) (watches []*watch, sink *swallow) {
	sink = &swallow{}
	who := &Principal{ID: "nurse", Role: RoleClinician}
	for range n {
		out := &outbox{shared: h.outboxes, sink: sink, who: who, fail: func() {}}
		watches = append(watches, &watch{out: out, patient: "p1", delivery: d, live: true, lane: h.lanes.of("p1")})
	}
	return watches, sink
}

func benchEntry(seq uint64) *Entry {
	v := HeartRate.Of("p1", 72)
	now := time.Now().UTC()
	v.ID = "monitor-7.000123"
	v.Time, v.Received = now, now
	var e encoder
	v.encode(&e)
	return &Entry{Patient: "p1", Position: Position{Epoch: "0123456789abcdef", Seq: seq}, Kind: KindVital, Key: v.key(), Audience: AudienceAll,
		Sender: "device", ID: v.ID, Time: now, Received: now, Data: e.b}
}

// BenchmarkLane is from Publish to the Store in memory and back, nobody watching.
func BenchmarkLane(b *testing.B) {
	h := benchHub(b)
	for _, n := range []int{1, 100} {
		b.Run(fmt.Sprintf("vitals=%d", n), func(b *testing.B) {
			b.ReportAllocs()
			vitals := make([]Vital, n)
			for i := range vitals {
				vitals[i] = HeartRate.Of("p1", 72)
			}
			for b.Loop() {
				if _, err := h.Publish(context.Background(), vitals...); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/vital")
		})
	}
}

// BenchmarkFanOut hands batches of one patient's events to 1,000 watches; one operation is one delivery.
func BenchmarkFanOut(b *testing.B) {
	const watching = 1000
	for _, n := range []int{1, 64} {
		b.Run(fmt.Sprintf("batch=%d", n), func(b *testing.B) {
			h := benchHub(b)
			watches, sink := benchWatches(h, watching, DeliverEvery)
			l := newLane(h.lanes)
			l.watches["p1"] = &watchers{list: watches}
			b.ReportAllocs()
			seq, delivered := uint64(0), 0
			for delivered < b.N {
				batch := make([]delivery, n)
				for i := range batch {
					seq++
					batch[i] = delivery{entry: benchEntry(seq), received: 1}
				}
				l.deliver(batch)
				delivered += n * watching
				for _, w := range watches { // the writers keep pace
					for busy := true; busy; {
						w.out.mu.Lock()
						busy = w.out.bytes > 128<<10
						w.out.mu.Unlock()
					}
				}
			}
			for h.stats.out.Load() < int64(delivered) {
				time.Sleep(10 * time.Microsecond)
			}
			b.ReportMetric(float64(sink.bytes.Load())/float64(delivered), "B/delivery")
		})
	}
}

// In steady state a delivery allocates nothing: the memory of an event is allocated
// once, not for each client.
func TestDeliveriesMakeNoGarbage(t *testing.T) {
	h, err := New(AuthenticatorFunc(byToken), NewMemoryStore(nil), nil)
	require.NoError(t, err)
	defer h.Shutdown(t.Context())
	for _, d := range []Delivery{DeliverEvery, DeliverLatest} {
		const watching = 100
		watches, _ := benchWatches(h, watching, d)
		for _, w := range watches {
			w.out.busy = true // nobody else writes
		}
		all, l := &watchers{list: watches}, newLane(h.lanes)
		buf := make([]byte, 0, writeSize)
		f := newFrameOf(benchEntry(1), false, 1)
		require.Zero(t, testing.AllocsPerRun(100, func() {
			f.seq++
			all.frames = append(all.frames, f)
			l.handOver(all)
			for _, w := range watches {
				buf, _, _, _ = w.out.take(buf[:0])
			}
		}), d)
	}
}

// A caller is told once all watches have the event, so that its next event comes to
// the same writes.
func TestCallersAreToldLast(t *testing.T) {
	h := benchHub(t)
	watches, _ := benchWatches(h, 100, DeliverEvery)
	for _, w := range watches {
		w.out.busy = true // nobody writes
	}
	l, waiting := newLane(h.lanes), 0
	l.watches["p1"] = &watchers{list: watches}
	l.deliver([]delivery{{entry: benchEntry(1), received: 1, done: func(AppendResult) {
		for _, w := range watches {
			waiting += len(w.queue)
		}
	}}})
	require.Equal(t, len(watches), waiting)
}

// BenchmarkAuditLines writes the records of a watch of 20 patients; one operation is one line.
func BenchmarkAuditLines(b *testing.B) {
	a := NewSlogAuditor(slog.New(slog.NewTextHandler(io.Discard, nil)), nil).(*slogAuditor)
	list := make([]Record, 20)
	for i := range list {
		list[i] = Record{Time: time.Now(), Event: AuditWatch, Outcome: OutcomeDone, Who: Person{ID: "nurse-17", Role: RoleClinician},
			Session: "session-1", Conn: "ABCDEF", Address: "10.1.2.3", Patient: fmt.Sprint("p-", i)}
	}
	for _, together := range []int{1, len(list)} {
		b.Run(fmt.Sprintf("together=%d", together), func(b *testing.B) {
			b.ReportAllocs()
			for n := 0; n < b.N; n += together {
				a.recordAll(context.Background(), list[:together])
			}
		})
	}
}

// BenchmarkOutbox queues and writes one event of one patient for one client.
func BenchmarkOutbox(b *testing.B) {
	for _, d := range []Delivery{DeliverEvery, DeliverLatest} {
		b.Run(string(d), func(b *testing.B) {
			h := benchHub(b)
			watches, _ := benchWatches(h, 1, d)
			w := watches[0]
			w.out.busy = true // nobody else writes
			f := newFrameOf(benchEntry(1), false, 1)
			buf := make([]byte, 0, writeSize)
			b.ReportAllocs()
			for b.Loop() {
				f.seq++
				w.push([]*frame{f})
				buf, _, _, _ = w.out.take(buf[:0])
			}
		})
	}
}

// BenchmarkResume reads the events that a client has missed; one operation is 1,000 events.
func BenchmarkResume(b *testing.B) {
	h := benchHub(b)
	var vitals []Vital
	for i := range 100 {
		vitals = append(vitals, HeartRate.Of("p1", float64(60+i%20)))
	}
	for range 10 {
		if _, err := h.Publish(context.Background(), vitals...); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		watches, _ := benchWatches(h, 1, DeliverEvery)
		w := watches[0]
		w.live, w.since = false, &Position{}
		var once sync.Once
		done := make(chan struct{})
		w.out.sink = sinkFunc(func(p []byte) {
			w.out.mu.Lock()
			live := w.live && w.page == nil
			w.out.mu.Unlock()
			if live {
				once.Do(func() { close(done) })
			}
		})
		w.attached(Head{Patient: "p1"})
		<-done
	}
}

type sinkFunc func(p []byte)

func (f sinkFunc) WriteFrames(p []byte, _ bool) error { f(p); return nil }

// BenchmarkIdle holds connections over TCP that each watch one patient, and reports the
// memory that each keeps in the heap and on stacks. One operation is one connection.
func BenchmarkIdle(b *testing.B) {
	h := benchHub(b)
	srv := httptest.NewServer(h)
	defer srv.Close()
	var before, after runtime.MemStats
	var lines []net.Conn
	join := func() {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		lines = append(lines, c)
		fmt.Fprintf(c, "GET / HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"+
			"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nAuthorization: Bearer nurse\r\n\r\n")
		c.Write(masked(opText, `{"type":"watch","req":"1","patients":["p1"]}`))
		var got []byte
		for !bytes.Contains(got, []byte(`"synced"`)) {
			part := make([]byte, 4096)
			n, err := c.Read(part)
			if err != nil {
				b.Fatal(err)
			}
			got = append(got, part[:n]...)
		}
	}
	for range 20 {
		join()
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&before)
	n := 0
	for b.Loop() {
		join()
		n++
	}
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&after)
	b.ReportMetric(float64(after.HeapAlloc-before.HeapAlloc)/float64(n), "heap-B/conn")
	b.ReportMetric((float64(after.StackInuse)-float64(before.StackInuse))/float64(n), "stack-B/conn")
	for _, c := range lines {
		c.Close()
	}
}
