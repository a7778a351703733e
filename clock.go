package carewire

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"
)

const stall = 5 * time.Second // a step of a clock that is more than delay

// A clock tells the Hub's time: the Store's if it is a Clock, else this
// machine's. It notices when that clock is set back.
type clock struct {
	store Clock // nil: the Store has none
	log   *slog.Logger
	began time.Time    // with the monotonic clock
	skew  atomic.Int64 // the Store's clock less ours, nanoseconds
	awake atomic.Int64 // since when the process has run without a stop, unix nanoseconds
}

func newClock(s Store, log *slog.Logger) *clock {
	c := &clock{log: log, began: time.Now()}
	c.store, _ = s.(Clock)
	c.noteAwake()
	return c
}

// now is the time that counts, to the millisecond.
func (c *clock) now() time.Time {
	return time.Now().Add(time.Duration(c.skew.Load())).UTC().Truncate(time.Millisecond)
}

// ticks is a clock that no step of the wall clock moves: nanoseconds since c
// began, and never 0.
func (c *clock) ticks() int64 { return int64(time.Since(c.began)) + 1 }

// ticksAfter is a time in ticks; it does not run over.
func ticksAfter(now int64, d time.Duration) int64 { return now + min(int64(d), 1<<61) }

// noteAwake notes that the process, or the time, has stood still until now.
func (c *clock) noteAwake() { c.awake.Store(c.now().UnixNano()) }

// awakeSince is the time since which silence counts, because no device could be
// heard before.
func (c *clock) awakeSince() time.Time { return time.Unix(0, c.awake.Load()).UTC() }

// run compares the Store's clock with ours until quit is closed. When the time
// is set back, and at the start, it calls bringForward, and again until that
// has found nothing more to do.
func (c *clock) run(ctx context.Context, quit <-chan struct{}, bringForward func() (more bool)) {
	every := time.NewTicker(10 * time.Second)
	defer every.Stop()
	known := false   // how the Store's clock goes
	stranded := true // something may be, from before this process ran
	var was time.Time
	var at int64
	for {
		known = c.compare(ctx, known) || known
		now, ticks := c.now(), c.ticks()
		if !was.IsZero() && now.Sub(was) < time.Duration(ticks-at)-stall {
			c.log.Warn("carewire: the clock was set back")
			c.noteAwake()
			stranded = true
		}
		was, at = now, ticks
		if stranded {
			stranded = bringForward()
		}
		select {
		case <-every.C:
		case <-quit:
			return
		}
	}
}

// compare asks the Store for its time, and reports whether that has succeeded.
// An answer may be from any moment since it was asked for: one that took long
// counts only if nothing is known.
func (c *clock) compare(ctx context.Context, known bool) bool {
	if c.store == nil {
		return false
	}
	before := time.Now()
	t, err := c.store.Now(ctx)
	took := time.Since(before)
	if err != nil || known && took > time.Second {
		return false
	}
	skew := t.Sub(before.Add(took / 2))
	was := time.Duration(c.skew.Swap(int64(skew)))
	if (skew - was).Abs() > stall {
		c.noteAwake() // no device was silent for as long as the clock jumped
	}
	return true
}
