// Package ical reads shifts from an iCalendar file (RFC 5545), for
// pagers.Rota.More.
package ical

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"
	"unicode"

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

// An UnreadError lists the shifts of a calendar that cannot be read.
type UnreadError struct{ Events []UnreadEvent }

// An UnreadEvent is a shift that cannot be read.
type UnreadEvent struct {
	Number int    // among the events of the file, from 1
	Group  string // pages to it fail
	Err    error  // names the property, and not its value
}

// Error says how many there are, and what is wrong with the first.
func (u *UnreadError) Error() string {
	return fmt.Sprintf("ical: %d of the shifts cannot be read, first event number %d: %v", len(u.Events), u.Events[0].Number, u.Events[0].Err)
}

// A Calendar is the shifts of a calendar file. It does not change and is safe
// for concurrent use.
type Calendar struct{ series []series }

// A series is one event with its recurrences.
type series struct {
	group, person string
	err           error // the reason if its times are not known
	start         time.Time
	length        time.Duration                   // of the first occurrence
	end           func(start time.Time) time.Time // of any occurrence
	times         *rrule.Set                      // nil: only start
	moved         map[time.Time]bool              // occurrences that an event of its own replaces
	daysOff       map[string]bool                 // dates of start on which there is none
}

// Read reads a file of at most 16 MiB, with one calendar or several. Times without a
// zone are in zone. A TZID must be an IANA name such as Europe/Berlin.
// Cancelled events are left out. An event with RECURRENCE-ID replaces that
// occurrence of its series.
//
// If shifts cannot be read, Read returns the calendar and an *UnreadError: pages
// to their groups fail, and pages to others do not. A shift cannot be read where
// its RRULE never occurs, repeats more often than daily, or has more than 24
// times of a day; nor where it has EXRULE; nor where an event of its series has a RECURRENCE-ID with
// RANGE, which would replace all later occurrences too. On other errors there is
// no calendar. An error names the property and not its value.
func Read(r io.Reader, zone *time.Location, who Who) (*Calendar, error) {
	events, err := decode(r)
	if err != nil {
		return nil, err
	}
	moved, lost := replacements(events, zone)
	c, unread := &Calendar{}, &UnreadError{}
	for i, e := range events {
		s, ok := readEvent(&e, zone, who)
		if !ok {
			continue
		}
		if s.err == nil {
			s.err = lost[uid(&e)]
		}
		if s.err != nil {
			unread.Events = append(unread.Events, UnreadEvent{i + 1, s.group, s.err})
		}
		if e.Props.Get(ical.PropRecurrenceID) == nil {
			s.moved = moved[uid(&e)]
		}
		c.series = append(c.series, s)
	}
	if len(unread.Events) > 0 {
		return c, unread
	}
	return c, nil
}

func uid(e *ical.Event) string {
	s, _ := e.Props.Text(ical.PropUID)
	return s
}

// replacements returns, by UID, the occurrences that an event of its own replaces, and
// the error if one does not say which.
func replacements(events []ical.Event, zone *time.Location) (moved map[string]map[time.Time]bool, lost map[string]error) {
	moved, lost = map[string]map[time.Time]bool{}, map[string]error{}
	for _, e := range events {
		prop := e.Props.Get(ical.PropRecurrenceID)
		if prop == nil {
			continue
		}
		at, err := moment(prop, zone)
		switch {
		case prop.Params.Get(ical.ParamRange) != "":
			lost[uid(&e)] = errors.New("RANGE of RECURRENCE-ID is not supported: end the series by UNTIL, and begin another")
		case err != nil:
			lost[uid(&e)] = fmt.Errorf("RECURRENCE-ID %w", err)
		case moved[uid(&e)] == nil:
			moved[uid(&e)] = map[time.Time]bool{at.UTC(): true}
		default:
			moved[uid(&e)][at.UTC()] = true
		}
	}
	return moved, lost
}

// decode reads the events of a file, which may hold several calendars. The library's
// decoder panics over some broken lines.
func decode(r io.Reader) (events []ical.Event, err error) {
	limited := &io.LimitedReader{R: r, N: maxSize + 1}
	in := bufio.NewReader(limited) // the decoder reads from it directly
	defer func() {
		if recover() != nil {
			err = errors.New("ical: not an iCalendar file")
		}
	}()
	if mark, _ := in.Peek(3); string(mark) == "\ufeff" { // of Windows
		in.Discard(len(mark))
	}
	for first := true; first || more(in); first = false {
		file, err := ical.NewDecoder(in).Decode()
		if limited.N <= 0 {
			return nil, errors.New("ical: the calendar is larger than 16 MiB")
		}
		if err != nil {
			return nil, errors.New("ical: not an iCalendar file")
		}
		events = append(events, file.Events()...)
	}
	return events, nil
}

// more reports whether there is more than blank space.
func more(in *bufio.Reader) bool {
	for {
		switch b, err := in.ReadByte(); {
		case err != nil:
			return false
		case !unicode.IsSpace(rune(b)):
			return in.UnreadByte() == nil
		}
	}
}

// readEvent reads the shift that e is. Not ok means that it is none.
func readEvent(e *ical.Event, zone *time.Location, who Who) (s series, ok bool) {
	if status, _ := e.Status(); status == ical.EventCancelled {
		return s, false
	}
	var x Event
	x.Summary, _ = e.Props.Text(ical.PropSummary)
	if p := e.Props.Get(ical.PropCategories); p != nil {
		x.Categories, _ = p.TextList()
	}
	for _, p := range e.Props.Values(ical.PropAttendee) {
		x.Attendees = append(x.Attendees, p.Value)
	}
	if s.group, s.person, ok = who(x); ok {
		s.err = s.readTimes(e, zone)
	}
	return s, ok
}

func (s *series) readTimes(e *ical.Event, zone *time.Location) (err error) {
	start := e.Props.Get(ical.PropDateTimeStart)
	if start == nil {
		return errors.New("DTSTART is missing")
	}
	if s.start, err = moment(start, zone); err != nil {
		return fmt.Errorf("DTSTART %w", err)
	}
	if s.start.Year() < 1900 || s.start.Year() > 9999 {
		return errors.New("DTSTART is not a time from 1900 on")
	}
	if s.end, err = ends(e, s.start, zone); err != nil {
		return err
	}
	if s.length = s.end(s.start).Sub(s.start); s.length <= 0 || s.length > longest {
		return fmt.Errorf("it is not between 0 and %v long", longest)
	}
	s.times, s.daysOff, err = recurrences(e, s.start, zone)
	return err
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

// moment reads a DATE or a DATE-TIME. Its error goes behind the property's name.
func moment(p *ical.Prop, zone *time.Location) (time.Time, error) {
	t, err := p.DateTime(zone)
	if err == nil {
		return t, nil
	}
	if _, err := time.LoadLocation(p.Params.Get(ical.PropTimezoneID)); err != nil {
		return t, errors.New("has a TZID that is no IANA name such as Europe/Berlin")
	}
	return t, errors.New("is not a time")
}

func isDate(p *ical.Prop) bool { return len(p.Value) == len("20060102") }

// dates reads all times of a property that may be a list and come repeatedly.
func dates(e *ical.Event, name string, zone *time.Location) (list []date, err error) {
	for _, p := range e.Props.Values(name) {
		for value := range strings.SplitSeq(p.Value, ",") {
			one := p
			one.Value = value
			d, err := moment(&one, zone)
			if err != nil {
				return nil, fmt.Errorf("%s %w", name, err)
			}
			list = append(list, date{d, isDate(&one)})
		}
	}
	return list, nil
}

// Shifts returns the shifts that touch t, and those of the day before. It is
// made for pagers.Rota.More. Of an event that Read could not read, and of one
// with more than 100,000 occurrences until t, it returns a Shift with Err. Its
// error is that of ctx.
func (c *Calendar) Shifts(ctx context.Context, t time.Time) ([]pagers.Shift, error) {
	var list []pagers.Shift
	for _, s := range c.series {
		starts, err := s.starts(ctx, t)
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		if err != nil {
			list = append(list, pagers.Shift{Group: s.group, Person: s.person, Err: err})
			continue
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
	if s.err != nil || s.times == nil {
		return []time.Time{s.start}, s.err
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
			return nil, fmt.Errorf("RRULE has more than %d occurrences", maxOccurrences)
		}
		if !at.Before(from) {
			list = append(list, at)
		}
	}
}
