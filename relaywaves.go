package carewire

import "sync"

const (
	relayWavesMost  = 8 << 10 // chunks of waves
	relayWavesBytes = 8 << 20
)

// relayWaves are chunks of waves on their way to other Hubs, or from them. They wait
// apart, so that no event waits behind them. If there is no room, the oldest go.
type relayWaves struct {
	came chan struct{} // receives while chunks wait

	mu    sync.Mutex
	list  []relayWave
	bytes int
}

// A relayWave is the work for one chunk.
type relayWave struct {
	size int
	do   func()
}

func newRelayWaves() *relayWaves { return &relayWaves{came: make(chan struct{}, 1)} }

// add queues work for a chunk of so many bytes, and returns how many older ones were
// dropped for it.
func (x *relayWaves) add(size int, do func()) (dropped int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for len(x.list) > 0 && (len(x.list) == relayWavesMost || x.bytes+size > relayWavesBytes) {
		x.pop()
		dropped++
	}
	x.list = append(x.list, relayWave{size, do})
	x.bytes += size
	signal(x.came)
	return dropped
}

// pop takes the oldest chunk. Under x.mu.
func (x *relayWaves) pop() (do func()) {
	first := x.list[0]
	x.list[0] = relayWave{}
	x.list, x.bytes = x.list[1:], x.bytes-first.size
	return first.do
}

// next does the work for the oldest chunk, if any waits.
func (x *relayWaves) next() {
	x.mu.Lock()
	var do func()
	if len(x.list) > 0 {
		do = x.pop()
	}
	if len(x.list) > 0 {
		signal(x.came)
	}
	x.mu.Unlock()
	if do != nil {
		do()
	}
}

// run does the work until quit.
func (x *relayWaves) run(quit <-chan struct{}) {
	for {
		select {
		case <-x.came:
			x.next()
		case <-quit:
			return
		}
	}
}
