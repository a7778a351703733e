// Package ical reads shifts from an iCalendar file (RFC 5545), for
// pagers.Rota.More.
package ical

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/emersion/go-ical"
	"github.com/teambition/rrule-go"

	"github.com/carewire/carewire/pagers"
)

// maxSize bounds a calendar, in bytes.
const maxSize = 16 << 20

// longest bounds one shift: an occurrence that began longer ago is over.
const longest = 31 * 24 * time.Hour

// maxOccurrences bounds those of one event until now.
const maxOccurrences = 100_000

// An Event is one event of a calendar, for Who to read.
type Event struct {
	Summary    string
	Categories []string
	Attendees  []string // addresses such as "mailto:ada@example.org"
}

// Who returns the group and the person of a shift. False means that the event
// is no shift.
type Who func(Event) (group, person string, ok bool)

// A Calendar is the shifts of a calendar file. It does not change and is safe
// for concurrent use.
type Calendar struct{ series []series }

// A series is one event with its recurrences.
type series struct {
	group, person string
	start         time.Time
	length        time.Duration                   // of the first occurrence
	end           func(start time.Time) time.Time // of any occurrence
	times         *rrule.Set                      // nil: only start
	moved         map[time.Time]bool              // occurrences that an event of its own replaces
	daysOff       map[string]bool                 // dates of start on which there is none
}

// Read reads a calendar of at most 16 MiB. Times without a zone are in zone.
// Cancelled events are left out. An event with RECURRENCE-ID replaces that
// occurrence of its series; RANGE, which would replace all later ones too, is
// refused. So is a RRULE that never occurs, repeats more often than daily, or
// has more than 24 times of a day. An error names the property and not its value.
func Read(r io.Reader, zone *time.Location, who Who) (*Calendar, error) {
	file, err := decode(r)
	if err != nil {
		return nil, err
	}
	c := &Calendar{}
	moved := map[string]map[time.Time]bool{} // by UID
	uid := func(e *ical.Event) string { s, _ := e.Props.Text(ical.PropUID); return s }
	for _, e := range file.Events() {
		prop := e.Props.Get(ical.PropRecurrenceID)
		if prop == nil {
			continue
		}
		if prop.Params.Get(ical.ParamRange) != "" {
			return nil, errors.New("ical: RANGE of RECURRENCE-ID is not supported: end the series by UNTIL, and begin another")
		}
		at, err := prop.DateTime(zone)
		if err != nil {
			return nil, errors.New("ical: RECURRENCE-ID is not a time")
		}
		if moved[uid(&e)] == nil {
			moved[uid(&e)] = map[time.Time]bool{}
		}
		moved[uid(&e)][at.UTC()] = true
	}
	for _, e := range file.Events() {
		s, ok, err := readEvent(&e, zone, who)
		if err != nil {
			return nil, err
		}
		if e.Props.Get(ical.PropRecurrenceID) == nil {
			s.moved = moved[uid(&e)]
		}
		if ok {
			c.series = append(c.series, s)
		}
	}
	return c, nil
}

// decode reads the file. The library's decoder panics over some broken lines.
func decode(r io.Reader) (file *ical.Calendar, err error) {
	limited := &io.LimitedReader{R: r, N: maxSize + 1}
	defer func() {
		if recover() != nil {
			err = errors.New("ical: not an iCalendar file")
		}
	}()
	file, err = ical.NewDecoder(limited).Decode()
	if limited.N <= 0 {
		return nil, errors.New("ical: the calendar is larger than 16 MiB")
	}
	if err != nil {
		return nil, errors.New("ical: not an iCalendar file")
	}
	return file, nil
}

func readEvent(e *ical.Event, zone *time.Location, who Who) (s series, ok bool, err error) {
	if status, _ := e.Status(); status == ical.EventCancelled {
		return s, false, nil
	}
	var x Event
	x.Summary, _ = e.Props.Text(ical.PropSummary)
	if p := e.Props.Get(ical.PropCategories); p != nil {
		x.Categories, _ = p.TextList()
	}
	for _, p := range e.Props.Values(ical.PropAttendee) {
		x.Attendees = append(x.Attendees, p.Value)
	}
	if s.group, s.person, ok = who(x); !ok {
		return s, false, nil
	}
	if s.start, err = e.DateTimeStart(zone); err != nil || s.start.Year() < 1900 || s.start.Year() > 9999 {
		return s, false, errors.New("ical: DTSTART is not a time from 1900 on")
	}
	if s.end, err = ends(e, s.start, zone); err != nil {
		return s, false, err
	}
	if s.length = s.end(s.start).Sub(s.start); s.length <= 0 || s.length > longest {
		return s, false, fmt.Errorf("ical: an event is not between 0 and %v long", longest)
	}
	s.times, s.daysOff, err = recurrences(e, s.start, zone)
	return s, err == nil, err
}

// recurrences returns when e happens, nil for once, and the dates on which it
// does not. go-ical's own RecurrenceSet reads neither RDATE nor lists of dates.
func recurrences(e *ical.Event, start time.Time, zone *time.Location) (*rrule.Set, map[string]bool, error) {
	rule, err := readRule(e, start)
	if err != nil {
		return nil, nil, err
	}
	more, err1 := dates(e, ical.PropRecurrenceDates, zone)
	except, err2 := dates(e, ical.PropExceptionDates, zone)
	if err := errors.Join(err1, err2); err != nil || rule == nil && more == nil {
		return nil, nil, err
	}
	set := &rrule.Set{}
	if rule != nil {
		set.RRule(rule)
	} else {
		set.RDate(start)
	}
	set.DTStart(start)
	for _, d := range more {
		set.RDate(d.Time)
	}
	off := map[string]bool{}
	for _, d := range except {
		if d.wholeDay {
			off[d.Format(time.DateOnly)] = true
		} else {
			set.ExDate(d.Time)
		}
	}
	return set, off, nil
}

// A date is a DATE or a DATE-TIME of RFC 5545.
type date struct {
	time.Time
	wholeDay bool // DATE: Time is its midnight
}

func isDate(p *ical.Prop) bool { return len(p.Value) == len("20060102") }

// dates reads all times of a property that may be a list and come repeatedly.
func dates(e *ical.Event, name string, zone *time.Location) (list []date, err error) {
	for _, p := range e.Props.Values(name) {
		for value := range strings.SplitSeq(p.Value, ",") {
			one := p
			one.Value = value
			d, err := one.DateTime(zone)
			if err != nil {
				return nil, fmt.Errorf("ical: %s is not a list of times", name)
			}
			list = append(list, date{d, isDate(&one)})
		}
	}
	return list, nil
}

// Shifts returns the shifts that touch t, and those of the day before. It is
// made for pagers.Rota.More. It ends with ctx. An event with more than 100,000
// occurrences until t is an error.
func (c *Calendar) Shifts(ctx context.Context, t time.Time) ([]pagers.Shift, error) {
	var list []pagers.Shift
	for _, s := range c.series {
		starts, err := s.starts(ctx, t)
		if err != nil {
			return nil, err
		}
		for _, at := range starts {
			if !s.moved[at.UTC()] && !s.daysOff[at.In(s.start.Location()).Format(time.DateOnly)] {
				list = append(list, pagers.Shift{Group: s.group, Person: s.person, Start: at, End: s.end(at)})
			}
		}
	}
	return list, nil
}

// starts returns when the occurrences begin that may not have ended a day before
// t. An occurrence may be longer than the first by a change of the clock.
func (s *series) starts(ctx context.Context, t time.Time) (list []time.Time, err error) {
	if s.times == nil {
		return []time.Time{s.start}, nil
	}
	from, next := t.Add(-s.length-48*time.Hour), s.times.Iterator()
	for n := 0; ; n++ {
		at, ok := next()
		if !ok || at.After(t) {
			return list, nil
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if n == maxOccurrences {
			return nil, fmt.Errorf("ical: RRULE of an event has more than %d occurrences", maxOccurrences)
		}
		if !at.Before(from) {
			list = append(list, at)
		}
	}
}
