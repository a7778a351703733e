package faults

import (
	"context"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/faults/proxy"
)

// breaks are what happens to a node: it does something to m, for a while, and
// then m is whole again.
var breaks = []struct {
	name  string
	short time.Duration // for how long, at least; at most twice as long
	begin func(m *member)
	end   func(m *member)
}{
	{"killed", 200 * time.Millisecond, func(m *member) { m.Kill() }, func(m *member) { m.Start() }},
	{"paused", 2 * time.Second, func(m *member) { m.Pause() }, func(m *member) { m.Resume() }},
	{"paused beyond its claims", 11 * time.Second, func(m *member) { m.Pause() }, func(m *member) { m.Resume() }},
	{"cut off", 3 * time.Second, func(m *member) { m.Away(); m.db.SetBoth(proxy.Fault{Hold: true}) }, heal},
	{"cut off one way", 3 * time.Second, func(m *member) { m.Away(); m.db.Set(proxy.Up, proxy.Fault{Hold: true}) }, heal},
	{"cut off the other way", 3 * time.Second, func(m *member) { m.Away(); m.db.Set(proxy.Down, proxy.Fault{Hold: true}) }, heal},
	{"cut off beyond all deadlines", 11 * time.Second, func(m *member) { m.Away(); m.db.SetBoth(proxy.Fault{Hold: true}) }, heal},
	{"refused", time.Second, func(m *member) { m.Away(); m.db.Refuse(true); m.db.Reset() }, heal},
	{"reset", 0, func(m *member) { m.Away(); m.db.Reset() }, heal},
	{"forgotten", 3 * time.Second, func(m *member) { m.Away(); m.db.Forget() }, heal},
	{"deaf", 2 * time.Second, func(m *member) { m.hear.SetBoth(proxy.Fault{Hold: true}) }, func(m *member) { m.hear.Heal() }},
}

func heal(m *member) {
	m.db.Heal()
	m.Back()
}

// Three nodes share a database. At random one or two of them at a time are
// killed, paused, or cut off from the database in one of many ways. Whatever
// any of them has confirmed is there, in its place and once; whoever watches,
// at whichever of them, gets everything once and in order; every level of every
// alert is recorded once, and paged at least once.
func TestNodesAreBrokenAtRandom(t *testing.T) {
	t.Parallel()
	seed, _ := drive.Seeded(t)
	members := cluster(t, database(t), 3)
	startAll(members)
	w := wardOn(t, members, seed)
	w.Load()
	ctx, cancel := context.WithTimeout(t.Context(), *nodesFor)
	defer cancel()
	broken := make(chan bool, len(members)-1) // one is always whole
	var breaking sync.WaitGroup
	for i, m := range members {
		rng := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		breaking.Go(func() {
			for after(ctx, drive.Between(rng, 200*time.Millisecond, 3*time.Second)) {
				b := breaks[rng.IntN(len(breaks))]
				broken <- true
				b.begin(m)
				after(t.Context(), drive.Between(rng, b.short, 2*b.short+time.Millisecond))
				b.end(m)
				<-broken
				t.Logf("node %d was %s", i, b.name)
			}
		})
	}
	for after(ctx, 2*time.Second) {
		w.Verify()
	}
	breaking.Wait()
	w.Finish()
}
