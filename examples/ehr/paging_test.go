package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
)

// The gateway replies to each page in Eve's name. Only the page for Eve is
// accepted by that: the one for Ben is not, so the physician on duty is told.
func TestReplyOfAnotherPerson(t *testing.T) {
	provider, err := newProvider()
	require.NoError(t, err)
	defer provider.Shutdown()
	to := make(chan string, 100)
	gateway := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var m pagers.Message
		json.NewDecoder(r.Body).Decode(&m)
		to <- m.To
		io.WriteString(w, `{"do":"accept","by":"eve"}`)
	}))
	defer gateway.Close()
	h, err := newHost(t.Context(), settings{base: "http://ehr.test", issuer: provider.Issuer(), clientID: provider.ClientID, gateway: gateway.URL,
		secret: []byte("a secret of the test's own, long enough"), step: time.Second, plain: true, audit: filepath.Join(t.TempDir(), "audit.jsonl"), log: slog.New(slog.DiscardHandler)}, carewire.NewMemoryStore(nil))
	require.NoError(t, err)
	defer h.shutdown(context.Background())
	_, err = h.hub.Publish(t.Context(), carewire.SpO2.Of("p-61", 80))
	require.NoError(t, err)
	require.Equal(t, "person:ben", <-to)
	for next := "person:ben"; next == "person:ben"; {
		select {
		case next = <-to:
		case <-time.After(time.Minute):
			t.Fatal("the reply of another person was taken for Ben's: nobody else was told")
		}
	}
}

// A patient who lies in no ward begins with the physicians.
func TestPolicyWithoutWard(t *testing.T) {
	w := &wards{of: map[string]string{"p-17": "ward-5"}}
	policy := w.policy(time.Second)
	for _, c := range []struct {
		patient string
		n       int
		to      []string
		err     error
	}{
		{"p-17", 1, []string{"group:ward-5"}, nil},
		{"p-17", 3, []string{"group:ward-5", "group:physicians", "person:kim"}, nil},
		{"p-17", 4, nil, carewire.ErrNoStep},
		{"p-70", 1, []string{"group:physicians"}, nil},
		{"p-70", 2, []string{"group:physicians", "person:kim"}, nil},
		{"p-70", 3, nil, carewire.ErrNoStep},
		{carewire.SystemPatient, 1, []string{"person:ops"}, nil},
	} {
		step, err := policy(t.Context(), carewire.Alert{Patient: c.patient}, c.n)
		require.Equal(t, c.err, err, "%s, step %d", c.patient, c.n)
		require.Equal(t, c.to, step.To, "%s, step %d", c.patient, c.n)
	}
}

// Operations are paged for an alert of the system, and can accept it. They see no
// patient, in an emergency neither.
func TestOperations(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	a, err := x.hub.Raise(t.Context(), carewire.Raise{Patient: carewire.SystemPatient, Key: "k", Text: "x", Kind: carewire.AlertTechnical, Priority: carewire.PriorityHigh})
	require.NoError(t, err)
	require.Contains(t, <-x.paged, `"to":"person:ops"`)
	ws, _ := x.connect(x.signedIn("ops"))
	require.NotNil(t, ws)
	x.send(ws, `{"type":"watch","req":"1","patients":["@system"]}`)
	require.NotContains(t, x.await(ws, `"req":"1"`), "forbidden")
	x.send(ws, `{"type":"answer","req":"2","event_id":"e1","patient":"@system","key":"k","alert_id":"`+a.ID+`","do":"accept"}`)
	require.Contains(t, x.await(ws, `"req":"2"`), `"accepted"`)
	for _, frame := range []string{
		`{"type":"watch","req":"3","patients":["p-17"]}`,
		`{"type":"watch","req":"3","patients":["p-17"],"emergency":true,"reason":"x"}`,
		`{"type":"history","req":"3","patient":"p-17"}`,
		`{"type":"raise","req":"3","event_id":"e2","alert":{"patient":"p-17","key":"k2","text":"x","priority":"low"}}`,
	} {
		x.send(ws, frame)
		require.Contains(t, x.await(ws, `"req":"3"`), "forbidden", frame)
	}
}

// The last of those who are paged can sign in, see the alert and accept it.
func TestCoordinatorAccepts(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	a, err := x.hub.Raise(t.Context(), carewire.Raise{Patient: "p-61", Key: "k", Text: "x", Priority: carewire.PriorityHigh})
	require.NoError(t, err)
	for page := ""; !strings.Contains(page, `"to":"person:kim"`); {
		page = <-x.paged
	}
	kim := x.signedIn("kim")
	_, open := x.get(kim, "/open")
	require.Contains(t, open, a.ID)
	ws, _ := x.connect(kim)
	require.NotNil(t, ws)
	x.send(ws, `{"type":"answer","req":"1","event_id":"e1","patient":"p-61","key":"k","alert_id":"`+a.ID+`","do":"accept"}`)
	require.Contains(t, x.await(ws, `"req":"1"`), `"accepted"`)
}

// The people on duty are those of the calendar, if there is one: of the one that is
// there when somebody is to be paged, or of the last that could be read.
func TestCalendar(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rota.ics")
	write := func(summary string) {
		require.NoError(t, os.WriteFile(file, []byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//rota//EN\r\n"+
			"BEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\nSUMMARY:"+summary+"\r\nDTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\n"+
			"END:VCALENDAR\r\n"), 0o600))
	}
	write("ward-6 eve")
	x := open(t, carewire.NewMemoryStore(nil), func(s *settings) { s.shifts, s.step = file, time.Hour })
	page := func(key string) string {
		_, err := x.hub.Raise(t.Context(), carewire.Raise{Patient: "p-61", Key: key, Text: "x", Priority: carewire.PriorityHigh})
		require.NoError(t, err)
		return <-x.paged
	}
	first := page("k1")
	require.Contains(t, first, `"to":"person:eve"`)
	require.NotContains(t, first, "p-61")
	write("ward-6 ben")
	require.Contains(t, page("k2"), `"to":"person:ben"`)
	require.NoError(t, os.WriteFile(file, []byte("no calendar"), 0o600))
	require.Contains(t, page("k3"), `"to":"person:ben"`)

	_, err := rota(file, x.log)
	require.EqualError(t, err, "ical: not an iCalendar file")
	_, err = rota(file+"x", x.log)
	require.ErrorIs(t, err, os.ErrNotExist)
}

// A bad event in the calendar is logged, and fails the pages to its group only.
func TestBadEventInCalendar(t *testing.T) {
	file := filepath.Join(t.TempDir(), "rota.ics")
	require.NoError(t, os.WriteFile(file, []byte("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//rota//EN\r\n"+
		"BEGIN:VEVENT\r\nUID:1\r\nDTSTAMP:20260101T000000Z\r\nSUMMARY:ward-6 eve\r\nDTSTART;VALUE=DATE:20260101\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\n"+
		"BEGIN:VEVENT\r\nUID:2\r\nDTSTAMP:20260101T000000Z\r\nSUMMARY:ward-5 ada\r\nDTSTART:later\r\nEND:VEVENT\r\n"+
		"END:VCALENDAR\r\n"), 0o600))
	var log bytes.Buffer
	r, err := rota(file, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	require.Contains(t, log.String(), "DTSTART is not a time")
	on, err := r.OnDuty(t.Context(), "ward-6", time.Now())
	require.NoError(t, err)
	require.Equal(t, []string{"eve"}, on)
	_, err = r.OnDuty(t.Context(), "ward-5", time.Now())
	require.ErrorIs(t, err, pagers.ErrUnknownShift)
}
