package carewire

import (
	"math"
	"time"
)

// ticks is a clock that no step of the wall clock moves: nanoseconds since the
// Hub began, and never 0.
func (h *Hub) ticks() int64 { return int64(time.Since(h.began)) + 1 }

// later is a time in ticks; it does not run over.
func later(now int64, d time.Duration) int64 { return now + min(int64(d), 1<<61) }

// visit looks after the connection every four seconds.
func (c *conn) visit(status []byte) {
	ns := c.hub.ticks()
	if c.out.writingFor(ns) > time.Second && c.out.slowDown() && c.net != nil {
		c.net.slow()
	}
	quiet := time.Duration(ns - c.alive.Load())
	begun := c.begun.Load()
	switch {
	case c.out.writingFor(ns) > writeWithin: // in the middle of a frame: nothing can follow
		c.hub.stats.slow.Add(1)
		c.cut()
		return
	case c.busy.Load(): // it is we who are slow
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
	if !c.heads(ns) {
		c.tooSlow()
		return
	}
	c.recordSent(tallyEvery)
	if at := c.checkAt.Load(); ns >= at && c.checkAt.CompareAndSwap(at, later(ns, c.hub.opt.Recheck)) {
		c.hub.start(func() { c.recheck(c.hub.ctx) })
	}
	if time.Duration(ns-c.out.wrote.Load()) >= heartbeat-visitEvery-time.Second/2 {
		switch {
		case status != nil:
			c.out.send(status)
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
	open, _ := c.entitled(c.hub.ctx, c.hub.index.addressed(c.who.keys()))
	return heartbeatFrame(now, len(open))
}

// heads sends the heads of all patients that have been quiet.
// It reports false if something undroppable has been waiting for too long.
func (c *conn) heads(now int64) bool {
	var heads []Head
	c.mu.Lock()
	c.out.mu.Lock()
	for _, w := range c.watches {
		if w.urgent != 0 && time.Duration(now-w.urgent) > c.hub.opt.AlertLag {
			c.out.mu.Unlock()
			c.mu.Unlock()
			return false
		}
		if !w.live || w.reading || w.ended || len(w.queue) > 0 || now-w.wrote < int64(headEvery) || w.shared.stale(now) {
			continue
		}
		w.wrote = now
		heads = append(heads, Head{Patient: w.patient, Position: w.last, Must: w.must})
	}
	c.out.mu.Unlock()
	c.mu.Unlock()
	for _, f := range headFrames(heads) {
		c.out.send(f)
	}
	return true
}

// stale reports whether it was too long ago that the Store was compared with.
func (w *watchers) stale(now int64) bool {
	at := w.verified.Load()
	return at == 0 || now-at > int64(headEvery)
}

const (
	visitEvery = 4 * time.Second
	visits     = 40               // parts in which connections are visited
	stall      = 5 * time.Second  // without a tick
	headEvery  = 11 * time.Second // with a visit more: 15 s
)

// tick is the Hub's clock: it visits each connection every four seconds, a part of
// them at a time, so that what is regular is spread evenly.
func (h *Hub) tick() {
	every := time.NewTicker(visitEvery / visits)
	defer every.Stop()
	last, beat := storeOK, time.Now()
	for n := 0; ; n++ {
		select {
		case <-every.C:
		case <-h.quit:
			return
		}
		if wall := time.Now().Round(0); wall.Sub(beat) > stall { // the process, or the machine, stood still
			h.awake.Store(h.now().UnixNano())
			for _, c := range h.connections(func(*conn) bool { return true }) { // what they sent meanwhile is still to be read
				c.alive.Store(h.ticks())
			}
		}
		beat = time.Now().Round(0) // without the monotonic clock, which may stand still with the machine
		state, since := h.store.state()
		var status []byte
		if state != storeOK {
			status = statusFrame(state, since)
		}
		if state != last {
			last = state
			h.log.Warn("carewire: the store is " + state)
			for _, c := range h.connections(func(*conn) bool { return true }) {
				c.out.send(statusFrame(state, since))
			}
		}
		for _, c := range h.inSlot(n % visits) {
			c.visit(status)
		}
		h.audit.recordTallies(tallyEvery)
		if n%(5*visits/int(visitEvery/time.Second)) == 0 { // every five seconds
			h.compare(nil)
		}
	}
}

// keepTime compares the Store's clock with ours, and sees to it that a clock
// that is set back delays nothing.
func (h *Hub) keepTime() {
	every := time.NewTicker(10 * time.Second)
	defer every.Stop()
	known := false   // how the Store's clock goes
	stranded := true // something may be, from before this Hub ran
	var was time.Time
	var at int64
	for {
		known = h.readClock(known) || known
		now, ticks := h.now(), h.ticks()
		if !was.IsZero() && now.Sub(was) < time.Duration(ticks-at)-stall {
			h.log.Warn("carewire: the clock was set back")
			h.awake.Store(now.UnixNano())
			stranded = true
		}
		was, at = now, ticks
		if stranded {
			stranded = h.bringForward()
		}
		select {
		case <-every.C:
		case <-h.quit:
			return
		}
	}
}

// readClock compares the Store's clock with ours, and reports whether that has
// succeeded. An answer may be from any moment since it was asked for: one that
// took long counts only if nothing is known.
func (h *Hub) readClock(known bool) bool {
	clock, ok := h.store.Store.(Clock)
	if !ok {
		return false
	}
	before := time.Now()
	t, err := clock.Now(h.ctx)
	took := time.Since(before)
	if err != nil || known && took > time.Second {
		return false
	}
	skew := t.Sub(before.Add(took / 2))
	if was := time.Duration(h.skew.Load()); (skew - was).Abs() > stall {
		h.awake.Store(time.Now().Add(skew).UnixNano()) // no device was silent for as long as the clock jumped
	}
	h.skew.Store(int64(skew))
	return true
}

// bringForward makes what was put off until a time of a clock that has been
// set back due as much earlier: by how far in the future it was written, or was
// begun to be told. It reports whether there may be more: what it has found may
// not be written.
func (h *Hub) bringForward() (more bool) {
	now := h.now()
	waiting, err := h.store.Waiting(h.ctx, now.AddDate(100, 0, 0), math.MaxInt32)
	if err != nil {
		return true
	}
	places := make(chan struct{}, atOnce)
	for i := range waiting {
		e := waiting[i]
		by := e.Received.Sub(now)
		if a, err := decodeAlert(&e); e.Kind == KindAlert && err == nil { // it may have been raised again since
			by = max(by, a.Escalation.began.Sub(now))
		}
		if by <= stall {
			continue
		}
		more = true
		places <- struct{}{}
		h.start(func() {
			defer func() { <-places }()
			switch e.Kind {
			case KindAlert:
				if a, err := decodeAlert(&e); err == nil {
					c := change{patient: a.Patient, key: a.Key, test: a.Test, quiet: true}
					h.change(h.ctx, c, unlessEnded(a.ID, func(prev *Alert, _ time.Time) (Alert, bool) {
						return earlier(prev, by), prev.due().Equal(e.Due)
					}))
				}
			case KindTimer:
				h.happenTimer(h.ctx, &e)
			}
		})
	}
	return more
}

// pruneOld prunes every ten minutes.
func (h *Hub) pruneOld() {
	every := time.NewTicker(10 * time.Minute)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			h.prune()
		case <-h.quit:
			return
		}
	}
}

func (h *Hub) prune() {
	if p, ok := h.store.Store.(Pruner); ok && h.opt.Retention != (Retention{}) {
		if err := p.Prune(h.ctx, h.now(), h.opt.Retention); err != nil {
			h.log.Warn("carewire: the store could not be pruned")
		}
	}
}
