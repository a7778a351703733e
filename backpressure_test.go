package carewire

import (
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/wsconn"
)

// A slowLine carries so many bytes in a second towards the client.
type slowLine struct {
	net.Conn
	rate int
}

func (s *slowLine) Read(p []byte) (int, error) {
	n, err := s.Conn.Read(p[:min(len(p), 1000)])
	time.Sleep(time.Duration(n) * time.Second / time.Duration(s.rate))
	return n, err
}

// A line that carries a third of the readings shows every value of every
// patient again and again, none older than two rounds of all of them, and an
// alert ahead of them.
func TestSlowLineIsFair(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		const (
			keys  = 40 // of each patient, new every second
			bytes = 250
			rate  = 3 * keys * bytes / 3 // bytes per second
			round = 3 * keys * bytes / rate * time.Second
		)
		p := join(t, &slowLine{dialler(w, w.net, nil)(), rate}, "nurse")
		p.send(`{"type":"watch","req":"1","patients":["p1","p2","p3"]}`)
		begun := time.Now()
		go func() {
			for second := range 120 {
				for patient := range 3 {
					name := fmt.Sprint("p", patient+1)
					var vitals []Vital
					for k := range keys {
						v := HeartRate.Of(name, 72)
						v.Device, v.Time = fmt.Sprint("device-", k), time.Now()
						vitals = append(vitals, v)
					}
					w.hub.Publish(t.Context(), vitals...)
				}
				if second%10 == 9 {
					w.hub.Raise(t.Context(), Raise{Patient: "p3", Key: fmt.Sprint(second), Text: "x", Priority: PriorityHigh, To: []string{"person:pat"}})
				}
				time.Sleep(time.Second)
			}
		}()
		shown := make(map[string]time.Time) // when each value was last shown
		alerts := make(map[string]bool)
		for time.Since(begun) < 119*time.Second {
			first, b, err := p.frame()
			require.NoError(t, err)
			if first == opPing {
				go p.write(masked(opPong, string(b)))
				continue
			}
			ev, _, err := decodeEvent(b)
			require.NoError(t, err)
			switch {
			case ev.Vital != nil:
				require.LessOrEqual(t, time.Since(ev.Vital.Received), 2*round+2*time.Second, "an old value")
				shown[ev.Patient+ev.Vital.Device] = time.Now()
			case ev.Alert != nil && !alerts[ev.Alert.Key]:
				alerts[ev.Alert.Key] = true
				require.LessOrEqual(t, time.Since(ev.Alert.Raised), round+2*time.Second, "an alert behind others' vitals")
			}
			if time.Since(begun) > 3*round {
				require.Len(t, shown, 3*keys)
			}
			for key, at := range shown {
				require.LessOrEqual(t, time.Since(at), 2*round+2*time.Second, "%s is not shown any more", key)
			}
		}
		require.Len(t, alerts, 11)
		require.NotZero(t, w.hub.Stats().Replaced)
		go func() { // the rest
			for {
				if _, _, err := p.frame(); err != nil {
					return
				}
			}
		}()
		time.Sleep(time.Minute)
		p.conn.Close()
	})
}

// Undroppable events go ahead of other patients' vitals.
func TestAlertsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		p := join(t, dialler(w, w.net, nil)(), "nurse")
		p.send(`{"type":"watch","req":"1","patients":["p1","p2","p3"],"delivery":"every"}`)
		for range 3 {
			p.text("synced")
		}
		for _, patient := range []string{"p1", "p1", "p2", "p3", "p2"} {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of(patient, 72))
			require.NoError(t, err)
			synctest.Wait() // the first is being written, and the client does not read
		}
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p3", Text: "x", Priority: PriorityHigh, To: []string{"person:pat"}})
		require.NoError(t, err)
		synctest.Wait()
		var order []string
		for len(order) < 6 {
			_, b, err := p.frame()
			require.NoError(t, err)
			ev, _, err := decodeEvent(b)
			if at := ev.Patient + " " + string(ev.Type); err == nil && (ev.Vital != nil || ev.Alert != nil && ev.Alert.Escalation.Level == 0) {
				order = append(order, at)
			}
		}
		require.Equal(t, []string{"p1 vital", "p3 vital", "p3 alert", "p1 vital", "p2 vital", "p2 vital"}, order)
		p.conn.Close()
	})
}

// What cannot be dropped goes by priority: patients with a high alert first, then
// those with a medium one, then others, each in the order of their log.
func TestHighAlertsOvertakeLowOnes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		t.Cleanup(w.close)
		p := join(t, dialler(w, w.net, nil)(), "nurse")
		p.send(`{"type":"watch","req":"1","patients":["p1","p2","p3"],"delivery":"every"}`)
		for range 3 {
			p.text("synced")
		}
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 72))
		require.NoError(t, err)
		synctest.Wait() // it is being written, and the client does not read
		for _, e := range []struct {
			patient  string
			priority Priority
		}{{"p1", PriorityLow}, {"p2", PriorityLow}, {"p3", PriorityInfo}, {"p2", PriorityMedium}, {"p1", PriorityLow}, {"p3", PriorityHigh}, {"p3", PriorityLow}} {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: e.patient, Text: `"priority":"high"`, Priority: e.priority, To: []string{"person:pat"}})
			require.NoError(t, err)
			synctest.Wait()
		}
		var order []string
		for len(order) < 7 {
			_, b, err := p.frame()
			require.NoError(t, err)
			if ev, _, err := decodeEvent(b); err == nil && ev.Alert != nil && ev.Alert.Escalation.Level == 0 {
				order = append(order, ev.Patient+" "+string(ev.Alert.Priority))
			}
		}
		require.Equal(t, []string{"p3 info", "p3 high", "p3 low", "p2 low", "p2 medium", "p1 low", "p1 low"}, order)
		p.conn.Close()
	})
}

// All clients that read nothing together hold no more than the options allow, plus a
// little each. A client that comes back gets everything.
func TestMemoryOfStuckClients(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const clients, limit = 1000, 8 << 20
		w := newWorld(t, nil, &Options{MaxTotalOutboxBytes: limit, MaxPerPrincipal: -1})
		t.Cleanup(w.close)
		var stuck []*peer
		for range clients {
			p := join(t, dialler(w, w.net, nil)(), "nurse")
			p.send(`{"type":"watch","req":"1","patients":["p1","p2","p3"],"delivery":"every"}`)
			p.text("synced")
			p.text("synced")
			p.text("synced")
			stuck = append(stuck, p)
		}
		before := int(heapBytes())
		text := strings.Repeat("x", 400)
		const events, alerts = 3000, 300
		for i := range events {
			patient := fmt.Sprint("p", i%3+1)
			_, err := w.hub.Publish(t.Context(), HeartRate.Of(patient, float64(i%100+40)))
			require.NoError(t, err)
			if i%(events/alerts) == 0 {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: patient, Key: fmt.Sprint(i), Text: text, Priority: PriorityLow, To: []string{"person:pat"}})
				require.NoError(t, err)
			}
		}
		synctest.Wait()
		const wanted = clients * (events*230 + alerts*800)
		waiting, own := 0, 0
		for _, c := range w.hub.registry.list() {
			c.out.mu.Lock()
			waiting += c.out.bytes
			own += c.out.read
			c.out.mu.Unlock()
		}
		require.Greater(t, wanted, 10*(limit+clients*smallOutbox), "the test asks too little")
		require.LessOrEqual(t, waiting, limit+clients*2*smallOutbox)
		require.LessOrEqual(t, own, clients*2*readAhead)
		require.LessOrEqual(t, w.hub.Stats().OutboxBytes, limit+clients*smallOutbox)
		require.LessOrEqual(t, int(heapBytes())-before, limit+clients*(readAhead+smallOutbox))

		// One that reads now gets everything, in order.
		p := stuck[0]
		next := map[string]uint64{"p1": 1, "p2": 1, "p3": 1}
		for next["p1"]+next["p2"]+next["p3"] < events+alerts+3 {
			first, b, err := p.frame()
			require.NoError(t, err)
			if first != opText {
				continue
			}
			var o struct {
				Type    string
				Patient string
				Seq     uint64
			}
			require.NoError(t, json.Unmarshal(b, &o))
			if o.Type == "vital" || o.Type == "alert" {
				require.Equal(t, next[o.Patient], o.Seq)
				next[o.Patient]++
			}
		}
		for _, p := range stuck {
			p.conn.Close()
		}
		synctest.Wait()
		require.Zero(t, w.hub.Stats().OutboxBytes)
	})
}

// A client that wants every event and is too far behind to ever get them is told
// so. It gets the newest values, the open entries, and every alert on the way.
// It does not lag again and again without an end.
func TestFarBehindIsToldAndLosesNoAlert(t *testing.T) {
	for _, live := range []bool{true, false} {
		t.Run(fmt.Sprint("live ", live), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, &Options{MaxReplay: 100, MaxOutboxBytes: 4096})
				t.Cleanup(w.close)
				publish := func(n int) {
					for i := range n {
						_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", float64(40+i%100)))
						require.NoError(t, err)
					}
				}
				raise := func(key string) {
					_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityLow, To: []string{"person:pat"}})
					require.NoError(t, err)
				}
				closeIt := func(key string) {
					_, err := w.hub.Answer(t.Context(), people["nurse"], AlertRef{Patient: "p1", Key: key}, Answer{Do: AnswerClose, Force: true, Reason: "x"})
					require.NoError(t, err)
				}
				raise("before")
				p := join(t, dialler(w, w.net, nil)(), "nurse")
				watch := func(since string) {
					p.send(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every"` + since + `}`)
				}
				watch("")
				at := p.text("synced")
				if !live {
					p.conn.Close()
				}
				raise("over")
				closeIt("over")
				publish(300)
				raise("after")
				publish(300)
				synctest.Wait()
				if !live {
					p = join(t, dialler(w, w.net, nil)(), "nurse")
					watch(fmt.Sprintf(`,"since":{"p1":{"epoch":"%s","seq":%v}}`, at["epoch"], at["seq"]))
				}
				// The line had taken a few at once before it stood still.
				require.Equal(t, false, p.text("sync")["recovered"])
				states, vitals, last := map[string]string{}, 0, 0.0
				for done := false; !done || states["after"] == ""; {
					_, b, err := p.frame()
					require.NoError(t, err)
					var o struct {
						Type  string
						Seq   float64
						Must  float64
						Alert struct {
							Key    string
							Closed json.RawMessage
						}
					}
					if json.Unmarshal(b, &o) != nil {
						continue
					}
					switch o.Type {
					case "vital":
						vitals++
					case "alert":
						states[o.Alert.Key] += "+"
						if o.Alert.Closed != nil {
							states[o.Alert.Key] += "closed"
						}
					case "sync":
						last = 0
						continue
					case "synced":
						done = true
						require.GreaterOrEqual(t, o.Must, 4.0)
					default:
						continue
					}
					require.Greater(t, o.Seq, last-1)
					last = o.Seq
				}
				require.LessOrEqual(t, vitals, 350, "of 600")
				require.Contains(t, states, "before")
				require.Contains(t, states, "after")
				if !live {
					require.Contains(t, states["over"], "closed")
				}
				require.NotZero(t, w.hub.Stats().Skipped)
				p.conn.Close()
			})
		})
	}
}

// Clients that one goroutine writes for get everything, in order, even if it is more
// than the kernel takes at once.
func TestMuchForManyAtOnce(t *testing.T) {
	w := newWorld(t, nil, nil)
	t.Cleanup(w.close)
	const clients, events = 3, 4000
	dial := dialler(w, loopbackListener(t), nil)
	var all []*peer
	for range clients {
		p := join(t, dial(), "nurse")
		p.send(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every"}`)
		p.text("synced")
		all = append(all, p)
	}
	vitals := make([]Vital, events)
	for i := range vitals {
		vitals[i] = HeartRate.Of("p1", 72)
	}
	_, err := w.hub.Publish(t.Context(), vitals...)
	require.NoError(t, err)
	for seq := range events { // by turns: a client that reads nothing for too long is disconnected
		for _, p := range all {
			require.Equal(t, seq+1, seqOf(p.text("vital")))
		}
	}
}

// An endless line takes everything at once, and is sent more whenever it does.
type endless struct {
	swallow
	written int
	more    func()
}

func (e *endless) TryFrames([]byte, *wsconn.Attempt) (rest []byte, err error, tried bool) {
	if e.written++; e.written < 1000 {
		e.more()
	}
	return nil, nil, true
}

func (e *endless) FinishFrames([]byte) error { return nil }

// A client that takes an endless stream of events delays nobody whose outbox the
// same goroutine writes.
func TestEndlessClientKeepsNobodyWaiting(t *testing.T) {
	w := newWorld(t, nil, nil)
	defer w.close()
	on := make(chan struct{})
	box := func(line *endless) *outbox {
		line.more = func() {}
		return &outbox{shared: w.hub.outboxes, sink: line, direct: line, fail: func() {}, full: func() {}, busy: true, control: [][]byte{pingFrame}, runs: func() { close(on) }}
	}
	first, second := &endless{}, &endless{}
	one := box(first)
	first.more = func() { one.send(pingFrame) }
	runAll([]*outbox{one, box(second)})
	require.Equal(t, 1, second.written, "the second one's turn")
	require.Equal(t, inARow, first.written, "of the first one, which then has a goroutine of its own")
	<-on
}
