package rules

import (
	"errors"
	"time"

	"github.com/carewire/carewire"
)

const (
	// urgentWindow is how far back a rule may look that judges before a long log is read
	// in full.
	urgentWindow = time.Minute
	// urgentEntries is how many entries a log may have, as far back as the rules look,
	// that is read in full at once.
	urgentEntries = 512
	// restAfter is how much later the rest of a long log is read: the urgent rules of
	// other patients go first.
	restAfter = 5 * time.Second
)

// join builds the Case up to where the Watch is: from where it was, or anew from the log.
// If the log is long, the rules that look back a short time judge first. They go on
// while the rest is read, and a Case of all rules takes the place of theirs.
func (b *bed) join(join int, snapshot []carewire.Event, to carewire.Position) {
	read := readOn
	if !b.canGoOn(to) {
		read = readEnd
	}
	for b.isJoin(join) {
		partial, err := b.read(join, snapshot, to, read)
		switch {
		case err == nil && !partial:
			return
		case err == nil:
			read = readAll
			b.row.pause(restAfter)
		case read == readOn && errors.Is(err, carewire.ErrGap): // more is gone than was missed
			read = readEnd
		default:
			b.row.judge.log.Warn("rules: a patient's log could not be read", "error", err)
			b.row.pause(time.Second)
		}
	}
}

// An extent says which part of the log is read.
type extent int

const (
	readOn  extent = iota // what was missed
	readEnd               // what the urgent rules need
	readAll               // what all rules need
)

// read reads a part of the log, one goroutine at a time. partial says that some rules
// need more.
func (b *bed) read(join int, snapshot []carewire.Event, to carewire.Position, part extent) (partial bool, err error) {
	b.joiner <- struct{}{}
	defer func() { <-b.joiner }()
	next := b
	if part != readOn {
		next = newBed(b.row, b.patient, millis(b.judged.Load()))
		next.settings = b.settled()
		next.aside = part == readAll // nothing is counted again
		if err = next.rebuild(snapshot, to, part); err != nil {
			return false, err
		}
		partial = next.c.partial
	}
	return partial, b.meet(join, next)
}

// canGoOn reports whether the Case can go on from where it was.
func (b *bed) canGoOn(to carewire.Position) bool {
	b.row.mu.Lock()
	defer b.row.mu.Unlock()
	return b.c != nil && !b.c.partial && b.last.Epoch == to.Epoch && b.last.Seq <= to.Seq
}

// isJoin reports whether the Watch has not begun anew, and the patient is still this node's.
func (b *bed) isJoin(join int) bool {
	b.row.mu.Lock()
	defer b.row.mu.Unlock()
	return b.joins == join && !b.ended.Load() && b.row.ctx.Err() == nil
}

// settled returns the Settings that hold; nil: they are still to come.
func (b *bed) settled() *Settings {
	b.row.mu.Lock()
	defer b.row.mu.Unlock()
	if b.c == nil || b.c.unset {
		return b.settings
	}
	return new(b.c.settings)
}

// meet has next, which may be b, read on to where the Watch is, and judge from there on.
func (b *bed) meet(join int, next *bed) error {
	r := b.row
	r.mu.Lock()
	defer r.mu.Unlock()
	for next.last.Seq < b.heard && b.joins == join {
		to := carewire.Position{Epoch: next.last.Epoch, Seq: b.heard}
		r.mu.Unlock()
		err := next.readMissed(to)
		r.mu.Lock()
		if err != nil {
			return err
		}
	}
	if b.joins != join {
		return nil
	}
	if next != b {
		if b.c != nil && !b.c.unset { // they may have changed meanwhile
			next.c.renew(b.c.settings)
		} else if next.unset.Load() {
			b.unset.Store(true)
		}
		b.c, b.last = next.c, next.last
	}
	b.joining = false
	b.carryOut()
	return nil
}
