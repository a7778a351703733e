// Tls is a host whose clients come over TLS, and a client that trusts its
// certificate, which is made at the start. It shows, too, how to serve behind a
// proxy that ends TLS, and to nobody else: see plaintext.go.
package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/carewire/carewire"
)

type options struct {
	addr      string
	plaintext bool
	proxies   prefixes
}

func main() {
	var o options
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8443", "address to listen on")
	flag.BoolVar(&o.plaintext, "plaintext", false, "serve without TLS, to this machine only, such as to a proxy on it")
	flag.Var(&o.proxies, "insecure-plaintext-from", "serve without TLS to these proxies on other machines too, such as 10.0.0.7,10.1.0.0/24:\nwhoever is on the network between them and this program can read everything")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "tls:", err)
		os.Exit(1)
	}
}

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

// run serves until ctx ends.
func run(ctx context.Context, o options, out io.Writer) error {
	certificate, trusting, err := newCertificate("localhost", "127.0.0.1", "::1")
	if err != nil {
		return err
	}
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.Handle("/carewire", hub)
	srv := &http.Server{Handler: onlyOverTLS(mux, o.proxies), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ConnState: new(carewire.Arrivals).ConnState,
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12}}
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	served := make(chan error, 1)
	scheme := "wss"
	if o.plaintext || len(o.proxies) > 0 {
		scheme = "ws"
		if len(o.proxies) > 0 {
			slog.Warn("SERVING WITHOUT TLS beyond this machine: health data and tokens can be read between here and the proxies", "proxies", o.proxies.String())
		}
		go func() { served <- srv.Serve(listener) }()
	} else {
		go func() { served <- srv.ServeTLS(listener, "", "") }()
	}
	url := scheme + "://" + listener.Addr().String() + "/carewire"
	fmt.Fprintln(out, "serving", url)
	watching, stop := context.WithCancel(ctx)
	defer stop()
	go watch(watching, url, trusting, out)
	go measure(watching, hub)

	select {
	case <-ctx.Done():
	case err = <-served:
	}
	late, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	return errors.Join(err, hub.Shutdown(late), srv.Shutdown(late))
}

// watch is a client, elsewhere in real life, that trusts the certificate and no other.
func watch(ctx context.Context, url string, trusting *x509.CertPool, out io.Writer) {
	client, err := carewire.Dial(ctx, url, &carewire.DialOptions{
		Token:      func(context.Context) (string, error) { return "nurse-token", nil },
		HTTPClient: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trusting}}},
	})
	if err != nil {
		fmt.Fprintln(out, "the client cannot connect:", err)
		return
	}
	defer client.Close()
	if _, err := client.Watch(ctx, carewire.WatchOptions{Patients: []string{"p-17"}}); err != nil {
		fmt.Fprintln(out, "the client may not watch:", err)
		return
	}
	for e := range client.Events(ctx) {
		if e.Vital != nil {
			fmt.Fprintln(out, "heart rate", e.Vital.Value, e.Vital.Unit)
		}
	}
}

func measure(ctx context.Context, hub *carewire.Hub) {
	for ctx.Err() == nil {
		hub.Publish(ctx, carewire.HeartRate.Of("p-17", 72))
		select {
		case <-time.After(time.Second):
		case <-ctx.Done():
		}
	}
}
