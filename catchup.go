package carewire

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"
)

// undroppable are the kinds that every watcher is owed; smallEvents are those without
// the strips.
var (
	smallEvents = []Kind{KindAlert, KindNotice, KindReceipt, KindAccess}
	undroppable = append(smallEvents, KindStrip)
)

const (
	pageSize  = 200      // entries read at a time
	pageBytes = 32 << 10 // bytes of a page that is made of the newest state, about
)

// A catchup is one reading of a patient's log for one client, from where the
// client stands up to where the log ended when the reading began.
type catchup struct {
	target    Head
	kinds     []Kind  // kinds that are read one by one; nil: all
	first     []Entry // of the newest state: those still to be shown before anything is read
	vitals    []Entry // the newest of each key, where not all are read: those still to be merged in, in order
	joining   bool    // begins with a sync frame and ends with a synced one
	recovered bool    // as the first frames say
}

// holds reports whether c holds entries in memory.
func (c *catchup) holds() bool { return c != nil && len(c.first)+len(c.vitals) > 0 }

// catchUp reads the next page of the events that w is owed from the Store, for
// the writer. It reads one page at a time, and none while much of the last is
// unwritten: the client's own pace decides how much is read for it.
func (o *outbox) catchUp(w *watch) {
	b, err := w.nextPage(o.shared.ctx)
	if err != nil {
		o.shared.stats.readErrors.Add(1)
		select { // the Store fails: the client is told by status, and this goes on later
		case <-time.After(time.Second):
		case <-o.shared.ctx.Done():
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.reads, w.fetched = false, false
	if !w.ended && !o.done && o.closing == nil {
		w.page = b
		o.read += len(b)
		o.schedule(w, w.owes())
		o.start()
	}
	o.fetch()
}

// nextPage returns the frames of w's next page, and ends the reading with the last.
func (w *watch) nextPage(ctx context.Context) ([]byte, error) {
	o := w.out
	var b []byte
	o.mu.Lock()
	if w.again {
		w.again, w.catch = false, nil
	}
	o.mu.Unlock()
	if w.catch == nil {
		begun, err := w.begin(ctx)
		if err != nil {
			return nil, err
		}
		b = begun
	}
	c := w.catch
	if b = w.showFirst(b); len(c.first) > 0 {
		return b, nil
	}
	more := false
	if w.cursor.Seq < c.target.Seq {
		entries, err := o.shared.asked.read(ctx, w.urgency(), w.patient, w.cursor, ReadQuery{Kinds: c.kinds, Limit: pageSize})
		if errors.Is(err, ErrGap) { // pruned meanwhile
			w.catch = nil
			o.mu.Lock()
			w.since, w.live = nil, false
			o.mu.Unlock()
			return b, nil
		}
		if err != nil {
			return b, err
		}
		more = len(entries) == pageSize
		for i := range entries {
			e := &entries[i]
			if e.Seq > c.target.Seq {
				more = false
				break
			}
			if b = w.merge(b, e.Seq); c.merges(e.Seq) {
				return b, nil
			}
			b = w.show(b, e)
			w.cursor = e.Position
		}
	}
	if more {
		return b, nil
	}
	if b = w.merge(b, c.target.Seq); c.merges(c.target.Seq) {
		return b, nil
	}
	w.cursor = c.target.Position
	w.catch = nil
	o.mu.Lock()
	defer o.mu.Unlock()
	if w.again {
		return b, nil
	}
	w.reading = w.upTo.Seq > w.cursor.Seq // the queue has overflowed meanwhile
	if c.joining {
		w.live = true
		w.wrote = o.shared.clock.ticks()
		b = append(b, syncFrame(EventSynced, w.patient, w.cursor, c.target.Must, c.recovered)...)
	}
	return b, nil
}

// begin decides where reading for w begins, and sets w.catch. It returns the
// first frames: sync, and a whole snapshot if w cannot resume. A client that is
// more than Options.MaxReplay behind gets the newest vitals only, and sync says
// so.
func (w *watch) begin(ctx context.Context) ([]byte, error) {
	o := w.out
	o.mu.Lock()
	since, live := w.since, w.live
	o.mu.Unlock()
	entries, latest, err := o.shared.asked.latest(ctx, w.urgency(), w.patient)
	if err != nil {
		return nil, err
	}
	c := &catchup{target: latest, kinds: undroppable, joining: !live, recovered: true}
	from := w.cursor
	if !live {
		if since == nil || !latest.holds(*since) {
			return w.beginSnapshot(entries, latest), nil
		}
		from = *since
	} else if from.Epoch != latest.Epoch && from.Seq > 0 && !latest.holds(from) {
		return w.beginSnapshot(entries, latest), nil
	}
	behind := false
	if w.delivery == DeliverEvery {
		if behind = latest.Seq-from.Seq > uint64(o.shared.opt.MaxReplay); !behind {
			c.kinds = nil
		}
	}
	if _, err := o.shared.asked.read(ctx, w.urgency(), w.patient, from, ReadQuery{Kinds: c.kinds, Limit: 1}); errors.Is(err, ErrGap) {
		return w.beginSnapshot(entries, latest), nil
	} else if err != nil {
		return nil, err
	}
	var b []byte
	if behind {
		o.shared.stats.skipped.Add(1)
		c.joining, c.recovered = true, false
	}
	if c.joining {
		b = syncFrame(EventSync, w.patient, latest.Position, latest.Must, c.recovered)
	}
	for i := range entries {
		e := &entries[i]
		switch {
		case e.hidden():
		case e.Seq <= from.Seq:
			if behind && o.sees(e) { // the client begins anew
				c.first = append(c.first, *e)
			}
		case e.Kind == KindVital && (behind || w.delivery == DeliverLatest):
			c.vitals = append(c.vitals, *e)
		}
	}
	sortFirst(c.first)
	w.cursor, w.catch = from, c
	return b, nil
}

// urgency is that of reading for w: something undroppable goes before vitals.
func (w *watch) urgency() int {
	w.out.mu.Lock()
	defer w.out.mu.Unlock()
	switch w.rank {
	case rankHigh:
		return PriorityHigh.rank()
	case rankVital:
		return PriorityInfo.rank()
	}
	return PriorityMedium.rank()
}

// beginSnapshot returns sync with recovered false. The newest vitals and all open
// entries follow.
func (w *watch) beginSnapshot(entries []Entry, latest Head) []byte {
	entries = slices.DeleteFunc(entries, func(e Entry) bool {
		return e.Kind == KindVital && w.delivery == DeliverAlerts || e.hidden() || !w.out.sees(&e)
	})
	sortFirst(entries)
	w.cursor = latest.Position
	w.catch = &catchup{target: latest, first: entries, joining: true}
	return syncFrame(EventSync, w.patient, latest.Position, latest.Must, false)
}

// sortFirst orders entries of the newest state: alerts, the most urgent first,
// then other open entries, then vitals; equals stay in the order of the log.
func sortFirst(entries []Entry) {
	rank := make(map[uint64]int, len(entries))
	for i := range entries {
		if e := &entries[i]; e.Kind == KindAlert {
			rank[e.Seq] = 1 + newOpenItem(*e).urgency
		} else if e.Kind == KindVital {
			rank[e.Seq] = -1
		}
	}
	slices.SortStableFunc(entries, func(a, b Entry) int { return cmp.Compare(rank[b.Seq], rank[a.Seq]) })
}

// showFirst appends a page of the entries that are shown before anything is read.
func (w *watch) showFirst(b []byte) []byte {
	c := w.catch
	for len(c.first) > 0 && len(b) < pageBytes {
		b = w.show(b, &c.first[0])
		c.first = c.first[1:]
	}
	return b
}

// merge appends the vitals that stand before the given number, as many as a page
// holds.
func (w *watch) merge(b []byte, before uint64) []byte {
	c := w.catch
	for c.merges(before) && len(b) < pageBytes {
		b = append(b, eventFrame(&c.vitals[0])...)
		w.out.shared.stats.out.Add(1)
		c.vitals = c.vitals[1:]
	}
	return b
}

// merges reports whether vitals before the given number are still to be merged in.
func (c *catchup) merges(before uint64) bool { return len(c.vitals) > 0 && c.vitals[0].Seq <= before }

// show appends the frame in which w's client gets e, if any.
func (w *watch) show(b []byte, e *Entry) []byte {
	w.out.shared.stats.out.Add(1)
	if e.hidden() || !w.out.sees(e) {
		return append(b, gapFrame(e)...)
	}
	return append(b, eventFrame(e)...)
}

// holds reports whether p is a position of the log that h heads: in one of its
// epochs, and not beyond the last number written in it.
func (h *Head) holds(p Position) bool {
	if p == (Position{}) {
		return true
	}
	for _, e := range h.Epochs {
		if e.Epoch == p.Epoch {
			return p.Seq <= e.Seq
		}
	}
	return false
}
