package fhir

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"

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
	page, err := w.hub.History(w.t.Context(), carewire.HistoryQuery{Patient: patient, Kinds: []carewire.Kind{carewire.KindVital}})
	require.NoError(w.t, err)
	return len(page.Events)
}

// Nothing of a transaction is taken in where only the Store knows that an entry is
// in conflict: with what stands under its identifier, or with what it corrects.
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

// Whatever can be said by an Observation is recognised when its transaction comes again.
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

// Where the Store fails in the middle, the answer asks for the same again, by which
// the rest is taken in and nothing twice.
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

// So it is where a limit of the Hub's is reached in the middle.
func TestTransactionOverALimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, nil, &carewire.Options{MaxRequests: 1}, nil)
		defer w.close()
		var list []string
		for i := range 4 * publishAtOnce {
			list = append(list, hr("p1", fmt.Sprint("t", i), 60))
		}
		r := w.bundleOf("transaction", list...)
		assert.Equal(t, 429, r.Code, r.Body)
		assert.Contains(t, r.Body.String(), "send the same transaction again")
		assert.NotEmpty(t, r.Header().Get("Retry-After"))
		assert.Positive(t, w.vitalsIn("p1"), "or it would prove nothing")
	})
}

// Whatever is posted as a Bundle, or as the Parameters of an operation, is answered
// by a resource, and a transaction is taken in as a whole or not at all.
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
