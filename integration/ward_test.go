package integration

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// patience is how long a test waits for what must come.
const patience = time.Minute

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
		return m.Run()
	}())
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

// freeAddr returns a loopback address where nothing listens. Its port is below
// those that the system gives to outgoing connections, so that none of these
// takes it while a ward is down.
func freeAddr(t testing.TB) string {
	t.Helper()
	for range 100 {
		addr := fmt.Sprintf("127.0.0.1:%d", 20000+rand.IntN(10000))
		if l, err := net.Listen("tcp", addr); err == nil {
			l.Close()
			return addr
		}
	}
	t.Fatal("no port is free")
	return ""
}

// lines takes in what a program writes, line by line.
type lines struct {
	mu   sync.Mutex
	list []string
	part []byte
	more chan struct{} // closed and replaced with each line
}

func newLines() *lines { return &lines{more: make(chan struct{})} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.part = append(l.part, p...)
	for {
		line, rest, ok := bytes.Cut(l.part, []byte("\n"))
		if !ok {
			return len(p), nil
		}
		l.list = append(l.list, string(line))
		l.part = slices.Clone(rest)
		close(l.more)
		l.more = make(chan struct{})
	}
}

// all returns the lines so far, and what is closed when there is another.
func (l *lines) all() ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list), l.more
}

// String returns the last lines, and not all of long ones.
func (l *lines) String() string {
	list, _ := l.all()
	list = list[max(0, len(list)-25):]
	for i, line := range list {
		list[i] = line[:min(len(line), 200)]
	}
	return strings.Join(list, "\n")
}

// await returns the submatches of the first line, from the n-th on, that
// matches, and the number of the line behind it.
func (l *lines) await(t testing.TB, from int, pattern string) (match []string, next int) {
	t.Helper()
	r := regexp.MustCompile(pattern)
	late := time.After(patience)
	for n := from; ; {
		list, more := l.all()
		for ; n < len(list); n++ {
			if m := r.FindStringSubmatch(list[n]); m != nil {
				return m, n + 1
			}
		}
		select {
		case <-more:
		case <-late:
			t.Fatalf("no line %q came, but:\n%s", pattern, l)
		case <-t.Context().Done():
			t.Fatal("the test has ended")
		}
	}
}

// poll calls f until it returns true. What is still missing by the deadline is in the message.
func poll(t testing.TB, within time.Duration, f func() (ok bool, missing string)) {
	t.Helper()
	late := time.After(within)
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, missing := f()
		if ok {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatal("too late: ", missing)
		case <-t.Context().Done():
			t.Fatal("the test has ended: ", missing)
		}
	}
}

// A ward is the ward example as a program of its own, over all its runs.
type ward struct {
	t    testing.TB
	addr string
	args []string
	runs []*run
}

// A run of a program from its start to its end.
type run struct {
	cmd        *exec.Cmd
	out, log   *lines
	ended      chan struct{} // closed when it has ended
	err        error         // then: how
	ready, end time.Time     // when it was ready, and when it was ended
}

func startProgram(t testing.TB, cmd *exec.Cmd) *run {
	t.Helper()
	r := &run{cmd: cmd, out: newLines(), log: newLines(), ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r.out, r.log
	cmd.WaitDelay = 5 * time.Second
	require.NoError(t, cmd.Start())
	go func() {
		r.err = cmd.Wait()
		close(r.ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-r.ended
		if t.Failed() && r.end.IsZero() {
			t.Logf("%s wrote last:\n%s\n%s", filepath.Base(cmd.Path), r.out, r.log)
		}
	})
	return r
}

// openWard starts a ward with a store of its own and waits until it is ready.
// It is stopped with the test.
func openWard(t testing.TB, args ...string) *ward {
	t.Helper()
	w := &ward{t: t, addr: freeAddr(t), args: append([]string{"-data", t.TempDir()}, args...)}
	t.Cleanup(w.check)
	w.start()
	return w
}

// start starts the ward, again, and waits until it is ready.
func (w *ward) start() {
	w.t.Helper()
	cmd := exec.Command(program(w.t, "ward"), append([]string{"-addr", w.addr}, w.args...)...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // else it lingers, and clients that come back wait longer each time
	r := startProgram(w.t, cmd)
	w.runs = append(w.runs, r)
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	poll(w.t, patience, func() (bool, string) {
		select {
		case <-r.ended:
			w.t.Fatalf("the ward has ended: %v\n%s", r.err, r.log)
		default:
		}
		resp, err := client.Get("http://" + w.addr + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
	r.ready = time.Now()
}

func (w *ward) last() *run { return w.runs[len(w.runs)-1] }

// kill ends the ward as a power cut would, as far as the program can tell.
func (w *ward) kill() {
	w.t.Helper()
	r := w.last()
	r.end = time.Now()
	require.NoError(w.t, r.cmd.Process.Kill())
	<-r.ended
}

// stop asks the ward to end, which it must do in good time and in good order.
func (w *ward) stop() {
	w.t.Helper()
	r := w.last()
	r.end = time.Now()
	require.NoError(w.t, r.cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-r.ended:
		require.NoError(w.t, r.err, "the ward did not end well:\n%s", r.log)
	case <-time.After(10 * time.Second):
		w.t.Fatalf("the ward does not end:\n%s", r.log)
	}
}

// check looks for what must be in no log.
func (w *ward) check() {
	for i, r := range w.runs {
		list, _ := r.log.all()
		for _, line := range list {
			if strings.Contains(line, "DATA RACE") || strings.Contains(line, "panic") || strings.Contains(line, "level=ERROR") {
				w.t.Errorf("run %d of the ward logged %q:\n%s", i+1, line, r.log)
				break
			}
		}
	}
}

// A page that the ward's pager has logged.
type page struct {
	at        time.Time
	to, alert string
	level     int
	run       int
}

var pageLine = regexp.MustCompile(`^time=(\S+) level=INFO msg=page to=(\S+) alert=(\S+) level=(\d+)$`)

// pages returns the pages of all runs.
func (w *ward) pages() []page {
	var pages []page
	for i, r := range w.runs {
		list, _ := r.log.all()
		for _, line := range list {
			if m := pageLine.FindStringSubmatch(line); m != nil {
				p := page{to: m[2], alert: m[3], run: i}
				p.at, _ = time.Parse(time.RFC3339Nano, m[1])
				fmt.Sscan(m[4], &p.level)
				pages = append(pages, p)
			}
		}
	}
	return pages
}

func (w *ward) http() string { return "http://" + w.addr }
func (w *ward) url() string  { return "ws://" + w.addr + "/carewire" }

// dial connects a Go client.
func dial(t testing.TB, url, token string) *carewire.Client {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	got, err := c.Watch(ctx, o)
	require.NoError(t, err)
	require.Empty(t, got.Refused)
}

// await reads events until one is as wanted.
func await(t testing.TB, c *carewire.Client, what string, want func(*carewire.Event) bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
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
	w.last().out.await(t, 0, `token=nurse-ada\s+Nurse Ada`)
	c := dial(t, w.url(), "nurse-ada")
	watch(t, c, carewire.WatchOptions{Groups: []string{"ward-5"}})
	await(t, c, "a simulated vital", func(e *carewire.Event) bool { return e.Vital != nil })
	w.stop()
	w.last().out.await(t, 0, "Ending")
	w.start()
	await(t, c, "a vital after the restart", func(e *carewire.Event) bool { return e.Type == carewire.EventLive })
	await(t, c, "a vital after the restart", func(e *carewire.Event) bool { return e.Vital != nil })
	w.stop()
}
