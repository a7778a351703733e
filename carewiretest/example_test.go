package carewiretest_test

import (
	"context"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
)

// A host's test: a nurse sees a device's vitals, an alert pages her, and no more
// values come. It takes no time.
func Example() {
	_ = testNurse // a host calls it TestNurse
}

func testNurse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var door carewiretest.Door
		var pages carewiretest.Recorder
		hub, err := carewire.New(&door, carewire.NewMemoryStore(nil), &carewire.Options{Pager: &pages})
		if err != nil {
			t.Fatal(err)
		}
		defer hub.Shutdown(context.Background())
		mux := http.NewServeMux() // the host's own handler
		mux.Handle("/carewire", hub)
		server := carewiretest.Serve(t, mux)
		defer server.Close()

		nurse := server.Dial("/carewire", door.Token(carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Patients: []string{"p-17"}}))
		if _, err := nurse.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p-17"}}); err != nil {
			t.Fatal(err)
		}
		if _, err := hub.Publish(t.Context(), carewire.HeartRate.Of("p-17", 72)); err != nil {
			t.Fatal(err)
		}
		if got := carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventVital)); got.Vital.Value != "72" {
			t.Fatal("another value came")
		}
		raise := carewire.Raise{Patient: "p-17", Key: "fall", Text: "has fallen", Priority: carewire.PriorityHigh, To: []string{"person:ada"}}
		if _, err := hub.Raise(t.Context(), raise); err != nil {
			t.Fatal(err)
		}
		if to := pages.Pages(t, 1)[0].To; to != "person:ada" {
			t.Fatal("somebody else was paged")
		}
		carewiretest.Await(t, nurse, carewiretest.OfType(carewire.EventAlert))
		carewiretest.Nothing(t, nurse, 10*time.Second, carewiretest.OfType(carewire.EventVital))
	})
}
