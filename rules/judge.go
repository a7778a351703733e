package rules

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// Options are a host's choices for a Judge. Its functions are called for several
// patients at once.
type Options struct {
	// Patients lists the patients to judge; required. It is asked at the beginning, every
	// Poll, and after Changed.
	Patients func(ctx context.Context) ([]string, error)
	// Poll is how often Patients is asked; 0: every 30 s.
	Poll time.Duration
	// To returns the addressees of a patient's alerts; nil: nobody in
	// particular, the Hub's Policy decides.
	To func(patient string) []string
	// Settings returns the settings of a patient; nil: there are none. The
	// Judge keeps the result until Changed. If it fails, the rules continue as
	// they were, and it is called again. At the beginning they have no Settings then:
	// until these come, they raise alerts, but clear none and lower no priority.
	Settings func(ctx context.Context, patient string) (Settings, error)
	// Auditor is given a Record of each change of Settings that is seen while the
	// patient is judged; nil: carewire.NewSlogAuditor(Logger, nil).
	Auditor carewire.Auditor
	// MaxBlind is for how long a rule that could judge a patient may be unable to,
	// before a technical alert says so; 0: 5 minutes.
	MaxBlind time.Duration
	// Node names this Judge among others on the same Store, and must differ from
	// theirs; "": a random name. A name that stays over restarts lets the patients
	// stay where they are.
	Node string
	// Logger gets no health data; nil: slog.Default().
	Logger *slog.Logger
}

// A Judge runs a Set on a Hub, together with all other Judges on the Hub's
// Store. One of them judges each patient; if it is gone, another takes over
// within ten seconds. Of patients with very many readings, rules that look back
// more than a minute follow when the log is read. The log and the Settings alone
// decide the raises: it makes no difference which Judge judged before. A call of
// the Store or the host for one patient delays no other patient. All methods are
// safe for concurrent use.
type Judge struct {
	hub   *carewire.Hub
	set   *Set
	opt   Options
	log   *slog.Logger
	began time.Time
	wake  chan struct{} // for a round at once
	stats tally
	reads chan struct{} // reads of the log that are under way

	// Of Run.
	roster     roster
	generation uint64    // whose patients this node has
	settled    time.Time // from then on the roster counts
	asked      time.Time // when Patients was asked last
	listed     []string
	seen       uint64 // the newest change of Settings in the roster that was heeded

	dutyBegan, dutyEnds atomic.Int64 // times since began

	mu         sync.Mutex
	beds       map[string]*bed
	judged     []string   // the patients whom all nodes judge
	left       millis     // up to when the patients were judged whom others are still taking over; never: there are none
	toAnnounce [][]string // whose Settings have changed, not told to the other nodes yet
	running    bool
}

// New returns a Judge that is not running yet.
func New(hub *carewire.Hub, set *Set, o *Options) (*Judge, error) {
	if hub == nil || set == nil || o == nil || o.Patients == nil {
		return nil, errors.New("rules: a Hub, a Set and Options.Patients are required")
	}
	j := &Judge{hub: hub, set: set, opt: *o, log: o.Logger, began: time.Now(), wake: make(chan struct{}, 1), reads: make(chan struct{}, readsAtOnce),
		beds: make(map[string]*bed), left: never}
	j.opt.Poll = cmp.Or(o.Poll, 30*time.Second)
	j.opt.MaxBlind = cmp.Or(o.MaxBlind, defaultBlind)
	j.opt.Node = cmp.Or(o.Node, rand.Text())
	if j.opt.Poll < 0 || j.opt.MaxBlind < 0 || len(j.opt.Node) > 128 {
		return nil, errors.New("rules: Options: out of range")
	}
	if j.log == nil {
		j.log = slog.Default()
	}
	if j.opt.Auditor == nil {
		j.opt.Auditor = carewire.NewSlogAuditor(j.log, nil)
	}
	return j, nil
}

// Changed reports that the list of patients, or the Settings of the named
// patients (none: of all), may have changed. It may be called on any node. The
// node that judges a patient asks for the Settings within seconds.
func (j *Judge) Changed(patients ...string) {
	j.mu.Lock()
	j.toAnnounce = append(j.toAnnounce, slices.Clone(patients))
	j.mu.Unlock()
	select {
	case j.wake <- struct{}{}:
	default:
	}
}

// Run judges until ctx ends or the Hub is shut down, and returns the reason.
// Only one call may run at a time. If the Store fails, Run continues, and
// judges the missed entries later.
func (j *Judge) Run(ctx context.Context) error {
	j.mu.Lock()
	if j.running {
		j.mu.Unlock()
		return errors.New("rules: the Judge is running")
	}
	j.running = true
	j.mu.Unlock()
	inner, stop := context.WithCancel(ctx)
	var wards sync.WaitGroup
	defer func() {
		stop()
		wards.Wait()
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		j.beat(late, true)
		j.mu.Lock()
		clear(j.beds)
		j.running = false
		j.mu.Unlock()
	}()
	tick := time.NewTicker(beat)
	defer tick.Stop()
	for {
		switch err := j.round(inner, &wards); {
		case errors.Is(err, carewire.ErrClosed):
			return err
		case err != nil && ctx.Err() == nil:
			j.log.Warn("rules: could not agree which Judge has which patients", "error", err)
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		case <-j.wake:
			j.asked = time.Time{}
		}
	}
}

// round reports to the other nodes, and takes up and gives up patients as the
// roster says.
func (j *Judge) round(ctx context.Context, wards *sync.WaitGroup) error {
	limited, cancel := context.WithTimeout(ctx, stale)
	defer cancel()
	if err := j.beat(limited, false); err != nil {
		return err
	}
	if time.Since(j.asked) >= j.opt.Poll || j.listed == nil {
		list, err := j.patients(limited)
		if err != nil {
			return fmt.Errorf("rules: Options.Patients failed: %w", err)
		}
		j.listed, j.asked = list, time.Now()
		j.mu.Lock()
		j.judged = j.listed
		j.mu.Unlock()
	}
	if time.Now().Before(j.settled) {
		return nil
	}
	mine := make(map[string]bool)
	for _, p := range j.listed {
		if j.roster.owner(p) == j.opt.Node {
			mine[p] = true
		}
	}
	j.drop(mine)
	j.takeUp(ctx, wards, mine)
	j.generation = j.roster.Generation
	return nil
}

// patients asks the host's code, which may panic. An ID that is none is left out: with
// it a row of patients could not be watched.
func (j *Judge) patients(ctx context.Context) (list []string, err error) {
	defer func() {
		if recover() != nil {
			err = errors.New("it has panicked")
		}
	}()
	all, err := j.opt.Patients(ctx)
	list = make([]string, 0, len(all))
	for _, p := range all {
		if v := carewire.HeartRate.Of(p, 1); v.Validate() == nil {
			list = append(list, p)
		}
	}
	if n := len(all) - len(list); n > 0 {
		j.log.Warn("rules: Options.Patients lists invalid IDs; these are not judged", "count", n)
	}
	return list, err
}

// drop gives up the patients that are no longer this node's.
func (j *Judge) drop(mine map[string]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for p, b := range j.beds {
		if !mine[p] {
			b.ended.Store(true)
			j.left = min(j.left, millis(b.judged.Load()))
			delete(j.beds, p)
			b.row.left()
		}
	}
}

// takeUp begins with those that are new to this node.
func (j *Judge) takeUp(ctx context.Context, wards *sync.WaitGroup, mine map[string]bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	maps.DeleteFunc(mine, func(p string, _ bool) bool { return j.beds[p] != nil })
	since := j.roster.since(millisOf(j.hub.Now()))
	for list := range slices.Chunk(slices.Sorted(maps.Keys(mine)), rowMax) {
		r := &row{judge: j, wards: wards, beds: make(map[string]*bed)}
		r.ctx, r.stop = context.WithCancel(ctx)
		for _, p := range list {
			b := newBed(r, p, since)
			r.beds[p], j.beds[p] = b, b
		}
		r.here.Store(int64(len(list)))
		wards.Go(r.watch)
		wards.Go(r.tick)
	}
}

// refresh has the Settings of patients asked for again.
func (j *Judge) refresh(patients []string, all bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for p, b := range j.beds {
		if all || slices.Contains(patients, p) {
			b.unset.Store(true)
		}
	}
}

// judgedUpTo is the time before which all entries of this node's patients are
// judged: of those that it has, and with those whom others are still taking over.
func (j *Judge) judgedUpTo() (own, all millis) {
	j.mu.Lock()
	defer j.mu.Unlock()
	own = millisOf(j.hub.Now().Add(-inFlight))
	for _, b := range j.beds {
		own = min(own, millis(b.judged.Load()))
	}
	return own, min(own, j.left)
}
