package main

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/metrics/prom"
)

var binary string // the command, as users have it

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "carewire")
	if err == nil {
		binary = filepath.Join(dir, "carewire")
		var said []byte
		if said, err = exec.Command("go", "build", "-o", binary, ".").CombinedOutput(); err != nil {
			os.Stderr.Write(said)
		}
	}
	if err != nil {
		slog.Error("the command cannot be built", "error", err)
		os.Exit(1)
	}
	code := m.Run()
	os.RemoveAll(dir)
	os.Exit(code)
}

// A host is a Hub behind HTTP, with a nurse, a monitor and a service.
type host struct {
	t   *testing.T
	hub *carewire.Hub
	web *httptest.Server
	dir string // where commands run
}

func newHost(t *testing.T) *host {
	t.Helper()
	store, err := boltstore.Open(filepath.Join(t.TempDir(), "store"), &boltstore.Options{Reserve: 1})
	require.NoError(t, err)
	door := &carewiretest.Door{}
	patients := []string{"p-17", "p-18"}
	for _, p := range []carewire.Principal{
		{ID: "nurse", Name: "Nurse Ada", Role: carewire.RoleClinician, Patients: patients, Groups: []string{"ward-5"}},
		{ID: "service", Role: carewire.RoleService, Patients: patients},
	} {
		door.Token(p)
	}
	h := &host{t: t, dir: t.TempDir()}
	h.hub, err = carewire.New(door, store, &carewire.Options{Directory: ward5{}, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	registry := prometheus.NewRegistry()
	registry.MustRegister(prom.Collector(h.hub))
	mux := http.NewServeMux()
	mux.Handle("/carewire", h.hub)
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	h.web = httptest.NewServer(mux)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), process.Patience)
		defer cancel()
		assert.NoError(t, h.hub.Shutdown(ctx))
		h.web.Close()
		assert.NoError(t, store.Close())
	})
	return h
}

type ward5 struct{}

func (ward5) Patients(_ context.Context, group string) ([]string, error) {
	if group == "ward-5" {
		return []string{"p-17", "p-18"}, nil
	}
	return nil, nil
}

func (h *host) url() string { return strings.Replace(h.web.URL, "http", "ws", 1) + "/carewire" }

// environ holds the host's address and the caller's token for a command.
func (h *host) environ(token string) []string { return environ(h.url(), token) }

func environ(url, token string) []string {
	return append(os.Environ(), "CAREWIRE_URL="+url, "CAREWIRE_TOKEN="+token, "CAREWIRE_TOKEN_FILE=", "CAREWIRE_METRICS=", "PATH="+filepath.Dir(binary)+":"+os.Getenv("PATH"))
}

// said is a command's output, and its exit status.
type said struct {
	out, err string
	status   int
}

func run(t *testing.T, dir string, env []string, in string, args ...string) said {
	t.Helper()
	var out, fault bytes.Buffer
	cmd := exec.CommandContext(t.Context(), binary, args...)
	cmd.Dir, cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, env, strings.NewReader(in), &out, &fault
	err := cmd.Run()
	if _, exited := err.(*exec.ExitError); err != nil && !exited {
		t.Fatal(err)
	}
	return said{out.String(), fault.String(), cmd.ProcessState.ExitCode()}
}

// as runs a command that must succeed.
func (h *host) as(who string, args ...string) string {
	h.t.Helper()
	s := run(h.t, h.dir, h.environ(who), "", args...)
	require.Zero(h.t, s.status, "%v: %s%s", args, s.out, s.err)
	require.Empty(h.t, s.err, args)
	return s.out
}

// lines reads JSON, one value a line.
func lines[T any](t *testing.T, text string) (all []T) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var one T
		require.NoError(t, d.Decode(&one), text)
		all = append(all, one)
	}
	return all
}

// An event that is sent by one command is seen by the others, as text and as
// JSON.
func TestCommands(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	require.Contains(t, h.as("service", "publish", "p-17", "heart-rate=72", "blood-pressure=120/80", "temperature=98.6[degF]"), "Heart rate 72 /min: taken as number 1\n")
	raised := lines[struct {
		ID       string `json:"alert_id"`
		Priority string
	}](t, h.as("service", "raise", "-json", "-key", "spo2-low", "-priority", "high", "p-17", "SpO2 is 84 %"))[0]
	require.Equal(t, "high", raised.Priority)

	picture := lines[struct {
		Patients []struct {
			Patient string
			Current bool
			Vitals  []map[string]any
			Alerts  []struct {
				ID string `json:"alert_id"`
			}
		}
	}](t, h.as("nurse", "watch", "-once", "-json", "-group", "ward-5"))[0]
	require.Len(t, picture.Patients, 2)
	require.Equal(t, "p-17", picture.Patients[0].Patient)
	require.True(t, picture.Patients[0].Current)
	require.Len(t, picture.Patients[0].Vitals, 3)
	require.Equal(t, raised.ID, picture.Patients[0].Alerts[0].ID)
	text := h.as("nurse", "watch", "-once", "p-17")
	require.Contains(t, text, "Blood pressure 120/80 mm[Hg]")
	require.Contains(t, text, `ALERT high spo2-low "SpO2 is 84 %": present, nobody has accepted, level `)

	require.Contains(t, h.as("nurse", "answer", "-for", "10m", "p-17", "spo2-low", "accept"), "present, accepted by Nurse Ada until ")
	require.Contains(t, h.as("service", "clear", "p-17", "spo2-low"), ": ended")
	events := lines[struct {
		Type  string
		Seq   int
		Alert struct {
			Rev int
		}
	}](t, h.as("nurse", "history", "-json", "-kind", "alert", "-key", "spo2-low", "p-17"))
	require.GreaterOrEqual(t, len(events), 3)
	require.Contains(t, h.as("nurse", "history", "-from", "1h", "-limit", "1", "p-17"), "Heart rate 72 /min")

	require.NoError(t, os.WriteFile(filepath.Join(h.dir, "recorded"), []byte(h.as("nurse", "history", "-json", "p-17")), 0o600))
	again := h.as("service", "replay", "-speed", "1000", "-patient", "p-18", "recorded")
	require.Equal(t, 3, strings.Count(again, "p-18: "), again)
	require.Equal(t, 3, strings.Count(again, ", TEST: taken"), "replayed vitals are test data")
	stats := h.as("nurse", "stats")
	require.Contains(t, stats, "events_in")
	require.NotContains(t, stats, "p-17")
}

// Tail prints events until it is interrupted.
func TestTail(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	cmd := exec.Command(binary, "tail", "p-17")
	cmd.Env = h.environ("nurse")
	p := process.Start(t, cmd)
	_, n := p.Out.Await(t, 0, `p-17 +from the beginning`)
	_, err := h.hub.Publish(t.Context(), carewire.HeartRate.Of("p-17", 71))
	require.NoError(t, err)
	p.Out.Await(t, n, `p-17 +Heart rate 71 /min`)
	require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	<-p.Ended
	require.NoError(t, p.Err)
}

// Lines of JSON are published; a wrong one is refused by its number, and not quoted.
func TestPublishLines(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	s := run(t, h.dir, h.environ("service"), `{"patient":"p-17","code":"8867-4","value":72,"unit":"/min"}`+"\n\n"+`{"type":"heartbeat"}`+"\n", "publish")
	require.Zero(t, s.status, s)
	require.Equal(t, 1, strings.Count(s.out, "taken as number"), s.out)
	for _, wrong := range []string{`{"patient":"canary","code":"8867-4","value":72,"unit":"stone"}`, `{"patient":"canary`, `["canary"]`, `{"patient":5}`} {
		s = run(t, h.dir, h.environ("service"), wrong, "publish")
		require.Equal(t, 1, s.status, wrong)
		require.Contains(t, s.err, "line 1: ")
		require.NotContains(t, s.err, "canary")
		require.NotContains(t, s.err, "stone")
	}
	s = run(t, h.dir, h.environ("service"), "", "publish", "-json", "p-99", "heart-rate=72")
	require.Equal(t, 1, s.status)
	require.Contains(t, s.out, `"error":"not allowed`)
}

// A failure is told in words, with a status, and without the token.
func TestErrors(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	for _, test := range []struct {
		name   string
		env    []string
		args   string
		status int
		says   string
	}{
		{"no command", nil, "", 2, "usage: carewire COMMAND"},
		{"help", nil, "help", 0, ""},
		{"help of a command", nil, "watch -h", 0, "usage: carewire watch"},
		{"unknown command", nil, "wacth", 2, "no command"},
		{"no URL", []string{"CAREWIRE_URL="}, "watch p-17", 1, "set CAREWIRE_URL"},
		{"token in the URL", []string{"CAREWIRE_URL=" + h.url() + "?token=secret"}, "watch p-17", 1, "no user, query"},
		{"no URL at all", []string{"CAREWIRE_URL=ehr.example"}, "watch p-17", 1, "CAREWIRE_URL"},
		{"plaintext", []string{"CAREWIRE_URL=ws://ehr.example/carewire"}, "watch p-17", 1, "wss://"},
		{"no token", []string{"CAREWIRE_TOKEN="}, "watch p-17", 1, "set CAREWIRE_TOKEN"},
		{"no token file", []string{"CAREWIRE_TOKEN_FILE=/none"}, "watch p-17", 1, "CAREWIRE_TOKEN_FILE"},
		{"unknown token", []string{"CAREWIRE_TOKEN=secret"}, "watch p-17", 1, "does not know this token"},
		{"wrong path", []string{"CAREWIRE_URL=" + h.web.URL + "/none"}, "watch p-17", 1, "404"},
		{"no patient", nil, "watch", 2, "name a patient"},
		{"flag behind", nil, "watch p-17 -once", 2, "flags come first"},
		{"unknown flag", nil, "watch -tokne x", 2, "not defined"},
		{"emergency without reason", nil, "watch -emergency p-17", 2, "needs a -reason"},
		{"forbidden", nil, "watch p-99", 1, "not allowed"},
		{"delivery", nil, "tail -delivery some p-17", 2, "latest, every or alerts"},
		{"no value", nil, "publish p-17", 2, "name a value"},
		{"unknown name", nil, "publish p-17 hart=5", 1, "heart-rate"},
		{"wrong unit", nil, "publish p-17 heart-rate=72kg", 1, "unit"},
		{"impossible", nil, "publish p-17 spo2=300", 1, "impossible"},
		{"wrong pressure", nil, "publish p-17 blood-pressure=120", 1, "120/80"},
		{"priority", nil, "raise -priority huge p-17 text", 1, "priority"},
		{"verb", nil, "answer p-17 k shout", 2, "VERB"},
		{"no such alert", nil, "answer p-17 k accept", 1, "no alert with this key is open"},
		{"too many arguments", nil, "stats 5", 2, "wrong number"},
		{"kind", nil, "history -kind some p-17", 2, "-kind must be"},
		{"time", nil, "history -from yesterday p-17", 2, "must be a time"},
		{"no numbers", []string{"CAREWIRE_METRICS=" + h.web.URL + "/none"}, "stats", 1, "404"},
		{"no page of numbers", []string{"CAREWIRE_METRICS=" + h.web.URL + "/carewire"}, "stats", 1, "426"},
		{"speed", nil, "replay -speed -1", 2, "must be a number"},
		{"no recording", nil, "replay none", 1, "no such file"},
		{"store without file", nil, "store verify", 2, "wrong number"},
		{"no store", nil, "store inspect none", 1, "no such file"},
		{"no such thing", nil, "store mend none", 2, "verify"},
		{"backup to nowhere", nil, "store backup none", 2, "second file"},
	} {
		s := run(t, h.dir, append(h.environ("nurse"), test.env...), "", strings.Fields(test.args)...)
		assert.Equal(t, test.status, s.status, "%s: %s%s", test.name, s.out, s.err)
		assert.Contains(t, s.err, test.says, test.name)
		assert.NotContains(t, s.out+s.err, "secret", test.name)
	}
}

// A token file is read again.
func TestTokenFile(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	path := filepath.Join(h.dir, "token")
	env := append(h.environ(""), "CAREWIRE_TOKEN_FILE="+path)
	for token, status := range map[string]int{"nurse\n": 0, "stranger\n": 1} {
		require.NoError(t, os.WriteFile(path, []byte(token), 0o600))
		require.Equal(t, status, run(t, h.dir, env, "", "watch", "-once", "p-17").status, token)
	}
}

// A store is inspected, verified, backed up and compacted while no host has it.
func TestStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	path := filepath.Join(dir, "ward.db")
	fill(t, path)
	do := func(args ...string) said { return run(t, dir, os.Environ(), "", append([]string{"store"}, args...)...) }
	s := do("inspect", "ward.db")
	require.Zero(t, s.status, s)
	require.Contains(t, s.out, "1 patients\n50 vitals")
	require.Zero(t, do("verify", "ward.db").status)
	kept, part := filepath.Join(dir, "kept"), filepath.Join(dir, "copy.db.part")
	require.NoError(t, os.WriteFile(kept, []byte("x"), 0o644))
	require.NoError(t, os.Symlink(kept, part)) // by somebody who wants to read along
	require.Zero(t, do("backup", "ward.db", "copy.db").status)
	info, err := os.Lstat(filepath.Join(dir, "copy.db"))
	require.NoError(t, err)
	require.Equal(t, os.FileMode(0o600), info.Mode(), "a file of its own, for its owner only")
	other, err := os.ReadFile(kept)
	require.NoError(t, err)
	require.Equal(t, "x", string(other))
	require.Zero(t, do("verify", "copy.db").status)
	require.NoFileExists(t, filepath.Join(dir, "copy.db.part"))
	require.Contains(t, do("compact", "ward.db").out, " bytes became ")
	require.Zero(t, do("verify", "ward.db").status)

	open, err := boltstore.Open(path, nil)
	require.NoError(t, err)
	for _, what := range []string{"inspect", "verify", "compact"} {
		s = do(what, "ward.db")
		require.Equal(t, 1, s.status, what)
		require.Contains(t, s.err, "a host has the file open", what)
	}
	require.Contains(t, do("backup", "ward.db", "late.db").err, "a host has the file open")
	require.NoError(t, open.Close())

	b, err := os.ReadFile(filepath.Join(dir, "copy.db"))
	require.NoError(t, err)
	at := bytes.Index(b, []byte(`"code":"8867-4"`))
	require.Positive(t, at)
	b[at+1]++
	require.NoError(t, os.WriteFile(filepath.Join(dir, "copy.db"), b, 0o600))
	s = do("verify", "copy.db")
	require.Equal(t, 1, s.status)
	require.Contains(t, s.err, "restore a backup")
}

// fill makes a store with something in it.
func fill(t *testing.T, path string) {
	store, err := boltstore.Open(path, &boltstore.Options{Reserve: 1})
	require.NoError(t, err)
	hub, err := carewire.New(&carewiretest.Door{}, store, &carewire.Options{Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	for i := range 50 {
		_, err = hub.Publish(t.Context(), carewire.HeartRate.Of("p-17", float64(50+i)))
		require.NoError(t, err)
	}
	require.NoError(t, hub.Shutdown(t.Context()))
	require.NoError(t, store.Close())
}

// Every command line of docs/command.md works as described.
func TestDocument(t *testing.T) {
	t.Parallel()
	h := newHost(t)
	b, err := os.ReadFile("../../docs/command.md")
	require.NoError(t, err)
	fill(t, filepath.Join(h.dir, "ward.db"))
	n := 0
	for i, block := range strings.Split(string(b), "```sh\n") {
		if i == 0 {
			continue
		}
		block, _, _ = strings.Cut(block, "```")
		for line := range strings.Lines(block) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "go install") { // that it builds is the test's beginning
				continue
			}
			n++
			who := "service"
			if strings.HasPrefix(line, "carewire answer") {
				who = "nurse"
			}
			h.documented(strings.Replace(line, "-hold 2m", "-hold 100ms", 1), h.environ(who))
		}
	}
	require.Greater(t, n, 20)
}

// documented runs a line as a shell does. A command that watches is ended once it has said
// something.
func (h *host) documented(line string, env []string) {
	t := h.t
	if strings.Contains(line, "-group") {
		env = append(env, "CAREWIRE_TOKEN=nurse")
	}
	endless := strings.HasPrefix(line, "carewire watch") && !strings.Contains(line, "-once") || strings.HasPrefix(line, "carewire tail")
	if endless {
		line = "exec " + line // it is the command itself that is interrupted
	}
	cmd := exec.Command("/bin/sh", "-c", line)
	cmd.Dir, cmd.Env = h.dir, env
	p := process.Start(t, cmd)
	if endless {
		p.Out.Await(t, 0, "p-17")
		require.NoError(t, cmd.Process.Signal(syscall.SIGINT))
	}
	select {
	case <-p.Ended:
		require.NoError(t, p.Err, "%s\n%s%s", line, p.Out, p.Log)
	case <-time.After(process.Patience):
		t.Fatal("it does not end: ", line)
	}
}
