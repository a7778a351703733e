package carewire

import (
	"slices"
	"strings"
	"sync"
	"time"
)

// openKey names an open entry.
type openKey struct{ patient, key string }

// An openIndex holds all open alerts and notices of the Store. It follows
// Store.Changed, and notes this Hub's own entries at once.
type openIndex struct {
	*background
	store  *guardedStore
	loaded chan struct{} // closed when it has been read for the first time
	wake   chan struct{} // there is news

	mu          sync.Mutex
	items       map[string]map[string]*openItem // by patient and key
	views       openViews
	ids         map[string]openKey     // open alerts by their IDs
	alerts      map[string]int         // how many are open, by patient
	silent      map[string]int         // the same of alerts that a device is silent
	alertCounts map[fromKey]int        // how many alerts are open, by patient (and of all), leading source, priority and test
	trouble     map[troubleKey]int     // how many open alerts cannot be told as they should be
	notices     map[correspondence]int // how many notices are open, by sender and addressee (and to all)
	addressees  map[string]*addressee
	stamp       uint64                      // the last stamp given to an addressee
	read        map[openKey]map[string]bool // of open notices: the addressees who have read them
	ended       map[openKey]tombstone       // closed recently; an older revision must not open them again
	news        []*openItem                 // to be delivered to inboxes
}

// An openItem is one revision of an entry that is or was open, with the fields
// that the Hub looks at often. It is immutable, but for place and ripe.
type openItem struct {
	Entry
	alert   *Alert // nil: a notice, or an alert that cannot be read
	urgency int    // by which inboxes are in order
	place   int    // openViews's
	ripe    bool   // its time has come
}

func newOpenItem(e Entry) *openItem {
	o := &openItem{Entry: e}
	if e.Kind == KindAlert {
		if a, err := decodeAlert(&e); err == nil {
			o.alert, o.urgency = a, a.Priority.rank()
		}
	}
	return o
}

type troubleKey struct {
	rule string
	test bool
}

type tombstone struct {
	rev   uint64
	ended time.Time
}

func newOpenIndex(b *background, s *guardedStore) *openIndex {
	return &openIndex{background: b, store: s, loaded: make(chan struct{}), wake: make(chan struct{}, 1),
		items: make(map[string]map[string]*openItem), views: newOpenViews(), notices: make(map[correspondence]int), ids: make(map[string]openKey), trouble: make(map[troubleKey]int), alertCounts: make(map[fromKey]int), alerts: make(map[string]int), silent: make(map[string]int), addressees: make(map[string]*addressee),
		read: make(map[openKey]map[string]bool), ended: make(map[openKey]tombstone)}
}

// run keeps the index in step with the Store, for writes of every node. It
// calls handle, never twice at the same time, for every revision that is not the
// Hub's own or that it sees for the first time, with isNew set if the revision
// is new to the index. It calls compare with the patients whose logs other
// nodes have written to, and hint with those that a Waker names; nil means any.
// told, if it is not nil, receives the members of the Store that have news; a
// Waker's wake-ups are then no reason to ask for them.
func (x *openIndex) run(handle func(e *Entry, isNew bool), compare, hint func(patients []string), told <-chan []int) {
	f := &storeFollower{openIndex: x, handle: handle, compare: compare}
	f.missing.Add(len(x.store.members))
	var news []chan struct{}
	for i := range x.store.members {
		n := make(chan struct{}, 1)
		news = append(news, n)
		x.start(func() { f.follow(i, n) })
	}
	x.start(func() {
		f.missing.Wait()
		close(x.loaded)
	})
	var wake <-chan []string
	if w, ok := x.store.Store.(Waker); ok {
		wake = w.Wake()
	}
	for {
		select {
		case patients := <-wake:
			hint(patients)
			for i := 0; i < len(news) && told == nil; i++ {
				signal(news[i])
			}
		case members := <-told:
			for _, m := range members {
				if m < len(news) {
					signal(news[m])
				}
			}
		case <-x.quit:
			return
		}
	}
}

// noteRevision takes a revision in, and reports whether it was new: none or an older one
// was known. A quiet one is no news to inboxes.
func (x *openIndex) noteRevision(e Entry, quiet bool) bool {
	if e.Kind != KindAlert && e.Kind != KindNotice {
		return false
	}
	k, item := openKey{e.Patient, e.Key}, newOpenItem(e)
	x.mu.Lock()
	defer x.mu.Unlock()
	old := x.items[e.Patient][e.Key]
	if old != nil && old.Rev >= e.Rev || x.ended[k].rev >= e.Rev {
		return false
	}
	if old != nil {
		x.remove(old, item)
	}
	if e.Open {
		x.add(item, old)
	} else {
		x.ended[k] = tombstone{e.Rev, time.Now()}
		delete(x.read, k)
	}
	if !quiet && !e.hidden() && len(e.To) > 0 && (old != nil || e.Open) {
		x.news = append(x.news, item)
		signal(x.wake)
	}
	return true
}

// add adds an open entry; old is the entry that it replaces, if any. Under
// x.mu.
func (x *openIndex) add(item, old *openItem) {
	of := x.items[item.Patient]
	if of == nil {
		of = make(map[string]*openItem)
		x.items[item.Patient] = of
	}
	x.views.add(item, len(of) == 0)
	of[item.Key] = item
	x.tally(item, 1)
	if item.hidden() {
		return
	}
	for _, to := range item.To {
		if x.read[openKey{item.Patient, item.Key}][to] {
			continue
		}
		a := x.addressees[to]
		if a == nil {
			a = &addressee{patients: make(map[string]map[string]*openItem)}
			x.addressees[to] = a
		}
		if a.patients[item.Patient] == nil {
			a.patients[item.Patient] = make(map[string]*openItem)
		}
		a.patients[item.Patient][item.Key] = item
		if old == nil || !slices.Contains(old.To, to) {
			x.stampOn(a)
		}
	}
}

// remove removes an item that is over, or replaced by next. Under x.mu.
func (x *openIndex) remove(item, next *openItem) {
	of := x.items[item.Patient]
	if delete(of, item.Key); len(of) == 0 {
		delete(x.items, item.Patient)
	}
	x.views.remove(item, len(of) == 0)
	x.tally(item, -1)
	for _, to := range item.To {
		x.leave(item, to, !next.Open || !slices.Contains(next.To, to))
	}
}

// tally adds an item to the counts, or removes it. Under x.mu.
func (x *openIndex) tally(o *openItem, n int) {
	if o.Kind != KindAlert {
		for _, to := range o.To {
			addCount(x.notices, correspondence{o.Sender, to}, n)
		}
		addCount(x.notices, correspondence{o.Sender, ""}, n)
		return
	}
	addCount(x.alerts, o.Patient, n)
	if strings.HasPrefix(o.Key, silentPrefix) {
		addCount(x.silent, o.Patient, n)
	}
	if o.alert == nil {
		return
	}
	addCount(x.alertCounts, fromKey{o.Patient, o.alert.Source.By, o.alert.Priority, o.alert.Test}, n)
	addCount(x.alertCounts, fromKey{"", o.alert.Source.By, o.alert.Priority, o.alert.Test}, n)
	if n > 0 {
		x.ids[o.alert.ID] = openKey{o.Patient, o.Key}
	} else {
		delete(x.ids, o.alert.ID)
	}
	if rule := o.alert.Escalation.trouble; rule != "" && o.Patient != SystemPatient {
		addCount(x.trouble, troubleKey{rule, o.alert.Test}, n)
	}
}

// addCount adds n to the number of k, and forgets it at 0.
func addCount[K comparable](m map[K]int, k K, n int) {
	if m[k] += n; m[k] == 0 {
		delete(m, k)
	}
}

// troubled returns how many open alerts cannot be told as they should be,
// because of rule.
func (x *openIndex) troubled(rule string, test bool) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.trouble[troubleKey{rule, test}]
}

// byID returns the open alert with an ID.
func (x *openIndex) byID(id string) (ref AlertRef, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	k, ok := x.ids[id]
	if !ok {
		return AlertRef{}, false
	}
	return x.items[k.patient][k.key].alert.Ref(), true
}

// alertsOf returns how many alerts of a patient are open.
func (x *openIndex) alertsOf(patient string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.alerts[patient]
}

// silentPrefix begins the key of an alert that a device is silent.
const silentPrefix = "a/" + noDataRule + "."

// silentOf returns how many silent devices of a patient have an open alert.
func (x *openIndex) silentOf(patient string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.silent[patient]
}

// get returns the open item with a key; nil if there is none.
func (x *openIndex) get(k openKey) *openItem {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.items[k.patient][k.key]
}

// takeNews returns the items to deliver to inboxes.
func (x *openIndex) takeNews() []*openItem {
	x.mu.Lock()
	defer x.mu.Unlock()
	news := x.news
	x.news = nil
	return news
}

// sweep forgets entries that closed long ago.
func (x *openIndex) sweep(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, t := range x.ended {
		if now.Sub(t.ended) > time.Minute {
			delete(x.ended, k)
		}
	}
}

// entriesOf returns the open entries of a patient.
func (x *openIndex) entriesOf(patient string) (list []Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range x.items[patient] {
		list = append(list, o.Entry)
	}
	return list
}
