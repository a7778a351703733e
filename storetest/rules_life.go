package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// callRules are about calls: contexts, slices, empty input, and Close.
var callRules = []rule{
	{"empty", "for an unknown patient reads return no entries, a Head with the zero Position and no error; empty batches and lists are answered emptily", func(p *probe) {
		results, err := p.store.Append(p.ctx, nil)
		if p.must("Append of nothing", err); len(results) != 0 {
			p.fail("Append of nothing returned %d results", len(results))
		}
		heads, err := p.store.Heads(p.ctx, nil)
		if p.must("Heads of nobody", err); len(heads) != 0 {
			p.fail("Heads of nobody returned %d heads", len(heads))
		}
		for range 2 {
			p.same("Read", p.read("unknown", 0, carewire.ReadQuery{}), nil)
			p.same("Read", p.read("unknown", 5, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindAlert}, Key: "x"}), nil)
			entries, head := p.latest("unknown")
			p.same("Latest", entries, nil)
			if head.Position != (carewire.Position{}) || head.Must != 0 || len(head.Epochs) != 0 {
				p.fail("Latest of an unknown patient returned the head %v", head)
			}
			if head = p.head("unknown"); head.Position != (carewire.Position{}) || head.Must != 0 || len(head.Epochs) != 0 {
				p.fail("the head of an unknown patient is %v", head)
			}
			_, err = p.store.Get(p.ctx, "unknown", "x")
			p.want("Get of an unknown patient", err, carewire.ErrNotFound)
			p.same("Waiting", p.waiting(t0.Add(day), 0), nil)
			p.add(vital("known", "x", 0))
		}
		entries, mark := p.changed("", 0)
		p.same("Changed", entries, nil)
		newest := map[state]carewire.Entry{}
		added := p.add(ended("a", "x", 1))
		p.follow(mark, 10, newest)
		p.same("Changed since the mark of an empty store", []carewire.Entry{newest[state{"a", "x"}]}, added)
	}},
	{"given slices", "the Store keeps no slice that it is given: callers may change Data, To and the batch after Append returned", func(p *probe) {
		batch := []carewire.Entry{alert("a", "x", 1, 0), vital("a", "hr", 0)}
		want := p.add(cloned(batch)...)
		want = append(want, cloned(batch)...)
		for i := range batch {
			batch[i].Patient, want[2+i].Patient, batch[i].Rev, want[2+i].Rev = "b", "b", 0, 0
		}
		for i, a := range p.append(batch...) {
			want[2+i].Position, want[2+i].Must = a.Position, a.Must
		}
		scribble(batch)
		p.unchanged("b", want[2:])
	}},
	{"returned slices", "the Store hands out no slice that it keeps: callers may change the result of a read", func(p *probe) {
		want := cloned(p.add(alert("a", "x", 1, 0), vital("a", "hr", 0)))
		latest, head := p.latest("a")
		scribble(latest)
		scribble([]carewire.Entry{p.get("a", "x")})
		scribble([]carewire.Entry{p.get("a", "hr")})
		scribble(p.read("a", 0, carewire.ReadQuery{}))
		scribble(p.waiting(t0, 0))
		entries, _ := p.changed("", 0)
		scribble(entries)
		other := p.head("a")
		for i := range head.Epochs {
			head.Epochs[i].Seq, other.Epochs[i].Epoch = 99, "scribbled"
		}
		p.unchanged("a", want)
	}},
	{"contexts", "a method called with a context that is done returns its error without having written anything", func(p *probe) {
		want := p.add(alert("a", "x", 1, 0), withID(notice("a"), "s", "1", "one"))
		ended, cancel := context.WithCancel(p.ctx)
		cancel()
		late, stop := context.WithDeadline(p.ctx, t0.Add(-100*365*day))
		defer stop()
		for target, ctx := range map[error]context.Context{context.Canceled: ended, context.DeadlineExceeded: late} {
			for name, call := range calls(p.store) {
				p.want(name+" with a context that is done", call(ctx), target)
			}
			_, err := p.store.Append(ctx, []carewire.Entry{withID(notice("a"), "s", "2", "two")})
			p.want("Append with a context that is done", err, target)
		}
		p.same("Read", p.read("a", 0, carewire.ReadQuery{}), want)
		p.add(withID(notice("a"), "s", "2", "two"))
	}},
	{"closed", "calls after Close return an error that matches ErrClosed", func(p *probe) {
		closer, ok := p.store.(io.Closer)
		if !ok {
			p.skip("the store has no Close")
		}
		p.add(alert("a", "x", 1, 0))
		p.must("Close", closer.Close())
		for name, call := range calls(p.store) {
			p.want(name+" after Close", call(p.ctx), carewire.ErrClosed)
		}
	}},
	{"closed while appending", "an append that a Close overtakes is written or refused with ErrClosed, and does not hang", func(p *probe) {
		closer, ok := p.store.(io.Closer)
		if !ok {
			p.skip("the store has no Close")
		}
		writer := func() error {
			for {
				if _, err := p.store.Append(p.ctx, []carewire.Entry{notice("a")}); errors.Is(err, carewire.ErrClosed) {
					return nil
				} else if err != nil {
					return fmt.Errorf("the error of Append was %w", err)
				}
			}
		}
		reader := func() error {
			for {
				if _, _, err := p.store.Latest(p.ctx, "a"); errors.Is(err, carewire.ErrClosed) {
					return nil
				} else if err != nil {
					return fmt.Errorf("the error of Latest was %w", err)
				}
			}
		}
		p.together(writer, writer, reader, closer.Close)
	}},
	{"clock", "Clock gives the store's own time, never going back", func(p *probe) {
		clock, ok := p.store.(carewire.Clock)
		if !ok {
			p.skip("the store has no clock of its own")
		}
		first, err := clock.Now(p.ctx)
		p.must("Now", err)
		second, err := clock.Now(p.ctx)
		p.must("Now", err)
		if first.IsZero() || second.Before(first) {
			p.fail("Now returned %v, then %v", first, second)
		}
	}},
	{"watcher", "Wake returns a channel", func(p *probe) {
		watcher, ok := p.store.(carewire.Waker)
		if !ok {
			p.skip("the store is not shared by nodes")
		}
		if watcher.Wake() == nil {
			p.fail("Wake returned nil")
		}
	}},
}

// calls are one call of each method.
func calls(s carewire.Store) map[string]func(context.Context) error {
	all := map[string]func(context.Context) error{
		"Append": func(ctx context.Context) error {
			_, err := s.Append(ctx, []carewire.Entry{notice("a")})
			return err
		},
		"Read": func(ctx context.Context) error {
			_, err := s.Read(ctx, "a", carewire.Position{}, carewire.ReadQuery{})
			return err
		},
		"Latest":  func(ctx context.Context) error { _, _, err := s.Latest(ctx, "a"); return err },
		"Get":     func(ctx context.Context) error { _, err := s.Get(ctx, "a", "x"); return err },
		"Heads":   func(ctx context.Context) error { _, err := s.Heads(ctx, []string{"a"}); return err },
		"Changed": func(ctx context.Context) error { _, _, err := s.Changed(ctx, "", 0); return err },
		"Waiting": func(ctx context.Context) error { _, err := s.Waiting(ctx, t0, 0); return err },
	}
	if pruner, ok := s.(carewire.Pruner); ok {
		all["Prune"] = func(ctx context.Context) error {
			return pruner.Prune(ctx, t0, carewire.Retention{Vitals: day, Others: day})
		}
	}
	if eraser, ok := s.(carewire.Eraser); ok {
		all["Erase"] = func(ctx context.Context) error { return eraser.Erase(ctx, "a") }
	}
	if clock, ok := s.(carewire.Clock); ok {
		all["Now"] = func(ctx context.Context) error { _, err := clock.Now(ctx); return err }
	}
	return all
}

// scribble changes all that entries hold.
func scribble(entries []carewire.Entry) {
	for i := range entries {
		for j := range entries[i].Data {
			entries[i].Data[j] = '!'
		}
		for j := range entries[i].To {
			entries[i].To[j] = "scribbled"
		}
		entries[i].Patient, entries[i].Key, entries[i].Seq = "scribbled", "scribbled", 99
	}
}

// unchanged wants every way of reading to return the open alert "x" and the
// vital "hr" as they were written.
func (p *probe) unchanged(patient string, want []carewire.Entry) {
	p.same("Read", p.read(patient, 0, carewire.ReadQuery{}), want)
	latest, head := p.latest(patient)
	p.same("Latest", latest, want)
	p.same("Get", []carewire.Entry{p.get(patient, "x"), p.get(patient, "hr")}, want)
	newest := map[state]carewire.Entry{}
	p.follow("", 10, newest)
	p.same("Changed", []carewire.Entry{newest[state{patient, "x"}]}, want[:1])
	for _, e := range p.waiting(t0, 0) {
		if e.Patient == patient || e.Patient == "scribbled" {
			p.same("Waiting", []carewire.Entry{e}, want[:1])
		}
	}
	for _, h := range []carewire.Head{head, p.head(patient)} {
		if end := want[1].Position; h.Position != end || !slices.Equal(h.Epochs, []carewire.Position{end}) {
			p.fail("the head is %v, want it to end at %v", h, end)
		}
	}
}

// prune prunes as of t0 + now.
func (p *probe) prune(now time.Duration, keep carewire.Retention) {
	pruner, ok := p.store.(carewire.Pruner)
	if !ok {
		p.skip("the store does not prune")
	}
	p.must("Prune", pruner.Prune(p.ctx, t0.Add(now), keep))
}

// gap wants Read to say that something was pruned.
func (p *probe) gap(patient string, after uint64, q carewire.ReadQuery) {
	_, err := p.store.Read(p.ctx, patient, carewire.Position{Seq: after}, q)
	p.want(fmt.Sprintf("Read after %d of %v", after, q), err, carewire.ErrGap)
}

var (
	onlyVitals = carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindVital}}
	onlyAlerts = carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindAlert}}
)

// pruneRules are about Pruner. Entries to be pruned are 1,000 days old, entries
// to stay are new, so that a store may prune in coarse steps.
var pruneRules = []rule{
	{"prune", "Prune removes entries that Retention no longer keeps, by Received, and zero keeps for ever; the head, numbers and Must go on as if nothing had been pruned", func(p *probe) {
		now, month := 1000*day, 30*day
		all := p.add(vital("a", "hr", 0), notice("a"), vital("a", "hr", time.Second), received(vital("a", "hr", 2*time.Second), now), notice("a"), received(notice("a"), now))
		head := p.head("a")
		p.prune(now, carewire.Retention{})
		p.same("Read after a Prune that keeps for ever", p.read("a", 0, carewire.ReadQuery{}), all)
		p.prune(now, carewire.Retention{Vitals: 2000 * day, Others: 2000 * day})
		p.same("Read after a Prune that keeps long", p.read("a", 0, carewire.ReadQuery{}), all)
		p.prune(now, carewire.Retention{Vitals: month})
		p.gap("a", 0, onlyVitals)
		p.same("Read of vitals", p.read("a", 3, onlyVitals), all[3:4])
		p.same("Read of notices", p.read("a", 0, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindNotice}}), []carewire.Entry{all[1], all[4], all[5]})
		p.prune(now, carewire.Retention{Others: month})
		p.same("Read of the remaining entries", p.read("a", 5, carewire.ReadQuery{}), all[5:])
		if got := p.head("a"); got.Position != head.Position || got.Must != head.Must || !slices.Equal(got.Epochs, head.Epochs) {
			p.fail("Prune changed the head from %v to %v", head, got)
		}
		if next := p.add(notice("a"))[0]; next.Seq != 7 || next.Must != 4 {
			p.fail("after Prune an entry got number %d, must %d, want 7 and 4", next.Seq, next.Must)
		}
	}},
	{"gap", "Read returns ErrGap when an entry of the kinds asked for with a number greater than after.Seq has been pruned, regardless of the rest of the Query; else it does not", func(p *probe) {
		now := 1000 * day
		all := p.add(vital("a", "hr", 0), notice("a"), vital("a", "bp", 0), vital("a", "hr", time.Second), notice("a"), received(vital("a", "hr", 2*time.Second), now), vital("b", "hr", 0), vital("b", "hr", 1),
			received(vital("b", "bp", 0), now))
		p.prune(now, carewire.Retention{Vitals: 30 * day}) // removes 1 and 4; 3 is the newest of its key
		for after := range uint64(4) {
			p.gap("a", after, carewire.ReadQuery{})
			p.gap("a", after, onlyVitals)
			p.gap("a", after, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindNotice, carewire.KindVital}, Key: "bp", From: t0.Add(now), Limit: 1})
		}
		p.same("Read after the pruned entries", p.read("a", 4, carewire.ReadQuery{}), all[4:6])
		p.same("Read of kinds that were not pruned", p.read("a", 0, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindNotice, carewire.KindAlert}}), []carewire.Entry{all[1], all[4]})
		p.gap("b", 0, carewire.ReadQuery{})
		p.same("Read of another patient", p.read("b", 1, carewire.ReadQuery{}), all[7:9])
	}},
	{"prune keeps states", "entries that are the newest state of their key are never pruned while they are open, nor is the newest vital of a key", func(p *probe) {
		all := p.add(vital("a", "hr", time.Second), vital("a", "hr", 0), alert("a", "x", 1, time.Second), alert("a", "x", 2, 2*time.Second), alert("a", "over", 1, 0), ended("a", "over", 2), timer("a", "t", 1, 0))
		newest := []carewire.Entry{all[0], all[3], all[6]}
		for _, later := range []time.Duration{1000 * day, 5000 * day} {
			p.prune(later, carewire.Retention{Vitals: day, Others: day})
			got, head := p.latest("a")
			p.same("Latest after Prune", got, newest[:2])
			if head.Seq != 7 {
				p.fail("the head after Prune is number %d, want 7", head.Seq)
			}
			p.same("Get after Prune", []carewire.Entry{p.get("a", "hr"), p.get("a", "x"), p.get("a", "t")}, newest)
			p.same("Waiting after Prune", p.waiting(t0.Add(day), 0), []carewire.Entry{all[6], all[3]})
			changed := map[state]carewire.Entry{}
			p.follow("", 10, changed)
			p.same("Changed after Prune", []carewire.Entry{changed[state{"a", "x"}]}, newest[1:2])
			p.same("Read after Prune", p.read("a", 6, carewire.ReadQuery{}), newest[2:])
		}
		if seq := p.add(ended("a", "x", 3))[0].Seq; seq != 8 {
			p.fail("the revision after Prune got number %d, want 8", seq)
		}
		p.add(timer("a", "t", 2, 0), vital("a", "hr", 2*time.Second))
		p.gap("a", 0, onlyAlerts)
	}},
	{"prune beside others", "while Prune runs appends are taken, Read leaves out nothing without ErrGap, and open entries and the newest vital of a key are always there", func(p *probe) {
		p.prune(0, carewire.Retention{})
		p.add(vital("a", "hr", 0), alert("a", "x", 1, 0))
		const appends = 40
		var over atomic.Bool
		var prunes, reads atomic.Int64
		writer := func() error {
			defer over.Store(true)
			for i := uint64(1); i <= appends; i++ {
				for p, r := prunes.Load(), reads.Load(); (prunes.Load() == p || reads.Load() == r) && !over.Load(); { // all at one pace
					runtime.Gosched()
				}
				results, err := p.store.Append(p.ctx, []carewire.Entry{vital("a", "hr", time.Duration(i)), notice("a"), alert("a", "x", i+1, 0)})
				for _, a := range results {
					err = errors.Join(err, a.Err)
				}
				if err != nil {
					return fmt.Errorf("the error of Append was %w", err)
				}
			}
			return nil
		}
		pruner := func() error {
			defer over.Store(true)
			for ; !over.Load(); prunes.Add(1) {
				if err := p.store.(carewire.Pruner).Prune(p.ctx, t0.Add(1000*day), carewire.Retention{Vitals: day, Others: day}); err != nil {
					return fmt.Errorf("the error of Prune was %w", err)
				}
			}
			return nil
		}
		reader := func() error {
			defer over.Store(true)
			for seen := uint64(0); seen < 2+3*appends; reads.Add(1) {
				entries, err := p.store.Read(p.ctx, "a", carewire.Position{Seq: seen}, carewire.ReadQuery{Limit: 2})
				if err != nil && !errors.Is(err, carewire.ErrGap) {
					return fmt.Errorf("the error of Read was %w", err)
				}
				for _, e := range entries {
					if seen++; e.Seq != seen {
						return fmt.Errorf("a Read returned number %d where %d must stand", e.Seq, seen)
					}
				}
				early, eerr := p.store.Read(p.ctx, "a", carewire.Position{}, carewire.ReadQuery{Limit: 3})
				if eerr == nil && (len(early) == 0 || early[len(early)-1].Seq != uint64(len(early))) {
					return fmt.Errorf("a Read from the beginning returned%s", list(early))
				}
				latest, head, lerr := p.store.Latest(p.ctx, "a")
				if lerr != nil {
					return fmt.Errorf("the error of Latest was %w", lerr)
				}
				if len(latest) != 2 || latest[0].Key != "hr" || latest[1].Key != "x" {
					return fmt.Errorf("a Latest returned%s", list(latest))
				}
				if err != nil {
					seen = head.Seq
				}
			}
			return nil
		}
		p.together(writer, pruner, reader, reader)
	}},
	{"prune of patients who have left", "a log of which nothing is open, and all is old, may be forgotten, and later entries have another epoch; else its numbers go on", func(p *probe) {
		there := p.add(vital("here", "hr", 0), alert("here", "x", 1, 0), vital("young", "hr", 0), received(notice("young"), 1000*day))
		end := p.add(vital("a", "hr", 0), withID(notice("a"), "s", "1", "one"), ended("a", "x", 1))[2]
		for range 2 {
			p.prune(1000*day, carewire.Retention{Vitals: day, Others: day})
			head := p.head("a")
			next := p.add(ended("a", "y", 0))[0]
			switch {
			case head.Seq == 0 && len(head.Epochs) == 0:
				if next.Seq != 1 || next.Must != 1 || next.Epoch == end.Epoch {
					p.fail("after %v a log was forgotten, and then an entry got %v, must %d", end.Position, next.Position, next.Must)
				}
			case head.Position != end.Position || next.Seq != end.Seq+1 || next.Epoch != end.Epoch:
				p.fail("after %v Prune left the head %v, and then an entry got %v", end.Position, head, next.Position)
			}
			if h := p.head("a"); h.Position != next.Position || len(h.Epochs) != 1 {
				p.fail("the head is %v after %v", h, next.Position)
			}
			end = next
		}
		here, _ := p.latest("here")
		p.same("Latest of the patients who are there", here, there[:2])
		young, _ := p.latest("young")
		p.same("Latest of a patient with a new entry", young, there[2:3])
	}},
	{"revisions after prune", "after any pruning, the revision after the one that Get returns is taken, and revision 1 if Get finds none", func(p *probe) {
		p.add(alert("a", "x", 1, 0), ended("a", "x", 2))
		p.prune(1000*day, carewire.Retention{Others: day})
		e, err := p.store.Get(p.ctx, "a", "x")
		if !errors.Is(err, carewire.ErrNotFound) {
			p.must("Get", err)
		}
		p.add(alert("a", "x", e.Rev+1, 0))
		p.refused(alert("a", "x", e.Rev+1, 0), carewire.ErrConflict)
		p.add(ended("a", "x", e.Rev+2))
	}},
	{"IDs after prune", "a durable store remembers IDs of undroppable entries for at least 400 days", func(p *probe) {
		if d, ok := p.store.(carewire.Durable); !ok || !d.Durable() {
			p.skip("the store is volatile")
		}
		one := withID(notice("a"), "s", "1", "one")
		added := p.add(one, withID(vital("a", "hr", 0), "s", "2", "two"), withID(ended("a", "x", 1), "s", "3", "three"), received(notice("a"), 399*day))
		p.prune(399*day, carewire.Retention{Vitals: day, Others: day})
		p.gap("a", 0, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindNotice}})
		p.repeated(one, added[0])
		p.repeated(withID(ended("a", "x", 1), "s", "3", "three"), added[2])
		p.refused(withID(notice("a"), "s", "1", "two"), carewire.ErrIDReused)
	}},
}

// reopenRules are about data that survives a restart.
var reopenRules = []rule{
	{"reopen", "accepted entries survive: after a restart every read returns the same as before", func(p *probe) {
		all := p.add(vital("a", "hr", time.Second), vital("a", "hr", 0), alert("a", "x", 1, time.Second), alert("a", "x", 2, 2*time.Second), timer("b", "t", 1, 0), alert("b", "over", 1, 0), ended("b", "over", 2))
		before := p.head("a")
		p.restart()
		p.same("Read", p.read("a", 0, carewire.ReadQuery{}), all[:4])
		p.same("Read", p.read("b", 0, carewire.ReadQuery{}), all[4:])
		latest, head := p.latest("a")
		p.same("Latest", latest, []carewire.Entry{all[0], all[3]})
		if head.Position != before.Position || head.Must != before.Must || !slices.Equal(head.Epochs, before.Epochs) {
			p.fail("the head was %v, and is %v after a restart", before, head)
		}
		p.same("Get", []carewire.Entry{p.get("b", "over")}, all[6:])
		p.same("Waiting", p.waiting(t0.Add(day), 0), []carewire.Entry{all[4], all[3]})
		newest := map[state]carewire.Entry{}
		p.follow("", 10, newest)
		p.same("Changed", []carewire.Entry{newest[state{"a", "x"}]}, all[3:4])
	}},
	{"resume after a restart", "ordinary restarts do not disturb resuming: numbers go on and the epoch stays", func(p *probe) {
		last := p.add(notice("a"), vital("a", "hr", 0))[1]
		for n := uint64(1); n <= 3; n++ {
			p.restart()
			e := p.add(notice("a"))[0]
			if e.Epoch != last.Epoch || e.Seq != 2+n || e.Must != 1+n {
				p.fail("after a restart an entry got number %d, must %d of epoch %q, want %d, %d, %q", e.Seq, e.Must, e.Epoch, 2+n, 1+n, last.Epoch)
			}
			if h := p.head("a"); !slices.Equal(h.Epochs, []carewire.Position{e.Position}) {
				p.fail("after a restart the head has the epochs %v, want %v alone", h.Epochs, e.Position)
			}
		}
	}},
	{"IDs and revisions after a restart", "IDs and revisions are compared after a restart as before it", func(p *probe) {
		one := withID(alert("a", "x", 1, 0), "s", "1", "one")
		added := p.add(one, alert("a", "x", 2, 0))
		p.restart()
		p.repeated(one, added[0])
		p.refused(withID(notice("a"), "s", "1", "two"), carewire.ErrIDReused)
		p.refused(alert("a", "x", 2, 0), carewire.ErrConflict)
		p.add(alert("a", "x", 3, 0))
	}},
	{"marks after a restart", "a mark of Changed misses nothing over a restart, and pruned entries still show as ErrGap", func(p *probe) {
		p.add(alert("a", "x", 1, 0), alert("a", "y", 1, 0))
		mark := p.follow("", 10, map[state]carewire.Entry{})
		before := p.add(ended("a", "x", 2))
		p.restart()
		after := p.add(ended("a", "y", 2))
		newest := map[state]carewire.Entry{}
		p.follow(mark, 10, newest)
		p.same("Changed", []carewire.Entry{newest[state{"a", "x"}], newest[state{"a", "y"}]}, append(before, after...))
		if _, ok := p.store.(carewire.Pruner); ok {
			p.add(received(notice("a"), 1000*day))
			p.prune(1000*day, carewire.Retention{Others: day})
			p.restart()
			p.gap("a", 0, carewire.ReadQuery{})
		}
	}},
}

// restart ends the store as an ordinary restart does and opens it again.
func (p *probe) restart() {
	if p.reopen == nil {
		p.skip("Options.Reopen is nil")
	}
	p.reopen()
}
