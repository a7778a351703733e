package integration

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// documented says of each document in which test its blocks of code run, how many
// there are of each language, and why where they do not run.
var documented = map[string]map[string]struct {
	blocks int
	where  string // a test's name, or "not: " and why not
}{
	"README.md": {
		"go": {1, "TestReadmeShowsQuickstart"}, "python": {1, "TestReadmePython"}, "js": {1, "TestReadmeJavaScript"},
		"html": {1, "TestElementsReadme"},
		"sh":   {2, "TestReadmeCurl"}, // and TestReadmeRunsWard, TestReadmeTests
	},
	"docs/architecture.md": {"mermaid": {2, "not: drawings"}},
	"docs/clients.md":      {"go": {6, "TestClientsDocumentShowsThePrograms"}, "js": {6, "TestClientsDocumentShowsThePrograms"}, "python": {6, "TestClientsDocumentShowsThePrograms"}},
	"docs/command.md":      {"sh": {8, "TestDocument"}, "text": {1, "not: the output of a command"}},
	"docs/deployment.md":   {"go": {4, "TestSnippetsStandHere"}, "sh": {2, "TestDeploymentCommands"}, "sql": {2, "TestDeploymentTransactionSnippet"}, "conf": {1, "TestDocumentedServer"}},
	"docs/host-guide.md":   {"go": {25, "TestGuideIsAWholeHost"}, "sh": {8, "TestGuideIsAWholeHost"}}, // and the other tests named TestGuide
	"docs/interop.md":      {"go": {1, "TestInteropSnippet"}, "json": {1, "TestInteropSnippet"}},
	"docs/operations.md":   {"go": {1, "TestOperationsSnippet"}},
	"docs/protocol.md":     {"js": {3, "TestProtocolSnippets"}, "": {8, "TestProtocolSessions"}}, // and TestSchemaSessions, for frames; the rest are headers
	"docs/rules.md":        {"go": {2, "TestRulesSnippets"}},

	"examples/gateway/README.md": {"sh": {5, "TestGatewayReadme"}},
	"js/client/README.md":        {"html": {2, "TestClientReadme"}},
	"js/elements/README.md":      {"html": {1, "TestElementsReadme"}},
}

// blocksOf are a document's blocks of code in a language.
func blocksOf(t testing.TB, document, language string) (blocks []string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", document))
	require.NoError(t, err)
	for _, m := range regexp.MustCompile("(?ms)^```"+language+"\n(.*?)^```$").FindAllStringSubmatch(string(b), -1) {
		blocks = append(blocks, m[1])
	}
	return blocks
}

// found are the files of the repository with a suffix, without the files that npm installs.
func found(t *testing.T, suffix string) (files []string) {
	t.Helper()
	require.NoError(t, filepath.WalkDir("..", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git") {
			return filepath.SkipDir
		}
		if err == nil && strings.HasSuffix(path, suffix) {
			files = append(files, filepath.ToSlash(strings.TrimPrefix(path, "../")))
		}
		return err
	}))
	require.NotEmpty(t, files)
	return files
}

// Each block of code in a document runs in a test, or the list says why not. A new
// block needs a new line here.
func TestDocumentsRun(t *testing.T) {
	t.Parallel()
	var tests strings.Builder
	for _, file := range found(t, "_test.go") {
		b, err := os.ReadFile(filepath.Join("..", file))
		require.NoError(t, err)
		tests.Write(b)
	}
	documents := found(t, ".md")
	for _, document := range slices.Sorted(maps.Keys(documented)) {
		require.Contains(t, documents, document)
	}
	for _, document := range documents {
		b, err := os.ReadFile(filepath.Join("..", document))
		require.NoError(t, err)
		count := make(map[string]int) // by language, "" for none
		for i, m := range regexp.MustCompile("(?m)^[ \t>]*```(.*)$").FindAllStringSubmatch(string(b), -1) {
			if i%2 == 0 { // its first line
				count[m[1]]++
			}
		}
		for language, n := range count {
			d, ok := documented[document][language]
			assert.True(t, ok, "%s: nobody says where its blocks of %s run", document, language)
			assert.Equal(t, n, d.blocks, "%s: blocks of %s", document, language)
			if !strings.HasPrefix(d.where, "not: ") {
				assert.Contains(t, tests.String(), "func "+d.where+"(", "%s: the test of its blocks of %s", document, language)
			}
		}
		for language := range documented[document] {
			assert.Positive(t, count[language], "%s has no blocks of %s", document, language)
		}
	}
}

// The table of rooms in architecture.md names each file of the root package once,
// and no file that is missing.
func TestArchitectureNamesEachFile(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("../docs/architecture.md")
	require.NoError(t, err)
	_, table, ok := strings.Cut(string(b), "| file | holds |")
	require.True(t, ok)
	table, _, ok = strings.Cut(table, "These packages use only")
	require.True(t, ok)
	named := regexp.MustCompile(`\b[a-z]+\.go\b`).FindAllString(table, -1)
	slices.Sort(named)
	paths, err := filepath.Glob("../*.go")
	require.NoError(t, err)
	var files []string
	for _, path := range paths {
		if !strings.HasSuffix(path, "_test.go") {
			files = append(files, filepath.Base(path))
		}
	}
	slices.Sort(files)
	require.Equal(t, files, named)
}

// A clone from a version control system finds the commands that docs say to
// install: CI does install them (integration/consume).
func TestCommandReplacesNothing(t *testing.T) {
	t.Parallel()
	out, err := exec.Command("go", "mod", "edit", "-json", "../cmd/go.mod").Output()
	require.NoError(t, err)
	require.NotContains(t, string(out), `"New"`, "go install refuses a module that replaces others")
}
