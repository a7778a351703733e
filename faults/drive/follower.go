package drive

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"
)

// A follower watches all beds on one connection after the other, at any of its
// nodes, resumes where it stood, and judges its events by the rules that
// docs/protocol.md has for clients.
type follower struct {
	t        testing.TB
	opt      *Options
	urls     []string
	delivery string

	mu      sync.Mutex
	beds    map[string]*followed
	line    *Line // the present one
	resumed int   // patients
	anew    int   // patients that were not recovered although there was a position
	entries int
}

// followed is a follower's state of one patient.
type followed struct {
	epoch     string
	seq, must uint64
	held      bool // there is a position
	caught    bool
	snapshot  bool // the next event is one
	seen      []seen
	compared  int
	newest    map[string]moment // of each device
}

type seen struct {
	entry
	seq uint64
	gap bool
}

func newFollower(t testing.TB, o *Options, delivery string, urls []string) *follower {
	return &follower{t: t, opt: o, urls: urls, delivery: delivery, beds: make(map[string]*followed)}
}

func (w *follower) take(f *Frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.beds[f.Patient]
	if p == nil {
		return // it concerns no patient
	}
	switch f.Type {
	case "sync":
		p.caught, p.snapshot = false, !f.Recovered
		switch {
		case f.Recovered:
			w.resumed++
		case p.held && p.seq > 0:
			w.anew++
			if !w.opt.Anew && !w.opt.Pruned {
				w.t.Errorf("%s, %s: could not be resumed at %d", f.Patient, w.delivery, p.seq)
			}
		}
		if p.snapshot {
			*p = followed{newest: make(map[string]moment), snapshot: true}
		}
	case "synced":
		if !p.snapshot && (f.Must != p.must || w.delivery == "every" && f.Seq != p.seq) {
			w.t.Errorf("%s, %s: caught up at (%d, count %d) and has (%d, count %d)", f.Patient, w.delivery, f.Seq, f.Must, p.seq, p.must)
		}
		p.epoch, p.seq, p.must, p.held, p.caught, p.snapshot = f.Epoch, f.Seq, f.Must, true, true, false
	case "vital", "alert", "gap":
		w.takeEvent(f, p)
	}
}

func (w *follower) takeEvent(f *Frame, p *followed) {
	must := p.must + 1
	if f.Type == "vital" {
		must = p.must
	}
	switch {
	case p.snapshot:
	case w.delivery == "every" && f.Seq != p.seq+1, f.Seq <= p.seq, f.Must != must && !(f.Type == "gap" && f.Must == p.must):
		w.t.Errorf("%s, %s: %s %d with count %d came after %d with %d", f.Patient, w.delivery, f.Type, f.Seq, f.Must, p.seq, p.must)
		return
	default:
		p.epoch, p.seq, p.must = f.Epoch, f.Seq, f.Must
	}
	if f.Type == "vital" {
		var v VitalText
		json.Unmarshal(f.Vital, &v)
		p.newest[v.Device] = p.newest[v.Device].or(&v, f.Seq)
	}
	w.entries++
	p.seen = append(p.seen, seen{entry{sum: f.sum()}, f.Seq, f.Type == "gap"})
}

// run watches until ctx ends.
func (w *follower) run(ctx context.Context, patients []string) {
	for _, p := range patients {
		w.beds[p] = &followed{newest: make(map[string]moment)}
	}
	for ctx.Err() == nil {
		l, err := Connect(ctx, w.urls[rand.IntN(len(w.urls))], "dr-bell", w.opt.Silence, w.take)
		if err != nil {
			pause(ctx, 20*time.Millisecond)
			continue
		}
		since := map[string]any{}
		w.mu.Lock()
		for _, p := range patients {
			switch x := w.beds[p]; {
			case x.epoch != "":
				since[p] = map[string]any{"epoch": x.epoch, "seq": x.seq}
			case w.delivery == "every":
				since[p] = map[string]any{"seq": 0} // from the beginning
			}
		}
		w.line = l
		w.mu.Unlock()
		f, err := l.Ask(map[string]any{"type": "watch", "patients": patients, "since": since, "delivery": w.delivery})
		if err == nil && f.Type == "ok" && len(f.Watching) != len(patients) {
			w.t.Errorf("%d patients are watched", len(f.Watching))
		}
		if err == nil && f.Type != "ok" {
			if f.Retry != "later" {
				w.t.Errorf("watch is answered %s", f.Code)
			}
			l.Close()
		}
		<-l.Done()
	}
}

// has reports whether the follower has got all that it is owed of the logs.
func (w *follower) has(beds []*Bed) (bool, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range beds {
		p := w.beds[b.Patient]
		missing := !p.caught || p.must < b.last.Must
		switch w.delivery {
		case "every":
			missing = missing || p.seq < b.last.Seq
		case "latest":
			for device, m := range b.newest {
				missing = missing || p.newest[device].seq < m.seq
			}
		}
		if missing {
			return false, fmt.Sprintf("%s, %s: at %d of %d, count %d of %d, newest %v of %v, caught up: %v",
				b.Patient, w.delivery, p.seq, b.last.Seq, p.must, b.last.Must, p.newest, b.newest, p.caught)
		}
	}
	return true, ""
}

// compare compares the delivered events with the log, as far as that was read.
func (w *follower) compare(b *Bed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	p := w.beds[b.Patient]
	for ; p != nil && p.compared < len(p.seen); p.compared++ {
		got := p.seen[p.compared]
		if got.seq > uint64(len(b.log)) {
			return
		}
		want := b.log[got.seq-1]
		if !want.read {
			continue
		}
		if got.gap && !want.hidden || !got.gap && got.sum != want.sum {
			w.t.Fatalf("%s, %s: number %d was delivered as another than it is", b.Patient, w.delivery, got.seq)
		}
	}
}
