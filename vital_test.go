package carewire

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var vitalNow = time.Date(2026, time.March, 1, 8, 0, 0, 123456789, time.UTC)

// Exactly one of value, coded, components and absent is there: a value that was
// not measured is never taken for 0.
func TestVitalHasOneForm(t *testing.T) {
	t.Parallel()
	forms := map[string]func(*Vital){
		"value":      func(v *Vital) { v.Value, v.Unit = "1", "mg" },
		"coded":      func(v *Vital) { v.Coded = &Coding{"local", "x"} },
		"components": func(v *Vital) { v.Components = []Component{{Code: "a", Value: "1", Unit: "mg"}} },
		"absent":     func(v *Vital) { v.Absent = AbsentUnknown },
	}
	base := Vital{Patient: "p", Code: "some", System: "local"}
	v := base
	invalidAt(t, "value", v.Validate())
	for one, set := range forms {
		v := base
		set(&v)
		require.NoError(t, v.Validate(), one)
		for other, alsoSet := range forms {
			if one != other {
				both := v
				alsoSet(&both)
				invalidAt(t, "value", both.Validate())
			}
		}
	}
}

func TestVitalAbsent(t *testing.T) {
	t.Parallel()
	for _, reason := range []AbsentReason{AbsentError, AbsentTemporary, AbsentNotPerformed, AbsentUnknown} {
		for _, code := range []string{HeartRate.Code, BloodPressure.Code, Consciousness} {
			v := Vital{Patient: "p", Code: code, Absent: reason}
			_, err := v.accept(vitalNow, AgeAdult)
			require.NoError(t, err)
			require.Empty(t, v.Value)
			b, err := json.Marshal(v)
			require.NoError(t, err)
			require.NotContains(t, string(b), `"value"`, "no number stands for an absent value")
			require.Contains(t, string(b), `"absent":"`+string(reason)+`"`)
		}
	}
	for name, v := range map[string]Vital{
		"absent":     {Patient: "p", Code: HeartRate.Code, Absent: "lunch"},
		"unit":       {Patient: "p", Code: HeartRate.Code, Absent: AbsentError, Unit: "/min"},
		"value":      {Patient: "p", Code: HeartRate.Code},
		"components": {Patient: "p", Code: BloodPressure.Code, Value: "120", Unit: "mm[Hg]"},
	} {
		invalidAt(t, name, v.Validate())
	}
}

func TestBloodPressureComponents(t *testing.T) {
	t.Parallel()
	const mmHg = "mm[Hg]"
	sys, dia, mean := Component{Code: "8480-6", Value: "120", Unit: mmHg}, Component{Code: "8462-4", Value: "80", Unit: mmHg}, Component{Code: "8478-0", Value: "93", Unit: mmHg}
	of := func(code string, value Decimal, unit string) Component {
		return Component{Code: code, Value: value, Unit: unit}
	}
	none := func(code string, reason AbsentReason) Component { return Component{Code: code, Absent: reason} }
	for _, row := range []struct {
		name  string
		parts []Component
		field string // "" is fine
	}{
		{"systolic and diastolic", []Component{sys, dia}, ""},
		{"with the mean", []Component{sys, dia, mean}, ""},
		{"systolic alone", []Component{sys}, ""},
		{"mean alone", []Component{mean}, ""},
		{"diastolic not found", []Component{sys, none("8462-4", AbsentError)}, ""},
		{"neither found", []Component{none("8480-6", AbsentError), none("8462-4", AbsentNotPerformed)}, ""},
		{"in kPa", []Component{of("8480-6", "16.0", "kPa"), of("8462-4", "10.7", "kPa")}, ""},
		{"absent for no known reason", []Component{sys, none("8462-4", "lunch")}, "components[1].absent"},
		{"absent with a value", []Component{{"8480-6", "120", "", AbsentError}}, "components[0].absent"},
		{"absent with a unit", []Component{{"8480-6", "", mmHg, AbsentError}}, "components[0].absent"},
		{"none at all", []Component{}, "value"},
		{"systolic twice", []Component{sys, sys}, "components[1].code"},
		{"heart rate in it", []Component{sys, of("8867-4", "72", "/min")}, "components[1].code"},
		{"no code", []Component{sys, of("", "80", mmHg)}, "components[1].code"},
		{"no value", []Component{sys, of("8462-4", "", mmHg)}, "components[1].value"},
		{"no number", []Component{of("8480-6", "NaN", mmHg), dia}, "components[0].value"},
		{"impossible", []Component{sys, of("8462-4", "-80", mmHg)}, "components[1].value"},
		{"another unit", []Component{sys, of("8462-4", "10.6", "bar")}, "components[1].unit"},
		{"not UCUM", []Component{sys, of("8462-4", "80", "mmHg")}, "components[1].unit"},
		{"too many", make([]Component, 17), "components"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := Vital{Patient: "p", Code: BloodPressure.Code, Components: row.parts}
			if err := v.Validate(); row.field != "" {
				invalidAt(t, row.field, err)
			} else {
				require.NoError(t, err)
			}
		})
	}
	v := BloodPressure.Of("p", 120, 80)
	require.Equal(t, []Component{sys, dia}, v.Components)
	v = AveragedBloodPressure.Of("p", 120, 80)
	require.NoError(t, v.Validate())
}

// A code counts only with the name of its system: the Hub guesses at none.
func TestUnnamedCodes(t *testing.T) {
	t.Parallel()
	for _, row := range []struct {
		name  string
		v     Vital
		field string
	}{
		{"with system and unit", Vital{Code: "59574-4", System: LOINC, Value: "99", Unit: "%"}, ""},
		{"of a house's own", Vital{Code: "drip", System: "local", Value: "99", Unit: "mL/h"}, ""},
		{"without system", Vital{Code: "59574-4", Value: "99", Unit: "%"}, "system"},
		{"components without system", Vital{Code: "x", Components: []Component{{Code: "y", Value: "1", Unit: "mg"}}}, "system"},
		{"absent without system", Vital{Code: "x", Absent: AbsentUnknown}, "system"},
		{"without unit", Vital{Code: "x", System: "local", Value: "99"}, "unit"},
		{"bpm is not UCUM", Vital{Code: "x", System: "local", Value: "99", Unit: "bpm"}, "unit"},
		{"C is coulomb", Vital{Code: "x", System: "local", Value: "37", Unit: "C"}, "unit"},
		{"mmHg is not UCUM", Vital{Code: "x", System: "local", Value: "37", Unit: "mmHg"}, "unit"},
		{"beats/min is not UCUM", Vital{Code: "x", System: "local", Value: "37", Unit: "beats/min"}, "unit"},
		{"°C is not UCUM", Vital{Code: "x", System: "local", Value: "37", Unit: "°C"}, "unit"},
		{"a named code in another system is another", Vital{Code: "8867-4", System: "local", Value: "-5", Unit: "mV"}, ""},
		{"a named code in LOINC by its URI", Vital{Code: "8867-4", System: "http://loinc.org", Value: "-5", Unit: "/min"}, "value"},
		{"a named code in LOINC by name", Vital{Code: "8867-4", System: LOINC, Value: "-5", Unit: "/min"}, "value"},
		{"consciousness is coded", Vital{Code: Consciousness, Coded: &Coding{"snomed", "248234008"}}, ""},
		{"a named code is a number", Vital{Code: "8867-4", Coded: &Coding{"snomed", "1"}}, "value"},
		{"coded without system", Vital{Code: Consciousness, Coded: &Coding{"", "1"}}, "coded"},
		{"coded without code", Vital{Code: Consciousness, Coded: &Coding{"snomed", ""}}, "coded"},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := row.v
			v.Patient = "p"
			if err := v.Validate(); row.field != "" {
				invalidAt(t, row.field, err)
			} else {
				require.NoError(t, err)
			}
		})
	}
}

// Each member is checked, and the error names it.
func TestVitalMembers(t *testing.T) {
	t.Parallel()
	long := strings.Repeat("x", 65)
	for _, row := range []struct {
		field string
		spoil func(*Vital)
	}{
		{"patient", func(v *Vital) { v.Patient = "" }},
		{"patient", func(v *Vital) { v.Patient = SystemPatient }},
		{"patient", func(v *Vital) { v.Patient = "p 1" }},
		{"patient", func(v *Vital) { v.Patient = long }},
		{"code", func(v *Vital) { v.Code = "" }},
		{"code", func(v *Vital) { v.Code = "8867 4" }},
		{"system", func(v *Vital) { v.System = "a b" }},
		{"vital_id", func(v *Vital) { v.ID = "a/b" }},
		{"device", func(v *Vital) { v.Device = "dev\x00" }},
		{"replaces", func(v *Vital) { v.Replaces = "*" }},
		{"site", func(v *Vital) { v.Site = long }},
		{"site", func(v *Vital) { v.Site = "left\u202earm" }},
		{"method", func(v *Vital) { v.Method = "\x1b[2J" }},
		{"every", func(v *Vital) { v.Every = -1 }},
		{"every", func(v *Vital) { v.Every = 32 * 24 * time.Hour }},
		{"status", func(v *Vital) { v.Status = "draft" }},
		{"replaces", func(v *Vital) { v.Status = VitalCorrected }},
		{"replaces", func(v *Vital) { v.Status = VitalEnteredInError }},
		{"replaces", func(v *Vital) { v.Replaces = "v-1" }},
		{"time", func(v *Vital) { v.Time = time.Date(10001, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"time", func(v *Vital) { v.Time = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC) }},
		{"quality", func(v *Vital) { v.Quality = make([]Quality, 9) }},
		{"quality[1]", func(v *Vital) { v.Quality = []Quality{QualityEarly, "splendid"} }},
		{"comparator", func(v *Vital) { v.Comparator = "~" }},
		{"value", func(v *Vital) { v.Value = "1e400" }},
	} {
		v := HeartRate.Of("p", 72)
		require.NoError(t, v.Validate())
		row.spoil(&v)
		invalidAt(t, row.field, v.Validate())
	}
}

// The digits tell how exact a number is, so the text of a number is kept.
func TestDecimalTextIsKept(t *testing.T) {
	t.Parallel()
	for _, text := range []string{"37.0", "37", "37.00", "0.0", "0", "36.60", "-0.5"} {
		in := `{"patient":"p","code":"t","system":"local","value":` + text + `,"unit":"Cel"}`
		s := scanner{b: []byte(in)}
		var v Vital
		v.decode(&s)
		s.end()
		require.NoError(t, s.err)
		require.NoError(t, v.Validate())
		b, err := json.Marshal(v)
		require.NoError(t, err)
		require.JSONEq(t, in, string(b))
		require.Contains(t, string(b), `"value":`+text+`,`)
	}
}

// A vital that the Hub takes can be written too, with all its digits, which the
// Hub rounds as those of any client.
func TestLongDecimalsOfGo(t *testing.T) {
	t.Parallel()
	hub, err := New(AuthenticatorFunc(nil), NewMemoryStore(nil), nil)
	require.NoError(t, err)
	defer hub.Shutdown(context.Background())
	for text, want := range map[Decimal]Decimal{
		"36.666666666666664": "36.6666666666667", "36.6000000000000000000": "36.6000000000000", "-0.12345678901234567": "-0.123456789012346",
		"1234567890123456": "1234567890123460", "1234567890123456789012345": "", "00036.666666666666664": "", "+36.666666666666664": "", ".36666666666666664": "", "36666666666666664.": "",
		"3.6666666666666664e1": "", "-0.00000000000000000": "", "3.66666666666666-6664": "",
	} {
		v := Vital{Patient: "p", Code: "t", System: "local", Value: text, Unit: "Cel"}
		panel := Vital{Patient: "p", Code: "panel", System: "local", Components: []Component{{Code: "t", Value: text, Unit: "Cel"}}}
		for _, v := range []Vital{v, panel} {
			b, err := v.MarshalJSON()
			_, publishErr := hub.Publish(t.Context(), v)
			if want == "" {
				assert.Error(t, v.Validate(), string(text))
				assert.Error(t, err, string(text))
				assert.Error(t, publishErr, string(text))
				continue
			}
			require.NoError(t, err, string(text))
			require.NoError(t, publishErr, string(text))
			assert.Contains(t, string(b), `"value":`+string(text)+`,`)
			latest, _, err := hub.Latest(t.Context(), "p")
			require.NoError(t, err)
			at := slices.IndexFunc(latest, func(ev Event) bool { return ev.Vital.Code == v.Code })
			stored := latest[at].Vital
			assert.Equal(t, []Quality{QualityRounded}, stored.Quality)
			assert.Equal(t, want, cmp.Or(stored.Value, append(stored.Components, Component{})[0].Value))
		}
	}
}

// accept sets when a vital was received, and orders it by a time that is never
// still to come, even if the device's clock says so.
func TestVitalAccept(t *testing.T) {
	t.Parallel()
	ms := vitalNow.Truncate(time.Millisecond)
	for _, row := range []struct {
		name   string
		time   time.Time
		shown  time.Time
		orders time.Time
		flags  []Quality
	}{
		{"no time", time.Time{}, ms, ms, nil},
		{"just now", ms, ms, ms, nil},
		{"another zone", ms.Add(-time.Minute).In(time.FixedZone("", 7200)), ms.Add(-time.Minute), ms.Add(-time.Minute), nil},
		{"a little ahead", ms.Add(10 * time.Second), ms.Add(10 * time.Second), vitalNow, nil},
		{"ahead", ms.Add(11 * time.Second), ms.Add(11 * time.Second), vitalNow, []Quality{QualityFuture}},
		{"ten years ahead", ms.AddDate(10, 0, 0), ms.AddDate(10, 0, 0), vitalNow, []Quality{QualityFuture}},
		{"some minutes old", ms.Add(-4 * time.Minute), ms.Add(-4 * time.Minute), ms.Add(-4 * time.Minute), nil},
		{"a day old", ms.AddDate(0, 0, -1), ms.AddDate(0, 0, -1), ms.AddDate(0, 0, -1), []Quality{QualityLate}},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := HeartRate.Of("p", 72)
			v.Time = row.time
			at, err := v.accept(vitalNow, AgeAdult)
			require.NoError(t, err)
			require.Equal(t, vitalNow, v.Received)
			require.Equal(t, row.shown, v.Time, "shown as the device said")
			require.Equal(t, time.UTC, v.Time.Location())
			require.True(t, row.orders.Equal(at), "%v orders, want %v", at, row.orders)
			require.False(t, at.After(vitalNow))
			require.Equal(t, row.flags, v.Quality)
		})
	}
}

// The Hub's own flags are not the sender's to set or to leave out, and setting
// them leaves the sender's list alone.
func TestVitalAcceptFlags(t *testing.T) {
	t.Parallel()
	sent := []Quality{QualityFuture, QualityLate, QualityQuestionable, QualityBusy}
	v := HeartRate.Of("p", 301)
	v.Quality = sent
	_, err := v.accept(vitalNow, AgeAdult)
	require.NoError(t, err)
	require.Equal(t, []Quality{QualityQuestionable, QualityBusy}, v.Quality)
	require.Equal(t, []Quality{QualityFuture, QualityLate, QualityQuestionable, QualityBusy}, sent)

	bad := SpO2.Of("p", 101)
	_, err = bad.accept(vitalNow, AgeAdult)
	invalidAt(t, "value", err)
	require.Zero(t, bad.Received)
}

// A newer vital replaces an older one of the same key only: another code,
// system, device or site, or test data, has a key of its own.
func TestVitalKeys(t *testing.T) {
	t.Parallel()
	keys := make(map[string]string)
	for _, code := range []string{"8867-4", "8480-6"} {
		for _, system := range []string{"", "local", "other"} {
			for _, device := range []string{"", "monitor-1", "monitor-2"} {
				for _, site := range []string{"", "left arm", "right arm"} {
					for _, test := range []bool{false, true} {
						v := Vital{Patient: "p", Code: code, System: system, Device: device, Site: site, Test: test, Value: "1"}
						name := fmt.Sprintf("%s %s %s %s %v", code, system, device, site, test)
						require.NotContains(t, keys, v.key(), name)
						keys[v.key()] = name
						v.Value, v.Time, v.ID, v.Method, v.Absent = "2", vitalNow, "v-2", "cuff", AbsentError
						require.Contains(t, keys, v.key(), "the newest of the same")
					}
				}
			}
		}
	}
	loinc, silent := Vital{Code: "8867-4", System: LOINC}, Vital{Code: "8867-4"}
	require.Equal(t, silent.key(), loinc.key(), "no system is LOINC")
	for long, short := range map[string]string{"http://loinc.org": LOINC, "urn:oid:2.16.840.1.113883.6.1": LOINC, "urn:iso:std:iso:11073:10101": MDC,
		"urn:oid:2.16.840.1.113883.6.24": MDC, "http://snomed.info/sct": SNOMED, "urn:oid:2.16.840.1.113883.6.96": SNOMED} {
		a, b := Vital{Patient: "p", Code: "1", System: long, Absent: AbsentUnknown}, Vital{Patient: "p", Code: "1", System: short, Absent: AbsentUnknown}
		require.Equal(t, b.key(), a.key(), "%s is %s", long, short)
		_, err := a.accept(vitalNow, AgeAdult)
		require.NoError(t, err)
		require.Equal(t, short, a.System, "the output has one name")
	}
}

// fullVital has every member that can go together.
func fullVital() Vital {
	return Vital{Patient: "p-17", Code: "41653-7", System: LOINC, Value: "99.0", Unit: "mg/dL", Comparator: ComparatorAbove,
		Quality: []Quality{QualityEarly, QualityBusy}, Status: VitalCorrected, Replaces: "v-1", ID: "v-2",
		Time: vitalNow.Truncate(time.Millisecond), Received: vitalNow.Truncate(time.Millisecond).Add(time.Second),
		Device: "glucometer", Site: "left hand", Method: "finger \"prick\"", Every: 90 * time.Second, Test: true}
}

func TestVitalJSON(t *testing.T) {
	t.Parallel()
	coded, absent, zero := fullVital(), fullVital(), Vital{}
	coded.Value, coded.Unit, coded.Comparator, coded.Coded = "", "", "", &Coding{"snomed", "248234008"}
	absent.Value, absent.Unit, absent.Comparator, absent.Absent = "", "", "", AbsentTemporary
	for _, v := range []Vital{fullVital(), coded, absent, zero, BloodPressure.Of("p", 120, 80), {Patient: "p", Code: "85354-9", Components: []Component{{Code: "8480-6", Absent: AbsentError}}}} {
		b, err := json.Marshal(v)
		require.NoError(t, err)
		var back Vital
		require.NoError(t, json.Unmarshal(b, &back))
		require.Equal(t, v, back)
	}
	var v Vital
	require.NoError(t, json.Unmarshal([]byte(`{"patient":"p","news":{"a":[1,null]},"site":null,"value":1}`), &v))
	require.Equal(t, Vital{Patient: "p", Value: "1"}, v, "unknown members and null are ignored")
	_, err := json.Marshal(Vital{Value: `1,"patient":"other"`})
	require.Error(t, err, "a value that is no number never becomes JSON")
	_, err = json.Marshal(Vital{Components: []Component{{Value: "NaN"}}})
	require.Error(t, err)
}

// Nothing of a patient shows under fmt's verbs or in a log: neither of a value
// itself, nor through a pointer, nor inside another value.
func TestNothingShows(t *testing.T) {
	t.Parallel()
	const canary = "canary"
	v := Vital{Patient: canary, Code: canary, System: canary, Value: canary, Unit: canary, Coded: &Coding{canary, canary}, Device: canary,
		Components: []Component{{canary, canary, canary, canary}}, Site: canary, Method: canary, ID: canary, Quality: []Quality{canary}}
	who := Person{canary, canary, RoleClinician}
	a := Alert{Patient: canary, Key: canary, ID: canary, Text: canary, Code: canary, To: []string{canary}, Source: Source{canary, canary, canary, canary, canary, canary, []SourceInput{{Code: canary, Value: canary, VitalID: canary}}, Recognition{"", canary, canary}, time.Time{}, false},
		Responsibility: Responsibility{By: who}, Answers: []Answered{{By: who, To: canary, Reason: canary}}, Closed: &Closing{By: who, Reason: canary},
		Escalation: Escalation{recipients: []string{canary}}, extra: []byte(canary)}
	n := Notice{Patient: canary, ID: canary, From: canary, To: []string{canary}, Text: canary, RepliesTo: canary}
	p := Principal{ID: canary, Name: canary, Role: RoleClinician, Session: canary, Patients: []string{canary}, Groups: []string{canary}}
	c := Component{canary, canary, canary, canary}
	type holder struct {
		V  Vital
		A  Alert
		N  Notice
		P  Principal
		C  Component
		PV *Vital
		PA *Alert
		PN *Notice
		PP *Principal
		L  []Vital
		M  map[int]*Alert
	}
	at := Position{"epoch", 7}
	e := Entry{Patient: canary, Position: at, Kind: KindAlert, Key: canary, To: []string{canary}, Sender: canary, ID: canary, Sum: [16]byte([]byte(canary + canary + canary)), Data: []byte(canary)}
	made := []any{a.Source, a.Source.Inputs[0], a.Source.Recognition, Assertion{Source: a.Source, Text: canary}, e, &e, Head{Patient: canary, Position: at, Epochs: []Position{at}}, Event{Type: EventVital, Patient: canary, Vital: &v, Heads: []Head{{Patient: canary}}, Welcome: &Welcome{Principal: who}},
		InboxItem{Alert: &a}, Receipt{Patient: canary, Key: canary, AlertID: canary, NoticeID: canary, By: who}, who, &who, Page{Key: canary, To: canary, Alert: a}, a.Ref(),
		Answer{To: canary, Reason: canary, ID: canary, Source: Recognition{Model: canary}}, Refusal{Patient: canary, Group: canary}, WatchResult{Patients: []string{canary}, Refused: []Refusal{{Patient: canary}}},
		WatchOptions{Patients: []string{canary}, Groups: []string{canary}, Since: map[string]Position{canary: at}, Reason: canary}, HistoryQuery{Patient: canary, Key: canary},
		HistoryPage{Events: []Event{{Patient: canary}}}, Access{Principal: p, Patients: []string{canary}, Reason: canary}, Revocation{Principal: canary, Session: canary, Patients: []string{canary}},
		[]Entry{e}, []AlertRef{a.Ref()}, map[string]Page{"x": {To: canary}}, struct{ E *Entry }{&e}}
	held := holder{v, a, n, p, c, &v, &a, &n, &p, []Vital{v}, map[int]*Alert{1: &a}}
	for _, x := range append(made, v, &v, a, &a, n, &n, p, &p, c, &c, held, &held, []Vital{v}, []*Alert{&a}, []Component{c}, []any{v, &n},
		map[string]Vital{"x": v}, map[string]*Principal{"x": &p}, [1]Alert{a}, InboxItem{Alert: &a}, Event{Vital: &v, Alert: &a, Notice: &n},
		Access{Principal: p}, &RequestError{Code: CodeConflict, Alert: &a}) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%d", "%x", "%X", "%t", "%8.3f"} {
			shown := fmt.Sprintf(verb, x)
			require.NotContains(t, shown, canary, "%T under %s", x, verb)
			require.NotContains(t, strings.ToLower(shown), fmt.Sprintf("%x", canary), "%T under %s", x, verb)
		}
		require.NotContains(t, fmt.Sprint(x), canary)
		var log bytes.Buffer
		logger := slog.New(slog.NewTextHandler(&log, nil))
		logger.Info("seen", "x", x, slog.Group("g", "x", x))
		logger.With("x", x).Error("seen", "error", fmt.Errorf("about %v", x))
		require.NotEmpty(t, log.String())
		require.NotContains(t, log.String(), canary, "%T in a log", x)
	}
	for _, x := range append(made[:len(made)-4], v, &v, a, &a, n, &n, p, &p) {
		var log bytes.Buffer
		slog.New(slog.NewJSONHandler(&log, nil)).Info("seen", "x", x)
		require.NotContains(t, log.String(), canary, "%T in a JSON log", x)
	}
	lost := &alertError{ErrConflict, &a}
	assert.NotContains(t, fmt.Sprintf("%v %+v %#v %s %q", lost, lost, lost, lost, lost), canary)
	assert.Contains(t, fmt.Sprint(p), "clinician", "of a principal the role shows")
	assert.Equal(t, "<nil>", fmt.Sprint((*Vital)(nil)))
}
