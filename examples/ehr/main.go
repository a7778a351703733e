// Ehr is a host as a hospital would have it: people sign in at an identity
// provider, wards change by HL7 version 2, vitals come by FHIR, HL7 and the Hub's
// own protocol, rules judge them, a rota says who is paged, and clinicians may
// break the glass. docs/host-guide.md builds it step by step.
//
// As it stands it needs nothing but Go: the identity provider and the paging
// gateway run in the same process, for trying out. It listens on loopback.
package main

import (
	"context"
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/oauth2-proxy/mockoidc"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/pgstore"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "address of the pages; keep it on loopback, for anybody may sign in as anybody")
	mllp := flag.String("mllp", "127.0.0.1:2575", "address for HL7 version 2")
	postgres := flag.String("postgres", "", "how to connect to PostgreSQL; without it events are kept in a file")
	data := flag.String("data", filepath.Join(os.TempDir(), "carewire-ehr"), "directory of that file")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *addr, *mllp, *postgres, *data, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ehr:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, addr, mllp, postgres, data string, out io.Writer) error {
	store, closeStore, err := openStore(ctx, postgres, data)
	if err != nil {
		return err
	}
	defer closeStore()
	provider, err := mockoidc.Run()
	if err != nil {
		return err
	}
	defer provider.Shutdown()
	secret := []byte(rand.Text() + rand.Text())
	gateway, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp", addr)
	if err != nil {
		return err
	}
	hl7, err := net.Listen("tcp", mllp)
	if err != nil {
		return err
	}
	base := "http://" + web.Addr().String()
	h, err := newHost(ctx, settings{base: base, issuer: provider.Issuer(), clientID: provider.ClientID, clientSecret: provider.ClientSecret,
		gateway: "http://" + gateway.Addr().String(), secret: secret, step: 30 * time.Second, demo: true, log: slog.Default()}, store)
	if err != nil {
		return err
	}
	server := &http.Server{Handler: as(provider, h.handler()), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ConnState: new(carewire.Arrivals).ConnState}
	pages := &http.Server{Handler: newGateway(secret, out), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ConnState: new(carewire.Arrivals).ConnState}
	failed := make(chan error, 3)
	go func() { failed <- server.Serve(web) }()
	go func() { failed <- pages.Serve(gateway) }()
	go func() { failed <- h.hl7.Serve(hl7) }()
	go simulate(ctx, h.hub)
	fmt.Fprintf(out, "Open %s (HL7 version 2 on %s)\n", base, hl7.Addr())
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	late, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return errors.Join(err, h.shutdown(late), server.Shutdown(late), pages.Close())
}

// openStore opens PostgreSQL's, or a file's where no PostgreSQL is named.
func openStore(ctx context.Context, postgres, data string) (carewire.Store, func(), error) {
	if postgres == "" {
		store, err := boltstore.Open(filepath.Join(data, "events"), nil)
		if err != nil {
			return nil, nil, err
		}
		return store, func() { store.Close() }, nil
	}
	pool, err := pgxpool.New(ctx, postgres)
	if err != nil {
		return nil, nil, err
	}
	if err := pgstore.Migrate(ctx, pool, ""); err != nil {
		return nil, nil, err
	}
	store, err := pgstore.Open(ctx, pool, nil)
	if err != nil {
		return nil, nil, err
	}
	return store, func() { store.Close(); pool.Close() }, nil
}
