package carewire

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A recorder reads in the background and keeps every event.
type recorder struct {
	mu     sync.Mutex
	events []Event
}

func record(p *peer) *recorder {
	r := new(recorder)
	go func() {
		for {
			first, b, err := p.frame()
			switch {
			case err != nil:
				return
			case first == opPing:
				go p.write(masked(opPong, string(b)))
			case first == opText:
				if ev, reply, err := decodeEvent(b); err == nil && reply == nil {
					r.mu.Lock()
					r.events = append(r.events, ev)
					r.mu.Unlock()
				}
			}
		}
	}()
	return r
}

// of returns the events of one type.
func (r *recorder) of(typ EventType) (list []Event) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, ev := range r.events {
		if ev.Type == typ {
			list = append(list, ev)
		}
	}
	return list
}

// numbers returns the numbers of the chunks that have come, of one device.
func (r *recorder) numbers(device string) (list []int) {
	for _, ev := range r.of(EventWave) {
		if ev.Wave.Device == device {
			list = append(list, int(ev.Wave.Number))
		}
	}
	return list
}

func upTo(first, last int) (list []int) {
	for i := first; i <= last; i++ {
		list = append(list, i)
	}
	return list
}

// bedsideTest runs f in a bubble with a Hub.
func bedsideTest(t *testing.T, o *Options, f func(t *testing.T, w *world, dial func() net.Conn)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, o)
		t.Cleanup(w.close)
		f(t, w, dialler(w, w.net, nil))
	})
}

func sendChunks(p *peer, waves ...Wave) {
	b, err := json.Marshal(map[string]any{"type": "wave", "waves": waves})
	require.NoError(p.t, err)
	p.send(string(b))
}

// watchWaves has a person watch p1 with all waves.
func watchWaves(p *peer) *recorder {
	r := record(p)
	p.send(`{"type":"watch","req":"1","patients":["p1"],"waves":["*"]}`)
	for len(r.of(EventSynced)) == 0 {
		time.Sleep(time.Millisecond)
	}
	return r
}

// What a device sends comes to whoever asks for it and may watch, as it was sent;
// whoever joins gets the last ten seconds. Nothing of it is in the log.
func TestWavesReachWhoWantsThem(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		device, nurse, doctor := join(t, dial(), "device"), join(t, dial(), "nurse"), join(t, dial(), "doctor")
		taken, all := record(device), watchWaves(nurse)
		doctor.send(`{"type":"watch","req":"1","patients":["p1"],"waves":["150452"]}`)
		doctor.text("synced")
		pleth := record(doctor)
		began := time.Now()
		for n := 1; n <= 60; n++ {
			other := chunk(n, began)
			other.Code, other.Device = "150452", "mon-2"
			sendChunks(device, chunk(n, began), other)
			time.Sleep(250 * time.Millisecond)
		}
		synctest.Wait()
		require.Equal(t, upTo(1, 60), all.numbers("mon-1"))
		require.Equal(t, upTo(1, 60), all.numbers("mon-2"))
		require.Equal(t, upTo(1, 60), pleth.numbers("mon-2"))
		require.Empty(t, pleth.numbers("mon-1"))
		got := *all.of(EventWave)[0].Wave
		require.False(t, got.Received.IsZero())
		want := chunk(1, began)
		want.Time, want.Received = want.Time.UTC().Truncate(time.Millisecond), got.Received
		require.Equal(t, want, got)
		var last *Wave
		for _, ev := range all.of(EventWave) {
			if ev.Wave.Device == "mon-1" {
				require.True(t, last == nil || ev.Wave.Follows(last))
				last = ev.Wave
			}
		}
		late := watchWaves(join(t, dial(), "viewer"))
		synctest.Wait()
		time.Sleep(time.Second)
		require.Equal(t, upTo(21, 60), late.numbers("mon-1"), "the last ten seconds")
		acks := taken.of(EventWaves)
		require.Equal(t, uint64(96), acks[len(acks)-1].waves.count, "after each 32 chunks")
		require.Len(t, acks, 3)
		heads, err := w.store.Heads(t.Context(), []string{"p1"})
		require.NoError(t, err)
		require.Zero(t, heads[0].Seq, "nothing in the log")
		s := w.hub.Stats()
		require.Equal(t, []uint64{120, 60*2 + 60 + 80, 0}, []uint64{s.WavesIn, s.WavesOut, s.WavesLost})
		require.Equal(t, 2, s.Signals)
		time.Sleep(2 * waveForget)
		require.Zero(t, w.hub.Stats().Signals, "a signal that is heard no more")
	})
}

// A client whose line carries a half of the waves goes on seeing the newest; the
// oldest are dropped, and the numbers say so. Alerts do not wait behind waves.
func TestSlowClientSeesTheGap(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		const rate = 800 // bytes a second: a chunk is about 400
		p := join(t, &slowLine{dial(), rate}, "nurse")
		defer func() {
			p.conn.Close()
			time.Sleep(5 * time.Second) // the line is under way with some bytes
		}()
		got := watchWaves(p)
		began := time.Now()
		for n := 1; n <= 400; n++ {
			require.NoError(t, w.hub.PublishWaves(chunk(n, began)))
			if n == 200 {
				_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: "k", Text: "x", Priority: PriorityInfo, Audience: AudienceAll})
				require.NoError(t, err)
			}
			time.Sleep(250 * time.Millisecond)
			if n < 60 {
				continue
			}
			list := got.of(EventWave)
			newest := list[len(list)-1].Wave
			require.LessOrEqual(t, time.Since(newest.Received), waveLag+slowWrite/rate*time.Second+3*time.Second, "an old chunk at %d", n)
		}
		numbers, gaps := got.numbers("mon-1"), 0
		require.True(t, slices.IsSorted(numbers))
		for i := range numbers[1:] {
			if numbers[i+1] != numbers[i]+1 {
				gaps++
			}
		}
		require.Greater(t, gaps, 5)
		require.Less(t, len(numbers), 300)
		require.Greater(t, len(numbers), 100)
		require.NotZero(t, w.hub.Stats().WavesLost)
		require.NotEmpty(t, got.of(EventAlert))
	})
}

// While the client takes nothing, vitals and alerts go ahead of the waves that wait.
func TestWavesComeLast(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		p := join(t, dial(), "nurse")
		p.send(`{"type":"watch","req":"1","patients":["p1"],"waves":["*"]}`)
		p.text("synced")
		began := time.Now()
		for n := 1; n <= 4; n++ {
			require.NoError(t, w.hub.PublishWaves(chunk(n, began)))
			time.Sleep(100 * time.Millisecond) // the first is being written by now, and the client does not read
		}
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 72))
		require.NoError(t, err)
		_, err = w.hub.Raise(t.Context(), Raise{Patient: "p1", Text: "x", Priority: PriorityInfo, Audience: AudienceAll})
		require.NoError(t, err)
		synctest.Wait()
		var order []EventType
		for len(order) < 6 {
			_, b, err := p.frame()
			require.NoError(t, err)
			if ev, _, err := decodeEvent(b); err == nil && (ev.Wave != nil || ev.Vital != nil || ev.Alert != nil) {
				order = append(order, ev.Type)
			}
		}
		require.Equal(t, []EventType{EventWave, EventVital, EventAlert, EventWave, EventWave, EventWave}, order)
	})
}

// Access that is taken ends the waves at once, for who watches and for who sends.
func TestWavesEndWithAccess(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		device, nurse, doctor := join(t, dial(), "device"), join(t, dial(), "nurse"), join(t, dial(), "doctor")
		taken, seen, still := record(device), watchWaves(nurse), watchWaves(doctor)
		began := time.Now()
		next := func(first, last int) {
			for n := first; n <= last; n++ {
				sendChunks(device, chunk(n, began))
				time.Sleep(250 * time.Millisecond)
			}
		}
		next(1, 8)
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "nurse", Patients: []string{"p1"}}))
		next(9, 16)
		require.Equal(t, upTo(1, 8), seen.numbers("mon-1"))
		require.NotEmpty(t, seen.of(EventRevoked))
		require.Equal(t, upTo(1, 16), still.numbers("mon-1"))
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "device", Patients: []string{"p1"}}))
		next(17, 20)
		require.Equal(t, upTo(1, 16), still.numbers("mon-1"))
		refused := taken.of(EventWaves)
		require.NotEmpty(t, refused)
		last := refused[len(refused)-1].waves
		require.Equal(t, uint64(20), last.count)
		require.Equal(t, CodeForbidden, last.refused[0].Err.Code)
		require.Equal(t, uint64(20), last.refused[0].Number)
		require.NoError(t, w.hub.Discharge(t.Context(), "p1"))
		require.Zero(t, w.hub.Stats().Signals)
	})
}

// That a device may send is asked for its patient, not for each chunk, and again
// after a minute; of tests it must be allowed too.
func TestWavesAreAuthorised(t *testing.T) {
	var asked atomic.Int64
	var refuse atomic.Bool
	j := &judge{}
	j.rule(func(a Access, patient string) (Decision, error) {
		if a.Action == ActionPublish {
			asked.Add(1)
			return Decision{Allow: !refuse.Load()}, nil
		}
		return Decision{Allow: a.Action == ActionWatch}, nil
	})
	bedsideTest(t, &Options{Authorizer: j}, func(t *testing.T, w *world, dial func() net.Conn) {
		device := join(t, dial(), "device")
		taken, seen := record(device), watchWaves(join(t, dial(), "nurse"))
		began := time.Now()
		for n := 1; n <= 200; n++ {
			if n == 40 {
				refuse.Store(true)
			}
			sendChunks(device, chunk(n, began))
			time.Sleep(250 * time.Millisecond)
		}
		require.Len(t, seen.numbers("mon-1"), 200, "the minute is not over")
		for n := 201; n <= 260; n++ {
			sendChunks(device, chunk(n, began))
			time.Sleep(250 * time.Millisecond)
		}
		require.Less(t, len(seen.numbers("mon-1")), 245)
		require.Less(t, asked.Load(), int64(10))
		test := chunk(261, began)
		test.Test = true
		sendChunks(device, test)
		time.Sleep(time.Second)
		refused := taken.of(EventWaves)
		require.Equal(t, CodeForbidden, refused[len(refused)-1].waves.refused[0].Err.Code)
	})
}

// What strangers and devices send is bounded, and who may not send makes no state.
func TestWaveLimits(t *testing.T) {
	bedsideTest(t, &Options{MaxSignals: 2, Strips: NoStrips}, func(t *testing.T, w *world, dial func() net.Conn) {
		nobody, device := join(t, dial(), "nobody"), join(t, dial(), "device")
		stranger, taken := record(nobody), record(device)
		began := time.Now()
		for i := range 2 * waveRights {
			c := chunk(1, began)
			c.Patient = fmt.Sprint("x", i)
			sendChunks(nobody, c)
			time.Sleep(10 * time.Millisecond)
		}
		synctest.Wait()
		require.Zero(t, w.hub.Stats().Signals)
		require.Empty(t, w.hub.signals.bedsides)
		require.Len(t, stranger.of(EventWaves), 2*waveRights)
		for _, c := range w.hub.registry.list() {
			require.LessOrEqual(t, len(c.waves.rights), waveRights)
		}
		refusal := func(c Wave) ErrorCode {
			t.Helper()
			sendChunks(device, c)
			time.Sleep(100 * time.Millisecond)
			list := taken.of(EventWaves)
			if len(list) == 0 || len(list[len(list)-1].waves.refused) == 0 {
				return ""
			}
			return list[len(list)-1].waves.refused[0].Err.Code
		}
		a, b, third := chunk(1, began), chunk(1, began), chunk(1, began)
		b.Code, third.Code = "131329", "131389"
		require.Empty(t, refusal(a))
		require.Empty(t, refusal(b))
		require.Equal(t, CodeLimit, refusal(third))
		require.Equal(t, CodeInvalid, refusal(a), "the same number again")
		wrong := chunk(2, began)
		wrong.Unit = "bpm"
		require.Equal(t, CodeInvalid, refusal(wrong))
		long := chunk(2, began)
		long.Rate, long.Samples = 100, make([]int32, 200)
		for n := 2; n <= 40; n++ { // two seconds each, ten times as fast as they are
			long.Number = uint64(n)
			sendChunks(device, long)
			time.Sleep(200 * time.Millisecond)
		}
		long.Number++
		require.Equal(t, CodeBusy, refusal(long))
		require.NotZero(t, w.hub.Stats().Limits.Waves)
		require.LessOrEqual(t, w.hub.signals.bedsides["p1"].signals[long.signal()].length, waveMemory+waveLongest)
		p := join(t, dial(), "nurse")
		p.send(`{"type":"wave","waves":[{"patient":"p1","data":"AB=="}]}`)
		refused := p.text("error")
		require.Equal(t, "waves[0].data", refused["field"])
		require.Nil(t, refused["req"])
	})
}

// With an alert the ten seconds before and after are kept, for those who may see the
// alert, days later too; once, and not with alerts that are none of the body.
func TestStrips(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		nurse := watchWaves(join(t, dial(), "nurse"))
		began := time.Now()
		raise := func(a Raise) {
			a.Patient, a.Text = "p1", "x"
			_, err := w.hub.Raise(t.Context(), a)
			require.NoError(t, err)
		}
		var raised time.Time
		for n := 1; n <= 120; n++ {
			if n != 70 { // a gap
				c := chunk(n, began)
				test := c
				test.Test = true
				require.NoError(t, w.hub.PublishWaves(c, test))
			}
			switch n {
			case 60:
				raised = time.Now()
				raise(Raise{Key: "asystole", Priority: PriorityHigh, To: []string{"person:nurse"}, Audience: AudienceNamed})
				raise(Raise{Key: "asystole", Priority: PriorityHigh, To: []string{"person:nurse"}, Audience: AudienceNamed})
				raise(Raise{Key: "leads", Priority: PriorityMedium, Kind: AlertTechnical})
				raise(Raise{Key: "info", Priority: PriorityInfo})
				raise(Raise{Key: "tried", Priority: PriorityHigh, Test: true})
			}
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(72 * time.Hour)
		page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindStrip}})
		require.NoError(t, err)
		require.Len(t, page.Events, 2)
		byAlert, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindStrip}, Key: "asystole"})
		require.NoError(t, err)
		require.Len(t, byAlert.Events, 1)
		s := byAlert.Events[0].Strip
		require.WithinDuration(t, raised, s.Raised, time.Second)
		require.False(t, s.Dropped)
		require.Len(t, s.Waves, 2, "two pieces, with a gap between")
		before, after := s.Waves[0], s.Waves[1]
		require.Equal(t, []uint64{21, 71}, []uint64{before.Number, after.Number})
		require.Len(t, before.Samples, 49*62)
		require.GreaterOrEqual(t, after.End().Sub(raised), stripAfter)
		require.LessOrEqual(t, after.End().Sub(raised), stripAfter+2*time.Second)
		require.Equal(t, chunk(21, began).Samples, before.Samples[:62])
		all, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1"})
		require.NoError(t, err)
		for _, ev := range all.Events {
			require.Nil(t, ev.Strip, "only where it is asked for")
		}
		require.Empty(t, nurse.of(EventStrip), "whoever watches gets a gap")
		r := w.dial("nurse")
		defer r.ws.CloseNow()
		ask := `{"type":"history","req":"1","patient":"p1","kinds":["strip"],"key":"asystole"}`
		require.Len(t, r.ask(ask)["events"], 1)
		d := w.dial("doctor")
		defer d.ws.CloseNow()
		require.Empty(t, d.ask(ask)["events"], "whom the alert does not concern")
	})
}

// A strip is bounded however many signals there are, and what is in the making when
// the Hub ends is kept.
func TestStripsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		w := newWorld(t, store, nil)
		began := time.Now()
		for n := 1; n <= 60; n++ {
			for lead := range 12 {
				c := chunk(n, began)
				c.Device = fmt.Sprint("mon-", lead)
				for i := range c.Samples {
					c.Samples[i] = int32(i * i * n % 997)
				}
				require.NoError(t, w.hub.PublishWaves(c))
			}
			time.Sleep(250 * time.Millisecond)
		}
		for i := range stripsMost + 3 {
			_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Key: fmt.Sprint("k", i), Text: "x", Priority: PriorityHigh})
			require.NoError(t, err)
		}
		synctest.Wait()
		require.Equal(t, uint64(3), w.hub.Stats().Limits.Waves)
		w.close()
		entries, err := store.Read(t.Context(), "p1", Position{}, ReadQuery{Kinds: []Kind{KindStrip}})
		require.NoError(t, err)
		require.Len(t, entries, stripsMost)
		for i := range entries {
			require.LessOrEqual(t, len(entries[i].Data), stripBytes)
			require.Greater(t, len(entries[i].Data), stripBytes/3)
			ev, err := entries[i].event()
			require.NoError(t, err)
			require.True(t, ev.Strip.Dropped)
		}
	})
}

// Waves stay on the node that gets them. When it is lost, and the device comes to
// another one, whoever watches there sees what is missing by the number.
func TestWavesOfALostNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		one, two := newWorld(t, store, nil), newWorld(t, store, nil)
		t.Cleanup(two.close)
		here, there := watchWaves(join(t, dialler(one, one.net, nil)(), "nurse")), watchWaves(join(t, dialler(two, two.net, nil)(), "doctor"))
		began := time.Now()
		device := join(t, dialler(one, one.net, nil)(), "device")
		record(device)
		for n := 1; n <= 8; n++ {
			sendChunks(device, chunk(n, began))
			time.Sleep(250 * time.Millisecond)
		}
		require.Equal(t, upTo(1, 8), here.numbers("mon-1"))
		require.Empty(t, there.numbers("mon-1"), "on the other node")
		device.conn.Close()
		one.close()
		device = join(t, dialler(two, two.net, nil)(), "device")
		record(device)
		for n := 12; n <= 16; n++ { // those between were dropped by the device
			sendChunks(device, chunk(n, began))
			time.Sleep(250 * time.Millisecond)
		}
		back := watchWaves(join(t, dialler(two, two.net, nil)(), "nurse"))
		time.Sleep(time.Second)
		require.Equal(t, upTo(12, 16), there.numbers("mon-1"))
		require.Equal(t, upTo(12, 16), back.numbers("mon-1"))
		last := here.of(EventWave)[7].Wave
		require.False(t, back.of(EventWave)[0].Wave.Follows(last), "a gap")
	})
}
