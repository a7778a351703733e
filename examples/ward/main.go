// Ward is a small hospital to try carewire with: a host with users, patients
// whose monitors are simulated, limits that raise alerts, a pager, and a page.
//
// It listens on loopback and its tokens are known to everybody: it is for
// trying things out, and for reading. README.md in the directory above says how.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/carewire/carewire"
)

func main() {
	o := options{log: slog.New(slog.NewTextHandler(os.Stderr, nil))}
	var step float64
	flag.StringVar(&o.addr, "addr", "127.0.0.1:8080", "address to listen on")
	flag.StringVar(&o.data, "data", dataDir(), "directory of the store")
	flag.StringVar(&o.store, "store", "bolt", "where events are kept: bolt, memory or postgres")
	flag.Func("dsn", "how to connect to PostgreSQL, as postgres://… or key=value; without it as the PG… variables say. Given several times, the patients are spread over these databases", func(dsn string) error {
		o.dsns = append(o.dsns, dsn)
		return nil
	})
	flag.Func("proxy", "network of proxies in front, such as 10.0.0.0/24, whose X-Forwarded-For counts; may be given several times", func(text string) error {
		p, err := netip.ParsePrefix(text)
		o.proxies = append(o.proxies, p)
		return err
	})
	flag.IntVar(&o.patients, "patients", 12, "patients with a simulated monitor")
	flag.Uint64Var(&o.seed, "seed", 0, "makes the simulated values reproducible; 0: other ones each time")
	flag.BoolVar(&o.quiet, "quiet", false, "simulate no monitors")
	flag.Float64Var(&step, "step", 30, "seconds until an alert that nobody accepts goes on to the next step")
	flag.Func("audit", "file that the audit trail is appended to; without one it is not written", func(file string) error {
		f, err := os.OpenFile(file, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
		o.audit = carewire.NewSlogAuditor(slog.New(slog.NewTextHandler(f, nil)), nil)
		return err
	})
	flag.StringVar(&o.ntfy, "ntfy", "", "URL of an ntfy server that tells people too, by the topics ward-nurse-ada and so on; WARD_NTFY_TOKEN has its token")
	flag.StringVar(&o.sms, "sms", "", "URL of an SMS provider that tells people too; WARD_SMS_USER and WARD_SMS_PASSWORD are for it")
	flag.StringVar(&o.smtp, "smtp", "", "host:port of a mail server that tells people too, as nurse-ada@localhost and so on")
	flag.StringVar(&o.otel, "otel", "", "file that OpenTelemetry's numbers and traces are appended to")
	flag.Parse()
	if o.seed == 0 {
		o.seed = rand.Uint64()
	}
	o.step = time.Duration(step * float64(time.Second))
	if flag.NArg() > 0 || o.patients < 2 || o.patients > 500 || o.step < time.Second {
		fmt.Fprintln(os.Stderr, "ward: takes no arguments, 2 to 500 patients and steps of a second or more")
		flag.Usage()
		os.Exit(2)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, o, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "ward:", err)
		os.Exit(1)
	}
}

// run serves until ctx ends.
func run(ctx context.Context, o options, out io.Writer) error {
	listener, err := net.Listen("tcp", o.addr)
	if err != nil {
		return err
	}
	w, err := openWard(o)
	if err != nil {
		listener.Close()
		return err
	}
	srv := &http.Server{Handler: w.handler(), ReadHeaderTimeout: 10 * time.Second, MaxHeaderBytes: 64 << 10, ConnState: new(carewire.Arrivals).ConnState,
		ErrorLog: slog.NewLogLogger(o.log.Handler(), slog.LevelWarn)}
	served := make(chan error, 1)
	go func() { served <- srv.Serve(listener) }()

	addr := listener.Addr().(*net.TCPAddr)
	host := reachable(addr)
	if !o.quiet {
		w.startMonitors("ws://" + host + "/carewire")
	}
	w.greet(out, host)
	if !addr.IP.IsLoopback() {
		fmt.Fprintln(out, "CAUTION: everybody knows these tokens, and this address is not this machine's alone.")
	}
	select {
	case <-ctx.Done():
		fmt.Fprintln(out, "Ending.")
	case err = <-served:
	}
	late, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	if closeErr := w.close(late, srv); err == nil || errors.Is(err, http.ErrServerClosed) {
		err = closeErr
	}
	return err
}

// reachable is the host:port at which this machine reaches the listener at a.
func reachable(a *net.TCPAddr) string {
	host := a.IP.String()
	if a.IP.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, fmt.Sprint(a.Port))
}

// dataDir is where a user's programs keep data.
func dataDir() string {
	base := os.Getenv("XDG_DATA_HOME")
	if !filepath.IsAbs(base) {
		home, err := os.UserHomeDir()
		if err != nil {
			return "carewire-ward"
		}
		base = filepath.Join(home, ".local", "share")
	}
	return filepath.Join(base, "carewire-ward")
}

// greet prints the links and tokens of the demonstration's users.
func (w *ward) greet(out io.Writer, host string) {
	say := func(format string, args ...any) { fmt.Fprintf(out, format+"\n", args...) }
	kept := map[string]string{"bolt": w.data, "memory": "memory", "postgres": "PostgreSQL"}[w.store]
	say("A ward with %d patients and a spare bed. Events are kept in %s.\n", w.patients, kept)
	say("Open as")
	for _, u := range w.people.users {
		if u.Role != carewire.RoleDevice {
			say("  %-44s %s, %s", "http://"+host+"/#token="+u.token, u.Name, u.about)
		}
	}
	say("\nToken %s is for devices. In another terminal, from the repository's root:\n", "gateway-1")
	say("  python3 examples/python/device.py    --url ws://%s/carewire --token gateway-1 --patient %s", host, w.people.spare().ID)
	say("  python3 examples/python/clinician.py --url ws://%s/carewire --token nurse-ada --group ward-5", host)
	say(`  curl --silent --no-buffer --include --http1.1 --max-time 3 --output - -H "Authorization: Bearer nurse-ada" \
    -H "Connection: Upgrade" -H "Upgrade: websocket" -H "Sec-WebSocket-Version: 13" \
    -H "Sec-WebSocket-Key: $(head -c 16 /dev/urandom | base64)" http://%s/carewire`, host)
	say("  open http://%s/simple for the shortest page, /wave#token=nurse-ada for an electrocardiogram, /elements#token=nurse-ada for a ward of 40 lines\n", host)
	say("Ctrl-C ends it.")
}
