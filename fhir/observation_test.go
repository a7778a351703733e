package fhir

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)

// full has every member of a Vital that an Observation can say.
func full(v carewire.Vital) carewire.Vital {
	v.ID, v.Time, v.Received, v.Device, v.Site, v.Method = "m-1:1_a", noon, noon.Add(time.Second), "bed:5_mon", "left arm", "auscultation"
	return v
}

// vitals are one of each kind that both sides can say whole.
func vitals() map[string]carewire.Vital {
	with := func(v carewire.Vital, f func(*carewire.Vital)) carewire.Vital {
		v.Time = noon
		f(&v)
		return v
	}
	list := map[string]carewire.Vital{
		"full":       full(carewire.HeartRate.Of("p1", 72)),
		"pressure":   with(carewire.BloodPressure.Of("p1", 120, 80), func(v *carewire.Vital) {}),
		"mean":       with(carewire.AveragedBloodPressure.Of("p1", 118, 77), func(v *carewire.Vital) {}),
		"exact":      with(carewire.BodyTemperature.Of("p1", 37), func(v *carewire.Vital) { v.Value = "37.00" }),
		"fahrenheit": with(carewire.BodyTemperature.In("p1", 98.6, "[degF]"), func(v *carewire.Vital) {}),
		"below":      with(carewire.GlucoseMass.Of("p1", 40), func(v *carewire.Vital) { v.Comparator = carewire.ComparatorBelow }),
		"above":      with(carewire.GlucoseMass.Of("p1", 400), func(v *carewire.Vital) { v.Comparator = carewire.ComparatorAbove }),
		"test":       with(carewire.HeartRate.Of("p1", 72), func(v *carewire.Vital) { v.Test = true }),
		"odd IDs":    with(carewire.HeartRate.Of("p_1:x", 72), func(v *carewire.Vital) { v.Device = "d" }),
		"corrected": with(carewire.HeartRate.Of("p1", 72), func(v *carewire.Vital) {
			v.Status, v.Replaces, v.ID = carewire.VitalCorrected, "old", "new"
		}),
		"withdrawn": with(carewire.HeartRate.Of("p1", 72), func(v *carewire.Vital) { v.Status, v.Replaces = carewire.VitalEnteredInError, "old" }),
		"coded": with(carewire.Vital{Patient: "p1", Code: carewire.Consciousness}, func(v *carewire.Vital) {
			v.Coded = &carewire.Coding{System: carewire.SNOMED, Code: "248234008"}
		}),
		"a code of LOINC's": with(carewire.Vital{Patient: "p1", Code: "x", System: "mine"}, func(v *carewire.Vital) {
			v.Coded = &carewire.Coding{System: carewire.LOINC, Code: "LA6560-2"}
		}),
		"own system": with(carewire.Vital{Patient: "p1", Code: "gcs", System: "hospital"}, func(v *carewire.Vital) { v.Value, v.Unit = "15", "{score}" }),
		"own panel": with(carewire.Vital{Patient: "p1", Code: "both", System: "http://ex.org/c"}, func(v *carewire.Vital) {
			v.Components = []carewire.Component{{Code: "a", Value: "1.50", Unit: "mm"}}
		}),
	}
	for _, m := range []carewire.Measure{carewire.HeartRate, carewire.RespiratoryRate, carewire.OxygenSaturation, carewire.SpO2, carewire.OxygenFlow,
		carewire.OxygenConcentration, carewire.BodyTemperature, carewire.SystolicPressure, carewire.DiastolicPressure, carewire.MeanPressure,
		carewire.AveragedSystolic, carewire.AveragedDiastolic, carewire.BodyWeight, carewire.BodyHeight, carewire.HeadCircumference, carewire.BodyMassIndex,
		carewire.GlucoseMass, carewire.GlucoseMoles, carewire.EndTidalCO2} {
		for _, unit := range m.Units() {
			list[m.Display+" "+unit] = with(m.In("p1", 50, unit), func(v *carewire.Vital) { v.Device = "d" })
		}
	}
	for _, reason := range []carewire.AbsentReason{carewire.AbsentError, carewire.AbsentTemporary, carewire.AbsentNotPerformed, carewire.AbsentUnknown} {
		list["absent "+string(reason)] = with(carewire.Vital{Patient: "p1", Code: carewire.SpO2.Code, Absent: reason}, func(v *carewire.Vital) {})
		list["panel absent "+string(reason)] = with(carewire.Vital{Patient: "p1", Code: carewire.BloodPressure.Code, Absent: reason}, func(v *carewire.Vital) {})
	}
	for _, f := range flags {
		list["quality "+string(f.quality)] = with(carewire.HeartRate.Of("p1", 72), func(v *carewire.Vital) { v.Quality = []carewire.Quality{f.quality} })
	}
	list["two doubts"] = with(carewire.HeartRate.Of("p1", 72), func(v *carewire.Vital) {
		v.Quality = []carewire.Quality{carewire.QualityQuestionable, carewire.QualityCalibration, carewire.QualityInAlarm}
	})
	return list
}

// All that a Vital and an Observation can both say comes back as it was.
func TestVitalsComeBackFromObservations(t *testing.T) {
	for name, v := range vitals() {
		require.NoError(t, v.Validate(), name)
		b, err := Observation(v)
		require.NoError(t, err, name)
		assert.Empty(t, Unsaid(v), name)
		list, unsaid, err := VitalsOf(b)
		require.NoError(t, err, "%s: %s", name, b)
		assert.Empty(t, unsaid, name)
		assert.Equal(t, []carewire.Vital{v}, list, "%s: %s", name, b)
	}
}

// A Vital with any members together, in each of the forms of a value, comes
// back from its Observation but for the members that Unsaid lists; written again it is the
// same, byte by byte.
func TestAnyVitalComesBack(t *testing.T) {
	random := rand.New(rand.NewPCG(16, 0))
	one := func(list ...string) string { return list[random.IntN(len(list))] }
	set := make(map[string]int) // how often each member was there
	for range 3000 {
		v := anyVital(random, one)
		require.NoError(t, v.Validate(), "%s", encode(v))
		members := reflect.ValueOf(v)
		for i := range members.NumField() {
			if !members.Field(i).IsZero() {
				set[members.Type().Field(i).Name]++
			}
		}
		b, err := Observation(v)
		require.NoError(t, err)
		list, unsaid, err := VitalsOf(b)
		require.NoError(t, err, "%s", b)
		require.Empty(t, unsaid, "%s", b)
		said := v
		for _, member := range Unsaid(v) {
			if quality, is := strings.CutPrefix(member, "quality "); is {
				said.Quality = slices.DeleteFunc(slices.Clone(said.Quality), func(q carewire.Quality) bool { return string(q) == quality })
				continue
			}
			require.Equal(t, "every", member)
			said.Every = 0
		}
		if len(said.Quality) == 0 {
			said.Quality = nil
		}
		require.Len(t, list, 1)
		slices.Sort(said.Quality) // a set
		slices.Sort(list[0].Quality)
		require.Equal(t, said, list[0], "%s", b)
		again, err := Observation(list[0])
		require.NoError(t, err)
		require.Equal(t, string(b), string(again))
	}
	typ := reflect.TypeFor[carewire.Vital]()
	for i := range typ.NumField() {
		assert.Greater(t, set[typ.Field(i).Name], 100, "the test knows this member too: %s", typ.Field(i).Name)
	}
}

// anyVital is a valid Vital of any members.
func anyVital(random *rand.Rand, one func(...string) string) carewire.Vital {
	vitals := []carewire.Vital{
		carewire.HeartRate.Of("", 72), carewire.SpO2.Of("", 97), carewire.BodyTemperature.In("", 98.6, "[degF]"), carewire.BloodPressure.Of("", 120, 80),
		{Code: "x", System: "mine", Value: "-0.50", Unit: "mm"}, {Code: carewire.Consciousness, Coded: &carewire.Coding{System: carewire.SNOMED, Code: "248234008"}},
		{Code: "x", System: "http://ex.org", Coded: &carewire.Coding{System: "mine", Code: "y"}}, {Code: carewire.SpO2.Code, Absent: carewire.AbsentTemporary},
		{Code: "both", System: "mine", Components: []carewire.Component{{Code: "a", Value: "1.50", Unit: "mm"}, {Code: "b", Value: "2", Unit: "{score}"}}},
		{Code: "999999", System: carewire.MDC, Value: "7", Unit: "1"},
		{Code: carewire.BloodPressure.Code, Components: []carewire.Component{{Code: carewire.MeanPressure.Code, Value: "90", Unit: "mm[Hg]"}}},
		{Code: carewire.BloodPressure.Code, Components: []carewire.Component{{Code: carewire.SystolicPressure.Code, Absent: carewire.AbsentError},
			{Code: carewire.DiastolicPressure.Code, Value: "80", Unit: "mm[Hg]"}}},
		{Code: "both", System: "mine", Components: []carewire.Component{{Code: "a", Absent: carewire.AbsentNotPerformed}, {Code: "b", Absent: carewire.AbsentUnknown}}},
	}
	v := vitals[random.IntN(len(vitals))]
	v.Patient = one("p1", "p_1:x", strings.Repeat("p", 64))
	v.ID, v.Device, v.Site, v.Method = one("", "m-1:1_a"), one("", "bed:5_mon"), one("", "left arm", "Stirn, außen"), one("", "auscultation")
	v.Test = random.IntN(2) == 0
	if v.Value != "" {
		v.Comparator = carewire.Comparator(one("", "<", ">"))
	}
	if v.Status = carewire.VitalStatus(one("", "corrected", "entered-in-error")); v.Status != "" {
		v.Replaces = "old"
	}
	if random.IntN(2) == 0 {
		v.Time = noon.Add(time.Duration(random.IntN(1e6)) * time.Millisecond)
		v.Received = v.Time.Add(time.Second)
	} else {
		v.Time = noon
	}
	if random.IntN(4) == 0 {
		v.Every = time.Minute
	}
	for _, f := range flags {
		if random.IntN(4) == 0 {
			v.Quality = append(v.Quality, f.quality)
		}
	}
	for _, q := range []carewire.Quality{carewire.QualityLate, carewire.QualityFuture, carewire.QualityClock} {
		if random.IntN(8) == 0 && len(v.Quality) < 8 {
			v.Quality = append(v.Quality, q)
		}
	}
	return v
}

func TestUnsaidOfVitals(t *testing.T) {
	v := carewire.HeartRate.Of("p1", 72)
	v.Every, v.Quality = time.Minute, []carewire.Quality{carewire.QualityFuture, carewire.QualityLate, carewire.QualityEarly}
	assert.Equal(t, []string{"every"}, Unsaid(v))
	_, err := Observation(carewire.Vital{Patient: "p1"})
	var f *carewire.ValidationError
	assert.ErrorAs(t, err, &f)
}

// member returns the value at a path of members and indexes.
func member(t *testing.T, b []byte, path ...any) any {
	t.Helper()
	var v any
	require.NoError(t, json.Unmarshal(b, &v))
	for _, p := range path {
		switch p := p.(type) {
		case string:
			v = v.(map[string]any)[p]
		case int:
			v = v.([]any)[p]
		}
	}
	return v
}

func TestObservationForm(t *testing.T) {
	v := full(carewire.SpO2.Of("p1", 97))
	v.Quality = []carewire.Quality{carewire.QualityInvalid, carewire.QualityBusy}
	b, err := Observation(v)
	require.NoError(t, err)
	assert.JSONEq(t, `{"resourceType":"Observation","status":"final",
 "meta":{"profile":["http://hl7.org/fhir/StructureDefinition/oxygensat"],
  "security":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ObservationValue","code":"UNRELIABLE"}]},
 "identifier":[{"value":"m-1:1_a"}],
 "category":[{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/observation-category","code":"vital-signs","display":"Vital Signs"}]}],
 "code":{"coding":[{"system":"http://loinc.org","code":"59408-5","display":"Oxygen saturation in Arterial blood by Pulse oximetry"},
  {"system":"http://loinc.org","code":"2708-6","display":"Oxygen saturation in Arterial blood"},
  {"system":"urn:iso:std:iso:11073:10101","code":"150456","display":"MDC_PULS_OXIM_SAT_O2"}],
  "text":"Oxygen saturation in Arterial blood by Pulse oximetry"},
 "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-03-01T12:00:00.250Z","issued":"2026-03-01T12:00:01.250Z",
 "valueQuantity":{"value":97,"unit":"%","system":"http://unitsofmeasure.org","code":"%"},
 "interpretation":[{"coding":[{"system":"http://hl7.org/fhir/uv/pocd/CodeSystem/measurement-status","code":"msmt-ongoing","display":"Measurement ongoing"}]}],
 "bodySite":{"text":"left arm"},"method":{"text":"auscultation"},"device":{"type":"Device","identifier":{"value":"bed:5_mon"}}}`, string(b))
}

// R4's profile of blood pressures demands both parts, measured or absent.
func TestProfileOfAPanel(t *testing.T) {
	whole := carewire.BloodPressure.Of("p1", 120, 80)
	withdrawn := carewire.BloodPressure.Of("p1", 120, 80)
	withdrawn.Components[1] = carewire.Component{Code: carewire.DiastolicPressure.Code, Absent: carewire.AbsentError}
	half := carewire.BloodPressure.Of("p1", 120, 80)
	half.Components = half.Components[:1]
	for name, c := range map[string]struct {
		v    carewire.Vital
		want string
	}{"both": {whole, "bp"}, "one absent": {withdrawn, "bp"}, "one alone": {half, "vitalsigns"}} {
		b, err := Observation(c.v)
		require.NoError(t, err)
		assert.Equal(t, profileBase+c.want, member(t, b, "meta", "profile", 0), name)
	}
}

// A fault in a part of a panel is told by its element.
func TestPartsAreNamed(t *testing.T) {
	v := carewire.BloodPressure.Of("p1", 120, 80)
	v.Time = noon
	b, err := Observation(v)
	require.NoError(t, err)
	for old, c := range map[string]struct{ new, field string }{
		`"value":80`:     {`"value":-80`, "component[1].valueQuantity.value"},
		`"code":"mm[Hg]`: {`"code":"%`, "component[0].valueQuantity.code"},
	} {
		require.Contains(t, string(b), old)
		_, _, err := VitalsOf([]byte(strings.Replace(string(b), old, c.new, 1)))
		var f *carewire.ValidationError
		require.ErrorAs(t, err, &f)
		assert.Equal(t, c.field, f.Field)
	}
}

// HL7's own examples, and the parts of each that a Vital cannot hold.
func TestExamplesOfHL7(t *testing.T) {
	read := func(name string) []byte {
		b, err := os.ReadFile("testdata/" + name + ".json")
		require.NoError(t, err)
		return b
	}
	list, unsaid, err := VitalsOf(read("r4-observation-example-bloodpressure"))
	require.NoError(t, err)
	require.Len(t, list, 1)
	assert.Equal(t, []carewire.Component{{Code: "8480-6", Value: "107", Unit: "mm[Hg]"}, {Code: "8462-4", Value: "60", Unit: "mm[Hg]"}}, list[0].Components)
	assert.Equal(t, "urn:uuid:187e0c12-8dd2-67e2-99b2-bf273c878281", list[0].ID)
	assert.Equal(t, "Right arm", list[0].Site)
	assert.Equal(t, []string{"basedOn", "bodySite.coding[0]", "code.text", "component[0].code.coding[1]", "component[0].code.coding[2]",
		"component[0].interpretation", "component[1].interpretation", "effectiveDateTime", "identifier[0].system", "interpretation[0]", "performer"}, unsaid)

	list, unsaid, err = VitalsOf(read("r4-observation-example-heart-rate"))
	require.NoError(t, err)
	assert.Equal(t, carewire.Vital{Patient: "example", Code: carewire.HeartRate.Code, Value: "44", Unit: "/min", Test: true,
		Time: time.Date(1999, 7, 2, 0, 0, 0, 0, time.UTC)}, list[0], "HL7 has tagged it as test data")
	assert.Equal(t, []string{"category[0].text", "effectiveDateTime"}, unsaid)

	list, unsaid, err = VitalsOf(read("r4-observation-example-bloodpressure-dar"))
	require.NoError(t, err)
	assert.Equal(t, []carewire.Component{{Code: "8480-6", Value: "107", Unit: "mm[Hg]"}, {Code: "8462-4", Absent: carewire.AbsentNotPerformed}}, list[0].Components)
	assert.NotContains(t, unsaid, "component[1]")
	assert.True(t, list[0].Test)

	for name, field := range map[string]string{"bloodpressure-cancel": "status", "bloodgroup": "", "sample-data": ""} {
		_, _, err := VitalsOf(read("r4-observation-example-" + name))
		if name == "bloodgroup" {
			assert.NoError(t, err, "a code is a value")
			continue
		}
		var f *carewire.ValidationError
		require.ErrorAs(t, err, &f, name)
		if field != "" {
			assert.Equal(t, field, f.Field)
		}
	}
}

const heartRate = `{"resourceType":"Observation","status":"final","code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},
 "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-03-01T12:00:00Z",
 "valueQuantity":{"value":72,"unit":"bpm","system":"http://unitsofmeasure.org","code":"/min"}}`

// Members that others write and carewire does not, and their effect.
func TestReadingOfOthers(t *testing.T) {
	for _, c := range []struct {
		name, old, new string // heartRate with old replaced by new
		want           func(*carewire.Vital)
		unsaid         []string
		field          string // of the error
	}{
		{name: "as it is"},
		{name: "offset", old: "12:00:00Z", new: "13:00:00.5+01:00", want: func(v *carewire.Vital) { v.Time = noon.Add(250 * time.Millisecond) }},
		{name: "preliminary", old: `"final"`, new: `"preliminary"`, unsaid: []string{"status"}},
		{name: "amended", old: `"status":"final"`, new: `"status":"amended","identifier":[{"value":"a"}]`, unsaid: []string{"status"},
			want: func(v *carewire.Vital) { v.Status, v.Replaces = carewire.VitalCorrected, "a" }},
		{name: "corrected without saying which", old: `"final"`, new: `"corrected"`, field: "identifier"},
		{name: "withdrawn without a value", old: `"status":"final"`, new: `"status":"entered-in-error","identifier":[{"value":"a"}]`,
			want: func(v *carewire.Vital) { v.Status, v.Replaces = carewire.VitalEnteredInError, "a" }},
		{name: "registered", old: `"final"`, new: `"registered"`, field: "status"},
		{name: "no status", old: `"status":"final",`, field: "status"},
		{name: "MDC alone", old: `"http://loinc.org","code":"8867-4"`, new: `"urn:iso:std:iso:11073:10101","code":"147842"`},
		{name: "MDC alone, with a place", old: `"http://loinc.org","code":"8867-4"`, new: `"urn:iso:std:iso:11073:10101","code":"149514"`,
			want: func(v *carewire.Vital) { v.Site = "pulse" }},
		{name: "MDC that no LOINC code says", old: `"http://loinc.org","code":"8867-4"`, new: `"urn:iso:std:iso:11073:10101","code":"999999"`,
			want: func(v *carewire.Vital) { v.System, v.Code = carewire.MDC, "999999" }},
		{name: "LOINC beside an MDC code of another place", old: `"8867-4"}`, new: `"8867-4"},{"system":"urn:iso:std:iso:11073:10101","code":"149514"}`,
			unsaid: []string{"code.coding[1]"}},
		{name: "foreign second code", old: `"8867-4"}`, new: `"8867-4"},{"system":"http://ex.org","code":"hr"}`, unsaid: []string{"code.coding[1]"}},
		{name: "absolute reference", old: "Patient/p1", new: "https://ehr.example/fhir/Patient/p1/_history/2"},
		{name: "another's reference", old: "Patient/p1", new: "Device/p1", field: "subject.reference"},
		{name: "identified subject", old: `"reference":"Patient/p1"`, new: `"identifier":{"system":"http://mrn","value":"p1"}`, unsaid: []string{"subject.identifier.system"}},
		{name: "no subject", old: `"subject":{"reference":"Patient/p1"},`, field: "subject"},
		{name: "no time", old: `"effectiveDateTime":"2026-03-01T12:00:00Z",`, field: "effectiveDateTime"},
		{name: "time without a zone", old: "12:00:00Z", new: "12:00:00", field: "effectiveDateTime"},
		{name: "a month", old: "2026-03-01T12:00:00Z", new: "2026-03", field: "effectiveDateTime"},
		{name: "a day", old: "2026-03-01T12:00:00Z", new: "2026-03-01", unsaid: []string{"effectiveDateTime"}, want: func(v *carewire.Vital) { v.Time = noon.Truncate(24 * time.Hour) }},
		{name: "a period", old: `"effectiveDateTime":"2026-03-01T12:00:00Z"`, new: `"effectivePeriod":{"start":"2026-03-01T11:00:00Z","end":"2026-03-01T12:00:00Z"}`,
			unsaid: []string{"effectivePeriod", "effectivePeriod.start"}},
		{name: "no UCUM code", old: `"system":"http://unitsofmeasure.org","code":"/min"`, new: `"code":"/min"`, field: "valueQuantity.code"},
		{name: "a wrong unit", old: `"code":"/min"`, new: `"code":"%"`, field: "valueQuantity.code"},
		{name: "a unit that UCUM does not have", old: `"code":"/min"`, new: `"code":"bpm"`, field: "valueQuantity.code"},
		{name: "an impossible value", old: `"value":72`, new: `"value":-1`, field: "valueQuantity.value"},
		{name: "a string", old: `"value":72`, new: `"value":"72"`, field: "valueQuantity.value"},
		{name: "an exponent", old: `"value":72`, new: `"value":7.20E+1`, want: func(v *carewire.Vital) { v.Value = "72.0" }},
		{name: "a large exponent", old: `"value":72`, new: `"value":7.2e31`, field: "valueQuantity.value"},
		{name: "a larger one", old: `"value":72`, new: `"value":7.2e99999999999999999999`, field: "valueQuantity.value"},
		{name: "exact", old: `"value":72`, new: `"value":72.0`, want: func(v *carewire.Vital) { v.Value = "72.0" }},
		{name: "a vague comparator", old: `"value":72`, new: `"value":72,"comparator":">="`, field: "valueQuantity.comparator"},
		{name: "a value and an absence", old: `"effectiveDateTime"`, new: `"dataAbsentReason":{"coding":[{"system":"x","code":"y"}]},"effectiveDateTime"`, field: "valueQuantity"},
		{name: "a modifier", old: `"status"`, new: `"modifierExtension":[{"url":"x","valueBoolean":true}],"status"`, field: "modifierExtension"},
		{name: "extras", old: `"status"`, new: `"note":[{"text":"x"}],"performer":[{"reference":"Practitioner/1"}],"x":1,"extension":[{"url":"u","valueCode":"c"}],"status"`,
			unsaid: []string{"extension", "note", "performer", "x"}},
		{name: "an ID that is none", old: `"status"`, new: `"identifier":[{"value":"a b"}],"status"`, unsaid: []string{"identifier[0].value"},
			want: func(v *carewire.Vital) { v.ID = digestID("a b") }},
		{name: "another resource", old: `"Observation"`, new: `"Patient"`, field: "resourceType"},
		{name: "twice", old: `"status"`, new: `"status":"final","status"`, field: "status"},
		{name: "null", old: `"final"`, new: `null`, field: "status"},
		{name: "uncertain without saying why", old: `"status"`, new: `"meta":{"security":[{"system":"` + systemReliability + `","code":"UNCERTREL"}]},"status"`,
			want: func(v *carewire.Vital) { v.Quality = []carewire.Quality{carewire.QualityQuestionable} }},
		{name: "a label for access", old: `"status"`, new: `"meta":{"security":[{"system":"` + systemActReason + `","code":"HPOWATT"}],"source":"x"},"status"`,
			unsaid: []string{"meta.security[0]", "meta.source"}},
	} {
		text := heartRate
		if c.old != "" {
			require.Contains(t, text, c.old, c.name)
			text = strings.Replace(text, c.old, c.new, 1)
		}
		list, unsaid, err := VitalsOf([]byte(text))
		if c.field != "" {
			var f *carewire.ValidationError
			if assert.ErrorAs(t, err, &f, c.name) {
				assert.Equal(t, c.field, f.Field, c.name)
			}
			continue
		}
		require.NoError(t, err, c.name)
		want := carewire.Vital{Patient: "p1", Code: "8867-4", Value: "72", Unit: "/min", Time: noon.Truncate(time.Second)}
		if c.want != nil {
			c.want(&want)
		}
		assert.Equal(t, []carewire.Vital{want}, list, c.name)
		assert.Equal(t, c.unsaid, unsaid, c.name)
	}
}

// US Core's pulse oximetry: inhaled oxygen beside the saturation.
func TestInhaledOxygenBesideSpO2(t *testing.T) {
	b, err := Observation(full(carewire.SpO2.Of("p1", 97)))
	require.NoError(t, err)
	part := `,"component":[{"code":{"coding":[{"system":"http://loinc.org","code":"3151-8"}]},"valueQuantity":{"value":6.0,"system":"http://unitsofmeasure.org","code":"L/min"}},
 {"code":{"coding":[{"system":"http://loinc.org","code":"3150-0"}]},"dataAbsentReason":{"coding":[{"system":"` + systemAbsent + `","code":"unknown"}]}}]}`
	list, unsaid, err := VitalsOf([]byte(strings.TrimSuffix(string(b), "}") + part))
	require.NoError(t, err)
	require.Len(t, list, 2)
	assert.Equal(t, full(carewire.SpO2.Of("p1", 97)), list[0])
	assert.Equal(t, "m-1:1_a.3151-8", list[1].ID)
	assert.EqualValues(t, "6.0", list[1].Value)
	assert.Equal(t, carewire.OxygenFlow.Code, list[1].Code)
	assert.Equal(t, []string{"component[1]"}, unsaid)

	_, _, err = VitalsOf([]byte(strings.Replace(strings.TrimSuffix(string(b), "}")+part, "L/min", "mL/min", 1)))
	var f *carewire.ValidationError
	require.ErrorAs(t, err, &f)
	assert.Equal(t, "component[0].valueQuantity.code", f.Field)
}

func TestSampledData(t *testing.T) {
	b, err := os.ReadFile("testdata/r4-observation-example-sample-data.json")
	require.NoError(t, err)
	var o struct {
		Component []struct{ ValueSampledData json.RawMessage }
	}
	require.NoError(t, json.Unmarshal(b, &o))
	require.NotEmpty(t, o.Component)
	var s SampledData
	err = json.Unmarshal(o.Component[0].ValueSampledData, &s)
	var f *carewire.ValidationError
	require.ErrorAs(t, err, &f, "HL7's example has no unit")
	assert.Equal(t, "origin.code", f.Field)

	s = SampledData{Origin: "-5.0", Unit: "uV", Period: "4.00", Factor: "0.50", Dimensions: 2, Data: "1 2 E U L -4"}
	b, err = json.Marshal(s)
	require.NoError(t, err)
	assert.Contains(t, string(b), `"period":4.00`, "decimals keep their text")
	var back SampledData
	require.NoError(t, json.Unmarshal(b, &back))
	assert.Equal(t, s, back)
	values, err := back.Values()
	require.NoError(t, err)
	assert.Equal(t, []float64{-4.5, -4}, values[:2])
	assert.Len(t, values, 6)
	for _, wrong := range []func(*SampledData){
		func(s *SampledData) { s.Data = "1 2 3" }, func(s *SampledData) { s.Data = "1 x" }, func(s *SampledData) { s.Period = "0" },
		func(s *SampledData) { s.Unit = "" }, func(s *SampledData) { s.Factor = "1,5" }, func(s *SampledData) { s.Dimensions = -1 },
	} {
		w := s
		wrong(&w)
		_, err := json.Marshal(w)
		assert.Error(t, err, "%v", w)
	}
}

// No input panics. A resource that is taken can be written again and says the
// same, and no error shows a value.
func FuzzVitalsOf(f *testing.F) {
	f.Add([]byte(heartRate))
	for _, v := range vitals() {
		b, _ := Observation(v)
		f.Add(b)
	}
	files, _ := os.ReadDir("testdata")
	for _, file := range files {
		b, _ := os.ReadFile("testdata/" + file.Name())
		f.Add(b)
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		list, _, err := VitalsOf(b)
		if err != nil {
			var v *carewire.ValidationError
			require.ErrorAs(t, err, &v)
			return
		}
		for _, v := range list {
			b, err := Observation(v)
			require.NoError(t, err)
			again, unsaid, err := VitalsOf(b)
			require.NoError(t, err, "%s", b)
			require.Empty(t, unsaid)
			v.Time, v.Received = v.Time.Truncate(time.Millisecond), v.Received.Truncate(time.Millisecond)
			require.Equal(t, []carewire.Vital{v}, again, "%s", b)
		}
	})
}

func FuzzSampledData(f *testing.F) {
	f.Add([]byte(`{"origin":{"value":0,"unit":"mV","system":"http://unitsofmeasure.org","code":"mV"},"period":4,"dimensions":1,"data":"1 2 E"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		var s SampledData
		if json.Unmarshal(b, &s) != nil {
			return
		}
		b, err := json.Marshal(s)
		require.NoError(t, err)
		var again SampledData
		require.NoError(t, json.Unmarshal(b, &again), "%s", b)
	})
}
