package faults

import (
	"context"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// An older state of the database is put back under clients that know more: the
// server's files, with a new epoch asked for; a standby that was promoted; and a
// dump. Clients begin anew with a snapshot, and no number that they know ever
// comes with another content, though the numbers are given out again.
func TestOlderBackup(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	migrate(t, server.DSN())
	newest := cluster(t, server.DSN(), 1)[0]
	newest.Start()
	publish := func(m *member, what string, n int) {
		c := &drive.Caller{URLs: []string{m.URL()}, Token: "device"}
		defer c.Move()
		for i := range n {
			request := map[string]any{"type": "publish", "vitals": []any{map[string]any{
				"patient": "p1", "code": "8867-4", "value": 40 + i, "unit": "/min", "vital_id": fmt.Sprint(what, i)}}}
			if i%5 == 4 {
				request = map[string]any{"type": "raise", "event_id": fmt.Sprint(what, i),
					"alert": map[string]any{"patient": "p1", "key": fmt.Sprint(what, i), "text": "x", "priority": "high", "test": true}}
			}
			f, _, err := c.Call(t.Context(), request)
			require.NoError(t, err)
			require.Equal(t, "ok", f.Type)
		}
	}
	publish(newest, "before.", 20)
	olds := map[string]*member{
		"files":   cluster(t, server.Copy(t, false).DSN(), 1)[0],
		"standby": cluster(t, server.Copy(t, true).DSN(), 1)[0],
		"dump":    cluster(t, server.Dump(t, "postgres", newDatabase(t, server)), 1)[0],
	}
	olds["files"].Args = append(olds["files"].Args, "-new-epoch")
	publish(newest, "lost.", 20)

	for name, old := range olds {
		front := newProxy(t, "tcp", newest.Addr) // as a load balancer
		client, err := carewire.Dial(t.Context(), "ws://"+front.Addr()+"/carewire", &carewire.DialOptions{
			Token:      func(ctx context.Context) (string, error) { return "nurse", nil },
			MinBackoff: 10 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		t.Cleanup(func() { client.Close() })
		_, err = client.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p1"}, Delivery: carewire.DeliverEvery,
			Since: map[string]carewire.Position{"p1": {}}})
		require.NoError(t, err)
		known := map[carewire.Position]string{}
		// readTo reads until the log is known up to a vital, and says how syncs went.
		readTo := func(id string) (recovered []bool) {
			ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
			defer cancel()
			for e, err := range client.Events(ctx) {
				require.NoError(t, err, "%s: %s", name, id)
				content := ""
				switch e.Type {
				case carewire.EventSync:
					recovered = append(recovered, e.Recovered)
				case carewire.EventVital:
					content = e.Vital.ID
				case carewire.EventAlert:
					content = fmt.Sprint(e.Alert.ID, e.Alert.Rev)
				}
				if content == "" {
					continue
				}
				at := carewire.Position{Epoch: e.Epoch, Seq: e.Seq}
				if was, ok := known[at]; ok {
					require.Equal(t, was, content, "%s: number %d was another before", name, e.Seq)
				}
				known[at] = content
				if content == id {
					return recovered
				}
			}
			return recovered
		}
		readTo("lost.18")
		old.Start()
		front.Target("tcp", old.Addr)
		front.Reset()
		publish(old, "after.", 60)
		syncs := readTo("after.58")
		require.NotEmpty(t, syncs, name)
		require.False(t, syncs[0], "%s: the client was not told to begin anew", name)
		client.Close()
	}
}

// newDatabase makes an empty database beside the server's own.
func newDatabase(t *testing.T, server *pgtest.Server) string {
	_, err := pool(t, server.DSN()).Exec(t.Context(), `create database older`)
	require.NoError(t, err)
	return "older"
}
