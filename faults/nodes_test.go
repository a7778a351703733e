package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/faults/proxy"
	"github.com/carewire/carewire/internal/process"
)

// breaks are the faults of a node for a while, until it is whole again. Those
// that outlast deadlines take long, and have tests of their own below.
var breaks = []struct {
	name  string
	short time.Duration // for how long, at least; at most twice as long
	begin func(m *member)
	end   func(m *member)
}{
	{"killed", 200 * time.Millisecond, func(m *member) { m.Kill() }, func(m *member) { m.Start() }},
	{"paused", 2 * time.Second, func(m *member) { m.Pause() }, func(m *member) { m.Resume() }},
	{"cut off", 3 * time.Second, func(m *member) { m.Away(); m.db.SetBoth(proxy.Fault{Hold: true}) }, heal},
	{"cut off one way", 3 * time.Second, func(m *member) { m.Away(); m.db.Set(proxy.Up, proxy.Fault{Hold: true}) }, heal},
	{"cut off the other way", 3 * time.Second, func(m *member) { m.Away(); m.db.Set(proxy.Down, proxy.Fault{Hold: true}) }, heal},
	{"refused", time.Second, func(m *member) { m.Away(); m.db.Refuse(true); m.db.Reset() }, heal},
	{"reset", 0, func(m *member) { m.Away(); m.db.Reset() }, heal},
	{"forgotten", 3 * time.Second, func(m *member) { m.Away(); m.db.Forget() }, heal},
	{"deaf", 2 * time.Second, func(m *member) { m.hear.SetBoth(proxy.Fault{Hold: true}) }, func(m *member) { m.hear.Heal() }},
	{"paused for long", 11 * time.Second, func(m *member) { m.Pause() }, func(m *member) { m.Resume() }},
	{"cut off for long", 11 * time.Second, func(m *member) { m.Away(); m.db.SetBoth(proxy.Fault{Hold: true}) }, heal},
}

const longBreaks = 2 // the last of breaks

func heal(m *member) {
	m.db.Heal()
	m.Back()
}

// Three nodes share a database. At random one or two of them at a time are
// killed, paused, or cut off from the database in one of many ways. An event
// that any of them has confirmed is there, in its place and once; each watcher,
// of whichever node, gets everything once and in order; every level of every
// alert is recorded once, and paged at least once.
func TestNodesAreBrokenAtRandom(t *testing.T) {
	t.Parallel()
	seed, _ := drive.Seeded(t)
	members := cluster(t, database(t), 3)
	startAll(members)
	w := wardOn(t, members, seed)
	kinds := len(breaks)
	if *nodesFor < time.Minute {
		kinds -= longBreaks
	}
	var mu sync.Mutex
	happened := map[string]int{}
	w.Load()
	ctx, cancel := context.WithTimeout(t.Context(), *nodesFor)
	defer cancel()
	broken := make(chan bool, len(members)-1) // one is always whole
	var breaking sync.WaitGroup
	for i, m := range members {
		rng := rand.New(rand.NewPCG(seed, uint64(1000+i)))
		breaking.Go(func() {
			for after(ctx, drive.Between(rng, 100*time.Millisecond, 2*time.Second)) {
				b := breaks[rng.IntN(kinds)]
				broken <- true
				mu.Lock()
				happened[b.name]++
				mu.Unlock()
				b.begin(m)
				after(t.Context(), drive.Between(rng, b.short, 2*b.short+time.Millisecond))
				b.end(m)
				<-broken
			}
		})
	}
	for after(ctx, 2*time.Second) {
		w.Verify()
	}
	breaking.Wait()
	w.Finish()
	t.Log(happened)
}

// A witness keeps the events of one client at one node.
type witness struct {
	*drive.Line
	mu     sync.Mutex
	frames []drive.Frame
}

func newWitness(t *testing.T, m *member, patients ...string) *witness {
	w := &witness{}
	line, err := drive.Connect(t.Context(), m.URL(), "witness", 0, func(f *drive.Frame) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.frames = append(w.frames, *f)
	})
	require.NoError(t, err)
	t.Cleanup(line.Close)
	w.Line = line
	f, err := line.Ask(map[string]any{"type": "watch", "patients": patients, "delivery": "every"})
	require.NoError(t, err)
	require.Equal(t, "ok", f.Type)
	process.Poll(t, process.Patience, func() (bool, string) { // from now on every event comes
		return w.count(func(f *drive.Frame) bool { return f.Type == "synced" }) == len(patients), "synced"
	})
	return w
}

// count returns how many frames there were that match.
func (w *witness) count(match func(*drive.Frame) bool) (n int) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for i := range w.frames {
		if match(&w.frames[i]) {
			n++
		}
	}
	return n
}

func status(ok bool) func(*drive.Frame) bool {
	return func(f *drive.Frame) bool { return f.Type == "status" && (f.Store == "ok") == ok }
}

func heartbeat(f *drive.Frame) bool { return f.Type == "heartbeat" }

// Within ten seconds a node that cannot reach the database tells its clients so;
// until it can again it confirms nothing and sends no heartbeat. Then it says
// that it is well, and everybody at it catches up.
func TestNodeThatIsCutOffSaysSo(t *testing.T) {
	t.Parallel()
	members := cluster(t, database(t), 2)
	startAll(members)
	w := wardOn(t, members, 0)
	w.Load()
	m := members[0]
	for i, cut := range []func(){
		func() { m.db.SetBoth(proxy.Fault{Hold: true}) },
		func() { m.db.Set(proxy.Up, proxy.Fault{Hold: true}) },
		func() { m.db.Set(proxy.Down, proxy.Fault{Hold: true}) },
		func() { m.db.Refuse(true); m.db.Reset() },
	} {
		seen := newWitness(t, m, w.Beds[0].Patient)
		m.Away()
		cut()
		replies := make(chan *drive.Frame, 1)
		go func() {
			f, _ := seen.Ask(map[string]any{"type": "raise", "event_id": fmt.Sprint("cut-", i),
				"alert": map[string]any{"patient": "elsewhere", "key": "k", "text": "x", "priority": "high", "test": true}})
			replies <- f
		}()
		process.Poll(t, 10*time.Second+busy(), func() (bool, string) { return seen.count(status(false)) > 0, "status" })
		after(t.Context(), 2*time.Second)
		beats := seen.count(heartbeat)
		select {
		case f := <-replies:
			require.NotNil(t, f)
			require.Equal(t, "error later", f.Type+" "+f.Retry)
			replies <- f
		default:
		}
		heal(m)
		process.Poll(t, process.Patience, func() (bool, string) { return seen.count(status(true)) > 0, "status ok" })
		require.Zero(t, beats)
		require.NotNil(t, <-replies, "the line must live through it")
	}
	w.Verify()
	w.Finish()
}

// Two of three nodes are paused, each between its claim of a level and the record
// that it was told, until others have taken the claim up; then they go
// on where they were stopped. The Store has each level once, and each has a page.
func TestPausedBeyondItsClaims(t *testing.T) {
	t.Parallel()
	members := cluster(t, database(t), 3)
	for _, m := range members {
		// A pause falls before the record, be this test's process slow itself, and
		// the level is still the same when they go on.
		m.Args = append(m.Args, "-page", "2s", "-step", "20s")
	}
	startAll(members)
	w := wardOn(t, members, 0)
	resumed := make(chan bool)
	w.Each(func(ctx context.Context, b *drive.Bed) {
		var raised []*drive.Alert
		for range 12 {
			if a := b.Raise(ctx); a != nil {
				raised = append(raised, a)
			}
		}
		<-resumed
		for _, a := range raised {
			b.Answer(ctx, a, "accept")
		}
	})
	var pausing sync.WaitGroup
	for _, m := range members[:2] {
		pausing.Go(func() {
			page := 0
			for range 2 {
				_, page = m.Last().Out.Await(t, page, `^page `)
			}
			m.Pause()
			after(t.Context(), 15*time.Second)
			m.Resume()
		})
	}
	pausing.Wait()
	after(t.Context(), time.Second)
	close(resumed)
	w.Finish()
	if inCI() {
		assert.NotZero(t, w.Figures().ClaimedAgain, "no pause fell between a claim and its record")
	}
}

// A node whose connections to the database have just been forgotten ends in good
// time, at any point of its work on them.
func TestNodeEndsThoughItsConnectionsAreForgotten(t *testing.T) {
	t.Parallel()
	members := cluster(t, database(t), 2)
	startAll(members)
	w := wardOn(t, members, 0)
	w.Load()
	after(t.Context(), 3*time.Second)
	m := members[0]
	m.db.Forget()
	m.hear.Forget()
	began := time.Now()
	m.Stop()
	t.Log("ended within", time.Since(began))
	m.Start()
	w.Finish()
}
