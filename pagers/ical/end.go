package ical

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"time"

	"github.com/emersion/go-ical"
)

// ends returns the function that gives the end of an occurrence from its start.
// The length of one that spans a change of the clock is not that of the first:
//
//   - DTEND with a date, and days and weeks of DURATION, count days on the
//     calendar. Hours, minutes and seconds of DURATION are exact.
//   - DTEND with a time is exact in RFC 5545, but calendars show the same time
//     of day. The later of both holds, so that nobody is missing.
func ends(e *ical.Event, start time.Time, zone *time.Location) (func(time.Time) time.Time, error) {
	if p := e.Props.Get(ical.PropDateTimeEnd); p != nil {
		end, err := moment(p, zone)
		if err != nil {
			return nil, fmt.Errorf("DTEND %w", err)
		}
		if isDate(e.Props.Get(ical.PropDateTimeStart)) && isDate(p) {
			return after(daysBetween(start, end), 0), nil
		}
		return sameClock(start, end.In(start.Location())), nil
	}
	if p := e.Props.Get(ical.PropDuration); p != nil {
		days, rest, ok := duration(p.Value)
		if !ok {
			return nil, errors.New("DURATION cannot be read")
		}
		return after(days, rest), nil
	}
	if isDate(e.Props.Get(ical.PropDateTimeStart)) {
		return after(1, 0), nil
	}
	return after(0, 0), nil
}

func after(days int, rest time.Duration) func(time.Time) time.Time {
	return func(at time.Time) time.Time { return at.AddDate(0, 0, days).Add(rest) }
}

// sameClock ends as late as the length from start to end says, and not before
// the clock on the wall shows the time of end.
func sameClock(start, end time.Time) func(time.Time) time.Time {
	days, length := daysBetween(start, end), end.Sub(start)
	fromMidnight := clock(end) - clock(start)
	return func(at time.Time) time.Time {
		y, m, d := at.Date()
		seconds := int((clock(at) + fromMidnight) / time.Second)
		shown := time.Date(y, m, d+days, 0, 0, seconds, 0, at.Location())
		if exact := at.Add(length); exact.After(shown) {
			return exact
		}
		return shown
	}
}

// clock is the time of day that a clock shows, since 00:00.
func clock(t time.Time) time.Duration {
	h, m, s := t.Clock()
	return time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
}

// daysBetween counts from the date of a to that of b.
func daysBetween(a, b time.Time) int {
	day := func(t time.Time) time.Time { y, m, d := t.Date(); return time.Date(y, m, d, 0, 0, 0, 0, time.UTC) }
	return int(day(b).Sub(day(a)) / (24 * time.Hour))
}

var durationForm = regexp.MustCompile(`^\+?P(?:(\d{1,4})W|(?:(\d{1,4})D)?(?:T(?:(\d{1,6})H)?(?:(\d{1,6})M)?(?:(\d{1,6})S)?)?)$`)

// duration reads a positive DURATION (RFC 5545, section 3.3.6).
func duration(s string) (days int, rest time.Duration, ok bool) {
	m := durationForm.FindStringSubmatch(s)
	if m == nil {
		return 0, 0, false
	}
	var n [6]int
	for i := 1; i < len(m); i++ {
		n[i], _ = strconv.Atoi(m[i]) // "" is 0
	}
	return 7*n[1] + n[2], time.Duration(n[3])*time.Hour + time.Duration(n[4])*time.Minute + time.Duration(n[5])*time.Second, true
}
