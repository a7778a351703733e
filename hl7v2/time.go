package hl7v2

import (
	"errors"
	"strings"
	"time"
)

var (
	errTime = errors.New("must be a time, to the minute at least")
	errZone = errors.New("must have a zone")
)

// ParseTime reads a time stamp (DTM), YYYYMMDDHHMM[SS[.SSSS]][+/-ZZZZ]. A time
// without a zone is in zone; if zone is nil, it is an error. In the hour that
// comes twice in autumn, time.Date chooses.
func ParseTime(text string, zone *time.Location) (time.Time, error) {
	digits, offset := text, ""
	if i := strings.IndexAny(text, "+-"); i >= 0 {
		digits, offset = text[:i], text[i:]
	}
	whole, fraction, point := strings.Cut(digits, ".")
	layout := "200601021504"
	if len(whole) == 14 {
		layout = "20060102150405"
	}
	if len(whole) != len(layout) || point && (len(whole) != 14 || fraction == "" || len(fraction) > 9) || strings.Trim(whole+fraction, "0123456789") != "" {
		return time.Time{}, errTime
	}
	if point {
		layout, digits = layout+"."+strings.Repeat("0", len(fraction)), whole+"."+fraction
	}
	if offset == "" {
		if zone == nil {
			return time.Time{}, errZone
		}
		return parseIn(layout, digits, zone)
	}
	if len(offset) != 5 {
		return time.Time{}, errTime
	}
	t, err := time.Parse(layout+"-0700", digits+offset)
	if err != nil {
		return time.Time{}, errTime
	}
	return t.UTC(), nil
}

func parseIn(layout, text string, zone *time.Location) (time.Time, error) {
	t, err := time.ParseInLocation(layout, text, zone)
	if err != nil {
		return time.Time{}, errTime
	}
	return t.UTC(), nil
}

// formatTime writes t as HL7 v2 does, with the zone +0000.
func formatTime(t time.Time) string { return t.UTC().Format("20060102150405") + "+0000" }
