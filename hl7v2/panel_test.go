package hl7v2

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/require"
)

// panels maps pressures, each a code, a place (OBX-4) and a value, and returns
// the components of each reading.
func panels(t *testing.T, pressures ...[3]string) (list []string, errs []*Error) {
	t.Helper()
	var obx []string
	for i, p := range pressures {
		obx = append(obx, fmt.Sprintf("OBX|%d|NM|%s^x^LN|%s|%s|%s|||||R|||%s", i+1, p[0], p[1], p[2], mmhg, minute))
	}
	got, errs := readings(t, nil, obx...)
	for _, r := range got {
		require.NoError(t, r.Vital.Validate())
		text := r.Vital.Code
		for _, c := range r.Vital.Components {
			text += " " + string(c.Value)
		}
		list = append(list, text)
	}
	return list, errs
}

// Pressures of two measurements are never one vital.
func TestPressuresAreNotMixed(t *testing.T) {
	t.Parallel()
	const sys, dia, mean = "8480-6", "8462-4", "8478-0"
	const bp = "85354-9 "
	for _, row := range []struct {
		name      string
		pressures [][3]string
		want      []string
		refused   int
	}{
		{"plain places", [][3]string{{sys, "1", "120"}, {sys, "2", "90"}, {dia, "1", "80"}, {dia, "2", "50"}}, []string{bp + "120 80", bp + "90 50"}, 0},
		{"plain places, a half of each", [][3]string{{sys, "1", "120"}, {dia, "2", "50"}}, []string{bp + "120", bp + "50"}, 0},
		{"a plain place and one with dots", [][3]string{{sys, "1", "120"}, {dia, "1.1", "50"}}, []string{bp + "120", bp + "50"}, 0},
		{"a place and none", [][3]string{{sys, "", "120"}, {dia, "1", "50"}}, []string{bp + "120", bp + "50"}, 0},
		{"one plain place", [][3]string{{dia, "1", "80"}, {sys, "1", "120"}, {mean, "1", "93"}}, []string{bp + "80 120 93"}, 0},
		{"no places", [][3]string{{sys, "", "120"}, {dia, "", "80"}}, []string{bp + "120 80"}, 0},
		{"dots", [][3]string{{sys, "1.1.9.1", "120"}, {sys, "1.2.9.1", "90"}, {dia, "1.1.9.2", "80"}, {dia, "1.2.9.2", "50"}}, []string{bp + "120 80", bp + "90 50"}, 0},
		{"twice in one place", [][3]string{{sys, "1", "120"}, {sys, "1", "90"}, {dia, "1", "80"}, {dia, "1", "50"}}, []string{bp + "120", bp + "90", bp + "80", bp + "50"}, 0},
		{"twice in none", [][3]string{{sys, "", "120"}, {sys, "", "90"}, {dia, "", "80"}}, []string{bp + "120", bp + "90", bp + "80"}, 0},
		{"twice below one parent", [][3]string{{sys, "1.1", "120"}, {dia, "1.2", "80"}, {sys, "1.3", "90"}}, []string{bp + "120", bp + "80", bp + "90"}, 0},
		{"twice, of which one is refused", [][3]string{{sys, "1", "fast"}, {sys, "1", "90"}, {dia, "1", "80"}}, []string{bp + "90", bp + "80"}, 1},
		{"twice, of which one is impossible", [][3]string{{sys, "1", "-5"}, {sys, "1", "90"}, {dia, "1", "80"}}, []string{bp + "90", bp + "80"}, 1},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			got, errs := panels(t, row.pressures...)
			require.Len(t, errs, row.refused)
			require.Equal(t, row.want, got)
		})
	}
}

// A pressure off the scale is a vital of its own, and counts as one of its place.
func TestPressureOffTheScale(t *testing.T) {
	t.Parallel()
	p := func(i int, code, value, flag string) string {
		return fmt.Sprintf("OBX|%d|NM|%s^x^LN|1|%s|%s||%s|||R|||%s", i, code, value, mmhg, flag, minute)
	}
	got, errs := readings(t, nil, p(1, "8480-6", "280", ">"), p(2, "8480-6", "90", ""), p(3, "8462-4", "80", ""))
	require.Empty(t, errs)
	require.Len(t, got, 3, "whose the 80 is nobody knows")
	require.Equal(t, "8480-6", got[0].Vital.Code)
}
