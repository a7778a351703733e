// Quickstart is the shortest complete host: it knows two people, keeps events
// in memory, and publishes a heart rate each second.
package main

import (
	"context"
	"log"
	"net/http"
	"time"

	"github.com/carewire/carewire"
)

var people = map[string]carewire.Principal{ // by bearer token
	"nurse-token":   {ID: "ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Patients: []string{"p-17"}},
	"monitor-token": {ID: "monitor-4", Role: carewire.RoleDevice, Patients: []string{"p-17"}},
}

func authenticate(r *http.Request) (carewire.Principal, error) {
	if p, ok := people[carewire.Token(r)]; ok {
		return p, nil
	}
	return carewire.Principal{}, carewire.ErrUnauthenticated
}

func main() {
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		log.Fatal(err)
	}
	go func() {
		for range time.Tick(time.Second) {
			hub.Publish(context.Background(), carewire.HeartRate.Of("p-17", 72))
		}
	}()
	http.Handle("/carewire", hub)
	server := http.Server{Addr: "127.0.0.1:8080", ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10}
	log.Fatal(server.ListenAndServe())
}
