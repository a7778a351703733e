package carewire

import (
	"context"
	"fmt"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// The right of a device to send is asked for by patient, not by chunk, and again
// after a minute. Test data need it too.
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

// The waves of strangers and devices are bounded, and a client that may not send
// makes no state.
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
		for i := range w.hub.signals.bays {
			require.Empty(t, w.hub.signals.bays[i].bedsides)
		}
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
		require.LessOrEqual(t, w.hub.signals.bay("p1").bedsides["p1"].signals[long.signal()].length, waveMemory+waveLongest)
		p := join(t, dial(), "nurse")
		p.send(`{"type":"wave","waves":[{"patient":"p1","data":"AB=="}]}`)
		refused := p.text("error")
		require.Equal(t, "waves[0].data", refused["field"])
		require.Nil(t, refused["req"])
	})
}

// A monitor that is moved to another patient is resolved anew with the next chunk, by
// all that the host may look at; and a chunk that the host cannot resolve waits for
// nobody.
func TestWavesAreResolved(t *testing.T) {
	var mu sync.Mutex
	at, fails, asked := map[string]string{"mon-1": "p1", "mon-1/left": "p2"}, false, 0
	resolve := func(_ context.Context, _ Principal, v *Vital) error {
		mu.Lock()
		defer mu.Unlock()
		asked++
		if fails {
			return errNoIdea
		}
		device := v.Device
		if v.Site != "" {
			device += "/" + v.Site
		}
		v.Patient = at[device]
		if v.Patient == "" {
			return ErrNotFound
		}
		return nil
	}
	move := func(device, patient string) {
		mu.Lock()
		defer mu.Unlock()
		at[device] = patient
	}
	bedsideTest(t, &Options{Resolve: resolve}, func(t *testing.T, w *world, dial func() net.Conn) {
		device := join(t, dial(), "device")
		taken, one := record(device), watchWaves(join(t, dial(), "nurse"))
		p := join(t, dial(), "doctor")
		two := record(p)
		p.send(`{"type":"watch","req":"1","patients":["p2"],"waves":["*"]}`)
		began := time.Now()
		send := func(n int, site string) {
			c := chunk(n, began)
			c.Patient, c.Site = "", site
			if n%2 == 0 {
				c.Patient = "bed-3"
			}
			sendChunks(device, c)
			time.Sleep(250 * time.Millisecond)
		}
		for n := 1; n <= 8; n++ {
			send(n, "")
			send(n, "left")
			if n == 4 {
				move("mon-1", "p2")
				move("mon-1/left", "p1")
			}
		}
		synctest.Wait()
		sites := func(r *recorder) (list []string) {
			for _, ev := range r.of(EventWave) {
				list = append(list, fmt.Sprint(ev.Wave.Patient, " ", ev.Wave.Number, ev.Wave.Site))
			}
			return list
		}
		require.Equal(t, []string{"p1 1", "p1 2", "p1 3", "p1 4", "p1 5left", "p1 6left", "p1 7left", "p1 8left"}, sites(one))
		require.Equal(t, []string{"p2 1left", "p2 2left", "p2 3left", "p2 4left", "p2 5", "p2 6", "p2 7", "p2 8"}, sites(two))

		refusals := func() (codes []ErrorCode) {
			for _, ev := range taken.of(EventWaves) {
				for _, r := range ev.waves.refused {
					codes = append(codes, r.Err.Code)
				}
			}
			return codes
		}
		require.Empty(t, refusals())
		move("mon-1", "")
		send(9, "")
		require.Equal(t, []ErrorCode{CodeForbidden}, refusals())
		mu.Lock()
		fails, asked = true, 0
		mu.Unlock()
		for n := 10; n <= 21; n++ {
			send(n, "left")
		}
		require.Len(t, refusals(), 13)
		require.Equal(t, CodeUndecided, refusals()[12])
		mu.Lock()
		require.Equal(t, 1, asked, "it is asked again after five seconds only")
		fails = false
		mu.Unlock()
		time.Sleep(askAgain)
		send(22, "left")
		require.Equal(t, "p1 22left", sites(one)[8])

		mu.Lock()
		asked = 0
		mu.Unlock()
		bad := chunk(23, began)
		bad.Unit = "bpm"
		sendChunks(device, bad)
		synctest.Wait()
		require.Equal(t, CodeInvalid, refusals()[13])
		mu.Lock()
		require.Zero(t, asked, "the host is asked of nothing that is refused anyway")
		mu.Unlock()
	})
}

// Access that is taken while a chunk's right is being asked for counts for that chunk.
func TestNoWaveComesAfterItsRevocation(t *testing.T) {
	asks, answer := make(chan struct{}), make(chan struct{})
	var once sync.Once
	j := &judge{}
	j.rule(func(a Access, _ string) (Decision, error) {
		if a.Action == ActionPublish {
			once.Do(func() {
				close(asks)
				<-answer
			})
		}
		return Decision{Allow: true}, nil
	})
	bedsideTest(t, &Options{Authorizer: j}, func(t *testing.T, w *world, dial func() net.Conn) {
		device := join(t, dial(), "device")
		taken := record(device)
		sendChunks(device, chunk(1, time.Now()))
		<-asks
		require.NoError(t, w.hub.Revoke(t.Context(), Revocation{Principal: "device", Patients: []string{"p1"}}))
		close(answer)
		time.Sleep(time.Second)
		require.Zero(t, w.hub.Stats().WavesIn)
		require.Len(t, taken.of(EventWaves), 1)
		require.Equal(t, CodeForbidden, taken.of(EventWaves)[0].waves.refused[0].Err.Code)
	})
}
