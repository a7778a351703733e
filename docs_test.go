package carewire

import (
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The tests that the documents name are there.
func TestDocumentsNameTests(t *testing.T) {
	t.Parallel()
	var files []string
	for _, pattern := range []string{"*_test.go", "*/*_test.go", "*/*/*_test.go"} {
		list, err := filepath.Glob(pattern)
		require.NoError(t, err)
		files = append(files, list...)
	}
	there := make(map[string]bool)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`).FindAllSubmatch(b, -1) {
			there[string(m[1])] = true
		}
	}
	for _, file := range []string{"docs/architecture.md", "docs/security.md", "docs/reliability.md", "docs/deployment.md", "docs/operations.md", "docs/command.md", "docs/rules.md"} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		names := regexp.MustCompile(`\b(?:Test|Fuzz)[A-Z]\w+`).FindAllString(string(b), -1)
		require.NotEmpty(t, names, file)
		for _, name := range names {
			assert.True(t, there[name], "%s names %s", file, name)
		}
	}
}

// Each complaint in docs/rules.md has a test that bears its number, and each fault
// elsewhere one that bears its name: the tables and the tests are the same.
func TestDocumentsNumberComplaints(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("docs/rules.md")
	require.NoError(t, err)
	_, tables, ok := strings.Cut(string(b), "\n## Complaints\n")
	require.True(t, ok)
	shown, faults := make(map[string]string), make(map[string]string) // the tests by number, and by name
	for _, m := range regexp.MustCompile(`(?m)^\| ([^|]+) \| ([^|]+) \|(?: ([^|]+) \|)?$`).FindAllStringSubmatch(tables, -1) {
		if m[3] == "" {
			faults[m[1]] = m[2]
			continue
		}
		for n := range strings.SplitSeq(m[1], ", ") {
			shown[n] = m[3]
		}
	}
	delete(shown, "#")
	delete(faults, "fault elsewhere")
	tested := make(map[string]bool)
	for _, file := range []string{"complaints_test.go", "rules/numbered_test.go"} {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		for _, m := range regexp.MustCompile(`(?m)^\t\t\{"(\d*)([^"]+)", (Test\w+)\},$`).FindAllStringSubmatch(string(b), -1) {
			name, of := m[1]+m[2], faults
			if m[1] != "" && m[2][0] == ' ' {
				name, of = m[1], shown
			}
			assert.Contains(t, of[name], m[3], "%s runs %q", file, name)
			tested[name] = true
		}
	}
	for n := 1; n <= 25; n++ {
		assert.True(t, tested[strconv.Itoa(n)], "no test bears the number %d", n)
	}
	assert.Len(t, tested, 25+len(faults))
	assert.Len(t, shown, 25)
}

// The files that the documents link to are there.
func TestDocumentsLinkFiles(t *testing.T) {
	t.Parallel()
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md", "js/*/*.md"} {
		files, err := filepath.Glob(pattern)
		require.NoError(t, err)
		for _, file := range files {
			b, err := os.ReadFile(file)
			require.NoError(t, err)
			for _, m := range regexp.MustCompile(`\]\(([^)#\s:]+)(?:#[^)]*)?\)`).FindAllSubmatch(b, -1) {
				_, err := os.Stat(filepath.Join(filepath.Dir(file), string(m[1])))
				assert.NoError(t, err, "%s links to %s", file, m[1])
			}
		}
	}
}

// The host guide's table of roles is that of the default rules.
func TestGuideShowsTheRoles(t *testing.T) {
	t.Parallel()
	b, err := os.ReadFile("docs/host-guide.md")
	require.NoError(t, err)
	shown := make(map[Role][]Action)
	for _, m := range regexp.MustCompile("(?m)^\\| `(\\w+)` \\| ([a-z, ]+) \\| ").FindAllStringSubmatch(string(b), -1) {
		for action := range strings.SplitSeq(m[2], ", ") {
			shown[Role(m[1])] = append(shown[Role(m[1])], Action(action))
		}
	}
	require.Equal(t, allowed, shown)
}
