package storetest

import (
	"cmp"
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// readRules are about Read.
var readRules = []rule{
	{"read", "Read returns entries with a number greater than after.Seq, oldest first; after.Epoch is not compared", func(p *probe) {
		var all []carewire.Entry
		for i := range 10 {
			all = append(all, p.add(vital("a", "hr", time.Duration(-i)*time.Second))...)
			p.add(vital("b", "hr", 0))
		}
		for after := range uint64(12) {
			p.same(fmt.Sprint("Read after ", after), p.read("a", after, carewire.ReadQuery{}), all[min(after, 10):])
		}
		other, err := p.store.Read(p.ctx, "a", carewire.Position{Epoch: "other", Seq: 4}, carewire.ReadQuery{})
		p.must("Read", err)
		p.same("Read after a number of another epoch", other, all[4:])
	}},
	{"read matches", "Read returns the entries that match the Query: one of Kinds, the Key, From <= Time < To, as instants, and numbers up to Last; a field that is not set is no bound", func(p *probe) {
		all := p.add(vital("a", "hr", 0), vital("a", "hr", time.Second), vital("a", "bp", 2*time.Second), alert("a", "x", 1, 0),
			timer("a", "t", 1, 0), notice("a"), vital("a", "hr", 3*time.Second), ended("a", "x", 2), vital("a", "hr", -time.Second))
		expect := func(what string, q carewire.ReadQuery, want ...int) {
			var entries []carewire.Entry
			for _, i := range want {
				entries = append(entries, all[i])
			}
			p.same("Read by "+what, p.read("a", 0, q), entries)
		}
		vitals := []carewire.Kind{carewire.KindVital}
		expect("nothing", carewire.ReadQuery{}, 0, 1, 2, 3, 4, 5, 6, 7, 8)
		expect("one kind", carewire.ReadQuery{Kinds: vitals}, 0, 1, 2, 6, 8)
		expect("two kinds", carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindNotice, carewire.KindTimer}}, 4, 5)
		expect("a kind that is not there", carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindAccess}})
		expect("key", carewire.ReadQuery{Key: "x"}, 3, 7)
		expect("kind and key", carewire.ReadQuery{Kinds: vitals, Key: "hr"}, 0, 1, 6, 8)
		expect("From", carewire.ReadQuery{Kinds: vitals, From: t0.Add(time.Second)}, 1, 2, 6)
		expect("To", carewire.ReadQuery{Kinds: vitals, To: t0.Add(2 * time.Second)}, 0, 1, 8)
		expect("From and To", carewire.ReadQuery{From: t0.Add(time.Second), To: t0.Add(3 * time.Second), Kinds: vitals}, 1, 2)
		last := all[4].Seq
		expect("Last", carewire.ReadQuery{Last: last}, 0, 1, 2, 3, 4)
		expect("Last and key", carewire.ReadQuery{Last: last, Key: "x"}, 3)
		expect("Last and kind", carewire.ReadQuery{Last: last, Kinds: []carewire.Kind{carewire.KindAlert, carewire.KindNotice}}, 3)
		expect("Last beyond the end", carewire.ReadQuery{Last: 1 << 63, Kinds: vitals}, 0, 1, 2, 6, 8)
		expect("key and limit", carewire.ReadQuery{Key: "x", Limit: 2}, 3, 7)
	}},
	{"read limit", "Read returns at most Limit entries, the oldest; 0 means 1,000, and more than 10,000 counts as 10,000", func(p *probe) {
		const n = 10_010
		batch := make([]carewire.Entry, n)
		for i := range batch {
			// One key each: stores that are bounded keep the newest of each key.
			batch[i] = vital("a", fmt.Sprint("k", i), time.Duration(i))
		}
		for some := range slices.Chunk(batch, 1000) {
			p.add(some...)
		}
		for _, c := range []struct{ limit, want int }{{1, 1}, {7, 7}, {0, 1000}, {1001, 1001}, {10_000, 10_000}, {10_001, 10_000}, {1 << 40, 10_000}} {
			got := p.read("a", 5, carewire.ReadQuery{Limit: c.limit})
			if len(got) != c.want || got[0].Seq != 6 || got[len(got)-1].Seq != uint64(5+c.want) {
				p.fail("Read with limit %d returned %d entries, want numbers 6 to %d", c.limit, len(got), 5+c.want)
			}
		}
	}},
	{"read while appending", "Read returns a log without holes at any time: an entry is there before those with greater numbers", func(p *probe) {
		const appends = 60
		writer := func() error {
			for i := range appends {
				if _, err := p.store.Append(p.ctx, []carewire.Entry{vital("a", "hr", time.Duration(i)), notice("a")}); err != nil {
					return err
				}
			}
			return nil
		}
		reader := func() error {
			for seen := uint64(0); seen < 3*2*appends; runtime.Gosched() {
				entries, err := p.store.Read(p.ctx, "a", carewire.Position{Seq: seen}, carewire.ReadQuery{Limit: 50})
				if err != nil {
					return fmt.Errorf("the error of Read was %w", err)
				}
				for _, e := range entries {
					if seen++; e.Seq != seen {
						return fmt.Errorf("a Read returned number %d where %d must stand", e.Seq, seen)
					}
				}
			}
			return nil
		}
		p.together(writer, reader, writer, reader, writer)
	}},
}

// stateRules are about Latest, Get and Heads.
var stateRules = []rule{
	{"late vital", "a vital becomes the newest of its key if TakesPlace says so: a late vital joins the log and no more", func(p *probe) {
		added := p.add(vital("a", "hr", 2*time.Second), vital("a", "hr", time.Second))
		late := p.add(vital("a", "hr", 0))
		got, _ := p.latest("a")
		p.same("Latest", got, added[:1])
		p.same("Get", []carewire.Entry{p.get("a", "hr")}, added[:1])
		p.same("Read", p.read("a", 0, carewire.ReadQuery{}), append(added, late...))
		newer := p.add(vital("a", "hr", 3*time.Second))
		p.same("Get", []carewire.Entry{p.get("a", "hr")}, newer)
	}},
	{"clock set back", "a vital that came before the newest is said to have been measured is the newest: the clock was set back", func(p *probe) {
		p.add(vital("a", "hr", time.Hour), vital("b", "hr", time.Hour))
		back := p.add(vital("a", "hr", 0), vital("b", "hr", time.Second), vital("b", "hr", 2*time.Second))
		got, _ := p.latest("a")
		p.same("Latest", got, back[:1])
		p.same("Get", []carewire.Entry{p.get("b", "hr")}, back[2:])
		p.add(vital("b", "hr", time.Second))
		p.same("Get after a late one", []carewire.Entry{p.get("b", "hr")}, back[2:])
	}},
	{"vitals of one time", "of vitals with the same Time the one with the greatest Seq is the newest", func(p *probe) {
		p.add(vital("a", "hr", 0))
		added := p.add(vital("a", "hr", 0), vital("a", "hr", 0))
		got, _ := p.latest("a")
		p.same("Latest", got, added[1:])
		p.same("Get", []carewire.Entry{p.get("a", "hr")}, added[1:])
	}},
	{"latest", "Latest returns the newest vital of each key and the newest revision of every key whose newest revision is open, in order of Seq, without timers, and the head", func(p *probe) {
		all := p.add(alert("a", "open", 1, 0), alert("a", "over", 1, 0), vital("a", "hr", 0), vital("a", "bp", 0), timer("a", "t", 1, 0),
			alert("a", "again", 1, 0), notice("b"), alert("a", "", 0, 0))
		all = append(all, p.add(alert("a", "open", 2, 0), ended("a", "over", 2), vital("a", "hr", 1), ended("a", "again", 2), alert("a", "again", 3, 0), vital("a", "", 0))...)
		got, head := p.latest("a")
		p.same("Latest", got, []carewire.Entry{all[3], all[8], all[10], all[12]})
		if want := p.head("a"); head.Position != all[13].Position || head.Must != all[13].Must || !slices.Equal(head.Epochs, want.Epochs) || head.Patient != "a" {
			p.fail("Latest returned the head %v, want %v", head, want)
		}
	}},
	{"latest is one view", "Latest returns entries and head from one consistent view", func(p *probe) {
		const appends = 100
		writer := func() error {
			for i := range uint64(appends) {
				v, a := vital("a", "hr", time.Duration(i)), alert("a", "x", i+1, 0)
				if _, err := p.store.Append(p.ctx, []carewire.Entry{v}); err != nil {
					return err
				}
				if _, err := p.store.Append(p.ctx, []carewire.Entry{a}); err != nil {
					return err
				}
				runtime.Gosched()
			}
			return nil
		}
		reader := func() error {
			for {
				entries, head, err := p.store.Latest(p.ctx, "a")
				if err != nil {
					return fmt.Errorf("the error of Latest was %w", err)
				}
				if n := len(entries); n > 0 && entries[n-1].Seq != head.Seq || n == 0 && head.Seq != 0 {
					return fmt.Errorf("every entry is the newest of its key when it is written, but Latest returned %s with a head of number %d", list(entries), head.Seq)
				}
				if head.Must != head.Seq/2 {
					return fmt.Errorf("the head of number %d has must %d", head.Seq, head.Must)
				}
				if head.Seq == 2*appends {
					return nil
				}
				runtime.Gosched()
			}
		}
		p.together(writer, reader, reader)
	}},
	{"get", "Get returns the newest state of a key, ended ones too: of vitals the newest as for Latest, of all others the greatest Seq; ErrNotFound if there is none", func(p *probe) {
		early := ended("a", "x", 2)
		early.Time = t0.Add(-time.Hour)
		all := p.add(alert("a", "x", 1, 0), early, timer("a", "t", 1, 0), vital("a", "hr", 0), vital("b", "bp", 0), notice("a"))
		for _, i := range []int{1, 2, 3} {
			p.same("Get", []carewire.Entry{p.get("a", all[i].Key)}, all[i:i+1])
		}
		for _, unknown := range [][2]string{{"a", "bp"}, {"b", "hr"}, {"c", "hr"}, {"a", ""}, {"", "hr"}, {"a", "h"}, {"a", "hrr"}} {
			_, err := p.store.Get(p.ctx, unknown[0], unknown[1])
			p.want(fmt.Sprintf("Get of %q", unknown), err, carewire.ErrNotFound)
		}
	}},
	{"states", "States returns the result of Get for each of many keys, and leaves out keys that Get does not find", func(p *probe) {
		reader, ok := p.store.(carewire.StateReader)
		if !ok {
			p.skip("the store does not look up many keys at once")
		}
		all := p.add(alert("a", "x", 1, 0), vital("a", "hr", 0), vital("b", "hr", 0), notice("b"))
		over := p.add(ended("a", "x", 2), vital("a", "hr", -time.Second))
		found, err := reader.States(p.ctx, []carewire.StateKey{{Patient: "b", Key: "hr"}, {Patient: "a", Key: "x"}, {Patient: "b", Key: "x"}, {Patient: "c", Key: "hr"}, {Patient: "a", Key: "hr"}})
		p.must("States", err)
		slices.SortFunc(found, func(a, b carewire.Entry) int {
			return cmp.Or(cmp.Compare(a.Patient, b.Patient), cmp.Compare(a.Key, b.Key))
		})
		p.same("States", found, []carewire.Entry{all[1], over[0], all[2]})
		found, err = reader.States(p.ctx, nil)
		if p.must("States of nothing", err); len(found) != 0 {
			p.fail("States of nothing returned %d entries", len(found))
		}
	}},
	{"heads", "Heads returns the head of each patient in the order asked for; Epochs are the last numbers written in each epoch and end with the head", func(p *probe) {
		added := p.add(notice("a"), vital("a", "hr", 0), notice("b"))
		heads, err := p.store.Heads(p.ctx, []string{"b", "unknown", "a", "b"})
		p.must("Heads", err)
		want := []carewire.Head{{Patient: "b", Position: added[2].Position, Must: 1}, {Patient: "unknown"}, {Patient: "a", Position: added[1].Position, Must: 1}, {Patient: "b", Position: added[2].Position, Must: 1}}
		if len(heads) != len(want) {
			p.fail("Heads of 4 patients returned %d heads", len(heads))
		}
		for i, h := range heads {
			epochs := want[i].Epochs
			if want[i].Seq != 0 {
				epochs = []carewire.Position{want[i].Position}
			}
			if h.Patient != want[i].Patient || h.Position != want[i].Position || h.Must != want[i].Must || !slices.Equal(h.Epochs, epochs) {
				p.fail("head %d is %v, want %v with epochs %v", i, h, want[i], epochs)
			}
		}
	}},
}
