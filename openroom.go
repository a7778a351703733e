package carewire

// A fromKey names alerts that are counted together: those of one leading source
// and priority, and of one patient ("": of all). Test alerts are counted apart.
type fromKey struct {
	patient, by string
	priority    Priority
	test        bool
}

// A correspondence is a pair of a notice's sender and addressee ("": all of them).
type correspondence struct{ from, to string }

// claimAlert takes a place for an alert that is about to be raised, among the
// open alerts of its source and priority, for the patient and for all. The
// place is given back once the alert has been noted, or has failed.
func (x *openIndex) claimAlert(from fromKey, o *Options) (giveBack func(), ok bool) {
	most := make(map[fromKey]int)
	for _, k := range []fromKey{from, {by: from.by, priority: from.priority, test: from.test}} {
		most[k] = o.alertsMost(k)
	}
	return claimPlace(x, x.alertCounts, most)
}

// claimNotice is claimAlert for a notice from somebody to each of its addressees.
func (x *openIndex) claimNotice(from string, to []string, o *Options) (giveBack func(), ok bool) {
	places := make(map[correspondence]int)
	for _, t := range to {
		places[correspondence{from, t}] = o.MaxNotices
		places[correspondence{from, ""}] = o.MaxSenderNotices
	}
	return claimPlace(x, x.notices, places)
}

// claimPlace takes a place of each key of most, unless there are as many as that says.
func claimPlace[K comparable](x *openIndex, counts, most map[K]int) (giveBack func(), ok bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, n := range most {
		if counts[k] >= n {
			return nil, false
		}
	}
	add := func(n int) {
		for k := range most {
			addCount(counts, k, n)
		}
	}
	add(1)
	return func() {
		x.mu.Lock()
		defer x.mu.Unlock()
		add(-1)
	}, true
}

// crowdedBy reports whether a source has more than half of its allowed open
// alerts, real ones or those of tests, of any priority and patient or of all.
func (x *openIndex) crowdedBy(by string, test bool, most func(fromKey) int) bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	for k, n := range x.alertCounts {
		if k.by == by && k.test == test && n > most(k)/2 {
			return true
		}
	}
	return false
}
