package integration

import (
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/js/elements"
)

// A fifth is a Directory of one ward.
type fifth struct{}

func (fifth) Patients(context.Context, string) ([]string, error) { return []string{"p-17"}, nil }

// shownHost serves the pages of a document as its host would: each
// request from them is nurse Ada's, with or without a token.
func shownHost(t *testing.T, page string) (url string, hub *carewire.Hub) {
	t.Helper()
	auth := carewire.AuthenticatorFunc(func(r *http.Request) (carewire.Principal, error) {
		if token := carewire.Token(r); token != "" && token != "ada" {
			return carewire.Principal{}, carewire.ErrUnauthenticated
		}
		return carewire.Principal{ID: "ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Patients: []string{"p-17"}, Groups: []string{"ward-5"}}, nil
	})
	hub, err := carewire.New(auth, carewire.NewMemoryStore(nil), &carewire.Options{Directory: fifth{}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	mux := http.NewServeMux()
	mux.Handle("/carewire", hub)
	mux.Handle("/", http.FileServer(http.Dir("../js/client")))
	mux.Handle("/elements.js", elements.Handler())
	mux.HandleFunc("/my-token", func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("ada")) })
	mux.HandleFunc("/favicon.ico", func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }) // the browser asks for it
	mux.HandleFunc("/{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		w.Write([]byte(page))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(func() { hub.Shutdown(context.Background()); server.Close() })
	_, err = hub.Publish(t.Context(), carewire.HeartRate.Of("p-17", 72))
	require.NoError(t, err)
	return server.URL + "/", hub
}

// The pages of js/client/README.md work as described.
func TestClientReadme(t *testing.T) {
	need(t, needNode, needChromium)
	pages := blocksOf(t, "js/client/README.md", "html")
	require.Len(t, pages, 2)
	b := openBrowser(t)
	url, hub := shownHost(t, "<!doctype html>"+pages[0])
	first := b.open("first", url)
	first.shows("#line", "live")
	first.shows("#rate", "72 /min")
	_, err := hub.Publish(t.Context(), carewire.Vital{Patient: "p-17", Code: carewire.HeartRate.Code, Absent: carewire.AbsentTemporary})
	require.NoError(t, err)
	first.shows("#rate", "–")
	require.NotContains(t, strings.Join(first.texts("#rate"), ""), "undefined")
	url, hub = shownHost(t, "<!doctype html>"+pages[1])
	second := b.open("second", url)
	process.Poll(t, process.Patience, func() (bool, string) { return hub.Stats().Watches == 1, "the page does not watch" })
	require.Empty(t, second.said(), "nothing is wrong with the page")
}

// The pages of js/elements/README.md and README.md are wards.
func TestElementsReadme(t *testing.T) {
	need(t, needNode, needChromium)
	b := openBrowser(t)
	for document, patient := range map[string]string{"js/elements/README.md": "Bed 3", "README.md": "p-17"} {
		pages := blocksOf(t, document, "html")
		require.Len(t, pages, 1, document)
		url, _ := shownHost(t, pages[0])
		page := b.open(document, url)
		page.shows("cw-patients article", patient)
		page.shows("cw-patients article", "72")
	}
}

// The pieces of JavaScript in docs/protocol.md connect, by a token and by a ticket,
// and read samples.
func TestProtocolSnippets(t *testing.T) {
	need(t, needNode, needChromium)
	code := blocksOf(t, "docs/protocol.md", "js")
	require.Len(t, code, 3)
	url, hub := shownHost(t, "<!doctype html>")
	page := openBrowser(t).open("page", url)
	accepted := func(n uint64) {
		t.Helper()
		process.Poll(t, process.Patience, func() (bool, string) { return hub.Stats().Handshakes.Accepted >= n, "it does not connect" })
	}
	page.run(`(() => { const token = "ada", url = "` + strings.Replace(url, "http", "ws", 1) + `carewire";` + code[0] + `})()`)
	accepted(1)
	page.run(`(async () => { const token = "ada", url = "` + url + `carewire";` + code[1] + `})()`)
	accepted(3)                                                                                         // the ticket was asked for by POST
	page.run(`(() => { const data = "AgPaBNME";` + code[2] + `console.log("samples " + samples); })()`) // 1, -1, 300, 2
	process.Poll(t, process.Patience, func() (bool, string) {
		said := strings.Join(page.said(), "\n")
		return strings.Contains(said, "samples 1,-1,300,2"), said
	})
}
