package main

import (
	"crypto/ecdh"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/carewire/carewire"
)

// transport is a push service.
type transport chan string

func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	t <- r.URL.Path
	rec := httptest.NewRecorder()
	rec.WriteHeader(http.StatusCreated)
	return rec.Result(), nil
}

// An alert is pushed to a subscriber. The service worker reports it, gets its text,
// and accepts it. Nobody else learns or does anything.
func TestWardPushes(t *testing.T) {
	w, base, end := open(t, options{store: "memory"})
	defer end()
	sent := make(transport, 10)
	w.push.pager.Client, w.push.pager.Allow = &http.Client{Transport: sent}, func(*url.URL) bool { return true }
	post := func(token, path, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, base+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		b, _ := io.ReadAll(res.Body)
		return res.StatusCode, string(b)
	}
	want := func(status int, token, path, body string) (text string) {
		t.Helper()
		got, text := post(token, path, body)
		if got != status {
			t.Fatalf("%s %s %s: %d %s, want %d", token, path, body, got, text, status)
		}
		return text
	}
	k, err := ecdh.P256().GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := base64.RawURLEncoding.EncodeToString
	browser := func(name string) string {
		return fmt.Sprintf(`{"endpoint":"https://push.test/%s","keys":{"p256dh":%q,"auth":%q}}`, name, text(k.PublicKey().Bytes()), text(make([]byte, 16)))
	}
	subscription := browser("ada")
	want(401, "nobody", "/push", subscription)
	want(403, "rosa", "/push", subscription)
	want(400, "nurse-ada", "/push", `{"endpoint":"http://inside/"}`)
	want(200, "nurse-ada", "/push", subscription)

	a, err := w.hub.Raise(t.Context(), carewire.Raise{Patient: "p-04", Key: "fall", Text: "Fall detected", Priority: carewire.PriorityHigh})
	if err != nil {
		t.Fatal(err)
	}
	select {
	case path := <-sent:
		if path != "/ada" {
			t.Error(path)
		}
	case <-time.After(soon):
		t.Fatal("nothing was pushed")
	}
	report := func(key, outcome string) string { return fmt.Sprintf(`{"key":%q,"outcome":%q}`, key, outcome) }
	key := a.ID + "/1/person:nurse-ada"
	want(401, "nobody", "/page", report(key, "delivered"))
	want(403, "dr-bell", "/page", report(key, "delivered"))
	want(403, "rosa", "/page", report(a.ID+"/1/person:nurse-ada/rosa", "delivered"))
	want(400, "nurse-ada", "/page", report(key, "heard"))
	want(400, "nurse-ada", "/page", "{")
	want(404, "nurse-ada", "/page", report("another/1/person:nurse-ada", "delivered"))
	var about struct {
		Text, Bed string
		Accepted  bool
	}
	if err := json.Unmarshal([]byte(want(200, "nurse-ada", "/page", report(key, "delivered"))), &about); err != nil || about.Text != "Fall detected" ||
		about.Bed != "Ward 5 · Bed 4" || about.Accepted {
		t.Errorf("%+v %v", about, err)
	}
	want(200, "nurse-ada", "/page", report(key, "accepted"))
	if a, err = w.hub.Alert(t.Context(), "p-04", "fall"); err != nil || a.Responsibility.State != carewire.ResponsibilityAccepted {
		t.Error("it was not accepted", err)
	}
	kept := func(to string, n int) {
		t.Helper()
		if list, _ := w.push.Subscriptions(t.Context(), to); len(list) != n {
			t.Errorf("%d subscriptions of %s are kept, want %d", len(list), to, n)
		}
	}
	for range 2 {
		want(200, "nurse-ada", "/push", subscription)
	}
	kept("person:nurse-ada", 1)
	want(200, "dr-bell", "/push", subscription) // she is at the same browser now
	kept("person:dr-bell", 1)
	kept("person:nurse-ada", 0)
	for i := range 2 * browsersKept {
		want(200, "nurse-ada", "/push", browser(fmt.Sprint(i)))
	}
	kept("person:nurse-ada", browsersKept)
	kept("group:"+wardFive, browsersKept+1)
}
