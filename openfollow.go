package carewire

import (
	"sync"
	"time"
)

// A storeFollower keeps an openIndex in step with the members of a Store, each
// by itself.
type storeFollower struct {
	*openIndex
	handle  func(e *Entry, isNew bool)
	compare func(patients []string)
	mu      sync.Mutex     // held while a page is taken in
	missing sync.WaitGroup // the members that the index is not yet without
}

// withoutAfter is how long the Hub lets nobody in for a member that does not answer
// at the start, other than the one that has the system's log.
const withoutAfter = 5 * time.Second

// follow keeps the index in step with one member. The index is loaded when each
// member has been read once. It does not wait for a member that fails or is
// slow, unless that member has the system's log with the revocations; its open
// entries come later.
func (f *storeFollower) follow(member int, news <-chan struct{}) {
	var once sync.Once
	loaded := func() { once.Do(f.missing.Done) }
	defer loaded()
	if member != f.store.memberOf(SystemPatient) {
		t := time.AfterFunc(withoutAfter, loaded)
		defer t.Stop()
	}
	every := time.NewTicker(time.Second)
	defer every.Stop()
	mark := ""
	for {
		var done bool
		if mark, done = f.catchUp(member, mark); done || member != f.store.memberOf(SystemPatient) {
			loaded()
		}
		select {
		case <-every.C:
		case <-news:
		case <-f.quit:
			return
		}
	}
}

// catchUp takes in a member's changes since mark. It reports whether there are
// no more.
func (f *storeFollower) catchUp(member int, mark string) (next string, done bool) {
	const page = 1000
	for {
		list, next, err := f.store.changedOf(f.ctx, member, mark, page)
		if err != nil {
			return mark, false
		}
		mark = next
		f.take(list)
		f.findReadings(list)
		if len(list) < page {
			f.sweep(time.Now())
			return mark, true
		}
	}
}

// take takes in a page.
func (f *storeFollower) take(list []Entry) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var foreign []string // patients
	for i := range list {
		e := &list[i]
		isNew := f.noteRevision(*e, false)
		if isNew {
			foreign = append(foreign, e.Patient)
		}
		f.handle(e, isNew)
	}
	if len(foreign) > 0 {
		f.compare(foreign) // though no wake-up has come
	}
}
