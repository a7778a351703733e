package main

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
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
		secret: []byte("a secret of the test's own, long enough"), step: time.Second, plain: true, log: slog.New(slog.DiscardHandler)}, carewire.NewMemoryStore(nil))
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
