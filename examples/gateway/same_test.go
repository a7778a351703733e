package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/hl7v2"
	"github.com/carewire/carewire/internal/process"
)

// A measured is one measurement as HL7 version 2 and as FHIR have it.
type measured struct{ obx, observation string }

// numeric is a measurement with one number.
func numeric(mdc, value, unit, more, loinc, ucum, extra string) measured {
	return measured{
		obx:         "NM|" + mdc + "|1.1.1|" + value + "|" + unit + more,
		observation: fmt.Sprintf(`"code":{"coding":[{"system":"http://loinc.org","code":%q}]},"valueQuantity":{"value":%s,"system":"http://unitsofmeasure.org","code":%q}%s`, loinc, value, ucum, extra),
	}
}

const percent = "262688^MDC_DIM_PERCENT^MDC"

// measurements are a monitor's values of a patient.
var measurements = []measured{
	numeric("147842^MDC_ECG_HEART_RATE^MDC", "72", "264864^MDC_DIM_BEAT_PER_MIN^MDC", "|||||R", "8867-4", "/min", ""),
	numeric("150456^MDC_PULS_OXIM_SAT_O2^MDC", "88", percent, "||QUES|||R", "59408-5", "%",
		`,"interpretation":[{"coding":[{"system":"http://hl7.org/fhir/uv/pocd/CodeSystem/measurement-status","code":"questionable"}]}]`),
	numeric("151562^MDC_RESP_RATE^MDC", "14", "264928^MDC_DIM_RESP_PER_MIN^MDC", "|||||R", "9279-1", "/min", ""),
	numeric("150344^MDC_TEMP^MDC", "36.80", "268192^MDC_DIM_DEGC^MDC", "|||||R", "8310-5", "Cel", ""),
	{
		obx:         "NM|149530^MDC_PULS_OXIM_PULS_RATE^MDC|1.1.1||264864^MDC_DIM_BEAT_PER_MIN^MDC||OFF|||X",
		observation: `"code":{"coding":[{"system":"http://loinc.org","code":"8889-8"}]},"dataAbsentReason":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/data-absent-reason","code":"not-performed"}]}`,
	},
}

// pressure is a blood pressure: two OBX, one Observation.
const (
	systolic  = "NM|150021^MDC_PRESS_BLD_NONINV_SYS^MDC|1.2.1.1|121|266016^MDC_DIM_MMHG^MDC|||||R"
	diastolic = "NM|150022^MDC_PRESS_BLD_NONINV_DIA^MDC|1.2.1.2|79|266016^MDC_DIM_MMHG^MDC|||||R"
	pressure  = `"code":{"coding":[{"system":"http://loinc.org","code":"85354-9"}]},"method":{"text":"cuff"},"component":[
 {"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":121,"system":"http://unitsofmeasure.org","code":"mm[Hg]"}},
 {"code":{"coding":[{"system":"http://loinc.org","code":"8462-4"}]},"valueQuantity":{"value":79,"system":"http://unitsofmeasure.org","code":"mm[Hg]"}}]`
)

// byHL7 sends everything as one ORU^R01.
func (g *opened) byHL7(at time.Time) {
	g.t.Helper()
	segments := []string{whom, "OBR|1|||x|||" + at.Format("20060102150405.000") + "+0000"}
	for i, m := range measurements {
		segments = append(segments, fmt.Sprintf("OBX|%d|%s", i+1, m.obx))
	}
	n := len(measurements)
	segments = append(segments, fmt.Sprintf("OBX|%d|%s", n+1, systolic), fmt.Sprintf("OBX|%d|%s", n+2, diastolic))
	require.Equal(g.t, "AA", g.send("ORU^R01^ORU_R01", segments...))
}

// byFHIR posts everything as Observations.
func (g *opened) byFHIR(at time.Time) {
	g.t.Helper()
	list := []string{pressure}
	for _, m := range measurements {
		list = append(list, m.observation)
	}
	for _, o := range list {
		r := httptest.NewRequest("POST", "/fhir/Observation", strings.NewReader(`{"resourceType":"Observation","status":"final","subject":{"reference":"Patient/p-17"},"effectiveDateTime":"`+
			at.Format("2006-01-02T15:04:05.000Z")+`",`+o+"}"))
		r.Header.Set("Authorization", "Bearer ehr")
		r.Header.Set("Content-Type", "application/fhir+json")
		answer := httptest.NewRecorder()
		g.handler().ServeHTTP(answer, r)
		require.Equal(g.t, http.StatusCreated, answer.Code, answer.Body)
	}
}

// seen is the content of a clinician's page: the patients, and each vital sign
// and alert, without the IDs and times of messages.
func (g *opened) seen(vitals, alerts int) (list []string) {
	g.t.Helper()
	server := httptest.NewServer(g.handler())
	defer server.Close()
	ctx, cancel := context.WithTimeout(g.t.Context(), process.Patience)
	defer cancel()
	c, err := carewire.Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http")+"/carewire", &carewire.DialOptions{Token: func(context.Context) (string, error) { return "nurse-ada", nil }})
	require.NoError(g.t, err)
	defer c.Close()
	_, err = c.Watch(ctx, carewire.WatchOptions{Groups: []string{everyone}})
	require.NoError(g.t, err)
	newest := make(map[string]string)
	count := func(kind string) (n int) {
		for k := range newest {
			if strings.HasPrefix(k, kind) {
				n++
			}
		}
		return n
	}
	for e, err := range c.Events(ctx) {
		require.NoError(g.t, err)
		switch e.Type {
		case carewire.EventVital:
			e.Vital.System = cmp.Or(e.Vital.System, carewire.LOINC) // which may be left out
			newest["vital "+e.Vital.Code] = plain(g.t, e.Vital, "vital_id", "received")
		case carewire.EventAlert:
			newest["alert "+e.Alert.Key] = e.Patient + " " + e.Alert.Text + " " + string(e.Alert.Priority) + " " + string(e.Alert.Source.Value)
		}
		if count("vital") == vitals && count("alert") == alerts {
			break
		}
	}
	for k, v := range newest {
		list = append(list, k+": "+v)
	}
	slices.Sort(list)
	return list
}

// plain is the JSON of v without some members.
func plain(t *testing.T, v any, without ...string) string {
	b, err := json.Marshal(v)
	require.NoError(t, err)
	var m map[string]any
	require.NoError(t, json.Unmarshal(b, &m))
	for _, name := range without {
		delete(m, name)
	}
	b, err = json.Marshal(m)
	require.NoError(t, err)
	return string(b)
}

// A ward whose measurements come by HL7 version 2 only, and one whose come by FHIR
// only, are shown alike, and raise the same alert.
func TestBothLanguagesShowTheSame(t *testing.T) {
	one, two := open(t, nil), open(t, nil)
	for _, g := range []*opened{one, two} {
		require.NoError(t, g.census.Admit(t.Context(), hl7v2.Movement{Patient: "p-17", To: hl7v2.Location{Ward: "5", Bed: "B-4"}}))
	}
	at := time.Now().UTC().Truncate(time.Second)
	one.byHL7(at)
	two.byFHIR(at)
	a, b := one.seen(6, 1), two.seen(6, 1)
	require.Equal(t, a, b)
	require.Contains(t, strings.Join(a, "\n"), "Oxygen saturation low")
	require.Equal(t, one.census.all(), two.census.all())
}
