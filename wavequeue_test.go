package carewire

import (
	"net"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

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

// An alert is written alone: chunks that are gathered meanwhile come when they would
// have come without it.
func TestNoWaveIsWrittenWithAnAlert(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		p := join(t, dial(), "nurse")
		p.send(`{"type":"watch","req":"1","patients":["p1"],"waves":["*"]}`)
		p.text("synced")
		synctest.Wait()
		began := time.Now()
		require.NoError(t, w.hub.PublishWaves(chunk(1, began)))
		time.Sleep(waveGather / 4)
		_, err := w.hub.Raise(t.Context(), Raise{Patient: "p1", Text: "x", Priority: PriorityInfo, Audience: AudienceAll})
		require.NoError(t, err)
		p.text("alert")
		require.Equal(t, waveGather/4, time.Since(began))
		p.text("wave")
		require.Equal(t, waveGather, time.Since(began))
	})
}

// Of several signals a slow client gets the newest of each: none starves another.
func TestSlowClientSeesAllSignals(t *testing.T) {
	bedsideTest(t, nil, func(t *testing.T, w *world, dial func() net.Conn) {
		const rate = 2500 // bytes a second: a third of the chunks
		p := join(t, &slowLine{dial(), rate}, "nurse")
		defer func() {
			p.conn.Close()
			time.Sleep(10 * time.Second) // the line is under way with some bytes
		}()
		got := watchWaves(p)
		devices := []string{"a", "b", "c", "d", "e"}
		began := time.Now()
		for n := 1; n <= 240; n++ {
			for _, d := range devices {
				c := chunk(n, began)
				c.Device = d
				require.NoError(t, w.hub.PublishWaves(c))
			}
			time.Sleep(250 * time.Millisecond)
		}
		shares := make([]int, len(devices))
		for i, d := range devices {
			numbers := got.numbers(d)
			require.True(t, slices.IsSorted(numbers))
			require.NotEmpty(t, numbers, d)
			require.Greater(t, numbers[len(numbers)-1], 240-4*15, "device %s is not live", d)
			shares[i] = len(numbers)
		}
		require.Less(t, slices.Max(shares), 2*slices.Min(shares), "%v", shares)
		require.Less(t, slices.Max(shares), 240, "the line must be too slow")
	})
}
