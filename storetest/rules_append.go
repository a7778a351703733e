package storetest

import (
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// appendRules are about numbers, batches and IDs.
var appendRules = []rule{
	{"numbers", "Seq is 1, 2, 3 … without gaps in each patient's log, in the order of the batch and of the appends; one epoch wrote all of a log", func(p *probe) {
		added := p.add(vital("a", "hr", 0), notice("b"), vital("a", "hr", 1))
		added = append(added, p.add(notice("a"))...)
		added = append(added, p.add(vital("b", "hr", 1), vital("a", "hr", 2))...)
		for i, want := range []uint64{1, 1, 2, 3, 2, 4} {
			if added[i].Seq != want {
				p.fail("entry %d of patient %s has number %d, want %d", i, added[i].Patient, added[i].Seq, want)
			}
			first := slices.IndexFunc(added, func(e carewire.Entry) bool { return e.Patient == added[i].Patient })
			if added[i].Epoch == "" || added[i].Epoch != added[first].Epoch {
				p.fail("entry %d has epoch %q, the first of its log %q", i, added[i].Epoch, added[first].Epoch)
			}
		}
		p.same("Read", p.read("a", 0, carewire.ReadQuery{}), []carewire.Entry{added[0], added[2], added[3], added[5]})
		p.same("Read", p.read("b", 0, carewire.ReadQuery{}), []carewire.Entry{added[1], added[4]})
	}},
	{"numbers under concurrency", "Seq is 1, 2, 3 … without gaps, in commit order, with any appends at the same time", func(p *probe) {
		const writers, appends = 8, 20
		var numbers [writers][]uint64
		calls := make([]func() error, writers)
		for w := range calls {
			calls[w] = func() error {
				for i := range appends {
					got, err := p.store.Append(p.ctx, []carewire.Entry{vital("a", "hr", time.Duration(i)), notice(fmt.Sprint("p", w)), notice("a")})
					if err != nil {
						return fmt.Errorf("the error of Append was %w", err)
					}
					if got[1].Seq != uint64(i+1) {
						return fmt.Errorf("entry %d of a patient that one goroutine writes has number %d", i+1, got[1].Seq)
					}
					numbers[w] = append(numbers[w], got[0].Seq, got[2].Seq)
				}
				return nil
			}
		}
		p.together(calls...)
		var all []uint64
		for w := range numbers {
			if !slices.IsSorted(numbers[w]) {
				p.fail("one goroutine's appends got the numbers %d", numbers[w])
			}
			all = append(all, numbers[w]...)
		}
		slices.Sort(all)
		log := p.read("a", 0, carewire.ReadQuery{})
		if len(log) != len(all) {
			p.fail("Read returned %d entries, %d were appended", len(log), len(all))
		}
		for i := range all {
			if all[i] != uint64(i+1) || log[i].Seq != uint64(i+1) {
				p.fail("where number %d must stand, Append had given %d and Read returned %d", i+1, all[i], log[i].Seq)
			}
		}
	}},
	{"must", "Must is the number of undroppable entries in 1..Seq; vitals and timers are droppable, all other kinds are not", func(p *probe) {
		access, receipt := notice("a"), notice("a")
		access.Kind, receipt.Kind = carewire.KindAccess, carewire.KindReceipt
		added := p.add(vital("a", "hr", 0), notice("a"), timer("a", "t", 1, 0), notice("b"), access, receipt, vital("a", "hr", 1), alert("a", "x", 1, 0))
		for i, want := range []uint64{0, 1, 1, 1, 2, 3, 3, 4} {
			if added[i].Must != want {
				p.fail("Append said must %d for %s, want %d", added[i].Must, show(added[i]), want)
			}
		}
		p.same("Read", p.read("a", 3, carewire.ReadQuery{}), added[4:])
		if h := p.head("a"); h.Must != 4 {
			p.fail("the head has must %d, want 4", h.Must)
		}
	}},
	{"fields", "the Store keeps entries as they are, but for Urgent, and never interprets Data; Position and Must are set by the Store alone; unset fields come back unset", func(p *probe) {
		full := carewire.Entry{
			Patient: "p-17.A:b_c", Kind: carewire.KindAlert, Key: "spo2-low/é …", Rev: 1, Open: true, Due: t0.Add(time.Hour),
			Position: carewire.Position{Epoch: "mine", Seq: 99}, Must: 7,
			Audience: carewire.AudienceNamed, To: []string{"person:Dr. Ä", "patient", "role:nurse"}, Sender: "rules", ID: "e:1",
			Sum: [16]byte{0, 1, 255, 15: 128}, Time: t0.Add(-time.Hour), Received: t0, Urgent: true, Data: []byte("{ \"value\" : 37.0,\n\"text\":\"\\u00e9é\" }"),
		}
		bare := carewire.Entry{Patient: full.Patient, Kind: carewire.KindNotice}
		large := notice(full.Patient)
		large.Data = []byte(`"` + strings.Repeat("carewire ", 8_000) + `"`)
		p.same("Read", p.read(full.Patient, 0, carewire.ReadQuery{}), nil)
		added := p.add(full, bare, large)
		p.same("Read", p.read(full.Patient, 0, carewire.ReadQuery{}), added)
		p.same("Get", []carewire.Entry{p.get(full.Patient, full.Key)}, added[:1])
	}},
	{"times", "times are kept with a precision of at least a microsecond and compared as instants; they come back in UTC, and a zero time as zero", func(p *probe) {
		east, west := time.FixedZone("east", 5*3600), time.FixedZone("west", -5*3600)
		first, second := vital("a", "hr", 0), vital("a", "hr", time.Microsecond)
		first.Time, second.Time, second.Received = first.Time.In(east), second.Time.In(west), second.Received.In(east)
		due := alert("a", "x", 1, time.Microsecond)
		due.Due, due.Time, due.Received = due.Due.In(east), time.Time{}, time.Time{}.In(west)
		added := p.add(second, first, due)
		p.same("Read", p.read("a", 0, carewire.ReadQuery{}), added)
		p.same("Get", []carewire.Entry{p.get("a", "hr")}, added[:1])
		p.same("Waiting before Due", p.waiting(t0.In(west), 0), nil)
		p.same("Waiting at Due", p.waiting(t0.Add(time.Microsecond).In(west), 0), added[2:])
		p.same("Read From", p.read("a", 0, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindVital}, From: t0.Add(time.Microsecond).In(east)}), added[:1])
	}},
	{"refused alone", "Appended.Err concerns one entry, which is not in the log, and leaves the others alone; a refused entry takes no number", func(p *probe) {
		got := p.append(notice("a"), alert("a", "x", 2, 0), notice("a"), withID(notice("a"), "s", "1", "one"), withID(notice("a"), "s", "1", "two"), notice("a"))
		p.want("Append of revision 2 of a key never written", got[1].Err, carewire.ErrConflict)
		p.want("Append of an ID with another Sum", got[4].Err, carewire.ErrIDReused)
		next := uint64(0)
		for i, a := range got {
			if i == 1 || i == 4 {
				continue
			}
			if next++; a.Err != nil || a.Seq != next || a.Must != next {
				p.fail("entry %d was answered %s, want number and must %d", i, answer(a), next)
			}
		}
		if h := p.head("a"); h.Seq != 4 || h.Must != 4 {
			p.fail("the head is number %d, must %d, want 4 and 4", h.Seq, h.Must)
		}
		if log := p.read("a", 0, carewire.ReadQuery{}); len(log) != 4 || log[3].Seq != 4 {
			p.fail("Read returned %s, want numbers 1 to 4", list(log))
		}
		p.refused(alert("b", "x", 2, 0), carewire.ErrConflict)
		if h := p.head("b"); h.Seq != 0 || len(h.Epochs) != 0 {
			p.fail("the head of a patient whose only entry was refused is number %d, epochs %v", h.Seq, h.Epochs)
		}
	}},
	{"batch", "entries are taken in order, and each sees the ones before it in the same batch", func(p *probe) {
		one := withID(alert("a", "x", 1, 0), "s", "1", "one")
		got := p.append(one, one, alert("a", "x", 2, 0), alert("a", "x", 2, 0), ended("a", "x", 3), withID(notice("a"), "s", "1", "two"))
		if !got[1].Repeated || got[1].Position != got[0].Position || got[1].Err != nil {
			p.fail("the same entry twice in one batch was answered %s, then %s", answer(got[0]), answer(got[1]))
		}
		if got[2].Err != nil || got[4].Err != nil || got[4].Seq != 3 {
			p.fail("revisions 2 and 3 after 1 in one batch were answered %s and %s", answer(got[2]), answer(got[4]))
		}
		p.want("Append of revision 2 twice in one batch", got[3].Err, carewire.ErrConflict)
		p.want("Append of an ID with another Sum in one batch", got[5].Err, carewire.ErrIDReused)
	}},
	{"repeated", "an ID found with the same Sum is answered Repeated with the Position and Must of then, and nothing is written", func(p *probe) {
		v, n := withID(vital("a", "hr", 0), "s", "1", "one"), withID(notice("a"), "s", "2", "two")
		added := p.add(v, n, notice("a"), notice("a"))
		later := received(n, time.Hour)
		p.repeated(v, added[0])
		p.repeated(n, added[1])
		p.repeated(later, added[1])
		p.same("Read", p.read("a", 0, carewire.ReadQuery{}), added)
	}},
	{"repeated under concurrency", "of appends with the same ID at the same time one is taken and all the others are Repeated with its Position", func(p *probe) {
		for round := range 10 {
			e := withID(notice("a"), "s", fmt.Sprint(round), "one")
			var taken atomic.Int32
			try := func() error {
				got, err := p.store.Append(p.ctx, []carewire.Entry{e})
				if err != nil || got[0].Err != nil || got[0].Seq != uint64(round+1) {
					return fmt.Errorf("an Append was answered %v, error %v", got, err)
				}
				if !got[0].Repeated {
					taken.Add(1)
				}
				return nil
			}
			p.together(try, try, try, try)
			if n := taken.Load(); n != 1 {
				p.fail("%d of 4 appends of one ID were answered as new", n)
			}
		}
	}},
	{"repeated before revision", "the Store looks first at the ID and only then at Rev: a retry is Repeated though its revision is no longer next", func(p *probe) {
		one := withID(alert("a", "x", 1, 0), "s", "1", "one")
		added := p.add(one, alert("a", "x", 2, 0))
		p.repeated(one, added[0])
		p.refused(withID(alert("a", "x", 1, 0), "s", "1", "two"), carewire.ErrIDReused)
	}},
	{"asking", "an entry with RevAsk is Repeated or ErrIDReused if its ID is known, else ErrConflict, and is never written", func(p *probe) {
		one := withID(alert("a", "x", 1, 0), "s", "1", "one")
		p.refused(withID(alert("a", "x", carewire.RevAsk, 0), "s", "1", "one"), carewire.ErrConflict)
		added := p.add(one)
		p.repeated(withID(alert("a", "x", carewire.RevAsk, 0), "s", "1", "one"), added[0])
		p.refused(withID(alert("a", "x", carewire.RevAsk, 0), "s", "1", "two"), carewire.ErrIDReused)
		p.refused(withID(alert("a", "x", carewire.RevAsk, 0), "s", "2", "one"), carewire.ErrConflict)
		p.same("Read", p.read("a", 0, carewire.ReadQuery{}), added)
	}},
	{"ID reused", "an ID found with another Sum is refused with ErrIDReused, regardless of the rest of the entry", func(p *probe) {
		added := p.add(withID(notice("a"), "s", "1", "one"))
		p.refused(withID(notice("a"), "s", "1", "two"), carewire.ErrIDReused)
		p.refused(withID(vital("a", "hr", 0), "s", "1", "two"), carewire.ErrIDReused)
		p.same("Read", p.read("a", 0, carewire.ReadQuery{}), added)
	}},
	{"ID scope", "an ID belongs to (Patient, Sender, ID), and \"\" is never compared", func(p *probe) {
		p.add(withID(notice("a"), "s", "1", "one"))
		p.add(withID(notice("a"), "r", "1", "one"))
		p.add(withID(notice("a"), "r2", "1", "two"))
		p.add(withID(notice("b"), "s", "1", "two"))
		p.add(withID(notice("a"), "s1", "", "one"), withID(notice("a"), "s1", "", "one"), withID(notice("a"), "s1", "", "two"))
		p.add(withID(notice("a"), "s", "11", "one"), withID(notice("a"), "s1", "1", "two"), withID(notice("as"), "", "1", "three"))
	}},
	{"ID of a refused entry", "a refused entry is not in the log: its ID is not remembered", func(p *probe) {
		late := withID(alert("a", "x", 2, 0), "s", "1", "one")
		p.refused(late, carewire.ErrConflict)
		p.add(alert("a", "x", 1, 0))
		p.add(late)
		p.add(withID(ended("a", "x", 3), "s", "2", "two"))
	}},
}

// revisionRules are about Rev.
var revisionRules = []rule{
	{"revision", "ErrConflict unless the newest revision of (Patient, Key) is Rev-1, where a key never written has revision 0", func(p *probe) {
		p.refused(alert("a", "x", 2, 0), carewire.ErrConflict)
		p.add(alert("a", "x", 1, 0))
		p.refused(alert("a", "x", 1, 0), carewire.ErrConflict)
		p.refused(alert("a", "x", 3, 0), carewire.ErrConflict)
		p.add(ended("a", "x", 2))
		p.refused(alert("a", "x", 1, 0), carewire.ErrConflict)
		p.add(alert("a", "x", 3, 0), alert("a", "y", 1, 0), alert("b", "x", 1, 0), timer("a", "z", 1, 0))
		p.refused(timer("a", "z", 1, 0), carewire.ErrConflict)
	}},
	{"revision 0", "an entry with Rev 0 is never a conflict and counts as no revision", func(p *probe) {
		p.add(alert("a", "x", 0, 0))
		p.refused(alert("a", "x", 2, 0), carewire.ErrConflict)
		p.add(alert("a", "x", 1, 0))
		p.add(alert("a", "x", 0, 0), alert("a", "x", 0, 0))
		p.refused(alert("a", "x", 1, 0), carewire.ErrConflict)
		p.add(alert("a", "x", 2, 0))
	}},
	{"keys across kinds", "keys are one namespace across kinds: the entry written last is the newest state, of any kind, and revisions go on", func(p *probe) {
		p.add(alert("a", "x", 1, 0))
		p.refused(timer("a", "x", 1, 0), carewire.ErrConflict)
		all := p.add(timer("a", "x", 2, 0), vital("a", "x", 0))
		for range 2 {
			p.same("Get", []carewire.Entry{p.get("a", "x")}, all[1:])
			got, _ := p.latest("a")
			p.same("Latest", got, all[1:])
			p.same("Waiting", p.waiting(t0.Add(day), 0), nil)
			newest := map[state]carewire.Entry{}
			p.follow("", 10, newest)
			if e, ok := newest[state{"a", "x"}]; ok {
				p.fail("Changed returned %s, which is not the newest of its key any more", show(e))
			}
			p.refused(alert("a", "x", 2, 0), carewire.ErrConflict)
			if p.reopen == nil {
				break
			}
			p.reopen()
		}
		p.add(alert("a", "x", 3, 0))
	}},
	{"revision under concurrency", "of two appends with the same revision at the same time exactly one is taken, the other refused with ErrConflict", func(p *probe) {
		for rev := uint64(1); rev <= 20; rev++ {
			var taken, refused atomic.Int32
			try := func() error {
				got, err := p.store.Append(p.ctx, []carewire.Entry{alert("a", "x", rev, 0)})
				switch {
				case err != nil:
					return fmt.Errorf("the error of Append was %w", err)
				case got[0].Err == nil:
					taken.Add(1)
				default:
					refused.Add(1)
				}
				return nil
			}
			p.together(try, try, try)
			if taken.Load() != 1 || refused.Load() != 2 {
				p.fail("of 3 appends of revision %d, %d were taken and %d refused", rev, taken.Load(), refused.Load())
			}
		}
		if log := p.read("a", 0, carewire.ReadQuery{}); len(log) != 20 || p.get("a", "x").Rev != 20 {
			p.fail("after 20 revisions the log has %d entries, the newest of revision %d", len(log), p.get("a", "x").Rev)
		}
	}},
}
