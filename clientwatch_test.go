package carewire

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// Each sign that something is missing resumes the patient from the last
// position that was right.
func TestClientMissed(t *testing.T) {
	for name, test := range map[string]struct {
		delivery Delivery
		frames   []string
		missed   bool
	}{
		"alert":               {"", []string{entry("alert", "p", 9, 5)}, true},
		"alert, not counted":  {"", []string{entry("alert", "p", 9, 3)}, true},
		"vital":               {"", []string{entry("vital", "p", 9, 4)}, true},
		"gap":                 {"", []string{entry("gap", "p", 9, 5)}, true},
		"count shrinks":       {"", []string{entry("vital", "p", 9, 2)}, true},
		"head":                {"", []string{heads("p", 9, 4)}, true},
		"head at ours":        {"", []string{heads("p", 7, 4)}, true},
		"repetition":          {"", []string{entry("vital", "p", 7, 3)}, true},
		"head of another log": {"", []string{strings.Replace(heads("p", 5, 3), `"E"`, `"F"`, 1)}, true},
		"another log":         {"", []string{strings.Replace(entry("alert", "p", 5, 4), `"E"`, `"F"`, 1)}, true},
		"every: a number":     {DeliverEvery, []string{entry("vital", "p", 9, 3)}, true},
		"every: head":         {DeliverEvery, []string{heads("p", 8, 3)}, true},

		"replaced vitals":   {"", []string{entry("vital", "p", 19, 3), entry("alert", "p", 22, 4)}, false},
		"gap of an alert":   {"", []string{entry("gap", "p", 8, 4), entry("alert", "p", 9, 5)}, false},
		"gap of a vital":    {"", []string{entry("gap", "p", 8, 3), entry("alert", "p", 9, 4)}, false},
		"head ahead":        {"", []string{heads("p", 30, 3)}, false},
		"old head":          {"", []string{entry("alert", "p", 8, 4), heads("p", 7, 3)}, false},
		"new epoch goes on": {"", []string{strings.Replace(entry("alert", "p", 8, 4), `"E"`, `"F"`, 1), entry("alert", "p", 9, 5)}, false},
		"every":             {DeliverEvery, []string{entry("vital", "p", 8, 3), entry("gap", "p", 9, 3), heads("p", 9, 3)}, false},
		"another patient":   {"", []string{entry("alert", "q", 1, 9), heads("q", 9, 9)}, false},
	} {
		t.Run(name, func(t *testing.T) {
			scriptTest(t, func(t *testing.T, s *script) {
				c, conn := s.dial(nil)
				s.follow(c, conn, WatchOptions{Delivery: test.delivery}, 7, 3)
				conn.send(test.frames...)
				if test.missed {
					q := conn.next(reqWatch)
					require.Equal(t, []string{"p"}, q.Patients)
					require.Equal(t, map[string]Position{"p": {"E", 7}}, q.Since)
				}
				conn.none()
				require.NoError(t, c.Close())
				require.Equal(t, test.missed, strings.Contains(s.log.String(), "missed"))
			})
		})
	}
}

// A resumed patient shows the missed events; if that does not make the count
// right, the next attempt begins with a snapshot, later and later.
func TestClientMissedAgain(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		conn.send(entry("alert", "p", 9, 5))
		q := conn.next(reqWatch)
		require.Equal(t, map[string]Position{"p": {"E", 7}}, q.Since)
		conn.send(entry("alert", "p", 10, 6), entry("sync", "p", 50, 50), entry("alert", "p", 51, 51)) // still on their way
		conn.ok(q, `,"watching":["p"]`)
		conn.send(entry("sync+", "p", 7, 3), entry("alert", "p", 8, 4), entry("alert", "p", 9, 5), entry("alert", "p", 10, 6), entry("synced", "p", 10, 6))
		reads(t, c, "stale", "sync 7", "alert 8", "alert 9", "alert 10", "synced 10")
		nothing(t, c)

		start := time.Now()
		conn.send(heads("p", 12, 7))
		q = conn.next(reqWatch)
		require.Nil(t, q.Since)
		require.Equal(t, 2*time.Second, time.Since(start))
		conn.ok(q, `,"watching":["p"]`)
		conn.send(entry("sync", "p", 12, 7), entry("alert", "p", 11, 7), entry("vital", "p", 12, 7), entry("synced", "p", 12, 7), heads("p", 12, 7))
		reads(t, c, "stale", "sync 12", "alert 11", "vital 12", "synced 12")

		// A count that is wrong at synced is wrong too.
		time.Sleep(45 * time.Second)
		conn.send(`{"type":"heartbeat"}`, heads("p", 12, 7))
		time.Sleep(45 * time.Second)
		conn.send(heads("p", 12, 8))
		q = conn.next(reqWatch)
		require.Equal(t, map[string]Position{"p": {"E", 12}}, q.Since)
		conn.ok(q, `,"watching":["p"]`)
		start = time.Now()
		conn.send(entry("sync+", "p", 12, 7), entry("synced", "p", 13, 8))
		require.Nil(t, conn.next(reqWatch).Since)
		require.Equal(t, 2*time.Second, time.Since(start))
		reads(t, c, "heartbeat", "stale", "sync 12")
		nothing(t, c)
		require.NoError(t, c.Close())
	})
}

// A snapshot that was cut short is no position to resume from.
func TestClientSnapshotCutShort(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		conn.send(entry("sync", "p", 40, 9), entry("alert", "p", 20, 5)) // the server found another log
		reads(t, c, "sync 40", "alert 20")
		conn.ws.CloseNow()
		conn = <-s.conns
		require.Nil(t, conn.next(reqWatch).Since)
		require.NoError(t, c.Close())
	})
}

// A Watch whose caller has given up counts if the server's ok comes, and is not
// repeated if the connection is lost before.
func TestClientWatchGivenUp(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		watch := func(p string) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			_, err := c.Watch(ctx, WatchOptions{Patients: []string{p}})
			require.ErrorIs(t, err, context.DeadlineExceeded)
		}
		watch("a")
		conn.ok(conn.next(reqWatch), `,"watching":["a"]`)
		conn.send(entry("sync", "a", 1, 1), entry("synced", "a", 1, 1))
		reads(t, c, "live", "welcome", "sync 1", "synced 1")
		watch("b")
		conn.next(reqWatch)

		// Watches go before other requests that wait.
		done := make(chan error, 1)
		go func() {
			_, err := c.Publish(t.Context(), HeartRate.Of("p", 1))
			done <- err
		}()
		conn.next(reqPublish)
		conn.close(CloseRestart)
		conn = <-s.conns
		require.Equal(t, []string{"a"}, conn.next(reqWatch).Patients)
		conn.ok(conn.next(reqPublish), `,"results":[{"seq":1}]`)
		require.NoError(t, <-done)
		conn.none()
		require.Empty(t, c.calls["2"])
		require.NoError(t, c.Close())
	})
}

// A Watch that was on its way when the patient was left is not lost.
func TestClientWatchWhileBehind(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Buffer = 4
		c, conn := s.dial(o)
		s.follow(c, conn, WatchOptions{}, 1, 0)
		done := make(chan error, 1)
		go func() {
			_, err := c.Watch(t.Context(), WatchOptions{Patients: []string{"p"}, Delivery: DeliverAlerts})
			done <- err
		}()
		watch := conn.next(reqWatch)
		for seq := 2; seq < 8; seq++ {
			conn.send(entry("alert", "p", seq, seq-1))
		}
		unwatch := conn.next(reqUnwatch)
		conn.ok(watch, `,"watching":["p"]`)
		require.NoError(t, <-done)
		conn.ok(unwatch, "")
		reads(t, c, "alert 2", "alert 3", "alert 4", "alert 5", "stale")
		q := conn.next(reqWatch)
		require.Equal(t, []string{"p"}, q.Patients)
		require.Equal(t, DeliverAlerts, q.Delivery)
		require.NoError(t, c.Close())
	})
}

// A reader that has caught up before the server has answered the Unwatch does
// not wait for events that it is owed.
func TestClientReaderFasterThanUnwatch(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Buffer = 4
		c, conn := s.dial(o)
		s.follow(c, conn, WatchOptions{}, 1, 0)
		for seq := 2; seq < 8; seq++ {
			conn.send(entry("alert", "p", seq, seq-1))
		}
		unwatch := conn.next(reqUnwatch)
		reads(t, c, "alert 2", "alert 3", "alert 4", "alert 5", "stale")
		synctest.Wait()
		began := time.Now()
		conn.ok(unwatch, "")
		require.Equal(t, map[string]Position{"p": {"E", 5}}, conn.next(reqWatch).Since)
		require.Zero(t, time.Since(began))
		require.NoError(t, c.Close())
	})
}

// A large snapshot arrives whole, even with a small buffer.
func TestClientLargeSnapshot(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		o := s.options()
		o.Buffer = 2
		c, conn := s.dial(o)
		s.follow(c, conn, WatchOptions{}, 1, 0)
		conn.send(entry("sync", "p", 50, 50))
		for seq := 1; seq <= 50; seq++ {
			conn.send(entry("alert", "p", seq, seq))
		}
		conn.send(entry("synced", "p", 50, 50))
		reads(t, c, "sync 50")
		for seq := 1; seq <= 50; seq++ {
			reads(t, c, fmt.Sprint("alert ", seq))
		}
		reads(t, c, "synced 50")
		conn.none()
		require.NoError(t, c.Close())
	})
}

// With groups the server lists the watched patients, now and after an absence.
func TestClientGroups(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{Groups: []string{"w"}}, 7, 3)
		conn.send(`{"type":"granted","patient":"q"}`, entry("sync", "q", 2, 1), entry("alert", "q", 2, 1), entry("synced", "q", 2, 1))
		reads(t, c, "granted", "sync 2", "alert 2", "synced 2")

		// A member with missing events is resumed by name.
		conn.send(heads("q", 3, 2))
		q := conn.next(reqWatch)
		require.Equal(t, []string{"q"}, q.Patients)
		require.Nil(t, q.Groups)
		require.Equal(t, map[string]Position{"q": {"E", 2}}, q.Since)
		conn.ok(q, `,"watching":["q"]`)
		conn.send(entry("sync+", "q", 2, 1), entry("alert", "q", 3, 2), entry("synced", "q", 3, 2))
		reads(t, c, "stale", "sync 2", "alert 3", "synced 3")

		// p left the ward, r came.
		conn.close(CloseRestart)
		conn = <-s.conns
		q = conn.next(reqWatch)
		require.Equal(t, []string{"w"}, q.Groups)
		require.Equal(t, map[string]Position{"p": {"E", 7}, "q": {"E", 3}}, q.Since)
		conn.ok(q, `,"watching":["q","r"]`)
		conn.send(entry("sync+", "q", 3, 2), entry("synced", "q", 3, 2), entry("sync", "r", 1, 1), entry("synced", "r", 1, 1), entry("alert", "p", 8, 4))
		reads(t, c, "lost", "live", "welcome")
		ev := read(t, c)
		require.Equal(t, "p", ev.Patient)
		require.Equal(t, EventRevoked, ev.Type)
		reads(t, c, "sync 3", "synced 3", "sync 1", "synced 1")
		nothing(t, c)
		require.Equal(t, []string{"p"}, conn.next(reqUnwatch).Patients)

		// A patient whose access is revoked takes the waiting events along.
		conn.send(entry("alert", "q", 4, 3), entry("alert", "r", 2, 2), `{"type":"revoked","patient":"q"}`, entry("alert", "q", 5, 4))
		synctest.Wait()
		reads(t, c, "alert 2", "revoked")
		nothing(t, c)

		// Without groups and names nothing is left.
		done := make(chan error, 1)
		go func() { done <- c.Unwatch(t.Context(), nil, []string{"w"}) }()
		q = conn.next(reqUnwatch)
		require.Equal(t, []string{"r"}, q.Patients)
		conn.ok(q, "")
		q = conn.next(reqUnwatch)
		require.Equal(t, []string{"w"}, q.Groups)
		conn.ok(q, "")
		require.NoError(t, <-done)
		conn.send(entry("alert", "r", 3, 3), entry("sync", "r", 3, 3))
		require.Equal(t, Event{Type: EventRevoked, Patient: "r"}, read(t, c))
		nothing(t, c)
		conn.close(CloseRestart)
		conn = <-s.conns
		conn.none()
		require.Empty(t, c.follows)
		require.NoError(t, c.Close())
	})
}

// A patient who is refused when resuming is revoked, or asked for again if the
// decision failed.
func TestClientRefusedLater(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		done := make(chan error, 1)
		go func() {
			got, err := c.Watch(t.Context(), WatchOptions{Patients: []string{"a", "b", "x"}, Groups: []string{"g", "h"}, Emergency: true, Reason: "why"})
			require.Equal(t, WatchResult{Patients: []string{"a", "b"}, Refused: []Refusal{{Patient: "x", Code: CodeForbidden}}}, got)
			done <- err
		}()
		conn.ok(conn.next(reqWatch), `,"watching":["a","b"],"refused":[{"patient":"x","code":"forbidden"}]`)
		require.NoError(t, <-done)
		conn.close(CloseRestart)
		conn = <-s.conns
		q := conn.next(reqWatch)
		require.Equal(t, []string{"g", "h"}, q.Groups)
		conn.ok(q, `,"refused":[{"group":"g","code":"undecided"},{"group":"h","code":"forbidden"}]`)
		q = conn.next(reqWatch)
		require.Equal(t, []string{"a", "b"}, q.Patients)
		require.Equal(t, "why", q.Reason)
		conn.ok(q, `,"refused":[{"patient":"a","code":"undecided"},{"patient":"b","code":"forbidden"}]`)
		reads(t, c, "live", "welcome", "lost", "live", "welcome", "revoked")
		start := time.Now()
		q = conn.next(reqWatch)
		require.Equal(t, 2*time.Second, time.Since(start))
		if q.Groups == nil { // asked for a moment before the group
			require.Equal(t, []string{"a"}, q.Patients)
			conn.fail(q, `"code":"busy","retry":"later","retry_ms":100`)
			q = conn.next(reqWatch)
		}
		require.Equal(t, []string{"g"}, q.Groups)
		conn.ok(q, "")
		q = conn.next(reqWatch)
		require.Equal(t, []string{"a"}, q.Patients)
		conn.fail(q, `"code":"forbidden","retry":"never"`)
		reads(t, c, "revoked")
		conn.none()
		require.NoError(t, c.Close())
	})
}

// A patient without any events is reported as not current, though the line lives.
func TestClientStalePatient(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		for range 4 {
			time.Sleep(25 * time.Second)
			conn.send(heads("p", 7, 3))
		}
		for range 4 {
			time.Sleep(25 * time.Second)
			conn.send(`{"type":"inbox","items":[]}`)
		}
		reads(t, c, "inbox", "inbox")
		ev := read(t, c)
		require.Equal(t, Event{Type: EventStale, Patient: "p"}, ev)
		reads(t, c, "inbox", "inbox")
		require.Equal(t, map[string]Position{"p": {"E", 7}}, conn.next(reqWatch).Since)

		// A catching up that stops half-way is no better.
		conn.ok(&request{Req: "2"}, `,"watching":["p"]`)
		conn.send(entry("sync+", "p", 7, 3))
		for range 4 {
			time.Sleep(25 * time.Second)
			conn.send(`{"type":"inbox","items":[]}`)
		}
		require.Equal(t, map[string]Position{"p": {"E", 7}}, conn.next(reqWatch).Since)

		// While the server's store fails, that is the reason.
		require.NoError(t, c.Close())
		c, conn = s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		for range 4 {
			conn.send(`{"type":"status","store":"failing"}`)
			time.Sleep(25 * time.Second)
		}
		reads(t, c, "status", "status", "status")
		require.Equal(t, Event{Type: EventStale, Patient: "p"}, read(t, c))
		conn.send(heads("p", 7, 3))
		reads(t, c, "status")
		require.Equal(t, Event{Type: EventLive, Patient: "p"}, read(t, c))
		nothing(t, c)
		conn.none()
		require.NoError(t, c.Close())
	})
}

// A recovered position is of no use to a client that holds only part of a
// snapshot.
func TestClientRecoveredFromNothing(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		s.follow(c, conn, WatchOptions{}, 7, 3)
		conn.send(entry("sync", "p", 9, 5), entry("alert", "p", 8, 4), entry("sync+", "p", 9, 5))
		require.Nil(t, conn.next(reqWatch).Since)
		reads(t, c, "sync 9", "alert 8", "stale")
		require.NoError(t, c.Close())
	})
}

// A sync that never comes does not go unnoticed.
func TestClientNoSync(t *testing.T) {
	scriptTest(t, func(t *testing.T, s *script) {
		c, conn := s.dial(nil)
		done := make(chan error, 1)
		go func() {
			_, err := c.Watch(t.Context(), WatchOptions{Patients: []string{"p"}, Since: map[string]Position{"p": {"E", 4}}})
			done <- err
		}()
		conn.ok(conn.next(reqWatch), `,"watching":["p"]`)
		require.NoError(t, <-done)
		conn.send(`{"type":"status","store":"failing"}`) // that explains it
		for range 6 {
			time.Sleep(20 * time.Second)
			conn.send(`{"type":"status","store":"failing"}`)
		}
		require.Empty(t, s.conns)
		conn.send(`{"type":"status","store":"ok"}`)
		conn = <-s.conns
		q := conn.next(reqWatch)
		require.Equal(t, map[string]Position{"p": {"E", 4}}, q.Since)
		conn.ok(q, `,"watching":["p"]`)
		// The count at a position of the application's own is not known.
		conn.send(entry("sync+", "p", 4, 2), entry("alert", "p", 5, 3), entry("alert", "p", 6, 5))
		require.Equal(t, map[string]Position{"p": {"E", 5}}, conn.next(reqWatch).Since)
		require.NoError(t, c.Close())
	})
}
