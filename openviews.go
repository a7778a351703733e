package carewire

import (
	"container/heap"
	"slices"
	"strings"
	"time"
)

// openViews find open entries without scanning all of them. Under openIndex.mu.
type openViews struct {
	patients []string // with open entries, in order
	alerts   int
	waiting  byDue                // by the time at which they are due
	ripe     [2 * urgencies]byDue // the alerts whose time has come, by rank
	held     map[string]itemSet   // accepted alerts, by the person who accepted them
	keys     map[string]itemSet
}

type itemSet map[*openItem]bool

func newOpenViews() openViews {
	return openViews{held: make(map[string]itemSet), keys: make(map[string]itemSet)}
}

// add adds an open item; first reports that its patient had none.
func (v *openViews) add(o *openItem, first bool) {
	if first {
		at, _ := slices.BinarySearch(v.patients, o.Patient)
		v.patients = slices.Insert(v.patients, at, o.Patient)
	}
	include(v.keys, o.Key, o)
	if o.Kind == KindAlert {
		v.alerts++
	}
	if o.alert == nil {
		return
	}
	if by := o.holder(); by != "" {
		include(v.held, by, o)
	}
	if !o.Due.IsZero() {
		heap.Push(&v.waiting, o)
	}
}

// remove removes an item; last reports that its patient has no other.
func (v *openViews) remove(o *openItem, last bool) {
	if last {
		if at, ok := slices.BinarySearch(v.patients, o.Patient); ok {
			v.patients = slices.Delete(v.patients, at, at+1)
		}
	}
	exclude(v.keys, o.Key, o)
	if o.Kind == KindAlert {
		v.alerts--
	}
	if o.alert == nil {
		return
	}
	exclude(v.held, o.holder(), o)
	switch {
	case o.ripe:
		heap.Remove(&v.ripe[o.rank()], o.place)
	case !o.Due.IsZero():
		heap.Remove(&v.waiting, o.place)
	}
}

// due calls f with the alerts that are due by now, the most urgent first, and
// of these the ones of which nobody was told, until f returns false. Within a
// rank they come in the order of the heap, which is not quite that of time.
func (v *openViews) due(now time.Time, f func(*openItem) bool) {
	for len(v.waiting) > 0 && !v.waiting[0].Due.After(now) {
		o := heap.Pop(&v.waiting).(*openItem)
		o.ripe = true
		heap.Push(&v.ripe[o.rank()], o)
	}
	for _, items := range slices.Backward(v.ripe[:]) {
		for _, o := range items {
			if !o.Due.After(now) && !f(o) { // the clock may have been set back
				return
			}
		}
	}
}

// rank is the place of an alert's priority and newness among those of others.
func (o *openItem) rank() int {
	if o.alert.untold() {
		return 2*o.urgency + 1
	}
	return 2 * o.urgency
}

// untold reports whether nobody was told of a yet.
func (a *Alert) untold() bool { return a.Escalation.Level == 0 }

// holder is the person who has accepted an alert; "": nobody.
func (o *openItem) holder() string {
	if o.alert == nil || o.alert.Responsibility.State != ResponsibilityAccepted {
		return ""
	}
	return o.alert.Responsibility.By.ID
}

func include(sets map[string]itemSet, key string, o *openItem) {
	if sets[key] == nil {
		sets[key] = make(itemSet)
	}
	sets[key][o] = true
}

func exclude(sets map[string]itemSet, key string, o *openItem) {
	if delete(sets[key], o); len(sets[key]) == 0 {
		delete(sets, key)
	}
}

// byDue is a heap of items by their Due.
type byDue []*openItem

func (h byDue) Len() int           { return len(h) }
func (h byDue) Less(i, j int) bool { return h[i].Due.Before(h[j].Due) }
func (h byDue) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].place, h[j].place = i, j
}

func (h *byDue) Push(o any) {
	o.(*openItem).place = len(*h)
	*h = append(*h, o.(*openItem))
}

func (h *byDue) Pop() any {
	last := (*h)[len(*h)-1]
	(*h)[len(*h)-1] = nil
	if *h = (*h)[:len(*h)-1]; len(*h) == 0 {
		*h = nil // a flood leaves no room behind
	}
	return last
}

// holders returns the persons who have accepted open alerts, and the patients
// of these.
func (x *openIndex) holders() map[string][]string {
	x.mu.Lock()
	defer x.mu.Unlock()
	by := make(map[string][]string)
	for person, of := range x.views.held {
		patients := make(map[string]bool)
		for o := range of {
			if !patients[o.Patient] {
				patients[o.Patient] = true
				by[person] = append(by[person], o.Patient)
			}
		}
	}
	return by
}

// acceptedBy returns the open alerts that somebody has accepted.
func (x *openIndex) acceptedBy(person string) (list []Alert) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for o := range x.views.held[person] {
		list = append(list, *o.alert)
	}
	return list
}

// due returns the alerts of some patients that are due, the most urgent dueMost,
// and those among the stored entries.
func (x *openIndex) due(now time.Time, of func(patient string) bool, stored []Entry) (list []dueEntry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	listed := make(map[*openItem]bool)
	add := func(o *openItem) bool {
		if !listed[o] && of(o.Patient) {
			listed[o] = true
			list = append(list, newDueEntry(&o.Entry, o.alert))
		}
		return len(list) < dueMost
	}
	x.views.due(now, add)
	for i := range stored {
		e := &stored[i]
		o := x.items[e.Patient][e.Key]
		if o == nil || o.Rev < e.Rev { // a timer, or the index is behind the Store
			o = newOpenItem(*e)
		}
		switch {
		case o.alert == nil:
			list = append(list, dueEntry{Entry: e, urgency: PriorityLow.rank()})
		case !o.Due.IsZero() && !o.Due.After(now):
			add(o)
		}
	}
	return list
}

// count returns how many alerts are open, and how many have been due since before t.
func (x *openIndex) count(t time.Time) (open, overdue int) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.views.due(t, func(o *openItem) bool {
		if o.Due.Before(t) {
			overdue++
		}
		return true
	})
	return x.views.alerts, overdue
}

// withKey returns the open entries with a key, of all patients.
func (x *openIndex) withKey(key string) (list []Entry) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for o := range x.views.keys[key] {
		list = append(list, o.Entry)
	}
	return list
}

// patients returns the patients with open entries, in order.
func (x *openIndex) patients() []string {
	x.mu.Lock()
	defer x.mu.Unlock()
	return slices.Clone(x.views.patients)
}

// page returns a limited number of open entries behind a cursor, by patient and
// then by key, of the given patients, which are in order; nil: of all.
func (x *openIndex) page(patients []string, after string, most int) (list []*openItem) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if patients == nil {
		patients = x.views.patients
	}
	patient, key := cutCursor(after)
	at, _ := slices.BinarySearch(patients, patient)
	for _, p := range patients[at:] {
		from := len(list)
		for _, o := range x.items[p] {
			if !o.hidden() && (p != patient || o.Key > key) {
				list = append(list, o)
			}
		}
		slices.SortFunc(list[from:], func(a, b *openItem) int { return strings.Compare(a.Key, b.Key) })
		if len(list) >= most {
			return list[:most]
		}
	}
	return list
}
