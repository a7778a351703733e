package integration

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
)

// The programs of docs/clients.md.
var clientPrograms = []struct {
	language, file string
	start          func(t *testing.T) *exec.Cmd
}{
	{"js", "../examples/clients/client.mjs", func(t *testing.T) *exec.Cmd {
		need(t, needNode)
		return exec.Command("node", "../examples/clients/client.mjs")
	}},
	{"go", "../examples/clients/main.go", func(t *testing.T) *exec.Cmd { return exec.Command(program(t, "clients")) }},
	{"python", "../examples/clients/client.py", func(t *testing.T) *exec.Cmd {
		need(t, needPython)
		name, err := python()
		require.NoError(t, err)
		return exec.Command(name, "-u", "../examples/clients/client.py")
	}},
}

// Each block of docs/clients.md stands in the program of its language, and each
// language has all six tasks.
func TestClientsDocumentShowsThePrograms(t *testing.T) {
	b, err := os.ReadFile("../docs/clients.md")
	require.NoError(t, err)
	doc := strings.NewReplacer(`"@carewire/client"`, `"../../js/client/client.js"`, `"@carewire/client/waves.js"`, `"../../js/client/waves.js"`).Replace(string(b))
	squeeze := func(s string) string { // without indentation
		return regexp.MustCompile(`(?m)^[ \t]+`).ReplaceAllString(strings.TrimSpace(s), "")
	}
	for _, p := range clientPrograms {
		source, err := os.ReadFile(p.file)
		require.NoError(t, err)
		blocks := regexp.MustCompile("(?ms)^```"+p.language+"\n(.*?)^```$").FindAllStringSubmatch(doc, -1)
		require.Len(t, blocks, 6, p.language)
		for _, block := range blocks {
			for part := range strings.SplitSeq(block[1], "\n\n") {
				require.Contains(t, squeeze(string(source)), squeeze(part), "%s", p.language)
			}
		}
	}
}

// A clinic is a Hub whose one user, a clinician, may do everything for p-1.
// Tokens end after fifteen seconds.
type clinic struct {
	hub   *carewire.Hub
	line  *proxy
	mu    sync.Mutex
	given int
}

func (c *clinic) Authorize(_ context.Context, a carewire.Access) ([]carewire.Decision, error) {
	list := make([]carewire.Decision, len(a.Patients))
	for i, p := range a.Patients {
		list[i].Allow = p == "p-1"
	}
	return list, nil
}

func (c *clinic) tokens() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.given
}

func openClinic(t *testing.T) (c *clinic, env []string) {
	c = &clinic{}
	authenticate := func(r *http.Request) (carewire.Principal, error) {
		ends, err := time.Parse(time.RFC3339Nano, carewire.Token(r))
		if err != nil || time.Now().After(ends) {
			return carewire.Principal{}, carewire.ErrUnauthenticated
		}
		return carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Groups: []string{"ward-5"}, Expires: ends}, nil
	}
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil),
		&carewire.Options{Authorizer: c, Logger: slog.New(slog.DiscardHandler)})
	require.NoError(t, err)
	c.hub = hub
	mux := http.NewServeMux()
	mux.Handle("/carewire", hub)
	mux.HandleFunc("/token", func(w http.ResponseWriter, _ *http.Request) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.given++
		fmt.Fprint(w, time.Now().Add(15*time.Second).UTC().Format(time.RFC3339Nano))
	})
	srv := httptest.NewServer(mux)
	c.line = openProxy(t, "tcp", srv.Listener.Addr().String())
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), process.Patience)
		defer cancel()
		require.NoError(t, hub.Shutdown(ctx))
		srv.Close()
	})
	return c, []string{"CAREWIRE_URL=ws://" + c.line.listener.Addr().String() + "/carewire", "TOKEN_URL=" + srv.URL + "/token", "PATIENT=p-1"}
}

// Each program watches, publishes, answers, sends a notice, renews its token and shows a wave;
// and misses nothing, and does nothing twice, although its line is cut.
func TestClientsDo(t *testing.T) {
	for _, p := range clientPrograms {
		t.Run(p.language, func(t *testing.T) {
			t.Parallel()
			cmd := p.start(t)
			c, env := openClinic(t)
			cmd.Env = append(os.Environ(), env...)
			r := process.Start(t, cmd)
			count := func(pattern string) int {
				return len(regexp.MustCompile("(?m)"+pattern).FindAllString(r.Out.String(), -1))
			}
			shows := func(pattern string) {
				t.Helper()
				process.Poll(t, process.Patience, func() (bool, string) {
					return count(pattern) > 0, fmt.Sprintf("%q in\n%s\n%s", pattern, r.Out.String(), r.Log.String())
				})
			}
			shows(`^published done`)
			shows(`^notice done`)
			shows(`^vital 8310-5 37\.0$`)

			_, err := c.hub.Publish(t.Context(), carewire.HeartRate.Of("p-1", 71))
			require.NoError(t, err)
			shows(`^vital 8867-4 71$`)
			c.line.cut()
			_, err = c.hub.Publish(t.Context(), carewire.HeartRate.Of("p-1", 72))
			require.NoError(t, err)
			_, err = c.hub.Raise(t.Context(), carewire.Raise{Patient: "p-1", Key: "k", Text: "x", Priority: carewire.PriorityHigh})
			require.NoError(t, err)
			c.line.mend()
			shows(`^vital 8867-4 72$`)
			shows(`^accept done`)
			a, err := c.hub.Alert(t.Context(), "p-1", "k")
			require.NoError(t, err)
			require.Equal(t, carewire.ResponsibilityAccepted, a.Responsibility.State)
			require.Equal(t, "on my way", a.Answers[0].Reason)

			process.Poll(t, process.Patience, func() (bool, string) { return c.tokens() >= 4, fmt.Sprint(c.tokens(), " tokens") })
			_, err = c.hub.Publish(t.Context(), carewire.HeartRate.Of("p-1", 73))
			require.NoError(t, err)
			shows(`^vital 8867-4 73$`)
			for _, n := range []int{1, 2, 4} { // the third is lost
				require.NoError(t, c.hub.PublishWaves(carewire.Wave{Patient: "p-1", Code: "131330", System: carewire.MDC, Unit: "mV", Rate: 248,
					Number: uint64(n), Time: time.UnixMilli(1772352000000 + 250*int64(n)), Samples: make([]int32, 62)}))
			}
			shows(`^wave 131330 1 62\nwave 131330 2 62\ngap\nwave 131330 4 62$`)
			require.Equal(t, 1, count(`^vital 8867-4 71$`), "a vital from before the cut came again")
			require.Equal(t, 1, count(`^vital 8310-5`))
			require.Len(t, a.Answers, 1)
		})
	}
}
