// Gateway is a host that takes HL7 version 2 by MLLP on one side and FHIR by
// REST on another, and serves the ward's page. A system that speaks only one of
// these needs no knowledge of carewire.
package main

import (
	"context"
	"errors"
	"flag"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
)

func main() {
	addr := flag.String("addr", "127.0.0.1:8080", "where to serve the page and FHIR; the tokens are known to everybody: keep it on loopback")
	mllp := flag.String("mllp", "127.0.0.1:2575", "where to take HL7 version 2")
	zone := flag.String("zone", "Local", "the zone of times that have none, such as Europe/London")
	alarms := flag.String("manager", "", "where an alarm manager takes IHE PCD-04 by MLLP, such as 127.0.0.1:2576; empty: nowhere")
	data := flag.String("data", filepath.Join(os.TempDir(), "carewire-gateway"), "where events are kept")
	flag.Parse()
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	if err := run(*addr, *mllp, *zone, *alarms, *data, log); err != nil {
		log.Error("the gateway ends", "error", err)
		os.Exit(1)
	}
}

func run(addr, mllp, zone, alarms, data string, log *slog.Logger) error {
	location, err := time.LoadLocation(zone)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(data, 0o700); err != nil {
		return err
	}
	store, err := boltstore.Open(filepath.Join(data, "gateway.db"), nil)
	if err != nil {
		return err
	}
	defer store.Close()
	var m *manager
	if alarms != "" {
		if m, err = newManager(alarms, log); err != nil {
			return err
		}
	}
	g, err := newGateway(store, "http://"+addr+"/fhir", location, m, log)
	if err != nil {
		return err
	}
	web, err := net.Listen("tcp", addr)
	if err != nil {
		return errors.Join(err, g.shutdown(context.Background()))
	}
	hl7, err := net.Listen("tcp", mllp)
	if err != nil {
		return errors.Join(err, web.Close(), g.shutdown(context.Background()))
	}
	server := &http.Server{Handler: g.handler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ConnState: new(carewire.Arrivals).ConnState}
	failed := make(chan error, 2)
	go func() { failed <- server.Serve(web) }()
	go func() { failed <- g.hl7.Serve(hl7) }()
	log.Info("open the page", "url", "http://"+addr+"/#token=nurse-ada", "fhir", "http://"+addr+"/fhir", "mllp", mllp)

	end := make(chan os.Signal, 1)
	signal.Notify(end, os.Interrupt, syscall.SIGTERM)
	select {
	case <-end:
	case err = <-failed:
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	return errors.Join(err, g.shutdown(ctx), server.Shutdown(ctx))
}
