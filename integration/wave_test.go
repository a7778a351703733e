package integration

import (
	"context"
	"fmt"
	"math"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/examples/javascript"
	"github.com/carewire/carewire/internal/process"
)

// blanks counts the stretches of a canvas, of a twelfth of its width at least, in which
// nothing is drawn; a column of which anything is seen ends one.
const blanks = `(() => {
  const canvas = document.querySelector("canvas"), {width, height} = canvas, {data} = canvas.getContext("2d").getImageData(0, 0, width, height);
  const inked = Array.from({length: width}, (_, x) => { for (let y = 0; y < height; y++) if (data[4 * (y * width + x) + 3]) return true; return false; });
  let runs = 0, run = 0;
  for (let i = 0, first = Math.max(0, inked.indexOf(true)); i < width; i++) {
    run = inked[(first + i) % width] ? 0 : run + 1;
    if (run === Math.floor(width / 12)) runs++;
  }
  const p = document.querySelector(".blanks") ?? document.body.appendChild(Object.assign(document.createElement("p"), {className: "blanks"}));
  p.textContent = runs + " blanks";
})()`

// A page of fifteen lines, without a build, shows a number that is live and an
// electrocardiogram; where something was lost there is nothing on the screen.
func TestBrowserWave(t *testing.T) {
	require.LessOrEqual(t, strings.Count(string(javascript.Wave), "\n"), 15)
	b := openBrowser(t)
	s := openStage(t, "p-01")
	page := b.open("ada", s.server.URL+"/wave#token=ada")
	s.publish(t, carewire.HeartRate.Of("p-01", 72))
	page.shows("#rate", "72")
	page.shows("#line", "no wave")

	var losing atomic.Bool
	ctx, stop := context.WithCancel(t.Context())
	var device sync.WaitGroup
	device.Go(func() { playWave(ctx, s.hub, &losing) })
	defer device.Wait()
	defer stop()
	drawn := func(want string) {
		t.Helper()
		process.Poll(t, process.Patience, func() (bool, string) {
			page.run(blanks)
			got := page.texts(".blanks")
			return len(got) == 1 && got[0] == want, fmt.Sprint(want, ", not ", got)
		})
	}
	drawn("0 blanks")
	page.shows("#line", "live, 0 gaps")
	losing.Store(true)
	drawn("1 blanks")
	process.Poll(t, process.Patience, func() (bool, string) { // it is counted when the wave comes again
		line := page.texts("#line")
		return len(line) == 1 && !strings.Contains(line[0], " 0 gaps") && strings.HasSuffix(line[0], " gaps"), fmt.Sprint("gaps, not ", line)
	})
	page.shoot("wave")
	stop()
	page.shows("#line", "no wave")
	s.publish(t, carewire.HeartRate.Of("p-01", 73))
	page.shows("#rate", "73")
}

// playWave sends a wave in real time. While it is losing, one second of each six is lost.
func playWave(ctx context.Context, hub *carewire.Hub, losing *atomic.Bool) {
	began := time.Now()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for n := 0; ctx.Err() == nil; {
		for ; time.Since(began) >= time.Duration(n+1)*250*time.Millisecond; n++ {
			w := carewire.Wave{Patient: "p-01", Code: "131330", System: carewire.MDC, Unit: "mV", Factor: "0.005", Rate: 256,
				Number: uint64(n + 1), Time: began.Add(time.Duration(n) * 250 * time.Millisecond), Samples: make([]int32, 64)}
			for i := range w.Samples {
				w.Samples[i] = int32(200 * math.Sin(float64(64*n+i)/20))
			}
			if losing.Load() && n%24 < 4 {
				continue
			}
			hub.PublishWaves(w)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}
