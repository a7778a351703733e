// Package process runs programs for tests, and reads their output.
package process

import (
	"bytes"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Patience is how long a test waits for an event, on a machine that may be very
// busy.
const Patience = 2 * time.Minute

// A Run of a program from its start to its end.
type Run struct {
	Cmd      *exec.Cmd
	Out, Log *Lines
	Ended    chan struct{} // closed when it has ended
	Err      error         // then: how
	End      time.Time     // when it was told to end
}

// Start starts cmd. It is killed with the test. If the test has failed, the
// program's last lines are shown, unless End says that its end was wanted.
func Start(t testing.TB, cmd *exec.Cmd) *Run {
	t.Helper()
	r := &Run{Cmd: cmd, Out: newLines(), Log: newLines(), Ended: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = r.Out, r.Log
	cmd.WaitDelay = Patience / 4 // for its output, and for children of its own
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		r.Err = cmd.Wait()
		close(r.Ended)
	}()
	t.Cleanup(func() {
		cmd.Process.Kill()
		<-r.Ended
		if t.Failed() && r.End.IsZero() {
			t.Logf("%s wrote last:\n%s\n%s", filepath.Base(cmd.Path), r.Out, r.Log)
		}
	})
	return r
}

// Lines takes in a program's output, line by line.
type Lines struct {
	mu   sync.Mutex
	list []string
	part []byte
	more chan struct{} // closed and replaced with each line
}

func newLines() *Lines { return &Lines{more: make(chan struct{})} }

// Write takes in a part of the output.
func (l *Lines) Write(p []byte) (int, error) {
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

// All returns the lines so far, and a channel that is closed when there is
// another.
func (l *Lines) All() ([]string, <-chan struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.list), l.more
}

// String returns the last lines, and not all of long ones.
func (l *Lines) String() string {
	list, _ := l.All()
	list = list[max(0, len(list)-25):]
	for i, line := range list {
		list[i] = line[:min(len(line), 200)]
	}
	return strings.Join(list, "\n")
}

// Await returns the submatches of the first line, from the n-th on, that
// matches, and the number of the line behind it.
func (l *Lines) Await(t testing.TB, from int, pattern string) (match []string, next int) {
	t.Helper()
	r := regexp.MustCompile(pattern)
	late := time.After(Patience)
	for n := from; ; {
		list, more := l.All()
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

// Poll calls f until it returns true. The texts that are still missing by the deadline are in
// the message.
func Poll(t testing.TB, within time.Duration, f func() (ok bool, missing string)) {
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

// FreeAddr returns a loopback address where nothing listens, nor will another
// test that asks here. The program that has it may end and start again. The
// ports are below those that the system gives to outgoing connections.
func FreeAddr(t testing.TB) string {
	t.Helper()
	ports.Lock()
	defer ports.Unlock()
	for first := 20000; ports.mine == nil && first < 30000; first += perProcess {
		ports.first = first
		ports.mine, _ = net.Listen("tcp", addr(first)) // until the process ends: those behind it are its own
	}
	for n := 1; ports.mine != nil && n < perProcess; n++ {
		ports.given = ports.given%(perProcess-1) + 1
		a := addr(ports.first + ports.given)
		if l, err := net.Listen("tcp", a); err == nil {
			l.Close()
			return a
		}
	}
	t.Fatal("no port is free")
	return ""
}

const perProcess = 500

// ports are those that this process may use.
var ports struct {
	sync.Mutex
	mine         net.Listener
	first, given int
}

func addr(port int) string { return fmt.Sprintf("127.0.0.1:%d", port) }
