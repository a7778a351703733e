package carewiretest_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

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

// A browser's page with a cookie, a foreign page, a POST, a page that fails, and
// an event that does not come.
func TestCookiesAndMissingEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		auth := carewire.AuthenticatorFunc(func(r *http.Request) (carewire.Principal, error) {
			if c, err := r.Cookie("session"); err == nil && c.Value == "ada" {
				return carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Patients: []string{"p1"}}, nil
			}
			return carewire.Principal{}, carewire.ErrUnauthenticated
		})
		pages := &carewiretest.Recorder{Fail: func(p carewire.Page) error {
			if p.Level == 1 {
				return errors.New("the gateway is down")
			}
			return nil
		}}
		hub, err := carewire.New(auth, carewire.NewMemoryStore(nil), &carewire.Options{Pager: pages})
		require.NoError(t, err)
		defer hub.Shutdown(context.Background())
		server := carewiretest.Serve(t, hub)
		defer server.Close()
		own := carewiretest.Browser(&http.Cookie{Name: "session", Value: "ada"})
		nurse, err := server.TryDial("/", &carewire.DialOptions{Header: own})
		require.NoError(t, err)
		defer nurse.Close()
		foreign := own.Clone()
		foreign.Set("Origin", "https://evil.test")
		_, err = server.TryDial("/", &carewire.DialOptions{Header: foreign})
		require.ErrorIs(t, err, carewire.ErrForbidden)

		client := server.Client()
		defer client.CloseIdleConnections()
		r, _ := http.NewRequest("POST", "http://localhost/", strings.NewReader(`{"type":"history","req":"1","patient":"p1"}`))
		r.Header = own.Clone()
		r.Header.Set("Content-Type", "application/json")
		got, err := client.Do(r)
		require.NoError(t, err)
		body, _ := io.ReadAll(got.Body)
		got.Body.Close()
		require.Contains(t, string(body), `"ok"`)

		_, err = nurse.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p1"}})
		require.NoError(t, err)
		carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventSynced))
		start := time.Now()
		carewiretest.Nothing(t, nurse, 5*time.Minute, carewiretest.OfType(carewire.EventAlert))
		require.Equal(t, 5*time.Minute, time.Since(start))
		_, err = hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Text: "x", Priority: carewire.PriorityHigh, To: []string{"person:ada"}})
		require.NoError(t, err)
		require.Equal(t, 1, pages.Failed(t, 1)[0].Level)
		carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventAlert))
	})
}

func TestExample(t *testing.T) { testNurse(t) }
