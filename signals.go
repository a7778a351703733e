package carewire

import (
	"context"
	"hash/maphash"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	waveMemory   = 10 * time.Second // waves kept of each signal, for new watchers and for strips
	waveForget   = time.Minute      // a signal that has not been heard for so long is over
	waveBytes    = 192 << 10        // bytes of one signal in memory
	waveShortest = 100              // ms that a chunk counts at least, lest many small ones cost too much
	wavePace     = 2000             // ms of a signal that may come in a second
	waveBurst    = 20000            // ms of a signal that may come at once, as after a line was cut
	bays         = 16               // bays over which patients are spread
)

// signals owns the live waves: the signals of each patient, their last ten
// seconds, and their watchers. It calls no host code and waits for nobody.
type signals struct {
	most  int // signals of one patient
	now   func() time.Time
	ticks func() int64
	keep  func(*stripping) // puts a strip into the log
	peers *peers

	seed maphash.Seed
	bays [bays]bay

	in, out, dropped atomic.Uint64 // chunks: taken from senders here, written to clients, and not written because a client was slow
	refused          atomic.Uint64 // chunks beyond a limit
	told             atomic.Bool   // the log says that waves come in
}

// A bay holds some of the patients, so that not all wait for one lock. That is taken
// under a conn's, and before an outbox's.
type bay struct {
	mu       sync.Mutex
	bedsides map[string]*bedside
	closed   bool
}

// A bedside holds the live signals of one patient. Under bay.mu.
type bedside struct {
	signals map[string]*liveWave
	watches []*watch
	strips  []*stripping // alerts of which the seconds afterwards are still to come
	keeping []*stripping // strips on their way into the log
	done    []string     // the IDs of alerts that were looked at, the newest last
}

// A liveWave is one signal that comes in.
type liveWave struct {
	head      Wave         // the newest chunk, without samples
	from      string       // the sending connection, or the other Hub that took the newest chunk in
	remote    uint64       // the number of that Hub's message; 0: the chunk came in here
	recent    []*waveChunk // the last ten seconds; before it is used, trim
	bytes     int
	length    time.Duration
	listeners []*waveQueue
	pace      *rate.Limiter
	heard     int64 // in ticks
}

// A waveChunk is a Wave as a ready WebSocket message, made once and shared by
// all receivers.
type waveChunk struct {
	Wave
	frame    []byte
	received int64  // when it was taken in, in ticks
	remote   uint64 // the number of the message of another Hub, which took it in; 0: it came in here
}

// size is how many bytes of memory c takes, about.
func (c *waveChunk) size() int { return len(c.frame) + 4*len(c.Samples) }

func newSignals(c *core, most int, p *peers, keep func(*stripping)) *signals {
	x := &signals{most: most, now: c.clock.now, ticks: c.clock.ticks, peers: p, keep: keep, seed: maphash.MakeSeed()}
	for i := range x.bays {
		x.bays[i].bedsides = make(map[string]*bedside)
	}
	return x
}

// bay returns the bay of a patient.
func (x *signals) bay(patient string) *bay {
	return &x.bays[maphash.String(x.seed, patient)%bays]
}

func waveFrame(w *Wave) []byte {
	e := newFrame(256 + 3*len(w.Samples))
	e.b = append(e.b, `{"type":"wave"`...)
	e.name("wave")
	w.encode(&e)
	e.b = append(e.b, '}')
	return textFrame(e.b)
}

// take takes a chunk in that may be sent, from the connection of the given name
// ("" the host), and hands it to all who watch it, here and at other Hubs. It keeps
// the samples.
func (x *signals) take(w Wave, from string) error {
	w.System = shortSystem(w.System)
	if err := w.Validate(); err != nil {
		return err
	}
	w.Time = w.Time.UTC().Truncate(time.Millisecond)
	w.Received = x.now()
	c := &waveChunk{Wave: w, frame: waveFrame(&w), received: x.ticks()}
	if err := x.takeChunk(c, from); err != nil {
		return err
	}
	x.in.Add(1)
	x.peers.tellWave(c)
	return nil
}

func (x *signals) takeChunk(c *waveChunk, from string) error {
	w := &c.Wave
	y := x.bay(w.Patient)
	y.mu.Lock()
	defer y.mu.Unlock()
	if y.closed {
		return ErrClosed
	}
	if b := y.bedsides[w.Patient]; c.remote > 0 && (b == nil || len(b.watches) == 0) {
		return errUnwatched
	}
	s, err := x.signal(y, w)
	switch {
	case err != nil:
		return err
	case c.remote == 0 && s.from == from && from != "" && s.head.Number != 0 && w.Number <= s.head.Number:
		return invalid("n", "must grow")
	case c.remote > 0 && s.overtaken(c, from):
		return errOvertaken
	case !s.pace.AllowN(time.Now(), int(max(w.Duration().Milliseconds(), waveShortest))):
		x.refused.Add(1)
		return ErrBusy
	}
	s.head, s.from, s.remote, s.heard = *w, from, c.remote, c.received
	s.head.Samples = nil
	s.remember(c)
	for _, q := range s.listeners {
		x.push(q, c)
	}
	if c.remote == 0 { // the Hub that took it in makes the strip
		for _, strip := range y.bedsides[w.Patient].strips {
			strip.take(c)
		}
	}
	return nil
}

// bedside returns that of a patient; a new one if there is none. Under y.mu.
func (y *bay) bedside(patient string) *bedside {
	b := y.bedsides[patient]
	if b == nil {
		b = &bedside{signals: make(map[string]*liveWave)}
		y.bedsides[patient] = b
	}
	return b
}

// signal returns the signal that w is a chunk of; a new one if there is room.
// Under y.mu.
func (x *signals) signal(y *bay, w *Wave) (*liveWave, error) {
	b, key := y.bedside(w.Patient), w.signal()
	if s := b.signals[key]; s != nil {
		return s, nil
	}
	if len(b.signals) >= x.most {
		x.refused.Add(1)
		return nil, errLimit
	}
	s := &liveWave{head: *w, pace: rate.NewLimiter(wavePace, waveBurst)}
	s.head.Number, s.head.Samples = 0, nil
	b.signals[key] = s
	for _, watch := range b.watches {
		s.listen(watch)
	}
	return s, nil
}

// remember keeps a chunk for ten seconds.
func (s *liveWave) remember(c *waveChunk) {
	s.recent = append(s.recent, c)
	s.bytes += c.size()
	s.length += c.Duration()
	s.trim(c.received)
}

// trim forgets chunks received more than ten seconds before now, and those
// beyond ten seconds of the signal's own time.
func (s *liveWave) trim(now int64) {
	n := 0
	for _, c := range s.recent {
		if time.Duration(now-c.received) <= waveMemory && s.length-c.Duration() < waveMemory && s.bytes <= waveBytes {
			break
		}
		s.bytes -= c.size()
		s.length -= c.Duration()
		n++
	}
	s.recent = slices.Delete(s.recent, 0, n)
}

// listen adds w's client to the receivers of s, if it wants the signal.
func (s *liveWave) listen(w *watch) *waveQueue {
	if !w.wants(s) {
		return nil
	}
	q := &waveQueue{watch: w}
	s.listeners = append(s.listeners, q)
	return q
}

// wants reports whether w's client has asked for s. Under bay.mu.
func (w *watch) wants(s *liveWave) bool {
	return slices.Contains(w.waves, "*") || slices.Contains(w.waves, s.head.Code)
}

// join adds w's client to the signals that it wants, beginning with the seconds
// in memory. Signals that it already gets by old, an earlier watch of the same
// patient, continue.
func (x *signals) join(w, old *watch) {
	if len(w.waves) == 0 {
		return
	}
	y := x.bay(w.patient)
	y.mu.Lock()
	defer y.mu.Unlock()
	b := y.bedside(w.patient)
	if len(b.watches) == 0 {
		x.peers.subscribe(topic{topicWaves, w.patient}, func(m *relayMessage) { x.takeRemote(w.patient, m) })
	}
	b.watches = append(slices.DeleteFunc(b.watches, func(other *watch) bool { return other == old }), w)
	for _, s := range b.signals {
		if i := slices.IndexFunc(s.listeners, func(q *waveQueue) bool { return q.watch == old }); i >= 0 {
			s.listeners[i].move(w)
		} else if q := s.listen(w); q != nil {
			s.trim(x.ticks())
			q.begin(s.recent)
		}
	}
}

// removeCodes ends the signals that w's client has asked for by these codes.
func (x *signals) removeCodes(w *watch, codes []string) {
	y := x.bay(w.patient)
	y.mu.Lock()
	defer y.mu.Unlock()
	w.waves = slices.DeleteFunc(slices.Clone(w.waves), func(code string) bool { return slices.Contains(codes, code) })
	x.dropUnwanted(y, w)
}

// leave ends the listening that join began.
func (x *signals) leave(w *watch) {
	y := x.bay(w.patient)
	y.mu.Lock()
	defer y.mu.Unlock()
	w.waves = nil
	x.dropUnwanted(y, w)
}

// dropUnwanted ends the signals that w's client does not want any more. Under y.mu.
func (x *signals) dropUnwanted(y *bay, w *watch) {
	b := y.bedsides[w.patient]
	if b == nil {
		return
	}
	before := len(b.watches)
	for _, s := range b.signals {
		s.listeners = slices.DeleteFunc(s.listeners, func(q *waveQueue) bool {
			ends := q.watch == w && !w.wants(s)
			if ends {
				q.end()
			}
			return ends
		})
	}
	if len(w.waves) == 0 {
		b.watches = slices.DeleteFunc(b.watches, func(other *watch) bool { return other == w })
	}
	if before > 0 && len(b.watches) == 0 {
		x.peers.unsubscribe(topic{topicWaves, w.patient})
	}
	y.forgetEmpty(w.patient, b)
}

// forgetEmpty forgets a bedside of which nothing is left. Under y.mu.
func (y *bay) forgetEmpty(patient string, b *bedside) {
	if len(b.signals)+len(b.watches)+len(b.strips)+len(b.keeping) == 0 {
		delete(y.bedsides, patient)
	}
}

// push hands a chunk to one client. Under the lock of its bay.
func (x *signals) push(q *waveQueue, c *waveChunk) {
	if n := q.push(c); n > 0 {
		x.dropped.Add(uint64(n))
	}
}

// sweep forgets chunks that are more than ten seconds old, and signals that have
// not been heard for a minute.
func (x *signals) sweep() {
	now := x.ticks()
	for i := range x.bays {
		y := &x.bays[i]
		y.mu.Lock()
		for patient, b := range y.bedsides {
			for key, s := range b.signals {
				if s.trim(now); time.Duration(now-s.heard) > waveForget {
					delete(b.signals, key)
				}
			}
			if len(b.signals) == 0 {
				b.done = nil
			}
			y.forgetEmpty(patient, b)
		}
		y.mu.Unlock()
	}
}

// forget drops a patient's signals from memory. When it has returned, none of
// them comes into the log any more. Watchers stay. The error is ctx's.
func (x *signals) forget(ctx context.Context, patient string) error {
	y := x.bay(patient)
	y.mu.Lock()
	b := y.bedsides[patient]
	if b == nil {
		y.mu.Unlock()
		return nil
	}
	for _, s := range b.strips {
		s.timer.Stop()
	}
	for _, s := range b.signals {
		for _, q := range s.listeners {
			q.end()
		}
	}
	keeping := slices.Clone(b.keeping)
	b.strips, b.done = nil, nil
	clear(b.signals)
	y.forgetEmpty(patient, b)
	y.mu.Unlock()
	for _, s := range keeping {
		if err := s.stop(ctx); err != nil {
			return err
		}
	}
	return nil
}

// firstCame reports once that waves come in.
func (x *signals) firstCame() bool { return x.in.Load() > 0 && x.told.CompareAndSwap(false, true) }

// count returns how many signals are live.
func (x *signals) count() (n int) {
	for i := range x.bays {
		y := &x.bays[i]
		y.mu.Lock()
		for _, b := range y.bedsides {
			n += len(b.signals)
		}
		y.mu.Unlock()
	}
	return n
}
