package carewire

import (
	"context"
	"io"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// Access control decides without a Hub.
func TestAccessControl(t *testing.T) {
	o := (&Options{Logger: slog.New(slog.NewTextHandler(io.Discard, nil))}).withDefaults()
	calls := newHostCalls(&o, new(counters))
	asked := 0
	directory := directoryFunc(func(_ context.Context, group string) ([]string, error) {
		asked++
		return map[string][]string{"icu": {"g1", "g2"}}[group], nil
	})
	a := &accessControl{call: calls.authorize, now: time.Now, groups: newGroups(directory, calls.directory), revoked: newRevocations(),
		emergencies: newEmergencies(nil, nil)}
	nurse := &Principal{ID: "nurse", Role: RoleClinician, Patients: []string{"p1"}, Groups: []string{"icu"}}
	got := a.decide(t.Context(), nurse, ActionWatch, []string{"p1", "p2", "g1"})
	require.Equal(t, map[string]error{"p1": nil, "p2": ErrForbidden, "g1": nil}, got)
	require.Equal(t, map[string]error{"p1": ErrForbidden}, a.decide(t.Context(), nurse, ActionPublish, []string{"p1"}))
	require.Equal(t, 1, asked, "a group is remembered")
	a.revoked.add("nurse", revokedScope{patient: "g1"}, revoked{until: time.Now().Add(time.Hour), at: time.Now()}, time.Now())
	require.Equal(t, map[string]error{"g1": ErrForbidden, "g2": nil}, a.decide(t.Context(), nurse, ActionWatch, []string{"g1", "g2"}))
}
