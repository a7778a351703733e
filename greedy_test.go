package carewire

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/require"
)

// A client that tries tokens on a connection is answered twenty times, then it
// ends.
func TestFailedTokensArePaced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		for i := range badRequestBurst {
			require.Equal(t, "unauthorized", nurse.ask(fmt.Sprintf(`{"type":"token","req":"%d","token":"guess"}`, i))["code"])
		}
		nurse.send(`{"type":"token","req":"x","token":"guess"}`)
		_, code := nurse.all()
		require.Equal(t, websocket.StatusPolicyViolation, code)

		good := w.dial("nurse")
		defer good.ws.CloseNow()
		for i := range 2 * badRequestBurst { // one in ten seconds is somebody's old token
			require.Equal(t, "unauthorized", good.ask(fmt.Sprintf(`{"type":"token","req":"%d","token":"guess"}`, i))["code"])
			time.Sleep(11 * time.Second)
		}
	})
}

// With MaxBytes a principal's requests are bounded in bytes, over all its
// connections. Others' requests are not affected.
func TestBytesOfRequestsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxBytes: 4000, MaxNotices: -1})
		defer w.close()
		n := 0
		send := func(c *raw) any {
			n++
			return c.ask(fmt.Sprintf(`{"type":"notify","req":"1","notice":{"patient":"p1","notice_id":"n%d","to":["patient"],"text":"%s"}}`, n, strings.Repeat("x", 1900)))["code"]
		}
		one, other, doctor := w.dial("nurse"), w.dial("nurse"), w.dial("doctor")
		for _, c := range []*raw{one, other, doctor} {
			defer c.ws.CloseNow()
		}
		var codes []any
		for range 3 {
			codes = append(codes, send(one), send(other))
		}
		require.Equal(t, []any{nil, nil, nil, nil, "busy", "busy"}, codes)
		require.Nil(t, send(doctor))
		time.Sleep(10 * time.Second)
		require.Nil(t, send(other))
	})
}

// A principal whose connections are ended with 1013 again and again is logged, once
// in a while and not by name, and counted.
func TestSlowAgainAndAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		w := newWorld(t, nil, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
		slow := func(token string) {
			c := w.dial(token)
			defer c.ws.CloseNow()
			synctest.Wait() // it has joined
			w.hub.registry.of(token)[0].tooSlow()
			_, code := c.all()
			require.Equal(t, websocket.StatusCode(CloseTryLater), code)
			synctest.Wait()
		}
		for range 5 {
			slow("nurse")
		}
		slow("doctor")
		require.Equal(t, uint64(6), w.hub.Stats().SlowClients)
		require.Equal(t, uint64(3), w.hub.Stats().SlowAgain)
		time.Sleep(slowWithin + time.Minute)
		slow("nurse")
		require.Equal(t, uint64(3), w.hub.Stats().SlowAgain)
		w.close()
		require.Equal(t, 1, strings.Count(log.String(), "again and again"))
		require.NotContains(t, log.String(), "nurse")
	})
	var s slowness
	for i := range 3 * slowMost {
		s.note(fmt.Sprint(i), 0)
	}
	require.LessOrEqual(t, len(s.counts), slowMost)
}

// After a close frame further input is read slowly: a flood costs nothing, and
// ends with the connection.
func TestFloodBehindACloseFrame(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		p := join(t, dialler(w, w.net, nil)(), "nurse")
		p.text("inbox")
		w.hub.registry.of("nurse")[0].close(ClosePolicy)
		taken := 0
		some := bytes.Repeat(masked(opText, "[]"), 500)
		for {
			p.conn.SetWriteDeadline(time.Now().Add(time.Minute))
			n, err := p.conn.Write(some)
			if taken += n; err != nil {
				break
			}
		}
		require.Less(t, taken, 5<<20, "bytes in five seconds")
	})
}

func TestRefusalsDisplaceNothingThatWasDone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		done, counted := 0, 0
		a := newTestQueue(func(_ context.Context, r Record) error {
			mu.Lock()
			defer mu.Unlock()
			if r.Event == AuditAnswer && r.Outcome == OutcomeDone {
				done++
			}
			if r.Event == AuditClear {
				counted += max(r.Count, 1)
			}
			return nil
		})
		const floods = 200000
		for i := range floods {
			outcome, code := OutcomeRefused, CodeForbidden
			if i%100 < 50 {
				outcome, code = OutcomeFailed, CodeUnavailable
			}
			a.record(Record{Event: AuditClear, Outcome: outcome, Code: code, Who: Person{ID: fmt.Sprint("bad", i%50)}, Conn: "c"})
			if i%2000 == 0 {
				a.record(Record{Event: AuditAnswer, Who: Person{ID: "nurse"}, Conn: "n"})
			}
		}
		require.LessOrEqual(t, a.length(), 50*floodBurst+100)
		a.work.start(a.run)
		time.Sleep(2 * time.Minute)
		a.recordTallies(0)
		time.Sleep(time.Minute)
		synctest.Wait()
		mu.Lock()
		defer mu.Unlock()
		require.Equal(t, 100, done)
		require.EqualValues(t, floods, counted+int(a.lost.Load()), "each is recorded, counted, or said to be lost")
		require.NoError(t, a.work.end(context.Background()))
	})
}

// A caller that fills the queue of records waits until there is room, and no
// record is lost to one who is only fast.
func TestRequestersWaitForTheAuditor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var taken atomic.Int64
		a := newTestQueue(func(context.Context, Record) error {
			time.Sleep(100 * time.Microsecond) // so fast that nobody's patience ends
			taken.Add(1)
			return nil
		})
		a.work.start(a.run)
		const people, each = 20, 4000
		var all sync.WaitGroup
		for i := range people {
			all.Go(func() {
				for range each {
					a.waitForRoom(t.Context(), fmt.Sprint(i), false)
					a.record(Record{Event: AuditAnswer, Who: Person{ID: fmt.Sprint(i)}, Conn: "c"})
				}
			})
		}
		all.Wait()
		time.Sleep(5 * time.Minute)
		require.Zero(t, a.lost.Load())
		require.EqualValues(t, people*each, taken.Load())
		require.NoError(t, a.work.end(context.Background()))
	})
}

// Many principals may wait for the same place. There is room for the records of all.
func TestManyWaitForOnePlaceInTheAuditQueue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestQueue(func(context.Context, Record) error { return nil })
		for a.length() < a.room("nurse", false) {
			a.record(Record{Event: AuditEscalation})
		}
		var all sync.WaitGroup
		for i := range 50 {
			all.Go(func() {
				who := fmt.Sprint("nurse", i)
				a.waitForRoom(t.Context(), who, false)
				a.record(Record{Event: AuditAnswer, Who: Person{ID: who}, Conn: "c"})
			})
		}
		synctest.Wait()
		was := a.length()
		a.remove(0)
		all.Wait()
		require.Zero(t, a.lost.Load())
		require.Equal(t, was-1+50, a.length())
	})
}

// A principal of whom few records wait is not delayed by others that have filled
// the queue, and nothing that it did is lost.
func TestNobodyWaitsForOthersRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var nurse atomic.Int64
		a := newTestQueue(func(_ context.Context, r Record) error {
			time.Sleep(5 * time.Millisecond)
			if r.Who.ID == "nurse" {
				nurse.Add(1)
			}
			return nil
		})
		a.work.start(a.run)
		act := func(who string, event AuditEvent, outcome Outcome) (waited time.Duration) {
			begun := time.Now()
			a.waitForRoom(t.Context(), who, outcome == OutcomeRefused)
			a.record(Record{Event: event, Outcome: outcome, Who: Person{ID: who}, Conn: "c"})
			return time.Since(begun)
		}
		for i := 0; act(fmt.Sprint("greedy", i%4), AuditRaise, OutcomeDone) == 0; i++ {
			require.Less(t, i, recordsMax, "nobody is made to wait")
		}
		for range 100 {
			require.Zero(t, act("nurse", AuditAnswer, OutcomeDone))
			require.Zero(t, act("nurse", AuditClear, OutcomeRefused))
			act("greedy1", AuditRaise, OutcomeDone)
		}
		time.Sleep(10 * time.Minute)
		require.NoError(t, a.work.end(context.Background()))
		require.EqualValues(t, 200, nurse.Load())
		require.Zero(t, a.lost.Load())
		require.Empty(t, a.held)
	})
}

// While the Auditor fails, nobody waits for it.
func TestNobodyWaitsForAFailingAuditor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		a := newTestQueue(func(context.Context, Record) error { return errInjected })
		a.work.start(a.run)
		for range recordsMax {
			a.record(Record{Event: AuditAnswer})
		}
		synctest.Wait()
		begun := time.Now()
		a.waitForRoom(t.Context(), "nurse", false)
		require.Zero(t, time.Since(begun))
		require.NoError(t, a.work.end(context.Background()))
	})
}

// A request is charged by its cost, to its connection and to its principal.
func TestRequestsAreChargedByCost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxRequests: 100})
		defer w.close()
		long := strings.TrimSuffix(strings.Repeat(`"p1",`, 4000), ",")
		busy := func(conns int) (served int) {
			var clients []*raw
			for range conns {
				c := w.dial("nurse")
				defer c.ws.CloseNow()
				clients = append(clients, c)
			}
			for range 20 {
				for _, c := range clients {
					if c.ask(`{"type":"unwatch","req":"u","patients":[` + long + `]}`)["type"] == "ok" {
						served++
					}
				}
			}
			return served
		}
		require.LessOrEqual(t, busy(1), 2)
		time.Sleep(time.Minute)
		require.LessOrEqual(t, busy(30), 8, "the same principal's connections")
		doctor := w.dial("doctor")
		defer doctor.ws.CloseNow()
		for range 20 {
			require.Equal(t, "ok", doctor.ask(`{"type":"unwatch","req":"u","patients":["p1"]}`)["type"])
		}
	})
}

// Vitals that are refused are charged as work, so that a sender of many of them gets fewer
// requests in than one whose vitals are taken.
func TestRefusedVitalsAreCharged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{MaxRequests: 100})
		defer w.close()
		served := func(patient string) (n int) {
			device := w.dial("device")
			defer device.ws.CloseNow()
			var vitals []string
			for i := range 100 {
				vitals = append(vitals, fmt.Sprintf(`{"patient":"%s","code":"8867-4","value":60,"unit":"/min","device":"d%d","time":"%s"}`, patient, i, time.Now().UTC().Format(time.RFC3339)))
			}
			frame := `{"type":"publish","req":"1","vitals":[` + strings.Join(vitals, ",") + `]}`
			for range 40 {
				if err := device.ws.Write(t.Context(), websocket.MessageText, []byte(frame)); err != nil { // ended for abuse
					break
				}
				typ := "inbox"
				for typ != "ok" && typ != "error" && typ != "" {
					_, b, _ := device.ws.Read(t.Context())
					typ = peekType(b)
				}
				if typ != "ok" {
					break
				}
				n++
			}
			return n
		}
		require.Equal(t, 40, served("p1"))
		time.Sleep(time.Minute)
		refused := served("somebody-else")
		require.Greater(t, refused, 1)
		require.Less(t, refused, 20)
	})
}
