package drive

import (
	"cmp"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

// ProgramEnv names a node program to be used in the place of the one that
// Program builds: a broken one, on which a test must fail.
const ProgramEnv = "FAULTS_NODE"

var (
	programs   = sync.OnceValues(program)
	programDir string // once there is one
)

func program() (string, error) {
	dir, err := os.MkdirTemp("", "carewire-faults")
	if err != nil {
		return "", err
	}
	programDir = dir
	file := filepath.Join(dir, "node")
	return file, Build(file, "-race="+strconv.FormatBool(Raced()))
}

// Raced reports whether the tests run with the race detector.
var Raced = sync.OnceValue(func() bool {
	info, ok := debug.ReadBuildInfo()
	return ok && slices.Contains(info.Settings, debug.BuildSetting{Key: "-race", Value: "true"})
})

// Program returns the node program, built once, with the race detector if the
// test has it.
func Program(t testing.TB) string {
	t.Helper()
	if file := os.Getenv(ProgramEnv); file != "" {
		return file
	}
	file, err := programs()
	require.NoError(t, err)
	return file
}

// Main runs the tests and removes the programs that Program has built.
func Main(m *testing.M) int {
	code := m.Run()
	if programDir != "" {
		os.RemoveAll(programDir)
	}
	return code
}

// Build builds the node program into file; args go to go build.
func Build(file string, args ...string) error {
	args = append([]string{"build", "-o", file}, args...)
	cmd := exec.Command("go", append(args, "github.com/carewire/carewire/faults/node")...)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, out)
	}
	return nil
}

// A Node is one node program over all its runs. Its methods are for one
// goroutine at a time, but for URL and Pages.
type Node struct {
	T    testing.TB
	Addr string
	Args []string // of the program, beside -listen
	// Program is the command to run; "": the result of the function Program.
	Program string
	// Front is where clients connect, if that is not Addr: a proxy.
	Front string
	// Wrap is the command that runs the program, such as strace with its options.
	Wrap []string
	// Quiet says that errors may be logged: the store is made to fail.
	Quiet bool

	mu   sync.Mutex
	runs []*process.Run
	up   []span // when it could do its work
}

// A span of time. A zero end is not yet.
type span struct{ from, to time.Time }

// NewNode returns a node that is not started. Nil args mean a store of its own
// in a new directory. It ends with the test.
func NewNode(t testing.TB, args ...string) *Node {
	t.Helper()
	if args == nil {
		args = []string{"-data", t.TempDir()}
	}
	n := &Node{T: t, Addr: process.FreeAddr(t), Args: args}
	t.Cleanup(n.check)
	return n
}

// URL is where clients connect.
func (n *Node) URL() string { return "ws://" + cmp.Or(n.Front, n.Addr) + "/carewire" }

// Start starts the node and waits until it is ready. A node that ends instead
// fails the test.
func (n *Node) Start() {
	n.T.Helper()
	if err := n.TryStart(); err != nil {
		n.T.Fatalf("the node has ended: %v\n%s", err, n.Last().Log)
	}
}

// TryStart starts the node and waits until it is ready, which is nil, or has
// ended, which is an error.
func (n *Node) TryStart() error {
	n.T.Helper()
	r := n.Spawn()
	client := &http.Client{Timeout: 2 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	var ended error
	process.Poll(n.T, process.Patience, func() (bool, string) {
		select {
		case <-r.Ended:
			ended = cmp.Or(r.Err, errEnded)
			return true, ""
		default:
		}
		resp, err := client.Get("http://" + n.Addr + "/readyz")
		if err != nil {
			return false, err.Error()
		}
		resp.Body.Close()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
	if ended == nil {
		n.Back()
	}
	return ended
}

var errEnded = fmt.Errorf("it has ended well")

// Spawn starts the node and does not wait. Back says when it is ready.
func (n *Node) Spawn() *process.Run {
	n.T.Helper()
	argv := slices.Concat(n.Wrap, []string{n.program(), "-listen", n.Addr}, n.Args)
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "GORACE=atexit_sleep_ms=0") // else it lingers, and clients that come back wait longer each time
	r := process.Start(n.T, cmd)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.runs = append(n.runs, r)
	return r
}

func (n *Node) program() string {
	if n.Program != "" {
		return n.Program
	}
	return Program(n.T)
}

// Last is the present run, or the last.
func (n *Node) Last() *process.Run {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.runs[len(n.runs)-1]
}

// Back notes that from now on the node is able to do its work.
func (n *Node) Back() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.up = append(n.up, span{from: time.Now()})
}

// Away notes that the node is, from now on, killed, paused, or cut off from its
// store: nobody is told of anything by it.
func (n *Node) Away() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if i := len(n.up) - 1; i >= 0 && n.up[i].to.IsZero() {
		n.up[i].to = time.Now()
	}
}

// Kill ends the node as a power cut would, as far as the program can tell.
func (n *Node) Kill() {
	n.T.Helper()
	n.Away()
	r := n.Last()
	r.End = time.Now()
	r.Cmd.Process.Kill()
	<-r.Ended
}

// Pause stops the node in its tracks.
func (n *Node) Pause() {
	n.T.Helper()
	n.Away()
	require.NoError(n.T, n.Last().Cmd.Process.Signal(syscall.SIGSTOP))
}

// Resume lets a paused node go on.
func (n *Node) Resume() {
	n.T.Helper()
	require.NoError(n.T, n.Last().Cmd.Process.Signal(syscall.SIGCONT))
	n.Back()
}

// endWithin is the time that a node may take to end: the time that it gives its Hub, ten
// seconds for a call of the Store on a connection that is lost, and two for the
// pool. The rest is for a busy machine.
const endWithin = time.Minute

// Stop asks the node to end, which it must do in good time and in good order.
func (n *Node) Stop() {
	n.T.Helper()
	n.Away()
	r := n.Last()
	r.End = time.Now()
	require.NoError(n.T, r.Cmd.Process.Signal(syscall.SIGTERM))
	select {
	case <-r.Ended:
		require.NoError(n.T, r.Err, "the node did not end well:\n%s", r.Log)
	case <-time.After(endWithin):
		_ = r.Cmd.Process.Signal(syscall.SIGQUIT) // it writes its goroutines' stacks
		<-r.Ended
		list, _ := r.Log.All()
		n.T.Fatalf("the node does not end:\n%s", strings.Join(list, "\n"))
	}
}

// check looks for lines that must be in no log.
func (n *Node) check() {
	for i, r := range n.runs {
		list, _ := r.Log.All()
		for _, line := range list {
			if strings.Contains(line, "DATA RACE") || strings.HasPrefix(line, "panic") || strings.HasPrefix(line, "fatal error") ||
				!n.Quiet && strings.Contains(line, "level=ERROR") {
				n.T.Errorf("run %d of the node logged %q:\n%s", i+1, line, r.Log)
				break
			}
		}
	}
}

// failing reports whether the node has ever found that its store fails: that of a
// machine that stands still for ten seconds does. It then pages from its memory.
func (n *Node) failing() bool {
	return slices.ContainsFunc(n.runs, func(r *process.Run) bool {
		list, _ := r.Log.All()
		return slices.ContainsFunc(list, func(line string) bool { return strings.Contains(line, "the store is failing") })
	})
}

// A page that a node's pager has written.
type page struct {
	at        time.Time
	to, alert string
	level     int
	away      bool // it was sent while the node was away
}

var pageLine = regexp.MustCompile(`^page at=(\S+) to=(\S+) alert=(\S+) level=(\d+)$`)

// pages returns the pages of all runs.
func (n *Node) pages() []page {
	var pages []page
	for _, r := range n.runs {
		list, _ := r.Out.All()
		for _, line := range list {
			if m := pageLine.FindStringSubmatch(line); m != nil {
				p := page{to: m[2], alert: m[3]}
				p.at, _ = time.Parse(time.RFC3339Nano, m[1])
				fmt.Sscan(m[4], &p.level)
				p.away = n.awayAt(p.at)
				pages = append(pages, p)
			}
		}
	}
	return pages
}

// awayAt reports whether the node was killed, paused or cut off at a time.
func (n *Node) awayAt(at time.Time) bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return !slices.ContainsFunc(n.up, func(s span) bool { return !s.from.After(at) && (s.to.IsZero() || s.to.After(at)) })
}

// upSince returns since when, looking back from at, some node was able to work
// all the time.
func upSince(nodes []*Node, at time.Time) time.Time {
	var spans []span
	for _, n := range nodes {
		n.mu.Lock()
		spans = append(spans, n.up...)
		n.mu.Unlock()
	}
	since := at
	for moved := true; moved; {
		moved = false
		for _, s := range spans {
			if s.from.Before(since) && (s.to.IsZero() || !s.to.Before(since)) {
				since, moved = s.from, true
			}
		}
	}
	return since
}
