package ical_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/pagers"
	"github.com/carewire/carewire/pagers/ical"
)

const calendar = `BEGIN:VCALENDAR
VERSION:2.0
PRODID:-//test//rota//EN
BEGIN:VEVENT
UID:nights
DTSTAMP:20260101T000000Z
SUMMARY:ada
CATEGORIES:ward-5
DTSTART;TZID=Europe/Berlin:20260301T220000
DURATION:PT8H
RRULE:FREQ=WEEKLY;BYDAY=SU,MO
EXDATE;TZID=Europe/Berlin:20260309T220000,20260310T220000
RDATE;TZID=Europe/Berlin:20260310T220000,20260311T220000
END:VEVENT
BEGIN:VEVENT
UID:nights
DTSTAMP:20260101T000000Z
RECURRENCE-ID;TZID=Europe/Berlin:20260315T220000
SUMMARY:bob
CATEGORIES:ward-5
DTSTART;TZID=Europe/Berlin:20260315T230000
DTEND;TZID=Europe/Berlin:20260316T060000
END:VEVENT
BEGIN:VEVENT
UID:once
DTSTAMP:20260101T000000Z
SUMMARY:cyd
CATEGORIES:ward-5
DTSTART:20260401T080000Z
DTEND:20260401T090000Z
END:VEVENT
BEGIN:VEVENT
UID:cancelled
DTSTAMP:20260101T000000Z
STATUS:CANCELLED
SUMMARY:dan
CATEGORIES:ward-5
DTSTART:20260401T080000Z
DTEND:20260401T090000Z
END:VEVENT
BEGIN:VEVENT
UID:lunch
DTSTAMP:20260101T000000Z
SUMMARY:lunch
DTSTART:20260401T080000Z
DTEND:20260401T090000Z
END:VEVENT
END:VCALENDAR
`

func who(e ical.Event) (string, string, bool) {
	if len(e.Categories) == 0 {
		return "", "", false
	}
	return e.Categories[0], e.Summary, true
}

func crlf(s string) *strings.Reader { return strings.NewReader(strings.ReplaceAll(s, "\n", "\r\n")) }

func TestCalendar(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	c, err := ical.Read(crlf(calendar), zone, who)
	require.NoError(t, err)
	r := &pagers.Rota{More: c.Shifts}
	for at, want := range map[string][]string{
		"2026-03-01T21:59:00+01:00": nil,
		"2026-03-01T22:00:00+01:00": {"ada"},
		"2026-03-02T05:59:00+01:00": {"ada"},
		"2026-03-02T06:00:00+01:00": nil,
		"2026-03-02T23:00:00+01:00": {"ada"}, // Monday
		"2026-03-03T23:00:00+01:00": nil,
		"2026-03-09T23:00:00+01:00": nil,     // EXDATE
		"2026-03-10T23:00:00+01:00": nil,     // RDATE and EXDATE
		"2026-03-11T23:00:00+01:00": {"ada"}, // RDATE
		"2026-03-15T22:30:00+01:00": nil,     // moved to 23:00, and to another person
		"2026-03-16T00:00:00+01:00": {"bob"},
		"2026-03-29T22:00:00+02:00": {"ada"}, // summer time began this morning
		"2026-03-29T21:30:00+02:00": nil,
		"2026-04-01T08:30:00Z":      {"cyd"},
	} {
		now, err := time.Parse(time.RFC3339, at)
		require.NoError(t, err)
		got, err := r.OnDuty(t.Context(), "ward-5", now)
		require.NoError(t, err)
		require.Equal(t, want, got, at)
	}
}

func TestRefused(t *testing.T) {
	for name, x := range map[string]string{
		"not a calendar": "hello",
		"a broken line":  "0;0=",
		"no start":       strings.Replace(calendar, "DTSTART:20260401T080000Z", "DTSTART:secret", 1),
		"no end":         strings.Replace(calendar, "DURATION:PT8H", "DURATION:secret", 1),
		"ends before":    strings.Replace(calendar, "DTEND:20260401T090000Z", "DTEND:20260401T070000Z", 1),
		"no rule":        strings.Replace(calendar, "FREQ=WEEKLY;BYDAY=SU,MO", "FREQ=secret", 1),
		"no recurrence":  strings.Replace(calendar, "RECURRENCE-ID;TZID=Europe/Berlin:20260315T220000", "RECURRENCE-ID:secret", 1),
		"no exception":   strings.Replace(calendar, "20260309T220000,", "secret,", 1),
		"too often":      strings.Replace(calendar, "FREQ=WEEKLY;BYDAY=SU,MO", "FREQ=SECONDLY", 1),
		"all later ones": strings.Replace(calendar, "RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;", 1),
		"every second":   strings.Replace(calendar, "FREQ=WEEKLY", "FREQ=DAILY;BYHOUR=0,1,2,3,4,5;BYMINUTE=0,10,20,30,40", 1),
		"too large":      strings.Replace(calendar, "VERSION:2.0\n", strings.Repeat("X-FILL:0123456789\n", 1<<20), 1),
	} {
		c, err := ical.Read(crlf(x), time.UTC, who)
		require.Error(t, err, name)
		require.NotContains(t, err.Error(), "secret", name)
		var unread *ical.UnreadError
		require.Equal(t, c != nil, errors.As(err, &unread), name)
	}
}

// A bad event fails the pages to its group, and to no other. Those of the group who
// are known are paged all the same.
func TestBadEvent(t *testing.T) {
	for name, bad := range map[string]string{
		"no start":       "DTSTART:secret",
		"no end":         "DTSTART:20260101T070000Z\nDTEND:secret",
		"no rule":        "DTSTART:20260101T070000Z\nDURATION:PT8H\nRRULE:FREQ=secret",
		"no exception":   "DTSTART:20260101T070000Z\nDURATION:PT8H\nRRULE:FREQ=DAILY\nEXDATE:secret",
		"too many":       "DTSTART:19000101T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10",
		"no recurrence":  "DTSTART:20260101T070000Z\nDURATION:PT8H\nRECURRENCE-ID:secret",
		"all later ones": "DTSTART:20260101T070000Z\nDURATION:PT8H\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260101T060000Z",
	} {
		file := "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\n"
		for i, lines := range []string{
			"UID:1\nSUMMARY:eve\nCATEGORIES:ward-6\nDTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY",
			"UID:2\nSUMMARY:ada\nCATEGORIES:ward-5\nDTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY",
			"UID:3\nSUMMARY:bob\nCATEGORIES:ward-5\n" + bad,
			"UID:4\nSUMMARY:no shift\n" + bad,
		} {
			file += fmt.Sprintf("BEGIN:VEVENT\nDTSTAMP:20260101T000000Z\n%s\nX-N:%d\nEND:VEVENT\n", lines, i)
		}
		c, err := ical.Read(crlf(file+"END:VCALENDAR\n"), time.UTC, who)
		require.NotNil(t, c, name)
		if name != "too many" { // which depends on the day
			var unread *ical.UnreadError
			require.ErrorAs(t, err, &unread, name)
			require.Len(t, unread.Events, 1, name)
			require.Equal(t, 3, unread.Events[0].Number, name)
			require.Equal(t, "ward-5", unread.Events[0].Group, name)
			require.Regexp(t, "^ical: 1 of the shifts cannot be read, first event number 3: [A-Z]", err.Error(), name)
		}
		r, now := &pagers.Rota{More: c.Shifts}, time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC)
		on, err := r.OnDuty(t.Context(), "ward-6", now)
		require.NoError(t, err, name)
		require.Equal(t, []string{"eve"}, on, name)
		on, err = r.OnDuty(t.Context(), "ward-5", now)
		require.ErrorIs(t, err, pagers.ErrUnknownShift, name)
		require.NotContains(t, err.Error(), "secret", name)
		require.Equal(t, []string{"ada"}, on, name)
	}
}

// Of a series, an occurrence that cannot be told leaves all unknown.
func TestBadReplacement(t *testing.T) {
	for name, x := range map[string]string{
		"no recurrence":  strings.Replace(calendar, "RECURRENCE-ID;TZID=Europe/Berlin:20260315T220000", "RECURRENCE-ID:secret", 1),
		"all later ones": strings.Replace(calendar, "RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;", 1),
	} {
		c, err := ical.Read(crlf(x), time.UTC, who)
		var unread *ical.UnreadError
		require.ErrorAs(t, err, &unread, name)
		require.Len(t, unread.Events, 2, "%s: the series, and its replacement", name)
		_, err = (&pagers.Rota{More: c.Shifts}).OnDuty(t.Context(), "ward-5", time.Date(2026, 3, 1, 22, 0, 0, 0, time.UTC))
		require.ErrorContains(t, err, "RECURRENCE-ID", name)
	}
}

// event is a calendar of one event of ada.
func event(lines string) string {
	return "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VEVENT\nUID:u\nDTSTAMP:20260101T000000Z\nSUMMARY:ada\nCATEGORIES:ward-5\n" + lines + "\nEND:VEVENT\nEND:VCALENDAR\n"
}

// Somebody is on duty throughout the long day in autumn.
func TestEndsAtTheChangeOfTheClock(t *testing.T) {
	zone, err := time.LoadLocation("Europe/Berlin")
	require.NoError(t, err)
	for name, lines := range map[string]string{
		"days":             "DTSTART;VALUE=DATE:20261001\nRRULE:FREQ=DAILY",
		"dates":            "DTSTART;VALUE=DATE:20261001\nDTEND;VALUE=DATE:20261002\nRRULE:FREQ=DAILY",
		"weeks":            "DTSTART;VALUE=DATE:20261005\nDTEND;VALUE=DATE:20261012\nRRULE:FREQ=WEEKLY",
		"a duration":       "DTSTART;TZID=Europe/Berlin:20261001T070000\nDURATION:P1D\nRRULE:FREQ=DAILY",
		"weeks' duration":  "DTSTART;TZID=Europe/Berlin:20261001T070000\nDURATION:P1W\nRRULE:FREQ=WEEKLY",
		"times":            "DTSTART;TZID=Europe/Berlin:20261001T070000\nDTEND;TZID=Europe/Berlin:20261002T070000\nRRULE:FREQ=DAILY",
		"a zone for zone":  "DTSTART;TZID=Europe/Berlin:20261001T070000\nDTEND:20261002T050000Z\nRRULE:FREQ=DAILY",
		"at half past two": "DTSTART;TZID=Europe/Berlin:20261001T023000\nDTEND;TZID=Europe/Berlin:20261002T023000\nRRULE:FREQ=DAILY",
	} {
		c, err := ical.Read(crlf(event(lines)), zone, who)
		require.NoError(t, err, name)
		r := &pagers.Rota{More: c.Shifts}
		for m := 0; m < 40*60; m += 15 {
			now := time.Date(2026, 10, 24, 20, m, 0, 0, zone)
			on, err := r.OnDuty(t.Context(), "ward-5", now)
			require.NoError(t, err, name)
			require.Len(t, on, 1, "%s: %v", name, now)
		}
	}
	for _, x := range []struct{ lines, start, end string }{
		{"DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY", "2026-10-25T00:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY", "2026-03-29T00:00:00+01:00", "2026-03-30T00:00:00+02:00"},
		{"DTSTART;TZID=Europe/Berlin:20260101T220000\nDURATION:P1DT2H\nRRULE:FREQ=DAILY", "2026-10-24T22:00:00+02:00", "2026-10-26T00:00:00+01:00"},
		{"DTSTART;TZID=Europe/Berlin:20260101T220000\nDURATION:PT24H\nRRULE:FREQ=DAILY", "2026-10-24T22:00:00+02:00", "2026-10-25T21:00:00+01:00"},
		{"DTSTART;TZID=Europe/Berlin:20260101T220000\nDTEND;TZID=Europe/Berlin:20260102T060000\nRRULE:FREQ=DAILY", "2026-10-24T22:00:00+02:00", "2026-10-25T06:00:00+01:00"},
		{"DTSTART;TZID=Europe/Berlin:20260101T220000\nDTEND;TZID=Europe/Berlin:20260102T060000\nRRULE:FREQ=DAILY", "2026-03-28T22:00:00+01:00", "2026-03-29T07:00:00+02:00"},
	} {
		c, err := ical.Read(crlf(event(x.lines)), zone, who)
		require.NoError(t, err)
		start, err := time.Parse(time.RFC3339, x.start)
		require.NoError(t, err)
		shifts, err := c.Shifts(t.Context(), start)
		require.NoError(t, err)
		last := shifts[len(shifts)-1]
		require.Equal(t, x.start, last.Start.Format(time.RFC3339))
		require.Equal(t, x.end, last.End.Format(time.RFC3339), x.lines)
	}
}

// A file may hold several calendars, as some programs write it. Nothing of it is
// left out silently.
func TestSeveralCalendars(t *testing.T) {
	one := event("DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY")
	two := strings.Replace(one, "SUMMARY:ada", "SUMMARY:bob", 1)
	for name, file := range map[string]string{"together": one + two, "with blank lines": one + "\n\n" + two + "\n", "with a mark": "\ufeff" + one + two} {
		c, err := ical.Read(crlf(file), time.UTC, who)
		require.NoError(t, err, name)
		on, err := (&pagers.Rota{More: c.Shifts}).OnDuty(t.Context(), "ward-5", time.Date(2026, 2, 1, 12, 0, 0, 0, time.UTC))
		require.NoError(t, err, name)
		require.Equal(t, []string{"ada", "bob"}, on, name)
	}
	for name, file := range map[string]string{"cut off": one + strings.TrimSuffix(two, "END:VCALENDAR\n"), "something else": one + "X", "nothing": ""} {
		c, err := ical.Read(crlf(file), time.UTC, who)
		require.EqualError(t, err, "ical: not an iCalendar file", name)
		require.Nil(t, c, name)
	}
}

// The names of zones that Windows has are none of IANA's, and the error says so.
func TestUnknownZone(t *testing.T) {
	for lines, want := range map[string]string{
		"DTSTART;TZID=W. Europe Standard Time:20260101T070000\nDURATION:PT8H":                                            "DTSTART has a TZID",
		"DTSTART:20260101T070000Z\nDTEND;TZID=W. Europe Standard Time:20260101T090000":                                   "DTEND has a TZID",
		"DTSTART:20260101T070000Z\nDURATION:PT8H\nRRULE:FREQ=DAILY\nEXDATE;TZID=W. Europe Standard Time:20260102T070000": "EXDATE has a TZID",
		"DTSTART:20260101T070000Z\nDURATION:PT8H\nRECURRENCE-ID;TZID=W. Europe Standard Time:20260102T070000":            "RECURRENCE-ID has a TZID",
		"DTSTART:20260101T070000Z\nDTEND:2026":                                                                           "DTEND is not a time",
	} {
		_, err := ical.Read(crlf(event(lines)), time.UTC, who)
		require.ErrorContains(t, err, want)
		require.NotContains(t, err.Error(), "Standard Time")
	}
}

// A rule of days off that is not read would leave somebody on duty who is not there.
func TestEXRULE(t *testing.T) {
	_, err := ical.Read(crlf(event("DTSTART:20260101T070000Z\nDURATION:PT8H\nRRULE:FREQ=DAILY\nEXRULE:FREQ=WEEKLY;BYDAY=SU")), time.UTC, who)
	require.ErrorContains(t, err, "EXRULE")
}

// EXDATE with a date leaves out that day of a series with a time.
func TestExceptionDate(t *testing.T) {
	c, err := ical.Read(crlf(event("DTSTART:20260101T070000Z\nDURATION:PT8H\nRRULE:FREQ=DAILY\nEXDATE;VALUE=DATE:20260110,20260112")), time.UTC, who)
	require.NoError(t, err)
	r := &pagers.Rota{More: c.Shifts}
	for day, want := range map[int][]string{9: {"ada"}, 10: nil, 11: {"ada"}, 12: nil} {
		on, err := r.OnDuty(t.Context(), "ward-5", time.Date(2026, 1, day, 8, 0, 0, 0, time.UTC))
		require.NoError(t, err)
		require.Equal(t, want, on, day)
	}
}

func TestShiftsIsBounded(t *testing.T) {
	now := time.Date(2026, 1, 10, 8, 0, 0, 0, time.UTC)
	c, err := ical.Read(crlf(event("DTSTART:19000101T000000Z\nDURATION:PT1H\nRRULE:FREQ=DAILY;BYHOUR=0,1,2,3,4,5,6,7,8,9,10")), time.UTC, who)
	require.NoError(t, err)
	shifts, err := c.Shifts(t.Context(), now)
	require.NoError(t, err)
	require.Len(t, shifts, 1)
	require.EqualError(t, shifts[0].Err, "RRULE has more than 100000 occurrences")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err = c.Shifts(ctx, now)
	require.ErrorIs(t, err, context.Canceled)
}

// A rule that never occurs would be searched for until the year 9999 at each
// page, and some others make rrule-go panic.
func TestRefusedRules(t *testing.T) {
	for name, rule := range map[string]string{
		"30 February":                  "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
		"every day, on a 30 February":  "RRULE:FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
		"the sixth of seven":           "RRULE:FREQ=DAILY;BYSETPOS=6",
		"every Thursday, but Mondays":  "RRULE:FREQ=DAILY;INTERVAL=7;BYDAY=MO",
		"years that are never leap":    "RRULE:FREQ=YEARLY;INTERVAL=4;BYMONTH=2;BYMONTHDAY=29",
		"never, but until a day":       "RRULE:FREQ=WEEKLY;BYMONTH=2;BYMONTHDAY=30;UNTIL=20270101",
		"never, but given dates":       "RRULE:FREQ=MONTHLY;BYMONTH=4;BYMONTHDAY=31\nRDATE:20260201T070000Z",
		"Easter":                       "RRULE:FREQ=YEARLY;BYEASTER=250",
		"a 53rd Monday of a month":     "RRULE:FREQ=MONTHLY;BYDAY=1MO,53MO",
		"a 53rd last one of a month":   "RRULE:FREQ=MONTHLY;BYDAY=1MO,-53MO",
		"a 53rd Monday of February":    "RRULE:FREQ=YEARLY;BYMONTH=2;BYDAY=1MO,53MO",
		"an interval beyond all years": "RRULE:FREQ=DAILY;INTERVAL=9223372036854775807",
		"two rules":                    "RRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY",
	} {
		_, err := ical.Read(crlf(event("DTSTART:20260101T070000Z\nDURATION:PT8H\n"+rule)), time.UTC, who)
		require.ErrorContains(t, err, "RRULE", name)
	}
	for name, rule := range map[string]string{
		"29 February":                "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=29",
		"a Monday that is the 29th":  "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=29;BYDAY=MO",
		"a fifth Monday":             "FREQ=MONTHLY;BYDAY=5MO",
		"the 53rd Thursday of years": "FREQ=YEARLY;BYDAY=53TH,-53TH",
		"every 1,000 years":          "FREQ=YEARLY;INTERVAL=1000",
		"until last year":            "FREQ=DAILY;UNTIL=20250101T000000Z",
	} {
		_, err := ical.Read(crlf(event("DTSTART:20260101T070000Z\nDURATION:PT8H\nRRULE:"+rule)), time.UTC, who)
		require.NoError(t, err, name)
	}
}

// UNTIL without Z is a time of DTSTART's zone, and a date is the whole of that day.
func TestUntil(t *testing.T) {
	zone, err := time.LoadLocation("America/New_York")
	require.NoError(t, err)
	for _, until := range []string{"20260105T220000", "20260105", "20260106T030000Z"} {
		c, err := ical.Read(crlf(event("DTSTART:20260101T220000\nDURATION:PT8H\nRRULE:FREQ=DAILY;UNTIL="+until)), zone, who)
		require.NoError(t, err)
		r := &pagers.Rota{More: c.Shifts}
		for day, want := range map[int][]string{4: {"ada"}, 5: {"ada"}, 6: nil} {
			on, err := r.OnDuty(t.Context(), "ward-5", time.Date(2026, 1, day, 23, 0, 0, 0, zone))
			require.NoError(t, err)
			require.Equal(t, want, on, "%s: %d", until, day)
		}
	}
}

func FuzzRead(f *testing.F) {
	f.Add(strings.ReplaceAll(calendar, "\n", "\r\n"))
	for _, rule := range []string{"FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30", "FREQ=MONTHLY;BYDAY=1MO,-5FR;BYSETPOS=-1", "FREQ=YEARLY;INTERVAL=4;BYWEEKNO=53;WKST=SU", "FREQ=WEEKLY;COUNT=9;BYYEARDAY=-1"} {
		f.Add(strings.ReplaceAll(event("DTSTART:20200101T070000Z\nDURATION:PT8H\nRRULE:"+rule), "\n", "\r\n"))
	}
	now := time.Date(2026, 4, 1, 8, 30, 0, 0, time.UTC)
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ical.Read(strings.NewReader(s), time.UTC, who)
		if c == nil {
			require.Error(t, err)
			return
		}
		shifts, err := c.Shifts(t.Context(), now)
		require.NoError(t, err)
		for _, s := range shifts {
			require.True(t, s.Err != nil || s.Start.Before(s.End))
		}
	})
}
