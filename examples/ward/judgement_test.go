package main

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/carewire/carewire"
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
