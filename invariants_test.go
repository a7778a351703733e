package carewire

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// watching dials, watches p1 and reads up to synced.
func (w *world) watching(token, delivery string) *raw {
	w.t.Helper()
	r := w.dial(token)
	r.ask(`{"type":"watch","req":"w","patients":["p1"],"delivery":"` + delivery + `"}`)
	r.until("synced")
	return r
}

func seqOf(o object) int { return int(o["seq"].(float64)) }

// I1: nothing is delivered, and no sender told ok, before Append returned.
func TestNothingIsToldBeforeItIsStored(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hold := make(chan struct{})
		s := &seam{Store: NewMemoryStore(nil)}
		s.appending = func(next Store, ctx context.Context, e []Entry) ([]AppendResult, error) {
			<-hold
			return next.Append(ctx, e)
		}
		w := newWorld(t, s, nil)
		defer w.close()
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		got := make(chan object, 1)
		go func() { got <- nurse.read() }()
		published := make(chan error, 1)
		go func() {
			_, err := w.hub.Publish(context.Background(), HeartRate.Of("p1", 72))
			published <- err
		}()
		synctest.Wait()
		require.Empty(t, got)
		require.Empty(t, published)
		close(hold)
		require.NoError(t, <-published)
		require.Equal(t, "vital", (<-got)["type"])
	})
}

// I1: an error of Append means that the outcome is unknown. What was written
// all the same is delivered, once, and a repeated send is recognised.
func TestUnknownOutcomeIsToldAndFilledIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seam{Store: NewMemoryStore(nil)}
		fail := true
		s.appending = func(next Store, ctx context.Context, e []Entry) ([]AppendResult, error) {
			a, err := next.Append(ctx, e)
			if fail {
				fail = false
				return nil, errInjected // written, and yet an error
			}
			return a, err
		}
		w := newWorld(t, s, nil)
		defer w.close()
		nurse, device := w.watching("nurse", "every"), w.dial("device")
		defer nurse.ws.CloseNow()
		defer device.ws.CloseNow()
		frame := `{"type":"publish","req":"%s","vitals":[{"patient":"p1","code":"8867-4","value":7%s,"unit":"/min","vital_id":"v%s"}]}`
		first := device.ask(fmt.Sprintf(frame, "1", "1", "1"))
		require.Equal(t, "unknown", first["results"].([]any)[0].(object)["error"].(object)["code"])
		again := device.ask(fmt.Sprintf(frame, "2", "1", "1"))
		require.Equal(t, object{"seq": 1.0, "repeated": true}, again["results"].([]any)[0])
		device.ask(fmt.Sprintf(frame, "3", "2", "2"))
		require.Equal(t, 1, seqOf(nurse.until("vital")))
		require.Equal(t, 2, seqOf(nurse.until("vital")))
	})
}

// I1, I2: what another node has appended is filled in, in order, without a hole.
func TestForeignEntriesAreFilledIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.watching("nurse", "every")
		defer nurse.ws.CloseNow()
		other, err := New(AuthenticatorFunc(byToken), store, nil)
		require.NoError(t, err)
		defer other.Shutdown(context.Background())
		for i := range 5 {
			_, err := other.Publish(t.Context(), HeartRate.Of("p1", float64(60+i)))
			require.NoError(t, err)
		}
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 80))
		require.NoError(t, err)
		for i := range 6 {
			require.Equal(t, i+1, seqOf(nurse.until("vital")))
		}
		_, err = other.Publish(t.Context(), HeartRate.Of("p1", 90)) // and without anything of our own
		require.NoError(t, err)
		require.Equal(t, 7, seqOf(nurse.until("vital")))
	})
}

// An alert that another node has taken in reaches watchers within a second, and
// needs no wake-up for it.
func TestForeignAlertNeedsNoWakeUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		other, err := New(AuthenticatorFunc(byToken), store, nil)
		require.NoError(t, err)
		defer other.Shutdown(context.Background())
		for i := range 5 { // at different moments of all that is regular
			time.Sleep(1300 * time.Millisecond)
			raised := time.Now()
			_, err := other.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint("k", i), Text: "x", Priority: PriorityHigh})
			require.NoError(t, err)
			for key := ""; key != fmt.Sprint("k", i); {
				key, _ = nurse.until("alert")["alert"].(object)["key"].(string)
			}
			require.LessOrEqual(t, time.Since(raised), time.Second)
		}
	})
}

// I1: a number at or below the cursor, or another epoch, gives every watcher a new beginning.
func TestAnotherLogIsANewBeginning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &seam{Store: NewMemoryStore(nil)}
		w := newWorld(t, s, nil)
		defer w.close()
		nurse := w.watching("nurse", "every")
		defer nurse.ws.CloseNow()
		for range 3 {
			_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 70))
			require.NoError(t, err)
			nurse.until("vital")
		}
		s.Store = NewMemoryStore(nil) // a backup was restored under our feet
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 71))
		require.NoError(t, err)
		sync := nurse.until("sync")
		require.Equal(t, false, sync["recovered"])
		v := nurse.read()
		require.Equal(t, 1, seqOf(v))
		require.Equal(t, sync["epoch"], v["epoch"])
		require.Equal(t, "synced", nurse.read()["type"])
		_, err = w.hub.Publish(t.Context(), HeartRate.Of("p1", 72))
		require.NoError(t, err)
		require.Equal(t, 2, seqOf(nurse.until("vital")))
	})
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
					require.EqualValues(t, must, o["must"], "I4: must counts what cannot be dropped")
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

// I2: a late vital does not replace a newer one that waits, and is not worth
// sending after it.
func TestLateVitalReplacesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		slow := w.watching("nurse", "latest")
		defer slow.ws.CloseNow()
		at := func(ago time.Duration, value float64) {
			v := HeartRate.Of("p1", value)
			v.Time = time.Now().Add(-ago)
			_, err := w.hub.Publish(t.Context(), v)
			require.NoError(t, err)
			synctest.Wait()
		}
		at(0, 60) // is being written; the others wait
		at(0, 61)
		at(time.Hour, 40)
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		require.EqualValues(t, 60, slow.read()["vital"].(object)["value"])
		require.EqualValues(t, 61, slow.read()["vital"].(object)["value"])
		require.Equal(t, "alert", slow.read()["type"])
	})
}

// I5: what comes while a client is catching up comes to it once.
func TestEventsDuringCatchUpComeOnce(t *testing.T) {
	for _, since := range []string{``, `,"since":{"p1":{"epoch":"","seq":0}}`} {
		synctest.Test(t, func(t *testing.T) {
			s := &seam{Store: NewMemoryStore(nil)}
			w := newWorld(t, s, nil)
			defer w.close()
			publish := func(key string) {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: key, Text: "x", Priority: PriorityInfo})
				require.NoError(t, err)
			}
			publish("before")
			once := true
			s.reading = func() {
				if once {
					once = false
					publish("meanwhile")
				}
			}
			nurse := w.dial("nurse")
			defer nurse.ws.CloseNow()
			nurse.send(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every"` + since + `}`)
			nurse.until("synced")
			publish("after")
			require.Equal(t, "after", nurse.read()["alert"].(object)["key"])
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
		require.Equal(t, "k", again.until("alert")["alert"].(object)["key"])
		slow.ws.CloseNow()
	})
}

// I4: quiet patients' heads come at least every 15 s, read from the Store.
func TestQuietPatientsShowTheirHeads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo})
		require.NoError(t, err)
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		start := time.Now()
		for range 5 {
			head := nurse.until("head")["heads"].([]any)[0].(object)
			require.LessOrEqual(t, time.Since(start), 15*time.Second)
			start = time.Now()
			require.Equal(t, "p1", head["patient"])
			require.EqualValues(t, 1, head["seq"])
			require.EqualValues(t, 1, head["must"])
		}
	})
}

// I4: a head is never sent before what it counts.
func TestForeignAlertComesBeforeTheHeadThatCountsIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		defer w.close()
		nurse := w.watching("nurse", "latest")
		defer nurse.ws.CloseNow()
		now := time.Now()
		_, err := store.Append(t.Context(), []Entry{{Patient: "p1", Kind: KindNotice, Key: "n/1", Rev: 1, Audience: AudienceAll, Time: now, Received: now, Data: []byte(`{"text":"x"}`)}})
		require.NoError(t, err)
		for {
			o := nurse.read()
			if o["type"] == "notice" {
				return
			}
			if o["type"] == "head" {
				require.EqualValues(t, 0, o["heads"].([]any)[0].(object)["must"])
			}
		}
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

// I7: the same ID with the same content is answered as the first time; with
// other content it is refused.
func TestRepeatedSendsAreRecognised(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		nurse, device, pat := w.dial("nurse"), w.dial("device"), w.dial("pat")
		for _, r := range []*raw{nurse, device, pat} {
			defer r.ws.CloseNow()
		}
		for _, c := range []struct {
			by                   *raw
			first, again, reused string
		}{
			{device,
				`{"type":"raise","req":"1","event_id":"e1","alert":{"patient":"p1","key":"k","text":"x","priority":"high"}}`,
				`{"type":"raise","event_id":"e1","alert":{"priority":"high","patient":"p1","key":"k","text":"x"},"req":"2"}`,
				`{"type":"raise","req":"3","event_id":"e1","alert":{"patient":"p1","key":"k","text":"y","priority":"high"}}`},
			{pat,
				`{"type":"notify","req":"1","notice":{"patient":"p1","notice_id":"n1","to":["group:icu"],"text":"x"}}`,
				`{"type":"notify","req":"2","notice":{"patient":"p1","notice_id":"n1","to":["group:icu"],"text":"x"}}`,
				`{"type":"notify","req":"3","notice":{"patient":"p1","notice_id":"n1","to":["group:icu"],"text":"y"}}`},
		} {
			first, again := c.by.ask(c.first), c.by.ask(c.again)
			require.Equal(t, "ok", first["type"], first)
			delete(first, "req")
			delete(again, "req")
			require.Equal(t, first, again)
			require.Equal(t, "id_reused", c.by.ask(c.reused)["code"])
		}
		// An answer that no longer fits the alert's state.
		answer := `{"type":"answer","req":"%s","patient":"p1","key":"k","alert_id":"e1","event_id":"%s","do":"%s"}`
		require.Equal(t, "ok", nurse.ask(fmt.Sprintf(answer, "1", "a1", "accept"))["type"])
		released := nurse.ask(fmt.Sprintf(answer, "2", "a2", "release"))
		require.Equal(t, "ok", released["type"])
		require.Equal(t, released, nurse.ask(fmt.Sprintf(answer, "2", "a2", "release")))
		require.Equal(t, "refused", nurse.ask(fmt.Sprintf(answer, "3", "a3", "release"))["code"])
		require.Equal(t, "id_reused", nurse.ask(fmt.Sprintf(answer, "4", "a2", "accept"))["code"])
		spoken := `{"type":"answer","req":"5","patient":"p1","key":"k","alert_id":"e1","event_id":"a5","do":"reject","source":{"kind":"speech","model":"ears 2","confidence":%s}}`
		rejected := nurse.ask(fmt.Sprintf(spoken, "0.67"))
		require.Equal(t, "ok", rejected["type"], rejected)
		require.Equal(t, rejected, nurse.ask(fmt.Sprintf(spoken, "0.67")))
		require.Equal(t, "id_reused", nurse.ask(fmt.Sprintf(spoken, "0.90"))["code"])
		// The same ID of another sender is another event.
		ok := nurse.ask(`{"type":"raise","req":"5","event_id":"e1","alert":{"patient":"p1","key":"other","text":"x","priority":"low"}}`)
		require.Equal(t, "ok", ok["type"], ok)
	})
}

// I7: a repeated send is answered as the first time when vitals that came after
// it are no longer kept.
func TestRepeatedSendsAreRecognisedAfterPruning(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &Options{Retention: Retention{Vitals: time.Minute}})
		defer w.close()
		device, pat := w.dial("device"), w.dial("pat")
		defer device.ws.CloseNow()
		defer pat.ws.CloseNow()
		raise := `{"type":"raise","req":"1","event_id":"e1","alert":{"patient":"p1","key":"k","text":"x","priority":"high"}}`
		notify := `{"type":"notify","req":"2","notice":{"patient":"p1","notice_id":"n1","to":["group:icu"],"text":"x"}}`
		raised, notified := device.ask(raise), pat.ask(notify)
		for range 2 { // the newest of a key stays
			require.NotEmpty(t, device.ask(`{"type":"publish","req":"3","vitals":[{"patient":"p1","code":"8867-4","value":70,"unit":"/min"}]}`)["results"])
			time.Sleep(time.Second)
		}
		require.NoError(t, w.store.(Pruner).Prune(t.Context(), time.Now().Add(time.Hour), Retention{Vitals: time.Minute}))
		require.Equal(t, raised, device.ask(raise))
		require.Equal(t, notified, pat.ask(notify))
	})
}

// unwritable is a Store that cannot be written while fails is set, and refuses
// for lack of room while full is. With last, the next append is the last that
// succeeds, and nothing can be looked for afterwards.
type unwritable struct {
	Store
	fails, full, last atomic.Bool
}

func (s *unwritable) Append(ctx context.Context, entries []Entry) ([]AppendResult, error) {
	if s.fails.Load() {
		return nil, errors.New("no")
	}
	if s.full.Load() {
		return slices.Repeat([]AppendResult{{Err: ErrFull}}, len(entries)), nil
	}
	defer func() { s.fails.Store(s.last.Load()) }()
	return s.Store.Append(ctx, entries)
}

func (s *unwritable) Waiting(ctx context.Context, due time.Time, limit int) ([]Entry, error) {
	if s.fails.Load() {
		return nil, errors.New("no")
	}
	return s.Store.Waiting(ctx, due, limit)
}

// I7: a repeated answer that no longer fits the alert's state is not refused
// while the Store cannot say that it was taken before.
func TestRepeatedAnswerWhileTheStoreFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := &unwritable{Store: NewMemoryStore(nil)}
		w := newWorld(t, store, nil)
		defer w.close()
		nurse, device := w.dial("nurse"), w.dial("device")
		defer nurse.ws.CloseNow()
		defer device.ws.CloseNow()
		device.ask(`{"type":"raise","req":"1","event_id":"e1","alert":{"patient":"p1","key":"k","text":"x","priority":"high"}}`)
		answer := `{"type":"answer","req":"2","patient":"p1","key":"k","alert_id":"e1","event_id":"a1","do":"close","force":true,"reason":"x"}`
		closed := nurse.ask(answer)
		require.Equal(t, "ok", closed["type"], closed)
		store.fails.Store(true)
		again := nurse.ask(answer)
		require.Equal(t, "unknown later", fmt.Sprint(again["code"], " ", again["retry"]))
		store.fails.Store(false)
		require.Equal(t, closed, nurse.ask(answer))
	})
}

// I8: who is outside an event's audience gets a gap in its place, live and
// when catching up.
func TestOutsidersGetGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		pat := w.watching("pat", "latest")
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "for staff", Priority: PriorityInfo})
		require.NoError(t, err)
		gap := pat.read()
		require.Equal(t, "gap", gap["type"])
		require.Equal(t, object{"type": "gap", "patient": "p1", "epoch": gap["epoch"], "seq": 1.0, "must": 1.0}, gap)
		pat.ws.CloseNow()
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k2", Text: "for staff", Priority: PriorityInfo})
		require.NoError(t, err)
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k3", Text: "for all", Priority: PriorityInfo, Audience: AudienceAll})
		require.NoError(t, err)
		pat = w.dial("pat")
		defer pat.ws.CloseNow()
		pat.send(fmt.Sprintf(`{"type":"watch","req":"w","patients":["p1"],"since":{"p1":{"epoch":%q,"seq":1}}}`, gap["epoch"]))
		require.Equal(t, true, pat.until("sync")["recovered"])
		require.Equal(t, object{"type": "gap", "patient": "p1", "epoch": gap["epoch"], "seq": 2.0, "must": 2.0}, pat.read())
		require.Equal(t, "for all", pat.read()["alert"].(object)["text"])
		require.EqualValues(t, 3, pat.read()["must"])
	})
}

// Positions that are not of this log are never honoured, those that are always.
func TestResumePositions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		defer w.close()
		for i := range 3 {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k" + strconv.Itoa(i), Text: "x", Priority: PriorityInfo})
			require.NoError(t, err)
		}
		heads, err := store.Heads(t.Context(), []string{"p1"})
		require.NoError(t, err)
		epoch := heads[0].Epoch
		for _, c := range []struct {
			name, since string
			recovered   bool
			events      int
		}{
			{"the end", `{"epoch":"` + epoch + `","seq":3}`, true, 0},
			{"the middle", `{"epoch":"` + epoch + `","seq":1}`, true, 2},
			{"before the first, with epoch", `{"epoch":"` + epoch + `","seq":0}`, true, 3},
			{"before the first", `{"epoch":"","seq":0}`, true, 3},
			{"beyond the end", `{"epoch":"` + epoch + `","seq":4}`, false, 3},
			{"far beyond the end", `{"epoch":"` + epoch + `","seq":999999999999999}`, false, 3},
			{"another epoch", `{"epoch":"other","seq":1}`, false, 3},
		} {
			r := w.dial("nurse")
			r.send(`{"type":"watch","req":"w","patients":["p1"],"since":{"p1":` + c.since + `}}`)
			r.until("ok")
			o := r.read()
			require.Equal(t, "sync", o["type"])
			require.Equal(t, c.recovered, o["recovered"], c.name)
			for range c.events {
				require.Equal(t, "alert", r.read()["type"], c.name)
			}
			o = r.read()
			require.Equal(t, "synced", o["type"], c.name)
			require.Equal(t, c.recovered, o["recovered"])
			require.EqualValues(t, 3, o["must"])
			r.ws.CloseNow()
		}
	})
}

// I3, I5: what was read for a client that is catching up is not lost when more
// comes than may wait for it.
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

// I5: who resumes while the Store fails is given what is missing when it works
// again, and no new beginning. So is who was let in then without a position.
func TestResumeWhileTheStoreFails(t *testing.T) {
	for _, found := range []string{"compared", "appended"} {
		synctest.Test(t, func(t *testing.T) {
			store := &seam{Store: NewMemoryStore(nil)}
			w := newWorld(t, store, nil)
			defer w.close()
			publish := func() {
				_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 60), HeartRate.Of("p1", 61))
				require.NoError(t, err)
			}
			publish()
			head, err := store.Heads(t.Context(), []string{"p1"})
			require.NoError(t, err)
			publish()
			nurse := w.dial("nurse")
			defer nurse.ws.CloseNow()
			store.failing.Store(true)
			nurse.send(fmt.Sprintf(`{"type":"watch","req":"1","patients":["p1"],"delivery":"every","since":{"p1":{"epoch":%q,"seq":%d}}}`, head[0].Epoch, head[0].Seq))
			time.Sleep(3 * time.Second)
			store.failing.Store(false)
			if found == "appended" {
				publish()
			}
			sync := nurse.until("sync")
			require.Equal(t, true, sync["recovered"], found)
			for seq := 3; seq <= 4; seq++ {
				require.Equal(t, seq, seqOf(nurse.until("vital")))
			}
			time.Sleep(10 * time.Second)
			publish()
			last := 6
			if found == "appended" {
				last = 8
			}
			for seq := 5; seq <= last; seq++ {
				require.Equal(t, seq, seqOf(nurse.until("vital")), found)
			}
		})
	}
}
