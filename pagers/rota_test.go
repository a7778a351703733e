package pagers_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
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

// Until the handover has ended, the person on duty is the one who was on duty last:
// the substitute, not the one who was away.
func TestSubstitutionAtHandover(t *testing.T) {
	at := func(hour, minute int) time.Time { return time.Date(2026, 8, 3, hour, minute, 0, 0, time.UTC) }
	r := &pagers.Rota{Handover: 15 * time.Minute,
		Shifts: []pagers.Shift{
			{Group: "ward", Person: "ada", Start: at(6, 0), End: at(14, 0)},
			{Group: "ward", Person: "bob", Start: at(6, 0), End: at(14, 0)},
			{Group: "ward", Person: "cyd", Start: at(6, 0), End: at(14, 0)},
			{Group: "ward", Person: "dan", Start: at(14, 0), End: at(22, 0)},
		},
		Substitutions: []pagers.Substitution{
			{Person: "ada", By: "fay", Start: at(6, 0), End: at(14, 0)},
			{Person: "bob", Start: at(6, 0), End: at(14, 0)},             // nobody takes over
			{Person: "cyd", By: "gus", Start: at(14, 5), End: at(22, 0)}, // begins during the handover
		},
	}
	for now, want := range map[time.Time][]string{
		at(13, 59): {"cyd", "fay"},
		at(14, 0):  {"cyd", "dan", "fay"},
		at(14, 14): {"dan", "fay", "gus"},
		at(14, 15): {"dan"},
	} {
		on, err := r.OnDuty(t.Context(), "ward", now)
		require.NoError(t, err)
		require.Equal(t, want, on, now)
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
		"eighth day":  {Zone: time.UTC, Weekly: []pagers.Weekly{{Group: "g", Person: "p", Days: []time.Weekday{1, 7}, From: "06:00", To: "14:00"}}},
		"no person":   {Shifts: []pagers.Shift{{Group: "g", Start: now, End: now.Add(1)}}},
		"no length":   {Shifts: []pagers.Shift{{Group: "g", Person: "p", Start: now, End: now}}},
		"nobody":      {Substitutions: []pagers.Substitution{{Start: now, End: now.Add(1)}}},
		"in the past": {Handover: -1},
		"over a day":  {Handover: 25 * time.Hour},
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

	// A shift that is not known fails the page of its group, in which ada is told all the same.
	broken := errors.New("a broken shift")
	rota.More = func(context.Context, time.Time) ([]pagers.Shift, error) {
		return []pagers.Shift{{Group: "ward", Person: "eve", Err: broken}, {Group: "night", Person: "eve", Err: broken}}, nil
	}
	err := o.Page(t.Context(), carewire.Page{Key: "k3", To: "group:ward"})
	require.ErrorIs(t, err, pagers.ErrUnknownShift)
	require.ErrorContains(t, err, "a broken shift")
	require.Equal(t, "k3/ada", told["person:ada"])
	require.ErrorIs(t, o.Page(t.Context(), carewire.Page{Key: "k4", To: "group:night"}), pagers.ErrUnknownShift)
	require.NotContains(t, told, "person:eve")
	require.NotErrorIs(t, o.Page(t.Context(), carewire.Page{Key: "k5", To: "group:doctor"}), pagers.ErrUnknownShift)
	require.Equal(t, "k2", told["role:clinician"])
}

// Ada is reached, and Bob's way hangs: the level was told.
func TestOnCallWhereOneWayHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		shift := func(person string) pagers.Shift {
			return pagers.Shift{Group: "ward", Person: person, Start: now.Add(-time.Hour), End: now.Add(time.Hour)}
		}
		rota := &pagers.Rota{Shifts: []pagers.Shift{shift("ada"), shift("bob")}}
		hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{
			Pager: &pagers.OnCall{Rota: func() *pagers.Rota { return rota }, Next: pagerFunc(func(ctx context.Context, p carewire.Page) error {
				if p.To == "person:bob" {
					<-ctx.Done()
				}
				return ctx.Err()
			})},
			Policy: func(context.Context, carewire.Alert, int) (carewire.Step, error) {
				return carewire.Step{To: []string{"group:ward"}, After: time.Minute}, nil
			}})
		require.NoError(t, err)
		defer hub.Shutdown(context.Background())
		_, err = hub.Raise(t.Context(), carewire.Raise{Patient: "p", Key: "k", Text: "x", Priority: carewire.PriorityHigh})
		require.NoError(t, err)
		time.Sleep(30 * time.Second)
		s := hub.Stats()
		require.EqualValues(t, 1, s.PagesSent)
		require.Zero(t, s.PagesFailed)
		require.Zero(t, s.LevelsUnreached)
	})
}

func TestOnCallWaitsForTheOthers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		now := time.Now()
		rota := &pagers.Rota{}
		for _, person := range []string{"ada", "bob"} {
			rota.Shifts = append(rota.Shifts, pagers.Shift{Group: "ward", Person: person, Start: now, End: now.Add(time.Hour)})
		}
		slow := false // bob's way is slow, and has an end in time
		o := &pagers.OnCall{Rota: func() *pagers.Rota { return rota }, Next: pagerFunc(func(_ context.Context, p carewire.Page) error {
			if p.To == "person:bob" {
				time.Sleep(8 * time.Second)
				slow = true
			}
			return nil
		})}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		require.NoError(t, o.Page(ctx, carewire.Page{To: "group:ward"}))
		require.True(t, slow)
	})
}

// The Hub's log says that nobody is on duty, also behind a Chain, and that a shift
// is not known.
func TestNobodyOnDutyIsLogged(t *testing.T) {
	on := func(r *pagers.Rota) *pagers.OnCall {
		return &pagers.OnCall{Rota: func() *pagers.Rota { return r }, Next: pagerFunc(func(context.Context, carewire.Page) error { return nil })}
	}
	nobody, ever := on(&pagers.Rota{}), time.Date(2200, 1, 1, 0, 0, 0, 0, time.UTC)
	unknown := on(&pagers.Rota{Shifts: []pagers.Shift{{Group: "ward", Person: "ada", End: ever}}, More: func(context.Context, time.Time) ([]pagers.Shift, error) {
		return []pagers.Shift{{Group: "ward", Err: errors.New("x")}}, nil
	}})
	for cause, p := range map[string]carewire.Pager{"pagers.nobodyOnDuty": nobody, "pagers.nobodyOnDuty ": pagers.NewChain(nobody), "pagers.unknownShift": unknown} {
		synctest.Test(t, func(t *testing.T) {
			var log bytes.Buffer
			hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Pager: p, Logger: slog.New(slog.NewTextHandler(&log, nil)),
				Policy: func(context.Context, carewire.Alert, int) (carewire.Step, error) {
					return carewire.Step{To: []string{"group:ward"}}, nil
				}})
			require.NoError(t, err)
			_, err = hub.Raise(t.Context(), carewire.Raise{Patient: "p", Key: "k", Text: "x", Priority: carewire.PriorityHigh})
			require.NoError(t, err)
			synctest.Wait()
			require.NoError(t, hub.Shutdown(context.Background()))
			synctest.Wait()
			require.Contains(t, log.String(), "cause="+strings.TrimSpace(cause))
		})
	}
}

func TestOnCallWithoutARota(t *testing.T) {
	o := &pagers.OnCall{Rota: func() *pagers.Rota { return nil }, Next: pagers.NewChain()}
	require.Error(t, o.Page(t.Context(), carewire.Page{To: "group:ward"}))
}
