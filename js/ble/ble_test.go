package ble

import (
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHandler(t *testing.T) {
	t.Parallel()
	want, err := os.ReadFile("ble.js")
	require.NoError(t, err)
	w := httptest.NewRecorder()
	Handler().ServeHTTP(w, httptest.NewRequest("GET", "/ble.js", nil))
	require.Equal(t, 200, w.Code)
	require.Equal(t, string(want), w.Body.String())
	require.Equal(t, "text/javascript; charset=utf-8", w.Header().Get("Content-Type"))
	r := httptest.NewRequest("GET", "/ble.js", nil)
	r.Header.Set("If-None-Match", w.Header().Get("ETag"))
	w = httptest.NewRecorder()
	Handler().ServeHTTP(w, r)
	require.Equal(t, 304, w.Code)
}
