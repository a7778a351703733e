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

// A correction is another one even if it differs only beside its value.
func TestCorrectionsBesideTheValue(t *testing.T) {
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

// A number with more than 15 digits is accepted, rounded and marked as rounded.
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
	r := w.do("gateway", "POST", "Observation", hr("p1", "b", "1234567890123456789012345"))
	assert.Equal(t, 422, r.Code, r.Body)
	assert.Equal(t, "valueQuantity.value", at(r.json(), "issue", 0, "expression", 0))
	assert.Equal(t, 1, w.vitalsIn("p1"))
}

// A condition names one identifier, in which a comma and a bar stand after a
// backslash.
func TestConditionOfOneIdentifier(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	for _, c := range []struct {
		id, query string
		status    int
	}{
		{"a,b", `identifier=a,b`, 400},
		{"a,b", `identifier=a\,b`, 201},
		{"a,b", `identifier=a\,b`, 200},
		{"a", `identifier=a,a`, 400},
		{"a", `identifier=x|a|b`, 400},
		{"a", `identifier=a\`, 400},
		{`a|b`, `identifier=a\|b`, 201},
		{"", `identifier=a\|b`, 409}, // with another value
	} {
		value := 70
		if c.id == "" {
			value = 71
		}
		r := w.do("gateway", "POST", "Observation", hr("p1", c.id, value), "If-None-Exist", c.query)
		assert.Equal(t, c.status, r.Code, "%+v: %s", c, r.Body)
	}
	assert.Equal(t, 2, w.vitalsIn("p1"))
}

// A correction may say more than the vital that it corrects, and a withdrawal too.
func TestCorrectionWithANewPart(t *testing.T) {
	alone := func(body string) string { return body[:strings.Index(body, ",\n \"component\"")] + "}" }
	for _, typ := range []string{"", "batch", "transaction"} {
		for _, c := range []struct {
			status string
			want   int // vitals
			last   map[string]carewire.Decimal
		}{
			{"corrected", 3, map[string]carewire.Decimal{"59408-5": "94", "3151-8": "2"}},
			{"entered-in-error", 2, map[string]carewire.Decimal{}},
		} {
			w := newWorld(t, nil, nil, nil)
			require.Equal(t, 201, w.do("gateway", "POST", "Observation", alone(oximetry("final", "ox", 95, 2))).Code)
			for _, want := range []string{"201 Created", "200 OK"} {
				correction := oximetry(c.status, "ox", 94, 2)
				if typ == "" {
					r := w.do("gateway", "POST", "Observation", correction)
					require.Equal(t, want[:3], fmt.Sprint(r.Code), "%s: %s", c.status, r.Body)
					continue
				}
				r := w.bundleOf(typ, correction)
				require.Equal(t, want, at(r.json(), "entry", 0, "response", "status"), "%s %s: %s", typ, c.status, r.Body)
			}
			require.Equal(t, c.want, w.vitalsIn("p1"), "%s %s", typ, c.status)
			latest, _, err := w.hub.Latest(t.Context(), "p1")
			require.NoError(t, err)
			got := make(map[string]carewire.Decimal)
			for _, ev := range latest {
				if ev.Vital.Status != carewire.VitalEnteredInError {
					got[ev.Vital.Code] = ev.Vital.Value
				}
			}
			require.Equal(t, c.last, got, "%s %s", typ, c.status)
			w.close()
		}
	}
}

// A correction takes the place of the whole: parts that it leaves out are withdrawn,
// and those of other Observations stay.
func TestCorrectionLeavesAPartOut(t *testing.T) {
	part := func(code string, v int) string {
		return fmt.Sprintf(`{"code":{"coding":[{"system":"http://loinc.org","code":%q}]},"valueQuantity":{"value":%d,"system":"http://unitsofmeasure.org","code":"L/min"}}`, code, v)
	}
	observation := func(status, id string, saturation int, parts ...string) string {
		body := oximetry(status, id, saturation, 0)
		body = body[:strings.Index(body, ",\n \"component\"")]
		if len(parts) > 0 {
			body += `,"component":[` + strings.Join(parts, ",") + "]"
		}
		return body + "}"
	}
	for _, typ := range []string{"", "batch", "transaction"} {
		w := newWorld(t, nil, nil, nil)
		post := func(want, body string) {
			t.Helper()
			if typ == "" {
				r := w.do("gateway", "POST", "Observation", body)
				require.Equal(t, want, fmt.Sprint(r.Code), r.Body)
				return
			}
			r := w.bundleOf(typ, body)
			require.Contains(t, at(r.json(), "entry", 0, "response", "status"), want, "%s: %s", typ, r.Body)
		}
		latest := func() map[string]carewire.Decimal {
			list, _, err := w.hub.Latest(t.Context(), "p1")
			require.NoError(t, err)
			got := make(map[string]carewire.Decimal)
			for _, ev := range list {
				if ev.Vital.Status != carewire.VitalEnteredInError && ev.Vital.Device == "" {
					got[ev.Vital.Code] = ev.Vital.Value
				}
			}
			return got
		}
		const flow, unknown = "3151-8", "33438-3" // the second is no code that carewire knows
		earlier := strings.ReplaceAll(observation("final", "earlier", 97, part("19941-4", 5)), "12:00:00", "11:00:00")
		post("201", earlier)
		other := carewire.OxygenFlow.Of("p1", 9) // the same code of another device
		other.Device = "d2"
		_, err := w.hub.Publish(t.Context(), other)
		require.NoError(t, err)
		post("201", observation("final", "ox", 95, part(flow, 2), part(unknown, 7)))
		require.Equal(t, map[string]carewire.Decimal{"59408-5": "95", flow: "2", unknown: "7", "19941-4": "5"}, latest())
		post("201", observation("corrected", "ox", 94, part(flow, 2)))
		require.Equal(t, map[string]carewire.Decimal{"59408-5": "94", flow: "2", "19941-4": "5"}, latest())
		n := w.vitalsIn("p1")
		post("200", observation("corrected", "ox", 94, part(flow, 2)))
		require.Equal(t, n, w.vitalsIn("p1"), "a repeat")
		post("201", observation("corrected", "ox", 93))
		require.Equal(t, map[string]carewire.Decimal{"59408-5": "93", "19941-4": "5"}, latest())
		post("201", observation("corrected", "ox", 93, part(flow, 3)))
		require.Equal(t, map[string]carewire.Decimal{"59408-5": "93", flow: "3", "19941-4": "5"}, latest())
		post("201", observation("entered-in-error", "ox", 93))
		require.Equal(t, map[string]carewire.Decimal{"19941-4": "5"}, latest())
		w.close()
	}
}

// A correction of nothing is refused with all its parts, and names the element.
func TestCorrectionOfNothing(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	r := w.bundleOf("batch", oximetry("final", "ox", 95, 2), oximetry("corrected", "ox", 94, 3))
	require.Equal(t, "201 Created", at(r.json(), "entry", 0, "response", "status"), r.Body)
	require.Equal(t, "422 Unprocessable Entity", at(r.json(), "entry", 1, "response", "status"), "entries of a batch know nothing of each other")
	require.Equal(t, "identifier", at(r.json(), "entry", 1, "response", "outcome", "issue", 0, "expression", 0))
	require.Equal(t, 2, w.vitalsIn("p1"))
	r = w.bundleOf("batch", oximetry("corrected", "ox", 94, 3))
	require.Equal(t, "201 Created", at(r.json(), "entry", 0, "response", "status"), r.Body)
	require.Equal(t, 4, w.vitalsIn("p1"))
	r = w.do("gateway", "POST", "Observation", oximetry("corrected", "none", 94, 3))
	require.Equal(t, 422, r.Code, r.Body)
	require.Equal(t, "identifier", at(r.json(), "issue", 0, "expression", 0))

	flow := strings.NewReplacer("8867-4", "3151-8", "/min", "L/min").Replace(hr("p1", "none.3151-8", 2)) // another Observation's
	require.Equal(t, 201, w.do("gateway", "POST", "Observation", flow).Code)
	r = w.do("gateway", "POST", "Observation", oximetry("corrected", "none", 94, 3))
	require.Equal(t, 422, r.Code, r.Body)
	require.Equal(t, 5, w.vitalsIn("p1"), "no part of it is stored")
}

// A refusal of the Hub names the element, not carewire's own member.
func TestHubNamesElements(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	require.Equal(t, 201, w.do("gateway", "POST", "Observation", hr("p1", "a", 70)).Code)
	require.Equal(t, 201, w.do("gateway", "POST", "Observation", strings.Replace(hr("p1", "b", 71), "12:00:00", "12:10:00", 1)).Code)
	late := strings.NewReplacer(`"final"`, `"corrected"`, "12:00:00", "12:20:00").Replace(hr("p1", "a", 72))
	r := w.do("gateway", "POST", "Observation", late)
	require.Equal(t, 422, r.Code, r.Body)
	require.Equal(t, "effectiveDateTime", at(r.json(), "issue", 0, "expression", 0))
	require.Equal(t, 2, w.vitalsIn("p1"))
}

// Numbers are taken with an exponent too, as JSON has them.
func TestExponents(t *testing.T) {
	for text, want := range map[string]carewire.Decimal{
		"72": "72", "7.2e1": "72", "7.20E+1": "72.0", "720e-1": "72.0", "1e2": "100", "0.05e1": "0.5", "0.012e3": "12", "-1.5e-3": "-0.0015",
		"0e-8": "0.00000000", "0E+2": "0", "1e-1": "0.1", "12.34e1": "123.4", "0.12e2": "12", "1e30": "1" + carewire.Decimal(strings.Repeat("0", 30)),
		"1e31": "", "1e-31": "", "1e99999999999999999999": "",
	} {
		got, ok := plain(text)
		assert.Equal(t, want, got, text)
		assert.Equal(t, want != "", ok, text)
	}
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	r := w.do("gateway", "POST", "Observation", hr("p1", "a", "7.20e1"), "Prefer", "return=representation")
	require.Equal(t, 201, r.Code, r.Body)
	assert.Contains(t, r.Body.String(), `"value":72.0,`)
	assert.Equal(t, 200, w.do("gateway", "POST", "Observation", hr("p1", "a", "72.0")).Code)
	for _, wrong := range []string{"1e30", "1e31", "-1e2"} {
		r = w.do("gateway", "POST", "Observation", hr("p1", "", wrong))
		assert.Equal(t, 422, r.Code, "%s: %s", wrong, r.Body)
		assert.Equal(t, "valueQuantity.value", at(r.json(), "issue", 0, "expression", 0), wrong)
	}
}
