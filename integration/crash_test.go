package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

const withMillis = "2006-01-02T15:04:05.000Z07:00"

// seeded returns what a test draws its random choices from, and says the seed;
// CRASH_SEED repeats the choices.
func seeded(t testing.TB) (uint64, *rand.Rand) {
	seed := rand.Uint64()
	if s, err := strconv.ParseUint(os.Getenv("CRASH_SEED"), 10, 64); err == nil {
		seed = s
	}
	t.Logf("CRASH_SEED=%d", seed)
	return seed, rand.New(rand.NewPCG(seed, 0))
}

// between draws a duration.
func between(rng *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(rng.Int64N(int64(high-low)))
}

// A bed is one patient, with a device that publishes and raises, and two
// clinicians who answer, each on a connection of its own. It remembers
// everything that it has sent, and everything that was confirmed.
type bed struct {
	t       testing.TB
	patient string
	rng     *rand.Rand
	device  *caller
	staff   []*caller

	mu     sync.Mutex
	vitals map[string]*vitalSent // by vital_id
	alerts map[string]*alertSent // by alert_id

	log     []frame                 // what was read of the log
	numbers map[string]uint64       // in it: of vitals
	states  map[string][]*alertText // in it: the states of each alert, in order

	// the load's own:
	order  []*vitalSent // confirmed ones
	raised []*alertSent // confirmed ones
	todo   []*task
	n      int
	resent int // requests that had to be sent again
	asked  int // repeated sends of what was confirmed
}

type vitalSent struct {
	text      map[string]any
	value     string
	seq       uint64 // once it is confirmed
	confirmed bool
}

type alertSent struct {
	request map[string]any
	reply   string // the alert, once it is confirmed
	answers []*answerSent
}

type answerSent struct {
	request map[string]any
	by      *caller
	do      string
	reply   string
	code    string // ok, or why it was refused; empty until it is known
}

// A task is an answer that somebody will give.
type task struct {
	at    time.Time
	alert *alertSent
	do    []string // one after the other
	race  bool     // both clinicians do it at once
}

func newBed(t testing.TB, url, patient string, rng *rand.Rand) *bed {
	b := &bed{t: t, patient: patient, rng: rng, vitals: make(map[string]*vitalSent), alerts: make(map[string]*alertSent),
		numbers: make(map[string]uint64), states: make(map[string][]*alertText),
		device: &caller{t: t, url: url, token: "gateway-1"}}
	for _, token := range []string{"nurse-ada", "dr-bell"} {
		b.staff = append(b.staff, &caller{t: t, url: url, token: token})
	}
	return b
}

func (b *bed) id(kind string) string {
	b.n++
	return fmt.Sprintf("%s.%s.%d", b.patient, kind, b.n)
}

// call makes a request that must have a final reply sooner or later.
func (b *bed) call(ctx context.Context, c *caller, request map[string]any) *frame {
	f, sent, err := c.call(ctx, request)
	if err != nil {
		if ctx.Err() == nil {
			b.t.Error(request["type"], err)
		}
		return nil
	}
	b.mu.Lock()
	b.resent += sent - 1
	b.mu.Unlock()
	return f
}

// load sends until stop is closed, and then gives the answers that are still due.
func (b *bed) load(ctx context.Context, stop <-chan struct{}) {
	pause := time.NewTimer(0)
	defer pause.Stop()
	for stopped := false; ctx.Err() == nil; {
		select {
		case <-stop:
			stopped = true
		default:
		}
		b.answerDue(ctx, stopped)
		if stopped {
			return
		}
		switch x := b.rng.Float64(); {
		case x < 0.6:
			b.publish(ctx)
		case x < 0.75:
			b.raise(ctx)
		case x < 0.97:
			b.repeat(ctx)
		default:
			b.reuse(ctx)
		}
		pause.Reset(between(b.rng, 0, 60*time.Millisecond))
		select {
		case <-pause.C:
		case <-ctx.Done():
		}
	}
}

func (b *bed) publish(ctx context.Context) {
	var list []*vitalSent
	var texts []map[string]any
	b.mu.Lock()
	for range 1 + b.rng.IntN(6) {
		id := b.id("v")
		v := &vitalSent{value: strconv.Itoa(60 + b.n%40)}
		v.text = map[string]any{"patient": b.patient, "code": "8867-4", "value": json.Number(v.value), "unit": "/min", "vital_id": id,
			"time": time.Now().UTC().Format(withMillis), "device": "d" + strconv.Itoa(b.n%3)}
		b.vitals[id] = v
		list, texts = append(list, v), append(texts, v.text)
	}
	b.mu.Unlock()
	f := b.call(ctx, b.device, map[string]any{"type": "publish", "vitals": texts})
	if f == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if !assert.Len(b.t, f.Results, len(list)) {
		return
	}
	for i, r := range f.Results {
		if r.Error != nil {
			b.t.Errorf("a vital was refused: %s %s", r.Error.Code, r.Error.Field)
			continue
		}
		list[i].seq, list[i].confirmed = r.Seq, true
		b.order = append(b.order, list[i])
	}
}

// raise raises an alert, and plans what people will say to it.
func (b *bed) raise(ctx context.Context) {
	a := b.raiseOne(ctx)
	if a == nil {
		return
	}
	plan := &task{at: time.Now().Add(between(b.rng, 0, 2500*time.Millisecond)), alert: a}
	switch x := b.rng.Float64(); {
	case x < 0.35:
		return // nobody answers
	case x < 0.65:
		plan.do = []string{"accept"}
	case x < 0.75:
		plan.do, plan.race = []string{"accept"}, true
	case x < 0.85:
		plan.do = []string{"reject", "accept"}
	default:
		plan.do = []string{"close"}
	}
	b.todo = append(b.todo, plan)
}

// raiseOne returns the alert once it is confirmed.
func (b *bed) raiseOne(ctx context.Context) *alertSent {
	b.mu.Lock()
	id := b.id("a")
	a := &alertSent{request: map[string]any{"type": "raise", "event_id": id,
		"alert": map[string]any{"patient": b.patient, "key": "k" + strconv.Itoa(b.n), "text": "text of " + id, "priority": "high"}}}
	b.alerts[id] = a
	b.mu.Unlock()
	f := b.call(ctx, b.device, a.request)
	if f == nil {
		return nil
	}
	if f.Type != "ok" {
		b.t.Errorf("an alert was refused: %s", f.Code)
		return nil
	}
	b.mu.Lock()
	a.reply = string(f.Alert)
	b.mu.Unlock()
	b.raised = append(b.raised, a)
	return a
}

// answerDue gives the answers whose time has come, or all.
func (b *bed) answerDue(ctx context.Context, all bool) {
	var later []*task
	for _, x := range b.todo {
		if !all && time.Now().Before(x.at) {
			later = append(later, x)
			continue
		}
		for _, do := range x.do {
			if !x.race {
				if a := b.answer(ctx, x.alert, b.staff[b.n%2], do); a != nil {
					assert.Equal(b.t, "ok", a.code, do)
				}
				continue
			}
			codes := make(chan string, len(b.staff))
			for _, c := range b.staff {
				go func() {
					if a := b.answer(ctx, x.alert, c, do); a != nil {
						codes <- a.code
					} else {
						codes <- ""
					}
				}()
			}
			got := []string{<-codes, <-codes}
			if slices.Sort(got); ctx.Err() == nil {
				assert.Equal(b.t, []string{"conflict", "ok"}, got, "two accepted at once")
			}
		}
	}
	b.todo = later
}

func (b *bed) answer(ctx context.Context, to *alertSent, by *caller, do string) *answerSent {
	b.mu.Lock()
	id := b.id("w")
	a := &answerSent{by: by, do: do, request: map[string]any{"type": "answer", "patient": b.patient,
		"key": to.request["alert"].(map[string]any)["key"], "alert_id": to.request["event_id"], "event_id": id, "do": do, "reason": id}}
	if do == "close" {
		a.request["force"] = true
	}
	to.answers = append(to.answers, a)
	b.mu.Unlock()
	f := b.call(ctx, by, a.request)
	if f == nil {
		return nil
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	a.reply, a.code = string(f.Alert), f.Code
	if f.Type == "ok" {
		a.code = "ok"
	}
	return a
}

// repeat sends again what was confirmed: the reply is that of the first time.
func (b *bed) repeat(ctx context.Context) {
	b.asked++
	if b.rng.IntN(2) == 0 && len(b.order) > 0 {
		v := b.order[b.rng.IntN(len(b.order))]
		f := b.call(ctx, b.device, map[string]any{"type": "publish", "vitals": []any{v.text}})
		if f != nil && assert.Len(b.t, f.Results, 1) {
			assert.Equal(b.t, result{Seq: v.seq, Repeated: true}, f.Results[0], "a vital that was confirmed")
		}
		return
	}
	if len(b.raised) == 0 {
		return
	}
	a := b.raised[b.rng.IntN(len(b.raised))]
	b.mu.Lock()
	request, by, want := a.request, b.device, a.reply
	if n := len(a.answers); n > 0 && a.answers[n-1].code == "ok" {
		w := a.answers[n-1]
		request, by, want = w.request, w.by, w.reply
	}
	b.mu.Unlock()
	if f := b.call(ctx, by, request); f != nil {
		assert.Equal(b.t, "ok", f.Type, f.Code)
		assert.Equal(b.t, want, string(f.Alert), "%s that was confirmed", request["type"])
	}
}

// reuse sends another vital under the ID of one that was confirmed.
func (b *bed) reuse(ctx context.Context) {
	if len(b.order) == 0 {
		return
	}
	v := b.order[b.rng.IntN(len(b.order))]
	text := map[string]any{"value": 30}
	for k, x := range v.text {
		if k != "value" {
			text[k] = x
		}
	}
	f := b.call(ctx, b.device, map[string]any{"type": "publish", "vitals": []any{text}})
	if f == nil || !assert.Len(b.t, f.Results, 1) {
		return
	}
	if e := f.Results[0].Error; assert.NotNil(b.t, e, "an ID was used twice") {
		assert.Equal(b.t, "id_reused", e.Code)
	}
}

// confirmed is what must be in the log: vitals by number, alerts, and answers
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

func (b *bed) confirmed() confirmed {
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

// verify reads what the log has since it was last read, or all of it, and
// compares it with what was confirmed before, what was sent and what was read.
func (b *bed) verify(ctx context.Context, reader *caller, all bool) {
	b.t.Helper()
	want := b.confirmed()
	var after uint64
	if n := len(b.log); n > 0 && !all {
		after = b.log[n-1].Seq
	}
	list, err := reader.history(ctx, b.patient, after)
	require.NoError(b.t, err)
	b.mu.Lock()
	defer b.mu.Unlock()
	if all {
		for i := range b.log {
			if i >= len(list) {
				b.t.Fatalf("%s: number %d and what follows is gone", b.patient, b.log[i].Seq)
			}
			x, y := &b.log[i], &list[i]
			if x.Epoch != y.Epoch || x.Seq != y.Seq || x.Must != y.Must || string(x.Vital) != string(y.Vital) || string(x.Alert) != string(y.Alert) {
				b.t.Fatalf("%s: number %d was another before", b.patient, x.Seq)
			}
		}
		list = list[len(b.log):]
	}
	for i := range list {
		b.judge(&list[i])
	}
	b.judgeConfirmed(want)
}

// judge takes in the next entry of the log, which must follow the last and hold
// something that was sent.
func (b *bed) judge(f *frame) {
	var prev frame
	n := uint64(len(b.log))
	if n > 0 {
		prev = b.log[n-1]
	} else {
		prev.Epoch = f.Epoch
	}
	must := prev.Must
	if f.Type != "vital" {
		must++
	}
	if f.Patient != b.patient || f.Epoch != prev.Epoch || f.Seq != n+1 || f.Must != must {
		b.t.Fatalf("%s: entry %d is (%s, %d) with count %d, not %d", b.patient, n+1, f.Epoch, f.Seq, f.Must, must)
	}
	b.log = append(b.log, *f)
	switch f.Type {
	case "vital":
		var v vitalText
		require.NoError(b.t, json.Unmarshal(f.Vital, &v))
		sent := b.vitals[v.ID]
		switch {
		case sent == nil:
			b.t.Fatalf("%s: a vital that nobody sent", b.patient)
		case b.numbers[v.ID] != 0:
			b.t.Fatalf("%s: %s is there twice: %d, %d", b.patient, v.ID, b.numbers[v.ID], f.Seq)
		case string(v.Value) != sent.value || v.Time.Format(withMillis) != sent.text["time"]:
			b.t.Fatalf("%s: %s has another content", b.patient, v.ID)
		}
		b.numbers[v.ID] = f.Seq
	case "alert":
		a := new(alertText)
		require.NoError(b.t, json.Unmarshal(f.Alert, a))
		sent := b.alerts[a.ID]
		if sent == nil || a.Text != "text of "+a.ID {
			b.t.Fatalf("%s: an alert that nobody raised: %s %s", b.patient, a.ID, a.Key)
		}
		known := 0
		if n := len(b.states[a.ID]); n > 0 {
			before := b.states[a.ID][n-1].Answers
			if known = len(before); len(a.Answers) < known || !slices.Equal(before, a.Answers[:known]) {
				b.t.Fatalf("%s: an answer to %s was changed or lost", b.patient, a.ID)
			}
		}
		b.states[a.ID] = append(b.states[a.ID], a)
		if a.AnswerCount != len(a.Answers) {
			b.t.Fatalf("%s: alert %s has %d answers and says %d", b.patient, a.ID, len(a.Answers), a.AnswerCount)
		}
		for _, w := range a.Answers[known:] {
			if !slices.ContainsFunc(sent.answers, func(s *answerSent) bool {
				return s.request["event_id"] == w.Reason && s.do == w.Do && s.by.token == w.By.ID
			}) {
				b.t.Fatalf("%s: alert %s has an answer that nobody gave", b.patient, a.ID)
			}
		}
	default:
		b.t.Fatalf("%s: unexpected %s", b.patient, f.Type)
	}
}

// judgeConfirmed looks for what was confirmed before the log was read.
func (b *bed) judgeConfirmed(want confirmed) {
	for seq, id := range want.vitals {
		if b.numbers[id] != seq {
			b.t.Fatalf("%s: %s was confirmed as %d and is %d", b.patient, id, seq, b.numbers[id])
		}
	}
	for _, id := range want.alerts {
		if len(b.states[id]) == 0 {
			b.t.Fatalf("%s: alert %s was confirmed and is not there", b.patient, id)
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
			b.t.Fatalf("%s: answer %s is there %d times, not %d", b.patient, reason, n, w.times)
		}
	}
}

// A follower watches every vital of all beds, on one connection after the
// other, resumes where it stood, and keeps what it was sent.
type follower struct {
	t      testing.TB
	mu     sync.Mutex
	logs   map[string][]frame
	line   *line // the present one
	count  int   // resumed patients
	caught map[string]bool
}

func (w *follower) take(f *frame) {
	w.mu.Lock()
	defer w.mu.Unlock()
	log := w.logs[f.Patient]
	switch f.Type {
	case "sync":
		w.caught[f.Patient] = false
		if !f.Recovered && len(log) > 0 {
			w.t.Errorf("%s: could not be resumed at %d", f.Patient, log[len(log)-1].Seq)
		}
		if f.Recovered {
			w.count++
		}
	case "synced":
		w.caught[f.Patient] = true
	case "vital", "alert", "gap":
		if n := uint64(len(log)); f.Seq != n+1 {
			w.t.Errorf("%s: %s %d came after %d", f.Patient, f.Type, f.Seq, n)
			return
		}
		w.logs[f.Patient] = append(log, *f)
	}
}

// run watches until ctx ends.
func (w *follower) run(ctx context.Context, url string, patients []string) {
	for ctx.Err() == nil {
		l, err := connect(ctx, url, "dr-bell", w.take)
		if err != nil {
			select {
			case <-time.After(20 * time.Millisecond):
			case <-ctx.Done():
			}
			continue
		}
		since := map[string]any{}
		w.mu.Lock()
		for _, p := range patients {
			since[p] = map[string]any{"seq": 0} // from the beginning
			if n := len(w.logs[p]); n > 0 {
				since[p] = map[string]any{"epoch": w.logs[p][n-1].Epoch, "seq": n}
			}
		}
		w.line = l
		w.mu.Unlock()
		f, err := l.ask(map[string]any{"type": "watch", "patients": patients, "since": since, "delivery": "every"})
		if err == nil && (f.Type != "ok" || len(f.Watching) != len(patients)) {
			w.t.Errorf("watch is answered %s %s", f.Type, f.Code)
		}
		<-l.ctx.Done()
	}
}

// The ward is killed again and again while it is used. Whatever it has
// confirmed is there afterwards, in its place and once; and whoever watches
// gets everything, once, over all of it.
func TestKilledUnderLoad(t *testing.T) {
	kills := 5
	if inCI() {
		kills = 30
	}
	seed, rng := seeded(t)
	const beds = 8
	w := openWard(t, "-quiet", "-patients", strconv.Itoa(beds), "-step", "1")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()

	var all []*bed
	var patients []string
	stop := make(chan struct{})
	var loading, following sync.WaitGroup
	for i := range beds {
		b := newBed(t, w.url(), fmt.Sprintf("p-%02d", i+1), rand.New(rand.NewPCG(seed, uint64(i+1))))
		all, patients = append(all, b), append(patients, b.patient)
		loading.Go(func() { b.load(ctx, stop) })
	}
	f := &follower{t: t, logs: make(map[string][]frame), caught: make(map[string]bool)}
	following.Go(func() { f.run(ctx, w.url(), patients) })
	reader := &caller{t: t, url: w.url(), token: "nurse-ada"}

	for k := range kills {
		moment := time.NewTimer(between(rng, 300*time.Millisecond, 1500*time.Millisecond))
		for i, b := range all {
			b.verify(ctx, reader, i == k%beds)
		}
		select {
		case <-moment.C:
		case <-t.Context().Done():
		}
		w.kill()
		w.start()
	}
	close(stop)
	loading.Wait() // every request gets its reply
	e := newEscalations(t, w)
	e.settle(ctx, reader, all)
	poll(t, patience, func() (bool, string) { return f.has(all) })
	f.compare(all)
	cancel()
	following.Wait()
	w.stop()
	e.judge(all)

	events, resent, asked := 0, 0, 0
	for _, b := range all {
		c := b.confirmed()
		events += len(c.vitals) + len(c.alerts)
		for _, x := range c.answers {
			events += x.times
		}
		resent, asked = resent+b.resent, asked+b.asked
		for _, c := range append(b.staff, b.device) {
			c.close()
		}
	}
	reader.close()
	t.Logf("kills %d, confirmed events %d, requests sent again %d, repeated on purpose %d, patients resumed %d, entries followed %d",
		kills, events, resent, asked, f.count, f.entries())
	t.Log(e)
}

// has reports whether the follower has got all that is in the logs.
func (w *follower) has(beds []*bed) (bool, string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range beds {
		if got, want := len(w.logs[b.patient]), len(b.log); got < want || !w.caught[b.patient] {
			return false, fmt.Sprintf("%s: %d of %d entries were delivered, caught up: %v", b.patient, got, want, w.caught[b.patient])
		}
	}
	return true, ""
}

func (w *follower) entries() (n int) {
	for _, log := range w.logs {
		n += len(log)
	}
	return n
}

// compare holds what was delivered, before and after kills, against the log.
func (w *follower) compare(beds []*bed) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range beds {
		for i := range b.log {
			got, want := &w.logs[b.patient][i], &b.log[i]
			same := got.Epoch == want.Epoch && got.Seq == want.Seq && got.Must == want.Must
			if got.Type == "gap" {
				var a alertText
				json.Unmarshal(want.Alert, &a)
				same = same && a.Escalation.State == "claimed"
			} else {
				same = same && got.Type == want.Type && string(got.Vital) == string(want.Vital) && string(got.Alert) == string(want.Alert)
			}
			if !same {
				w.t.Fatalf("%s: number %d was delivered as another (%s) than it is (%s)", b.patient, want.Seq, got.Type, want.Type)
			}
		}
	}
}
