package carewire

import (
	"cmp"
	"container/heap"
	"context"
	"errors"
	"slices"
	"sync"
	"time"
)

const (
	inboxPage  = 16 << 10 // bytes of items in one inbox frame
	inboxAhead = 32 << 10 // bytes that may wait for the client before another page is made
)

// An inboxFeed shows one client the open entries that are addressed to its
// principal: first all of them, then changes. It makes the next page when the
// client has taken the last one, so an inbox of any size arrives, and needs
// only the memory for a list of the remaining entries. The most urgent entry
// goes first. If an alert or notice changes meanwhile, only its newest state is
// shown.
type inboxFeed struct {
	conn *conn

	mu         sync.Mutex
	running    bool                  // run is running, or begin
	ended      bool                  // nothing more is shown
	collecting bool                  // all that is open is to be listed
	done       bool                  // the frame that says done is out
	generation uint64                // of access, when it was decided whose items are in list
	list       []*openItem           // entries open at the beginning and not shown yet, the next one last
	news       map[openKey]*openItem // later entries, not shown yet
	order      urgencyHeap           // the items of list, or older states of it, by urgency
	undecided  []*openItem           // entries without a decision
	asking     bool                  // they are to be asked for again

	// The last result of count.
	stamps    []uint64
	counted   int
	countedAt int64  // in ticks; 0: never
	countedOf uint64 // the generation
}

// byUrgency orders the most urgent first, then the newest.
func byUrgency(a, b *openItem) int {
	return cmp.Or(cmp.Compare(b.urgency, a.urgency), b.Time.Compare(a.Time))
}

// An urgencyHeap has the most urgent on top.
type urgencyHeap []*openItem

func (h urgencyHeap) Len() int           { return len(h) }
func (h urgencyHeap) Less(i, j int) bool { return byUrgency(h[i], h[j]) < 0 }
func (h urgencyHeap) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }

// Push is for container/heap.
func (h *urgencyHeap) Push(x any) { *h = append(*h, x.(*openItem)) }

// Pop is for container/heap.
func (h *urgencyHeap) Pop() any {
	last := len(*h) - 1
	x := (*h)[last]
	(*h)[last] = nil
	*h = (*h)[:last]
	return x
}

// begin shows all that is open from the start: as much as the client's outbox has
// room for before it returns, and the rest as the client takes it.
func (f *inboxFeed) begin() {
	f.mu.Lock()
	f.collecting = true
	was := f.running
	f.running = true
	f.mu.Unlock()
	if was {
		return
	}
	for f.conn.out.hasReplyRoom(inboxAhead) {
		if !f.sendPage() {
			return
		}
	}
	f.start()
}

// push shows items that are new or have changed. It waits for nothing.
func (f *inboxFeed) push(items ...*openItem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.ended {
		return
	}
	if f.news == nil {
		f.news = make(map[openKey]*openItem)
	}
	for _, item := range items {
		k := openKey{item.Patient, item.Key}
		old := f.news[k]
		if old != nil && old.Rev >= item.Rev {
			continue
		}
		f.news[k] = item
		if old == nil || item.urgency > old.urgency {
			heap.Push(&f.order, item)
		}
	}
	if !f.running && len(f.news) > 0 {
		f.running = true
		f.start()
	}
}

func (f *inboxFeed) start() { f.conn.hub.start(f.run) }

// end forgets the items that are still to be shown.
func (f *inboxFeed) end() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.ended = true
	f.list, f.news, f.order, f.undecided = nil, nil, nil, nil
}

// run shows the remaining items, at the client's pace.
func (f *inboxFeed) run() {
	for f.conn.out.waitForRoom(f.conn.hub.ctx, inboxAhead) && f.sendPage() {
	}
}

// sendPage makes the next page. It reports false if nothing is left.
func (f *inboxFeed) sendPage() bool {
	c := f.conn
	generation := c.generation()
	f.mu.Lock()
	switch {
	case f.ended:
		f.mu.Unlock()
		return false
	case f.collecting:
		f.mu.Unlock()
		f.collect(generation)
		return true
	case f.done && len(f.list)+len(f.news) == 0:
		f.running = false
		f.order = nil
		f.mu.Unlock()
		return false
	}
	news, old := f.nextPage()
	done, decided := !f.done && len(f.list) == 0, f.generation == generation
	f.mu.Unlock()
	ask, shown := f.unwatched(news), old
	if !decided {
		ask, shown = append(ask, old...), nil
	}
	allowed, undecided := f.entitled(ask)
	shown = slices.Concat(shown, allowed) // old is pushed back, as it is, if the page is not sent
	slices.SortFunc(shown, byUrgency)
	if len(shown) > 0 || done {
		entries := make([]Entry, len(shown))
		for i := range shown {
			entries[i] = shown[i].Entry
		}
		if !c.sendDecided(generation, inboxFrame(c.hub.shownTo(c.hub.ctx, c.principal(), entries), done)) {
			f.push(slices.Concat(news, old)...)
			return true
		}
	}
	f.mu.Lock()
	f.done = f.done || done
	f.mu.Unlock()
	f.askLater(undecided)
	return true
}

// collect lists the open entries that may be seen.
func (f *inboxFeed) collect(generation uint64) {
	c := f.conn
	keys := c.principal().keys()
	patients, undecided := f.patients(c.hub.open.patientsTo(keys))
	list := c.hub.open.itemsTo(keys, patients)
	f.askLater(c.hub.open.itemsTo(keys, undecided))
	slices.Reverse(list)
	f.mu.Lock()
	defer f.mu.Unlock()
	f.collecting, f.done, f.list, f.generation = false, false, list, generation
}

// nextPage takes the next page: the most urgent of the new entries and of the
// initial ones, in their present state. Under f.mu.
func (f *inboxFeed) nextPage() (news, old []*openItem) {
	open := f.conn.hub.open
	for size := 0; size < inboxPage; {
		for len(f.order) > 0 && f.news[openKey{f.order[0].Patient, f.order[0].Key}] == nil {
			heap.Pop(&f.order) // it has been shown in a newer state
		}
		last := len(f.list) - 1
		var item *openItem
		switch {
		case len(f.order) > 0 && (last < 0 || f.order[0].urgency >= f.list[last].urgency):
			k := openKey{f.order[0].Patient, f.order[0].Key}
			item = f.news[k]
			if size > 0 && size+len(item.Data) > inboxPage {
				return news, old
			}
			heap.Pop(&f.order)
			delete(f.news, k)
			news = append(news, item)
		case last >= 0:
			item = open.get(openKey{f.list[last].Patient, f.list[last].Key})
			if item == nil || !f.conn.principal().sees(&item.Entry) {
				f.list = f.list[:last]
				continue
			}
			if size > 0 && size+len(item.Data) > inboxPage {
				return news, old
			}
			f.list = f.list[:last]
			old = append(old, item)
		default:
			return news, old
		}
		size += len(item.Data)
	}
	return news, old
}

// unwatched returns the items that are addressed to the client's principal and that no
// watch shows.
func (f *inboxFeed) unwatched(items []*openItem) []*openItem {
	c := f.conn
	return slices.DeleteFunc(slices.Clone(items), func(i *openItem) bool { return i.hidden() || !c.principal().sees(&i.Entry) || c.watching(i.Patient) })
}

// entitled returns the items that the client's principal may see, and the items
// without a decision.
func (f *inboxFeed) entitled(items []*openItem) (shown, undecided []*openItem) {
	var patients []string
	for _, i := range items {
		if !slices.Contains(patients, i.Patient) {
			patients = append(patients, i.Patient)
		}
	}
	allowed, unsure := f.patients(patients)
	for _, i := range items {
		if slices.Contains(allowed, i.Patient) {
			shown = append(shown, i)
		} else if slices.Contains(unsure, i.Patient) {
			undecided = append(undecided, i)
		}
	}
	return shown, undecided
}

// patients returns the patients that the client's principal may watch, and
// those without a decision. Watched patients need no question.
func (f *inboxFeed) patients(list []string) (allowed, undecided []string) {
	c := f.conn
	var ask []string
	for _, p := range list {
		if c.watching(p) {
			allowed = append(allowed, p)
		} else {
			ask = append(ask, p)
		}
	}
	rights := c.hub.access.decide(c.hub.ctx, c.principal(), ActionWatch, ask)
	for _, p := range ask {
		if err := rights[p]; err == nil {
			allowed = append(allowed, p)
		} else if !errors.Is(err, ErrForbidden) {
			undecided = append(undecided, p)
		}
	}
	return allowed, undecided
}

// askLater brings items again a little later.
func (f *inboxFeed) askLater(items []*openItem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(items) == 0 || f.ended {
		return
	}
	f.undecided = append(f.undecided, items...)
	if f.asking {
		return
	}
	f.asking = f.conn.hub.start(func() {
		select {
		case <-time.After(askAgain):
		case <-f.conn.hub.quit:
		}
		f.mu.Lock()
		items := f.undecided
		f.undecided, f.asking = nil, false
		f.mu.Unlock()
		f.push(items...)
	})
}

// count returns how many items are open for the client's principal. It counts
// again only when something has come or gone, when access may have, and every
// Options.Recheck.
func (f *inboxFeed) count(ctx context.Context) int {
	c := f.conn
	keys, now := c.principal().keys(), c.hub.ticks()
	stamps, generation := c.hub.open.stamps(keys), c.generation()
	f.mu.Lock()
	known := f.countedAt != 0 && f.countedOf == generation && slices.Equal(f.stamps, stamps) && time.Duration(now-f.countedAt) < c.hub.opt.Recheck
	n := f.counted
	f.mu.Unlock()
	if known {
		return n
	}
	patients, undecided := f.patients(c.hub.open.patientsTo(keys))
	n = c.hub.open.countTo(keys, patients)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(undecided) == 0 {
		f.stamps, f.counted, f.countedAt, f.countedOf = stamps, n, now, generation
	}
	return n
}
