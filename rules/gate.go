package rules

// A gate turns single readings into the begin, the priority and the end of an
// alert: onset delay, hysteresis, clearing delay, flapping, and closing by a
// person. It is plain data, so that it can be put back to where it was before a
// reading that is withdrawn.
type gate struct {
	level   int8   // of the alert: 0 is not present
	latest  int8   // the level that the newest sample is beyond
	keep    int8   // the level that it is not well under
	held    int8   // levels up to this a person has closed
	single  bool   // raised by one reading, for no other came or was due
	flaps   bool   // raised too often
	high    bool   // has been of high priority: is never held
	adopted bool   // the level is another Judge's, and no sample has confirmed it
	present millis // since when
	cause   uint64 // the entry that it was raised for
	until   millis // held until
	pending [levelsMax]pending
	well    [levelsMax]millis // well under this level since; 0: not

	at, received, interval millis   // of the newest sample
	raised                 []millis // the last alerts, the newest first; nil: none yet
}

const (
	levelsMax = 3
	flapsMost = 60 // the greatest Timing.Flaps
	hour      = millis(3600_000)
)

// pending is a level that readings are beyond, not yet for long enough.
type pending struct {
	since millis // 0: they are not
	band  millis // back inside, but not by the margin, since; 0: not
	seq   uint64 // the first of these readings
	count int32  // in a row beyond
}

// A sample is one reading as a gate sees it.
type sample struct {
	level    int8 // it is beyond the limit of this level; 0: of none
	keep     int8 // it is not back inside the limit of this level by the margin
	at       millis
	received millis
	interval millis
	seq      uint64
}

// step takes in a sample.
func (g *gate) step(t *Timing, s sample) {
	g.adopted = false
	g.latest, g.keep, g.at, g.received, g.interval = s.level, s.keep, s.at, s.received, s.interval
	delay := span(t.Delay)
	for i := range g.pending {
		p, l := &g.pending[i], int8(i+1)
		switch {
		case s.keep < l: // well inside
			*p = pending{}
			if g.well[i] == 0 {
				g.well[i] = s.at
			}
		case s.level < l: // in between
			g.well[i] = 0
			p.count = 0
			if p.band == 0 {
				p.band = s.at
			} else if s.at-p.band >= max(delay, 1) {
				*p = pending{}
			}
		default:
			g.well[i] = 0
			if p.since == 0 {
				p.since, p.seq = s.at, s.seq
			}
			p.count++
			p.band = 0
			if l > g.level && g.mayRaise(l, s.received) && lasts(t, p, s.at) {
				g.raise(t, l, p.seq, s.received, false)
			}
		}
	}
	for g.level > 0 && g.well[g.level-1] != 0 && s.at-g.well[g.level-1] >= g.clearing(t) {
		g.fall()
	}
}

func lasts(t *Timing, p *pending, at millis) bool {
	if t.Readings > 0 {
		return int(p.count) >= t.Readings
	}
	return at-p.since >= span(t.Delay)
}

// mayRaise reports whether no person has closed the alert at this level just now.
func (g *gate) mayRaise(l int8, now millis) bool { return l > g.held || now >= g.until }

func (g *gate) raise(t *Timing, l int8, cause uint64, now millis, single bool) {
	if g.level == 0 {
		g.present, g.single = now, single
		g.note(t, now)
	}
	g.level, g.cause, g.held, g.until = l, cause, 0, 0
	g.high = g.high || t.high[l-1]
}

// note counts an alert, and finds whether they come too often.
func (g *gate) note(t *Timing, now millis) {
	if t.Flaps < 0 {
		return
	}
	if g.raised == nil {
		g.raised = make([]millis, t.Flaps+1)
	}
	copy(g.raised[1:], g.raised)
	g.raised[0] = now
	oldest := g.raised[t.Flaps]
	g.flaps = oldest != 0 && now-oldest < hour
}

func (g *gate) fall() {
	if g.level--; g.level == 0 {
		g.flaps, g.single, g.high = false, false, false
	}
}

// stays reports whether the alert is held for longer because it flaps. One of
// high priority never is: it is cleared and raised each time.
func (g *gate) stays() bool { return g.flaps && !g.high }

// clearing is for how long it must be well under the present level.
func (g *gate) clearing(t *Timing) millis {
	if g.stays() && g.level == 1 {
		return max(span(t.Clear), span(t.Settle))
	}
	return span(t.Clear)
}

// close notes that a person has closed the alert, by the entry seq, although
// its condition was present. A condition that is still present may be raised
// after that entry.
func (g *gate) close(t *Timing, at millis, seq uint64) {
	g.held, g.until = max(g.level, 1), at+span(t.Hold)
	g.level, g.single, g.flaps, g.high = 0, false, false, false
	for i := range g.pending {
		if g.pending[i] = (pending{}); g.latest > int8(i) {
			g.pending[i] = pending{since: g.at, seq: seq, count: int32(t.Readings)}
		}
	}
}

// due is when tick is to be called next if nothing comes meanwhile.
func (g *gate) due(t *Timing) millis {
	due := never
	for l := int8(1); l <= levelsMax; l++ {
		if at := g.onset(t, l); at < due {
			due = at
		}
	}
	if g.level > 0 && g.well[g.level-1] != 0 && g.slow(g.clearing(t)) && g.interval > 0 {
		due = min(due, g.received+g.clearing(t))
	}
	return due
}

// slow reports whether the device measures so seldom that readings cannot show
// whether something lasts for d.
func (g *gate) slow(d millis) bool { return g.interval == 0 || 2*g.interval > 3*d }

// onset is when level l is present if no other reading comes.
func (g *gate) onset(t *Timing, l int8) millis {
	p := &g.pending[l-1]
	if p.since == 0 || g.latest < l || l <= g.level {
		return never
	}
	at := g.received + max(span(t.Delay), 3*g.interval)
	switch {
	case t.Readings > 0:
		at = g.received + max(3*g.interval, 60_000)
	case g.slow(span(t.Delay)):
		at = g.received + span(t.Delay)
	}
	if l <= g.held {
		at = max(at, g.until)
	}
	return at
}

// tick does the work that is due at now.
func (g *gate) tick(t *Timing, now millis) {
	for l := int8(levelsMax); l > g.level; l-- {
		if g.onset(t, l) <= now {
			g.raise(t, l, g.pending[l-1].seq, now, true)
		}
	}
	if g.level > 0 && g.well[g.level-1] != 0 && g.slow(g.clearing(t)) && g.interval > 0 && now >= g.received+g.clearing(t) {
		g.fall()
	}
}
