package rules

import "time"

// A Case counts time on and on: if the clock is set back, all times that follow are
// shifted by as much. Without that, new readings would look older than the ones
// before, and nothing would be judged until the clock is where it was.

// backMost is by how much an entry may have been received before the time of a Case.
// If it is more, the clock was set back. Entries that wait for a Store come late too.
const backMost = 5 * time.Minute

// clocksApart is by how much the clocks of two nodes may differ.
const clocksApart = 10 * time.Second

// in returns a time of the clock as c counts it. One that is more than most before
// c's shows that the clock was set back.
func (c *Case) in(t time.Time, most time.Duration) millis {
	at := millisOf(t)
	switch {
	case at == 0:
		return c.now
	case at >= c.now: // it is where it was, or was never set back
		c.unshift()
	case at+c.shift < c.now-span(most):
		c.shift = c.now - at
	}
	return at + c.shift
}

// unshift ends the shift. Rules that are off look anew until when, by the clock.
func (c *Case) unshift() {
	if c.shift == 0 {
		return
	}
	c.shift = 0
	for i := range c.states {
		if st := &c.states[i]; st.off && st.due != never {
			st.due, c.due = c.now, min(c.due, c.now)
		}
	}
}

// out returns a time of c as the clock has it.
func (c *Case) out(at millis) time.Time { return (at - c.shift).time() }

// isDue reports whether goOn has something to do.
func (c *Case) isDue(now time.Time, lag time.Duration) bool {
	at := millisOf(now) + c.shift
	return c.due < at-span(lag) || at < c.now-span(clocksApart)
}

// goOn moves the time of c to lag before now.
func (c *Case) goOn(now time.Time, lag time.Duration) { c.advance(c.in(now, clocksApart) - span(lag)) }
