// Node is the program that the fault suite starts, breaks and starts again: one Hub with
// one Store, short times, and a pager that writes each page as a line.
//
// A token is the ID of its principal; those of devices begin with "device".
package main

import (
	"cmp"
	"context"
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
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/pgstore"
)

type options struct {
	listen, store, data, dsn, notify string
	newEpoch, noListen               bool
	reserve, maxBytes                int64
	perAddress                       int
	judge, judgeName                 string
	judgeOptional                    bool
	step, page, prune                time.Duration
	keep                             carewire.Retention
}

func main() {
	var o options
	flag.StringVar(&o.listen, "listen", "127.0.0.1:0", "address to listen on")
	flag.StringVar(&o.store, "store", "bolt", "bolt, postgres or memory")
	flag.StringVar(&o.data, "data", "", "directory of the store bolt")
	flag.Int64Var(&o.reserve, "reserve", 0, "boltstore's Reserve in bytes")
	flag.Int64Var(&o.maxBytes, "max-bytes", 0, "boltstore's MaxBytes")
	flag.StringVar(&o.dsn, "dsn", "", "how to connect to PostgreSQL")
	flag.StringVar(&o.notify, "listen-dsn", "", "how to connect for LISTEN, if otherwise")
	flag.BoolVar(&o.noListen, "no-listen", false, "no LISTEN and no NOTIFY")
	flag.BoolVar(&o.newEpoch, "new-epoch", false, "start a new epoch")
	flag.IntVar(&o.perAddress, "max-per-address", 0, "Options.MaxPerAddress")
	flag.DurationVar(&o.step, "step", time.Second, "until an alert that nobody accepts goes on to the next step")
	flag.DurationVar(&o.page, "page", 0, "how long the pager takes once a page is written")
	flag.DurationVar(&o.prune, "prune", 0, "how often the store is pruned; 0: never")
	flag.DurationVar(&o.keep.Vitals, "keep-vitals", 0, "how long pruning leaves vitals; 0: for ever")
	flag.DurationVar(&o.keep.Others, "keep-others", 0, "how long pruning leaves everything else; 0: for ever")
	flag.StringVar(&o.judge, "judge", "", "patients to judge by rules, with commas; none: nobody")
	flag.BoolVar(&o.judgeOptional, "judge-optional", false, "its limits are optional, and on for nobody")
	flag.StringVar(&o.judgeName, "judge-name", "", "the Judge's name among the nodes")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "node:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, o options) error {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	store, closeStore, err := open(ctx, o, log)
	if err != nil {
		return fmt.Errorf("the store refuses: %w", err)
	}
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), store, &carewire.Options{
		Authorizer: everything{}, Policy: policy(o.step), Pager: &pager{takes: o.page}, Auditor: nobody{}, Logger: log,
		MaxPerAddress: o.perAddress,
		PromisedOnly:  true, // the trials' devices send at random, and a pace kept by chance would add timers to the log
	})
	if err != nil {
		return errors.Join(err, closeStore())
	}
	if s, ok := store.(*pgstore.Store); ok {
		go s.Drain(ctx, hub)
	}
	judging, err := startJudge(ctx, hub, o, log)
	if err != nil {
		return errors.Join(err, hub.Shutdown(ctx), closeStore())
	}
	mux := http.NewServeMux()
	mux.Handle("/carewire", hub)
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := hub.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
		}
	})
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 10 * time.Second, ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelInfo)}
	listener, err := net.Listen("tcp", o.listen)
	if err != nil {
		return errors.Join(err, closeStore())
	}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()
	pruning := startPruning(ctx, o, store, log)

	select {
	case <-ctx.Done():
	case err = <-served:
	}
	late, cancel := context.WithTimeout(context.Background(), 25*time.Second) // two calls on lost connections
	defer cancel()
	judging.Wait()
	err = errors.Join(err, hub.Shutdown(late), srv.Shutdown(late))
	pruning.Wait()
	return errors.Join(err, closeStore())
}

func open(ctx context.Context, o options, log *slog.Logger) (carewire.Store, func() error, error) {
	switch o.store {
	case "memory":
		return carewire.NewMemoryStore(nil), func() error { return nil }, nil
	case "bolt":
		s, err := boltstore.Open(filepath.Join(o.data, "node.db"), &boltstore.Options{NewEpoch: o.newEpoch, Reserve: o.reserve, MaxBytes: o.maxBytes})
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	case "postgres":
		pool, err := pgxpool.New(ctx, o.dsn)
		if err != nil {
			return nil, nil, errors.New("-dsn is not usable")
		}
		var s *pgstore.Store
		if err = pgstore.Migrate(ctx, pool, ""); err == nil {
			s, err = pgstore.Open(ctx, pool, &pgstore.Options{Listen: cmp.Or(o.notify, o.dsn), NoListen: o.noListen, NewEpoch: o.newEpoch, Logger: log})
		}
		if err != nil {
			pool.Close()
			return nil, nil, err
		}
		return s, func() error { defer closePool(pool); return s.Close() }, nil
	}
	return nil, nil, errors.New("-store must be bolt, postgres or memory")
}

// closePool waits no longer than two seconds: pgx would wait for a connection
// that the network has forgotten much longer, and the end of the program closes it.
func closePool(pool *pgxpool.Pool) {
	closed := make(chan struct{})
	go func() {
		pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(2 * time.Second):
	}
}

// startPruning prunes as often as o says, more often than a Hub does by itself.
func startPruning(ctx context.Context, o options, store carewire.Store, log *slog.Logger) *sync.WaitGroup {
	var running sync.WaitGroup
	p, ok := store.(carewire.Pruner)
	if o.prune <= 0 || !ok {
		return &running
	}
	running.Go(func() {
		every := time.NewTicker(o.prune)
		defer every.Stop()
		for {
			select {
			case <-every.C:
			case <-ctx.Done():
				return
			}
			if err := p.Prune(ctx, time.Now(), o.keep); err != nil && ctx.Err() == nil {
				log.Warn("the store could not be pruned", "error", err)
			}
		}
	})
	return &running
}

func authenticate(r *http.Request) (carewire.Principal, error) {
	p := carewire.Principal{ID: carewire.Token(r), Role: carewire.RoleClinician}
	if p.ID == "" {
		return p, carewire.ErrUnauthenticated
	}
	if strings.HasPrefix(p.ID, "device") {
		p.Role = carewire.RoleDevice
	}
	return p, nil
}

// everything is allowed: access is not tested here.
type everything struct{}

// Authorize implements carewire.Authorizer.
func (everything) Authorize(_ context.Context, a carewire.Access) ([]carewire.Decision, error) {
	d := make([]carewire.Decision, len(a.Patients))
	for i := range d {
		d[i].Allow = true
	}
	return d, nil
}

// policy has three steps, of one addressee each, who is never connected.
func policy(after time.Duration) carewire.Policy {
	return func(_ context.Context, _ carewire.Alert, step int) (carewire.Step, error) {
		to := []string{"person:first", "person:second", "person:third"}
		if step > len(to) {
			return carewire.Step{}, carewire.ErrNoStep
		}
		return carewire.Step{To: to[step-1 : step], After: after}, nil
	}
}

// pager writes each page as a line before it returns.
type pager struct {
	mu    sync.Mutex
	takes time.Duration
}

// Page implements carewire.Pager.
func (p *pager) Page(ctx context.Context, page carewire.Page) error {
	if p.takes > 0 {
		defer func() {
			select {
			case <-time.After(p.takes):
			case <-ctx.Done():
			}
		}()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	_, err := io.WriteString(os.Stdout, fmt.Sprintf("page at=%s to=%s alert=%s level=%d\n",
		time.Now().Format(time.RFC3339Nano), page.To, page.Alert.ID, page.Level))
	return err
}

// nobody keeps no audit trail.
type nobody struct{}

// Record implements carewire.Auditor.
func (nobody) Record(context.Context, carewire.Record) error { return nil }
