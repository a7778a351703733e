package fhir

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func TestBundles(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	entry := func(body string) string {
		return `{"request":{"method":"POST","url":"Observation"},"resource":` + body + `}`
	}
	post := func(typ string, entries ...string) result {
		return w.do("gateway", "POST", "", `{"resourceType":"Bundle","type":"`+typ+`","entry":[`+strings.Join(entries, ",")+`]}`)
	}
	statuses := func(r result) (list []any) {
		for _, e := range at(r.json(), "entry").([]any) {
			list = append(list, at(e, "response", "status"))
		}
		return list
	}
	r := post("batch", entry(hr("p1", "a", 70)), entry(hr("p1", "b", -1)), entry(hr("stranger", "c", 70)), entry(hr("p1", "a", 70)),
		`{"request":{"method":"DELETE","url":"Observation/1"},"resource":{}}`,
		`{"request":{"method":"POST","url":"Observation","ifNoneExist":"identifier=d"},"resource":`+hr("p1", "", 71)+`}`)
	require.Equal(t, 200, r.Code, r.Body)
	assert.Equal(t, "batch-response", at(r.json(), "type"))
	assert.Equal(t, []any{"201 Created", "422 Unprocessable Entity", "403 Forbidden", "200 OK", "422 Unprocessable Entity", "201 Created"}, statuses(r))
	assert.Equal(t, "entry[1].resource.valueQuantity.value", at(r.json(), "entry", 1, "response", "outcome", "issue", 0, "expression", 0))
	assert.Equal(t, at(r.json(), "entry", 0, "response", "location"), at(r.json(), "entry", 3, "response", "location"))
	assert.Equal(t, []any{"note"}, at(r.json(), "entry", 0, "response", "outcome", "issue", 0, "expression"))

	count := func() int {
		list, _ := values(w.do("nurse", "GET", "Observation?patient=p1&_count=200", "").json())
		return len(list)
	}
	assert.Equal(t, 2, count())
	for _, wrong := range []string{hr("p1", "x", -1), hr("stranger", "x", 70), hr("p1", "", 70)} {
		r = post("transaction", entry(hr("p1", "e", 70)), entry(wrong))
		assert.Contains(t, []int{422, 403}, r.Code, r.Body)
		assert.Equal(t, "OperationOutcome", at(r.json(), "resourceType"))
	}
	assert.Equal(t, 2, count(), "nothing of a transaction that was refused is taken in")
	r = post("transaction", entry(hr("p1", "e", 70)), entry(hr("p1", "f", 71)))
	assert.Equal(t, []any{"201 Created", "201 Created"}, statuses(r))
	r = post("transaction", entry(hr("p1", "e", 70)), entry(hr("p1", "f", 71)))
	assert.Equal(t, []any{"200 OK", "200 OK"}, statuses(r))
	assert.Equal(t, 4, count())
	assert.Equal(t, 422, post("history").Code)
	many := make([]string, 501)
	for i := range many {
		many[i] = "{}"
	}
	assert.Equal(t, 413, post("batch", many...).Code)
	var big []string
	for i := range 120 {
		big = append(big, entry(hr("p1", fmt.Sprint("big", i), 70)))
	}
	assert.Len(t, statuses(post("batch", big...)), 120)
	assert.Equal(t, 124, count(), "more than the Hub takes at once")
}

// bundleOf posts entries of Observations as the gateway.
func (w *world) bundleOf(typ string, observations ...string) result {
	w.t.Helper()
	var entries []string
	for _, o := range observations {
		entries = append(entries, `{"request":{"method":"POST","url":"Observation"},"resource":`+o+`}`)
	}
	return w.do("gateway", "POST", "", `{"resourceType":"Bundle","type":"`+typ+`","entry":[`+strings.Join(entries, ",")+`]}`)
}

// vitalsIn counts a patient's vitals.
func (w *world) vitalsIn(patient string) int {
	q := carewire.HistoryQuery{Patient: patient, Kinds: []carewire.Kind{carewire.KindVital}}
	for n := 0; ; {
		page, err := w.hub.History(w.t.Context(), q)
		require.NoError(w.t, err)
		if n += len(page.Events); page.Next == 0 {
			return n
		}
		q.Cursor = page.Next
	}
}

// A transaction stores nothing if the Store knows that one of its entries is in
// conflict: with the vital under its identifier, or with the one that it corrects.
func TestTransactionInConflict(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	correction := func(id string, value int) string {
		return strings.Replace(hr("p1", id, value), `"final"`, `"corrected"`, 1)
	}
	require.Equal(t, 200, w.bundleOf("transaction", hr("p1", "known", 70)).Code)
	for _, c := range []struct {
		name, wrong string
		status      int
		code        string
	}{
		{"an identifier with other content", hr("p1", "known", 71), 409, "duplicate"},
		{"a correction of nothing", correction("unknown", 71), 422, "invalid"},
		{"an identifier twice", hr("p1", "new", 72), 422, "invalid"},
		{"a correction of another entry", correction("new", 72), 422, "invalid"},
	} {
		r := w.bundleOf("transaction", hr("p1", "new", 70), c.wrong)
		assert.Equal(t, c.status, r.Code, "%s: %s", c.name, r.Body)
		assert.Equal(t, c.code, at(r.json(), "issue", 0, "code"), c.name)
		assert.Contains(t, at(r.json(), "issue", 0, "expression", 0), "entry[1]", c.name)
		assert.Equal(t, 1, w.vitalsIn("p1"), c.name)
	}
	for range 2 { // a correction that comes again is one
		r := w.bundleOf("transaction", hr("p1", "new", 70), correction("known", 71))
		assert.Equal(t, 200, r.Code, r.Body)
		assert.Equal(t, 3, w.vitalsIn("p1"))
	}
}

// Each Vital that an Observation can express is recognised when its transaction comes
// again.
func TestTransactionAgain(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	var list []string
	for name, v := range vitals() {
		if v.Status != "" {
			continue
		}
		v.Patient, v.ID = "p1", "v."+digestID(name)
		if w.hub.CheckPublish(t.Context(), people["gateway"], v)[0] != nil {
			continue // such as 50 °C
		}
		b, err := Observation(v)
		require.NoError(t, err)
		list = append(list, string(b))
	}
	require.Greater(t, len(list), 30)
	for _, want := range []string{"201 Created", "200 OK"} {
		r := w.bundleOf("transaction", list...)
		require.Equal(t, 200, r.Code, r.Body)
		for i := range list {
			require.Equal(t, want, at(r.json(), "entry", i, "response", "status"), list[i])
		}
	}
}

// cramped is a Store that fails, after it has written, in the middle of something.
type cramped struct {
	carewire.Store
	left atomic.Int64
}

func (s *cramped) Append(ctx context.Context, entries []carewire.Entry) ([]carewire.AppendResult, error) {
	list := make([]carewire.AppendResult, len(entries))
	for i := range entries {
		one, err := s.Store.Append(ctx, entries[i:i+1])
		if err != nil {
			return nil, err
		}
		list[i] = one[0]
		if one[0].Err == nil && !one[0].Repeated && s.left.Add(-1) == 0 {
			return nil, errors.New("down")
		}
	}
	return list, nil
}

// If the Store fails in the middle, the answer asks for the same transaction again.
// The repetition stores the rest, and nothing twice.
func TestTransactionBreaksOff(t *testing.T) {
	store := &cramped{Store: carewire.NewMemoryStore(nil)}
	w := newWorld(t, store, nil, nil)
	defer w.close()
	var list []string
	for i := range 10 {
		list = append(list, hr("p1", fmt.Sprint("t", i), 60+i))
	}
	store.left.Store(5)
	r := w.bundleOf("transaction", list...)
	assert.Equal(t, 503, r.Code, r.Body)
	assert.Contains(t, r.Body.String(), "send the same transaction again")
	r = w.bundleOf("transaction", list...)
	require.Equal(t, 200, r.Code, r.Body)
	assert.Equal(t, 10, w.vitalsIn("p1"))
}

// The same holds if a limit of the Hub is reached in the middle.
func TestTransactionOverALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &carewire.Options{MaxRequests: 1}, nil)
		defer w.close()
		var list []string
		for i := range 400 { // four requests to the Hub
			list = append(list, hr("p1", fmt.Sprint("t", i), 60))
		}
		r := w.bundleOf("transaction", list...)
		assert.Equal(t, 429, r.Code, r.Body)
		assert.Contains(t, r.Body.String(), "send the same transaction again")
		assert.NotEmpty(t, r.Header().Get("Retry-After"))
		assert.Positive(t, w.vitalsIn("p1"), "or it would prove nothing")
	})
}

// If a limit of the Hub is reached in the middle of a batch, each entry has its own
// status, so its sender need not send the stored ones again.
func TestBatchOverALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &carewire.Options{MaxRequests: 1}, nil)
		defer w.close()
		var list []string
		for i := range 400 {
			list = append(list, hr("p1", "", 60+i%20))
		}
		for turn := 0; len(list) > 0; turn++ {
			require.Less(t, turn, 4)
			before := w.vitalsIn("p1")
			r := w.bundleOf("batch", list...)
			require.Equal(t, 200, r.Code, r.Body)
			entries, _ := at(r.json(), "entry").([]any)
			require.Len(t, entries, len(list))
			var rest []string
			for i, e := range entries {
				if at(e, "response", "status") == "201 Created" {
					continue
				}
				require.Equal(t, "429 Too Many Requests", at(e, "response", "status"))
				require.Equal(t, "throttled", at(e, "response", "outcome", "issue", 0, "code"))
				rest = append(rest, list[i])
			}
			require.Equal(t, len(list)-len(rest), w.vitalsIn("p1")-before)
			require.Less(t, len(rest), len(list))
			require.Equal(t, turn == 0, len(rest) > 0, "the limit is reached once")
			list = rest
			time.Sleep(time.Minute)
		}
		require.Equal(t, 400, w.vitalsIn("p1"))
	})
}

// The parts of an entry go to the Hub together, so a limit leaves it whole or out.
func TestLimitDividesNoEntry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &carewire.Options{MaxRequests: 1, MaxVitals: 3}, nil)
		defer w.close()
		list := []string{hr("p1", "h", 60)}
		for i := range 6 {
			list = append(list, oximetry("final", fmt.Sprint("o", i), 95, 2))
		}
		r := w.bundleOf("batch", list...)
		require.Equal(t, 200, r.Code, r.Body)
		var statuses []any
		for i := range list {
			statuses = append(statuses, at(r.json(), "entry", i, "response", "status"))
		}
		over := "429 Too Many Requests"
		require.Equal(t, []any{"201 Created", "201 Created", "201 Created", over, over, over, over}, statuses)
		require.Equal(t, 5, w.vitalsIn("p1"))
	})
}

// An entry of a batch that is refused is not taken in.
func TestBatchRefusesAndStoresNothing(t *testing.T) {
	w := newWorld(t, nil, nil, nil)
	defer w.close()
	r := w.do("gateway", "POST", "", `{"resourceType":"Bundle","type":"batch","entry":[
 {"request":{"method":"POST","url":"Observation","ifNoneExist":"identifier=b"},"resource":`+hr("p1", "a", 70)+`},
 {"request":{"method":"POST","url":"Observation","ifNoneExist":"identifier=urn:x|"},"resource":`+hr("p1", "", 70)+`}]}`)
	require.Equal(t, 200, r.Code, r.Body)
	assert.Equal(t, "400 Bad Request", at(r.json(), "entry", 0, "response", "status"))
	assert.Equal(t, "412 Precondition Failed", at(r.json(), "entry", 1, "response", "status"))
	assert.Zero(t, w.vitalsIn("p1"))
}

// panel is an Observation of 16 components with long numbers.
func panel(id string) string {
	var parts []string
	for i := range 16 {
		parts = append(parts, fmt.Sprintf(`{"code":{"coding":[{"system":"http://ex.org/","code":"c%d-%s"}]},
 "valueQuantity":{"value":1.%s,"system":"http://unitsofmeasure.org","code":"mm[Hg]"}}`, i, strings.Repeat("c", 50), strings.Repeat("1", 14)))
	}
	return fmt.Sprintf(`{"resourceType":"Observation","status":"final","identifier":[{"value":%q}],"code":{"coding":[{"system":"http://ex.org/","code":"panel"}]},
 "method":{"text":%q},"subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-03-01T12:00:00Z","component":[%s]}`,
		id, strings.Repeat("<", 64), strings.Join(parts, ","))
}

// A Bundle goes to the Hub in requests within its limits, for any limits.
func TestBundleWithinTheHubsLimits(t *testing.T) {
	for _, c := range []struct {
		name    string
		options carewire.Options
		entry   func(string) string
		n       int
	}{
		{"large panels", carewire.Options{}, panel, 100},
		{"few vitals", carewire.Options{MaxVitals: 10}, func(id string) string { return hr("p1", id, 60) }, 40},
		{"a small frame", carewire.Options{MaxFrame: 4096}, func(id string) string { return hr("p1", id, 60) }, 80},
		{"one panel in a frame", carewire.Options{MaxFrame: 4096}, panel, 5},
		{"one vital", carewire.Options{MaxVitals: 1}, func(id string) string { return oximetry("final", id, 95, 2) }, 3},
	} {
		for _, typ := range []string{"transaction", "batch"} {
			w := newWorld(t, nil, &c.options, nil)
			var list []string
			for i := range c.n {
				list = append(list, c.entry(fmt.Sprint("t", i)))
			}
			for _, want := range []string{"201 Created", "200 OK"} {
				r := w.bundleOf(typ, list...)
				if assert.Equal(t, 200, r.Code, "%s %s: %s", c.name, typ, r.Body) {
					for i := range list {
						assert.Equal(t, want, at(r.json(), "entry", i, "response", "status"), "%s %s", c.name, typ)
					}
				}
			}
			w.close()
		}
	}
}

// An entry for which no request to the Hub has room is refused by itself, and
// nothing of its transaction is taken in.
func TestLargerThanAnyRequest(t *testing.T) {
	w := newWorld(t, nil, &carewire.Options{MaxFrame: 1024}, nil)
	defer w.close()
	r := w.bundleOf("transaction", hr("p1", "a", 60), panel("b"))
	assert.Equal(t, 413, r.Code, r.Body)
	assert.Equal(t, "entry[1]", at(r.json(), "issue", 0, "expression", 0))
	assert.NotContains(t, r.Body.String(), "again")
	assert.Zero(t, w.vitalsIn("p1"))
	assert.Equal(t, 413, w.do("gateway", "POST", "Observation", panel("b")).Code)
	r = w.bundleOf("batch", panel("b"), hr("p1", "a", 60))
	assert.Equal(t, "413 Request Entity Too Large", at(r.json(), "entry", 0, "response", "status"), r.Body)
	assert.Equal(t, "201 Created", at(r.json(), "entry", 1, "response", "status"))
	assert.Equal(t, 1, w.vitalsIn("p1"))
}

// A Bundle takes numbers of any length, such as a computer's 36.666666666666664,
// and one that is none refuses its own entry only.
func TestBundleOfLongNumbers(t *testing.T) {
	pressure := `{"resourceType":"Observation","status":"final","identifier":[{"value":"odd"}],"code":{"coding":[{"system":"http://loinc.org","code":"85354-9"}]},
 "subject":{"reference":"Patient/p1"},"effectiveDateTime":"2026-03-01T12:00:00Z","component":[
 {"code":{"coding":[{"system":"http://loinc.org","code":"8480-6"}]},"valueQuantity":{"value":120.33333333333333333,"system":"http://unitsofmeasure.org","code":"mm[Hg]"}},
 {"code":{"coding":[{"system":"http://loinc.org","code":"8462-4"}]},"valueQuantity":{"value":80,"system":"http://unitsofmeasure.org","code":"mm[Hg]"}}]}`
	for _, c := range []struct{ name, body, status string }{
		{"a value", hr("p1", "odd", "70.33333333333333333"), "201 Created"},
		{"zeros", hr("p1", "odd", "70.000000000000000000"), "201 Created"},
		{"a component", pressure, "201 Created"},
		{"25 digits before the point", hr("p1", "odd", "1234567890123456789012345"), "422 Unprocessable Entity"},
	} {
		for _, typ := range []string{"transaction", "batch"} {
			w := newWorld(t, nil, nil, nil)
			var list []string
			for i := range 60 {
				list = append(list, hr("p1", fmt.Sprint("t", i), 60))
			}
			r := w.bundleOf(typ, append(list, c.body)...)
			switch ok := strings.HasPrefix(c.status, "201"); {
			case !ok && typ == "transaction":
				assert.Equal(t, 422, r.Code, "%s: %s", c.name, r.Body)
				assert.Zero(t, w.vitalsIn("p1"), c.name)
			default:
				assert.Equal(t, 200, r.Code, "%s %s: %s", c.name, typ, r.Body)
				assert.Equal(t, "201 Created", at(r.json(), "entry", 0, "response", "status"))
				assert.Equal(t, c.status, at(r.json(), "entry", 60, "response", "status"), c.name)
			}
			w.close()
		}
	}
}

// Anything posted as a Bundle, or as the Parameters of an operation, is answered by
// a resource, and a transaction is taken in as a whole or not at all.
func FuzzPosted(f *testing.F) {
	f.Add([]byte(`{"resourceType":"Bundle","type":"transaction","entry":[{"request":{"method":"POST","url":"Observation"},"resource":` + hr("p1", "a", 70) + `}]}`))
	f.Add([]byte(`{"resourceType":"Bundle","type":"batch","entry":[{"request":{"method":"POST","url":"Observation","ifNoneExist":"identifier=urn:a|x"},"resource":` + hr("p1", "", 70) + `},{}]}`))
	f.Add([]byte(`{"resourceType":"Parameters","parameter":[{"name":"eventsSinceNumber","valueString":"1"},{"name":"id","valueId":"x"},{"name":"content","valueCode":"empty"}]}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		w := newWorld(t, nil, nil, nil)
		defer w.close()
		id := w.subscribe("nurse", wish("vitals", "Observation?patient=Patient/p1", "id-only"))
		r := w.do("gateway", "POST", "", string(b), "Content-Type", "application/json")
		typ := at(r.json(), "resourceType")
		require.Contains(t, []any{"Bundle", "OperationOutcome"}, typ)
		require.Less(t, r.Code, 500, r.Body)
		if r.Code != 200 {
			require.Equal(t, "OperationOutcome", typ)
			require.Zero(t, w.vitalsIn("p1")+w.vitalsIn("p_2"), "something of a Bundle that was refused was taken in")
		}
		for _, operation := range []string{"Subscription/$status", "Subscription/" + id + "/$events", "Subscription/$get-ws-binding-token"} {
			r := w.do("nurse", "POST", operation, string(b), "Content-Type", "application/json")
			require.Contains(t, []any{"Bundle", "OperationOutcome", "Parameters"}, at(r.json(), "resourceType"))
			require.Less(t, r.Code, 500, r.Body)
		}
	})
}
