package carewire

import (
	"time"

	"github.com/carewire/carewire/internal/wsconn"
)

// maintain looks after the connection every four seconds.
func (c *conn) maintain(status storeStatus) {
	ns := c.hub.ticks()
	if c.out.writingFor(ns) > time.Second && c.out.slowDown() && c.net != nil {
		c.net.Slow()
	}
	quiet := time.Duration(ns - c.alive.Load())
	begun := c.begun.Load()
	switch {
	case c.out.writingFor(ns) > wsconn.WriteWithin: // in the middle of a frame: nothing can follow
		c.hub.stats.slow.Add(1)
		c.cut()
		return
	case c.busy.Load(): // the Hub is slow, not the client
	case begun != 0 && time.Duration(ns-begun) > c.hub.opt.MessageTimeout:
		c.close(CloseTimeout)
		return
	case quiet > c.hub.opt.IdleTimeout:
		c.close(CloseTimeout)
		time.AfterFunc(time.Second, c.cut)
		return
	case quiet >= c.hub.opt.IdleTimeout/35*16:
		c.out.send(pingFrame)
	}
	if !c.sendHeads(ns) {
		c.tooSlow()
		return
	}
	c.recordSent(tallyEvery)
	if at := c.checkAt.Load(); ns >= at && c.checkAt.CompareAndSwap(at, ticksAfter(ns, c.hub.opt.Recheck)) {
		c.hub.start(func() { c.recheck(c.hub.ctx) })
	}
	if time.Duration(ns-c.out.wrote.Load()) >= heartbeat-visitEvery-time.Second/2 {
		switch {
		case status.degraded() && c.tellStatus(status, c.watched()):
		case c.beating.CompareAndSwap(false, true): // it may have to ask the host
			c.hub.start(func() {
				defer c.beating.Store(false)
				c.out.send(c.heartbeat(c.hub.now()))
			})
		}
	}
}

// heartbeat tells the time and how many entries are open for c's principal.
func (c *conn) heartbeat(now time.Time) []byte {
	return heartbeatFrame(now, c.inbox.count(c.hub.ctx))
}

// sendHeads sends the heads of all patients that have been quiet, as far as there is room.
// It reports false if something undroppable has been waiting for too long.
func (c *conn) sendHeads(now int64) bool {
	var heads []Head
	c.mu.Lock()
	c.out.mu.Lock()
	size := c.out.held
	for _, w := range c.watches {
		if w.urgent != 0 && time.Duration(now-w.urgent) > c.hub.opt.AlertLag {
			c.out.mu.Unlock()
			c.mu.Unlock()
			return false
		}
		if size <= controlSize/2 && w.quiet(now) { // the rest at the next visit
			size += headAbout
			heads = append(heads, w.headAt(now))
		}
	}
	c.out.mu.Unlock()
	c.mu.Unlock()
	for _, f := range headFrames(heads, time.Time{}) {
		c.out.send(f)
	}
	return true
}

// quiet reports whether w has been silent for so long that its head is to be sent.
// Under out.mu.
func (w *watch) quiet(now int64) bool {
	return w.live && !w.reading && !w.fetched && !w.ended && len(w.page)+len(w.queue) == 0 && now-w.wrote >= int64(headEvery) && !w.shared.stale(now)
}

// headAt returns the head of w, which is sent now. Under out.mu.
func (w *watch) headAt(now int64) Head {
	w.wrote = now
	return Head{Patient: w.patient, Position: w.last, Must: w.must}
}

// stale reports whether the last comparison with the Store was too long ago.
func (w *watchers) stale(now int64) bool {
	at := w.verified.Load()
	return at == 0 || now-at > int64(headEvery)
}

const (
	visitEvery = 4 * time.Second
	visits     = 40               // parts in which connections are visited
	compares   = 50               // visits after which each lane is compared with the Store again: 5 s
	headEvery  = 11 * time.Second // with a visit more: 15 s
)

// visitAll visits each connection every four seconds, a part of them at a time,
// so that regular work is spread evenly.
func (h *Hub) visitAll() {
	every := time.NewTicker(visitEvery / visits)
	defer every.Stop()
	last, beat := h.store.status(), time.Now()
	for n := 0; ; n++ {
		select {
		case <-every.C:
		case <-h.quit:
			return
		}
		if wall := time.Now().Round(0); wall.Sub(beat) > stall { // the process, or the machine, stood still
			h.clock.noteAwake()
			for _, c := range h.registry.list() { // their input of the meantime is still unread
				c.alive.Store(h.ticks())
			}
		}
		beat = time.Now().Round(0) // without the monotonic clock, which may stand still with the machine
		status := h.store.status()
		h.noteStatus(last, status)
		last = status
		for _, c := range h.registry.inSlot(n % visits) {
			c.maintain(status)
		}
		h.audit.recordTallies(tallyEvery)
		if n%compares == 0 {
			h.signals.sweep()
			if h.peers == nil && h.signals.firstCame() {
				h.log.Info("carewire: waves come in; only this node shows them")
			}
		}
		h.lanes.compareSome(n % compares)
	}
}
