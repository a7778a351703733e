package faults

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
)

// Nothing is confirmed before it is synced: between the last write to the file
// and the reply to the client the disk has said that it has it.
func TestSyncedBeforeConfirmed(t *testing.T) {
	t.Parallel()
	needStrace(t)
	calls := filepath.Join(t.TempDir(), "calls")
	n := drive.NewNode(t)
	n.Wrap = []string{"strace", "-D", "-f", "-qq", "--seccomp-bpf", "-o", calls, "-s", "100", "-e", "trace=write,pwrite64,fdatasync"}
	n.Start()
	publish(t, n, count(60, 90)...)
	n.Stop()
	replies, synced, dirty := 0, false, false
	for line := range strings.Lines(read(t, calls)) {
		switch _, call, _ := strings.Cut(line, " "); {
		case strings.Contains(call, "pwrite64("):
			dirty = true
		case strings.Contains(call, "fdatasync") && strings.Contains(call, "= 0"): // it may be in two parts
			synced, dirty = true, false
		case strings.Contains(call, `\"results\":[{\"seq\"`):
			if replies++; dirty || !synced {
				t.Fatalf("reply %d came before the sync", replies)
			}
			synced = false
		}
	}
	require.Equal(t, 30, replies)
}
