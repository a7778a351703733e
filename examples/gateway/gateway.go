package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/examples/ward/page"
	"github.com/carewire/carewire/fhir"
	"github.com/carewire/carewire/hl7v2"
	"github.com/carewire/carewire/js/elements"
	"github.com/carewire/carewire/rules"
)

// everyone is the group of all who have been admitted.
const everyone = "everyone"

// users are the users of the demonstration, by token. A real host keeps them
// elsewhere, and of tokens nothing that could be used as one.
var users = map[string]carewire.Principal{
	"nurse-ada": {ID: "nurse-ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Groups: []string{everyone}, Patients: []string{carewire.SystemPatient}},
	"ehr":       {ID: "ehr", Name: "Hospital record", Role: carewire.RoleService, Groups: []string{everyone}},
}

func authenticate(r *http.Request) (carewire.Principal, error) {
	if p, ok := users[carewire.Token(r)]; ok {
		return p, nil
	}
	return carewire.Principal{}, carewire.ErrUnauthenticated
}

// gateway is the host: a Hub between HL7 version 2, FHIR and the page.
type gateway struct {
	hub     *carewire.Hub
	census  *census
	hl7     *hl7v2.Server
	fhir    *fhir.Server
	manager *manager // nil: there is none
	judge   *rules.Judge
	end     context.CancelFunc // ends the judging
	judged  chan struct{}
}

// newGateway puts it all together. base is the URL of the FHIR side; m is the
// alarm manager, nil if there is none.
func newGateway(store carewire.Store, base string, zone *time.Location, m *manager, log *slog.Logger) (*gateway, error) {
	g := &gateway{census: &census{}, manager: m}
	options := &carewire.Options{Directory: g.census, Logger: log}
	hl7 := &hl7v2.ServerOptions{Mapping: &hl7v2.Mapping{Zone: zone, Other: own}, Patient: g.census.patient, Census: g.census, Logger: log}
	if m != nil {
		options.Pager, options.Policy = m.reporter, policy
		hl7.Status, g.census.follow = m.status, m.follow
	}
	var err error
	if g.hub, err = carewire.New(carewire.AuthenticatorFunc(authenticate), store, options); err != nil {
		return nil, err
	}
	if m != nil {
		m.hub = g.hub
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if err := g.census.open(ctx, g.hub); err != nil {
		return nil, errors.Join(err, g.hub.Shutdown(ctx))
	}
	if g.fhir, err = fhir.New(g.hub, store, &fhir.Options{Base: base, Logger: log}); err != nil {
		return nil, errors.Join(err, g.hub.Shutdown(ctx))
	}
	if g.hl7, err = hl7v2.NewServer(g.hub, hl7); err != nil {
		return nil, err
	}
	return g, g.startJudge(log)
}

// startJudge raises alerts by two limits, which are only examples, for everyone.
func (g *gateway) startJudge(log *slog.Logger) error {
	limit := func(key, text string, m carewire.Measure, side rules.Side, at, margin float64) rules.Rule {
		return rules.Limit{About: rules.About{Key: key, Text: text, Priority: carewire.PriorityHigh}, Code: m.Code, Unit: m.Units()[0], Side: side, At: at, Margin: margin}
	}
	set, err := rules.NewSet(limit("hr-high", "Heart rate high", carewire.HeartRate, rules.Above, 130, 5), limit("spo2-low", "Oxygen saturation low", carewire.SpO2, rules.Below, 90, 2))
	if err != nil {
		return err
	}
	g.judge, err = rules.New(g.hub, set, &rules.Options{Logger: log,
		Patients: func(ctx context.Context) ([]string, error) { return g.census.Patients(ctx, everyone) },
		To:       func(string) []string { return []string{"group:" + everyone} }})
	if err != nil {
		return err
	}
	ctx, end := context.WithCancel(context.Background())
	g.end, g.judged, g.census.changed = end, make(chan struct{}), g.judge.Changed
	go func() { defer close(g.judged); _ = g.judge.Run(ctx) }()
	return nil
}

// own maps the codes of this hospital's own, which no table can know.
func own(o hl7v2.Observation) (carewire.Vital, bool) {
	text := o.OBX.Field(5).String()
	of := func(m carewire.Measure) (carewire.Vital, bool) {
		v := carewire.Vital{Code: m.Code, Value: carewire.Decimal(text), Unit: m.Units()[0]}
		return v, text != ""
	}
	switch o.OBX.Field(3).Component(2).String() {
	case "AVPU": // codes of SNOMED CT
		code := map[string]string{"Alert": "248234008", "Voice": "300202002", "Pain": "450847001", "Unresponsive": "422768004"}[text]
		return carewire.Vital{Code: carewire.Consciousness, Coded: &carewire.Coding{System: carewire.SNOMED, Code: code}}, code != ""
	case "InsOxy":
		return of(carewire.OxygenConcentration)
	case "OxyL":
		return of(carewire.OxygenFlow)
	case "PAIN LEVEL":
		return of(carewire.PainScore)
	}
	return carewire.Vital{}, false
}

// handler serves the Hub, FHIR, the page and the page's requests.
func (g *gateway) handler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/carewire", g.hub)
	for _, path := range []string{"/fhir", "/fhir/"} { // a Bundle goes to the base itself
		mux.Handle(path, http.StripPrefix("/fhir", g.fhir))
	}
	mux.Handle("GET /elements.js", elements.Handler())
	mux.Handle("/", secured(http.FileServerFS(page.Files)))
	mux.HandleFunc("GET /ward", known(func(u carewire.Principal) any {
		return map[string]any{"me": u.ID, "groups": u.Groups, "patients": g.census.all(), "names": map[string]string{}, "system": u.Role == carewire.RoleClinician}
	}))
	nothing := known(func(carewire.Principal) any { return []string{} })
	mux.HandleFunc("GET /pages", nothing)  // there is no pager here
	mux.HandleFunc("POST /rules", nothing) // no score is counted
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if err := g.hub.Ready(); err != nil {
			http.Error(rw, "not ready", http.StatusServiceUnavailable)
		}
	})
	return mux
}

// secured adds the security headers of a page.
func secured(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		h := rw.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "+
			"manifest-src 'self'; worker-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(rw, r)
	})
}

// known answers with JSON for the owner of the bearer token.
func known(answer func(carewire.Principal) any) http.HandlerFunc {
	return func(rw http.ResponseWriter, r *http.Request) {
		u, err := authenticate(r)
		if err != nil {
			http.Error(rw, "unknown token", http.StatusUnauthorized)
			return
		}
		rw.Header().Set("Content-Type", "application/json")
		rw.Header().Set("Cache-Control", "no-store")
		_ = json.NewEncoder(rw).Encode(answer(u))
	}
}

// shutdown ends the sources of data, then the Hub.
func (g *gateway) shutdown(ctx context.Context) error {
	err := g.hl7.Shutdown(ctx)
	g.fhir.Close()
	g.end()
	<-g.judged
	if g.manager != nil {
		err = errors.Join(err, g.manager.close())
	}
	return errors.Join(err, g.hub.Shutdown(ctx))
}
