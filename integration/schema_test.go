// Package integration tests carewire together with things that only tests need: the
// protocol's schema, live servers, clients of other makes.
package integration

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

type vector struct {
	Name      string
	Direction string
	Frame     string
	Valid     bool
	Schema    *bool // the schema's answer where it is not Valid
}

// The schema takes and refuses frames as the vectors say.
func TestSchemaVectors(t *testing.T) {
	t.Parallel()
	s := schemaFor(t)
	files, err := filepath.Glob("../testdata/vectors/*.json")
	require.NoError(t, err)
	require.NotEmpty(t, files)
	seen := make(map[string]bool)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		var list []vector
		require.NoError(t, json.Unmarshal(b, &list))
		name := strings.TrimSuffix(filepath.Base(file), ".json")
		for _, v := range list {
			t.Run(name+"/"+v.Name, func(t *testing.T) {
				want := v.Valid
				if v.Schema != nil {
					require.NotEqual(t, v.Valid, *v.Schema, "schema says nothing new")
					want = *v.Schema
				}
				check, whole := s.request, "request"
				if v.Direction == "server" {
					check, whole = s.server, "serverFrame"
				}
				err := check([]byte(v.Frame))
				assert.Equal(t, want, err == nil, "%v", err)
				var m struct{ Type string }
				if err == nil && json.Unmarshal([]byte(v.Frame), &m) == nil {
					seen[m.Type] = true
				}
				if json.Valid([]byte(v.Frame)) { // the oneOf of all says the same
					assert.Equal(t, want, s.check(s.open, whole, []byte(v.Frame)) == nil)
				}
				if v.Direction == "server" && want && name != "events_open" {
					assert.NoError(t, s.exact([]byte(v.Frame)))
				}
				if name == "events_open" && want && strings.HasPrefix(v.Name, "unknown member") {
					assert.Error(t, s.exact([]byte(v.Frame)), "an unknown member is found")
				}
			})
		}
	}
	for def := range definitions() {
		if kind, typ, ok := strings.Cut(def, "."); ok {
			assert.True(t, seen[typ], "no valid %s %s", kind, typ)
		}
	}
}

// The schema takes and refuses the same JSON as the scanners and the decoder, which root's
// TestStrictAndOpenScanner holds against these cases.
func TestSchemaJSON(t *testing.T) {
	t.Parallel()
	s := schemaFor(t)
	b, err := os.ReadFile("../testdata/json.json")
	require.NoError(t, err)
	var list []vector
	require.NoError(t, json.Unmarshal(b, &list))
	require.Greater(t, len(list), 150)
	for _, v := range list {
		want := v.Valid
		if v.Schema != nil {
			require.NotEqual(t, v.Valid, *v.Schema, "%s: schema says nothing new", v.Name)
			want = *v.Schema
		}
		err := s.request([]byte(v.Frame))
		assert.Equal(t, want, err == nil, "%s: %v", v.Name, err)
	}
}

// The frames of the document's sessions are as the schema has them.
func TestSchemaSessions(t *testing.T) {
	t.Parallel()
	s := schemaFor(t)
	b, err := os.ReadFile("../docs/protocol.md")
	require.NoError(t, err)
	n := 0
	for line := range strings.Lines(string(b)) {
		switch {
		case strings.HasPrefix(line, "C: {"):
			assert.NoError(t, s.request([]byte(line[3:])), line)
			n++
		case strings.HasPrefix(line, "S: {"):
			assert.NoError(t, s.exact([]byte(line[3:])), line)
			n++
		}
	}
	assert.Greater(t, n, 30)
}

// The frames that Go writes agree with the schema, member for member.
func TestSchemaObjects(t *testing.T) {
	t.Parallel()
	s := schemaFor(t)
	now := time.Date(2026, time.March, 1, 8, 0, 0, 0, time.UTC)
	who := carewire.Person{ID: "dr-who", Name: "Dr. Who", Role: carewire.RoleClinician}
	number := carewire.HeartRate.Of("p-17", 72)
	number.System, number.Comparator, number.Status, number.Replaces, number.ID = carewire.LOINC, carewire.ComparatorBelow, carewire.VitalCorrected, "m-1", "m-2"
	number.Quality = []carewire.Quality{carewire.QualityQuestionable}
	number.Time, number.Received = now, now
	number.Device, number.Site, number.Method, number.Every, number.Test = "mon-4", "left wrist", "optical", time.Second, true
	panel := carewire.BloodPressure.Of("p-17", 120, 80)
	panel.Time, panel.Received = now, now
	heard := carewire.Recognition{Kind: carewire.RecognitionSpeech, Model: "ears 2", Confidence: "0.67"}
	alert := carewire.Alert{Patient: "p-17", Key: "spo2-low", ID: "a-1", Rev: 3, Code: "59408-5", System: carewire.LOINC, Text: "SpO2 low", Priority: carewire.PriorityHigh,
		Kind: carewire.AlertPhysiological, Test: true, Audience: carewire.AudienceStaff, To: []string{"patient", "group:ward-5"},
		Source: carewire.Source{By: "mon-4", Rule: "spo2", Limits: "90-100", Value: "84", Unit: "%", VitalID: "m-7", Inputs: []carewire.SourceInput{
			{Code: "59408-5", System: carewire.LOINC, Value: "84", Unit: "%", VitalID: "m-7", Age: 1500 * time.Millisecond},
			{Code: "80288-4", Coded: carewire.Coding{System: carewire.SNOMED, Code: "248234008"}}}, Recognition: heard, NextDue: now},
		Condition: carewire.ConditionOver, Latched: true, Onset: now, Raised: now, Updated: now, Ended: now,
		Responsibility: carewire.Responsibility{State: carewire.ResponsibilityAccepted, By: who, At: now, Until: now},
		Answers:        []carewire.Answered{{Do: carewire.AnswerAssign, By: who, At: now, Until: now, To: "role:clinician", Reason: "x", Source: heard}}, AnswerCount: 9,
		Escalation: carewire.Escalation{Level: 2, Step: 1, State: carewire.EscalationNotified, Due: now},
		Closed:     &carewire.Closing{By: who, At: now, Reason: "x"}}
	notice := carewire.Notice{Patient: "p-17", ID: "n-1", From: "dr-who", To: []string{"patient"}, Audience: carewire.AudienceNamed, Text: "x", Time: now, RepliesTo: "n-0"}
	for _, o := range []struct {
		name string
		v    any
	}{{"Vital", number}, {"Vital", panel}, {"Alert", alert}, {"Notice", notice}} {
		b, err := json.Marshal(o.v)
		require.NoError(t, err)
		assert.NoError(t, s.object(o.name, b), "%s", b)
	}
}
