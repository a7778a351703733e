// Package oracle holds the FHIR that carewire writes against google/fhir, which
// takes a minute to build: `make fhir-oracle` runs it, and CI does not.
package oracle

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/fhir/go/fhirversion"
	"github.com/google/fhir/go/jsonformat"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/fhir"
)

func TestGoogleFHIRReadsWhatWeWrite(t *testing.T) {
	reader, err := jsonformat.NewUnmarshaller("UTC", fhirversion.R4)
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	read := func(name string, b []byte) {
		t.Helper()
		if n++; len(b) == 0 {
			t.Errorf("%s: nothing was written", name)
		}
		if _, err := reader.Unmarshal(b); err != nil {
			t.Errorf("%s: %v\n%s", name, err, b)
		}
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 125e6, time.UTC)
	for _, m := range []carewire.Measure{carewire.HeartRate, carewire.RespiratoryRate, carewire.OxygenSaturation, carewire.SpO2, carewire.OxygenFlow,
		carewire.OxygenConcentration, carewire.BodyTemperature, carewire.SystolicPressure, carewire.DiastolicPressure, carewire.MeanPressure,
		carewire.BodyWeight, carewire.BodyHeight, carewire.HeadCircumference, carewire.BodyMassIndex, carewire.GlucoseMass, carewire.GlucoseMoles, carewire.EndTidalCO2} {
		for _, unit := range m.Units() {
			v := m.In("p1", 50, unit)
			v.ID, v.Device, v.Site, v.Time, v.Received, v.Comparator = "m1", "d1", "left arm", now, now, carewire.ComparatorAbove
			v.Quality = []carewire.Quality{carewire.QualityQuestionable, carewire.QualityInAlarm}
			b, err := fhir.Observation(v)
			if err != nil {
				t.Fatal(err)
			}
			read(m.Display+" "+unit, b)
		}
	}
	withdrawn := carewire.BloodPressure.Of("p1", 120, 80)
	withdrawn.Components[1] = carewire.Component{Code: carewire.DiastolicPressure.Code, Absent: carewire.AbsentError}
	for _, v := range []carewire.Vital{carewire.BloodPressure.Of("p1", 120, 80), withdrawn, {Patient: "p1", Code: carewire.HeartRate.Code, Absent: carewire.AbsentError},
		{Patient: "p1", Code: carewire.Consciousness, Coded: &carewire.Coding{System: carewire.SNOMED, Code: "248234008"}}} {
		v.Time = now
		b, err := fhir.Observation(v)
		if err != nil {
			t.Fatal(err)
		}
		read(v.Code, b)
	}
	strip, err := fhir.Strip{Patient: "p1", Code: "11524-6", Start: now, Data: fhir.SampledData{Origin: "0", Unit: "uV", Period: "4", Data: "1 2 E"}}.Observation()
	if err != nil {
		t.Fatal(err)
	}
	read("strip", strip)
	a := carewire.Alert{Patient: "p1", Key: "k", ID: "a", Text: "SpO2 low", Priority: carewire.PriorityHigh, Onset: now, Raised: now, Updated: now}
	read("flag", fhir.Flag(a))
	read("detected issue", fhir.DetectedIssue(a))
	read("communication", fhir.Communication(carewire.Notice{Patient: "p1", ID: "n", Text: "x", To: []string{"patient", "person:kim"}, Time: now, From: "nurse"}))
	for _, event := range auditEvents(t) {
		read(string(event), fhir.AuditEvent(carewire.Record{Time: now, Event: event, Who: carewire.Person{ID: "nurse"}, Patient: "p1", Address: "192.0.2.7"}, fhir.Site{}))
	}
	served(t, read)
	for name, fault := range map[string]string{"a string for a number": `"value":"72"`, "another member": `"valeu":72`, "a bad status": `"value":72},"status":"fine"`} {
		b := `{"resourceType":"Observation","status":"final","code":{"text":"x"},"valueQuantity":{"value":72}}`
		if name == "a bad status" {
			b = strings.Replace(b, `"status":"final"`, `"status":"fine"`, 1)
		} else {
			b = strings.Replace(b, `"value":72`, fault, 1)
		}
		if _, err := reader.Unmarshal([]byte(b)); err == nil {
			t.Errorf("it does not notice %s", name)
		}
	}
	t.Log(n, "resources")
}

// auditEvents are the events that audit.go names.
func auditEvents(t *testing.T) (list []carewire.AuditEvent) {
	source, err := os.ReadFile("../../audit.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range regexp.MustCompile(`(?m)^\tAudit\w+ +AuditEvent = "(\w+)"`).FindAllStringSubmatch(string(source), -1) {
		list = append(list, carewire.AuditEvent(e[1]))
	}
	if len(list) < 20 {
		t.Fatal("audit.go is read no more: ", len(list))
	}
	return list
}

// served reads what a Server answers.
func served(t *testing.T, read func(string, []byte)) {
	store := carewire.NewMemoryStore(nil)
	hub, err := carewire.New(carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{ID: "gateway", Role: carewire.RoleService, Patients: []string{"p1"}}, nil
	}), store, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer hub.Shutdown(t.Context())
	s, err := fhir.New(hub, store, &fhir.Options{Base: "https://ehr.example/fhir"})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	do := func(method, path, body string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, "/"+path, strings.NewReader(body))
		r.Header.Set("Content-Type", "application/fhir+json")
		rec := httptest.NewRecorder()
		s.ServeHTTP(rec, r)
		read(method+" "+path, rec.Body.Bytes())
		return rec
	}
	made := do("POST", "Subscription", `{"resourceType":"Subscription","status":"requested","reason":"x","criteria":"Observation?patient=Patient/p1",
 "channel":{"type":"websocket","payload":"application/fhir+json"}}`)
	id := made.Header().Get("Location")[len("https://ehr.example/fhir/"):]
	for i := range 3 {
		if _, err := hub.Publish(t.Context(), carewire.HeartRate.Of("p1", float64(60+i))); err != nil {
			t.Fatal(err)
		}
	}
	for _, path := range []string{"metadata", id, "Subscription", "Subscription/$status", id + "/$events", id + "/$get-ws-binding-token", "Observation?patient=p1",
		"Observation/$lastn?patient=p1", "Flag?patient=p1", "Patient/x"} {
		do("GET", path, "")
	}
	do("POST", "", fmt.Sprintf(`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"POST","url":"Observation"},"resource":%s}]}`, "{}"))
}
