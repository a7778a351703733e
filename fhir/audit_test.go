package fhir

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// records are one of each event.
func records() (list []carewire.Record) {
	for event := range auditForms {
		r := carewire.Record{Time: noon, Event: event, Outcome: carewire.OutcomeDone, Who: carewire.Person{ID: "nurse", Name: "Nora", Role: carewire.RoleClinician},
			Conn: "c1", Address: "192.0.2.7", Session: "s", Patient: "p1"}
		switch event {
		case carewire.AuditAnswer:
			r.Key, r.ID, r.Do = "k", "a1", carewire.AnswerAccept
		case carewire.AuditPublish:
			r.Count, r.Refused = 60, 1
		case carewire.AuditRefusal:
			r.Outcome, r.Status, r.Patient, r.Who = carewire.OutcomeRefused, 401, "", carewire.Person{}
		case carewire.AuditEmergency, carewire.AuditEmergencyEnded:
			r.Reason, r.Until, r.About = "cardiac arrest", noon.Add(time.Hour), "nurse"
		case carewire.AuditPage, carewire.AuditEscalation:
			r.Who, r.Asserted, r.Level, r.To = carewire.Person{ID: "@host"}, true, 2, []string{"person:kim", "role:clinician"}
			r.Conn, r.Address = "", ""
		}
		list = append(list, r)
	}
	return append(list, carewire.Record{Time: noon, Event: "later", Outcome: carewire.OutcomeUnknown, Code: carewire.CodeUnknown, Test: true})
}

func TestAuditEventForm(t *testing.T) {
	r := carewire.Record{Time: noon, Event: carewire.AuditWatch, Outcome: carewire.OutcomeDone, Conn: "c1", Address: "192.0.2.7", Patient: "p1",
		Who: carewire.Person{ID: "nurse", Name: "Nora", Role: carewire.RoleClinician}}
	assert.JSONEq(t, `{"resourceType":"AuditEvent","meta":{"profile":["https://profiles.ihe.net/ITI/BALP/StructureDefinition/IHE.BasicAudit.PatientRead"]},
 "type":{"system":"http://terminology.hl7.org/CodeSystem/audit-event-type","code":"rest","display":"Restful Operation"},
 "subtype":[{"system":"http://hl7.org/fhir/restful-interaction","code":"read","display":"read"}],
 "action":"R","recorded":"2026-03-01T12:00:00.250Z","outcome":"0",
 "agent":[{"type":{"coding":[{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110152","display":"Destination Role ID"}]},
   "who":{"identifier":{"value":"c1"}},"requestor":false,"network":{"address":"192.0.2.7","type":"2"}},
  {"type":{"coding":[{"system":"http://dicom.nema.org/resources/ontology/DCM","code":"110153","display":"Source Role ID"}]},
   "who":{"identifier":{"value":"hub"}},"requestor":false,"network":{"address":"https://ehr.test","type":"5"}},
  {"type":{"coding":[{"system":"http://terminology.hl7.org/CodeSystem/v3-ParticipationType","code":"IRCP","display":"information recipient"}]},
   "who":{"identifier":{"value":"nurse"},"display":"Nora"},"requestor":true}],
 "source":{"observer":{"display":"hub"}},
 "entity":[{"what":{"type":"Observation","display":"what is live of the patient"},"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-entity-type","code":"2","display":"System Object"},
   "role":{"system":"http://terminology.hl7.org/CodeSystem/object-role","code":"4","display":"Domain Resource"},
   "detail":[{"type":"event","valueString":"watch"},{"type":"role","valueString":"clinician"}]},
  {"what":{"reference":"Patient/p1"},"type":{"system":"http://terminology.hl7.org/CodeSystem/audit-entity-type","code":"1","display":"Person"},
   "role":{"system":"http://terminology.hl7.org/CodeSystem/object-role","code":"1","display":"Patient"}}]}`, string(AuditEvent(r, Site{"hub", "https://ehr.test"})))
}

// Every event that audit.go names has a form of its own.
func TestEveryRecordHasItsForm(t *testing.T) {
	source, err := os.ReadFile("../audit.go")
	require.NoError(t, err)
	events := regexp.MustCompile(`(?m)^\tAudit\w+ +AuditEvent = "(\w+)"`).FindAllStringSubmatch(string(source), -1)
	require.NotEmpty(t, events)
	for _, e := range events {
		assert.Contains(t, auditForms, carewire.AuditEvent(e[1]))
	}
	assert.Len(t, events, len(auditForms))
}

// The members that BALP and R4 demand of every record.
func TestAuditEventsOfAllRecords(t *testing.T) {
	for _, r := range records() {
		b := AuditEvent(r, Site{})
		agents := member(t, b, "agent").([]any)
		for _, a := range agents[:2] {
			assert.NotNil(t, at(a, "who", "identifier", "value"), r.Event)
			assert.NotNil(t, at(a, "network", "address"), r.Event)
		}
		assert.Contains(t, "CRUDE", member(t, b, "action"), r.Event)
		assert.NotEmpty(t, member(t, b, "source", "observer", "display"))
		profile, _ := member(t, b, "meta").(object)
		if profile["profile"] != nil {
			assert.NotEmpty(t, member(t, b, "entity", 1, "what", "reference"), "BALP demands the patient")
		}
		create := strings.Contains(fmt.Sprint(profile["profile"]), "Create") || strings.Contains(fmt.Sprint(profile["profile"]), "Update")
		if create {
			assert.Equal(t, "110153", member(t, b, "agent", 0, "type", "coding", 0, "code"), "written data goes from the client")
		}
		if r.Event == carewire.AuditEmergency || r.Event == carewire.AuditEmergencyEnded {
			assert.Equal(t, "ETREAT", member(t, b, "purposeOfEvent", 0, "coding", 0, "code"))
			assert.Contains(t, string(b), "cardiac arrest")
			want := map[carewire.AuditEvent]string{carewire.AuditEmergency: "110127", carewire.AuditEmergencyEnded: "110138"}
			assert.Equal(t, want[r.Event], member(t, b, "subtype", 0, "code"), "the pair of DICOM")
			assert.Equal(t, systemDICOM, member(t, b, "subtype", 0, "system"))
		}
	}
	assert.Equal(t, "8", member(t, AuditEvent(carewire.Record{Outcome: carewire.OutcomeFailed}, Site{}), "outcome"))
}

// keeper is a FHIR server that keeps AuditEvents.
type keeper struct {
	mu     sync.Mutex
	got    []string // the events that came, by their details
	answer func(n int, event string) int
	down   bool
}

func (k *keeper) RoundTrip(r *http.Request) (*http.Response, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	rec := httptest.NewRecorder()
	if k.down {
		rec.WriteHeader(503)
		return rec.Result(), nil
	}
	if r.Header.Get("Authorization") != "Bearer t" {
		rec.WriteHeader(401)
		return rec.Result(), nil
	}
	b, _ := io.ReadAll(r.Body)
	var in struct {
		Entry []struct{ Resource json.RawMessage }
	}
	json.Unmarshal(b, &in)
	out := bundle{ResourceType: "Bundle", Type: "batch-response"}
	for i, e := range in.Entry {
		name := at(jsonOf(string(e.Resource)), "entity", 0, "detail", 0, "valueString").(string)
		status := 201
		if k.answer != nil {
			status = k.answer(i, name)
		}
		if status == 201 {
			k.got = append(k.got, name)
		}
		out.Entry = append(out.Entry, bundleEntry{Response: &bundleResponse{Status: statusText(status)}})
	}
	rec.Write(encode(out))
	return rec.Result(), nil
}

func (k *keeper) names() []string {
	k.mu.Lock()
	defer k.mu.Unlock()
	return append([]string{}, k.got...)
}

func (k *keeper) options(dir string) AuditorOptions {
	return AuditorOptions{URL: "https://audit.test/fhir", Dir: dir, Client: &http.Client{Transport: k}, Batch: 10, Logger: slog.New(slog.DiscardHandler),
		Header: func(context.Context) (http.Header, error) { return http.Header{"Authorization": {"Bearer t"}}, nil }}
}

// Records go to the server in order and in batches; while it is down they wait on
// disk, over restarts, and a record that was cut short by a crash is passed over.
func TestAuditorKeepsUnsentRecords(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := &keeper{}
		a, err := NewAuditor(k.options(dir))
		require.NoError(t, err)
		var want []string
		record := func(a *Auditor, n int) {
			for range n {
				name := fmt.Sprint("e", len(want))
				require.NoError(t, a.Record(t.Context(), carewire.Record{Time: noon, Event: carewire.AuditEvent(name)}))
				want = append(want, name)
			}
		}
		record(a, 25)
		time.Sleep(2 * time.Second)
		assert.Equal(t, want, k.names())
		k.mu.Lock()
		k.down = true
		k.mu.Unlock()
		record(a, 25)
		time.Sleep(time.Minute)
		assert.NotZero(t, a.Stats().Failed)
		assert.NotZero(t, a.Stats().Waiting)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		assert.Error(t, a.Close(ctx), "some wait on disk")
		cancel()
		assert.ErrorIs(t, a.Record(t.Context(), carewire.Record{}), carewire.ErrClosed)
		files := (&Auditor{opt: AuditorOptions{Dir: dir}}).files()
		last := filepath.Join(dir, files[len(files)-1])
		data, err := os.ReadFile(last)
		require.NoError(t, err)
		require.NoError(t, os.WriteFile(last, append(data, []byte(`{"resourceType":"Audit`)...), 0o600))
		info, err := os.Stat(last)
		require.NoError(t, err)
		assert.Equal(t, os.FileMode(0o600), info.Mode().Perm())

		k.mu.Lock()
		k.down = false
		k.mu.Unlock()
		a, err = NewAuditor(k.options(dir))
		require.NoError(t, err)
		record(a, 5)
		require.NoError(t, a.Close(t.Context()))
		assert.Equal(t, want, k.names(), "all of them, in order, once")
		assert.Empty(t, a.files())
	})
}

// A record that the server refuses for good is put aside, and does not delay
// the rest; one that it refuses for now is sent again.
func TestAuditorAndAServerThatRefuses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		k := &keeper{}
		tries := 0
		k.answer = func(_ int, event string) int {
			switch event {
			case "bad":
				return 422
			case "later":
				if tries++; tries < 3 {
					return 503
				}
			}
			return 201
		}
		a, err := NewAuditor(k.options(dir))
		require.NoError(t, err)
		for _, name := range []carewire.AuditEvent{"a", "bad", "later", "b"} {
			require.NoError(t, a.Record(t.Context(), carewire.Record{Time: noon, Event: name}))
		}
		time.Sleep(time.Minute)
		require.NoError(t, a.Close(t.Context()))
		assert.Equal(t, []string{"a", "b", "later"}, k.names())
		data, err := os.ReadFile(filepath.Join(dir, rejectedName))
		require.NoError(t, err)
		assert.Equal(t, 1, bytes.Count(data, []byte("\n")))
		assert.EqualValues(t, 1, a.Stats().Rejected)
		assert.EqualValues(t, 3, a.Stats().Sent)

		o := k.options(t.TempDir())
		o.MaxBytes = 10
		a, err = NewAuditor(o)
		require.NoError(t, err)
		assert.ErrorIs(t, a.Record(t.Context(), carewire.Record{Time: noon}), carewire.ErrFull)
		require.NoError(t, a.Close(t.Context()))
	})
}

// A Hub whose Auditor is this one.
func TestAuditorOfAHub(t *testing.T) {
	k := &keeper{}
	a, err := NewAuditor(k.options(t.TempDir()))
	require.NoError(t, err)
	w := newWorld(t, nil, &carewire.Options{Auditor: a}, nil)
	w.do("nurse", "GET", "Observation/$lastn?patient=p1", "")
	w.close()
	require.NoError(t, a.Close(t.Context()))
	assert.Contains(t, k.names(), "watch")
}
