package storetest

import (
	"errors"
	"io"
	"testing"
	"time"

	"github.com/carewire/carewire"
)

// Durable tells [RunDurable] how a store is opened, and how harm is done to it.
// Place and Open are required. A hook that is nil leaves its rule out: the
// subtest is skipped and says so.
type Durable struct {
	// Place makes a place for one new store and returns its name, such as a path
	// or a connection string. It goes with t.
	Place func(t *testing.T) string

	// Open opens the store in a place, or makes it; it is closed by Close, if it
	// has one. It is called in child processes, too, which know nothing but the
	// place's name, and while the place is open already.
	Open func(place string) (carewire.Store, error)

	// Locked is the error that Open's matches while another store has the place
	// open. nil: any number may have it open, as with a database.
	Locked error

	// Break has the writes of s fail as on a disk with an I/O error, until mend
	// is called.
	Break func(t *testing.T, place string, s carewire.Store) (mend func())

	// Failed is the error that Append's errors match, once a write has failed,
	// until the store is opened anew. nil: it goes on, as with a database.
	Failed error

	// Fill leaves no room for s's writes, as on a full disk, until mend is
	// called.
	Fill func(t *testing.T, place string, s carewire.Store) (mend func())

	// Reserve says that alerts must find room when vitals no longer do.
	Reserve bool

	// Copy copies a place that is not open; restore puts the copy back in its
	// stead.
	Copy func(t *testing.T, place string) (restore func())

	// OpenCopy opens a place into which an older copy was put back, for stores
	// that cannot see that by themselves and have an option for it. nil: Open.
	OpenCopy func(place string) (carewire.Store, error)
}

// RunDurable tests the promises of a store beyond a process's life: it must
// survive restarts and kills, I/O errors and full disks, older copies and
// second openers. There is a subtest for each rule, with a place of its own;
// they run in parallel. A volatile store skips them all.
//
//	func TestDurable(t *testing.T) {
//		storetest.RunDurable(t, storetest.Durable{
//			Place: func(t *testing.T) string { return filepath.Join(t.TempDir(), "store") },
//			Open:  func(place string) (carewire.Store, error) { return mystore.Open(place) },
//		})
//	}
//
// Child processes run the test binary again, and t's test up to this call: code
// before the call must be harmless when it runs twice. A kill cannot show
// whether the store syncs, because the kernel keeps written data.
func RunDurable(t *testing.T, d Durable) {
	d.beChild(t)
	test := t.Name()
	for _, r := range durableRules {
		t.Run(r.name, func(t *testing.T) {
			t.Parallel()
			report(t, r.run(&probe{ctx: t.Context(), life: &life{Durable: d, t: t, test: test}}))
		})
	}
}

// A life takes a probe's store through restarts, crashes and faults.
type life struct {
	Durable
	t     *testing.T
	test  string // the one that child processes run
	place string
}

// begin opens a store in a new place, and skips the rule if it is volatile.
func (p *probe) begin() {
	if p.life.Place != nil {
		p.life.place = p.life.Place(p.life.t)
	}
	p.open(p.life.Open)
	if d, ok := p.store.(carewire.Durable); !ok || !d.Durable() {
		p.skip("the store is volatile")
	}
}

// open puts the place's store, opened, in place.
func (p *probe) open(open func(place string) (carewire.Store, error)) {
	s, err := open(p.life.place)
	p.must("Open", err)
	p.store = s
	p.life.t.Cleanup(func() { _ = closeStore(s) })
}

// again closes the store and opens it.
func (p *probe) again() {
	p.must("Close", closeStore(p.store))
	p.open(p.life.Open)
}

func closeStore(s carewire.Store) error {
	if c, ok := s.(io.Closer); ok {
		return c.Close()
	}
	return nil
}

// needs skips the rule if a hook is nil.
func (p *probe) needs(name string, given bool) {
	if !given {
		p.skip("Durable." + name + " is nil")
	}
}

// soon calls try until it succeeds, for half a minute.
func (p *probe) soon(what string, try func() error) {
	every := time.NewTicker(20 * time.Millisecond)
	defer every.Stop()
	var err error
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); <-every.C {
		if err = try(); err == nil {
			return
		}
	}
	p.fail("%s, for half a minute: %v", what, err)
}

// taken appends entries and returns an error unless all were taken or are
// there already.
func (p *probe) taken(entries ...carewire.Entry) error {
	results, err := p.store.Append(p.ctx, entries)
	for _, a := range results {
		err = errors.Join(err, a.Err)
	}
	return err
}
