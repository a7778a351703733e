package storetest

import (
	"fmt"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// openRules are about Changed and Waiting, which look over all patients.
var openRules = []rule{
	{"changed", "Changed returns the newest revision of every undroppable key that was written since mark, ended ones too, at least once; vitals, timers and entries without a Key are left out", func(p *probe) {
		p.add(alert("a", "x", 1, 0), alert("b", "x", 1, 0), alert("b", "y", 1, 0))
		mark := p.follow("", 100, map[state]carewire.Entry{})
		access := alert("@system", "person:dr-1", 0, 0)
		access.Kind = carewire.KindAccess
		added := p.add(ended("a", "x", 2), alert("b", "x", 2, 0), alert("b", "x", 3, 0), vital("b", "hr", 0), timer("b", "t", 1, 0), notice("b"), access)
		newest := map[state]carewire.Entry{}
		mark = p.follow(mark, 100, newest)
		for _, i := range []int{0, 2, 6} {
			p.same("Changed", []carewire.Entry{newest[state{added[i].Patient, added[i].Key}]}, added[i:i+1])
		}
		added = p.add(alert("c", "x", 1, 0))
		newest = map[state]carewire.Entry{}
		p.follow(mark, 100, newest)
		p.same("Changed", []carewire.Entry{newest[state{"c", "x"}]}, added)
	}},
	{"changed from the beginning", "the mark \"\" begins with all that is open, and so does an unusable one", func(p *probe) {
		added := p.add(alert("a", "x", 1, 0), alert("a", "over", 1, 0), alert("b", "x", 1, 0), ended("a", "over", 2), alert("b", "x", 2, 0))
		_, used := p.changed("", 0)
		for _, mark := range []string{"", "?", "0", "-1", "99999999999999999999", used + "0 x", "\x00\xff"} {
			newest := map[state]carewire.Entry{}
			p.follow(mark, 100, newest)
			p.same(fmt.Sprintf("Changed from %q", mark), []carewire.Entry{newest[state{"a", "x"}], newest[state{"b", "x"}]}, []carewire.Entry{added[0], added[4]})
		}
	}},
	{"changed in pages", "Changed returns at most limit entries (0: 1,000); fewer than limit means that the caller is up to date", func(p *probe) {
		const n = 1005
		var batch []carewire.Entry
		for i := range n {
			batch = append(batch, alert(fmt.Sprint("p", i), "x", 1, 0))
		}
		p.add(batch...)
		for _, limit := range []int{67, 1000, 1005, 5000} { // 15 × 67 is 1005: the last page is full
			newest := map[state]carewire.Entry{}
			p.follow("", limit, newest)
			if len(newest) != n {
				p.fail("Changed in pages of %d returned %d keys, want %d", limit, len(newest), n)
			}
		}
		first, mark := p.changed("", 0)
		rest, mark := p.changed(mark, 0)
		if len(first) != 1000 || len(rest) < 5 {
			p.fail("Changed without a limit returned %d entries, then %d, want 1,000 and the rest", len(first), len(rest))
		}
		if again, _ := p.changed(mark, 0); len(again) == 1000 {
			p.fail("Changed returned 1,000 entries to a caller who is up to date")
		}
	}},
	{"changed while paging", "an entry written while a caller goes through the pages of Changed is returned at least once, in its newest revision", func(p *probe) {
		for _, beginning := range []bool{true, false} {
			patient, mark := fmt.Sprint("p", beginning), ""
			if !beginning {
				mark = p.follow("", 100, map[state]carewire.Entry{})
			}
			for i := range 6 {
				p.add(alert(patient, fmt.Sprint(i), 1, 0))
			}
			newest := map[state]carewire.Entry{}
			note := func(entries []carewire.Entry) {
				for _, e := range entries {
					if at := (state{e.Patient, e.Key}); newest[at].Seq <= e.Seq {
						newest[at] = e
					}
				}
			}
			page, mark := p.changed(mark, 2)
			note(page)
			p.add(alert(patient, "0", 2, 0), ended(patient, "5", 2), alert(patient, "new", 1, 0))
			page, mark = p.changed(mark, 2)
			note(page)
			p.add(ended(patient, "1", 2), ended(patient, "new", 2), alert(patient, "newer", 1, 0))
			p.follow(mark, 2, newest)
			for _, key := range []string{"0", "1", "2", "3", "4", "5", "new", "newer"} {
				want := p.get(patient, key)
				got, ok := newest[state{patient, key}]
				if !ok && !want.Open && beginning {
					continue // was over before it was come to: "" owes the open entries
				}
				p.same("Changed in pages, key "+key, []carewire.Entry{got}, []carewire.Entry{want})
			}
		}
	}},
	{"changed while appending", "a caller that follows Changed ends with the newest revision of every key, with any appends at the same time", func(p *probe) {
		const writers, revisions = 4, 25
		var busy atomic.Int32
		busy.Store(writers)
		calls := []func() error{}
		for w := range writers {
			calls = append(calls, func() error {
				defer busy.Add(-1)
				for rev := range uint64(revisions) {
					e := alert(fmt.Sprint("p", w), fmt.Sprint(rev%3), rev/3+1, 0)
					got, err := p.store.Append(p.ctx, []carewire.Entry{e, vital("a", "hr", 0)})
					if err != nil || got[0].Err != nil {
						return fmt.Errorf("an Append was answered %v, error %v", got, err)
					}
				}
				return nil
			})
		}
		newest := map[state]uint64{}
		calls = append(calls, func() error {
			mark := ""
			for last := false; ; {
				last = busy.Load() == 0
				for n := 5; n == 5; {
					entries, next, err := p.store.Changed(p.ctx, mark, 5)
					if err != nil {
						return fmt.Errorf("the error of Changed was %w", err)
					}
					for _, e := range entries {
						newest[state{e.Patient, e.Key}] = e.Rev
					}
					mark, n = next, len(entries)
				}
				if last {
					return nil
				}
			}
		})
		p.together(calls...)
		for w := range writers {
			for key := range 3 {
				at := state{fmt.Sprint("p", w), fmt.Sprint(key)}
				if want := p.get(at.patient, at.key).Rev; newest[at] != want {
					p.fail("the follower of Changed ended with revision %d of a key, the newest is %d", newest[at], want)
				}
			}
		}
	}},
	{"waiting", "Waiting returns entries that are the newest revision of their key, are Open and have a Due that is not zero and not after due, over all patients, earliest first, timers included", func(p *probe) {
		all := p.add(alert("a", "x", 1, 3*time.Second), alert("b", "x", 1, time.Second), timer("c", "t", 1, 2*time.Second), alert("a", "far", 1, time.Hour),
			alert("a", "moved", 1, 0), alert("a", "over", 1, 0), alert("a", "", 0, 0), timer("a", "t", 1, -time.Hour), vital("a", "hr", 0), notice("a"))
		never, done := alert("a", "never", 1, 0), ended("a", "over", 2)
		never.Due, done.Due = time.Time{}, t0
		moved := p.add(alert("a", "moved", 2, 4*time.Second), done, never, timer("a", "t", 2, 90*time.Minute))
		p.same("Waiting", p.waiting(t0.Add(3*time.Second), 0), []carewire.Entry{all[1], all[2], all[0]})
		p.same("Waiting before all", p.waiting(t0, 0), nil)
		p.same("Waiting up to the instant", p.waiting(t0.Add(time.Second), 0), all[1:2])
		p.same("Waiting after all", p.waiting(t0.Add(day), 0), []carewire.Entry{all[1], all[2], all[0], moved[0], all[3], moved[3]})
		p.same("Waiting with a limit", p.waiting(t0.Add(day), 2), all[1:3])
		back := p.add(alert("a", "moved", 3, -time.Second), timer("c", "t", 2, 5*time.Second))
		p.same("Waiting after a change", p.waiting(t0.Add(5*time.Second), 0), []carewire.Entry{back[0], all[1], all[0], back[1]})
	}},
	{"waiting for many", "Waiting returns the earliest of many, at most limit (0: 1,000)", func(p *probe) {
		const n = 1100
		var batch []carewire.Entry
		for i := range n {
			batch = append(batch, alert(fmt.Sprint("p", i%7), fmt.Sprint(i), 1, time.Duration(i*761%n)*time.Millisecond)) // 761 and n share no divisor
		}
		p.add(batch...)
		for _, c := range []struct{ limit, want int }{{0, 1000}, {1, 1}, {10, 10}, {5000, n}} {
			got := p.waiting(t0.Add(day), c.limit)
			if len(got) != c.want {
				p.fail("Waiting with limit %d returned %d entries, want %d", c.limit, len(got), c.want)
			}
			for i, e := range got {
				if want := t0.Add(time.Duration(i) * time.Millisecond); !e.Due.Equal(want) {
					p.fail("Waiting: entry %d is due %v after the first one, want %v", i, e.Due.Sub(t0), want.Sub(t0))
				}
			}
		}
	}},
}
