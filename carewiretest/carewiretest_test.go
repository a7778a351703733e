package carewiretest_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
)

// A host's test: its handler, two people and a pager.
func TestHostsTest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var door carewiretest.Door
		pages := &carewiretest.Recorder{}
		hub, err := carewire.New(&door, carewire.NewMemoryStore(nil), &carewire.Options{Pager: pages})
		require.NoError(t, err)
		defer hub.Shutdown(context.Background())
		mux := http.NewServeMux()
		mux.Handle("/live", hub)
		server := carewiretest.Serve(t, mux)
		defer server.Close()

		nurse := server.Dial("/live", door.Token(carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}))
		defer nurse.Close()
		device := server.Dial("/live", door.Token(carewire.Principal{ID: "device", Role: carewire.RoleDevice, Patients: []string{"p1"}}))
		defer device.Close()
		slow := server.DialSlow("/live", "nurse")

		_, err = nurse.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p1"}})
		require.NoError(t, err)
		carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventSynced))
		_, err = device.Publish(t.Context(), carewire.HeartRate.Of("p1", 72))
		require.NoError(t, err)
		got := carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventVital))
		require.Equal(t, carewire.Decimal("72"), got.Vital.Value)

		_, err = hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Text: "x", Priority: carewire.PriorityHigh, To: []string{"person:nurse"}})
		require.NoError(t, err)
		require.Equal(t, "person:nurse", pages.Pages(t, 1)[0].To)

		require.True(t, strings.HasPrefix(slow.Next(), `{"type":"welcome"`))
		slow.Send(`{"type":"unwatch","req":"1","patients":["p1"]}`)
		require.NoError(t, hub.Revoke(t.Context(), carewire.Revocation{Principal: "nurse"}))
		require.Equal(t, carewire.CloseForbidden, slow.CloseCode())
	})
}
