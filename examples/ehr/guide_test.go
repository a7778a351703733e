package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pagers"
)

// guide returns the blocks of docs/host-guide.md in a language.
func guide(t *testing.T, language string) (blocks []string) {
	b, err := os.ReadFile("../../docs/host-guide.md")
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("(?s)```"+language+"\n(.*?)```").FindAllStringSubmatch(string(b), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// guideProgram returns the files that a reader of the guide has written: the first
// block of a file has its imports.
func guideProgram(t *testing.T) (program, tests string) {
	var files []string
	for _, block := range guide(t, "go") {
		if strings.HasPrefix(block, "package ") {
			files = append(files, "")
		}
		require.NotEmpty(t, files)
		files[len(files)-1] += block + "\n"
	}
	require.Len(t, files, 2)
	return files[0], files[1]
}

// declarations returns the text of each declaration in a file, with its comment,
// but for imports.
func declarations(t *testing.T, source string, into map[string]bool) {
	file, err := parser.ParseFile(token.NewFileSet(), "", source, parser.ParseComments)
	require.NoError(t, err)
	for _, d := range file.Decls {
		from := d.Pos()
		switch d := d.(type) {
		case *ast.GenDecl:
			if d.Tok == token.IMPORT {
				continue
			}
			if d.Doc != nil {
				from = d.Doc.Pos()
			}
		case *ast.FuncDecl:
			if d.Doc != nil {
				from = d.Doc.Pos()
			}
		}
		into[source[from-1:d.End()-1]] = true
	}
}

// The guide shows the whole host but for the demonstration, and nothing else.
func TestGuideShowsTheHost(t *testing.T) {
	host, shown := make(map[string]bool), make(map[string]bool)
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		if !strings.HasSuffix(file, "_test.go") && file != "demo.go" {
			declarations(t, string(b), host)
		}
	}
	program, tests := guideProgram(t)
	declarations(t, program, shown)
	require.Greater(t, len(shown), 40)
	require.Equal(t, host, shown)
	own, err := os.ReadFile("ehr_test.go")
	require.NoError(t, err)
	shown = make(map[string]bool)
	declarations(t, tests, shown)
	for test := range shown {
		require.True(t, strings.Contains(string(own), test), "the guide shows a test that the host does not have:\n%s", test)
	}
	commands := guide(t, "sh")
	require.Len(t, commands, 8) // TestGuidePostgreSQL, TestGuideBreaksTheGlass, TestGuidePages and TestGuideObservation run the last four
	require.Equal(t, "go run ./examples/ehr\n", commands[0], "TestRun stands for this one")
	require.Regexp(t, `^go get( github\.com/carewire/carewire\S*)+\n$`, commands[1], "CI builds a consumer of each module (integration/consume)")
	for path := range strings.FieldsSeq(strings.TrimPrefix(commands[1], "go get ")) {
		require.FileExists(t, filepath.Join("../..", strings.TrimPrefix(path, "github.com/carewire/carewire"), "go.mod"))
	}
}

// The guide's instructions are followed: its commands make a module beside a
// clone, and its blocks are a host that lets people in and pages.
func TestGuideIsAWholeHost(t *testing.T) {
	if testing.Short() {
		t.Skip("builds a module")
	}
	dir := t.TempDir()
	clone, err := filepath.Abs("../..")
	require.NoError(t, err)
	require.NoError(t, os.Symlink(clone, filepath.Join(dir, "carewire")))
	at := filepath.Join(dir, "host")
	sh := func(dir, script string, env ...string) error {
		cmd := exec.Command("bash", "-e", "-c", script)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), append(env, "GOWORK=off")...)
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("%w\n%s", err, out)
		}
		return nil
	}
	commands := guide(t, "sh")
	require.NoError(t, sh(dir, commands[2]))
	program, tests := guideProgram(t)
	require.NoError(t, os.WriteFile(filepath.Join(at, "main.go"), []byte(program), 0o644))
	require.NoError(t, os.WriteFile(filepath.Join(at, "main_test.go"), []byte(tests), 0o644))

	// The versions are those of the host here, so that nothing need be fetched.
	mod, err := os.ReadFile("go.mod")
	require.NoError(t, err)
	requires := strings.Join(regexp.MustCompile(`(?ms)^require \(.*?^\)`).FindAllString(string(mod), -1), "\n")
	f, err := os.OpenFile(filepath.Join(at, "go.mod"), os.O_APPEND|os.O_WRONLY, 0)
	require.NoError(t, err)
	_, err = f.WriteString(requires + "\n")
	require.NoError(t, errors.Join(err, f.Close()))
	sum, err := os.ReadFile("go.sum")
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(filepath.Join(at, "go.sum"), sum, 0o644))
	tidy, start, _ := strings.Cut(commands[3], "\n")
	require.Equal(t, "go run .\n", start, "which the binary stands for")
	if err := sh(at, tidy, "GOPROXY=off"); err != nil {
		t.Log("not all modules are here yet: ", err)
		require.NoError(t, sh(at, tidy))
	}
	require.NoError(t, sh(at, "go build -o run . && go test -run 'Test' ."))

	provider, err := newProvider()
	require.NoError(t, err)
	defer provider.Shutdown()
	secret, pages := rand.Text()+rand.Text(), make(paged, 100)
	gateway := httptest.NewServer(newGateway([]byte(secret), pages))
	defer gateway.Close()
	cmd := exec.CommandContext(t.Context(), filepath.Join(at, "run"), "-addr", "127.0.0.1:0", "-mllp", "127.0.0.1:0", "-data", t.TempDir(), "-audit", filepath.Join(t.TempDir(), "audit.jsonl"), "-plain",
		"-issuer", provider.Issuer(), "-client", provider.ClientID, "-gateway", gateway.URL)
	cmd.Env = append(os.Environ(), "EHR_CLIENT_SECRET="+provider.ClientSecret, "EHR_GATEWAY_SECRET="+secret)
	said := make(paged, 100)
	cmd.Stdout = said
	require.NoError(t, cmd.Start())
	x := &house{t: t, provider: provider, host: &host{settings: settings{base: strings.TrimSpace(strings.TrimPrefix(<-said, "Open "))}}}
	ada := x.signedIn("ada")
	_, me := x.get(ada, "/me")
	require.Contains(t, me, `"ward-5"`)
	ws, _ := x.connect(ada)
	require.NotNil(t, ws)
	x.send(ws, `{"type":"watch","req":"1","patients":["p-17"]}`)
	x.await(ws, `"req":"1"`)
	require.Equal(t, http.StatusCreated, x.observe("p-17", "59408-5", 81, "%"))
	x.await(ws, `"value":81`)
	require.Contains(t, <-pages, `"to":"person:`)
	_, numbers := x.get(http.DefaultClient, "/metrics")
	require.Contains(t, numbers, "carewire_pages_sent_total")
	require.NoError(t, cmd.Process.Signal(os.Interrupt))
	require.NoError(t, cmd.Wait())
}

// follow runs commands of the guide against the host, and returns their output.
func (x *house) follow(commands string, env ...string) string {
	x.t.Helper()
	if _, err := exec.LookPath("curl"); err != nil {
		if os.Getenv("CI") != "" {
			x.t.Fatal(err)
		}
		x.t.Skip("needs curl: ", err)
	}
	commands, ok := strings.CutPrefix(commands, "B=http://127.0.0.1:8080\n")
	require.True(x.t, ok)
	cmd := exec.CommandContext(x.t.Context(), "bash", "-e", "-c", commands)
	cmd.Dir, cmd.Env = x.t.TempDir(), append(os.Environ(), append(env, "B="+x.base, "no_proxy=127.0.0.1")...)
	out, err := cmd.CombinedOutput()
	require.NoError(x.t, err, string(out))
	return string(out)
}

// The guide's commands make a PostgreSQL on which the host runs, and end it.
func TestGuidePostgreSQL(t *testing.T) {
	commands := strings.Split(guide(t, "sh")[4], "\n")
	require.Len(t, commands, 4)
	dsn := regexp.MustCompile(`^go run \. -postgres "(.*)"$`).FindStringSubmatch(commands[1])
	require.Len(t, dsn, 2)
	bin, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	path := strings.Join(append(bin, os.Getenv("PATH")), ":")
	if out, err := exec.Command("/usr/bin/env", "PATH="+path, "initdb", "--version").CombinedOutput(); err != nil {
		if os.Getenv("CI") != "" {
			t.Fatalf("PostgreSQL is not on this machine: %s", out)
		}
		t.Skipf("PostgreSQL is not on this machine: %s", out)
	}
	dir, err := os.MkdirTemp("", "pg") // the way to a socket must be short
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	// The shell ends the server when this process is gone, however that happened.
	cmd := exec.Command("bash", "-c", strings.Replace(commands[0], "initdb ", "initdb --no-sync ", 1)+" || exit; echo started; read; "+commands[2])
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "PATH="+path, "PWD="+dir, "HOME="+dir)
	if os.Getuid() == 0 {
		nobody, err := user.Lookup("nobody")
		require.NoError(t, err)
		uid, _ := strconv.Atoi(nobody.Uid)
		gid, _ := strconv.Atoi(nobody.Gid)
		require.NoError(t, os.Chown(dir, uid, gid))
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	}
	in, err := cmd.StdinPipe()
	require.NoError(t, err)
	server := process.Start(t, cmd)
	server.Out.Await(t, 0, "^started$")
	t.Cleanup(func() {
		require.NoError(t, in.Close())
		<-server.Ended
		require.NoError(t, server.Err)
		require.NoFileExists(t, filepath.Join(dir, "pg", "postmaster.pid"))
	})

	store, end, err := openStore(t.Context(), strings.ReplaceAll(dsn[1], "$PWD", dir), "")
	require.NoError(t, err)
	t.Cleanup(end)
	x := open(t, store)
	ada := x.signedIn("ada")
	_, err = x.hub.Raise(t.Context(), carewire.Raise{Patient: "p-17", Key: "k", Text: "x", Priority: carewire.PriorityHigh})
	require.NoError(t, err)
	_, alerts := x.get(ada, "/open")
	require.Contains(t, alerts, `"key":"k"`)
}

// Somebody of another ward breaks the glass by the guide's commands, and finds the record.
func TestGuideBreaksTheGlass(t *testing.T) {
	dir := t.TempDir()
	x := open(t, carewire.NewMemoryStore(nil), func(s *settings) { s.audit = filepath.Join(dir, "carewire-ehr-audit.jsonl") })
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go simulate(ctx, x.hub)
	lines := strings.Split(x.follow(strings.ReplaceAll(guide(t, "sh")[5], "-m 10 ", "-m 120 "), "TMPDIR="+dir), "\n")
	require.Len(t, lines, 5, lines)
	require.Contains(t, lines[0], `{"type":"error","req":"1","code":"forbidden"`)
	for _, part := range []string{`"kind":"emergency"`, `"principal":"ben"`, `"until":"`, `"reason":"cardiac arrest"`} {
		require.Contains(t, lines[1], part)
	}
	require.Contains(t, lines[2], `{"type":"ok","req":"3"`)
	require.Contains(t, lines[2], `"events":[{`)
	require.Contains(t, lines[3], `"Reason":"cardiac arrest"`)
	require.Len(t, x.emergencies(), 1)
}

// An alert that nobody accepts is paged, by the guide's commands, as the guide says.
func TestGuidePages(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	commands := guide(t, "sh")[6]
	require.Contains(t, commands, "\nsleep 70\n")
	raise, accept, _ := strings.Cut(commands, "sleep 70\n")
	id, common := "id=trial-1\n", raise[:strings.Index(raise, "id=")]
	require.Contains(t, x.follow(regexp.MustCompile(`id=.*\n`).ReplaceAllString(raise, id)), `{"type":"ok","req":"1","alert":{"patient":"p-61"`)
	due := map[string]bool{"1 person:ben": true, "2 person:ben": true, "2 person:eve": true, "3 person:ben": true, "3 person:eve": true, "3 person:kim": true}
	for seen := 0; seen < len(due); {
		var m pagers.Message
		require.NoError(t, json.Unmarshal([]byte(strings.TrimPrefix(<-x.paged, "page: ")), &m))
		require.Empty(t, m.Patient+m.Text)
		if page := fmt.Sprintf("%d %s", m.Level, m.To); m.AlertID == "trial-1" && m.Level <= 3 {
			require.True(t, due[page], page)
			seen++
		}
	}
	said := x.follow(common + id + accept)
	require.Contains(t, said, `"responsibility":{"state":"accepted"`)
	require.Contains(t, said, `"type":"ok","req":"3"`)
	open, _, err := x.hub.Open(t.Context(), carewire.OpenQuery{Patients: []string{"p-61"}})
	require.NoError(t, err)
	require.Empty(t, open)
}

// The service of the demonstration signs in and sends an Observation by the guide's commands.
func TestGuideObservation(t *testing.T) {
	x := open(t, carewire.NewMemoryStore(nil))
	ws, _ := x.connect(x.signedIn("ada"))
	require.NotNil(t, ws)
	x.send(ws, `{"type":"watch","req":"1","patients":["p-17"]}`)
	x.await(ws, `"req":"1"`)
	require.Contains(t, x.follow(guide(t, "sh")[7]), "201 Created")
	x.await(ws, `"value":84`)
}

// The demonstration pages by the gateway that it was given, if it was.
func TestDemonstrationKeepsTheGateway(t *testing.T) {
	for _, gateway := range []string{"", "https://gateway.example/"} {
		s := settings{gateway: gateway, secret: []byte("secret"), out: io.Discard}
		end, err := s.demonstrate()
		require.NoError(t, err)
		end()
		require.Equal(t, gateway != "", s.gateway == "https://gateway.example/" && string(s.secret) == "secret")
		require.NotEmpty(t, s.gateway)
	}
}

// The program runs as it is started without flags, but for where it listens, and ends.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	said := make(paged, 1000)
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, settings{addr: "127.0.0.1:0", mllp: "127.0.0.1:0", data: t.TempDir(), audit: filepath.Join(t.TempDir(), "audit.jsonl"), step: time.Minute, log: slog.New(slog.DiscardHandler), out: said})
	}()
	select {
	case line := <-said:
		require.Contains(t, line, "Open http://127.0.0.1:")
	case err := <-ended:
		t.Fatal(err)
	}
	cancel()
	require.NoError(t, <-ended)
}

// The host stays one that is read in an hour: fewer than 600 lines of Go, without
// blank lines, comments and tests.
func TestHostIsShort(t *testing.T) {
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	lines := 0
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && !strings.HasPrefix(line, "//") {
				lines++
			}
		}
	}
	require.Less(t, lines, 600)
}
