package carewire

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"time"
)

// openKey names an open entry.
type openKey struct{ patient, key string }

// An index holds all open alerts and notices, as they are in the Store. It
// follows Store.Changed, and what this Hub itself appends is noted at once.
type index struct {
	mu     sync.Mutex
	open   map[openKey]Entry
	alerts map[string]int                  // how many are open, by patient
	to     map[string]map[openKey]struct{} // by whom they are addressed to
	read   map[openKey]map[string]bool     // of open notices: the addressees who have read them
	ended  map[openKey]tombstone           // closed not long ago, lest an older revision open them again
	news   []Entry                         // to be delivered to inboxes
	wake   chan struct{}                   // there is news
	due    chan struct{}                   // something is due now

}

type tombstone struct {
	rev uint64
	at  time.Time
}

func (x *index) init() {
	x.open, x.to, x.ended = make(map[openKey]Entry), make(map[string]map[openKey]struct{}), make(map[openKey]tombstone)
	x.alerts = make(map[string]int)
	x.read = make(map[openKey]map[string]bool)
	x.wake, x.due = make(chan struct{}, 1), make(chan struct{}, 1)
}

// note takes a revision in, and reports whether it was new: none or an older one
// was known. A quiet one is no news to inboxes.
func (x *index) note(e Entry, quiet bool) bool {
	if e.Kind != KindAlert && e.Kind != KindNotice {
		return false
	}
	k := openKey{e.Patient, e.Key}
	x.mu.Lock()
	defer x.mu.Unlock()
	old, was := x.open[k]
	if was && old.Rev >= e.Rev || x.ended[k].rev >= e.Rev {
		return false
	}
	if was {
		for _, to := range old.To {
			if delete(x.to[to], k); len(x.to[to]) == 0 {
				delete(x.to, to)
			}
		}
		delete(x.open, k)
		x.tally(e.Kind, e.Patient, -1)
	}
	if e.Open {
		x.open[k] = e
		x.tally(e.Kind, e.Patient, 1)
		for _, to := range e.To {
			if x.to[to] == nil {
				x.to[to] = make(map[openKey]struct{})
			}
			x.to[to][k] = struct{}{}
		}
	} else {
		x.ended[k] = tombstone{e.Rev, time.Now()}
		delete(x.read, k)
	}
	if !quiet && !e.hidden() && len(e.To) > 0 && (was || e.Open) {
		x.news = append(x.news, e)
		signal(x.wake)
	}
	return true
}

// tally counts the open alerts of a patient.
func (x *index) tally(k Kind, patient string, n int) {
	if k != KindAlert {
		return
	}
	if x.alerts[patient] += n; x.alerts[patient] == 0 {
		delete(x.alerts, patient)
	}
}

// alertsOf returns how many alerts of a patient are open.
func (x *index) alertsOf(patient string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.alerts[patient]
}

// has reports whether an entry is open.
func (x *index) has(k openKey) bool {
	_, ok := x.get(k)
	return ok
}

// get returns an entry that is open.
func (x *index) get(k openKey) (e Entry, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, ok = x.open[k]
	return e, ok
}

// noteReading notes that an addressee of a notice has read it.
func (x *index) noteReading(k openKey, to string) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if _, ok := x.open[k]; !ok {
		return
	}
	if x.read[k] == nil {
		x.read[k] = make(map[string]bool)
	}
	x.read[k][to] = true
}

// sweep forgets what closed long ago.
func (x *index) sweep(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, t := range x.ended {
		if now.Sub(t.at) > time.Minute {
			delete(x.ended, k)
		}
	}
}

// kick makes the escalation look at once.
func (x *index) kick() {
	signal(x.due)
}

// all returns every open entry.
func (x *index) all() []Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]Entry, 0, len(x.open))
	for _, e := range x.open {
		list = append(list, e)
	}
	return list
}

// addressed returns the open entries that are addressed to any of keys, by
// time, without notices that were read under that key.
func (x *index) addressed(keys []string) []Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	seen := make(map[openKey]bool)
	var list []Entry
	for _, to := range keys {
		for k := range x.to[addresseeOf(to)] {
			e := x.open[k]
			if !seen[k] && !x.read[k][addresseeOf(to)] && (!strings.HasPrefix(to, selfKey) || to == selfKey+e.Patient) {
				seen[k] = true
				list = append(list, e)
			}
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	return list
}

// count returns how many alerts are open, and how many have been due since before t.
func (x *index) count(t time.Time) (open, overdue int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, e := range x.open {
		if e.Kind == KindAlert {
			open++
			if !e.Due.IsZero() && e.Due.Before(t) {
				overdue++
			}
		}
	}
	return open, overdue
}

// selfKey begins the key under which a patient gets what is addressed to
// "patient" in their own log.
const selfKey = "patient/"

func addresseeOf(key string) string {
	if strings.HasPrefix(key, selfKey) {
		return "patient"
	}
	return key
}

// keys lists the addressees that p is.
func (p *Principal) keys() []string {
	keys := []string{"person:" + p.ID, "role:" + string(p.Role)}
	for _, g := range p.Groups {
		keys = append(keys, "group:"+g)
	}
	if p.Role == RolePatient {
		for _, patient := range p.Patients {
			keys = append(keys, selfKey+patient)
		}
	}
	return keys
}

// follow keeps the index true to the Store, whoever appends.
func (h *Hub) follow() {
	var wake <-chan []string
	if w, ok := h.store.Store.(Waker); ok {
		wake = w.Wake()
	}
	mark := ""
	var once sync.Once
	every := time.NewTicker(time.Second)
	defer every.Stop()
	for {
		for {
			list, next, err := h.store.Changed(h.ctx, mark, 1000)
			if err != nil {
				break
			}
			mark = next
			var foreign []string // patients
			for i := range list {
				if list[i].Kind == KindAccess {
					h.apply(&list[i])
				}
				if h.index.note(list[i], false) {
					foreign = append(foreign, list[i].Patient)
					h.relieveBy(&list[i])
				}
				h.disown(&list[i])
				h.findReadings(&list[i])
			}
			if len(foreign) > 0 {
				h.compare(foreign) // though no wake-up has come
			}
			if len(list) < 1000 {
				once.Do(func() { close(h.loaded) })
				h.index.sweep(time.Now())
				break
			}
		}
		select {
		case <-every.C:
		case patients := <-wake:
			h.compare(patients)
		case <-h.quit:
			return
		}
	}
}

// isLoaded waits until the Hub knows what is open in its Store: before, it
// would let in who was revoked, and show inboxes that lack what is open.
func (h *Hub) isLoaded(ctx context.Context) bool {
	select {
	case <-h.loaded:
		return true
	default:
	}
	patience := time.NewTimer(h.opt.CallTimeout)
	defer patience.Stop()
	select {
	case <-h.loaded:
		return true
	case <-patience.C:
	case <-ctx.Done():
	case <-h.quit:
	}
	return false
}

// findReadings finds out who has read a notice, as others have noted it.
func (h *Hub) findReadings(e *Entry) {
	if e.Kind == KindReceipt {
		if notice, to, ok := strings.Cut(strings.TrimPrefix(e.Key, "r/"), "/"); ok {
			h.index.noteReading(openKey{e.Patient, "n/" + notice}, to)
		}
	}
	if e.Kind != KindNotice || !e.Open {
		return
	}
	h.insist(h.ctx, "readings/"+e.Patient+"/"+e.Key, func(ctx context.Context) error {
		for _, to := range e.To {
			switch _, err := h.store.Get(ctx, e.Patient, "r/"+strings.TrimPrefix(e.Key, "n/")+"/"+to); {
			case err == nil:
				h.index.noteReading(openKey{e.Patient, e.Key}, to)
			case !errors.Is(err, ErrNotFound):
				return unavailable(err)
			}
		}
		return nil
	})
}

// deliverInboxes brings alerts and notices to those they are addressed to who
// do not watch the patient.
func (h *Hub) deliverInboxes() {
	for {
		select {
		case <-h.index.wake:
		case <-h.quit:
			return
		}
		h.index.mu.Lock()
		news := h.index.news
		h.index.news = nil
		h.index.mu.Unlock()
		for i := range news {
			e := &news[i]
			for _, c := range h.addressees(e) {
				if !c.watching(e.Patient) {
					c.bring(*e)
				}
			}
		}
	}
}

// addressees returns the connections of those whom e is addressed to.
func (h *Hub) addressees(e *Entry) []*conn {
	h.mu.Lock()
	defer h.mu.Unlock()
	seen := make(map[*conn]bool)
	var list []*conn
	for _, to := range e.To {
		if to == "patient" {
			to = selfKey + e.Patient
		}
		for c := range h.addressed[to] {
			if !seen[c] {
				seen[c] = true
				list = append(list, c)
			}
		}
	}
	return list
}

const inboxPage = 16 << 10 // bytes of items in one inbox frame

// inbox shows what is addressed to c's principal and open.
func (c *conn) inbox(ctx context.Context) {
	for {
		generation := c.hub.generation.Load()
		shown, undecided := c.entitled(ctx, c.hub.index.addressed(c.who.keys()))
		if c.tell(generation, inboxPages(shown, true)...) {
			if len(undecided) > 0 {
				c.bring(undecided...)
			}
			return
		}
	}
}

// bring puts entries in line for c's inbox. It waits for nothing: whether they
// may be seen can take asking. Of one alert or notice the newest is kept.
func (c *conn) bring(entries ...Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		return
	}
	for _, e := range entries {
		i := slices.IndexFunc(c.news, func(o Entry) bool { return o.Patient == e.Patient && o.Key == e.Key })
		switch {
		case i < 0:
			c.news = append(c.news, e)
		case c.news[i].Rev < e.Rev:
			c.news[i] = e
		}
	}
	if !c.bringing {
		c.bringing = true
		if !c.hub.start(c.takeHome) {
			c.bringing = false
		}
	}
}

// takeHome shows what bring has put in line, until nothing is left. What could
// not be decided is asked for again.
func (c *conn) takeHome() {
	for {
		c.mu.Lock()
		list := c.news
		c.news = nil
		if len(list) == 0 {
			c.bringing = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		generation := c.hub.generation.Load()
		list = slices.DeleteFunc(list, func(e Entry) bool { return c.watching(e.Patient) })
		shown, undecided := c.entitled(c.hub.ctx, list)
		if len(shown) > 0 && !c.tell(generation, inboxPages(shown, false)...) {
			c.bring(shown...)
		}
		if len(undecided) == 0 {
			continue
		}
		c.bring(undecided...)
		select {
		case <-time.After(askAgain):
		case <-c.hub.ctx.Done():
			return
		}
	}
}

// inboxPages puts items into frames. The last one says done.
func inboxPages(items []Entry, done bool) (frames [][]byte) {
	var page []Entry
	size := 0
	for _, e := range items {
		if size+len(e.Data) > inboxPage && len(page) > 0 {
			frames = append(frames, inboxFrame(page, false))
			page, size = nil, 0
		}
		page = append(page, e)
		size += len(e.Data)
	}
	return append(frames, inboxFrame(page, done))
}

// entitled returns those of the entries that c's principal may see, and those
// of which this could not be decided.
func (c *conn) entitled(ctx context.Context, list []Entry) (shown, undecided []Entry) {
	list = slices.DeleteFunc(list, func(e Entry) bool { return e.hidden() || !c.who.sees(&e) })
	var patients []string
	for i := range list {
		if p := list[i].Patient; !slices.Contains(patients, p) && !c.watching(p) {
			patients = append(patients, p)
		}
	}
	rights := c.hub.decide(ctx, c.who, ActionWatch, patients)
	for _, e := range list {
		switch err := rights[e.Patient]; {
		case err == nil:
			shown = append(shown, e)
		case !errors.Is(err, ErrForbidden):
			undecided = append(undecided, e)
		}
	}
	return shown, undecided
}
