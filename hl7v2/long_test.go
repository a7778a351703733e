package hl7v2

import (
	"context"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// A number with more than 15 digits is taken and rounded, and its message is
// recognised when it comes again, also after a restart.
func TestLongNumbersComeTwice(t *testing.T) {
	hub, err := carewire.New(carewire.AuthenticatorFunc(nil), carewire.NewMemoryStore(nil), &carewire.Options{Logger: silent})
	require.NoError(t, err)
	defer hub.Shutdown(context.Background())
	for range 2 {
		server, err := NewServer(hub, &ServerOptions{Logger: silent})
		require.NoError(t, err)
		for range 2 {
			server.Handle(t.Context(), Peer{}, oru("D1", "36.66666666666666666", "71"))
			server.Handle(t.Context(), Peer{}, oru("D2", "37.66666666666666666", "x")) // answered AE each time
		}
		require.NoError(t, server.Shutdown(t.Context()))
	}
	page, err := hub.History(t.Context(), carewire.HistoryQuery{Patient: "p-17"})
	require.NoError(t, err)
	var got []carewire.Decimal
	for _, ev := range page.Events {
		got = append(got, ev.Vital.Value)
		assert.NotEmpty(t, ev.Vital.ID)
		if ev.Vital.Value != "71" {
			assert.Contains(t, ev.Vital.Quality, carewire.QualityRounded)
		}
	}
	assert.Equal(t, []carewire.Decimal{"36.6666666666667", "71", "37.6666666666667"}, got)
}
