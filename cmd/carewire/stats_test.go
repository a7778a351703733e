package main

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// The token goes to the Hub's own origin only, even if that redirects.
func TestStatsKeepsTheToken(t *testing.T) {
	t.Parallel()
	other := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Error("a redirect was followed, with Authorization " + r.Header.Get("Authorization"))
	}))
	defer other.Close()
	var got string
	first := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header.Get("Authorization")
		http.Redirect(w, r, other.URL, http.StatusFound)
	}))
	defer first.Close()
	s := run(t, t.TempDir(), environ(first.URL+"/carewire", "secret"), "", "stats")
	require.Equal(t, 1, s.status)
	require.Equal(t, "Bearer secret", got)
	require.Contains(t, s.err, "302")
	require.NotContains(t, s.out+s.err, "secret")
}

// The token does not leave this machine without TLS.
func TestStatsInPlain(t *testing.T) {
	t.Parallel()
	var asked bool
	var got string
	// As a proxy the server sees a request for a name that is not of this machine.
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { asked, got = true, r.Header.Get("Authorization") }))
	defer proxy.Close()
	env := append(environ("ws://ehr.example/carewire", "secret"), "HTTP_PROXY="+proxy.URL, "http_proxy=", "NO_PROXY=", "no_proxy=")
	require.Equal(t, 1, run(t, t.TempDir(), env, "", "stats").status)
	require.True(t, asked)
	require.Empty(t, got)

	asked = false
	found, s := checked(t, env)
	require.Equal(t, bad, found["address"].Result, s.out)
	require.Contains(t, found["address"].Saw, "Nothing was sent")
	require.Len(t, found, 1)
	require.False(t, asked)
}

// Errors do not show the secret parts of CAREWIRE_METRICS.
func TestStatsHidesSecrets(t *testing.T) {
	t.Parallel()
	missing := httptest.NewServer(http.NotFoundHandler())
	defer missing.Close()
	empty := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("<html>")) }))
	defer empty.Close()
	closed := httptest.NewServer(nil)
	closed.Close()
	for says, at := range map[string]string{"404": missing.URL, "no page": empty.URL, "does not answer": closed.URL, "no URL": "http://host:port"} {
		at = strings.Replace(at, "http://", "http://user:secret@", 1) + "/m?key=secret#secret"
		s := run(t, t.TempDir(), append(environ("", "secret"), "CAREWIRE_METRICS="+at), "", "stats")
		require.Equal(t, 1, s.status)
		require.Contains(t, s.err, says)
		require.NotContains(t, s.out+s.err, "secret", says)
	}
}

// Nobody's answer moves the cursor of a terminal.
func TestAnswersAreShownPlainly(t *testing.T) {
	t.Parallel()
	host := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		status := "200 OK"
		if r.URL.Path == "/gone" {
			status = "404 \x1b[2Jgone"
		}
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			return
		}
		defer c.Close()
		fmt.Fprintf(c, "HTTP/1.1 %s\r\nConnection: close\r\n\r\n# HELP carewire_events_in_total Events\x1b[2J.\n# TYPE carewire_events_in_total counter\ncarewire_events_in_total 1\n", status)
	}))
	defer host.Close()
	s := run(t, t.TempDir(), append(environ("", "secret"), "CAREWIRE_METRICS="+host.URL), "", "stats")
	require.Contains(t, s.out, "Events [2J.\n", s.err)
	s = run(t, t.TempDir(), append(environ("", "secret"), "CAREWIRE_METRICS="+host.URL+"/gone"), "", "stats")
	require.Contains(t, s.err, "404  [2Jgone")
}
