package drive

import (
	"context"
	"encoding/json"
	"fmt"
	"hash/maphash"
	"slices"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

// confirmed holds the events that must be in the log: vitals by number, alerts, and answers
// by event ID, once if they were taken and not at all if they were refused.
type confirmed struct {
	vitals  map[uint64]string
	alerts  []string
	answers map[string]taken
}

type taken struct {
	alert string
	times int
}

func (b *Bed) confirmed() confirmed {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := confirmed{vitals: make(map[uint64]string), answers: make(map[string]taken)}
	for id, v := range b.vitals {
		if v.confirmed {
			if other, twice := c.vitals[v.seq]; twice {
				b.t.Errorf("%s and %s are both confirmed as number %d", id, other, v.seq)
			}
			c.vitals[v.seq] = id
		}
	}
	for id, a := range b.alerts {
		if a.reply != "" {
			c.alerts = append(c.alerts, id)
		}
		for _, w := range a.answers {
			switch w.code {
			case "":
			case "ok":
				c.answers[w.request["event_id"].(string)] = taken{id, 1}
			default:
				c.answers[w.request["event_id"].(string)] = taken{id, 0}
			}
		}
	}
	return c
}

// An entry of a log, as far as it is remembered.
type entry struct {
	sum    uint64 // of its position and its text
	hidden bool   // watchers may get a gap in its place
	read   bool   // else it is a vital that was not asked for
}

// A moment orders the vitals of one device: the newest is the one that counts.
type moment struct {
	at  time.Time
	seq uint64
}

// or returns the newer of m and a vital.
func (m moment) or(v *VitalText, seq uint64) moment {
	if v.Time.After(m.at) || v.Time.Equal(m.at) && seq > m.seq {
		return moment{v.Time, seq}
	}
	return m
}

var seed = maphash.MakeSeed()

func (f *Frame) sum() uint64 {
	var h maphash.Hash
	h.SetSeed(seed)
	fmt.Fprintf(&h, "%s %d %d %s ", f.Epoch, f.Seq, f.Must, f.Type)
	h.Write(f.Vital)
	h.Write(f.Alert)
	return h.Sum64()
}

// verify reads the log, from where it was last read or all of it, and compares it
// with the events that were confirmed before, sent, and read.
func (b *Bed) verify(ctx context.Context, reader *Caller, all bool) {
	b.t.Helper()
	want := b.confirmed()
	after := b.last.Seq
	if all {
		after = 0
	}
	var kinds []string
	if b.opt.Pruned {
		kinds = []string{"alert"}
	}
	ctx, cancel := context.WithTimeout(ctx, process.Patience)
	defer cancel()
	list, err := reader.History(ctx, b.Patient, after, kinds...)
	require.NoError(b.t, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if all {
		n := 0
		for i, known := range b.log {
			switch {
			case !known.read:
				continue
			case n == len(list):
				b.t.Fatalf("%s: number %d and everything after it is gone", b.Patient, i+1)
			case list[n].Seq != uint64(i+1) || list[n].sum() != known.sum:
				b.t.Fatalf("%s: number %d was another before", b.Patient, i+1)
			}
			n++
		}
		list = list[n:]
	}
	for i := range list {
		b.judge(&list[i])
	}
	b.judgeConfirmed(want)
}

// judge takes in the next entry of the log, which must follow the last and hold
// something that was sent.
func (b *Bed) judge(f *Frame) {
	prev, n := &b.last, uint64(len(b.log))
	must := prev.Must
	if f.Type != "vital" {
		must++
	}
	if f.Patient != b.Patient || n > 0 && f.Epoch != prev.Epoch && !b.opt.Anew || f.Must != must ||
		f.Seq <= n || f.Seq != n+1 && !b.opt.Pruned {
		b.t.Fatalf("%s: entry %d is (%s, %d) with count %d, not %d", b.Patient, n+1, f.Epoch, f.Seq, f.Must, must)
	}
	for len(b.log) < int(f.Seq)-1 {
		b.log = append(b.log, entry{})
	}
	e := entry{sum: f.sum(), read: true}
	switch f.Type {
	case "vital":
		var v VitalText
		require.NoError(b.t, json.Unmarshal(f.Vital, &v))
		sent := b.vitals[v.ID]
		switch {
		case sent == nil:
			b.t.Fatalf("%s: a vital that nobody sent", b.Patient)
		case b.numbers[v.ID] != 0:
			b.t.Fatalf("%s: %s is there twice: %d, %d", b.Patient, v.ID, b.numbers[v.ID], f.Seq)
		case string(v.Value) != sent.value || v.Time.Format(withMillis) != sent.text["time"]:
			b.t.Fatalf("%s: %s has another content", b.Patient, v.ID)
		}
		b.numbers[v.ID], b.newest[v.Device] = f.Seq, b.newest[v.Device].or(&v, f.Seq)
	case "alert":
		a := new(AlertText)
		require.NoError(b.t, json.Unmarshal(f.Alert, a))
		sent := b.alerts[a.ID]
		if sent == nil || a.Text != "text of "+a.ID {
			b.t.Fatalf("%s: an alert that nobody raised: %s %s", b.Patient, a.ID, a.Key)
		}
		known := 0
		if n := len(b.states[a.ID]); n > 0 {
			before := b.states[a.ID][n-1].Answers
			if known = len(before); len(a.Answers) < known || !slices.Equal(before, a.Answers[:known]) {
				b.t.Fatalf("%s: an answer to %s was changed or lost", b.Patient, a.ID)
			}
		}
		b.states[a.ID] = append(b.states[a.ID], a)
		e.hidden = a.Escalation.State == "claimed"
		if a.AnswerCount != len(a.Answers) {
			b.t.Fatalf("%s: alert %s has %d answers and says %d", b.Patient, a.ID, len(a.Answers), a.AnswerCount)
		}
		for _, w := range a.Answers[known:] {
			if !slices.ContainsFunc(sent.answers, func(s *answerSent) bool {
				return s.request["event_id"] == w.Reason && s.do == w.Do && s.by.Token == w.By.ID
			}) {
				b.t.Fatalf("%s: alert %s has an answer that nobody gave", b.Patient, a.ID)
			}
		}
	default:
		b.t.Fatalf("%s: unexpected %s", b.Patient, f.Type)
	}
	b.log, b.last = append(b.log, e), Frame{Epoch: f.Epoch, Seq: f.Seq, Must: f.Must}
}

// judgeConfirmed looks for the events that were confirmed before the log was read.
func (b *Bed) judgeConfirmed(want confirmed) {
	for seq, id := range want.vitals {
		if b.opt.Pruned {
			break
		}
		if b.numbers[id] != seq {
			b.t.Fatalf("%s: %s was confirmed as %d and is %d", b.Patient, id, seq, b.numbers[id])
		}
	}
	for _, id := range want.alerts {
		if len(b.states[id]) == 0 {
			b.t.Fatalf("%s: alert %s was confirmed and is not there", b.Patient, id)
		}
	}
	for reason, w := range want.answers {
		n := 0
		if states := b.states[w.alert]; len(states) > 0 {
			for _, x := range states[len(states)-1].Answers {
				if x.Reason == reason {
					n++
				}
			}
		}
		if n != w.times {
			b.t.Fatalf("%s: answer %s is there %d times, not %d", b.Patient, reason, n, w.times)
		}
	}
}
