package storetest

import (
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// eraseRules are about Eraser.
var eraseRules = []rule{
	{"erase", "Erase removes all entries of a patient, open ones too, with their keys and IDs, and of no other patient; the head stays, and Read says ErrGap", func(p *probe) {
		mine := logOf("a")
		theirs := p.add(logOf("b")...)
		p.add(mine...)
		_, mark := p.changed("", 0)
		head := p.head("a")
		for range 2 { // the second time nothing is there
			p.erase("a")
			p.erased("a", head, mark)
		}
		if p.reopen != nil {
			p.reopen()
			p.erased("a", head, "")
		}
		p.same("Read of another patient", p.read("b", 0, carewire.ReadQuery{}), theirs)
		p.same("Waiting", p.waiting(t0.Add(day), 0), []carewire.Entry{theirs[1], theirs[2]})
		p.repeated(logOf("b")[4], theirs[4])
	}},
	{"after an erasure", "after Erase a key has revision 0, an ID may be used anew, and numbers go on", func(p *probe) {
		p.add(logOf("a")...)
		head := p.head("a")
		p.erase("a")
		again := logOf("a")
		again[4].Sum = [16]byte{9}
		added := p.add(again...)
		if added[0].Seq != head.Seq+1 || added[4].Must != head.Must+3 {
			p.fail("after Erase entries got the numbers %d to %d, must %d, want %d and so on, must %d", added[0].Seq, added[4].Seq, added[4].Must, head.Seq+1, head.Must+3)
		}
		p.same("Read", p.read("a", head.Seq, carewire.ReadQuery{}), added)
		latest, _ := p.latest("a")
		p.same("Latest", latest, added[:2])
		p.gap("a", head.Seq-1, carewire.ReadQuery{})
	}},
	{"erasing the unknown", "erasing an unknown patient changes nothing and is no error", func(p *probe) {
		p.erase("unknown")
		if h := p.head("unknown"); h.Seq != 0 || len(h.Epochs) != 0 {
			p.fail("the head of an unknown patient is %v", h)
		}
		p.same("Read", p.read("unknown", 0, carewire.ReadQuery{}), nil)
		if e := p.add(notice("unknown"))[0]; e.Seq != 1 {
			p.fail("the first entry got number %d", e.Seq)
		}
	}},
}

// logOf is a log of each kind: a vital, an alert and a timer that wait, an alert
// that has ended, and a notice; the vital and the notice have IDs.
func logOf(patient string) []carewire.Entry {
	return []carewire.Entry{
		withID(vital(patient, "hr", 0), "s", "1", "one"), alert(patient, "x", 1, 0), timer(patient, "t", 1, time.Second), ended(patient, "over", 1),
		withID(notice(patient), "s", "2", "two"),
	}
}

func (p *probe) erase(patient string) {
	eraser, ok := p.store.(carewire.Eraser)
	if !ok {
		p.skip("the store does not erase")
	}
	p.must("Erase", eraser.Erase(p.ctx, patient))
}

// erased wants nothing to be left of a patient with a log as logOf has it.
func (p *probe) erased(patient string, head carewire.Head, mark string) {
	for after := range head.Seq {
		p.gap(patient, after, carewire.ReadQuery{})
	}
	p.gap(patient, 0, onlyVitals)
	p.gap(patient, 0, onlyAlerts)
	p.same("Read after the end", p.read(patient, head.Seq, carewire.ReadQuery{}), nil)
	latest, got := p.latest(patient)
	p.same("Latest after Erase", latest, nil)
	for _, h := range []carewire.Head{got, p.head(patient)} {
		if h.Position != head.Position || h.Must != head.Must || !slices.Equal(h.Epochs, head.Epochs) {
			p.fail("Erase changed the head from %v to %v", head, h)
		}
	}
	for _, key := range []string{"hr", "x", "t", "over"} {
		_, err := p.store.Get(p.ctx, patient, key)
		p.want("Get after Erase", err, carewire.ErrNotFound)
	}
	for _, mark := range []string{"", mark} {
		entries, _ := p.changed(mark, 0)
		for _, e := range append(entries, p.waiting(t0.Add(day), 0)...) {
			if e.Patient == patient {
				p.fail("Changed or Waiting returned%s of an erased patient", list([]carewire.Entry{e}))
			}
		}
	}
}
