package fhir_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/fhir"
)

// A vital as a FHIR server takes it.
func ExampleObservation() {
	v := carewire.HeartRate.Of("17", 72)
	v.ID, v.Time = "m1", time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	b, err := fhir.Observation(v)
	if err != nil {
		log.Fatal(err)
	}
	list, unsaid, err := fhir.VitalsOf(b)
	fmt.Println(list[0].Value, list[0].Unit, unsaid, err)
	// Output: 72 /min [] <nil>
}

// A FHIR server beside a Hub.
func ExampleNew() {
	store := carewire.NewMemoryStore(nil)
	hub, err := carewire.New(carewire.AuthenticatorFunc(func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{}, carewire.ErrUnauthenticated // ask for a login
	}), store, nil)
	if err != nil {
		log.Fatal(err)
	}
	server, err := fhir.New(hub, store, &fhir.Options{Base: "https://ehr.example/fhir"})
	if err != nil {
		log.Fatal(err)
	}
	defer server.Close()
	mux := http.NewServeMux()
	mux.Handle("/carewire", hub)
	mux.Handle("/fhir/", http.StripPrefix("/fhir", server))

	reply := httptest.NewRecorder()
	mux.ServeHTTP(reply, httptest.NewRequest("GET", "/fhir/metadata", nil))
	fmt.Println(reply.Code, reply.Header().Get("Content-Type"))
	// Output: 200 application/fhir+json; charset=utf-8
}
