package main

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// A trail keeps the records about limits.
type trail struct {
	mu   sync.Mutex
	list []carewire.Record
}

func (a *trail) Record(_ context.Context, r carewire.Record) error {
	if r.Event != auditLimit {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.list = append(a.list, r)
	return nil
}

// check compares the records: each principal, with the number done and refused.
func (a *trail) check(t *testing.T) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	count := map[string]int{}
	for _, r := range a.list {
		if r.Time.IsZero() || r.Patient == "" || r.Key == "" {
			t.Errorf("a record without time, patient or rule: %s", r.Outcome)
		}
		count[r.Who.ID+" "+string(r.Outcome)]++
	}
	for who, n := range map[string]int{"rosa refused": 1, "screen-5 refused": 1, "gateway-1 refused": 1, "nurse-ada refused": 1, "nurse-ada done": 1,
		"dr-bell done": 1, "dr-bell failed": 1} {
		if count[who] != n {
			t.Errorf("%s: %d records, not %d", who, count[who], n)
		}
	}
}

// A clinician changes a patient's limit: it counts within seconds, and the next
// alert names the author. Nobody else may.
func TestLimitOfAPatient(t *testing.T) {
	trail := new(trail)
	_, url, end := open(t, options{store: "memory", audit: trail})
	defer end()
	for _, c := range []struct {
		token, body string
		want        int
		said        string
	}{
		{"nobody", `{}`, http.StatusUnauthorized, "unknown token"},
		{"rosa", `{"patient":"p-01","rule":"bp-high","at":150,"reason":"x"}`, http.StatusForbidden, "forbidden"},
		{"screen-5", `{"patient":"p-01","rule":"bp-high","at":150,"reason":"x"}`, http.StatusForbidden, "forbidden"},
		{"gateway-1", `{"patient":"p-01","rule":"bp-high","at":150,"reason":"x"}`, http.StatusForbidden, "forbidden"},
		{"nurse-ada", `{"patient":"p-99","rule":"bp-high","at":150,"reason":"x"}`, http.StatusForbidden, "forbidden"},
		{"nurse-ada", `{"patient":"p-13","rule":"other","at":150,"reason":"x"}`, http.StatusBadRequest, "rule: is no limit"},
		{"nurse-ada", `{"patient":"p-13","rule":"news2","at":150,"reason":"x"}`, http.StatusBadRequest, "rule: is no limit"},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":150}`, http.StatusBadRequest, "reason: say why"},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":241,"reason":"x"}`, http.StatusBadRequest, "at: must be from 50 to 240"},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":49,"reason":"x"}`, http.StatusBadRequest, "at: must be from 50 to 240"},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":"150","reason":"x"}`, http.StatusBadRequest, "not a limit"},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":105,"reason":"x"}`, http.StatusBadRequest, "at: is too near to the limit of \"Blood pressure low\""},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-low","at":165,"reason":"x"}`, http.StatusBadRequest, "at: is too near to the limit of \"Blood pressure high\""},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":150,"severe":170,"reason":"x"}`, http.StatusBadRequest, "severe: this limit has no second one"},
		{"nurse-ada", `{"patient":"p-13","rule":"hr-high","at":150,"severe":150,"reason":"x"}`, http.StatusBadRequest, "severe: must be farther out"},
		{"nurse-ada", `{"patient":"p-13","rule":"hr-high","at":150,"severe":221,"reason":"x"}`, http.StatusBadRequest, "severe: must be from 30 to 220"},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":150,"reason":"after surgery","more":1}`, http.StatusBadRequest, "not a limit"},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":150,"reason":"after surgery"}`, http.StatusOK, "{}"},
		{"dr-bell", `{"patient":"p-13","rule":"bp-high","at":160,"reason":"has not seen Ada's"}`, http.StatusConflict, "meanwhile"},
		{"dr-bell", `{"patient":"p-13","rule":"hr-high","at":110,"severe":125,"reason":"weak heart"}`, http.StatusOK, "{}"},
	} {
		if got, text := ask(t, "PUT", url+"/limits", c.token, c.body); got != c.want || !strings.Contains(text, c.said) {
			t.Errorf("%s %s: %d %s", c.token, c.body, got, text)
		}
	}
	trail.check(t)
	nurse := dial(t, url, "nurse-ada")
	watch(t, nurse, carewire.WatchOptions{Patients: []string{"p-13"}})
	stop := sending(t, dial(t, url, "gateway-1"), 160) // 180 is everybody else's limit
	await(t, nurse, func(e *carewire.Event) bool {
		return e.Alert != nil && e.Alert.Key == "bp-high" && strings.Contains(e.Alert.Text, "set by Nurse Ada: after surgery")
	})
	stop()
	status, text := ask(t, "POST", url+"/rules", "nurse-ada", `{"patient":"p-13"}`)
	var list []rules.Standing
	if err := json.Unmarshal([]byte(text), &list); status != http.StatusOK || err != nil {
		t.Fatal(status, text, err)
	}
	found := map[string]rules.Standing{}
	for _, s := range list {
		found[s.Rule] = s
	}
	if s := found["bp-high"]; s.State != rules.StandingPresent || !strings.HasPrefix(s.Limits, "≤ 150 mmHg") {
		t.Errorf("bp-high: %+v", s)
	}
	if s := found["news2"]; s.State != rules.StandingUnknown || !strings.Contains(s.Detail, "temperature is missing") {
		t.Errorf("news2: %+v", s)
	}
	status, text = ask(t, "POST", url+"/limits", "screen-5", `{"patient":"p-13"}`)
	if status != http.StatusForbidden { // another ward's
		t.Errorf("screen-5: %d %s", status, text)
	}
	status, text = ask(t, "POST", url+"/limits", "dr-bell", `{"patient":"p-13"}`)
	var limits []shownLimit
	if err := json.Unmarshal([]byte(text), &limits); status != http.StatusOK || err != nil {
		t.Fatal(status, text, err)
	}
	shown := map[string]shownLimit{}
	for _, l := range limits {
		shown[l.Rule] = l
	}
	if l := shown["bp-high"]; l.By != "Nurse Ada" || l.Reason != "after surgery" || l.Set.IsZero() || l.Unit != "mm[Hg]" ||
		!slices.Equal(l.Levels, []shownLevel{{carewire.PriorityMedium, 150, 180}}) {
		t.Errorf("bp-high: %+v", l)
	}
	if l := shown["hr-high"]; !slices.Equal(l.Levels, []shownLevel{{carewire.PriorityMedium, 110, 130}, {carewire.PriorityHigh, 125, 150}}) {
		t.Errorf("hr-high: %+v", l)
	}
	if l := shown["bp-low"]; l.By != "" || !l.Set.IsZero() || !slices.Equal(l.Levels, []shownLevel{{carewire.PriorityHigh, 90, 90}}) {
		t.Errorf("bp-low: %+v", l)
	}
	for _, token := range []string{"rosa", "gateway-1"} {
		for _, path := range []string{"/rules", "/limits"} {
			if status, _ := ask(t, "POST", url+path, token, `{"patient":"p-01"}`); status != http.StatusForbidden {
				t.Errorf("%s %s: %d", token, path, status)
			}
		}
	}
}
