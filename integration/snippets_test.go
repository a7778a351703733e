package integration

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/fhir"
	"github.com/carewire/carewire/metrics/prom"
	"github.com/carewire/carewire/pgstore"
	"github.com/carewire/carewire/pgstore/pgtest"
	"github.com/carewire/carewire/rules"
	"github.com/carewire/carewire/spread"
)

// The pieces of Go that docs show stand in this file, but for space and remarks, and
// its tests run them.
func TestSnippetsStandHere(t *testing.T) {
	squeeze := regexp.MustCompile(`(?m)//.*$|[ \t]+`).ReplaceAllString
	source, err := os.ReadFile("snippets_test.go")
	require.NoError(t, err)
	for _, document := range []string{"docs/deployment.md", "docs/interop.md", "docs/operations.md", "docs/rules.md"} {
		for _, block := range blocksOf(t, document, "go") {
			require.True(t, strings.Contains(squeeze(string(source), ""), squeeze(block, "")), "%s shows a block that is not in this file:\n%s", document, block)
		}
	}
}

func quietHub(t *testing.T, store carewire.Store) *carewire.Hub {
	hub, err := carewire.New(&carewiretest.Door{}, store, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { hub.Shutdown(context.Background()) })
	return hub
}

func answered(mux *http.ServeMux, path string) *httptest.ResponseRecorder {
	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
	return w
}

// docs/interop.md
func TestInteropSnippet(t *testing.T) {
	store, mux := carewire.NewMemoryStore(nil), http.NewServeMux()
	door := &carewiretest.Door{}
	hub, err := carewire.New(door, store, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	defer hub.Shutdown(context.Background())
	server, err := fhir.New(hub, store, &fhir.Options{Base: "https://ehr.example/fhir"})
	for _, path := range []string{"/fhir", "/fhir/"} { // a Bundle goes to the base itself
		mux.Handle(path, http.StripPrefix("/fhir", server))
	}
	require.NoError(t, err)
	defer server.Close()
	w := answered(mux, "/fhir/metadata")
	require.Equal(t, http.StatusOK, w.Code)
	require.Contains(t, w.Body.String(), "CapabilityStatement")

	r := httptest.NewRequest(http.MethodPost, "/fhir/Subscription", strings.NewReader(blocksOf(t, "docs/interop.md", "json")[0]))
	r.Header.Set("Authorization", "Bearer "+door.Token(carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p-17"}}))
	r.Header.Set("Content-Type", "application/fhir+json")
	w = httptest.NewRecorder()
	mux.ServeHTTP(w, r)
	require.Equal(t, http.StatusCreated, w.Code, w.Body)
}

type issued struct{}

func (issued) Stats() prom.IssuerStats { return prom.IssuerStats{Accepted: 3} }

// docs/operations.md
func TestOperationsSnippet(t *testing.T) {
	hub, mux, registry, auth := quietHub(t, carewire.NewMemoryStore(nil)), http.NewServeMux(), prometheus.NewRegistry(), issued{}
	set, err := rules.NewSet(rules.NEWS2())
	require.NoError(t, err)
	judge, err := rules.New(hub, set, &rules.Options{Patients: nobodyIsIn})
	require.NoError(t, err)
	registry.MustRegister(prom.Collector(hub), prom.RulesCollector(judge), // module metrics/prom
		prom.IssuerCollector(func() prom.IssuerStats { return prom.IssuerStats(auth.Stats()) })) // with module smartauth
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	w := answered(mux, "/metrics")
	require.Equal(t, http.StatusOK, w.Code)
	for _, line := range []string{"carewire_connections 0\n", "carewire_rules_patients 0\n", "carewire_issuer_tokens_total{kind=\"accepted\"} 3\n"} {
		require.Contains(t, w.Body.String(), line)
	}
}

func nobodyIsIn(context.Context) ([]string, error) { return nil, nil }

// docs/rules.md: the rules raise the alerts that it describes.
func TestRulesSnippets(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	hub := quietHub(t, carewire.NewMemoryStore(nil))
	admitted := func(context.Context) ([]string, error) { return []string{"p-17"}, nil }
	ownLimits := func(context.Context, string) (rules.Settings, error) { return rules.Settings{}, nil }
	var err error
	fine := func() { t.Helper(); require.NoError(t, err) }

	set, err := rules.NewSet(
		rules.Limit{
			About:  rules.About{Key: "spo2-low", Text: "Oxygen saturation low", Priority: carewire.PriorityMedium},
			Timing: rules.Timing{Delay: 10 * time.Second, Clear: 10 * time.Second},
			Code:   carewire.SpO2.Code, Unit: "%", Side: rules.Below, At: 90, Margin: 2,
			Severe: &rules.Severe{At: 85},
		},
		rules.Absent{About: rules.About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: time.Minute},
		rules.NEWS2(),
	)
	judge, err := rules.New(hub, set, &rules.Options{Patients: admitted, Settings: ownLimits})
	go judge.Run(ctx)

	fine()
	watching, stop := context.WithTimeout(ctx, time.Minute)
	defer stop()
	published := false
	for ev, err := range hub.Watch(watching, carewire.WatchOptions{Patients: []string{"p-17"}}) {
		require.NoError(t, err)
		if !published {
			published = true
			_, err = hub.Publish(ctx, carewire.SpO2.Of("p-17", 80))
			require.NoError(t, err)
		}
		if ev.Alert != nil && ev.Alert.Key == "spo2-low" {
			require.Equal(t, carewire.PriorityHigh, ev.Alert.Priority, "severe")
			break
		}
	}
	require.NoError(t, watching.Err())

	pews := rules.Score{
		About:  rules.About{Key: "pews", Version: "house 3", Text: "PEWS"},
		MaxAge: 16, // years; above, it is not for them
		Bands:  []rules.Band{{Min: 5, Priority: carewire.PriorityHigh, Text: "call the team", Within: 15 * time.Minute}},
		Parts: []rules.Part{{
			Name: "heart rate", Inputs: []rules.Input{{Code: carewire.HeartRate.Code}}, Unit: "/min", Step: 1, MaxAge: time.Hour,
			Rows: []rules.Row{
				{MaxAge: 1, Max: new(90.0), Points: 4}, {MaxAge: 1, Max: new(110.0), Points: 2}, {MaxAge: 1, Max: new(150.0)}, {MaxAge: 1, Points: 4},
				{MinAge: 1, Max: new(60.0), Points: 4}, {MinAge: 1, Max: new(140.0)}, {MinAge: 1, Points: 4},
			},
		} /* … */},
	}
	_, err = rules.NewSet(pews)
	require.NoError(t, err)
}

// docs/deployment.md, several nodes.
func TestDeploymentHubSnippet(t *testing.T) {
	auth, store, mux := &carewiretest.Door{}, carewire.NewMemoryStore(nil), http.NewServeMux()
	hub, err := carewire.New(auth, store, &carewire.Options{
		TicketsInStore: true,                                                 // a ticket of one node is good at another
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.2/32")}, // limits and audit trail know the client's address
		Hosts:          []string{"ehr.example"},
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if hub.Ready() != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, answered(mux, "/readyz").Code)
	require.NoError(t, hub.Shutdown(t.Context()))
	require.Equal(t, http.StatusServiceUnavailable, answered(mux, "/readyz").Code)
}

// docs/deployment.md, several databases.
func TestDeploymentSpreadSnippet(t *testing.T) {
	ctx, auth, pools := t.Context(), &carewiretest.Door{}, make(map[string]*pgxpool.Pool)
	var err error
	fine := func() { t.Helper(); require.NoError(t, err) }
	for _, name := range []string{"a", "b"} {
		pools[name], err = pgxpool.New(ctx, pgtest.Database(t))
		fine()
		defer pools[name].Close()
		require.NoError(t, pgstore.Migrate(ctx, pools[name], ""))
	}
	run := func() error {
		var err error
		fine := func() { t.Helper(); require.NoError(t, err) }
		var members []spread.Member
		for name, pool := range pools { // the same at every node
			one, err := pgstore.Open(ctx, pool, nil)
			if err != nil {
				return err
			}
			members = append(members, spread.Member{Name: name, Store: one})
		}
		store, err := spread.Open(ctx, members, nil)
		hub, err := carewire.New(auth, store, nil)
		fine()
		_, err = hub.Publish(ctx, carewire.HeartRate.Of("p-17", 72))
		fine()
		return hub.Shutdown(context.Background())
	}
	require.NoError(t, run())
}

// docs/deployment.md, PgBouncer.
func TestDeploymentBouncerSnippet(t *testing.T) {
	ctx, server := t.Context(), pgtest.Database(t)
	direct, err := pgxpool.New(ctx, server)
	fine := func() { t.Helper(); require.NoError(t, err) }
	fine()
	defer direct.Close()
	require.NoError(t, pgstore.Migrate(ctx, direct, ""))
	pgbouncer := strings.TrimSuffix(pgtest.Bouncer(t, server), " default_query_exec_mode=exec")

	pool, err := pgxpool.New(ctx, pgbouncer+" default_query_exec_mode=exec") // pgbouncer: "host=pgbouncer port=6432 dbname=ehr"
	store, err := pgstore.Open(ctx, pool, &pgstore.Options{Listen: server})  // server: "host=db port=5432 dbname=ehr"

	fine()
	defer pool.Close()
	defer store.Close()
	_, err = quietHub(t, store).Publish(ctx, carewire.HeartRate.Of("p-17", 72))
	require.NoError(t, err)
}

// docs/deployment.md, a host's transaction; and the statements in SQL.
func TestDeploymentTransactionSnippet(t *testing.T) {
	ctx := t.Context()
	pool, err := pgxpool.New(ctx, pgtest.Database(t))
	require.NoError(t, err)
	defer pool.Close()
	require.NoError(t, pgstore.Migrate(ctx, pool, ""))
	store, err := pgstore.Open(ctx, pool, nil)
	require.NoError(t, err)
	defer store.Close()
	_, err = pool.Exec(ctx, `create table lab_results (patient text, potassium numeric)`)
	require.NoError(t, err)
	run := func() error {
		err := pgx.BeginFunc(ctx, pool, func(tx pgx.Tx) error {
			if _, err := tx.Exec(ctx, `insert into lab_results values ('p-17', 6.9)`); err != nil {
				return err
			}
			return store.RaiseTx(ctx, tx, carewire.Raise{Patient: "p-17", Key: "potassium", Text: "Potassium is 6.9 mmol/L", Priority: carewire.PriorityHigh})
		})
		return err
	}
	require.NoError(t, run())
	hub := quietHub(t, store)
	go store.Drain(ctx, hub)
	require.Eventually(t, func() bool {
		_, err := hub.Alert(ctx, "p-17", "potassium")
		require.True(t, err == nil || errors.Is(err, carewire.ErrNotFound))
		return err == nil
	}, time.Minute, 10*time.Millisecond)
	statements := blocksOf(t, "docs/deployment.md", "sql")
	require.Len(t, statements, 2)
	for _, s := range statements {
		_, err := pool.Exec(ctx, s)
		require.NoError(t, err)
	}
}

// docs/deployment.md, the commands: tables made by hand, a dump that is restored,
// and a base backup.
func TestDeploymentCommands(t *testing.T) {
	server := pgtest.Start(t)
	scripts := blocksOf(t, "docs/deployment.md", "sh")
	require.Len(t, scripts, 2)
	tools, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	require.NoError(t, err)
	migrations, err := filepath.Abs("../pgstore/migrations")
	require.NoError(t, err)
	sh := func(dir, script string) {
		t.Helper()
		cmd := exec.Command("bash", "-e", "-c", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), "PGHOST="+server.Dir, "PGUSER=carewire", "PGDATABASE=ehr", "PATH="+strings.Join(tools, ":")+":"+os.Getenv("PATH"))
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
	}
	dir := t.TempDir()
	sh(dir, "createdb ehr && createdb restored && psql -c 'create role app login'")
	sh(migrations, scripts[0])
	sh(dir, "mkdir backup var")
	sh(dir, strings.NewReplacer("/backup/", dir+"/backup/", "/var/lib/postgresql/", dir+"/var/").Replace(scripts[1]))
	for _, file := range []string{"backup/ehr/PG_VERSION", "var/restored/recovery.signal"} {
		require.FileExists(t, filepath.Join(dir, file))
	}
	for _, database := range []string{"ehr", "restored"} {
		pool, err := pgxpool.New(t.Context(), "host="+server.Dir+" user=app dbname="+database)
		require.NoError(t, err)
		if database == "restored" { // the role's rights are not the dump's to give: the owner's connection opens it
			pool.Close()
			pool, err = pgxpool.New(t.Context(), "host="+server.Dir+" user=carewire dbname="+database)
			require.NoError(t, err)
		}
		store, err := pgstore.Open(t.Context(), pool, nil)
		require.NoError(t, err, database)
		store.Close()
		pool.Close()
	}
}
