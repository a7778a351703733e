package main

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// Every piece of Go in docs/host-guide.md stands in this host, which its tests run.
func TestGuideShowsTheHost(t *testing.T) {
	guide, err := os.ReadFile("../../docs/host-guide.md")
	require.NoError(t, err)
	var source strings.Builder
	files, err := filepath.Glob("*.go")
	require.NoError(t, err)
	for _, file := range files {
		b, err := os.ReadFile(file)
		require.NoError(t, err)
		source.Write(b)
	}
	pieces := regexp.MustCompile("(?s)```go\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	require.Greater(t, len(pieces), 12)
	for _, piece := range pieces {
		require.True(t, strings.Contains(source.String(), piece[1]), "the guide shows what is not in the host:\n%s", piece[1])
	}
	commands := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(guide), -1)
	require.Len(t, commands, 2)
	require.Equal(t, "go run ./examples/ehr\n", commands[0][1], "TestRun stands for this one")
	require.Regexp(t, `^go get( github\.com/carewire/carewire\S*)+\n$`, commands[1][1], "CI builds a consumer of each module (integration/consume)")
	for path := range strings.FieldsSeq(strings.TrimPrefix(commands[1][1], "go get ")) {
		require.FileExists(t, filepath.Join("../..", strings.TrimPrefix(path, "github.com/carewire/carewire"), "go.mod"))
	}
}

// The program runs as it is started without flags, but for where it listens, and ends.
func TestRun(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	said := make(paged, 1000)
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, "127.0.0.1:0", "127.0.0.1:0", "", t.TempDir(), said) }()
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
