package fhir

import (
	"fmt"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func TestTokens(t *testing.T) {
	for text, want := range map[string][]token{
		"":             {{}},
		"a":            {{code: "a"}},
		"s|a":          {{"s", "a", true}},
		"|a":           {{"", "a", true}},
		"s|":           {{"s", "", true}},
		"a,s|b,":       {{code: "a"}, {"s", "b", true}, {}},
		`a\,b\|c\$\\`:  {{code: `a,b|c$\`}},
		`s\|s|a\,a,b`:  {{"s|s", "a,a", true}, {code: "b"}},
		`a\`:           nil,
		`a\b`:          nil,
		"s|a|b":        nil,
		"http://x/y|z": {{"http://x/y", "z", true}},
	} {
		list, ok := readTokens(text)
		assert.Equal(t, want, list, text)
		assert.Equal(t, want != nil, ok, text)
	}
}

// A search that is not understood names the parameter, and nothing of its value.
func TestRefusedParametersAreNamed(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	w.rates("p1", 60)
	for query, c := range map[string]struct{ code, name string }{
		"identifier=a,b":                    {"not-supported", "identifier"},
		"identifier=a":                      {"not-supported", "identifier"},
		"code:in=http://x":                  {"not-supported", "code"},
		"combo-code=8867-4":                 {"not-supported", "combo-code"},
		"patient.name=secret":               {"not-supported", "patient"},
		"device.secret=1":                   {"not-supported", "device"},
		"secret+of+x=1":                     {"not-supported", "?"},
		"patient=p1,secret":                 {"not-supported", "patient"},
		"subject=Patient/p1,Patient/p_2":    {"not-supported", "subject"},
		"date=2026-03-01,2026-03-02":        {"not-supported", "date"},
		"_count=1,2":                        {"not-supported", "_count"},
		"_cursor=1,2":                       {"not-supported", "_cursor"},
		"code=8867-4&code=secret":           {"not-supported", "code"},
		"code=8867-4,":                      {"invalid", "code"},
		"code=http://loinc.org|":            {"invalid", "code"},
		"code=|8867-4":                      {"invalid", "code"},
		`code=8867-4\`:                      {"invalid", "code"},
		"category=a|b|secret":               {"invalid", "category"},
		"date=secret":                       {"invalid", "date"},
		"patient=p1&subject=Patient/p_2":    {"invalid", ""},
		"_count=secret":                     {"invalid", "_count"},
		"category=vital-signs&code=secret,": {"invalid", "code"},
	} {
		full := query
		if name := parameterName(query[:4]); name != "pati" && name != "subj" {
			full += "&patient=p1"
		}
		r := w.do("nurse", "POST", "Observation/_search", full, "Content-Type", "application/x-www-form-urlencoded")
		require.Equal(t, 400, r.Code, "%s: %s", query, r.Body)
		assert.Equal(t, "OperationOutcome", at(r.json(), "resourceType"), query)
		assert.Equal(t, c.code, at(r.json(), "issue", 0, "code"), query)
		if c.name != "" {
			assert.Equal(t, []any{c.name}, at(r.json(), "issue", 0, "expression"), query)
		}
		assert.NotContains(t, r.Body.String(), "secret", query)
		text := fmt.Sprint(at(r.json(), "issue", 0, "diagnostics"))
		offered := query == "code:in=http://x" || query == "patient.name=secret"
		assert.Equal(t, offered, text == "no modifier or chain is supported", "%s: %s", query, text)
	}
}

// FHIR's lists: any of the values between commas.
func TestListsOfCodes(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	_, err := w.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 60), carewire.SpO2.Of("p1", 97))
	require.NoError(t, err)
	for query, want := range map[string][]string{
		"code=8867-4,59408-5":                           {"60", "97"},
		"code=http://loinc.org|8867-4,http://x|59408-5": {"60"},
		`code=8867-4\,59408-5`:                          nil,
		"category=laboratory,vital-signs":               {"60", "97"},
		"category=" + systemCategory + "|vital-signs":   {"60", "97"},
		"category=|vital-signs":                         nil,
		"category=laboratory,http://x|vital-signs":      nil,
		"category=exam,laboratory&code=8867-4":          nil,
	} {
		r := w.do("nurse", "POST", "Observation/_search", "patient=p1&"+query, "Content-Type", "application/x-www-form-urlencoded")
		require.Equal(t, 200, r.Code, "%s: %s", query, r.Body)
		if want == nil {
			assert.Empty(t, at(r.json(), "entry"), query)
			continue
		}
		list, _ := values(r.json())
		assert.Equal(t, want, list, query)
	}
}
