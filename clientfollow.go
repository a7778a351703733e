package carewire

import (
	"strings"
	"time"
)

// watchSpec is how something is watched.
type watchSpec struct {
	delivery  Delivery
	emergency bool
	reason    string
	waves     string // codes of signals, with spaces between
}

func (o *WatchOptions) spec() watchSpec {
	return watchSpec{o.Delivery, o.Emergency, o.Reason, strings.Join(o.Waves, " ")}
}

// follow is a Client's knowledge of one patient that it watches.
type follow struct {
	patient   string
	spec      watchSpec // as the server was asked last
	state     followState
	position  Position // the position of the last event queued for the reader
	resumable bool     // position is one to resume from
	must      uint64   // undroppable entries up to position
	counted   bool     // must is known
	heard     time.Time
	stale     bool // the reader was told

	due       time.Time // waiting: not to be asked for before
	asked     time.Time // waiting: when it was asked for; zero: not yet
	confirmed bool      // waiting: the server said ok, sync comes next
	leaving   bool      // waiting: the server is asked to stop sending

	misses   int // in a row
	lastMiss time.Time
}

type followState uint8

const (
	followWaiting  followState = iota // for a sync; events before it are ignored
	followCatching                    // after a recovered sync
	followSnapshot                    // after one that was not recovered
	followLive                        // after synced
)

// await makes f wait for the next sync.
func (f *follow) await() {
	f.state, f.asked, f.confirmed = followWaiting, time.Time{}, false
}

// confirm notes that the server has said ok.
func (f *follow) confirm() { f.asked, f.confirmed = time.Now(), true }

func (f *follow) needs(now time.Time) bool {
	return f.state == followWaiting && f.asked.IsZero() && !f.leaving && !now.Before(f.due)
}

func (f *follow) deliversEvery() bool { return f.spec.delivery == DeliverEvery }

// continues reports whether ev comes directly after f's position.
func (f *follow) continues(ev *Event) bool {
	grown := ev.Must - f.must
	right := grown == 1
	switch ev.Type {
	case EventVital:
		right = grown == 0
	case EventGap:
		right = grown <= 1
	}
	return (right || !f.counted) && (!f.resumable || ev.Seq > f.position.Seq && (!f.deliversEvery() || ev.Seq == f.position.Seq+1))
}
