package carewire

import (
	"context"
	"errors"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
)

const (
	batchMax = 1 << 10 // vitals, and other entries besides alerts, that are appended at once; alerts are without limit
	fillMax  = 1 << 10 // entries that a lane reads for all watches of a patient; beyond this, each watch reads from the Store itself
	headsMax = 500     // heads (ends of logs in the Store) compared at once
)

// A lane owns some of the patients: the order of their events, and their
// watches. It has two goroutines. The appender takes incoming events, alerts
// first, and appends them to the Store. If the returned numbers show a gap, it
// reads the missing entries. The fan-out gets the entries in order and hands
// them to the watches while the next batch is being appended.
type lane struct {
	lanes *lanes

	mu         sync.Mutex
	closed     bool
	urgent     []job // alerts, and changes of watches
	others     []job // other entries that cannot be dropped
	intake     intake
	charted    newCharts
	compareAll bool            // compare the positions of all watched patients with the Store's heads
	changed    map[string]bool // patients to compare; true: in any case, false: the Store has only hinted at them
	relayed    relayed
	owed       map[string]Position // hints that were put off, with the cursors of that time
	wake       chan struct{}

	// Used by the appender only.
	cursors    map[string]*cursor // by watched patient
	uncompared []string           // patients still to be compared
	charts     map[string]*chart  // the known vitals, by patient
	failed     bool               // the outcome of the last append is unknown

	batches chan []delivery // from the appender to the fan-out

	// Used by the fan-out only.
	watches map[string]*watchers
	pending []*watchers // those with events of this batch to hand over
	woken   []*outbox   // outboxes that have output now
}

// A job is one task of a lane: append entry, or begin or end a watch.
type job struct {
	entry    *Entry
	received int64              // when it came, in ticks; set by the lane
	quiet    bool               // watchers get a gap frame instead
	done     func(AppendResult) // called once, by the fan-out if the entry was appended; must not block

	vital  *Vital  // the source of entry
	series *series // the series of vital; the appender's

	attach, detach *watch
}

// A cursor is the last position of a watched patient that the appender has
// passed to the fan-out.
type cursor struct {
	Position
	must    uint64
	watched int
	unknown bool  // the Store has not yet told the position
	relayed int64 // when it last moved by an entry that a Relay brought promptly, in ticks; 0: never
}

// A delivery is one task of the fan-out.
type delivery struct {
	entry    *Entry // hand it to the patient's watches
	received int64
	quiet    bool
	done     func(AppendResult)
	result   AppendResult

	attach, detach *watch
	head           *Head // with attach: the end of the log; alone: the Store's head, and the watches have everything before it
	skipped        *Head // watches read the entries up to here from the Store themselves
	restart        *Head // the log has changed: watches start again from here

	tell *appended // tell other Hubs of these
}

// watchers are the watches of one patient.
type watchers struct {
	list     []*watch
	frames   []*frame     // frames of the batch under way, not handed over yet
	verified atomic.Int64 // when they were last known to be up to date with the Store, in ticks
}

func newLane(all *lanes) *lane {
	return &lane{lanes: all, wake: make(chan struct{}, 1), cursors: make(map[string]*cursor), charts: make(map[string]*chart),
		batches: make(chan []delivery, 1), watches: make(map[string]*watchers)}
}

// submit queues jobs, all or none. It never waits. It fails if the lane is
// closed or has no room for vitals.
func (l *lane) submit(jobs ...job) error {
	now := l.lanes.clock.ticks()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	n, sender := 0, ""
	for i := range jobs {
		if jobs[i].droppable() {
			n, sender = n+1, jobs[i].entry.Sender // one publish, one sender
		}
	}
	if n > 0 && !l.intake.hasRoom(sender, n) {
		return ErrBusy
	}
	for i := range jobs {
		j := &jobs[i]
		j.received = now
		switch {
		case j.droppable():
			l.intake.push(*j)
		case j.entry != nil && j.entry.Kind != KindAlert:
			l.others = append(l.others, *j)
		default:
			l.urgent = append(l.urgent, *j)
		}
	}
	signal(l.wake)
	return nil
}

func (j *job) droppable() bool { return j.entry != nil && j.entry.Kind.Droppable() }

// compare asks the lane to compare the cursors of patients with the Store's
// heads. It skips patients whom nobody watches. Nil means all watched patients. A
// hint waits for a patient whose entries a Relay has just brought.
func (l *lane) compare(patients []string, hint bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.compareAll = l.compareAll || patients == nil
	if l.changed == nil {
		l.changed = make(map[string]bool)
	}
	for _, p := range patients {
		l.changed[p] = l.changed[p] || !hint
	}
	signal(l.wake)
}

// close ends the lane once the submitted jobs are done.
func (l *lane) close() {
	l.mu.Lock()
	l.closed = true
	signal(l.wake)
	l.mu.Unlock()
}

// append is the appender. It runs on the Hub's context, never on a caller's.
func (l *lane) append(ctx context.Context) {
	defer close(l.batches)
	for range l.wake {
		for {
			w, over := l.next()
			if over {
				return
			}
			if len(w.jobs)+len(w.changed)+len(w.relayed)+len(w.owed)+len(l.uncompared) == 0 {
				break
			}
			if out := l.runBatch(ctx, &w); len(out) > 0 {
				l.batches <- out
			}
		}
	}
}

// A batch is the input of a lane that is handled together.
type batch struct {
	jobs    []job
	changed map[string]bool
	relayed []relayedEntries
	owed    map[string]Position
}

// next takes the jobs of the next batch: all alerts, and some of the others. over
// reports that the lane is closed and has no job left.
func (l *lane) next() (w batch, over bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	w.jobs, l.urgent = l.urgent, nil
	w.jobs, l.others = takeSome(w.jobs, l.others, batchMax)
	l.takeCharts()
	w.jobs = l.intake.pull(w.jobs, batchMax)
	if l.compareAll && len(l.uncompared) == 0 {
		l.compareAll, l.uncompared = false, slices.Collect(maps.Keys(l.cursors))
	}
	w.changed, l.changed = l.changed, nil
	w.relayed = l.relayed.take()
	w.owed, l.owed = l.owed, nil
	return w, l.closed && len(w.jobs)+l.intake.n == 0
}

// takeSome moves at most n jobs from the front of one list to the end of another.
func takeSome(to, from []job, n int) (_, rest []job) {
	switch {
	case len(from) == 0 || n == 0:
		return to, from
	case len(from) > n:
		return append(to, from[:n]...), slices.Clone(from[n:])
	case len(to) == 0:
		return from, nil
	}
	return append(to, from...), nil
}

// runBatch carries out one batch and returns the work for the fan-out.
func (l *lane) runBatch(ctx context.Context, w *batch) []delivery {
	jobs := w.jobs
	out := make([]delivery, 0, len(jobs))
	if l.lanes.peers != nil {
		out = l.useRelayed(out, w)
	}
	if l.failed {
		l.uncompared = nil
		out = l.verify(ctx, out, slices.Collect(maps.Keys(l.cursors)))
	} else if len(l.uncompared)+len(w.changed) > 0 {
		n := min(len(l.uncompared), headsMax) // more would keep the jobs waiting
		some := slices.AppendSeq(l.uncompared[:n:n], maps.Keys(w.changed))
		l.uncompared = l.uncompared[n:]
		out = l.verify(ctx, out, some)
	}
	out = l.join(ctx, jobs, out)
	entries, from := make([]Entry, 0, len(jobs)), make([]int, 0, len(jobs)) // from: the job of each entry
	var newKeys []int                                                       // indexes of the first vitals of their keys
	for i, j := range jobs {
		if j.entry == nil {
			continue
		}
		if e := j.entry; e.Kind == KindVital && e.Key != "" && l.chartOf(e.Patient) == nil {
			l.findChart(j)
			continue
		}
		first, err := l.admitVital(&jobs[i])
		if err != nil {
			out = append(out, delivery{done: j.done, result: AppendResult{Err: err}})
			continue
		}
		if first {
			newKeys = append(newKeys, len(entries))
		}
		entries = append(entries, *j.entry)
		from = append(from, i)
	}
	if len(entries) == 0 {
		return out
	}
	results, err := l.lanes.store.Append(ctx, entries)
	if err == nil && len(results) != len(entries) {
		err = errors.New("carewire: the Store broke its contract")
	}
	for _, k := range newKeys {
		if err != nil || results[k].Err != nil {
			delete(l.charts, entries[k].Patient) // to be read again
		}
	}
	if err != nil {
		l.failed = true
		for _, i := range from {
			out = append(out, delivery{done: jobs[i].done, result: AppendResult{Err: ErrUnknownOutcome}})
		}
		return out
	}
	for k, i := range from {
		l.appended(&jobs[i], &entries[k], results[k])
		out = l.forward(ctx, out, &jobs[i], results[k])
	}
	if l.lanes.peers != nil {
		out = l.tellPeers(out, entries, results)
	}
	return out
}

// forward hands an appended entry to the fan-out, after the entries between it
// and the cursor.
func (l *lane) forward(ctx context.Context, out []delivery, j *job, r AppendResult) []delivery {
	c := l.cursors[j.entry.Patient]
	if c == nil || r.Err != nil || r.Repeated {
		return append(out, delivery{done: j.done, result: r})
	}
	if r.Epoch == c.Epoch && r.Seq > c.Seq+1 && !c.unknown {
		out = l.fill(ctx, out, j.entry.Patient, c, r.Seq-1)
	}
	switch {
	case c.unknown:
		c.unknown = false
		return append(l.skipTo(out, j.entry.Patient, c, r.Position, r.Must), delivery{done: j.done, result: r})
	case r.Seq <= c.Seq, r.Epoch != c.Epoch && c.Seq > 0:
		return append(l.restart(ctx, out, j.entry.Patient, c), delivery{done: j.done, result: r})
	case r.Seq > c.Seq+1:
		return append(l.skipTo(out, j.entry.Patient, c, r.Position, r.Must), delivery{done: j.done, result: r})
	}
	j.entry.Position, j.entry.Must = r.Position, r.Must
	c.Position, c.must = r.Position, r.Must
	return append(out, delivery{entry: j.entry, received: j.received, quiet: j.quiet, done: j.done, result: r})
}

// skipTo moves the cursor over entries that could not be read. Each watch then
// reads them itself.
func (l *lane) skipTo(out []delivery, patient string, c *cursor, p Position, must uint64) []delivery {
	c.Position, c.must = p, must
	return append(out, delivery{skipped: &Head{Patient: patient, Position: p, Must: must}})
}

// fill reads entries that the cursor has not passed, up to number last: those of
// other nodes, and those of this one whose outcome was unknown. It reads nothing
// if they are more than fillMax, because the lane's other patients would wait.
func (l *lane) fill(ctx context.Context, out []delivery, patient string, c *cursor, last uint64) []delivery {
	for c.Seq < last && last-c.Seq <= fillMax {
		entries, err := l.lanes.store.Read(ctx, patient, c.Position, ReadQuery{Limit: int(min(last-c.Seq, 1000))})
		if err != nil || len(entries) == 0 {
			return out
		}
		for i := range entries {
			e := &entries[i]
			if e.Seq != c.Seq+1 {
				return out
			}
			c.Position, c.must = e.Position, e.Must
			if !e.Received.IsZero() {
				l.lanes.lag.observe(max(0, l.lanes.clock.now().Sub(e.Received)))
			}
			out = append(out, delivery{entry: e})
		}
	}
	return out
}

// restart makes the watches of a patient start again from the Store's head.
func (l *lane) restart(ctx context.Context, out []delivery, patient string, c *cursor) []delivery {
	heads, err := l.lanes.store.Heads(ctx, []string{patient})
	if err != nil || len(heads) != 1 {
		l.failed = true
		return out
	}
	c.Position, c.must = heads[0].Position, heads[0].Must
	return append(out, delivery{restart: &heads[0]})
}

// verify compares the cursors of watched patients with the Store's heads and
// reads missing entries. Watches that have everything are marked as verified.
func (l *lane) verify(ctx context.Context, out []delivery, patients []string) []delivery {
	l.failed = false
	patients = slices.DeleteFunc(patients, func(p string) bool { return l.cursors[p] == nil })
	for chunk := range slices.Chunk(patients, headsMax) {
		heads, err := l.lanes.store.Heads(ctx, chunk)
		if err != nil || len(heads) != len(chunk) {
			l.failed, l.uncompared = true, nil
			return out
		}
		for i := range heads {
			h, c := &heads[i], l.cursors[chunk[i]]
			if c.unknown { // each watch goes on from where it stands
				c.unknown = false
				out = l.skipTo(out, h.Patient, c, h.Position, h.Must)
			}
			if h.Seq > c.Seq && h.holds(c.Position) {
				out = l.fill(ctx, out, h.Patient, c, h.Seq)
				if c.Seq < h.Seq {
					out = l.skipTo(out, h.Patient, c, h.Position, h.Must)
				}
			}
			if h.Position != c.Position {
				out = l.restart(ctx, out, h.Patient, c)
				continue
			}
			out = append(out, delivery{head: h})
		}
	}
	return out
}

// join begins and ends watches.
func (l *lane) join(ctx context.Context, jobs []job, out []delivery) []delivery {
	var patients []string // not watched before
	for _, j := range jobs {
		if j.attach != nil {
			c := l.cursors[j.attach.patient]
			if c == nil {
				c = &cursor{}
				l.cursors[j.attach.patient] = c
				patients = append(patients, j.attach.patient)
			}
			c.watched++
		}
	}
	if l.lanes.peers != nil {
		l.subscribeTo(patients)
	}
	for chunk := range slices.Chunk(patients, headsMax) {
		heads, err := l.lanes.store.Heads(ctx, chunk)
		if err != nil || len(heads) != len(chunk) {
			l.failed = true
			for _, p := range chunk {
				l.cursors[p].unknown = true
			}
			continue
		}
		for i, p := range chunk {
			c := l.cursors[p]
			c.Position, c.must = heads[i].Position, heads[i].Must
		}
	}
	for _, j := range jobs {
		switch {
		case j.attach != nil:
			c := l.cursors[j.attach.patient]
			out = append(out, delivery{attach: j.attach, head: &Head{Patient: j.attach.patient, Position: c.Position, Must: c.must}})
		case j.detach != nil:
			if c := l.cursors[j.detach.patient]; c != nil {
				if c.watched--; c.watched == 0 {
					delete(l.cursors, j.detach.patient)
					l.lanes.peers.unsubscribe(topic{topicLog, j.detach.patient})
				}
			}
			out = append(out, delivery{detach: j.detach})
		}
	}
	return out
}
