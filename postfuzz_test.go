package carewire

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// An answerTaker takes the answer to one request, streams too.
type answerTaker struct{ *httptest.ResponseRecorder }

func (answerTaker) SetWriteDeadline(time.Time) error { return nil }

// Anything that a stranger posts is refused with a constant body, or answered
// with JSON or a stream of it, and the Hub goes on serving others.
func FuzzPost(f *testing.F) {
	const stream = "text/event-stream"
	for _, body := range goodRequests {
		f.Add("POST", "application/json", "", "", "nurse", body)
	}
	watch := `{"type":"watch","req":"1","patients":["p1"]}`
	f.Add("POST", "application/json; charset=UTF-8", "https://localhost", "text/html, Text/Event-Stream;q=0.5", "nurse", watch)
	f.Add("POST", "application/json", "", stream, "nurse", `{"type":"watch","req":"1","patients":["p1"],"since":{"p1":{"epoch":"e","seq":3}}}`)
	f.Add("POST", "application/json", "", stream, "device", watch)
	f.Add("POST", "application/json", "", stream, "nurse", "{\"type\":\"watch\",\r\n\"req\":\"1\",\"patients\":[\"@system\"],\"delivery\":\"every\"}")
	f.Add("POST", "application/json", "https://evil.test", "*/*", "nurse", watch)
	f.Add("POST", `application/json; charset="utf-8`, "", "", "nurse", `{}`)
	f.Add("POST", "text/plain", "null", "", "", "\xff")
	f.Add("POST", "", "", "", "pat", "")
	f.Add("POST", "application/json", "", "", "device", `{"type":"publish","req":"1","vitals":[{"patient":"p1","code":"8867-4","value":72,"unit":"/min"}]}`)
	f.Add("POST", "application/json", "", "", "nurse", `{"type":"ticket","req":"1"}`)
	f.Add("OPTIONS", "", "https://localhost", "", "", "")
	f.Add("GET", "", "", stream, "nurse", "")
	f.Add("PATCH", "application/json", "", "", "nurse", watch)

	w := newWorld(&testing.T{}, nil, &Options{MaxRequests: -1})
	f.Cleanup(w.close)
	f.Fuzz(func(t *testing.T, method, typ, origin, accept, token, body string) {
		text := method + " / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + strconv.Itoa(len(body)) + "\r\n"
		for name, value := range map[string]string{"Content-Type": typ, "Origin": origin, "Accept": accept} {
			if value != "" {
				text += name + ": " + value + "\r\n"
			}
		}
		r, err := http.ReadRequest(bufio.NewReader(strings.NewReader(text + "Authorization: Bearer " + token + "\r\n\r\n" + body)))
		if err != nil {
			return // net/http lets nobody in with that
		}
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond) // the end of a stream
		defer cancel()
		res := answerTaker{httptest.NewRecorder()}
		w.hub.ServeHTTP(res, r.WithContext(ctx))
		checkAnswer(t, r, res)

		good, err := http.NewRequest(http.MethodPost, "http://localhost/", strings.NewReader(`{"type":"history","req":"2","patient":"p1","limit":1}`))
		require.NoError(t, err)
		good.Header.Set("Content-Type", "application/json")
		good.Header.Set("Authorization", "Bearer nurse")
		other := httptest.NewRecorder()
		w.hub.ServeHTTP(other, good)
		require.Equal(t, http.StatusOK, other.Code)
		require.Contains(t, other.Body.String(), `{"type":"ok","req":"2"`)
	})
}

// checkAnswer says whether an answer has one of the few forms that there are.
func checkAnswer(t *testing.T, r *http.Request, res answerTaker) {
	t.Helper()
	body := res.Body.String()
	switch typ := res.Header().Get("Content-Type"); {
	case res.Code == http.StatusNoContent:
		require.Empty(t, body)
	case res.Code != http.StatusOK:
		require.Equal(t, http.StatusText(res.Code)+"\n", body)
		require.Equal(t, "no-store", res.Header().Get("Cache-Control"))
	case typ == "application/json":
		require.Equal(t, http.MethodPost, r.Method)
		require.Contains(t, []string{"ok", "error"}, peekType([]byte(body)))
		require.True(t, json.Valid([]byte(body)), body)
	default:
		require.Equal(t, eventStream, typ)
		require.Equal(t, http.MethodPost, r.Method)
		for event := range strings.SplitSeq(strings.TrimSuffix(body, "\n\n"), "\n\n") {
			text, data := strings.CutPrefix(event, "data: ")
			require.True(t, data && json.Valid([]byte(text)) || event == ":" || event == "", "%q", event)
		}
	}
}
