package integration

import (
	"context"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// programs is where the examples are built, once for all tests.
var programs string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "carewire-integration")
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 1
		}
		defer os.RemoveAll(dir)
		programs = dir
		code := m.Run()
		if line := missing.String(); line != "" {
			fmt.Println(line)
		}
		return code
	}())
}

// wants counts the skipped tests, by the missing program.
type wants struct {
	mu    sync.Mutex
	tests map[string]int
}

var missing wants

func (w *wants) add(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.tests == nil {
		w.tests = make(map[string]int)
	}
	w.tests[name]++
}

// String is one line about all that was skipped; "" if nothing was.
func (w *wants) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var list []string
	for _, name := range slices.Sorted(maps.Keys(w.tests)) {
		list = append(list, fmt.Sprintf("%s (%d)", name, w.tests[name]))
	}
	if list == nil {
		return ""
	}
	return "skipped tests, for want of: " + strings.Join(list, ", ")
}

// Skipped tests are told in one line, with their number.
func TestSkipsAreToldInOneLine(t *testing.T) {
	var w wants
	require.Empty(t, w.String())
	for _, name := range []string{"Chromium", "Python with websocket-client", "Chromium"} {
		w.add(name)
	}
	require.Equal(t, "skipped tests, for want of: Chromium (2), Python with websocket-client (1)", w.String())
}

// A run of these tests ends with that line. In CI the test that skips fails.
func TestSkipsAreTold(t *testing.T) {
	if os.Getenv("CAREWIRE_SKIP") != "" {
		need(t, needed{"a program that no machine has", func() error { return exec.ErrNotFound }})
	}
	tests := func(ci string) (string, error) {
		cmd := exec.Command(os.Args[0], "-test.run=^TestSkipsAreTold$")
		cmd.Env = append(os.Environ(), "CAREWIRE_SKIP=1", "CI="+ci)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	out, err := tests("")
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(out, "\nskipped tests, for want of: a program that no machine has (1)\n"), out)
	out, err = tests("1")
	require.Error(t, err)
	require.Contains(t, out, "a program that no machine has is needed: ")
	require.NotContains(t, out, "skipped")
}

// inCI reports whether everything must be there that a test needs.
func inCI() bool { return os.Getenv("CI") != "" }

// A program that a test needs beyond Go.
type needed struct {
	name string
	here func() error
}

// need skips the test if something that it needs is missing. In CI it fails.
func need(t testing.TB, things ...needed) {
	t.Helper()
	for _, n := range things {
		if err := n.here(); err != nil {
			if inCI() {
				t.Fatalf("%s is needed: %v", n.name, err)
			}
			missing.add(n.name)
			t.Skipf("%s is needed: %v", n.name, err)
		}
	}
}

// raced reports whether the tests run with the race detector; the examples are
// then built with it too.
var raced = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
})

var builds sync.Map // by name: func() (string, error)

// program builds an example once and returns where it is. The examples are a
// module of their own, which is built by itself: with or without a go.work.
func program(t testing.TB, name string) string {
	t.Helper()
	build, _ := builds.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		file := filepath.Join(programs, name)
		args := []string{"build", "-C", "../examples", "-o", file}
		if raced() {
			args = append(args, "-race")
		}
		cmd := exec.Command("go", append(args, "./"+name)...)
		cmd.Env = append(os.Environ(), "GOWORK=off")
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("%w: %s", err, out)
		}
		return file, nil
	}))
	file, err := build.(func() (string, error))()
	require.NoError(t, err)
	return file
}

// A ward is the ward example as a program of its own, over all its runs.
type ward struct {
	t    testing.TB
	addr string
	args []string
	runs []*process.Run
}

// openWard starts a ward with a store of its own and waits until it is ready.
// It is stopped with the test.
func openWard(t testing.TB, args ...string) *ward {
	t.Helper()
	w := &ward{t: t, addr: process.FreeAddr(t), args: append([]string{"-data", t.TempDir(), "-audit", "/dev/stderr"}, args...)}
	t.Cleanup(w.check)
	w.start()
	return w
}

// start starts the ward, again, and waits until it is ready.
func (w *ward) start() {
	w.t.Helper()
	cmd := exec.Command(program(w.t, "ward"), append([]string{"-addr", w.addr}, w.args...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // else it lingers, and clients that come back wait longer each time
	r := process.Start(w.t, cmd)
	w.runs = append(w.runs, r)
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	process.Poll(w.t, process.Patience, func() (bool, string) {
		select {
		case <-r.Ended:
			w.t.Fatalf("the ward has ended: %v\n%s", r.Err, r.Log)
		default:
		}
		resp, err := client.Get("http://" + w.addr + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
}

func (w *ward) last() *process.Run { return w.runs[len(w.runs)-1] }

// stop asks the ward to end, which it must do in good time and in good order.
func (w *ward) stop() {
	w.t.Helper()
	r := w.last()
	r.End = time.Now()
	require.NoError(w.t, r.Cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-r.Ended:
		require.NoError(w.t, r.Err, "the ward did not end well:\n%s", r.Log)
	case <-time.After(40 * time.Second): // fifteen of them it gives its Hub
		w.t.Fatalf("the ward does not end:\n%s", r.Log)
	}
}

// check looks for lines that must be in no log.
func (w *ward) check() {
	for i, r := range w.runs {
		list, _ := r.Log.All()
		for _, line := range list {
			if strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") {
				w.t.Errorf("run %d of the ward logged %q:\n%s", i+1, line, r.Log)
				break
			}
		}
	}
}

func (w *ward) http() string { return "http://" + w.addr }
func (w *ward) url() string  { return "ws://" + w.addr + "/carewire" }

// dial connects a Go client.
func dial(t testing.TB, url, token string) *carewire.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	c, err := carewire.Dial(ctx, url, &carewire.DialOptions{
		Token:      func(context.Context) (string, error) { return token, nil },
		MinBackoff: 50 * time.Millisecond, MaxBackoff: 500 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	t.Cleanup(func() { c.Close() })
	return c
}

func watch(t testing.TB, c *carewire.Client, o carewire.WatchOptions) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	got, err := c.Watch(ctx, o)
	require.NoError(t, err)
	require.Empty(t, got.Refused)
}

// await reads events until one is as wanted.
func await(t testing.TB, c *carewire.Client, what string, want func(*carewire.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	for e, err := range c.Events(ctx) {
		require.NoError(t, err, what)
		if want(&e) {
			return
		}
	}
}

// The helpers' own promise: a ward starts, stops well, and starts again.
func TestWardStartsAndStops(t *testing.T) {
	w := openWard(t, "-patients", "2", "-seed", "1")
	w.last().Out.Await(t, 0, `token=nurse-ada\s+Nurse Ada`)
	c := dial(t, w.url(), "nurse-ada")
	watch(t, c, carewire.WatchOptions{Groups: []string{"ward-5"}})
	await(t, c, "a simulated vital", func(e *carewire.Event) bool { return e.Vital != nil })
	w.stop()
	w.last().Out.Await(t, 0, "Ending")
	w.start()
	await(t, c, "a vital after the restart", func(e *carewire.Event) bool { return e.Type == carewire.EventLive })
	await(t, c, "a vital after the restart", func(e *carewire.Event) bool { return e.Vital != nil })
	w.stop()
}
