package pagers_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
)

func berlin(t *testing.T) *time.Location {
	zone, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Skip("this machine has no time zones: ", err)
	}
	return zone
}

func TestRota(t *testing.T) {
	zone := berlin(t)
	every := []time.Weekday{0, 1, 2, 3, 4, 5, 6}
	at := func(s string) time.Time {
		x, err := time.Parse(time.RFC3339, s)
		require.NoError(t, err)
		return x
	}
	r := &pagers.Rota{Zone: zone, Handover: 10 * time.Minute,
		Weekly: []pagers.Weekly{
			{Group: "ward", Person: "ada", Days: every, From: "06:00", To: "14:00"},
			{Group: "ward", Person: "bob", Days: every, From: "14:00", To: "22:00"},
			{Group: "ward", Person: "cyd", Days: every, From: "22:00", To: "06:00"},
			{Group: "doctor", Person: "dan", Days: []time.Weekday{time.Monday}, From: "08:00", To: "08:00"},
		},
		Shifts: []pagers.Shift{{Group: "ward", Person: "eve", Start: at("2026-07-01T00:00:00Z"), End: at("2026-07-01T01:00:00Z")}},
		Substitutions: []pagers.Substitution{
			{Person: "ada", By: "fay", Start: at("2026-08-03T00:00:00Z"), End: at("2026-08-04T00:00:00Z")},
			{Person: "fay", By: "gus", Start: at("2026-08-03T00:00:00Z"), End: at("2026-08-04T00:00:00Z")},
			{Person: "bob", Start: at("2026-08-03T00:00:00Z"), End: at("2026-08-04T00:00:00Z")},
		},
	}
	require.NoError(t, r.Validate())
	for _, x := range []struct {
		group, at string
		want      []string
	}{
		{"ward", "2026-07-08T05:59:59+02:00", []string{"cyd"}},
		{"ward", "2026-07-08T06:00:00+02:00", []string{"ada", "cyd"}}, // handover
		{"ward", "2026-07-08T06:10:00+02:00", []string{"ada"}},
		{"ward", "2026-07-08T21:59:00+02:00", []string{"bob"}},
		{"ward", "2026-07-08T23:59:00+02:00", []string{"cyd"}},
		{"ward", "2026-07-01T00:30:00Z", []string{"cyd", "eve"}},
		{"doctor", "2026-07-06T07:59:00+02:00", nil},
		{"doctor", "2026-07-06T08:00:00+02:00", []string{"dan"}},
		{"doctor", "2026-07-07T07:59:00+02:00", []string{"dan"}},
		{"doctor", "2026-07-07T08:10:00+02:00", nil},
		{"ward", "2026-08-03T12:00:00+02:00", []string{"fay"}}, // once: fay is not substituted for ada
		{"ward", "2026-08-03T18:00:00+02:00", nil},
		{"unknown", "2026-08-03T18:00:00+02:00", nil},
		// Clocks go forward on 2026-03-29 at 02:00 and back on 2026-10-25 at 03:00.
		{"ward", "2026-03-29T05:59:00+02:00", []string{"cyd"}},
		{"ward", "2026-03-29T06:10:00+02:00", []string{"ada"}},
		{"ward", "2026-10-25T05:59:00+01:00", []string{"cyd"}},
		{"ward", "2026-10-25T06:10:00+01:00", []string{"ada"}},
	} {
		got, err := r.OnDuty(t.Context(), x.group, at(x.at))
		require.NoError(t, err)
		require.Equal(t, x.want, got, "%s at %s", x.group, x.at)
	}
}

// Shifts that begin where the clock is put forward or back leave no minute open.
func TestRotaAtTheChangeOfTheClock(t *testing.T) {
	zone := berlin(t)
	every := []time.Weekday{0, 1, 2, 3, 4, 5, 6}
	r := &pagers.Rota{Zone: zone, Weekly: []pagers.Weekly{
		{Group: "ward", Person: "ada", Days: every, From: "02:30", To: "14:00"},
		{Group: "ward", Person: "bob", Days: every, From: "14:00", To: "02:30"},
	}}
	for _, day := range []time.Time{time.Date(2026, 3, 28, 20, 0, 0, 0, zone), time.Date(2026, 10, 24, 20, 0, 0, 0, zone)} {
		for m := range 24 * 60 {
			now := day.Add(time.Duration(m) * time.Minute)
			on, err := r.OnDuty(t.Context(), "ward", now)
			require.NoError(t, err)
			require.Len(t, on, 1, now)
		}
	}
}

func TestRotaRefuses(t *testing.T) {
	now := time.Now()
	day := []time.Weekday{1}
	for name, r := range map[string]*pagers.Rota{
		"no zone":     {Weekly: []pagers.Weekly{{Group: "g", Person: "p", Days: day, From: "06:00", To: "14:00"}}},
		"no time":     {Zone: time.UTC, Weekly: []pagers.Weekly{{Group: "g", Person: "p", Days: day, From: "6:00", To: "24:00"}}},
		"no day":      {Zone: time.UTC, Weekly: []pagers.Weekly{{Group: "g", Person: "p", From: "06:00", To: "14:00"}}},
		"no person":   {Shifts: []pagers.Shift{{Group: "g", Start: now, End: now.Add(1)}}},
		"no length":   {Shifts: []pagers.Shift{{Group: "g", Person: "p", Start: now, End: now}}},
		"nobody":      {Substitutions: []pagers.Substitution{{Start: now, End: now.Add(1)}}},
		"in the past": {Handover: -1},
	} {
		require.Error(t, r.Validate(), name)
		_, err := r.OnDuty(t.Context(), "g", now)
		require.Error(t, err, name)
	}
	broken := errors.New("calendar down")
	_, err := (&pagers.Rota{More: func(context.Context, time.Time) ([]pagers.Shift, error) { return nil, broken }}).OnDuty(t.Context(), "g", now)
	require.ErrorIs(t, err, broken)
}

func TestOnCall(t *testing.T) {
	now := time.Now()
	shift := func(group, person string) pagers.Shift {
		return pagers.Shift{Group: group, Person: person, Start: now.Add(-time.Hour), End: now.Add(time.Hour)}
	}
	rota := &pagers.Rota{Shifts: []pagers.Shift{shift("ward", "ada"), shift("ward", "bob"), shift("doctor", "dan")}}
	var mu sync.Mutex
	told := map[string]string{}
	o := &pagers.OnCall{Rota: func() *pagers.Rota { return rota }, Next: pagerFunc(func(_ context.Context, p carewire.Page) error {
		mu.Lock()
		defer mu.Unlock()
		told[p.To] = p.Key
		if p.To == "person:bob" || p.To == "person:dan" {
			panic("no line")
		}
		return nil
	})}
	require.NoError(t, o.Page(t.Context(), carewire.Page{Key: "k", To: "group:ward"}), "one of two was reached")
	require.Equal(t, map[string]string{"person:ada": "k/ada", "person:bob": "k/bob"}, told)
	require.Error(t, o.Page(t.Context(), carewire.Page{Key: "k", To: "group:doctor"}))
	require.ErrorIs(t, o.Page(t.Context(), carewire.Page{Key: "k", To: "group:other"}), pagers.ErrNobodyOnDuty)
	require.NoError(t, o.Page(t.Context(), carewire.Page{Key: "k2", To: "role:clinician"}))
	require.Equal(t, "k2", told["role:clinician"])
}
