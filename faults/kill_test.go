package faults

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/carewire/carewire/faults/drive"
	"github.com/stretchr/testify/assert"
)

// The node is killed again and again while it is used. An event that it has
// confirmed is there afterwards, in its place and once; each watcher gets
// everything, once, over all of it.
func TestKilledUnderLoad(t *testing.T) {
	t.Parallel()
	kills := 5
	if inCI() {
		kills = 10
	}
	seed, rng := drive.Seeded(t)
	n := drive.NewNode(t)
	w := drive.Open(t, drive.Options{Nodes: []*drive.Node{n}, Seed: seed})
	n.Start()
	w.Load()
	for range kills {
		moment := time.After(drive.Between(rng, 300*time.Millisecond, 1500*time.Millisecond))
		w.Verify()
		<-moment
		n.Kill()
		n.Start()
	}
	w.Finish()
}

// The node is killed in the midst of paging: between the record that a level is
// claimed, the page, and the record that it was told. Every level is told all
// the same, once in the log, and paged at least once.
func TestKilledBetweenRecordAndPage(t *testing.T) {
	t.Parallel()
	kills := 3
	if inCI() {
		kills = 6
	}
	seed, rng := drive.Seeded(t)
	n := drive.NewNode(t, "-data", t.TempDir(), "-page", "100ms") // for a kill to fall between page and record
	w := drive.Open(t, drive.Options{Nodes: []*drive.Node{n}, Seed: seed})
	n.Start()
	// Nobody answers most of them, and two in ten are accepted as soon as they are raised.
	w.Each(func(ctx context.Context, b *drive.Bed) {
		for i := range 15 {
			if a := b.Raise(ctx); a != nil && i%5 == 0 {
				b.Answer(ctx, a, "accept")
			}
		}
	})
	for k := range kills {
		page := 0
		for range 1 + rng.IntN(8) {
			// Of at least that level: all of one may have been told while the node was started.
			_, page = n.Last().Out.Await(t, page, fmt.Sprintf(`^page .* alert=p-\S+ level=([%d-9]|\d\d)$`, 1+k*4/kills))
		}
		n.Kill()
		n.Start()
	}
	w.Finish()
	if inCI() {
		assert.NotZero(t, w.Figures().ClaimedAgain, "no kill fell between record and page")
	}
}
