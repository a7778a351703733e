package carewire

import (
	"os"
	"path/filepath"
	"regexp"
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
