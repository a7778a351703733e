// Ehr is a host as a hospital would have it: people sign in at an identity
// provider, wards change by HL7 version 2, vitals come by FHIR, HL7 and the Hub's
// own protocol, rules judge them, a rota names the people to page, and clinicians may
// break the glass. docs/host-guide.md builds it step by step.
//
// Without flags it needs nothing but Go: the identity provider and the paging
// gateway then run in the same process, for trying out. It listens on loopback.
package main

import (
	"cmp"
	"context"
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/pgstore"
)

func main() {
	s := settings{clientSecret: os.Getenv("EHR_CLIENT_SECRET"), secret: []byte(os.Getenv("EHR_GATEWAY_SECRET")), step: 30 * time.Second, log: slog.Default(), out: os.Stdout}
	flag.StringVar(&s.addr, "addr", "127.0.0.1:8080", "address of the pages")
	flag.StringVar(&s.mllp, "mllp", "127.0.0.1:2575", "address for HL7 version 2")
	flag.StringVar(&s.base, "base", "", "where people reach the pages, such as https://ehr.example (default http:// and the address)")
	flag.StringVar(&s.issuer, "issuer", "", "URL of the identity provider; without one a demonstration runs, in which anybody signs in as anybody: keep it on loopback")
	flag.StringVar(&s.clientID, "client", "", "the host's client ID at the provider; EHR_CLIENT_SECRET has its secret")
	flag.StringVar(&s.audience, "audience", "", "the provider's name for this host as an API: the audience of access tokens, different from the client ID (default the base URL and /carewire)")
	flag.StringVar(&s.gateway, "gateway", "", "URL that takes pages; EHR_GATEWAY_SECRET, of 24 bytes or more, signs them")
	flag.StringVar(&s.shifts, "rota", "", "iCalendar file with the shifts, as events such as \"ward-5 ada\", which is read for each page; without it the same people are on duty each week")
	flag.StringVar(&s.postgres, "postgres", "", "how to connect to PostgreSQL; without it events are kept in a file")
	flag.StringVar(&s.data, "data", filepath.Join(os.TempDir(), "carewire-ehr"), "directory of that file; name one that is kept and backed up, unless this is a trial")
	flag.StringVar(&s.audit, "audit", filepath.Join(os.TempDir(), "carewire-ehr-audit.jsonl"), "file of the audit trail, to which records are added; name one that is kept, unless this is a trial")
	flag.BoolVar(&s.plain, "plain", false, "plain HTTP for cookies and the provider, for trying out")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "ehr:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, s settings) error {
	web, err1 := net.Listen("tcp", s.addr)
	mllp, err2 := net.Listen("tcp", s.mllp)
	if err := errors.Join(err1, err2); err != nil {
		return err // the program ends
	}
	defer web.Close()
	defer mllp.Close()
	s.base = cmp.Or(s.base, "http://"+web.Addr().String())
	if s.issuer == "" {
		end, err := s.demonstrate()
		if err != nil {
			return err
		}
		defer end()
	}
	store, closeStore, err := openStore(ctx, s.postgres, s.data)
	if err != nil {
		return err
	}
	defer closeStore()
	h, err := newHost(ctx, s, store)
	if err != nil {
		return err
	}
	failed := make(chan error, 2)
	server := &http.Server{Handler: h.handler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ConnState: new(carewire.Arrivals).ConnState}
	go func() { failed <- server.Serve(web) }()
	go func() { failed <- h.hl7.Serve(mllp) }()
	fmt.Fprintf(s.out, "Open %s\n", s.base)
	select {
	case <-ctx.Done():
	case err = <-failed:
	}
	late, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return errors.Join(err, h.shutdown(late), server.Shutdown(late))
}

// openStore opens PostgreSQL's, or a file's where no PostgreSQL is named.
func openStore(ctx context.Context, postgres, data string) (carewire.Store, func(), error) {
	if postgres == "" {
		store, err := boltstore.Open(filepath.Join(data, "events"), nil)
		return store, func() { store.Close() }, err
	}
	pool, err := pgxpool.New(ctx, postgres)
	if err != nil {
		return nil, nil, err
	}
	if err := pgstore.Migrate(ctx, pool, ""); err != nil {
		return nil, nil, err
	}
	store, err := pgstore.Open(ctx, pool, nil)
	return store, func() { store.Close(); pool.Close() }, err
}
