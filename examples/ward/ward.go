package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/rules"
)

// options are the values of the flags.
type options struct {
	addr     string
	data     string
	store    string
	dsns     []string // for the store postgres; of several databases the first is named 0, and so on
	proxies  []netip.Prefix
	patients int
	seed     uint64
	quiet    bool
	step     time.Duration
	ntfy     string // servers by which people are told too; "": not by this way
	sms      string
	smtp     string
	otel     string // file of numbers and traces; "": none
	log      *slog.Logger
	audit    carewire.Auditor // nil: nowhere
}

// A ward is the whole host: a hospital's backend around a carewire.Hub.
type ward struct {
	options
	people *people
	pager  *pager
	push   *pushes
	hub    *carewire.Hub
	judge  *rules.Judge

	telemetry  *telemetry    // nil: none
	pool       *pgxpool.Pool // nil: the store is this ward's own
	closeStore func() error
	stop       context.CancelFunc // ends the Judge and the gateways
	running    sync.WaitGroup
}

// openWard opens the store, makes the Hub, and begins to judge.
func openWard(o options) (*ward, error) {
	w := &ward{options: o, people: newPeople(o.patients)}
	var err error
	if w.push, err = newPushes(w.people); err != nil {
		return nil, err
	}
	w.pager = &pager{ways: newWays(o, w.people, &w.push.pager)}
	if w.telemetry, err = openTelemetry(o.otel); err != nil {
		return nil, err
	}
	if w.audit == nil {
		w.audit = carewire.NewSlogAuditor(slog.New(slog.DiscardHandler), nil)
	}
	store, err := w.openStore()
	if err != nil {
		return nil, errors.Join(err, w.telemetry.close(context.Background()))
	}
	w.hub, err = carewire.New(w.people, store, &carewire.Options{
		Directory: w.people,
		Policy:    policy(w.people, o.step),
		Pager:     w.pager,
		Auditor:   w.audit,
		Retention: carewire.Retention{Vitals: 24 * time.Hour},
		Logger:    o.log,
		Trace:     w.telemetry.trace(),

		TicketsInStore: w.pool != nil, // any ward accepts another's tickets
		TrustedProxies: o.proxies,
	})
	if err != nil {
		return nil, errors.Join(err, w.closeStore(), w.telemetry.close(context.Background()))
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	if err = w.startJudge(ctx); err == nil {
		err = w.telemetry.measure(w)
	}
	if err != nil {
		return nil, errors.Join(err, w.close(ctx, nil))
	}
	return w, nil
}

func (w *ward) openStore() (carewire.Store, error) {
	switch w.store {
	case "memory":
		w.closeStore = func() error { return nil }
		return carewire.NewMemoryStore(nil), nil
	case "bolt":
		if err := os.MkdirAll(w.data, 0o700); err != nil {
			return nil, err
		}
		store, err := boltstore.Open(filepath.Join(w.data, "ward.db"), nil)
		if err != nil {
			return nil, err
		}
		w.closeStore = store.Close
		return store, nil
	case "postgres":
		return w.openPostgres()
	}
	return nil, errors.New("-store must be bolt, memory or postgres")
}

// handler serves the Hub, the page and the page's requests.
func (w *ward) handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/carewire", func(rw http.ResponseWriter, r *http.Request) {
		if len(w.proxies) > 0 && w.hub.Ready() != nil { // the proxy asks another ward
			http.Error(rw, "not ready", http.StatusServiceUnavailable)
			return
		}
		w.hub.ServeHTTP(rw, r)
	})
	w.servePage(mux)
	w.servePush(mux)
	w.serveRules(mux)
	mux.HandleFunc("GET /healthz", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("GET /readyz", func(rw http.ResponseWriter, _ *http.Request) {
		if err := w.hub.Ready(); err != nil {
			http.Error(rw, err.Error(), http.StatusServiceUnavailable)
		}
	})
	return mux
}

// startMonitors starts a gateway for each ward, that connects to url. Of several
// wards with one database one has them, for each patient has one monitor.
func (w *ward) startMonitors(url string) {
	ctx, stop := context.WithCancel(context.Background())
	stopJudge := w.stop
	w.stop = func() { stopJudge(); stop() }
	gateways := map[string]*gateway{}
	for i, p := range w.people.monitored() {
		g := gateways[p.Group]
		if g == nil {
			g = &gateway{url: url, token: "gateway-1", log: w.log}
			gateways[p.Group] = g
		}
		g.monitors = append(g.monitors, newMonitor(p.ID, i, w.seed))
	}
	run := func(ctx context.Context) {
		var wg sync.WaitGroup
		for _, g := range gateways {
			wg.Go(func() { g.run(ctx) })
		}
		wg.Wait()
	}
	w.running.Go(func() {
		if w.pool == nil {
			run(ctx)
		} else {
			asOnlyOne(ctx, w.pool, run)
		}
	})
}

// close ends everything in order: the Hub sends its clients away and stores
// the events that it has accepted, then the server, then the goroutines beside them,
// and at last the store.
func (w *ward) close(ctx context.Context, srv *http.Server) error {
	err := w.hub.Shutdown(ctx)
	if srv != nil {
		err = errors.Join(err, srv.Shutdown(ctx))
	}
	w.stop()
	w.running.Wait()
	return errors.Join(err, w.closeStore(), w.telemetry.close(ctx))
}
