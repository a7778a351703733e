package main

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

const soon = time.Minute

// open starts a ward with its server on loopback; the function it returns ends both.
func open(t *testing.T, o options) (w *ward, url string, end func()) {
	t.Helper()
	o.patients, o.seed, o.step, o.log = 12, 1, 30*time.Second, slog.New(slog.DiscardHandler)
	w, err := openWard(o)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(w.handler())
	return w, srv.URL, func() {
		ctx, cancel := context.WithTimeout(context.Background(), soon)
		defer cancel()
		if err := w.close(ctx, srv.Config); err != nil {
			t.Error(err)
		}
	}
}

func dial(t *testing.T, url, token string) *carewire.Client {
	t.Helper()
	c, err := carewire.Dial(t.Context(), strings.Replace(url, "http", "ws", 1)+"/carewire", &carewire.DialOptions{
		Token: func(context.Context) (string, error) { return token, nil }, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// await reads events until one is as wanted.
func await(t *testing.T, c *carewire.Client, want func(*carewire.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), soon)
	defer cancel()
	for e, err := range c.Events(ctx) {
		if err != nil {
			t.Fatal(err)
		}
		if want(&e) {
			return
		}
	}
}

// sending publishes a blood pressure again and again until stop is called.
func sending(t *testing.T, c *carewire.Client, systolic float64) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	var done sync.WaitGroup
	done.Go(func() {
		ticker := time.NewTicker(20 * time.Millisecond)
		defer ticker.Stop()
		for ctx.Err() == nil {
			c.Publish(ctx, carewire.BloodPressure.Of("p-13", systolic, 60))
			select {
			case <-ticker.C:
			case <-ctx.Done():
			}
		}
	})
	return func() { cancel(); done.Wait() }
}

func watch(t *testing.T, c *carewire.Client, o carewire.WatchOptions) {
	t.Helper()
	if got, err := c.Watch(t.Context(), o); err != nil || len(got.Refused) > 0 {
		t.Fatal(got, err)
	}
}

// From the simulated monitors through gateway and Hub to a nurse.
func TestWardShowsVitals(t *testing.T) {
	w, url, end := open(t, options{store: "memory"})
	defer end()
	w.startMonitors(strings.Replace(url, "http", "ws", 1) + "/carewire")
	nurse := dial(t, url, "nurse-ada")
	watch(t, nurse, carewire.WatchOptions{Groups: []string{wardFive, wardSix}})
	await(t, nurse, func(e *carewire.Event) bool { return e.Vital != nil && e.Vital.Method == "ECG" })
	seen := map[string]bool{}
	await(t, nurse, func(e *carewire.Event) bool {
		if e.Vital != nil {
			seen[e.Patient] = true
		}
		return len(seen) == 12
	})
}

// A number beyond its limit is raised, paged and answered; after a restart the
// alert is still there, is not raised again, and ends when the number is back.
func TestWardKeepsAlerts(t *testing.T) {
	for _, store := range []string{"memory", "bolt"} {
		t.Run(store, func(t *testing.T) {
			dir := t.TempDir()
			w, url, end := open(t, options{store: store, data: dir})
			device, nurse := dial(t, url, "gateway-1"), dial(t, url, "nurse-ada")
			watch(t, nurse, carewire.WatchOptions{Groups: []string{wardSix}})
			isOpen := func(e *carewire.Event) bool { return e.Alert != nil && e.Alert.Key == "bp-high" && e.Alert.Open() }
			stop := sending(t, device, 200)
			var first carewire.Alert
			await(t, nurse, func(e *carewire.Event) bool {
				if isOpen(e) && e.Alert.Escalation.State == carewire.EscalationNotified {
					first = *e.Alert
				}
				return first.ID != ""
			})
			stop()
			if pages := w.pager.sent(); len(pages) != 1 || pages[0].To != "person:nurse-ada" || pages[0].Alert != first.ID {
				t.Errorf("%d pages", len(pages))
			}
			if _, err := nurse.Answer(t.Context(), first.Ref(), carewire.Answer{Do: carewire.AnswerAccept}); err != nil {
				t.Fatal(err)
			}
			if store == "bolt" { // start again
				end()
				_, url, end = open(t, options{store: store, data: dir})
				device, nurse = dial(t, url, "gateway-1"), dial(t, url, "nurse-ada")
				watch(t, nurse, carewire.WatchOptions{Groups: []string{wardSix}})
				await(t, nurse, func(e *carewire.Event) bool { return isOpen(e) && e.Alert.ID == first.ID })
				for range 5 {
					if _, err := device.Publish(t.Context(), carewire.BloodPressure.Of("p-13", 201, 60)); err != nil {
						t.Fatal(err)
					}
				}
			}
			defer end()
			defer sending(t, device, 160)()
			await(t, nurse, func(e *carewire.Event) bool {
				if e.Alert == nil {
					return false
				}
				if e.Alert.ID != first.ID {
					t.Error("raised again")
				}
				return !e.Alert.Open()
			})
		})
	}
}

// Two wards share a database, as two nodes behind a load balancer do. A nurse
// who watches at the second sees a monitor's vitals, sent to the first, once, and
// answers there; the first knows.
func TestTwoWards(t *testing.T) { twoWards(t, pgtest.Database(t)) }

// The same with the patients spread over four databases.
func TestTwoWardsOnFourDatabases(t *testing.T) {
	twoWards(t, pgtest.Database(t), pgtest.Database(t), pgtest.Database(t), pgtest.Database(t))
}

func twoWards(t *testing.T, dsns ...string) {
	one, first, endOne := open(t, options{store: "postgres", dsns: dsns})
	defer endOne()
	two, second, endTwo := open(t, options{store: "postgres", dsns: dsns})
	defer endTwo()
	device, nurse := dial(t, first, "gateway-1"), dial(t, second, "nurse-ada")
	watch(t, nurse, carewire.WatchOptions{Groups: []string{wardSix}})
	stop := sending(t, device, 200)
	var alert carewire.Alert
	await(t, nurse, func(e *carewire.Event) bool {
		if e.Alert != nil && e.Alert.Key == "bp-high" && e.Alert.Escalation.State == carewire.EscalationNotified {
			alert = *e.Alert
		}
		return alert.ID != ""
	})
	stop()
	if n := len(one.pager.sent()) + len(two.pager.sent()); n != 1 {
		t.Errorf("%d pages", n)
	}
	if _, err := nurse.Answer(t.Context(), alert.Ref(), carewire.Answer{Do: carewire.AnswerAccept}); err != nil {
		t.Fatal(err)
	}
	seen, err := one.hub.Alert(t.Context(), alert.Patient, alert.Key)
	if err != nil || seen.ID != alert.ID || seen.Responsibility.State != carewire.ResponsibilityAccepted {
		t.Error("the first ward does not know of the answer")
	}
}

func TestWardServes(t *testing.T) {
	_, url, end := open(t, options{store: "memory"})
	defer end()
	get := func(path, token string) (int, string) {
		t.Helper()
		r, _ := http.NewRequestWithContext(t.Context(), "GET", url+path, nil)
		r.Header.Set("Authorization", "Bearer "+token)
		resp, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		b, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(b)
	}
	tests := []struct {
		path, token string
		status      int
		holds       string
	}{
		{"/", "", 200, "<title>Ward</title>"},
		{"/page.js", "", 200, "elements.js"},
		{"/elements.js", "", 200, "cw-alerts"},
		{"/simple", "", 200, "new WebSocket"},
		{"/healthz", "", 200, ""},
		{"/readyz", "", 200, ""},
		{"/ward", "", 401, ""},
		{"/ward", "rosa", 200, "Rosa Alvarez"},
		{"/ward", "screen-5", 200, "p-08"},
		{"/pages", "tom", 200, "[]"},
		{"/nothing", "", 404, ""},
	}
	for _, test := range tests {
		if status, body := get(test.path, test.token); status != test.status || !strings.Contains(body, test.holds) {
			t.Errorf("%s as %q: %d", test.path, test.token, status)
		}
	}
	if _, body := get("/ward", "rosa"); strings.Contains(body, "Tom Baker") {
		t.Error("a patient is told of another one")
	}
}

// text is the output of a program so far.
type text struct {
	mu sync.Mutex
	b  strings.Builder
}

func (w *text) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(b)
}

func (w *text) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.String()
}

// The links that a ward prints stay on the screen. The audit trail, a file or
// nothing, has each person who opens a patient or is paged. A line of the log says the
// time once.
func TestLinksStay(t *testing.T) {
	var out, log, audit text
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, options{addr: "127.0.0.1:0", store: "memory", patients: 12, seed: 1, step: time.Second, quiet: true,
			log: slog.New(slog.NewTextHandler(&log, nil)), audit: carewire.NewSlogAuditor(slog.New(slog.NewTextHandler(&audit, nil)), nil)}, &out)
	}()
	until := func(w *text, what string) {
		t.Helper()
		process.Poll(t, soon, func() (bool, string) { return strings.Contains(w.String(), what), what + " did not come" })
	}
	until(&out, "Ctrl-C ends it.")
	greeting := out.String()
	_, link, _ := strings.Cut(greeting, "http://")
	host, _, _ := strings.Cut(link, "/")
	c := dial(t, "http://"+host, "nurse-ada")
	if _, err := c.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p-01"}}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Raise(t.Context(), carewire.Raise{Patient: "p-01", Key: "call", Text: "Bed 1 calls", Priority: carewire.PriorityHigh}); err != nil {
		t.Fatal(err)
	}
	until(&audit, "event=watch outcome=done")
	until(&audit, "event=page outcome=done")
	if out.String() != greeting {
		t.Error("more is printed than the greeting:", strings.TrimPrefix(out.String(), greeting))
	}
	lines := strings.Split(strings.TrimSpace(log.String()), "\n")
	if len(lines) > 3 {
		t.Error("the log pushes the links away:", log.String())
	}
	for _, line := range append(lines, strings.Split(strings.TrimSpace(audit.String()), "\n")...) {
		if line != "" && strings.Count(line, "time=") != 1 {
			t.Error("the time stands there not once:", line)
		}
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
