package carewire

import (
	"errors"
	"time"
)

var (
	errUnwatched = errors.New("carewire: nobody watches the patient's waves")
	errOvertaken = errors.New("carewire: later chunks have come another way")
)

// takeRemote takes in a chunk that another Hub has taken in, and that its sender had the
// right to send. It is shown to the watchers of the patient's waves here.
func (x *signals) takeRemote(patient string, m *relayMessage) {
	stats := &x.peers.stats
	ev, _, err := decodeEvent(m.body)
	if m.kind != messageWave || err != nil || ev.Wave == nil || ev.Wave.Patient != patient || ev.Wave.Validate() != nil {
		stats.ignored.Add(1)
		return
	}
	w := *ev.Wave
	c := &waveChunk{Wave: w, frame: waveFrame(&w), received: x.ticks(), remote: m.number}
	if x.takeChunk(c, string(m.from[:])) != nil {
		stats.ignored.Add(1)
		return
	}
	stats.used.Add(1)
}

// overtaken reports whether c comes late: after one that the same Hub has sent later, or
// after its device has gone over to another Hub a moment ago, and later samples have come
// from there. The numbers of chunks do not count: the Hub that has taken them in has let
// them begin anew. Under bay.mu.
func (s *liveWave) overtaken(c *waveChunk, from string) bool {
	if s.from == from {
		return c.remote < s.remote
	}
	return s.head.Number != 0 && c.Time.Before(s.head.Time) && time.Duration(c.received-s.heard) < waveLag
}
