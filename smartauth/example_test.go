package smartauth_test

import (
	"context"
	"log"
	"net/http"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/smartauth"
)

// A host lets people in by the hospital's issuer. A logout there ends their
// sessions here.
func Example() {
	ctx := context.Background()
	auth, err := smartauth.New(ctx, smartauth.Options{Issuer: "https://login.hospital.example", Base: "https://ehr.hospital.example/fhir", Audience: []string{"https://ehr.hospital.example/live"}})
	if err != nil {
		log.Fatal(err)
	}
	hub, err := carewire.New(auth, carewire.NewMemoryStore(nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	http.Handle("/live", hub)
	http.Handle("/backchannel-logout", auth.BackChannelLogout(hub))
}
