package main

import (
	"cmp"
	"context"
	"embed"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"time"

	"github.com/go-chi/chi/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/fhir"
	"github.com/carewire/carewire/hl7v2"
	"github.com/carewire/carewire/metrics/prom"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/rules"
	"github.com/carewire/carewire/smartauth"
)

// settings are the choices of a house.
type settings struct {
	addr, mllp             string // where it listens, for HTTP and for HL7 version 2
	base, issuer, audit    string // where people reach it, such as https://ehr.example; the identity provider; file of the audit trail
	clientID, clientSecret string // the host's, at the provider: ID tokens are for clientID
	audience, gateway      string // the audience of access tokens; takes pages by webhook
	secret                 []byte // signs them
	step                   time.Duration
	postgres, data, shifts string // where events are kept; a calendar of those on duty
	plain, demo            bool   // plain HTTP; a provider, a gateway and vitals of its own: for trying out
	log                    *slog.Logger
	out                    io.Writer
}

// host is the Hub and the components around it.
type host struct {
	settings
	hub    *carewire.Hub
	wards  *wards
	rights *access
	people *signIn
	judge  *rules.Judge
	fhir   *fhir.Server
	hl7    *hl7v2.Server
	trail  *os.File
	cancel context.CancelFunc
}

// newHost puts the parts together on a Store, which stays the caller's.
func newHost(ctx context.Context, s settings, store carewire.Store) (*host, error) {
	h := &host{settings: s, wards: &wards{of: map[string]string{"p-17": "ward-5", "p-18": "ward-5", "p-61": "ward-6"}}}
	ctx, h.cancel = context.WithCancel(ctx)
	tokens, err1 := smartauth.New(ctx, smartauth.Options{Issuer: s.issuer, Audience: []string{cmp.Or(s.audience, s.base+"/carewire")}, ClientID: s.clientID, Principal: known, IgnoreScopes: true, AllowPlaintext: s.plain, Logger: s.log})
	trail, err := os.OpenFile(s.audit, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err = errors.Join(err1, err); err != nil {
		return nil, err
	}
	h.people, h.trail = newSignIn(tokens, s), trail
	h.rights = &access{ready: make(chan struct{}), wards: h.wards}
	h.hub, err = carewire.New(h.people, store, &carewire.Options{
		Authorizer: h.rights, Auditor: h, Directory: h.wards, Person: person, Policy: h.wards.policy(s.step), Pager: h.pager(), Logger: s.log,
	})
	if err != nil {
		return nil, err
	}
	h.rights.hub, h.people.hub, h.wards.changed = h.hub, h.hub, h.hub.MembersChanged
	close(h.rights.ready)
	if pg, ok := store.(*pgstore.Store); ok {
		go pg.Drain(ctx, h.hub) // alerts that the host's own transactions raise
	}
	if s.demo {
		go simulate(ctx, h.hub)
	}
	return h, cmp.Or(h.addRules(ctx), h.addInterfaces(store))
}

// Record implements carewire.Auditor: a line of JSON for each record, in a file. A
// real host inserts a row into its audit table.
func (h *host) Record(_ context.Context, r carewire.Record) error {
	return json.NewEncoder(h.trail).Encode(r)
}

// addRules has vitals judged: by NEWS2, and by a limit.
func (h *host) addRules(ctx context.Context) error {
	set, err := rules.NewSet(rules.NEWS2(), rules.Limit{
		About: rules.About{Key: "spo2-low", Text: "SpO2 is low", Priority: carewire.PriorityHigh},
		Code:  carewire.SpO2.Code, Unit: "%", Side: rules.Below, At: 88, Margin: 2})
	if err != nil {
		return err
	}
	if h.judge, err = rules.New(h.hub, set, &rules.Options{Patients: h.wards.all, Logger: h.log}); err != nil {
		return err
	}
	go func() {
		if err := h.judge.Run(ctx); err != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, carewire.ErrClosed) {
			h.log.Error("the rules have ended", "error", err)
		}
	}()
	return nil
}

// addInterfaces lets others in by FHIR and by HL7 version 2.
func (h *host) addInterfaces(store carewire.Store) (err error) {
	if h.fhir, err = fhir.New(h.hub, store, &fhir.Options{Base: h.base + "/fhir", Logger: h.log}); err != nil {
		return err
	}
	h.hl7, err = hl7v2.NewServer(h.hub, &hl7v2.ServerOptions{Mapping: &hl7v2.Mapping{Zone: time.UTC}, Census: h, Logger: h.log})
	return err
}

// handler serves everything that comes by HTTP.
func (h *host) handler() http.Handler {
	registry := prometheus.NewRegistry()
	registry.MustRegister(prom.Collector(h.hub), prom.RulesCollector(h.judge),
		prom.IssuerCollector(func() prom.IssuerStats { return prom.IssuerStats(h.people.tokens.Stats()) }))
	r := chi.NewRouter()
	r.Handle("/carewire", h.hub)
	r.Mount("/fhir", http.StripPrefix("/fhir", h.fhir))
	r.Get("/login", h.people.login)
	r.Get("/callback", h.people.callback)
	r.Post("/logout", h.people.logout)
	r.Method("POST", "/backchannel-logout", h.people.tokens.BackChannelLogout(h.people.sessions.Revoker(h.hub)))
	r.Method("GET", "/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{})) // a real host serves it inside only
	r.Get("/readyz", h.ready)
	r.Get("/open", h.open)
	r.Get("/me", h.me)
	r.Handle("/*", pages())
	return r
}

func (h *host) ready(w http.ResponseWriter, _ *http.Request) {
	if err := h.hub.Ready(); err != nil {
		http.Error(w, "not ready", http.StatusServiceUnavailable)
	}
}

//go:embed web
var web embed.FS

// pages serves the pages, which load nothing from elsewhere.
func pages() http.Handler {
	files, _ := fs.Sub(web, "web") // which is embedded
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.FileServerFS(files).ServeHTTP(w, r)
	})
}

// me answers with the caller's name and role.
func (h *host) me(w http.ResponseWriter, r *http.Request) {
	p, err := h.people.Authenticate(r)
	if err != nil {
		http.Error(w, "sign in", http.StatusUnauthorized)
		return
	}
	answer(w, map[string]any{"id": p.ID, "groups": p.Groups})
}

func answer(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	_ = json.NewEncoder(w).Encode(v)
}

// open lists the open alerts on the caller's wards: a handler of the host's own,
// with the Hub's decisions.
func (h *host) open(w http.ResponseWriter, r *http.Request) {
	p, err := h.people.Authenticate(r)
	if err != nil {
		http.Error(w, "sign in", http.StatusUnauthorized)
		return
	}
	alerts := []*carewire.Alert{}
	for _, group := range p.Groups {
		for q, more := (carewire.OpenQuery{Group: group}), true; more; more = q.After != "" {
			items, next, err := h.hub.Open(r.Context(), q)
			if err != nil {
				http.Error(w, "try again", http.StatusServiceUnavailable)
				return
			}
			q.After = next
			for _, it := range items {
				if it.Alert == nil {
					continue // a notice
				}
				_, err := h.hub.Disclose(r.Context(), carewire.Access{Principal: p, Action: carewire.ActionWatch, Patients: []string{it.Alert.Patient}})
				if err == nil {
					alerts = append(alerts, it.Alert)
				} else if !errors.Is(err, carewire.ErrForbidden) { // an alert that is left out for another reason would look ended
					http.Error(w, "try again", http.StatusServiceUnavailable)
					return
				}
			}
		}
	}
	answer(w, alerts)
}

// shutdown ends the sources of data first, then the Hub.
func (h *host) shutdown(ctx context.Context) error {
	h.cancel()
	err := h.hl7.Shutdown(ctx)
	h.fhir.Close()
	return errors.Join(err, h.hub.Shutdown(ctx), h.trail.Close())
}
