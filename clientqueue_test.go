package carewire

import (
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The newest vital is the one measured last, whenever it came.
func TestBacklog(t *testing.T) {
	t.Parallel()
	b := newView().queue
	at := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	vital := func(seq uint64, patient, code string, seconds int) Event {
		return Event{Type: EventVital, Patient: patient, Position: Position{Seq: seq},
			Vital: &Vital{Patient: patient, Code: code, Time: at.Add(time.Duration(seconds) * time.Second), Received: at.Add(time.Minute)}}
	}
	b.pushVital(vital(1, "p", "a", 10))
	b.pushVital(vital(2, "p", "b", 10))
	b.pushVital(vital(1, "q", "a", 10))
	b.pushVital(vital(3, "p", "a", 5))   // late
	b.pushVital(vital(4, "p", "b", 10))  // as new
	b.pushVital(vital(5, "p", "c", 200)) // ahead of time
	b.pushVital(vital(6, "p", "c", 100))
	var got []string
	for ev, ok := b.pop(); ok; ev, ok = b.pop() {
		got = append(got, fmt.Sprint(ev.Patient, ev.Seq))
	}
	require.Equal(t, []string{"p1", "q1", "p3", "p4", "p6"}, got)
	require.Empty(t, b.newest)
	b.pushVital(vital(7, "p", "a", 0))
	b.push(Event{Type: EventAlert, Patient: "q"})
	b.purge("p")
	require.Empty(t, b.newest)
	require.Equal(t, 1, b.len())
}

// Patients with a slow reader: newer vitals take the place of older ones, all
// undroppable events are there, calls are answered, and events that found no
// room are fetched when there is some.
func TestClientSlowReader(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Buffer = 4
		c, conn := s.dial(o)
		s.follow(c, conn, WatchOptions{}, 1, 0)
		for seq := 2; seq < 100; seq++ {
			conn.send(entry("vital", "p", seq, 0))
		}
		synctest.Wait()
		reads(t, c, "vital 99")
		nothing(t, c)

		for seq := 100; seq < 110; seq++ {
			conn.send(entry("alert", "p", seq, seq-99))
		}
		for range 5 {
			conn.send(`{"type":"heartbeat"}`, `{"type":"status","store":"ok"}`)
		}
		q := conn.next(reqUnwatch) // until there is room
		require.Equal(t, []string{"p"}, q.Patients)
		conn.ok(q, "")
		done := make(chan error, 1)
		go func() { done <- c.Receipt(t.Context(), Receipt{Patient: "p", NoticeID: "n", Stage: StageRead}) }()
		conn.ok(conn.next(reqReceipt), "")
		require.NoError(t, <-done)
		conn.none()
		require.Equal(t, 7, c.queue.len())
		reads(t, c, "alert 100", "alert 101", "alert 102", "alert 103", "stale")
		q = conn.next(reqWatch)
		require.Equal(t, map[string]Position{"p": {"E", 103}}, q.Since)
		conn.ok(q, `,"watching":["p"]`)
		conn.send(entry("sync+", "p", 103, 4), entry("alert", "p", 104, 5))
		reads(t, c, "heartbeat", "status", "sync 103", "alert 104")

		// An inbox that found no room is fetched by connecting anew.
		for range 20 {
			conn.send(`{"type":"inbox","items":[]}`)
		}
		synctest.Wait()
		require.Equal(t, 8, c.queue.len())
		reads(t, c, "inbox", "inbox", "inbox", "inbox", "inbox")
		require.Equal(t, 3, c.queue.len())
		reads(t, c, "inbox", "inbox", "inbox", "lost")
		<-s.conns
		require.NoError(t, c.Close())
	})
}
