package main

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
)

// demonstrate starts an identity provider and a paging gateway, for trying out. The
// gateway writes pages to s.out; it gets none if s has another. end ends both.
func (s *settings) demonstrate() (end func(), err error) {
	provider, err1 := newProvider()
	listener, err2 := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err // the program ends
	}
	s.issuer, s.clientID, s.clientSecret, s.plain, s.demo = provider.Issuer(), provider.ClientID, provider.ClientSecret, true, true
	if s.gateway == "" {
		s.gateway, s.secret = "http://"+listener.Addr().String(), []byte(rand.Text()+rand.Text())
	}
	gateway := &http.Server{Handler: newGateway(s.secret, s.out), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ConnState: new(carewire.Arrivals).ConnState}
	go gateway.Serve(listener)
	return func() { gateway.Close(); provider.Shutdown() }, nil
}

// newProvider starts a provider that lets everybody in, as the person whom the
// sign-in proposes.
func newProvider() (*mockoidc.MockOIDC, error) {
	m, err1 := mockoidc.NewServer(nil)
	listener, err2 := net.Listen("tcp", "127.0.0.1:0")
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	err := m.AddMiddleware(func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if who := r.FormValue("login_hint"); who != "" {
				m.QueueUser(&mockoidc.MockUser{Subject: who})
			}
			next.ServeHTTP(w, r)
		})
	})
	return m, errors.Join(err, m.Start(listener, nil))
}

// newGateway is a paging gateway that writes its messages to out instead of sending them.
func newGateway(secret []byte, out io.Writer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		if err != nil || pagers.VerifyWebhook(r.Header, body, secret, time.Now()) != nil {
			http.Error(w, "not signed", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(out, "page: %s\n", body)
	})
}

// simulate publishes vitals as monitors would.
func simulate(ctx context.Context, hub *carewire.Hub) {
	for spo2 := 95.0; ctx.Err() == nil; time.Sleep(time.Second) {
		spo2 = min(max(spo2+mathrand.Float64()*2-1.05, 82), 99)
		_, _ = hub.Publish(ctx, carewire.HeartRate.Of("p-17", 70+mathrand.Float64()*5), carewire.SpO2.Of("p-17", float64(int(spo2))))
	}
}
