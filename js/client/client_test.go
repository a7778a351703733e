package client_test

import (
	"compress/gzip"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/js/client"
)

// get asks for the module and returns the answer with its content.
func get(t *testing.T, method string, header map[string]string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRequest(method, "/any/path.js", nil)
	for name, value := range header {
		r.Header.Set(name, value)
	}
	w := httptest.NewRecorder()
	client.Handler().ServeHTTP(w, r)
	resp := w.Result()
	var body io.Reader = resp.Body
	if resp.Header.Get("Content-Encoding") == "gzip" && w.Body.Len() > 0 {
		z, err := gzip.NewReader(body)
		require.NoError(t, err)
		body = z
	}
	text, err := io.ReadAll(body)
	require.NoError(t, err)
	return resp, string(text)
}

// The module comes plain and packed, each under a tag of its own, and not again
// to a browser that has it.
func TestHandler(t *testing.T) {
	want, err := os.ReadFile("client.min.js")
	require.NoError(t, err)
	tags := make(map[string]bool)
	for _, encoding := range []string{"", "gzip, br"} {
		resp, text := get(t, http.MethodGet, map[string]string{"Accept-Encoding": encoding})
		require.Equal(t, http.StatusOK, resp.StatusCode)
		require.Equal(t, "text/javascript; charset=utf-8", resp.Header.Get("Content-Type"))
		require.Equal(t, string(want), text)
		tag := resp.Header.Get("ETag")
		tags[tag] = true

		resp, text = get(t, http.MethodGet, map[string]string{"Accept-Encoding": encoding, "If-None-Match": tag})
		require.Equal(t, http.StatusNotModified, resp.StatusCode)
		require.Empty(t, text)
	}
	require.Len(t, tags, 2)
	_, text := get(t, http.MethodHead, nil)
	require.Empty(t, text)
}

// The whole client is at most 12 KB as it goes over the line.
func TestSize(t *testing.T) {
	w := httptest.NewRecorder()
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Accept-Encoding", "gzip")
	client.Handler().ServeHTTP(w, r)
	require.LessOrEqual(t, w.Body.Len(), 12<<10)
}
