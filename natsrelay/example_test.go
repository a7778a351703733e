package natsrelay_test

import (
	"context"
	"log"
	"os"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/natsrelay"
	"github.com/nats-io/nats.go"
)

// A node connects to NATS with a certificate and a password. It starts without NATS,
// too, and connects when that is there.
func ExampleNew() {
	var auth carewire.Authenticator // the host's
	var store carewire.Store        // shared by all nodes
	conn, err := nats.Connect("tls://nats-1.internal:4222,tls://nats-2.internal:4222",
		nats.UserInfo("node", os.Getenv("CAREWIRE_NATS_PASSWORD")),
		nats.RootCAs("/etc/nats/ca.pem"), nats.ClientCert("/etc/nats/node.pem", "/etc/nats/node.key"),
		nats.RetryOnFailedConnect(true), nats.MaxReconnects(-1), nats.NoEcho())
	if err != nil {
		log.Fatal(err)
	}
	defer conn.Close()
	relay, err := natsrelay.New(conn, nil)
	if err != nil {
		log.Fatal(err)
	}
	defer relay.Close()
	hub, err := carewire.New(auth, store, &carewire.Options{Relay: relay})
	if err != nil {
		log.Fatal(err)
	}
	defer hub.Shutdown(context.Background())
}

// A Prefix separates the Hubs of several tenants on one NATS account.
func ExampleOptions() {
	var conn *nats.Conn // the host's
	_, err := natsrelay.New(conn, &natsrelay.Options{Prefix: "tenant-7.carewire"})
	if err != nil {
		log.Print(err)
	}
}
