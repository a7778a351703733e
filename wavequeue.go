package carewire

import (
	"slices"
	"time"
)

const (
	waveLag    = 2 * time.Second       // how long a chunk waits for a slow client
	waveGather = 40 * time.Millisecond // how long a chunk waits for others to be written with it
)

// A waveQueue holds the waiting chunks of one signal for one client. Nothing of
// it is written while an event of a patient's log is ready, and while the
// client is slow the oldest chunk goes: the newest are worth the most. Under
// the outbox's lock.
type waveQueue struct {
	watch  *watch
	chunks []waitingChunk // the oldest first
	listed bool           // in the outbox's list
}

type waitingChunk struct {
	*waveChunk
	since int64 // in ticks
}

// begin hands over the chunks in memory of a signal that the client has begun to
// watch.
func (q *waveQueue) begin(recent []*waveChunk) {
	o := q.watch.out
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, c := range recent {
		if !o.roomForWave(len(c.frame)) {
			return
		}
		q.add(c)
	}
}

// push hands over the next chunk, and returns how many were dropped for it.
func (q *waveQueue) push(c *waveChunk) (dropped int) {
	o := q.watch.out
	o.mu.Lock()
	defer o.mu.Unlock()
	if q.watch.ended || o.done || o.closing != nil {
		return 0
	}
	now := o.shared.clock.ticks()
	for len(q.chunks) > 0 && (time.Duration(now-q.chunks[0].since) >= waveLag || !o.roomForWave(len(c.frame))) {
		q.drop()
		dropped++
	}
	if !o.roomForWave(len(c.frame)) {
		return dropped + 1
	}
	q.add(c)
	return dropped
}

// add puts a chunk in line, and sees to it that it is written soon. Under out.mu.
func (q *waveQueue) add(c *waveChunk) {
	o := q.watch.out
	if q.watch.ended || o.done || o.closing != nil {
		return
	}
	q.chunks = append(q.chunks, waitingChunk{c, o.shared.clock.ticks()})
	o.waveBytes += len(c.frame)
	if !q.listed {
		q.listed = true
		o.waves = append(o.waves, q)
	}
	o.reportSize()
	if o.busy || o.gathering {
		return
	}
	o.gathering = true
	if o.waveTimer == nil {
		o.waveTimer = time.AfterFunc(waveGather, o.writeGathered)
	} else {
		o.waveTimer.Reset(waveGather)
	}
}

// drop forgets the oldest chunk. Under out.mu.
func (q *waveQueue) drop() {
	c := q.chunks[0]
	q.chunks[0] = waitingChunk{}
	q.chunks = q.chunks[1:]
	q.watch.out.waveBytes -= len(c.frame)
}

// roomForWave reports whether n more bytes of waves may wait. Under o.mu.
func (o *outbox) roomForWave(n int) bool {
	return o.waveBytes+n <= o.shared.opt.MaxOutboxBytes && !o.overTotal(o.bytes+o.waveBytes+n)
}

// writeGathered has the waves written that have come for a while.
func (o *outbox) writeGathered() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.gathering = false
	if len(o.waves) > 0 {
		o.start()
	}
}

// takeWaves appends chunks to b, signal by signal, up to the size of a small
// write, so that more urgent frames do not wait behind more. Under o.mu.
func (o *outbox) takeWaves(b []byte) (_ []byte, n int) {
	for len(o.waves) > 0 && len(b) < slowWrite {
		q := o.waves[0]
		if len(q.chunks) == 0 {
			q.listed = false
			o.waves = slices.Delete(o.waves, 0, 1)
			continue
		}
		b = append(b, q.chunks[0].frame...)
		q.drop()
		n++
	}
	if len(o.waves) == 0 {
		o.waves = nil
	}
	o.shared.signals.out.Add(uint64(n))
	return b, n
}

// end drops the waiting chunks: the signal is no longer wanted, or must not be
// seen.
func (q *waveQueue) end() {
	o := q.watch.out
	o.mu.Lock()
	defer o.mu.Unlock()
	q.forget()
	o.waves = slices.DeleteFunc(o.waves, func(other *waveQueue) bool { return other == q })
	o.reportSize()
}

// move has w, a later watch of the same client and patient, go on with q.
func (q *waveQueue) move(w *watch) {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	q.watch = w
}

// forget drops all chunks. Under out.mu.
func (q *waveQueue) forget() {
	for len(q.chunks) > 0 {
		q.drop()
	}
	q.listed = false
}

// dropWaves forgets the waves of all watches. Under o.mu.
func (o *outbox) dropWaves() {
	for _, q := range o.waves {
		q.forget()
	}
	o.waves = nil
}
