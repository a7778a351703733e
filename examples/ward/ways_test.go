package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// An alert is told once by each way that the flags name, without a word about the
// patient.
func TestWardTellsByEachWay(t *testing.T) {
	got := make(chan string, 10)
	web := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		r.ParseForm()
		b, _ := io.ReadAll(r.Body)
		got <- r.URL.Path + " " + r.Form.Get("To") + string(b) + r.Form.Get("Body")
	}))
	defer web.Close()
	_, _, end := tellingWard(t, options{ntfy: web.URL + "/ntfy", sms: web.URL + "/sms", smtp: mailServer(t, got)})
	defer end()
	wants := map[string]string{"/ntfy ": `"topic":"ward-nurse-ada"`, "/sms ": "+12025550100", "/smtp ": "To: <nurse-ada@localhost>"}
	for range 3 {
		select {
		case text := <-got:
			way, _, _ := strings.Cut(text, " ")
			if want := wants[way+" "]; want == "" || !strings.Contains(text, want) || !strings.Contains(text, "High alert, level 1") {
				t.Errorf("%q, want one with %q", text, want)
			}
			delete(wants, way+" ")
			for _, secret := range []string{"p-04", "Fall", "fall", "Dana"} {
				if strings.Contains(text, secret) {
					t.Errorf("%q says %s", text, secret)
				}
			}
		case <-time.After(soon):
			t.Fatal("nobody was told by ", wants)
		}
	}
	if len(got) > 0 || len(wants) > 0 {
		t.Errorf("%d more, none by %v", len(got), wants)
	}
}

// tellingWard is a ward in which an alert has been raised.
func tellingWard(t *testing.T, o options) (w *ward, base string, end func()) {
	t.Helper()
	o.store = "memory"
	w, base, end = open(t, o)
	if _, err := w.hub.Raise(t.Context(), carewire.Raise{Patient: "p-04", Key: "fall", Text: "Fall detected", Priority: carewire.PriorityHigh}); err != nil {
		t.Fatal(err)
	}
	return w, base, end
}

// mailServer takes messages, and returns its address.
func mailServer(t *testing.T, got chan<- string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	serve := func(c net.Conn) {
		defer c.Close()
		fmt.Fprint(c, "220 mail.test\r\n")
		for lines := bufio.NewScanner(c); lines.Scan(); {
			if lines.Text() != "DATA" {
				fmt.Fprint(c, "250 mail.test\r\n")
				continue
			}
			fmt.Fprint(c, "354 go on\r\n")
			var text strings.Builder
			for lines.Scan() && lines.Text() != "." {
				fmt.Fprintln(&text, lines.Text())
			}
			got <- "/smtp " + text.String()
			fmt.Fprint(c, "250 taken\r\n")
		}
	}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go serve(c)
		}
	}()
	return l.Addr().String()
}

// A way that cannot work is refused at the start.
func TestWaysAreChecked(t *testing.T) {
	_, err := openWard(options{store: "memory", patients: 2, step: time.Second, ntfy: "http://ntfy.example"})
	if err == nil || !strings.Contains(err.Error(), "Ntfy") {
		t.Error(err)
	}
}

// Numbers and traces go to a file, without a word about the patient.
func TestWardTelemetry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "otel.json")
	w, _, end := tellingWard(t, options{otel: file})
	process.Poll(t, soon, func() (bool, string) { return len(w.pager.sent()) > 0, "nobody was told" })
	end()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"carewire append", "carewire page", "carewire_pages_sent_total", "carewire_rules_vitals_total"} {
		if !bytes.Contains(b, []byte(want)) {
			t.Errorf("%s is missing", want)
		}
	}
	for _, secret := range []string{"p-04", "Fall", "nurse-ada"} {
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%s is told", secret)
		}
	}
}
