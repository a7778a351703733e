//go:build unix

package integration

import (
	"cmp"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

// readmeBlocks returns the README's blocks of code in a language, in order.
func readmeBlocks(t testing.TB, language string) (blocks []string) {
	t.Helper()
	b, err := os.ReadFile("../README.md")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(b), -1) {
		blocks = append(blocks, m[1])
	}
	require.NotEmpty(t, blocks)
	return blocks
}

// readmeCommands returns the commands with which the README says to try it, as
// they stand there but for the remarks.
func readmeCommands(t testing.TB) (list [][]string) {
	t.Helper()
	for line := range strings.Lines(readmeBlocks(t, "sh")[0]) {
		command, _, _ := strings.Cut(line, "#")
		list = append(list, strings.Fields(command))
	}
	return list
}

// needPort skips where something listens at the address that the README names.
func needPort(t testing.TB) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:8080")
	if err != nil {
		t.Skip("the port of the README is taken: ", err)
	}
	l.Close()
}

// The commands only work where the modules are together, as in a clone.
func needWorkspace(t testing.TB) {
	t.Helper()
	cmd := exec.Command("go", "env", "GOWORK")
	cmd.Dir = ".."
	out, err := cmd.Output()
	require.NoError(t, err)
	if work := strings.TrimSpace(string(out)); work == "" || work == "off" {
		t.Skip("there is no workspace")
	}
}

// The first command starts a ward, whose link opens its page; Ctrl-C ends it.
func TestReadmeRunsWard(t *testing.T) {
	needWorkspace(t)
	commands := readmeCommands(t)
	require.Equal(t, [][]string{{"go", "run", "./examples/ward"}, {"go", "test", "work"}}, commands)
	needPort(t)
	cmd := exec.Command(commands[0][0], commands[0][1:]...)
	cmd.Dir = ".."
	home := t.TempDir()
	cmd.Env = append(os.Environ(), "XDG_DATA_HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // as a terminal has it
	r := process.Start(t, cmd)
	t.Cleanup(func() { // the program that go run has started too
		select {
		case <-r.Ended:
		default:
			syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		}
	})
	var link []string
	process.Poll(t, 3*process.Patience, func() (bool, string) { // it is built first
		select {
		case <-r.Ended:
			t.Fatal("it has ended: ", r.Err)
		default:
		}
		list, _ := r.Out.All()
		link = regexp.MustCompile(`(http://127\.0\.0\.1:8080/)#token=nurse-ada`).FindStringSubmatch(strings.Join(list, "\n"))
		return link != nil, "the link"
	})
	resp, err := (&http.Client{Timeout: process.Patience, Transport: &http.Transport{DisableKeepAlives: true}}).Get(link[1])
	require.NoError(t, err)
	resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	_, err = os.Stat(filepath.Join(home, "carewire-ward", "ward.db"))
	require.NoError(t, err, "events are not on disk")
	require.NoError(t, syscall.Kill(-cmd.Process.Pid, syscall.SIGINT))
	select {
	case <-r.Ended: // go run itself tells of an interruption by its status
		r.Out.Await(t, 0, `^Ending\.$`)
		require.NotContains(t, r.Log.String(), "ward:")
	case <-time.After(process.Patience):
		t.Fatal("Ctrl-C does not end it")
	}
}

// CI runs the README's test command with the race detector, and that tests every
// module; .ci has tools only. To run the command here as well would link all tests
// once more.
func TestReadmeTests(t *testing.T) {
	needWorkspace(t)
	command := readmeCommands(t)[1]
	require.Equal(t, []string{"go", "test"}, command[:2])
	packages := strings.Join(command[2:], " ")
	script, err := os.ReadFile("../.ci/run")
	require.NoError(t, err)
	require.Regexp(t, `(?m)^(\w+="[^"]*" )?go test -race -timeout \w+ `+regexp.QuoteMeta(packages)+`$`, string(script))
	list := exec.Command("go", append([]string{"list", "-f", "{{if or .TestGoFiles .XTestGoFiles}}{{.Dir}}{{end}}"}, command[2:]...)...)
	list.Dir = ".."
	out, err := list.Output()
	require.NoError(t, err)
	tested := strings.Fields(string(out))
	root, err := filepath.Abs("..")
	require.NoError(t, err)
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil || d.IsDir() && slices.Contains([]string{"node_modules", "testdata", ".git", ".ci"}, d.Name()):
			return cmp.Or(err, fs.SkipDir)
		case strings.HasSuffix(path, "_test.go") && !slices.Contains(tested, filepath.Dir(path)):
			t.Errorf("%s is not tested", path)
		}
		return nil
	}))
}

// quickstart runs the README's first host, at the address that it has fixed.
func quickstart(t testing.TB) {
	t.Helper()
	file := program(t, "quickstart")
	needPort(t)
	r := process.Start(t, exec.Command(file))
	process.Poll(t, process.Patience, func() (bool, string) {
		select {
		case <-r.Ended:
			t.Fatal("it has ended: ", r.Err)
		default:
		}
		c, err := net.Dial("tcp", "127.0.0.1:8080")
		if err != nil {
			return false, err.Error()
		}
		c.Close()
		return true, ""
	})
}

// The README's client in Python sees the vitals that its host publishes.
func TestReadmePython(t *testing.T) {
	need(t, needPython)
	code := readmeBlocks(t, "python")
	require.Len(t, code, 1)
	quickstart(t)
	client := startPython(t, "-c", code[0])
	_, n := client.Out.Await(t, 0, `^\{"type":"welcome"`)
	_, n = client.Out.Await(t, n, `^\{"type":"synced"`)
	_, n = client.Out.Await(t, n, `^\{"type":"vital","patient":"p-17".*"value":72,"unit":"/min"`)
	client.Out.Await(t, n, `^\{"type":"vital"`)
	require.Empty(t, client.Log.String())
}

// The README's client in JavaScript sees them too, in a page of the host's own
// origin.
func TestReadmeJavaScript(t *testing.T) {
	need(t, needNode, needChromium)
	code := readmeBlocks(t, "js")
	require.Len(t, code, 1)
	quickstart(t)
	page := openBrowser(t).open("page", "http://127.0.0.1:8080/")
	page.run(code[0] + `
ws.addEventListener("message", (m) => { const f = JSON.parse(m.data); console.log(f.type, f.vital ? f.vital.value + f.vital.unit : ""); });`)
	process.Poll(t, process.Patience, func() (bool, string) {
		said := strings.Join(page.said(), "\n")
		return strings.Contains(said, "synced") && strings.Contains(said, "vital 72/min"), said
	})
}

// The host serves a page of its own, at the address that it is given.
func TestQuickstartPage(t *testing.T) {
	need(t, needChromium)
	r := process.Start(t, exec.Command(program(t, "quickstart"), "-addr", "127.0.0.1:0"))
	match, _ := r.Log.Await(t, 0, `open (http://127\.0\.0\.1:\d+/)$`)
	openBrowser(t).open("page", match[1]).shows("output", "72")
}

// curl sees them too, without WebSocket.
func TestReadmeCurl(t *testing.T) {
	need(t, needed{"curl", func() error { _, err := exec.LookPath("curl"); return err }})
	code := readmeBlocks(t, "sh")
	command := code[len(code)-1]
	require.Contains(t, command, "curl")
	quickstart(t)
	client := process.Start(t, exec.Command("sh", "-c", "exec "+command))
	_, n := client.Out.Await(t, 0, `^data: \{"type":"welcome"`)
	_, n = client.Out.Await(t, n, `^data: \{"type":"synced"`)
	_, n = client.Out.Await(t, n, `^data: \{"type":"vital","patient":"p-17".*"value":72,"unit":"/min"`)
	client.Out.Await(t, n, `^data: \{"type":"vital"`)
}
