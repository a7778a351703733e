package carewire

import (
	"encoding/json"
	"log/slog"
	"net"
	"strings"
	"sync"
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

func upTo[N int | uint64](first, last N) (list []N) {
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

// A device's waves come to each client that asks for them and may watch, as they
// were sent; a client that joins gets the last ten seconds. Nothing of it is in
// the log.
func TestWavesReachTheirWatchers(t *testing.T) {
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

// Access that is taken ends the waves at once, for watchers and for senders.
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

// Waves stay on the node that gets them. When it is lost, and the device comes to
// another one, the watchers there see by the number that chunks are missing.
func TestWavesOfALostNode(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := NewMemoryStore(nil)
		var log lockedBuffer
		one, two := newWorld(t, store, &Options{Logger: slog.New(slog.NewTextHandler(&log, nil))}), newWorld(t, store, nil)
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
		told := two.dial("doctor")
		require.Contains(t, told.until("welcome")["features"], "waves-local")
		told.ws.CloseNow()
		device.conn.Close()
		time.Sleep(15 * time.Second)
		require.Equal(t, 1, strings.Count(log.String(), "waves come in"), "the node says it, and once")
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

// A client that watches again gets nothing twice, and a signal that "*" has
// brought can end alone.
func TestWavesGoOnWhereTheyWere(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		nurse := join(t, dial(), "nurse")
		got := watchWaves(nurse)
		began := time.Now()
		n := 0
		play := func(chunks int) {
			for range chunks {
				n++
				other := chunk(n, began)
				other.Code, other.Device = "150452", "mon-2"
				require.NoError(t, w.hub.PublishWaves(chunk(n, began), other))
				time.Sleep(250 * time.Millisecond)
			}
		}
		play(8)
		nurse.send(`{"type":"watch","req":"2","patients":["p1"],"delivery":"every","waves":["150452"]}`)
		play(8)
		require.Len(t, got.of(EventSynced), 2)
		require.Equal(t, upTo(1, 16), got.numbers("mon-1"))
		require.Equal(t, upTo(1, 16), got.numbers("mon-2"))
		nurse.send(`{"type":"unwatch","req":"3","patients":["p1"],"waves":["*"]}`)
		play(8)
		require.Equal(t, upTo(1, 16), got.numbers("mon-1"), "only * had brought it")
		require.Equal(t, upTo(1, 24), got.numbers("mon-2"), "it was asked for by its code besides")
		nurse.send(`{"type":"unwatch","req":"4","patients":["p1"],"waves":["150452"]}`)
		play(48)
		require.Equal(t, upTo(1, 24), got.numbers("mon-2"))
		_, err := w.hub.Publish(t.Context(), HeartRate.Of("p1", 72))
		require.NoError(t, err)
		synctest.Wait()
		require.Len(t, got.of(EventVital), 1, "the patient is watched on")
		time.Sleep(100 * time.Millisecond)
		nurse.send(`{"type":"watch","req":"5","patients":["p1"],"waves":["150452"]}`)
		time.Sleep(100 * time.Millisecond)
		play(1)
		require.Equal(t, append(upTo(1, 24), upTo(34, 73)...), got.numbers("mon-2"), "the last ten seconds")
	})
}

// A client that joins gets the chunks of the last ten seconds, not the last that
// came.
func TestOldWavesAreNotShown(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		began := time.Now()
		for n := 1; n <= 40; n++ {
			require.NoError(t, w.hub.PublishWaves(chunk(n, began)))
			time.Sleep(250 * time.Millisecond)
		}
		time.Sleep(6100 * time.Millisecond)
		require.Equal(t, upTo(26, 40), watchWaves(join(t, dial(), "nurse")).settled("mon-1"))
		time.Sleep(5 * time.Second)
		require.Empty(t, watchWaves(join(t, dial(), "doctor")).settled("mon-1"))
	})
}

// settled returns the numbers of the chunks that have come, after a second.
func (r *recorder) settled(device string) []int {
	time.Sleep(time.Second)
	return r.numbers(device)
}

// The memory of a signal is bounded in bytes, those of its samples included.
func TestWaveMemoryIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, nil)
		defer w.close()
		began := time.Now()
		for n := 1; n <= 40; n++ {
			c := chunk(n, began)
			c.Rate, c.Samples = waveRateMost, make([]int32, waveRateMost/4)
			for i := range c.Samples {
				c.Samples[i] = int32(i%2) << 30 // differences of five bytes
			}
			require.NoError(t, w.hub.PublishWaves(c))
			time.Sleep(250 * time.Millisecond)
		}
		head := chunk(1, began)
		s := w.hub.signals.bay("p1").bedsides["p1"].signals[head.signal()]
		total := 0
		for _, c := range s.recent {
			total += len(c.frame) + 4*cap(c.Samples)
		}
		require.LessOrEqual(t, total, waveBytes)
		require.Greater(t, total, waveBytes/2)
	})
}
