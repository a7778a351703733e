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

// bad returns a fault of a line, for one direction.
func bad(rng *rand.Rand) proxy.Fault {
	switch rng.IntN(6) {
	case 0:
		return proxy.Fault{Delay: drive.Between(rng, time.Millisecond, 300*time.Millisecond)}
	case 1:
		return proxy.Fault{Slice: 1 + rng.IntN(7)}
	case 2:
		return proxy.Fault{Slice: 1, Rate: 1 + rng.IntN(3)} // less than a frame in all the time
	case 3:
		return proxy.Fault{Slice: 50, Rate: 5000}
	case 4:
		return proxy.Fault{Limit: 1 + rng.IntN(3000)}
	}
	return proxy.Fault{Hold: true}
}

// The lines between clients and nodes are delayed, sliced, slowed down, cut in
// the middle of a frame, made black holes, forgotten and reset, each way by
// itself. Clients come back to any node, and resume without a loss.
func TestBadLinesOfClients(t *testing.T) {
	t.Parallel()
	seed, _ := drive.Seeded(t)
	members := cluster(t, database(t), 2)
	startAll(members)
	w := wardOn(t, members, seed)
	w.Load()
	ctx, cancel := context.WithTimeout(t.Context(), *nodesFor)
	defer cancel()
	var breaking sync.WaitGroup
	for i, m := range members {
		rng := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		breaking.Go(func() {
			for after(ctx, drive.Between(rng, 0, 1500*time.Millisecond)) {
				switch rng.IntN(5) {
				case 0:
					m.front.Reset()
				case 1:
					m.front.Forget()
				default:
					m.front.Set(proxy.Way(rng.IntN(2)), bad(rng))
				}
				after(ctx, drive.Between(rng, 100*time.Millisecond, 4*time.Second))
				m.front.Heal()
			}
		})
	}
	breaking.Wait()
	w.Verify()
	w.Finish()
}
