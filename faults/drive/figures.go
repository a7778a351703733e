package drive

import (
	"fmt"
	"slices"
	"time"
)

// Figures are the counts of a Ward that has finished. No confirmed event is lost, or
// the test has failed.
type Figures struct {
	Vitals, Alerts, Answers int // confirmed
	Resent                  int // requests that had to be sent again
	Repeated                int // confirmed requests, sent again on purpose
	Refused                 int // vitals refused for now, and sent again
	Resumed, Anew           int // patients of watchers that came back: those that went on, those that began anew
	Entries                 int // delivered to watchers

	Levels, Pages, PagedAgain, ClaimedAgain, Exhausted int
	Blind                                              int             // pages of nodes that could not reach their store
	Late, LateAgain                                    []time.Duration // of levels claimed once, and more than once
}

func (f *Figures) count(b *Bed) {
	c := b.confirmed()
	f.Vitals, f.Alerts = f.Vitals+len(c.vitals), f.Alerts+len(c.alerts)
	for _, x := range c.answers {
		f.Answers += x.times
	}
	f.Resent, f.Repeated, f.Refused = f.Resent+b.resent, f.Repeated+b.asked, f.Refused+b.full
}

// Add adds the counts of another Ward.
func (f *Figures) Add(x Figures) {
	f.Vitals, f.Alerts, f.Answers = f.Vitals+x.Vitals, f.Alerts+x.Alerts, f.Answers+x.Answers
	f.Resent, f.Repeated, f.Refused = f.Resent+x.Resent, f.Repeated+x.Repeated, f.Refused+x.Refused
	f.Resumed, f.Anew, f.Entries = f.Resumed+x.Resumed, f.Anew+x.Anew, f.Entries+x.Entries
	f.Blind += x.Blind
	f.Levels, f.Pages, f.PagedAgain = f.Levels+x.Levels, f.Pages+x.Pages, f.PagedAgain+x.PagedAgain
	f.ClaimedAgain, f.Exhausted = f.ClaimedAgain+x.ClaimedAgain, f.Exhausted+x.Exhausted
	f.Late, f.LateAgain = append(f.Late, x.Late...), append(f.LateAgain, x.LateAgain...)
}

// String says all of it in a few lines.
func (f Figures) String() string {
	return fmt.Sprintf("confirmed: alerts %d, answers %d, vitals %d; lost 0; requests sent again %d, repeated on purpose %d, vitals refused for now %d\n"+
		"watchers: entries delivered %d, patients resumed %d, begun anew %d\n"+
		"escalation: levels told %d, pages %d, levels paged again %d, levels claimed again %d, pages while the store was away %d, alerts through all steps %d; late: %s; late where claimed again: %s",
		f.Alerts, f.Answers, f.Vitals, f.Resent, f.Repeated, f.Refused, f.Entries, f.Resumed, f.Anew,
		f.Levels, f.Pages, f.PagedAgain, f.ClaimedAgain, f.Blind, f.Exhausted, spread(f.Late), spread(f.LateAgain))
}

func spread(list []time.Duration) string {
	if len(list) == 0 {
		return "none"
	}
	list = slices.Sorted(slices.Values(list))
	return fmt.Sprintf("median %v, worst %v", list[len(list)/2].Round(time.Millisecond), list[len(list)-1].Round(time.Millisecond))
}
