package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/carewire/carewire"
)

// probe is a store under test. Its methods fail the rule when the store does;
// only the goroutine that checks the rule may call them.
type probe struct {
	ctx    context.Context
	store  carewire.Store
	reopen func() // puts the reopened store in place; nil: it cannot be reopened
	life   *life  // RunDurable's
}

// failure is the value with which fail panics, and skipped that of skip.
type (
	failure string
	skipped string
)

func (s skipped) Error() string { return string(s) }

// verdict turns the value with which a check panicked into the rule's error.
func (r rule) verdict(panicked any) error {
	switch why := panicked.(type) {
	case nil:
		return nil
	case skipped:
		return why
	case failure:
		return fmt.Errorf("%s\nthe rule: %s", string(why), r.text)
	default:
		return fmt.Errorf("panic: %v\nthe rule: %s\n%s", why, r.text, debug.Stack())
	}
}

// fail ends the check: the rule is broken.
func (p *probe) fail(format string, args ...any) { panic(failure(fmt.Sprintf(format, args...))) }

// skip ends the check: the rule does not concern this store.
func (p *probe) skip(why string) { panic(skipped(why)) }

// must fails the rule if the call returned an error.
func (p *probe) must(call string, err error) {
	if err != nil {
		p.fail("%s returned the error %q", call, err)
	}
}

// want fails the rule if the call's error does not match.
func (p *probe) want(call string, err, target error) {
	if !errors.Is(err, target) {
		p.fail("%s returned the error %v, want one that matches %q", call, err, target)
	}
}

// append appends and wants one result for each entry, with any content.
func (p *probe) append(entries ...carewire.Entry) []carewire.AppendResult {
	results, err := p.store.Append(p.ctx, entries)
	p.must("Append", err)
	if len(results) != len(entries) {
		p.fail("Append of %d entries returned %d results", len(entries), len(results))
	}
	return results
}

// add appends and wants every entry to be taken as a new one. It returns the
// entries as they must come back.
func (p *probe) add(entries ...carewire.Entry) []carewire.Entry {
	added := slices.Clone(entries)
	for i, a := range p.append(entries...) {
		if a.Err != nil || a.Repeated {
			p.fail("Append: entry %d (%s) was answered %s, want it taken", i, show(entries[i]), answer(a))
		}
		added[i].Position, added[i].Must = a.Position, a.Must
	}
	return added
}

// refused appends one entry and wants it refused.
func (p *probe) refused(e carewire.Entry, target error) {
	a := p.append(e)[0]
	if !errors.Is(a.Err, target) {
		p.fail("Append of %s was answered %s, want the error %q", show(e), answer(a), target)
	}
}

// repeated appends one entry and wants it answered as was.
func (p *probe) repeated(e, was carewire.Entry) {
	a := p.append(e)[0]
	if want := (carewire.AppendResult{Position: was.Position, Must: was.Must, Repeated: true}); a != want {
		p.fail("Append of %s again was answered %s, want %s", show(e), answer(a), answer(want))
	}
}

func (p *probe) read(patient string, after uint64, q carewire.ReadQuery) []carewire.Entry {
	entries, err := p.store.Read(p.ctx, patient, carewire.Position{Seq: after}, q)
	p.must("Read", err)
	return entries
}

func (p *probe) latest(patient string) ([]carewire.Entry, carewire.Head) {
	entries, head, err := p.store.Latest(p.ctx, patient)
	p.must("Latest", err)
	return entries, head
}

func (p *probe) get(patient, key string) carewire.Entry {
	e, err := p.store.Get(p.ctx, patient, key)
	p.must("Get", err)
	return e
}

func (p *probe) head(patient string) carewire.Head {
	heads, err := p.store.Heads(p.ctx, []string{patient})
	p.must("Heads", err)
	if len(heads) != 1 {
		p.fail("Heads of one patient returned %d heads", len(heads))
	}
	return heads[0]
}

func (p *probe) waiting(due time.Time, limit int) []carewire.Entry {
	entries, err := p.store.Waiting(p.ctx, due, limit)
	p.must("Waiting", err)
	return entries
}

func (p *probe) changed(mark string, limit int) ([]carewire.Entry, string) {
	entries, next, err := p.store.Changed(p.ctx, mark, limit)
	p.must("Changed", err)
	if limit > 0 && len(entries) > limit {
		p.fail("Changed returned %d entries, the limit was %d", len(entries), limit)
	}
	return entries, next
}

// follow reads Changed from mark to its end, puts the entries into newest, and
// returns the mark to go on with.
func (p *probe) follow(mark string, limit int, newest map[state]carewire.Entry) string {
	for range 10_000 {
		entries, next := p.changed(mark, limit)
		for _, e := range entries {
			at := state{e.Patient, e.Key}
			if e.Kind.Droppable() || e.Key == "" {
				p.fail("Changed returned %s", show(e))
			}
			if newest[at].Seq <= e.Seq {
				newest[at] = e
			}
		}
		mark = next
		if len(entries) < limit {
			return mark
		}
	}
	p.fail("Changed still returns full pages after 10,000 of them")
	return ""
}

// state names a key of a patient.
type state struct{ patient, key string }

// same fails the rule unless got is exactly want, in that order.
func (p *probe) same(call string, got, want []carewire.Entry) {
	for i := range min(len(got), len(want)) {
		if field := difference(got[i], want[i]); field != "" {
			p.fail("%s: entry %d is %s, want %s: they differ in %s", call, i, show(got[i]), show(want[i]), field)
		}
	}
	if len(got) != len(want) {
		p.fail("%s returned %d entries, want %d:\n got %s\nwant %s", call, len(got), len(want), list(got), list(want))
	}
}

// together calls each of the functions in a goroutine of its own, waits for
// all, and fails the rule with the first error.
func (p *probe) together(calls ...func() error) {
	var wg sync.WaitGroup
	start := make(chan struct{})
	errs := make([]error, len(calls))
	for i, call := range calls {
		wg.Go(func() {
			<-start
			errs[i] = call()
		})
	}
	close(start)
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			p.fail("%v", err)
		}
	}
}

// t0 is when all tests take place. It has a microsecond that must survive.
var t0 = time.Date(2026, time.March, 1, 8, 0, 0, 123_456_000, time.UTC)

const day = 24 * time.Hour

// vital is a measurement taken at t0 + at, which came a minute later.
func vital(patient, key string, at time.Duration) carewire.Entry {
	return carewire.Entry{
		Patient: patient, Kind: carewire.KindVital, Key: key, Audience: carewire.AudienceAll, Sender: "monitor-1",
		Time: t0.Add(at), Received: t0.Add(at + time.Minute), Data: fmt.Appendf(nil, `{"at":"%v"}`, at),
	}
}

// alert is a revision of an alert, open and due at t0 + due.
func alert(patient, key string, rev uint64, due time.Duration) carewire.Entry {
	return carewire.Entry{
		Patient: patient, Kind: carewire.KindAlert, Key: key, Rev: rev, Open: true, Due: t0.Add(due),
		Audience: carewire.AudienceStaff, To: []string{"group:ward-5", "person:dr-1"}, Sender: "rules", Time: t0, Received: t0,
		Data: fmt.Appendf(nil, `{"rev":%d}`, rev),
	}
}

// ended is a revision of an alert that is over.
func ended(patient, key string, rev uint64) carewire.Entry {
	e := alert(patient, key, rev, 0)
	e.Open, e.Due = false, time.Time{}
	return e
}

// timer is a deadline at t0 + due.
func timer(patient, key string, rev uint64, due time.Duration) carewire.Entry {
	e := alert(patient, key, rev, due)
	e.Kind, e.To = carewire.KindTimer, nil
	return e
}

// notice is a message that is the state of nothing.
func notice(patient string) carewire.Entry {
	e := alert(patient, "", 0, 0)
	e.Kind, e.Open, e.Due = carewire.KindNotice, false, time.Time{}
	return e
}

// withID gives an entry an ID, and the digest that goes with its content.
func withID(e carewire.Entry, sender, id, content string) carewire.Entry {
	e.Sender, e.ID = sender, id
	copy(e.Sum[:], content)
	return e
}

// received says when the Hub took an entry in.
func received(e carewire.Entry, at time.Duration) carewire.Entry {
	e.Received = t0.Add(at)
	return e
}

// difference names the field in which two entries differ, "" if in none.
// Times may differ by less than a microsecond, but must be in UTC.
func difference(got, want carewire.Entry) string {
	differ := func(got, want time.Time) bool {
		d := got.Sub(want)
		return got.IsZero() != want.IsZero() || d <= -time.Microsecond || d >= time.Microsecond || got.Location() != time.UTC
	}
	switch {
	case got.Patient != want.Patient:
		return "Patient"
	case got.Seq != want.Seq:
		return "Seq"
	case got.Epoch != want.Epoch:
		return "Epoch"
	case got.Must != want.Must:
		return "Must"
	case got.Kind != want.Kind:
		return "Kind"
	case got.Key != want.Key:
		return "Key"
	case got.Rev != want.Rev:
		return "Rev"
	case got.Open != want.Open:
		return "Open"
	case got.Audience != want.Audience:
		return "Audience"
	case !slices.Equal(got.To, want.To):
		return "To"
	case got.Sender != want.Sender:
		return "Sender"
	case got.ID != want.ID:
		return "ID"
	case got.Sum != want.Sum:
		return "Sum"
	case got.Urgent:
		return "Urgent"
	case !bytes.Equal(got.Data, want.Data):
		return "Data"
	case differ(got.Due, want.Due):
		return "Due"
	case differ(got.Time, want.Time):
		return "Time"
	case differ(got.Received, want.Received):
		return "Received"
	}
	return ""
}

// cloned copies entries and the slices in them.
func cloned(entries []carewire.Entry) []carewire.Entry {
	entries = slices.Clone(entries)
	for i := range entries {
		entries[i].To, entries[i].Data = slices.Clone(entries[i].To), slices.Clone(entries[i].Data)
	}
	return entries
}

var kindNames = [...]string{"kind 0", "vital", "alert", "notice", "receipt", "access", "timer"}

func show(e carewire.Entry) string {
	open := ""
	if e.Open {
		open = " open"
	}
	return fmt.Sprintf("%s#%d(%s %q rev %d%s)", e.Patient, e.Seq, kindNames[e.Kind], e.Key, e.Rev, open)
}

func list(entries []carewire.Entry) string {
	if len(entries) > 20 {
		return list(entries[:20]) + " …"
	}
	text := ""
	for _, e := range entries {
		text += " " + show(e)
	}
	return text
}

func answer(a carewire.AppendResult) string {
	if a.Err != nil {
		return fmt.Sprintf("{error %q}", a.Err)
	}
	return fmt.Sprintf("{number %d of epoch %q, must %d, repeated %t}", a.Seq, a.Epoch, a.Must, a.Repeated)
}
