package ical

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/emersion/go-ical"
	"github.com/teambition/rrule-go"
)

// The bounds of a rule.
const (
	timesOfDay   = 24
	longInterval = 1000 // steps of its frequency
	weeksOfMonth = 5
)

// readRule reads the RRULE of an event that begins at start, nil for none.
func readRule(e *ical.Event, start time.Time) (*rrule.RRule, error) {
	if e.Props.Get("EXRULE") != nil { // of RFC 2445
		return nil, errors.New("EXRULE is not supported: give the dates by EXDATE")
	}
	list := e.Props.Values(ical.PropRecurrenceRule)
	if len(list) == 0 {
		return nil, nil
	}
	if len(list) > 1 {
		return nil, errors.New("an event has more than one RRULE")
	}
	option, err := rrule.StrToROptionInLocation(list[0].Value, start.Location())
	if err != nil {
		return nil, errors.New("RRULE cannot be read")
	}
	if err := checkRule(option); err != nil {
		return nil, err
	}
	option.Dtstart = start
	if untilDate.MatchString(list[0].Value) { // through that day
		option.Until = option.Until.AddDate(0, 0, 1).Add(-time.Second)
	}
	rule, err := rrule.NewRRule(*option)
	if err != nil {
		return nil, errors.New("RRULE cannot be read")
	}
	if !occurs(*option) {
		return nil, errors.New("RRULE never occurs")
	}
	return rule, nil
}

var untilDate = regexp.MustCompile(`(?:^|;)UNTIL=\d{8}(?:;|$)`)

// checkRule refuses rules that no rota needs, or with which rrule-go would not end or
// panic.
func checkRule(o *rrule.ROption) error {
	if o.Freq > rrule.DAILY {
		return errors.New("RRULE repeats more often than daily")
	}
	if o.Interval > longInterval {
		return fmt.Errorf("INTERVAL of RRULE is over %d", longInterval)
	}
	if len(o.Byeaster) > 0 {
		return errors.New("RRULE has BYEASTER, which is not of RFC 5545")
	}
	inMonth := o.Freq == rrule.MONTHLY || o.Freq == rrule.YEARLY && len(o.Bymonth) > 0
	if inMonth && slices.ContainsFunc(o.Byweekday, func(d rrule.Weekday) bool { return max(d.N(), -d.N()) > weeksOfMonth }) {
		return fmt.Errorf("BYDAY of RRULE counts to over %d in a month", weeksOfMonth)
	}
	times := max(1, len(o.Byhour))
	for _, list := range [][]int{o.Byminute, o.Bysecond} {
		if times *= max(1, len(list)); times > timesOfDay {
			return fmt.Errorf("RRULE has more than %d times of a day", timesOfDay)
		}
	}
	return nil
}

// The calendar repeats itself every 400 years, weekdays included.
const cycle = 400

// occurs reports whether a rule ever occurs: within 290 years of its start, as
// rrule-go has it. That library searches until the year 9999 and cannot be stopped.
// So occurs asks about the same rule some whole cycles later, which leave one or
// two to search. Once a rule occurs, its next occurrence is found as soon.
func occurs(o rrule.ROption) bool {
	o.Count, o.Until = 0, time.Time{}
	if later := (9999 - cycle - o.Dtstart.Year()) / cycle * cycle; later > 0 {
		o.Dtstart = o.Dtstart.AddDate(later, 0, 0)
	}
	rule, err := rrule.NewRRule(o)
	if err != nil {
		return false
	}
	_, ok := rule.Iterator()()
	return ok
}
