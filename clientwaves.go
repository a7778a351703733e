package carewire

import (
	"container/list"
	"time"
)

const (
	wavesRead    = 40 // chunks of one signal that wait for a slow reader: ten seconds
	wavesAtOnce  = 32 // chunks sent in one frame
	wavesPending = 4096
)

// wavesOut are a Client's waves that are to be sent.
type wavesOut struct {
	waiting []waitingWave // the oldest first
	count   uint64        // sent on this connection
	done    uint64        // how many of them the server has looked at
	err     error         // the server's last refusal that nobody was told of
}

type waitingWave struct {
	Wave
	since time.Time
}

// PublishWaves sends chunks of waves. It keeps them and never waits. A chunk
// that cannot be sent within two seconds, because the connection is lost or
// slow, is dropped. Watchers see the gap by the chunk's number. So number the
// chunks of each signal 1, 2, 3 …, also those that were lost before this call.
// Chunks of one signal are sent in the order of the calls.
//
// The error is a *ValidationError of the first invalid chunk, and then no chunk
// is sent; or the reason for which the Client has ended; or a *RequestError,
// once, for earlier chunks that the server refused. In the last case the new
// chunks are sent.
func (c *Client) PublishWaves(waves ...Wave) error {
	for i := range waves {
		if err := waves[i].Validate(); err != nil {
			return err
		}
	}
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return c.err
	}
	o := &c.wavesOut
	for _, w := range waves {
		w = w.clone()
		w.Received = time.Time{}
		o.waiting = append(o.waiting, waitingWave{w, now})
	}
	o.drop(now)
	signal(c.wake)
	err := o.err
	o.err = nil
	return err
}

// drop removes chunks that have waited for too long, and those beyond the
// limit.
func (o *wavesOut) drop(now time.Time) {
	n := max(0, len(o.waiting)-wavesPending)
	for n < len(o.waiting) && now.Sub(o.waiting[n].since) > waveLag {
		n++
	}
	clear(o.waiting[:n])
	if o.waiting = o.waiting[n:]; len(o.waiting) == 0 {
		o.waiting = nil
	}
}

// nextWaves returns the next frame with waves, nil for none: the server has not
// looked at those before, or takes none.
func (c *Client) nextWaves() []byte {
	o := &c.wavesOut
	o.drop(time.Now())
	n := min(len(o.waiting), wavesAtOnce, c.limits.Waves-int(o.count-o.done))
	if n <= 0 {
		return nil
	}
	var e encoder
	e.b = append(e.b, `{"type":"wave","waves":[`...)
	sent := 0
	for ; sent < n && (sent == 0 || len(e.b) < c.limits.Frame/2); sent++ {
		e.comma()
		o.waiting[sent].encode(&e)
	}
	e.b = append(e.b, "]}"...)
	clear(o.waiting[:sent])
	o.waiting = o.waiting[sent:]
	o.count += uint64(sent)
	return e.b
}

// wavesTaken handles the server's acknowledgement of waves.
func (c *Client) wavesTaken(t *wavesTaken) {
	if t == nil {
		return
	}
	o := &c.wavesOut
	o.done = min(t.count, o.count)
	for _, r := range t.refused {
		if r.Err != nil {
			o.err = r.Err
		}
	}
	signal(c.wake)
}

// pushWave has a chunk wait for the reader, behind all else; the oldest of its signal
// goes if there are too many.
func (b *backlog) pushWave(ev Event) {
	key := ev.Patient + " " + ev.Wave.signal()
	if b.waiting == nil {
		b.waiting = make(map[string]int)
	}
	if b.waiting[key]++; b.waiting[key] > wavesRead {
		for e := b.waves.Front(); e != nil; e = e.Next() {
			if old := e.Value.(*Event); old.Patient == ev.Patient && old.Wave.signal() == ev.Wave.signal() {
				b.removeWave(e)
				break
			}
		}
	}
	b.waves.PushBack(&ev)
}

// popWave takes the chunk that has waited longest.
func (b *backlog) popWave() (Event, bool) {
	e := b.waves.Front()
	if e == nil {
		return Event{}, false
	}
	return *b.removeWave(e), true
}

func (b *backlog) removeWave(e *list.Element) *Event {
	ev := b.waves.Remove(e).(*Event)
	addCount(b.waiting, ev.Patient+" "+ev.Wave.signal(), -1)
	return ev
}
