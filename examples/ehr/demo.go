package main

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
)

// as has the demonstration's provider let in the person whom ?as= names at /login:
// for trying out only.
func as(m *mockoidc.MockOIDC, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/login" {
			m.QueueUser(&mockoidc.MockUser{Subject: r.FormValue("as")})
		}
		next.ServeHTTP(w, r)
	})
}

// newGateway is a paging gateway that writes to out what it would send.
func newGateway(secret []byte, out io.Writer) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(io.LimitReader(r.Body, 64<<10))
		if err != nil || pagers.VerifyWebhook(r.Header, body, secret, time.Now()) != nil {
			http.Error(w, "not signed", http.StatusUnauthorized)
			return
		}
		fmt.Fprintf(out, "page: %s\n", body)
		w.WriteHeader(http.StatusNoContent)
	})
}

// simulate publishes what monitors would send.
func simulate(ctx context.Context, hub *carewire.Hub) {
	spo2 := 95.0
	for range time.Tick(time.Second) {
		if ctx.Err() != nil {
			return
		}
		spo2 = min(max(spo2+rand.Float64()*2-1.05, 82), 99)
		_, _ = hub.Publish(ctx, carewire.HeartRate.Of("p-17", 70+rand.Float64()*5), carewire.SpO2.Of("p-17", float64(int(spo2))))
	}
}
