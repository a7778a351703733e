package carewire

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// CheckPublish answers as Publish would, for each vital, and stores nothing.
func TestCheckPublishStoresNothing(t *testing.T) {
	w := newWorld(t, nil, nil)
	defer w.close()
	gateway := Principal{ID: "gw", Role: RoleService, Patients: []string{"p1"}}
	vital := func(patient, id string, value float64) Vital {
		v := HeartRate.Of(patient, value)
		v.ID = id
		return v
	}
	correction := vital("p1", "c", 71)
	correction.Status, correction.Replaces = VitalCorrected, "a"
	lost := correction
	lost.Replaces = "unknown"
	check := func() []error {
		return w.hub.CheckPublish(t.Context(), gateway, vital("p1", "a", 70), vital("p1", "a", 71), vital("p2", "b", 70), vital("p1", "b", -1), vital("p1", "b", 70), correction, lost)
	}
	before := check()
	require.NoError(t, before[0], "nothing is known yet")
	require.NoError(t, before[1])
	require.Error(t, before[5], "there is nothing to correct")
	done := make(chan []PublishResult, 1)
	w.hub.publish(t.Context(), &gateway, []Vital{vital("p1", "a", 70)}, nil, func(list []PublishResult) { done <- list })
	require.NoError(t, (<-done)[0].Err)

	for range 2 {
		errs := check()
		require.NoError(t, errs[0], "a repetition")
		require.ErrorIs(t, errs[1], ErrIDReused)
		require.ErrorIs(t, errs[2], ErrForbidden)
		var invalid *ValidationError
		require.ErrorAs(t, errs[3], &invalid)
		require.NoError(t, errs[4])
		require.NoError(t, errs[5])
		require.ErrorAs(t, errs[6], &invalid)
		require.Equal(t, "replaces", invalid.Field)
	}
	page, err := w.hub.History(t.Context(), HistoryQuery{Patient: "p1", Kinds: []Kind{KindVital}})
	require.NoError(t, err)
	require.Len(t, page.Events, 1)
}
