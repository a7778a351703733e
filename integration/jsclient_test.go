package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

// clientDir is where the client for browsers is, a package of npm's.
const clientDir = "../js/client"

var needClientPackages = needed{"Node with its packages (npm ci in js/client)", func() error {
	for _, dir := range []string{"ws", "playwright-core", "fake-indexeddb", "typescript", "esbuild", "publint", "vite"} {
		if _, err := os.Stat(filepath.Join(clientDir, "node_modules", dir)); err != nil {
			return err
		}
	}
	return nil
}}

// jsserver builds the Hub that the client's tests start as a program.
var jsserver = sync.OnceValues(func() (string, error) {
	file, err := filepath.Abs(filepath.Join(programs, "jsserver"))
	if err != nil {
		return "", err
	}
	args := []string{"build", "-o", file}
	if raced() {
		args = append(args, "-race")
	}
	out, err := exec.Command("go", append(args, "./jsserver")...).CombinedOutput()
	os.Stderr.Write(out)
	return file, err
})

// The client's own tests, file by file, against a real Hub.
func TestJSClient(t *testing.T) {
	need(t, needNode, needClientPackages)
	server, err := jsserver()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(clientDir, "test", "*.test.js"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test.js"), func(t *testing.T) {
			if slices.Contains([]string{"browser.test.js", "package.test.js"}, filepath.Base(file)) {
				need(t, needChromium)
			}
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "node", "--test", "--test-reporter=spec", filepath.Join("test", filepath.Base(file)))
			cmd.Dir, cmd.WaitDelay = clientDir, process.Patience
			cmd.Env = append(os.Environ(), "CAREWIRE_JSSERVER="+server, "CHROMIUM="+chromium)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.NotContains(t, string(out), "\nℹ tests 0\n")
		})
	}
}

// The package that npm would publish is complete, has types, and its one file
// is the build of its sources.
func TestJSClientPackage(t *testing.T) {
	need(t, needNode, needClientPackages)
	npm := func(args ...string) string {
		t.Helper()
		cmd := exec.Command("npm", args...)
		cmd.Dir = clientDir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	npm("run", "--silent", "lint")
	before, err := os.ReadFile(filepath.Join(clientDir, "client.min.js"))
	require.NoError(t, err)
	built := filepath.Join(t.TempDir(), "client.min.js")
	npm("run", "--silent", "build", "--", "--outfile="+built)
	now, err := os.ReadFile(built)
	require.NoError(t, err)
	require.Equal(t, string(before), string(now), "client.min.js does not match its sources: npm run build")
}
