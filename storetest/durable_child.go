package storetest

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/carewire/carewire"
)

// A child process is the test binary once more. The environment says which test
// it is to run, and the action of RunDurable there instead of testing.
const (
	childTest  = "STORETEST_CHILD"
	childDoes  = "STORETEST_DO" // open, write or append
	childPlace = "STORETEST_PLACE"
	childSays  = "storetest: " // begins each line that is for the parent
)

// told is a child's message: that one entry was taken, or that it is ready.
type told struct {
	Patient string
	carewire.Position
	Must   uint64
	Key    string
	Rev    uint64
	ID     string
	Locked bool // the place could not be opened: another store has it
	Done   bool // it has done its work, and waits to be killed
}

// child is a process of ours.
type child struct {
	cmd   *exec.Cmd
	in    io.Closer // the child ends with it
	lines *bufio.Scanner
}

// child starts a process that opens the place and does something there.
func (p *probe) child(do string) *child {
	exe, err := os.Executable()
	p.must("os.Executable", err)
	var pattern []string
	for part := range strings.SplitSeq(p.life.test, "/") {
		pattern = append(pattern, "^"+regexp.QuoteMeta(part)+"$")
	}
	cmd := exec.CommandContext(p.ctx, exe, "-test.run="+strings.Join(pattern, "/"), "-test.timeout=10m")
	cmd.Env = append(os.Environ(), childTest+"="+p.life.test, childDoes+"="+do, childPlace+"="+p.life.place)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	p.must("a pipe from a child process", err)
	in, err := cmd.StdinPipe()
	p.must("a pipe to a child process", err)
	p.must("the start of a child process", cmd.Start())
	return &child{cmd, in, bufio.NewScanner(out)}
}

// next returns the child's next line; false: it has ended.
func (c *child) next() (t told, ok bool) {
	for c.lines.Scan() {
		text, ours := strings.CutPrefix(c.lines.Text(), childSays)
		if ours && json.Unmarshal([]byte(text), &t) == nil { // half a line may be the last
			return t, true
		}
	}
	return t, false
}

// kill kills the child, waits for its end, and returns its output.
func (c *child) kill() (rest []told) {
	_ = c.cmd.Process.Kill()
	for t, ok := c.next(); ok; t, ok = c.next() {
		rest = append(rest, t)
	}
	_ = c.cmd.Wait()
	_ = c.in.Close()
	return rest
}

// beChild does the work of a child process, if this is one of t's. It does not
// return then.
func (d *Durable) beChild(t *testing.T) {
	if os.Getenv(childTest) != t.Name() {
		return
	}
	go func() { // ends with the parent
		_, _ = io.Copy(io.Discard, os.Stdin)
		os.Exit(0)
	}()
	s, err := d.Open(os.Getenv(childPlace))
	if err != nil {
		if d.Locked != nil && errors.Is(err, d.Locked) {
			tell(told{Locked: true})
			os.Exit(0)
		}
		fmt.Fprintln(os.Stderr, "storetest: a child process cannot open the store:", err)
		os.Exit(1)
	}
	switch os.Getenv(childDoes) {
	case "write":
		entries := story()
		tellResults(entries, mustAppend(s, entries))
	case "append":
		appendForever(s)
	}
	tell(told{Done: true})
	select {}
}

var telling sync.Mutex

func tell(list ...told) {
	telling.Lock()
	defer telling.Unlock()
	for _, t := range list {
		text, _ := json.Marshal(t)
		fmt.Fprintf(os.Stdout, "%s%s\n", childSays, text)
	}
}

func tellResults(entries []carewire.Entry, results []carewire.AppendResult) {
	list := make([]told, len(entries))
	for i, e := range entries {
		a := results[i]
		list[i] = told{Patient: e.Patient, Position: a.Position, Must: a.Must, Key: e.Key, Rev: e.Rev, ID: e.ID}
	}
	tell(list...)
}

func mustAppend(s carewire.Store, entries []carewire.Entry) []carewire.AppendResult {
	results, err := s.Append(context.Background(), entries)
	for _, a := range results {
		err = errors.Join(err, a.Err)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "storetest: a child process cannot append:", err)
		os.Exit(1)
	}
	return results
}

// appendForever appends to two patients in several goroutines, and tells which
// entries were taken.
func appendForever(s carewire.Store) {
	life := rand.Text()
	for w := range 6 {
		patient, key := patients[w%2], fmt.Sprint("alert-", life, "-", w)
		go func() {
			for n := uint64(1); ; n++ {
				batch := bundle(patient, key, n)
				tellResults(batch, mustAppend(s, batch))
			}
		}()
	}
	select {}
}

var patients = []string{"a", "b"}

// bundle is a vital, a notice and a revision of an alert, with IDs of their own.
func bundle(patient, key string, n uint64) []carewire.Entry {
	id := fmt.Sprint(key, "-", n)
	return []carewire.Entry{
		withID(vital(patient, "hr", 0), "monitor-1", "v"+id, id),
		withID(notice(patient), "nurse", "n"+id, id),
		withID(alert(patient, key, n, 0), "rules", "a"+id, id),
	}
}
