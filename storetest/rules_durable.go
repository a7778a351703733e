package storetest

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// durableRules are about data that outlives a process.
var durableRules = []rule{
	{"reopened", "everything that was confirmed is there after Close and Open: entries with their numbers, must and epochs, IDs, revisions, open and due entries", func(p *probe) {
		p.begin()
		was := p.add(story()...)
		p.again()
		p.told(was)
	}},
	{"never closed", "everything that was confirmed is there after the process was killed: entries with their numbers, must and epochs, IDs, revisions, open and due entries", func(p *probe) {
		p.begin()
		p.must("Close", closeStore(p.store))
		c := p.child("write")
		was := story()
		for i := range was {
			t, ok := c.next()
			if !ok {
				c.kill()
				p.fail("the child process did not confirm its entries")
			}
			was[i].Position, was[i].Must = t.Position, t.Must
		}
		c.kill()
		p.open(p.life.Open)
		p.told(was)
	}},
	{"killed", "whenever the process is killed, everything that was confirmed is there under its number, and numbers and epoch go on", func(p *probe) {
		p.begin()
		p.must("Close", closeStore(p.store))
		var confirmed []told
		for range 5 {
			c := p.child("append")
			for range 1 + rand.IntN(150) {
				t, ok := c.next()
				if !ok {
					break
				}
				confirmed = append(confirmed, t)
			}
			confirmed = append(confirmed, c.kill()...)
		}
		p.open(p.life.Open)
		p.complete(confirmed)
		if h := p.head(patients[0]); len(h.Epochs) != 1 {
			p.fail("after kills the log has the epochs %v, want one alone", h.Epochs)
		}
	}},
	{"failed write", "when a write fails nothing that was confirmed is lost, and nothing is confirmed; a store that has a Failed error refuses to append until it is opened anew, and shows nothing that may be lost; any other one goes on", func(p *probe) {
		p.needs("Break", p.life.Break != nil)
		p.begin()
		was := p.add(story()...)
		fresh := withID(notice("a"), "nurse", "fresh", "fresh")
		mend := p.life.Break(p.life.t, p.life.place, p.store)
		for range 3 {
			results, err := p.store.Append(p.ctx, []carewire.Entry{fresh})
			if err == nil && results[0].Err == nil {
				mend()
				p.fail("Append confirmed an entry that could not be written")
			}
			if err == nil {
				err = results[0].Err
			}
			if p.life.Failed != nil {
				p.want("Append after a failed write", err, p.life.Failed)
			}
		}
		mend()
		if p.life.Failed != nil {
			_, err := p.store.Append(p.ctx, []carewire.Entry{fresh})
			p.want("Append after a failed write, on a disk that is whole again", err, p.life.Failed)
			if log, err := p.store.Read(p.ctx, "a", carewire.Position{}, carewire.ReadQuery{}); err == nil {
				p.same("Read after a failed write", log, was[:5])
			}
			_ = closeStore(p.store) // it may say once more that it has failed
			p.open(p.life.Open)
		}
		p.soon("the store does not go on after an I/O error", func() error { return p.taken(fresh) })
		p.same("Read", p.read("a", 0, carewire.ReadQuery{Limit: 5}), was[:5])
		log := p.read("a", 5, carewire.ReadQuery{})
		if len(log) != 1 || log[0].ID != fresh.ID || log[0].Seq != 6 || log[0].Epoch != was[4].Epoch {
			p.fail("after an I/O error the entry that was sent again stands as%s, want it alone, as number 6", list(log))
		}
	}},
	{"disk full", "when there is no room entries are refused with ErrFull, vitals before all others; confirmed entries are there and answered as before, a refused entry takes no number, and is taken when there is room again", func(p *probe) {
		p.needs("Fill", p.life.Fill != nil)
		p.begin()
		was := p.add(story()...)
		mend := p.life.Fill(p.life.t, p.life.place, p.store)
		n := 0
		large := func(e carewire.Entry) carewire.Entry {
			n++
			e.Data = []byte(`"` + strings.Repeat("x", 1000) + `"`)
			return withID(e, e.Sender, fmt.Sprint("large-", n), "large")
		}
		next := p.head("full").Seq
		var refused carewire.Entry
		for refused.ID == "" {
			if n > 40_000 {
				mend()
				p.fail("40,000 entries of 1 KB were taken on a full disk")
			}
			var batch []carewire.Entry
			for range 20 {
				batch = append(batch, large(vital("full", "hr", 0)))
			}
			batch = append(batch, large(alert("full", fmt.Sprint("k", n), 1, 0)))
			for i, a := range p.append(batch...) {
				switch {
				case a.Err == nil:
					if next++; a.Seq != next {
						p.fail("an entry got number %d, want %d", a.Seq, next)
					}
					if refused.ID != "" && batch[i].Kind == carewire.KindVital {
						p.fail("a vital was taken behind one that was refused")
					}
				case !errors.Is(a.Err, carewire.ErrFull):
					p.fail("an entry without room was answered %s", answer(a))
				case batch[i].Kind == carewire.KindVital:
					refused = batch[i]
				case p.life.Reserve:
					p.fail("an alert was refused when vitals had only begun to be")
				case refused.ID == "":
					p.fail("an alert was refused before vitals were")
				}
			}
		}
		p.repeated(was[0], was[0])
		p.repeated(was[2], was[2])
		p.same("Read while full", p.read("a", 0, carewire.ReadQuery{}), was[:5])
		mend()
		p.soon("an entry is refused after there is room again", func() error { return p.taken(refused) })
		p.numbered("full")
		p.again()
		p.numbered("full")
		if h := p.head("full"); h.Seq != next+1 {
			p.fail("the log ends at %d, and %d entries were confirmed", h.Seq, next+1)
		}
	}},
	{"older copy", "after an older copy was put back, new entries have another epoch; the head tells positions that are lost from those that are there, a mark from the time that is lost misses nothing, and a restart then changes nothing", func(p *probe) {
		p.needs("Copy", p.life.Copy != nil)
		p.begin()
		kept := p.add(story()...)[:5]
		p.must("Close", closeStore(p.store))
		restore := p.life.Copy(p.life.t, p.life.place)
		p.open(p.life.Open)
		once := withID(notice("a"), "nurse", "lost", "lost")
		lost := p.add(once, alert("a", "x", 3, 0), vital("a", "hr", 2*time.Second))
		mark := p.follow("", 10, map[state]carewire.Entry{})
		p.must("Close", closeStore(p.store))

		restore()
		open := p.life.OpenCopy
		if open == nil {
			open = p.life.Open
		}
		p.open(open)
		p.same("Read of an older copy", p.read("a", 0, carewire.ReadQuery{}), kept)
		anew := p.add(alert("a", "x", 3, time.Second), once)
		if anew[0].Epoch == lost[0].Epoch || anew[0].Seq != 6 || anew[0].Must != kept[4].Must+1 {
			p.fail("in an older copy an entry got number %d, must %d of epoch %q; want %d, %d of another epoch", anew[0].Seq, anew[0].Must, anew[0].Epoch, 6, kept[4].Must+1)
		}
		found := map[state]carewire.Entry{}
		p.follow(mark, 10, found)
		p.same("Changed since a mark that is lost", []carewire.Entry{found[state{"a", "x"}]}, anew[:1])
		want := []carewire.Position{kept[4].Position, anew[1].Position}
		for range 2 {
			if h := p.head("a"); !slices.Equal(h.Epochs, want) {
				p.fail("the head has the epochs %v, want %v: number %d of %q was lost", h.Epochs, want, lost[2].Seq, lost[2].Epoch)
			}
			p.again()
		}
		if e := p.add(notice("a"))[0]; e.Epoch != anew[0].Epoch || e.Seq != 8 {
			p.fail("after a restart an entry got number %d of epoch %q, want 8 of %q", e.Seq, e.Epoch, anew[0].Epoch)
		}
	}},
	{"second opener", "a second opener is refused with the Locked error, in this process and in another one, and does the first no harm; where there is none, all of them write one log together", func(p *probe) {
		p.begin()
		p.add(story()...)
		if p.life.Locked != nil {
			p.refusesOpeners()
		} else {
			p.writesWithOthers()
		}
	}},
}

// refusesOpeners is for a store that has its place to itself.
func (p *probe) refusesOpeners() {
	other, err := p.life.Open(p.life.place)
	if err == nil {
		_ = closeStore(other)
	}
	p.want("Open of a place that is open", err, p.life.Locked)
	c := p.child("open")
	if t, _ := c.next(); !t.Locked {
		c.kill()
		p.fail("another process opened a place that is open, or failed with another error")
	}
	c.kill()
	if e := p.add(notice("a"))[0]; e.Seq != 6 {
		p.fail("after others tried to open the place an entry got number %d, want 6", e.Seq)
	}
	p.again()
	p.numbered("a")
}

// writesWithOthers has three stores write, one of them in another process.
func (p *probe) writesWithOthers() {
	other, err := p.life.Open(p.life.place)
	p.must("Open of a place that is open", err)
	p.life.t.Cleanup(func() { _ = closeStore(other) })
	c := p.child("append")
	var mu sync.Mutex
	var confirmed []told
	won := 0
	first, ok := c.next() // all three write from here
	if !ok {
		c.kill()
		p.fail("another process could not write to a place that is open")
	}
	write := func(s carewire.Store, name string) func() error {
		return func() error {
			for n := uint64(1); n <= 15; n++ {
				batch := bundle("a", name, n)
				results, err := s.Append(p.ctx, batch)
				if err != nil {
					return fmt.Errorf("the error of Append beside other openers was %w", err)
				}
				race, err := s.Append(p.ctx, []carewire.Entry{alert("a", "race", n, 0)})
				if err != nil {
					return fmt.Errorf("the error of Append beside other openers was %w", err)
				}
				mu.Lock()
				if race[0].Err == nil {
					won++
				}
				for i, a := range results {
					confirmed = append(confirmed, told{Patient: "a", Position: a.Position, Must: a.Must, Key: batch[i].Key, Rev: batch[i].Rev, ID: batch[i].ID})
				}
				mu.Unlock()
				heads, err := s.Heads(p.ctx, []string{"a"})
				if err == nil && (len(heads) != 1 || heads[0].Seq < results[2].Seq) {
					err = errors.New("a head is behind confirmed entries")
				}
				if err != nil {
					return fmt.Errorf("the error of Heads beside other openers was %w", err)
				}
			}
			return nil
		}
	}
	p.together(write(p.store, "one"), write(other, "two"), write(p.store, "three"))
	confirmed = append(append(confirmed, first), c.kill()...)
	if e := p.get("a", "race"); int(e.Rev) != won {
		p.fail("revision %d of a key was written, and %d openers were told that theirs was", e.Rev, won)
	}
	p.complete(confirmed)
}

// story is a log of two patients with a bit of everything.
func story() []carewire.Entry {
	return []carewire.Entry{
		withID(vital("a", "hr", time.Second), "monitor-1", "v1", "1"),
		withID(vital("a", "hr", 0), "monitor-1", "v2", "2"),
		withID(alert("a", "x", 1, time.Second), "rules", "x1", "3"),
		withID(alert("a", "x", 2, 2*time.Second), "rules", "x2", "4"),
		withID(notice("a"), "nurse", "n1", "5"),
		timer("b", "t", 1, 0),
		alert("b", "over", 1, 0),
		ended("b", "over", 2),
		vital("b", "hr", 0),
	}
}

// told wants the story to be as it was written, and to go on from there.
func (p *probe) told(was []carewire.Entry) {
	p.same("Read", p.read("a", 0, carewire.ReadQuery{}), was[:5])
	p.same("Read", p.read("b", 0, carewire.ReadQuery{}), was[5:])
	latest, head := p.latest("a")
	p.same("Latest", latest, []carewire.Entry{was[0], was[3]})
	if head.Position != was[4].Position || head.Must != 3 || !slices.Equal(head.Epochs, []carewire.Position{was[4].Position}) {
		p.fail("Latest returned the head %v, want number 5, must 3 and its epoch alone", head)
	}
	p.same("Get", []carewire.Entry{p.get("b", "over"), p.get("a", "hr"), p.get("b", "t")}, []carewire.Entry{was[7], was[0], was[5]})
	p.same("Waiting", p.waiting(t0.Add(day), 0), []carewire.Entry{was[5], was[3]})
	found := map[state]carewire.Entry{}
	p.follow("", 10, found)
	p.same("Changed", []carewire.Entry{found[state{"a", "x"}]}, was[3:4])
	for _, i := range []int{0, 1, 2, 3, 4} {
		p.repeated(was[i], was[i])
	}
	p.refused(withID(notice("a"), "nurse", "n1", "other"), carewire.ErrIDReused)
	p.refused(alert("a", "x", 2, 0), carewire.ErrConflict)
	e := p.add(alert("a", "x", 3, 0))[0]
	if e.Epoch != was[4].Epoch || e.Seq != 6 || e.Must != 4 {
		p.fail("the next entry got number %d, must %d of epoch %q, want 6, 4 of %q", e.Seq, e.Must, e.Epoch, was[4].Epoch)
	}
}

// numbered reads a log, and wants its numbers and must to be without a hole.
func (p *probe) numbered(patient string) []carewire.Entry {
	var log []carewire.Entry
	must := uint64(0)
	for {
		page := p.read(patient, uint64(len(log)), carewire.ReadQuery{})
		for i := range page {
			if !page[i].Kind.Droppable() {
				must++
			}
			if log = append(log, page[i]); page[i].Seq != uint64(len(log)) || page[i].Must != must {
				p.fail("%s has must %d, want it to have number %d and must %d", show(page[i]), page[i].Must, len(log), must)
			}
		}
		if len(page) == 0 {
			return log
		}
	}
}

// complete wants the logs to hold all that was confirmed, and to know it again.
func (p *probe) complete(confirmed []told) {
	if len(confirmed) == 0 {
		p.fail("nothing was confirmed")
	}
	logs := map[string][]carewire.Entry{}
	for _, patient := range patients {
		logs[patient] = p.numbered(patient)
	}
	newest := map[state]uint64{}
	for _, t := range confirmed {
		log := logs[t.Patient]
		if t.Seq > uint64(len(log)) {
			p.fail("number %d of patient %s was confirmed, and the log ends at %d", t.Seq, t.Patient, len(log))
		}
		if e := log[t.Seq-1]; e.ID != t.ID || e.Epoch != t.Epoch || e.Must != t.Must || e.Key != t.Key || e.Rev != t.Rev {
			p.fail("%s has the ID %q, must %d and epoch %q; confirmed were %q, %d and %q", show(e), e.ID, e.Must, e.Epoch, t.ID, t.Must, t.Epoch)
		}
		if t.Rev != 0 {
			newest[state{t.Patient, t.Key}] = max(newest[state{t.Patient, t.Key}], t.Rev)
		}
	}
	found := map[state]carewire.Entry{}
	p.follow("", 100, found)
	waiting := map[state]uint64{}
	for _, e := range p.waiting(t0.Add(day), 10_000) {
		waiting[state{e.Patient, e.Key}] = e.Rev
	}
	for at, rev := range newest {
		if e := p.get(at.patient, at.key); e.Rev < rev || found[at].Rev != e.Rev || waiting[at] != e.Rev {
			p.fail("revision %d of %s was confirmed; Get has %d, Changed %d, Waiting %d", rev, at.key, e.Rev, found[at].Rev, waiting[at])
		}
	}
	for _, t := range confirmed[max(0, len(confirmed)-50):] {
		e := logs[t.Patient][t.Seq-1]
		p.repeated(e, e)
	}
}
