package fhir

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

const base = "https://ehr.test/fhir"

var people = map[string]carewire.Principal{
	"nurse":   {ID: "nurse", Name: "Nora", Role: carewire.RoleClinician, Patients: []string{"p1", "p_2"}},
	"gateway": {ID: "gateway", Role: carewire.RoleService, Patients: []string{"p1", "p_2"}},
	"viewer":  {ID: "viewer", Role: carewire.RoleViewer, Patients: []string{"p1"}},
	"pat":     {ID: "pat", Role: carewire.RolePatient, Patients: []string{"p1"}},
	"nobody":  {ID: "nobody", Role: carewire.RoleClinician},
}

// world is a Server beside a Hub.
type world struct {
	t      *testing.T
	hub    *carewire.Hub
	store  carewire.Store
	server *Server
	http.Handler
}

func newWorld(t *testing.T, store carewire.Store, o *carewire.Options, mine *Options) *world {
	t.Helper()
	if store == nil {
		store = carewire.NewMemoryStore(nil)
	}
	quiet := carewire.Options{}
	if o != nil {
		quiet = *o
	}
	quiet.Logger = slog.New(slog.DiscardHandler)
	quiet.TicketsInStore = true
	hub, err := carewire.New(carewire.AuthenticatorFunc(func(r *http.Request) (carewire.Principal, error) {
		p, ok := people[carewire.Token(r)]
		if !ok {
			return p, carewire.ErrUnauthenticated
		}
		return p, nil
	}), store, &quiet)
	require.NoError(t, err)
	opt := Options{}
	if mine != nil {
		opt = *mine
	}
	opt.Base, opt.Logger = base, quiet.Logger
	s, err := New(hub, store, &opt)
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/fhir/", http.StripPrefix("/fhir", s))
	return &world{t: t, hub: hub, store: store, server: s, Handler: mux}
}

func (w *world) close() {
	w.server.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	require.NoError(w.t, w.hub.Shutdown(ctx))
}

type object = map[string]any

// result is the answer to a request.
type result struct {
	*httptest.ResponseRecorder
	t *testing.T
}

func (r result) json() object {
	var v object
	require.NoError(r.t, json.Unmarshal(r.Body.Bytes(), &v), r.Body.String())
	return v
}

// do sends a request as somebody.
func (w *world) do(who, method, path, body string, header ...string) result {
	w.t.Helper()
	r := httptest.NewRequest(method, base+"/"+path, strings.NewReader(body))
	if who != "" {
		r.Header.Set("Authorization", "Bearer "+who)
	}
	if body != "" {
		r.Header.Set("Content-Type", "application/fhir+json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	rec := httptest.NewRecorder()
	w.ServeHTTP(rec, r)
	return result{rec, w.t}
}

func at(v any, path ...any) any {
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(object)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

// hr is a heart rate as somebody else writes it.
func hr(patient, id string, value any) string {
	identifier := ""
	if id != "" {
		identifier = `"identifier":[{"value":"` + id + `"}],`
	}
	return fmt.Sprintf(`{"resourceType":"Observation","status":"final",%s"code":{"coding":[{"system":"http://loinc.org","code":"8867-4"}]},
 "subject":{"identifier":{"value":%q}},"effectiveDateTime":"2026-03-01T12:00:00Z","note":[{"text":"x"}],
 "valueQuantity":{"value":%v,"system":"http://unitsofmeasure.org","code":"/min"}}`, identifier, patient, value)
}

func TestObservationsByREST(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	made := w.do("gateway", "POST", "Observation", hr("p_2", "m1", "72.0"))
	require.Equal(t, 201, made.Code, made.Body)
	assert.Equal(t, []any{"note"}, at(made.json(), "issue", 0, "expression"), "the parts that are not kept are told")
	where := strings.TrimPrefix(made.Header().Get("Location"), base+"/")
	require.Contains(t, where, "Observation/1.")

	read := w.do("nurse", "GET", where, "")
	require.Equal(t, 200, read.Code, read.Body)
	assert.Contains(t, read.Body.String(), `"value":72.0`, "decimals keep their text")
	assert.Equal(t, "p_2", at(read.json(), "subject", "identifier", "value"))
	assert.NotEmpty(t, at(read.json(), "issued"))

	again := w.do("gateway", "POST", "Observation", hr("p_2", "m1", "72.0"))
	assert.Equal(t, 200, again.Code, "a repetition is recognised")
	assert.Equal(t, made.Header().Get("Location"), again.Header().Get("Location"))
	assert.Equal(t, 409, w.do("gateway", "POST", "Observation", hr("p_2", "m1", "73")).Code)
	conditional := func() int {
		return w.do("gateway", "POST", "Observation", hr("p1", "", "72"), "If-None-Exist", "identifier=urn:x|m2").Code
	}
	assert.Equal(t, []int{201, 200}, []int{conditional(), conditional()}, "If-None-Exist")
	full := w.do("gateway", "POST", "Observation", hr("p1", "", "75"), "Prefer", "return=representation")
	assert.EqualValues(t, 75, at(full.json(), "valueQuantity", "value"))
	assert.NotEmpty(t, at(full.json(), "id"))

	for _, c := range []struct {
		who, method, path, body string
		status                  int
		code                    string
		header                  []string
	}{
		{"", "GET", "Observation?patient=p1", "", 401, "login", nil},
		{"nurse", "POST", "Observation", hr("p1", "", "70"), 403, "forbidden", nil},
		{"gateway", "POST", "Observation", hr("stranger", "", "70"), 403, "forbidden", nil},
		{"gateway", "POST", "Observation", hr("p1", "", "-1"), 422, "invalid", nil},
		{"gateway", "POST", "Observation", `{"resourceType":`, 400, "structure", nil},
		{"gateway", "POST", "Observation", hr("p1", "", "70"), 415, "not-supported", []string{"Content-Type", "application/fhir+xml"}},
		{"gateway", "POST", "Observation", strings.Repeat(" ", 2<<20), 413, "too-long", nil},
		{"gateway", "POST", "Observation", hr("p1", "a", "70"), 400, "invalid", []string{"If-None-Exist", "identifier=b"}},
		{"gateway", "POST", "Observation", hr("p1", "a", "70"), 400, "not-supported", []string{"If-None-Exist", "patient=b"}},
		{"nurse", "GET", "Observation", "", 400, "required", nil},
		{"nurse", "GET", "Observation?patient=p1&value-quantity=gt5", "", 400, "not-supported", nil},
		{"nurse", "GET", "Observation?patient=p1&date=x", "", 400, "invalid", nil},
		{"nobody", "GET", "Observation?patient=p1", "", 403, "forbidden", nil},
		{"nobody", "GET", where, "", 404, "not-found", nil},
		{"nurse", "GET", "Observation/1.0000.p1", "", 404, "not-found", nil},
		{"nurse", "GET", "Observation/nonsense", "", 404, "not-found", nil},
		{"nurse", "GET", "Observation?patient=p1", "", 406, "not-supported", []string{"Accept", "application/fhir+xml"}},
		{"nurse", "DELETE", "Observation/1.0000.p1", "", 405, "not-supported", nil},
		{"nurse", "PUT", "Observation", "", 405, "not-supported", nil},
		{"nurse", "GET", "Patient/p1", "", 404, "not-supported", nil},
		{"nurse", "GET", "Observation?patient=p1", "", 403, "forbidden", []string{"Origin", "https://evil.test"}},
	} {
		r := w.do(c.who, c.method, c.path, c.body, c.header...)
		assert.Equal(t, c.status, r.Code, "%v: %s", c, r.Body)
		assert.Equal(t, c.code, at(r.json(), "issue", 0, "code"), "%v", c)
		assert.Equal(t, "application/fhir+json; charset=utf-8", r.Header().Get("Content-Type"))
		assert.NotContains(t, r.Body.String(), "stranger")
	}
	assert.Equal(t, "POST, GET", w.do("nurse", "PUT", "Observation", "").Header().Get("Allow"))
	assert.Equal(t, "GET", w.do("nurse", "DELETE", "Observation/1.0000.p1", "").Header().Get("Allow"))
	assert.Equal(t, "valueQuantity.value", at(w.do("gateway", "POST", "Observation", hr("p1", "", "-1")).json(), "issue", 0, "expression", 0))
}

// values lists the values of a searchset, and where its next page is.
func values(b object) (list []string, next string) {
	entries, _ := b["entry"].([]any)
	for _, e := range entries {
		list = append(list, fmt.Sprint(at(e, "resource", "valueQuantity", "value")))
	}
	links, _ := b["link"].([]any)
	for _, l := range links {
		if at(l, "relation") == "next" {
			next = strings.TrimPrefix(at(l, "url").(string), base+"/")
		}
	}
	return list, next
}

func TestSearch(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for i := range 10 {
		v := carewire.HeartRate.Of("p1", float64(60+i))
		if i%2 == 1 {
			v = carewire.SpO2.Of("p1", float64(60+i))
		}
		v.Time = noon.Add(time.Duration(i) * time.Hour)
		_, err := w.hub.Publish(t.Context(), v)
		require.NoError(t, err)
		_, err = w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Text: "x", Priority: carewire.PriorityInfo})
		require.NoError(t, err)
	}
	search := func(q string) (all []string) {
		path := "Observation?patient=Patient/p1&" + q
		for range 20 {
			r := w.do("nurse", "GET", path, "")
			require.Equal(t, 200, r.Code, "%s: %s", q, r.Body)
			list, next := values(r.json())
			all = append(all, list...)
			if path = next; next == "" {
				return all
			}
		}
		t.Fatal("pages without an end")
		return nil
	}
	all := []string{"60", "61", "62", "63", "64", "65", "66", "67", "68", "69"}
	assert.Equal(t, all, search(""))
	assert.Equal(t, all, search("_count=3"))
	assert.Equal(t, all, search("_count=1&category=vital-signs"))
	assert.Empty(t, search("category=laboratory"))
	even, odd := []string{"60", "62", "64", "66", "68"}, []string{"61", "63", "65", "67", "69"}
	assert.Equal(t, even, search("code=8867-4&_count=2"))
	assert.Equal(t, odd, search("code=http://loinc.org|2708-6"), "either coding of SpO2")
	assert.Equal(t, all, search("code=8867-4,http://loinc.org|59408-5"))
	assert.Empty(t, search("code=http://snomed.info/sct|8867-4"))
	assert.Equal(t, all[2:], search("date=ge2026-03-01T14:00:00Z"))
	assert.Equal(t, all[3:], search("date=gt2026-03-01T14:00:00Z"))
	assert.Equal(t, all[:3], search("date=le2026-03-01T14:00:00Z"))
	assert.Equal(t, all[:2], search("date=lt2026-03-01T14:00:00Z"))
	assert.Equal(t, all[2:3], search("date=2026-03-01T14:00:00Z"))
	assert.Equal(t, all[2:5], search("date=ge2026-03-01T14:00:00Z&date=le2026-03-01T16:00:00Z"))
	assert.Equal(t, all, search("date=2026-03-01"))
	assert.Empty(t, search("date=gt2026-03-01"))

	r := w.do("viewer", "GET", "Observation/$lastn?patient=p1&max=1", "")
	require.Equal(t, 200, r.Code, r.Body)
	list, _ := values(r.json())
	assert.Equal(t, []string{"68", "69"}, list)
	r = w.do("viewer", "GET", "Observation/$lastn?subject=Patient/p1&code=8867-4", "")
	list, _ = values(r.json())
	assert.Equal(t, []string{"68"}, list)
	assert.Equal(t, 400, w.do("viewer", "GET", "Observation/$lastn?patient=p1&max=2", "").Code)
	assert.Equal(t, 403, w.do("nobody", "GET", "Observation/$lastn?patient=p1", "").Code)
	assert.Equal(t, 403, w.do("viewer", "GET", "Observation?patient=p1", "").Code, "a viewer may watch, and read no history")
	r = w.do("nurse", "POST", "Observation/_search", "patient=p1&_count=2", "Content-Type", "application/x-www-form-urlencoded")
	list, _ = values(r.json())
	assert.Equal(t, all[:2], list)
}

// Pruned entries are reported as missing, and the rest is found.
func TestSearchOfAPrunedLog(t *testing.T) {
	store := carewire.NewMemoryStore(nil)
	w := newWorld(t, store, nil, nil)
	defer w.close()
	start := time.Now().Add(-48 * time.Hour)
	for i := range 40 {
		received := start.Add(time.Duration(i) * time.Hour)
		v := carewire.HeartRate.Of("p1", float64(60+i))
		v.Time = received
		data, _ := v.MarshalJSON()
		_, err := store.Append(t.Context(), []carewire.Entry{{Patient: "p1", Kind: carewire.KindVital, Key: "v/ 8867-4  ", Audience: carewire.AudienceAll,
			Sender: "x", Time: received, Received: received, Data: data}})
		require.NoError(t, err)
	}
	require.NoError(t, store.Prune(t.Context(), time.Now(), carewire.Retention{Vitals: 24*time.Hour + 30*time.Minute}))
	r := w.do("nurse", "GET", "Observation?patient=p1", "")
	require.Equal(t, 200, r.Code, r.Body)
	list, _ := values(r.json())
	require.Equal(t, "<nil>", list[len(list)-1], "the last entry is the warning")
	assert.Equal(t, "84", list[0])
	assert.Equal(t, "99", list[len(list)-2])
	assert.Equal(t, "outcome", at(r.json(), "entry", len(list)-1, "search", "mode"))
}

// The same value of two systems names two readings.
func TestIdentifiersOfSystems(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	in := func(system string, value any) string {
		return strings.Replace(hr("p1", "m1", value), `"value":"m1"`, `"system":"`+system+`","value":"m1"`, 1)
	}
	for _, c := range []struct {
		body   string
		header []string
		status int
	}{
		{hr("p1", "m1", 70), nil, 201},
		{in("urn:a", 71), nil, 201},
		{in("urn:b", 72), nil, 201},
		{in("urn:a", 71), nil, 200},
		{in("urn:a", 72), nil, 409},
		{in("urn:a", 71), []string{"If-None-Exist", "identifier=urn:a|m1"}, 200},
		{in("urn:a", 71), []string{"If-None-Exist", "identifier=urn:b|m1"}, 400},
		{in("urn:a", 71), []string{"If-None-Exist", "identifier=m1"}, 400},
		{hr("p1", "m1", 70), []string{"If-None-Exist", "identifier=|m1"}, 200},
		{hr("p1", "", 71), []string{"If-None-Exist", "identifier=urn:a|m1"}, 200},
		{hr("p1", "", 73), []string{"If-None-Exist", "identifier=urn:c|m1"}, 201},
		{strings.Replace(in("urn:b", 74), `"final"`, `"corrected"`, 1), nil, 201},
	} {
		r := w.do("gateway", "POST", "Observation", c.body, c.header...)
		assert.Equal(t, c.status, r.Code, "%v %s", c, r.Body)
	}
	assert.Equal(t, 5, w.vitalsIn("p1"))
	_, unsaid, err := VitalsOf([]byte(in("urn:a", 71)))
	require.NoError(t, err)
	assert.Contains(t, unsaid, "identifier[0]", "its text is not kept")
}

// Readings that came late or are of the future are marked, both ways.
func TestMarksOfTheHub(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	for mark, when := range map[carewire.Quality]time.Time{carewire.QualityLate: time.Now().Add(-time.Hour), carewire.QualityFuture: time.Now().Add(time.Hour)} {
		body := strings.Replace(hr("p1", "", 70), "2026-03-01T12:00:00Z", instant(when), 1)
		r := w.do("gateway", "POST", "Observation", body, "Prefer", "return=representation")
		require.Equal(t, 201, r.Code, r.Body)
		assert.Equal(t, []any{object{"system": "urn:carewire:quality", "code": string(mark)}}, at(r.json(), "meta", "tag"))
		list, _, err := VitalsOf(r.Body.Bytes())
		require.NoError(t, err)
		assert.Equal(t, []carewire.Quality{mark}, list[0].Quality)
	}
}

func TestCommunications(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	made := w.do("nurse", "POST", "Communication", `{"resourceType":"Communication","status":"completed","identifier":[{"value":"n1"}],
 "subject":{"reference":"Patient/p1"},"recipient":[{"reference":"Patient/p1"},{"reference":"Practitioner/kim"},{"type":"CareTeam","identifier":{"value":"ward"}}],
 "payload":[{"contentString":"Please call."}],"priority":"urgent","sender":{"reference":"Practitioner/nurse"}}`)
	require.Equal(t, 201, made.Code, made.Body)
	assert.Equal(t, []any{"priority", "sender"}, at(made.json(), "issue", 0, "expression"))
	where := strings.TrimPrefix(made.Header().Get("Location"), base+"/")
	read := w.do("pat", "GET", where, "").json()
	assert.Equal(t, "Please call.", at(read, "payload", 0, "contentString"))
	assert.Equal(t, "nurse", at(read, "sender", "identifier", "value"))
	b, err := json.Marshal(read)
	require.NoError(t, err)
	n, unsaid, err := NoticeOf(b)
	require.NoError(t, err)
	assert.Equal(t, carewire.Notice{Patient: "p1", ID: "n1", Text: "Please call.", To: []string{"patient", "person:kim", "group:ward"}}, n)
	assert.Equal(t, []string{"sender", "sent"}, unsaid)
	found := w.do("pat", "GET", "Communication?patient=p1", "").json()
	assert.Len(t, found["entry"], 1)
	assert.Empty(t, w.do("gateway", "GET", "Communication?patient=p1", "").json()["entry"], "a person whom it is not addressed to does not see it")
	assert.Equal(t, 404, w.do("gateway", "GET", where, "").Code)
	for old, field := range map[string]string{`"completed"`: "status", `"Patient/p1"},"rec`: "recipient[0]"} {
		body := strings.Replace(`{"resourceType":"Communication","status":"completed","subject":{"reference":"Patient/p1"},"recipient":[{"reference":"Patient/p1"}],"payload":[{"contentString":"x"}]}`,
			old, map[string]string{`"completed"`: `"stopped"`, `"Patient/p1"},"rec`: `"Patient/p2"},"rec`}[old], 1)
		r := w.do("nurse", "POST", "Communication", body)
		assert.Equal(t, 422, r.Code)
		assert.Equal(t, field, at(r.json(), "issue", 0, "expression", 0))
	}
}

func TestOpenAlertsByREST(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	a, err := w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Code: "q", System: "http://ex.org", Text: "SpO2 low", Priority: carewire.PriorityHigh,
		Source: carewire.Source{Rule: "spo2-low", Value: "84", Unit: "%", Limits: "90-100", VitalID: "m1",
			Inputs: []carewire.SourceInput{{Code: "59408-5", VitalID: "m1"}, {Code: "8867-4", VitalID: "m2"}, {Code: "9279-1"}}}})
	require.NoError(t, err)
	_, err = w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "x", Text: "not yours", Priority: carewire.PriorityLow, Audience: carewire.AudienceNamed, To: []string{"person:other"}})
	require.NoError(t, err)
	_, err = w.hub.Answer(t.Context(), people["nurse"], a.Ref(), carewire.Answer{Do: carewire.AnswerAccept})
	require.NoError(t, err)
	flags := w.do("viewer", "GET", "Flag?patient=p1", "").json()
	require.Len(t, flags["entry"], 1)
	flag := at(flags, "entry", 0, "resource")
	assert.Equal(t, "active", at(flag, "status"))
	assert.Equal(t, "SpO2 low", at(flag, "code", "text"))
	read := w.do("viewer", "GET", "Flag/"+at(flag, "id").(string), "")
	assert.Equal(t, flag, any(read.json()))
	issue := at(w.do("viewer", "GET", "DetectedIssue?patient=p1&status=active", "").json(), "entry", 0, "resource")
	assert.Equal(t, "high", at(issue, "severity"))
	assert.Equal(t, "final", at(issue, "status"))
	assert.Equal(t, "spo2-low 84 % (90-100)", at(issue, "detail"))
	assert.Equal(t, "nurse", at(issue, "mitigation", 0, "author", "identifier", "value"))
	require.Len(t, at(issue, "implicated"), 2, "each measurement that the rule has looked at")
	assert.Equal(t, "m2", at(issue, "implicated", 1, "identifier", "value"))
	assert.Equal(t, 404, w.do("nobody", "GET", "Flag/"+at(flag, "id").(string), "").Code)
	assert.Equal(t, 403, w.do("nobody", "GET", "Flag?patient=p1", "").Code)
	assert.Empty(t, w.do("viewer", "GET", "Flag?patient=p1&status=inactive", "").json()["entry"])
	assert.Equal(t, 404, w.do("viewer", "GET", "Flag/"+digestID("none"), "").Code)
}

func TestDeviceAlert(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	raise := func() carewire.Alert {
		a, err := w.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Text: "SpO2 low", Priority: carewire.PriorityHigh, Source: carewire.Source{VitalID: "m1"}})
		require.NoError(t, err)
		return a
	}
	a := raise()
	b := DeviceAlert(a)
	assert.Equal(t, "6.0.0-ballot5", member(t, b, "meta", "tag", 0, "code"))
	assert.Equal(t, "in-progress", member(t, b, "status"))
	assert.Equal(t, false, member(t, b, "acknowledged"))
	assert.Equal(t, "on", member(t, b, "signal", 0, "presence"))
	assert.Nil(t, member(t, b, "occurrencePeriod", "end"), "the condition is present")
	over, err := w.hub.Clear(t.Context(), a.Ref())
	require.NoError(t, err)
	b = DeviceAlert(over)
	assert.Equal(t, "latched", member(t, b, "signal", 0, "presence"))
	assert.NotNil(t, member(t, b, "occurrencePeriod", "end"))
	taken, err := w.hub.Answer(t.Context(), people["nurse"], a.Ref(), carewire.Answer{Do: carewire.AnswerAccept})
	require.NoError(t, err)
	b = DeviceAlert(taken)
	assert.Equal(t, "completed", member(t, b, "status"))
	assert.Equal(t, "nurse", member(t, b, "acknowledgedBy", "identifier", "value"))
}

func TestMetadata(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	r := w.do("", "GET", "metadata", "")
	require.Equal(t, 200, r.Code)
	assert.Equal(t, "4.0.1", at(r.json(), "fhirVersion"))
	assert.Contains(t, at(r.json(), "rest", 0, "documentation"), "stored one by one")
	offered := make(map[string]bool)
	for _, res := range at(r.json(), "rest", 0, "resource").([]any) {
		offered[at(res, "type").(string)] = true
	}
	for _, route := range routes {
		if typ, _, _ := strings.Cut(route.path, "/"); typ != "" {
			assert.True(t, offered[typ], "%s is offered and not said", typ)
		}
	}
}

// A page of an allowed origin may call, and no other.
func TestCORS(t *testing.T) {
	w := newWorld(t, nil, &carewire.Options{Origins: []string{"https://app.test"}}, nil)
	defer w.close()
	r := w.do("", "OPTIONS", "Observation", "", "Origin", "https://app.test", "Access-Control-Request-Method", "PUT")
	assert.Equal(t, 204, r.Code)
	assert.Equal(t, "https://app.test", r.Header().Get("Access-Control-Allow-Origin"))
	assert.Equal(t, 403, w.do("", "OPTIONS", "Observation", "", "Origin", "https://evil.test").Code)
	r = w.do("nurse", "GET", "Observation?patient=p1", "", "Origin", "https://app.test")
	assert.Equal(t, "https://app.test", r.Header().Get("Access-Control-Allow-Origin"))
}

// The Hub's Authorizer is asked about each vital that is taken in, and each read
// is in the Hub's audit trail.
func TestAuditTrailOfREST(t *testing.T) {
	audit := &trail{}
	w := newWorld(t, nil, &carewire.Options{Auditor: audit}, nil)
	w.do("gateway", "POST", "Observation", hr("p1", "", 70))
	w.do("nurse", "GET", "Observation?patient=p1", "")
	w.do("viewer", "GET", "Observation/$lastn?patient=p1", "")
	w.do("viewer", "GET", "Flag?patient=p1", "")
	w.do("nobody", "GET", "Flag?patient=p1", "")
	w.do("", "GET", "Flag?patient=p1", "")
	w.close()
	var got []string
	for _, r := range audit.records() {
		got = append(got, fmt.Sprintf("%s %s %s %s", r.Event, r.Who.ID, r.Patient, r.Outcome))
	}
	for _, want := range []string{"publish gateway p1 done", "history nurse p1 done", "watch viewer p1 done", "watch nobody p1 refused", "refusal   refused"} {
		assert.Contains(t, got, want)
	}
}
