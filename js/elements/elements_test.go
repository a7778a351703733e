package elements_test

import (
	"net/http"
	"net/http/httptest"
	"os"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/js/elements"
)

// The module is the file beside it, and does not come again to a browser that has it.
func TestHandler(t *testing.T) {
	want, err := os.ReadFile("elements.min.js")
	require.NoError(t, err)
	get := func(tag string) *httptest.ResponseRecorder {
		r := httptest.NewRequest(http.MethodGet, "/elements.js", nil)
		r.Header.Set("If-None-Match", tag)
		w := httptest.NewRecorder()
		elements.Handler().ServeHTTP(w, r)
		return w
	}
	w := get("")
	require.Equal(t, string(want), w.Body.String())
	w = get(w.Header().Get("ETag"))
	require.Equal(t, http.StatusNotModified, w.Code)
	require.Zero(t, w.Body.Len())
}
