package fhir

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// oximetry is a saturation with the flow of oxygen beside it.
func oximetry(status, id string, saturation, flow int) string {
	return fmt.Sprintf(`{"resourceType":"Observation","status":%q,"identifier":[{"value":%q}],"code":{"coding":[{"system":"http://loinc.org","code":"59408-5"}]},
 "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-03-01T12:00:00Z","valueQuantity":{"value":%d,"system":"http://unitsofmeasure.org","code":"%%"},
 "component":[{"code":{"coding":[{"system":"http://loinc.org","code":"3151-8"}]},"valueQuantity":{"value":%d,"system":"http://unitsofmeasure.org","code":"L/min"}}]}`,
		status, id, saturation, flow)
}

// A correction is another one where only what stands beside its value is.
func TestCorrectionsOfWhatStandsBeside(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	for _, c := range []struct {
		body   string
		status int
	}{
		{oximetry("final", "ox", 95, 2), 201},
		{oximetry("final", "ox", 95, 2), 200},
		{oximetry("corrected", "ox", 95, 3), 201},
		{oximetry("corrected", "ox", 95, 3), 200},
		{oximetry("corrected", "ox", 95, 4), 201},
		{oximetry("corrected", "ox", 95, 4), 200},
		{oximetry("corrected", "ox", 94, 4), 201},
	} {
		r := w.do("gateway", "POST", "Observation", c.body)
		require.Equal(t, c.status, r.Code, "%s: %s", c.body, r.Body)
	}
	latest, _, err := w.hub.Latest(t.Context(), "p1")
	require.NoError(t, err)
	got := make(map[string]carewire.Decimal)
	for _, ev := range latest {
		got[ev.Vital.Code] = ev.Vital.Value
	}
	require.Equal(t, map[string]carewire.Decimal{"59408-5": "94", "3151-8": "4"}, got)
}

// A condition without a value would give all who send it one ID.
func TestConditionWithoutAValue(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	for _, q := range []string{"identifier=", "identifier=|", "identifier=urn:x|", "?identifier=urn:ietf:rfc3986|"} {
		r := w.do("gateway", "POST", "Observation", hr("p1", "", 70), "If-None-Exist", q)
		assert.Equal(t, 412, r.Code, "%s: %s", q, r.Body)
		assert.Equal(t, "multiple-matches", at(r.json(), "issue", 0, "code"), q)
	}
	assert.Zero(t, w.vitalsIn("p1"))
}

// A number with more than 15 digits is taken and rounded, and said to be.
func TestLongNumbers(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	temperature := strings.NewReplacer("8867-4", "8310-5", "/min", "Cel").Replace(hr("p1", "a", "36.666666666666664"))
	for _, status := range []int{201, 200} {
		r := w.do("gateway", "POST", "Observation", temperature, "Prefer", "return=representation")
		require.Equal(t, status, r.Code, r.Body)
		assert.Contains(t, r.Body.String(), `"value":36.6666666666667,`)
		assert.Contains(t, fmt.Sprint(at(r.json(), "meta", "tag")), "code:rounded")
	}
	r := w.do("gateway", "POST", "Observation", hr("p1", "b", "1234567890123456"))
	assert.Equal(t, 422, r.Code, r.Body)
	assert.Equal(t, "valueQuantity.value", at(r.json(), "issue", 0, "expression", 0))
	assert.Equal(t, 1, w.vitalsIn("p1"))
}
