package ical_test

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/carewire/carewire/pagers"
	"github.com/carewire/carewire/pagers/ical"
)

// A ward's calendar lists the persons on duty: each event is named after the group and
// the person.
func Example() {
	const calendar = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//ward//EN\r\n" +
		"BEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\nSUMMARY:ward-5 ada\r\nDTSTART:20260105T070000\r\nDTEND:20260105T193000\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\n" +
		"END:VCALENDAR\r\n"
	shifts, err := ical.Read(strings.NewReader(calendar), time.UTC, func(e ical.Event) (group, person string, ok bool) {
		return strings.Cut(e.Summary, " ")
	})
	if err != nil {
		panic(err)
	}
	rota := &pagers.Rota{More: shifts.Shifts}
	for _, hour := range []int{12, 22} {
		people, err := rota.OnDuty(context.Background(), "ward-5", time.Date(2026, 3, 1, hour, 0, 0, 0, time.UTC))
		fmt.Println(hour, people, err)
	}
	// Output:
	// 12 [ada] <nil>
	// 22 [] <nil>
}
