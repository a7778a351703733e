package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carewire/carewire/internal/process"
)

const bouncer = "/usr/sbin/pgbouncer"

// Bouncer starts a PgBouncer before the server of dsn, that pools by
// transaction, and says how to connect to it. It ends when t does. Without
// PgBouncer on the machine the test is skipped, or fails if the environment
// has CI.
func Bouncer(t testing.TB, dsn string) string {
	t.Helper()
	if !exists(bouncer) && os.Getenv("CI") == "" {
		t.Skip("PgBouncer is not on this machine")
	} else if !exists(bouncer) {
		t.Fatal("PgBouncer is not on this machine")
	}
	to, err := pgx.ParseConfig(dsn)
	if err != nil {
		t.Fatal(err)
	}
	s := newServer(t) // for its directory and the user to run as
	t.Cleanup(s.Stop)
	config := filepath.Join(s.Dir, "pgbouncer.ini")
	text := fmt.Sprintf("[databases]\n* = host=%s user=%s\n[pgbouncer]\npool_mode = transaction\nauth_type = any\nunix_socket_dir = %s\nlisten_addr =\n"+
		"default_pool_size = 10\nmax_client_conn = 200\n", to.Host, to.User, s.Dir)
	if err := os.WriteFile(config, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	// The shell ends it when this process is gone, however that happened.
	cmd := exec.Command("/bin/sh", "-c", `"$0" "$1" >"$1.log" 2>&1 & read word; kill -TERM $!; wait $!`, bouncer, config)
	cmd.SysProcAttr, cmd.Dir = s.as, s.Dir
	in, err := cmd.StdinPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		in.Close()
		_ = cmd.Wait()
		if log, _ := os.ReadFile(config + ".log"); t.Failed() {
			t.Logf("PgBouncer wrote last:\n%s", log[max(0, len(log)-4000):])
		}
	})
	through := fmt.Sprintf("host=%s port=6432 user=%s dbname=%s default_query_exec_mode=exec", s.Dir, to.User, to.Database)
	ctx, cancel := context.WithTimeout(context.Background(), process.Patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, through)
		if err == nil {
			conn.Close(ctx)
			return through
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			log, _ := os.ReadFile(config + ".log")
			t.Fatalf("PgBouncer does not start: %v\n%s", err, log)
		}
	}
}
