package integration

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/internal/process"
)

// elementsDir is where the custom elements are, a package of npm's.
const elementsDir = "../js/elements"

var needElementsPackages = needed{"the packages of js/elements (npm ci in js/elements and in js/client)", func() error {
	for _, dir := range []string{"@carewire/client", "playwright-core", "axe-core", "typescript", "esbuild", "publint"} {
		if _, err := os.Stat(filepath.Join(elementsDir, "node_modules", dir)); err != nil {
			return err
		}
	}
	return nil
}}

// The elements' own tests, file by file, in Chromium against a real Hub.
func TestJSElements(t *testing.T) {
	need(t, needNode, needClientPackages, needElementsPackages, needChromium)
	server, err := jsserver()
	require.NoError(t, err)
	files, err := filepath.Glob(filepath.Join(elementsDir, "test", "*.test.js"))
	require.NoError(t, err)
	require.NotEmpty(t, files)
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".test.js"), func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), 15*time.Minute)
			defer cancel()
			cmd := exec.CommandContext(ctx, "node", "--test", "--test-reporter=spec", filepath.Join("test", filepath.Base(file)))
			cmd.Dir, cmd.WaitDelay = elementsDir, process.Patience
			cmd.Env = append(os.Environ(), "CAREWIRE_JSSERVER="+server, "CHROMIUM="+chromium)
			out, err := cmd.CombinedOutput()
			require.NoError(t, err, "%s", out)
			require.NotContains(t, string(out), "\nℹ tests 0\n")
			for line := range strings.Lines(string(out)) {
				if strings.HasPrefix(line, "ℹ ") && !strings.HasPrefix(line, "ℹ tests") {
					t.Log(strings.TrimSpace(line))
				}
			}
		})
	}
}

// The package that npm would publish is complete, has types, and its one file
// is the build of its sources.
func TestJSElementsPackage(t *testing.T) {
	need(t, needNode, needClientPackages, needElementsPackages)
	npm := func(dir string, args ...string) string {
		t.Helper()
		cmd := exec.Command("npm", args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		require.NoError(t, err, "%s", out)
		return string(out)
	}
	npm(clientDir, "run", "--silent", "types")
	npm(elementsDir, "run", "--silent", "lint")
	before, err := os.ReadFile(filepath.Join(elementsDir, "elements.min.js"))
	require.NoError(t, err)
	built := filepath.Join(t.TempDir(), "elements.min.js")
	npm(elementsDir, "run", "--silent", "build", "--", "--outfile="+built)
	now, err := os.ReadFile(built)
	require.NoError(t, err)
	require.Equal(t, string(before), string(now), "elements.min.js does not match its sources: npm run build")
	packed := npm(elementsDir, "pack", "--dry-run", "--json")
	for _, file := range []string{"elements.js", "elements.min.js", "types/elements.d.ts", "words/de.js", "vendor/uplot/LICENSE"} {
		require.Contains(t, packed, `"`+file+`"`)
	}
}
