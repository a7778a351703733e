package carewire

import (
	"encoding/json"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A client that stops reading holds a bounded amount, and is cut; one beside it
// is not even delayed; on its return it gets every alert.
func TestStuckClient(t *testing.T) {
	for _, v := range venues[:2] {
		t.Run(v.name, func(t *testing.T) {
			certificate()
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, &Options{MaxOutboxBytes: 16 << 10})
				t.Cleanup(w.close)
				dial := v.open(w)
				watch := `{"type":"watch","req":"1","patients":["p1"]%s}`
				stuck, healthy := join(t, dial(), "doctor"), join(t, dial(), "nurse")
				for p, how := range map[*peer]string{stuck: "", healthy: `,"delivery":"every"`} {
					p.send(fmt.Sprintf(watch, how))
					p.text("synced")
				}
				l := healthy.listen()
				var c *conn
				for _, x := range w.hub.registry.of("doctor") {
					c = x
				}
				begun := time.Now()
				const alerts = 100
				for i := range alerts {
					sent := time.Now()
					for n := range 10 {
						_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", float64(i)), SpO2.Of("p1", float64(n)))
						require.NoError(t, err)
					}
					_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint(i), Text: strings.Repeat("x", 3000), Priority: PriorityLow, To: []string{"person:pat"}})
					require.NoError(t, err)
					synctest.Wait()
					require.GreaterOrEqual(t, l.count("alert"), i+1)
					require.Equal(t, time.Now(), sent, "the healthy client waited")
					c.out.mu.Lock()
					events, replies := c.out.bytes, c.out.held
					c.out.mu.Unlock()
					require.LessOrEqual(t, events, 16<<10)
					require.LessOrEqual(t, replies, 64<<10)
					time.Sleep(200 * time.Millisecond)
				}
				require.EqualValues(t, 20*alerts, l.count("vital"))
				for w.hub.Stats().Connections > 1 {
					time.Sleep(100 * time.Millisecond)
				}
				require.LessOrEqual(t, time.Since(begun), 30*time.Second)
				require.NotZero(t, w.hub.Stats().Replaced)

				back := join(t, dial(), "doctor")
				back.send(fmt.Sprintf(watch, `,"since":{"p1":{"epoch":"","seq":0}}`))
				seen := make(map[any]bool)
				for done := false; !done; {
					first, b, err := back.frame()
					require.NoError(t, err)
					if first == opText {
						var o object
						require.NoError(t, json.Unmarshal(b, &o))
						if o["type"] == "alert" {
							seen[valueAt(o, "alert", "key")] = true
						}
						done = o["type"] == "synced"
					}
				}
				require.Len(t, seen, alerts)
			})
		})
	}
}

// The kernel holds a bounded amount for a client that does not read; the rest stays
// with the Hub, where new vitals replace old ones.
func TestSendBufferIsBounded(t *testing.T) {
	for _, v := range venues[2:4] {
		t.Run(v.name, func(t *testing.T) {
			w := newWorld(t, nil, nil)
			t.Cleanup(w.close)
			p := join(t, v.open(w)(), "nurse")
			p.send(`{"type":"watch","req":"1","patients":["p1"]}`)
			p.text("synced")
			many := make([]Vital, 50)
			for sent := 0; ; sent += len(many) * 250 {
				for i := range many {
					many[i] = HeartRate.Of("p1", float64(60+i))
					many[i].Device = fmt.Sprintf("device-%02d", i)
				}
				_, err := w.hub.Publish(t.Context(), many...)
				require.NoError(t, err)
				c := w.hub.registry.list()[0]
				if c.out.idleFor(20 * time.Millisecond) {
					continue
				}
				require.Less(t, sent, 2<<20)
				return
			}
		})
	}
}

// idleFor reports whether the outbox is empty at some time within d.
func (o *outbox) idleFor(d time.Duration) bool {
	for end := time.Now().Add(d); time.Now().Before(end); runtime.Gosched() {
		o.mu.Lock()
		busy := o.busy
		o.mu.Unlock()
		if !busy {
			return true
		}
	}
	return false
}

// I2, I3: a client that was slow gets of each vital the newest, of alerts all,
// in log order, and slows down nobody.
func TestSlowClientGetsTheNewestAndEveryAlert(t *testing.T) {
	for _, delivery := range []string{"latest", "every", "alerts"} {
		t.Run(delivery, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWorld(t, nil, nil)
				defer w.close()
				slow, quick := w.watching("nurse", delivery), w.watching("doctor", "every")
				defer slow.ws.CloseNow()
				defer quick.ws.CloseNow()
				want := make(map[int]bool) // numbers that the slow client is owed
				newest := make(map[string]int)
				for i := range 200 {
					seq := i + 1
					if i%20 == 7 {
						_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k" + strconv.Itoa(i), Text: "x", Priority: PriorityInfo})
						require.NoError(t, err)
						want[seq] = true
					} else {
						v := []Vital{HeartRate.Of("p1", 60), SpO2.Of("p1", 97), RespiratoryRate.Of("p1", 15)}[i%3]
						_, err := w.hub.Publish(t.Context(), v)
						require.NoError(t, err)
						newest[v.Code] = seq
						if delivery == "every" {
							want[seq] = true
						}
					}
					require.Equal(t, seq, seqOf(quick.read()), "the quick one gets everything at once")
				}
				if delivery == "latest" {
					for _, seq := range newest {
						want[seq] = true
					}
				}
				last, must := 0, 0
				for len(want) > 0 {
					o := slow.read()
					seq := seqOf(o)
					require.Greater(t, seq, last, "log order")
					if o["type"] == "alert" {
						must++
					}
					require.EqualValues(t, must, o["must"], "I4: must counts the undroppable entries")
					last = seq
					delete(want, seq)
				}
				if delivery == "latest" {
					require.Positive(t, w.hub.Stats().Replaced)
				}
			})
		})
	}
}

// I3: a client that does not take an alert in time is told to come back, or cut.
func TestClientThatCannotTakeAlertsIsCutOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		slow := w.watching("nurse", "latest")
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityHigh})
		require.NoError(t, err)
		time.Sleep(time.Minute)
		require.Zero(t, w.hub.Stats().Connections)
		again := w.dial("nurse")
		defer again.ws.CloseNow()
		again.send(`{"type":"watch","req":"w","patients":["p1"]}`)
		require.Equal(t, "k", valueAt(again.until("alert"), "alert", "key"))
		slow.ws.CloseNow()
	})
}

// I6: one client that does not read, and one that the server cannot write to,
// cost nobody else anything.
func TestStuckClientsDelayNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		for range 20 {
			stuck := w.watching("nurse", "every")
			defer stuck.ws.CloseNow()
		}
		quick := w.watching("doctor", "every")
		defer quick.ws.CloseNow()
		start := time.Now()
		for i := range 500 {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60))
			require.NoError(t, err)
			require.Equal(t, i+1, seqOf(quick.read()))
		}
		require.Zero(t, time.Since(start))
	})
}

// I3, I5: a page that was read for a client that is catching up is not lost
// when more comes than may wait for it.
func TestPageIsKeptWhenTheQueueOverflows(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seam{Store: NewMemoryStore(nil)}
		w := newWorld(t, s, &Options{MaxOutboxBytes: 2000})
		defer w.close()
		raise := func(patient, key string) {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: patient, Key: key, Text: "x", Priority: PriorityInfo})
			require.NoError(t, err)
		}
		for i := range 3 {
			raise("p1", "before"+strconv.Itoa(i))
		}
		nurse := w.dial("nurse")
		defer nurse.ws.CloseNow()
		nurse.ask(`{"type":"watch","req":"1","patients":["p2"]}`)
		nurse.until("synced")
		once := true
		s.reading = func() { // p1 is being read: something else is being written meanwhile
			if once {
				once = false
				raise("p2", "busy")
				time.Sleep(time.Millisecond) // until that is being written
			}
		}
		nurse.ask(`{"type":"watch","req":"2","patients":["p1"],"since":{"p1":{"epoch":"","seq":0}}}`)
		time.Sleep(2 * time.Millisecond) // the page is there, and cannot be written
		for i := range 20 {
			raise("p1", "after"+strconv.Itoa(i))
		}
		next := 1
		for next <= 23 {
			if o := nurse.read(); o["patient"] == "p1" && o["type"] == "alert" {
				require.Equal(t, next, seqOf(o))
				next++
			}
		}
	})
}

// I6: for a client that does not read, no more than a little is read from the Store.
func TestNotMuchIsReadForAStuckClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		patients := `"p1"`
		text := strings.Repeat("x", 3000)
		w.hub.auth = AuthenticatorFunc(func(r *http.Request) (Principal, error) {
			p := Principal{ID: "nurse", Role: RoleClinician}
			for i := range 100 {
				p.Patients = append(p.Patients, "p"+strconv.Itoa(i))
			}
			return p, nil
		})
		for i := range 100 {
			p := "p" + strconv.Itoa(i)
			if i > 1 {
				patients += `,"` + p + `"`
			}
			for k := range 5 {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: p, Key: "k" + strconv.Itoa(k), Text: text, Priority: PriorityInfo})
				require.NoError(t, err)
			}
		}
		stuck := w.dial("nurse")
		defer stuck.ws.CloseNow()
		stuck.ask(`{"type":"watch","req":"1","patients":[` + patients + `]}`)
		synctest.Wait()
		for _, c := range w.hub.registry.list() {
			held := 0
			c.out.mu.Lock()
			for _, x := range c.watches {
				held += len(x.page)
			}
			c.out.mu.Unlock()
			require.Less(t, held, 200<<10)
		}
	})
}
