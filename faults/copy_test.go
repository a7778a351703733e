package faults

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
)

// A client that keeps its events by their positions.
type memory struct {
	t    testing.TB
	n    *drive.Node
	held map[string]string // by epoch and number
	last drive.Frame
}

// watch resumes at since, reads up to synced, and returns whether it was recovered.
func (m *memory) watch(since drive.Frame) (recovered bool) {
	m.t.Helper()
	done := make(chan bool, 1)
	l, err := drive.Connect(m.t.Context(), m.n.URL(), "nurse-ada", 0, func(f *drive.Frame) {
		switch f.Type {
		case "synced":
			m.last = *f
			done <- f.Recovered
		case "vital", "alert":
			at := fmt.Sprint(f.Epoch, " ", f.Seq)
			if text := string(f.Vital) + string(f.Alert); m.held[at] == "" {
				m.held[at] = text
			} else if m.held[at] != text {
				m.t.Errorf("number %s has another content than before", at)
			}
		}
	})
	require.NoError(m.t, err)
	defer l.Close()
	f, err := l.Ask(map[string]any{"type": "watch", "patients": []string{"x"}, "delivery": "every",
		"since": map[string]any{"x": map[string]any{"epoch": since.Epoch, "seq": since.Seq}}})
	require.NoError(m.t, err)
	require.Equal(m.t, "ok", f.Type)
	return <-done
}

// publish sends vitals, one after the other.
func publish(t testing.TB, n *drive.Node, values ...int) {
	t.Helper()
	device := &drive.Caller{URLs: []string{n.URL()}, Token: "device"}
	defer device.Move()
	for _, v := range values {
		f, _, err := device.Call(t.Context(), map[string]any{"type": "publish", "vitals": []any{
			map[string]any{"patient": "x", "code": "8867-4", "value": v, "unit": "/min"}}})
		require.NoError(t, err)
		require.Nil(t, f.Results[0].Error)
	}
}

func count(from, to int) (list []int) {
	for v := from; v < to; v++ {
		list = append(list, v)
	}
	return list
}

// An older copy of the data is put back under clients that know more. With a new
// epoch nobody takes the new entries for those that they know, whenever they come
// back; a client that knows no more than the copy goes on.
func TestOlderCopy(t *testing.T) {
	t.Parallel()
	for _, newEpoch := range []bool{true, false} {
		dir := t.TempDir()
		file := filepath.Join(dir, "node.db")
		n := drive.NewNode(t, "-data", dir, "-reserve", "1048576")
		n.Start()
		client := &memory{t: t, n: n, held: map[string]string{}}
		publish(t, n, count(60, 65)...)
		client.watch(drive.Frame{})
		early := client.last
		publish(t, n, count(65, 70)...)
		n.Stop()
		older, err := os.ReadFile(file)
		require.NoError(t, err)
		n.Start()
		publish(t, n, count(70, 80)...)
		require.True(t, client.watch(early))
		late := client.last
		require.Equal(t, uint64(20), late.Seq)
		n.Kill()

		require.NoError(t, os.WriteFile(file, older, 0o600))
		if newEpoch {
			n.Args = append(n.Args, "-new-epoch")
		}
		n.Start()
		require.False(t, client.watch(late), "a client that knows more resumes")
		require.Equal(t, uint64(10), client.last.Seq)
		require.True(t, client.watch(early), "a client that knows less does not")
		publish(t, n, count(90, 115)...)
		if !newEpoch {
			// This promise does not hold: the file cannot know that there was more.
			// Once there are as many entries again, a client that was away
			// takes the new ones for those that it has.
			client.held = map[string]string{}
			require.True(t, client.watch(late))
			n.Stop()
			continue
		}
		require.False(t, client.watch(late), "a client that knows more resumes")
		require.Equal(t, uint64(35), client.last.Seq)
		require.NotEqual(t, late.Epoch, client.last.Epoch)
		require.True(t, client.watch(early))
		// Once is enough.
		n.Kill()
		n.Args = n.Args[:len(n.Args)-1]
		n.Start()
		require.True(t, client.watch(client.last))
		publish(t, n, 120)
		require.True(t, client.watch(client.last))
		require.Equal(t, uint64(36), client.last.Seq)
		require.False(t, client.watch(late))
		n.Stop()
	}
}
