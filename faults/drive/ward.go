// Package drive uses nodes as a ward would while they are broken, and judges their
// behaviour. It records the attempts, confirmations, answers and observations of all
// requests. A confirmed event must have been observed in its place,
// once, and with the right count by each watcher of each node. Each level of
// each alert must have been told once in the log, and paged at least once, in
// time.
//
// It reads and writes frames as docs/protocol.md has them, without the
// library's own code: its client hides restarts, and would share its faults.
package drive

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/carewire/carewire/internal/process"
)

// Options of a Ward. Zero fields mean the defaults.
type Options struct {
	Nodes      []*Node       // at least one; they share one store
	Beds       int           // 0: 8
	Pause      time.Duration // the longest between two requests of a bed; 0: 60 ms
	Raises     float64       // the share of raises among the requests, at most 0.7; 0: 0.15
	Unanswered float64       // the share of alerts that nobody answers; 0: 0.35
	Open       int           // how many alerts a bed has open before the oldest is closed; 0: 60
	// Silence is how long a client waits for a reply, or, if it watches, for
	// anything, before it goes to another node; 0: as long as its line is there.
	Silence time.Duration
	Slack   time.Duration // how late a page may be, beyond the Hub's promise; 0: 4 s; 15 s more with the race detector
	Blind   bool          // the store is made to fail, and pages may go out that it does not know of
	Pruned  bool          // vitals are pruned: those that the store has are not looked at, and watchers may begin anew
	Seed    uint64        // of random choices; 0: one of its own
	Anew    bool          // clients may be told that a log has begun anew
}

func (o *Options) urls() []string {
	var urls []string
	for _, n := range o.Nodes {
		urls = append(urls, n.URL())
	}
	return urls
}

func (o *Options) caller(token string) *Caller {
	return &Caller{URLs: o.urls(), Token: token, Silence: o.Silence}
}

// Ward is beds, those who watch them, and one who reads their logs.
type Ward struct {
	Beds   []*Bed
	Reader *Caller

	t         testing.TB
	opt       Options
	followers []*follower
	ctx       context.Context
	cancel    context.CancelFunc
	stop      chan struct{}
	loading   sync.WaitGroup
	following sync.WaitGroup
	n         int // verifications
	figures   Figures
}

// Open makes a ward and begins to watch: one watcher at each node and one at
// any of them get every vital, one only the latest, and one only alerts. The
// nodes may be started later.
func Open(t testing.TB, o Options) *Ward {
	o.Beds = cmp.Or(o.Beds, 8)
	o.Pause = cmp.Or(o.Pause, 60*time.Millisecond)
	o.Raises = cmp.Or(o.Raises, 0.15)
	o.Unanswered = cmp.Or(o.Unanswered, 0.35)
	o.Open = cmp.Or(o.Open, 60)
	if o.Slack = cmp.Or(o.Slack, 4*time.Second); Raced() {
		o.Slack += 15 * time.Second
	}
	w := &Ward{t: t, opt: o, stop: make(chan struct{})}
	w.Reader = w.opt.caller("reader")
	w.ctx, w.cancel = context.WithCancel(t.Context())
	t.Cleanup(func() { // a test that has failed still waits for its goroutines
		w.cancel()
		w.loading.Wait()
		w.following.Wait()
	})
	if o.Seed == 0 {
		o.Seed, _ = Seeded(t)
	}
	var patients []string
	for i := range o.Beds {
		b := newBed(t, &w.opt, fmt.Sprintf("p-%02d", i+1), rand.New(rand.NewPCG(o.Seed, uint64(i+1))))
		w.Beds, patients = append(w.Beds, b), append(patients, b.Patient)
	}
	urls := o.urls()
	if len(urls) > 1 {
		for _, url := range urls {
			w.followers = append(w.followers, newFollower(t, &w.opt, "every", []string{url}))
		}
	}
	for _, delivery := range []string{"every", "latest", "alerts"} {
		w.followers = append(w.followers, newFollower(t, &w.opt, delivery, urls))
	}
	for _, f := range w.followers {
		w.following.Go(func() { f.run(w.ctx, patients) })
	}
	return w
}

// Load lets all beds be used until Finish.
func (w *Ward) Load() {
	for _, b := range w.Beds {
		w.loading.Go(func() { b.load(w.ctx, w.stop) })
	}
}

// Each calls f for each bed at once, and Finish waits for it.
func (w *Ward) Each(f func(ctx context.Context, b *Bed)) {
	for _, b := range w.Beds {
		w.loading.Go(func() { f(w.ctx, b) })
	}
}

// Verify reads the new entries of all logs and judges them and their delivery; of one
// bed after the other it reads the whole log again. Some node must be there.
func (w *Ward) Verify() {
	w.t.Helper()
	for i, b := range w.Beds {
		b.verify(w.ctx, w.Reader, i == w.n%len(w.Beds))
		for _, f := range w.followers {
			f.compare(b)
		}
	}
	w.n++
}

// Finish ends the load, waits until every request has its reply and everybody
// has got every event that they are owed, stops the nodes and judges all of it. All nodes
// must be there.
func (w *Ward) Finish() {
	w.t.Helper()
	close(w.stop)
	w.loading.Wait()
	e := &escalations{t: w.t, nodes: w.opt.Nodes, slack: w.opt.Slack, blind: w.opt.Blind}
	e.settle(w.ctx, w.Reader, w.Beds)
	for _, f := range w.followers {
		process.Poll(w.t, process.Patience, func() (bool, string) { return f.has(w.Beds) })
		for _, b := range w.Beds {
			f.compare(b)
		}
	}
	w.cancel()
	w.following.Wait()
	for _, n := range w.opt.Nodes {
		n.Stop()
	}
	e.judge(w.Beds)
	w.figures = e.Figures
	for _, b := range w.Beds {
		w.figures.count(b)
	}
	for _, f := range w.followers {
		w.figures.Resumed, w.figures.Anew, w.figures.Entries = w.figures.Resumed+f.resumed, w.figures.Anew+f.anew, w.figures.Entries+f.entries
	}
	w.t.Log(w.figures)
}

// Figures are there once Finish has returned.
func (w *Ward) Figures() Figures { return w.figures }

// Seeded returns a source of a test's random choices, and logs the seed;
// FAULTS_SEED repeats the choices.
func Seeded(t testing.TB) (uint64, *rand.Rand) {
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("FAULTS_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("FAULTS_SEED=%d", seed)
	return seed, rand.New(rand.NewPCG(seed, 0))
}

// Between draws a duration.
func Between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)))
}
