package carewire

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	waveMemory   = 10 * time.Second // of each signal, for new watchers and for strips
	waveForget   = time.Minute      // a signal that has not been heard for so long is over
	waveBytes    = 128 << 10        // of one signal in memory
	waveShortest = 100              // ms that a chunk counts at least, lest many small ones cost too much
	wavePace     = 2000             // ms of a signal that may come in a second
	waveBurst    = 20000            // ms of a signal that may come at once, as after a line was cut
)

// signals owns the live signals of each patient: their last ten seconds and
// their watchers. Its lock is taken under a conn's lock, and before an
// outbox's. It calls no host code and does not block.
type signals struct {
	most  int // signals of one patient
	now   func() time.Time
	ticks func() int64
	keep  func(*stripping) // puts a strip into the log

	mu       sync.Mutex
	bedsides map[string]*bedside
	closed   bool

	in, out, dropped atomic.Uint64 // chunks: taken, written to clients, and not written because a client was slow
	refused          atomic.Uint64 // chunks beyond a limit
}

// A bedside is what is live of one patient.
type bedside struct {
	signals map[string]*liveWave
	watches []*watch
	strips  []*stripping // alerts of which the seconds afterwards are still to come
	done    []string     // the IDs of alerts that were looked at, the newest last
}

// A liveWave is one signal that comes in.
type liveWave struct {
	head      Wave         // of the newest chunk, without samples
	from      string       // the sending connection
	recent    []*waveChunk // the last ten seconds
	bytes     int
	length    time.Duration
	listeners []*waveQueue
	pace      *rate.Limiter
	heard     int64 // in ticks
}

// A waveChunk is a Wave as a ready WebSocket message, made once and shared by all
// who get it.
type waveChunk struct {
	Wave
	frame []byte
}

func newSignals(most int, now func() time.Time, ticks func() int64, keep func(*stripping)) *signals {
	return &signals{most: most, now: now, ticks: ticks, keep: keep, bedsides: make(map[string]*bedside)}
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
// ("" the host), and hands it to all who watch it. It keeps the samples.
func (x *signals) take(w Wave, from string) error {
	w.System = shortSystem(w.System)
	if err := w.Validate(); err != nil {
		return err
	}
	w.Time = w.Time.UTC().Truncate(time.Millisecond)
	w.Received = x.now()
	c := &waveChunk{Wave: w, frame: waveFrame(&w)}
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return ErrClosed
	}
	s, err := x.signal(&w)
	switch {
	case err != nil:
		return err
	case s.from == from && from != "" && s.head.Number != 0 && w.Number <= s.head.Number:
		return invalid("n", "must grow")
	case !s.pace.AllowN(time.Now(), int(max(w.Duration().Milliseconds(), waveShortest))):
		x.refused.Add(1)
		return ErrBusy
	}
	s.head, s.from, s.heard = w, from, x.ticks()
	s.head.Samples = nil
	s.remember(c)
	x.in.Add(1)
	b := x.bedsides[w.Patient]
	for _, q := range s.listeners {
		x.push(q, c)
	}
	for _, strip := range b.strips {
		strip.take(c)
	}
	return nil
}

// signal returns the signal that w is a chunk of; a new one if there is room.
// Under x.mu.
func (x *signals) signal(w *Wave) (*liveWave, error) {
	b, key := x.bedsides[w.Patient], w.signal()
	if b != nil && b.signals[key] != nil {
		return b.signals[key], nil
	}
	if b != nil && len(b.signals) >= x.most {
		x.refused.Add(1)
		return nil, errLimit
	}
	if b == nil {
		b = &bedside{signals: make(map[string]*liveWave)}
		x.bedsides[w.Patient] = b
	}
	s := &liveWave{head: *w, pace: rate.NewLimiter(wavePace, waveBurst)}
	s.head.Number, s.head.Samples = 0, nil
	b.signals[key] = s
	for _, watch := range b.watches {
		s.listen(watch)
	}
	return s, nil
}

// remember keeps a chunk for ten seconds of the signal's own time.
func (s *liveWave) remember(c *waveChunk) {
	s.recent = append(s.recent, c)
	s.bytes += len(c.frame)
	s.length += c.Duration()
	n := 0
	for ; n < len(s.recent)-1 && (s.length-s.recent[n].Duration() >= waveMemory || s.bytes > waveBytes || c.Received.Sub(s.recent[n].Received) > waveMemory); n++ {
		s.bytes -= len(s.recent[n].frame)
		s.length -= s.recent[n].Duration()
	}
	if n > 0 {
		s.recent = slices.Delete(s.recent, 0, n)
	}
}

// listen has w's client get what comes of s from now on, if it wants it.
func (s *liveWave) listen(w *watch) *waveQueue {
	if !slices.Contains(w.waves, "*") && !slices.Contains(w.waves, s.head.Code) {
		return nil
	}
	q := &waveQueue{watch: w}
	s.listeners = append(s.listeners, q)
	return q
}

// join adds w's client to the signals that it wants, beginning with the seconds
// in memory.
func (x *signals) join(w *watch) {
	if len(w.waves) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.bedsides[w.patient]
	if b == nil {
		b = &bedside{signals: make(map[string]*liveWave)}
		x.bedsides[w.patient] = b
	}
	b.watches = append(b.watches, w)
	for _, s := range b.signals {
		if q := s.listen(w); q != nil {
			q.begin(s.recent)
		}
	}
}

// leave ends what join began.
func (x *signals) leave(w *watch) {
	if len(w.waves) == 0 {
		return
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	b := x.bedsides[w.patient]
	if b == nil {
		return
	}
	b.watches = slices.DeleteFunc(b.watches, func(other *watch) bool { return other == w })
	for _, s := range b.signals {
		s.listeners = slices.DeleteFunc(s.listeners, func(q *waveQueue) bool { return q.watch == w })
	}
	x.tidy(w.patient, b)
}

// tidy forgets a bedside of which nothing is left. Under x.mu.
func (x *signals) tidy(patient string, b *bedside) {
	if len(b.signals)+len(b.watches)+len(b.strips) == 0 {
		delete(x.bedsides, patient)
	}
}

// push hands a chunk to one client. Under x.mu.
func (x *signals) push(q *waveQueue, c *waveChunk) {
	if n := q.push(c); n > 0 {
		x.dropped.Add(uint64(n))
	}
}

// sweep forgets signals that have not been heard for a minute.
func (x *signals) sweep() {
	x.mu.Lock()
	defer x.mu.Unlock()
	now := x.ticks()
	for patient, b := range x.bedsides {
		for key, s := range b.signals {
			if time.Duration(now-s.heard) > waveForget {
				delete(b.signals, key)
			}
		}
		if len(b.signals) == 0 {
			b.done = nil
		}
		x.tidy(patient, b)
	}
}

// forget drops a patient's signals from memory. Watchers stay.
func (x *signals) forget(patient string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if b := x.bedsides[patient]; b != nil {
		for _, strip := range b.strips {
			strip.timer.Stop()
		}
		b.strips, b.done = nil, nil
		clear(b.signals)
		x.tidy(patient, b)
	}
}

// count returns how many signals are live.
func (x *signals) count() (n int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, b := range x.bedsides {
		n += len(b.signals)
	}
	return n
}
