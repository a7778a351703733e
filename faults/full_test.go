package faults

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/internal/process"
)

// needTmpfs mounts a file system of the given size at a new directory.
func needTmpfs(t testing.TB, size string) (dir string) {
	t.Helper()
	dir = t.TempDir()
	if os.Getuid() != 0 {
		need(t, "root, to mount a small file system,", os.ErrPermission)
	}
	need(t, "mounting a small file system", exec.Command("mount", "-t", "tmpfs", "-o", "size="+size, "carewire-faults", dir).Run())
	t.Cleanup(func() { exec.Command("umount", dir).Run() })
	return dir
}

// The disk is full: vitals are refused, for now, while alerts and answers are
// taken from the reserve. Once there is room everything goes on, and nothing
// that was confirmed is lost, killed in between or not.
func TestFullDisk(t *testing.T) {
	t.Parallel()
	dir := needTmpfs(t, "24m")
	ballast := filepath.Join(dir, "ballast")
	require.NoError(t, os.WriteFile(ballast, make([]byte, 12<<20), 0o600))
	n := drive.NewNode(t, "-data", filepath.Join(dir, "data"), "-reserve", "4194304")
	w := drive.Open(t, drive.Options{Nodes: []*drive.Node{n}, Beds: 4, Pause: 20 * time.Millisecond, Blind: true}) // that of patient x is not looked at
	n.Start()
	device := &drive.Caller{URLs: []string{n.URL()}, Token: "device-x"}
	defer device.Move()
	nurse := &drive.Caller{URLs: []string{n.URL()}, Token: "nurse-x"}
	defer nurse.Move()

	full := func(key string) bool { // reports whether a heap of vitals is refused
		var heap []any
		for range 100 {
			heap = append(heap, map[string]any{"patient": "x", "code": "8867-4", "value": 70, "unit": "/min", "method": key})
		}
		f, _, err := device.Call(t.Context(), map[string]any{"type": "publish", "vitals": heap})
		require.NoError(t, err)
		refused := 0
		for _, r := range f.Results {
			if r.Error != nil {
				require.Equal(t, "full later", r.Error.Code+" "+r.Error.Retry)
				refused++
			}
		}
		return refused == len(f.Results)
	}
	process.Poll(t, process.Patience, func() (bool, string) { return full("to fill it"), "the disk is not full" })
	w.Load()
	for i := range 3 {
		for j := range 30 {
			id := fmt.Sprint(i, ".", j)
			raised, sent, err := device.Call(t.Context(), map[string]any{"type": "raise", "event_id": id,
				"alert": map[string]any{"patient": "x", "key": id, "text": "x", "priority": "high"}})
			require.NoError(t, err)
			require.Equal(t, "ok 1", fmt.Sprint(raised.Type, raised.Code, " ", sent))
			answered, sent, err := nurse.Call(t.Context(), map[string]any{"type": "answer", "event_id": id, "patient": "x", "key": id, "alert_id": id,
				"do": "close", "force": true, "reason": "x"})
			require.NoError(t, err)
			require.Equal(t, "ok 1", fmt.Sprint(answered.Type, answered.Code, " ", sent))
		}
		process.Poll(t, process.Patience, func() (bool, string) { return full("while it is full"), "the disk is not full" })
		w.Verify()
		if i == 1 {
			n.Kill()
			n.Start()
			device.Move() // they may not know yet that their lines have ended
			nurse.Move()
		}
	}
	require.NoError(t, os.Remove(ballast))
	process.Poll(t, process.Patience, func() (bool, string) { return !full("there is room"), "vitals are refused although there is room" })
	log, err := w.Reader.History(t.Context(), "x", 0, "alert")
	require.NoError(t, err)
	require.Len(t, closed(t, log), 90)
	w.Finish()
	require.NotZero(t, w.Figures().Refused)
}

// closed returns the alerts of a log that have ended.
func closed(t testing.TB, log []drive.Frame) map[string]bool {
	ended := make(map[string]bool)
	for i := range log {
		var a drive.AlertText
		require.NoError(t, json.Unmarshal(log[i].Alert, &a))
		if !a.Ended.IsZero() {
			ended[a.ID] = true
		}
	}
	return ended
}
