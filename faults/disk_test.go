package faults

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/internal/process"
)

// A broken call is one of a node's system calls, and the fault of the n-th one of a
// thread. n is drawn up to the given number.
type brokenCall struct {
	name, how string
	upTo      int
	anyFile   bool // and socket; else only the store's file
}

var brokenCalls = []brokenCall{
	{"fdatasync", "error=EIO", 4, false},
	{"fdatasync", "error=ENOSPC", 4, false},
	{"fdatasync", "signal=SIGKILL", 4, false},
	{"pwrite64", "error=EIO", 12, false},
	{"pwrite64", "error=ENOSPC", 12, false},
	{"pwrite64", "signal=SIGKILL", 12, false},
	{"fsync", "error=EIO", 1, false},
	{"fsync", "signal=SIGKILL", 1, false},
	{"openat", "error=EIO", 2, false},
	{"openat", "signal=SIGKILL", 2, false},
	{"write", "signal=SIGKILL", 60, true}, // to clients, and of pages
}

func (c brokenCall) kills() bool { return strings.HasSuffix(c.how, "SIGKILL") }

// wrap is the command that runs the node, so that the n-th call of a thread breaks.
// The calls are in the file log.
func (c brokenCall) wrap(n int, store, log string) []string {
	argv := []string{"strace", "-D", "-f", "-qq", "-o", log, "-s", "0", "-e", fmt.Sprintf("inject=%s:%s:when=%d", c.name, c.how, n)}
	if !c.kills() {
		argv = append(argv, "--seccomp-bpf") // quicker, but it sends no signals
	}
	if c.anyFile {
		return append(argv, "-e", "trace="+c.name)
	}
	return append(argv, "-e", "trace=openat,pwrite64,fdatasync,fsync,ftruncate", "-P", store)
}

// The node's calls that write, sync and open fail, or it is killed in the midst
// of them, while it starts, appends, takes answers, escalates and prunes. An
// entry that it has confirmed is there afterwards. After a failed write or sync
// it writes nothing more, and says so, until it is started anew.
func TestBrokenCalls(t *testing.T) {
	t.Parallel()
	for _, pruned := range []bool{false, true} {
		t.Run(map[bool]string{false: "kept", true: "pruned"}[pruned], func(t *testing.T) {
			t.Parallel()
			needStrace(t)
			seed, rng := drive.Seeded(t)
			dir := t.TempDir()
			args := []string{"-data", dir, "-reserve", "1048576"}
			if pruned {
				args = append(args, "-prune", "300ms", "-keep-vitals", "2s")
			}
			n := drive.NewNode(t, args...)
			n.Quiet = true
			w := drive.Open(t, drive.Options{Nodes: []*drive.Node{n}, Seed: seed, Blind: true, Pruned: pruned, Beds: 4, Pause: 30 * time.Millisecond})
			n.Start()
			w.Load()
			hits := 0
			for _, c := range choose(rng) {
				n.Kill()
				nth := 1 + rng.IntN(c.upTo)
				if breakCall(t, n, c, nth, dir) {
					hits++
				} else {
					t.Logf("there was no %d. %s of a thread", nth, c.name)
				}
				n.Start()
				w.Verify()
			}
			w.Finish()
			t.Logf("%d calls broken", hits)
			require.NotZero(t, hits)
		})
	}
}

// choose returns the broken calls in another order, in CI; else some of them.
func choose(rng *rand.Rand) []brokenCall {
	var list []brokenCall
	for _, i := range rng.Perm(len(brokenCalls)) {
		list = append(list, brokenCalls[i])
	}
	if !inCI() {
		list = list[:4]
	}
	return list
}

// breakCall runs the node under load until the n-th call breaks, which it
// returns, or for four seconds once it is ready, and then judges the node.
func breakCall(t *testing.T, n *drive.Node, c brokenCall, nth int, dir string) (hit bool) {
	log := filepath.Join(t.TempDir(), "calls")
	n.Wrap = c.wrap(nth, filepath.Join(dir, "node.db"), log)
	defer func() { n.Wrap = nil }()
	run := n.Spawn()
	run.End = time.Now() // its end is wanted
	defer n.Kill()
	late := time.After(process.Patience)
	for ready := false; !hit; {
		if !ready && answers(n) == http.StatusOK {
			n.Back()
			ready, late = true, time.After(4*time.Second)
		}
		select {
		case <-run.Ended:
			hit = true
		case <-late:
			return false
		case <-time.After(20 * time.Millisecond):
			hit = strings.Contains(read(t, log), "(INJECTED)")
		}
	}
	n.Away()
	if c.kills() {
		<-run.Ended
		return true
	}
	// Is anything written afterwards? One that may have been to fill the reserve can be gone
	// without.
	goesOn := func() string {
		_, after, _ := strings.Cut(read(t, log), "(INJECTED)")
		if c.name == "pwrite64" && strings.HasSuffix(c.how, "ENOSPC") {
			return ""
		}
		return regexp.MustCompile(`(pwrite64|fdatasync|fsync)\(.*= \d`).FindString(after)
	}
	process.Poll(t, process.Patience, func() (bool, string) { // it has ended and said why, or says that it fails, or has only found no room
		select {
		case <-run.Ended:
			require.Regexp(t, `(?m)^node: the store refuses: boltstore: `, run.Log.String())
			return true, ""
		default:
		}
		found := answers(n) == http.StatusServiceUnavailable || strings.Contains(read(t, log), "ftruncate")
		return found || goesOn() != "", "the node does not tell of " + c.name
	})
	if wrote := goesOn(); wrote != "" {
		t.Errorf("after %s %s, the %d. of a thread, the node goes on: %s", c.name, c.how, nth, wrote)
	}
	return true
}

// answers returns the status of /readyz, or 0 if nobody answers.
func answers(n *drive.Node) int {
	client := &http.Client{Timeout: 10 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + n.Addr + "/readyz")
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func read(t *testing.T, file string) string {
	b, err := os.ReadFile(file)
	if !os.IsNotExist(err) {
		require.NoError(t, err)
	}
	return string(b)
}

// A node whose very first calls fail says that its store refuses, or starts all
// the same; and it starts afterwards.
func TestBrokenFirstCalls(t *testing.T) {
	t.Parallel()
	needStrace(t)
	refused := 0
	for _, c := range brokenCalls {
		if c.anyFile {
			continue
		}
		for nth := 1; nth <= min(c.upTo, 4); nth++ {
			dir := t.TempDir()
			n := drive.NewNode(t, "-data", dir, "-reserve", "1048576")
			n.Quiet = true
			n.Wrap = c.wrap(nth, filepath.Join(dir, "node.db"), filepath.Join(dir, "calls"))
			err := n.TryStart()
			n.Last().End = time.Now()
			if err != nil {
				refused++
				if !c.kills() {
					require.Regexp(t, `(?m)^node: the store refuses: boltstore: `, n.Last().Log.String())
				}
			} else {
				n.Kill()
			}
			n.Wrap = nil
			n.Start()
			n.Stop()
		}
	}
	require.NotZero(t, refused)
}
