package main

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// ask sends a request to the ward with a user's token.
func ask(t *testing.T, method, url, token, body string) (status int, text string) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer "+token)
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// A clinician changes a patient's limit: it counts within seconds, and the next
// alert says whose it is. Nobody else may.
func TestLimitOfAPatient(t *testing.T) {
	_, url, end := open(t, options{store: "memory"})
	defer end()
	for _, c := range []struct {
		token, body string
		want        int
	}{
		{"nobody", `{}`, http.StatusUnauthorized},
		{"rosa", `{"patient":"p-01","rule":"bp-high","at":150,"reason":"x"}`, http.StatusForbidden},
		{"screen-5", `{"patient":"p-01","rule":"bp-high","at":150,"reason":"x"}`, http.StatusForbidden},
		{"nurse-ada", `{"patient":"p-99","rule":"bp-high","at":150,"reason":"x"}`, http.StatusForbidden},
		{"nurse-ada", `{"patient":"p-13","rule":"other","at":150,"reason":"x"}`, http.StatusBadRequest},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":150}`, http.StatusBadRequest},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":1e9,"reason":"x"}`, http.StatusBadRequest},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":150,"reason":"after surgery","more":1}`, http.StatusBadRequest},
		{"nurse-ada", `{"patient":"p-13","rule":"bp-high","at":150,"reason":"after surgery"}`, http.StatusOK},
	} {
		if got, text := ask(t, "PUT", url+"/limits", c.token, c.body); got != c.want {
			t.Errorf("%s %s: %d %s", c.token, c.body, got, text)
		}
	}
	nurse := dial(t, url, "nurse-ada")
	watch(t, nurse, carewire.WatchOptions{Patients: []string{"p-13"}})
	stop := sending(t, dial(t, url, "gateway-1"), 160) // 180 is everybody else's limit
	await(t, nurse, func(e *carewire.Event) bool {
		return e.Alert != nil && e.Alert.Key == "bp-high" && strings.Contains(e.Alert.Text, "set by Nurse Ada: after surgery")
	})
	stop()
	status, text := ask(t, "GET", url+"/rules/p-13", "nurse-ada", "")
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
	for _, token := range []string{"rosa", "gateway-1"} {
		if status, _ := ask(t, "GET", url+"/rules/p-01", token, ""); status != http.StatusForbidden {
			t.Errorf("%s: %d", token, status)
		}
	}
}

// The simulated patients are scored.
func TestWardScores(t *testing.T) {
	w, url, end := open(t, options{store: "memory"})
	defer end()
	nurse := dial(t, url, "nurse-ada")
	watch(t, nurse, carewire.WatchOptions{Patients: []string{"p-02"}})
	w.startMonitors(strings.Replace(url, "http", "ws", 1) + "/carewire")
	await(t, nurse, func(e *carewire.Event) bool {
		return e.Vital != nil && e.Vital.Code == "1104051000000101" && e.Vital.Value != ""
	})
}
