package carewire

import (
	"context"
	"hash/maphash"
	"time"
)

// lanes are all lanes of a Hub, with the parts of it that they need.
type lanes struct {
	ctx       context.Context // the context of all appends and reads
	store     *guardedStore
	clock     *clock
	peers     *peers
	noteHeard func(v *Vital, of *series, e *Entry, repeated bool) // called for each vital that was appended; must not block
	lag       *histogram                                          // how late entries of other nodes come

	maxKeys int           // Options.MaxKeys
	keyLife time.Duration // Options.KeyLife

	list []*lane
	seed maphash.Seed
}

// newLanes makes Options.Lanes lanes. With a Spread it makes one for each part,
// so that an append that hangs delays the patients of one part.
func newLanes(c *core, p *peers, o *Options, lag *histogram, hear func(*Vital, *series, *Entry, bool)) *lanes {
	x := &lanes{ctx: c.ctx, store: c.logs.store, clock: c.clock, peers: p, noteHeard: hear, lag: lag, maxKeys: o.MaxKeys, keyLife: o.KeyLife, seed: maphash.MakeSeed()}
	n := o.Lanes
	if x.store.spread != nil {
		n = x.store.spread.Parts()
	}
	for range n {
		x.list = append(x.list, newLane(x))
	}
	return x
}

// run starts the goroutines of all lanes. They end after close.
func (x *lanes) run(b *background) {
	for _, l := range x.list {
		b.start(func() { l.append(x.ctx) })
		b.start(l.fanOut)
	}
}

// of returns the lane of a patient.
func (x *lanes) of(patient string) *lane {
	if s := x.store.spread; s != nil {
		return x.list[s.Part(patient)]
	}
	return x.list[maphash.String(x.seed, patient)%uint64(len(x.list))]
}

// compare asks the lanes to compare the cursors of patients with the Store's
// heads. It skips patients whom nobody watches. Nil means all watched patients.
func (x *lanes) compare(patients []string) { x.compareWith(patients, false) }

// hint is compare for a hint of the Store, which a Relay may have made superfluous.
func (x *lanes) hint(patients []string) { x.compareWith(patients, true) }

func (x *lanes) compareWith(patients []string, hint bool) {
	of := map[*lane][]string{}
	for _, p := range patients {
		l := x.of(p)
		of[l] = append(of[l], p)
	}
	for _, l := range x.list {
		if patients == nil || of[l] != nil {
			l.compare(of[l], hint)
		}
	}
}

// compareSome runs once a turn. In fifty turns each lane compares its watched
// patients once with the Store's heads: all lanes at turn 0, or the many lanes
// of a Spread a share at each turn.
func (x *lanes) compareSome(turn int) {
	spread := x.store.spread != nil
	for i, l := range x.list {
		if spread && i%compares == turn || !spread && turn == 0 {
			l.compare(nil, false)
		}
	}
}

// close ends the lanes once the submitted jobs are done.
func (x *lanes) close() {
	for _, l := range x.list {
		l.close()
	}
}
