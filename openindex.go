package carewire

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"
)

// openKey names an open entry.
type openKey struct{ patient, key string }

// An openIndex holds all open alerts and notices, as they are in the Store. It
// follows Store.Changed, and what this Hub itself appends is noted at once.
type openIndex struct {
	*background
	store  *guardedStore
	loaded chan struct{} // closed when it has been read for the first time
	wake   chan struct{} // there is news
	kicked chan struct{} // something is due now

	mu      sync.Mutex
	open    map[openKey]*openEntry
	ids     map[string]openKey              // open alerts by their IDs
	alerts  map[string]int                  // how many are open, by patient
	trouble map[troubleKey]int              // how many open alerts cannot be told as they should be
	to      map[string]map[openKey]struct{} // by whom they are addressed to
	read    map[openKey]map[string]bool     // of open notices: the addressees who have read them
	ended   map[openKey]tombstone           // closed not long ago, lest an older revision open them again
	news    []Entry                         // to be delivered to inboxes
}

// An openEntry is an entry with what the Hub looks at often.
type openEntry struct {
	Entry
	alert *Alert // nil: a notice, or an alert that cannot be read
}

type troubleKey struct {
	rule string
	test bool
}

type tombstone struct {
	rev uint64
	at  time.Time
}

func newOpenIndex(b *background, s *guardedStore) *openIndex {
	return &openIndex{background: b, store: s, loaded: make(chan struct{}), wake: make(chan struct{}, 1), kicked: make(chan struct{}, 1),
		open: make(map[openKey]*openEntry), ids: make(map[string]openKey), trouble: make(map[troubleKey]int), alerts: make(map[string]int), to: make(map[string]map[openKey]struct{}),
		read: make(map[openKey]map[string]bool), ended: make(map[openKey]tombstone)}
}

// run keeps the index true to the Store, whoever appends. It calls took for every revision that is not the Hub's own or that
// it sees for the first time, fresh if it is new to the index, and compare
// with the patients whose logs others may have written to; nil: any.
func (x *openIndex) run(took func(e *Entry, fresh bool), compare func(patients []string)) {
	var wake <-chan []string
	if w, ok := x.store.Store.(Waker); ok {
		wake = w.Wake()
	}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	mark, loaded := "", false
	for {
		var done bool
		if mark, done = x.catchUp(mark, took, compare); done && !loaded {
			loaded = true
			close(x.loaded)
		}
		select {
		case <-every.C:
		case patients := <-wake:
			compare(patients)
		case <-x.quit:
			return
		}
	}
}

// catchUp takes in what has changed since mark. It reports whether that is all.
func (x *openIndex) catchUp(mark string, took func(*Entry, bool), compare func([]string)) (next string, done bool) {
	const page = 1000
	for {
		list, next, err := x.store.Changed(x.ctx, mark, page)
		if err != nil {
			return mark, false
		}
		mark = next
		var foreign []string // patients
		for i := range list {
			e := &list[i]
			fresh := x.note(*e, false)
			if fresh {
				foreign = append(foreign, e.Patient)
			}
			took(e, fresh)
		}
		x.findReadings(list)
		if len(foreign) > 0 {
			compare(foreign) // though no wake-up has come
		}
		if len(list) < page {
			x.sweep(time.Now())
			return mark, true
		}
	}
}

// note takes a revision in, and reports whether it was new: none or an older one
// was known. A quiet one is no news to inboxes.
func (x *openIndex) note(e Entry, quiet bool) bool {
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
		x.tally(old, -1)
	}
	if e.Open {
		o := &openEntry{Entry: e}
		if e.Kind == KindAlert {
			if a, err := decodeAlert(&e); err == nil {
				o.alert = a
			}
		}
		x.open[k] = o
		x.tally(o, 1)
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

// tally counts an open alert, or no longer.
func (x *openIndex) tally(o *openEntry, n int) {
	if o.Kind != KindAlert {
		return
	}
	count(x.alerts, o.Patient, n)
	if o.alert == nil {
		return
	}
	if n > 0 {
		x.ids[o.alert.ID] = openKey{o.Patient, o.Key}
	} else {
		delete(x.ids, o.alert.ID)
	}
	if rule := o.alert.Escalation.trouble; rule != "" && o.Patient != SystemPatient {
		count(x.trouble, troubleKey{rule, o.alert.Test}, n)
	}
}

// count adds n to the number of k, and forgets it at 0.
func count[K comparable](m map[K]int, k K, n int) {
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
	return x.open[k].alert.Ref(), true
}

// acceptedBy returns the open alerts that somebody has accepted.
func (x *openIndex) acceptedBy(person string) (list []Alert) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range x.open {
		if a := o.alert; a != nil && a.Responsibility.State == ResponsibilityAccepted && a.Responsibility.By.ID == person {
			list = append(list, *a)
		}
	}
	return list
}

// due returns the alerts that are due.
func (x *openIndex) due(now time.Time) (list []dueEntry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, o := range x.open {
		if o.alert != nil && !o.Due.IsZero() && !o.Due.After(now) {
			list = append(list, dueEntry{Entry: o.Entry, urgency: o.alert.Priority.rank(), first: o.alert.Escalation.Level == 0})
		}
	}
	return list
}

// alertsOf returns how many alerts of a patient are open.
func (x *openIndex) alertsOf(patient string) int {
	x.mu.Lock()
	defer x.mu.Unlock()
	return x.alerts[patient]
}

// get returns an entry that is open.
func (x *openIndex) get(k openKey) (e Entry, ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	o, ok := x.open[k]
	if !ok {
		return Entry{}, false
	}
	return o.Entry, true
}

// noteReading notes that an addressee of a notice has read it.
func (x *openIndex) noteReading(k openKey, to string) {
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

// takeNews returns what is to be delivered to inboxes.
func (x *openIndex) takeNews() []Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	news := x.news
	x.news = nil
	return news
}

// sweep forgets what closed long ago.
func (x *openIndex) sweep(now time.Time) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, t := range x.ended {
		if now.Sub(t.at) > time.Minute {
			delete(x.ended, k)
		}
	}
}

// kick makes the escalation look at once.
func (x *openIndex) kick() { signal(x.kicked) }

// all returns every open entry.
func (x *openIndex) all() []Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	list := make([]Entry, 0, len(x.open))
	for _, o := range x.open {
		list = append(list, o.Entry)
	}
	return list
}

// of returns the open entries of a patient.
func (x *openIndex) of(patient string) (list []Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, o := range x.open {
		if k.patient == patient {
			list = append(list, o.Entry)
		}
	}
	return list
}

// addressed returns the open entries that are addressed to any of keys, by
// time, without notices that were read under that key.
func (x *openIndex) addressed(keys []string) []Entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	seen := make(map[openKey]bool)
	var list []Entry
	for _, to := range keys {
		for k := range x.to[addresseeOf(to)] {
			e := x.open[k]
			if !seen[k] && !x.read[k][addresseeOf(to)] && (!strings.HasPrefix(to, selfKey) || to == selfKey+e.Patient) {
				seen[k] = true
				list = append(list, e.Entry)
			}
		}
	}
	slices.SortFunc(list, func(a, b Entry) int { return a.Time.Compare(b.Time) })
	return list
}

// count returns how many alerts are open, and how many have been due since before t.
func (x *openIndex) count(t time.Time) (open, overdue int) {
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

const keysAtOnce = 1000 // keys that the Store is asked for

// findReadings finds out who has read notices, as others have noted it.
func (x *openIndex) findReadings(list []Entry) {
	var keys []StateKey
	for i := range list {
		e := &list[i]
		x.noteReceipt(e)
		if e.Kind != KindNotice || !e.Open {
			continue
		}
		for _, to := range e.To {
			keys = append(keys, StateKey{e.Patient, "r/" + strings.TrimPrefix(e.Key, "n/") + "/" + to})
		}
	}
	for some := range slices.Chunk(keys, keysAtOnce) {
		x.insist(x.ctx, "readings/"+some[0].Patient+"/"+some[0].Key, func(ctx context.Context) error {
			found, err := x.store.states(ctx, some)
			if err != nil {
				return unavailable(err)
			}
			for i := range found {
				x.noteReceipt(&found[i])
			}
			return nil
		})
	}
}

// noteReceipt takes down who has read a notice.
func (x *openIndex) noteReceipt(e *Entry) {
	if e.Kind != KindReceipt {
		return
	}
	if notice, to, ok := strings.Cut(strings.TrimPrefix(e.Key, "r/"), "/"); ok {
		x.noteReading(openKey{e.Patient, "n/" + notice}, to)
	}
}
