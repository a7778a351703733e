// Package pgtest runs a PostgreSQL server for tests: a real one, of the
// machine's own binaries, that listens on a unix socket in a directory of its
// own and ends with the tests.
package pgtest

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carewire/carewire/internal/process"
)

// Server is a PostgreSQL server.
type Server struct {
	Dir string // where data and socket are
	bin string
	cmd *exec.Cmd
	in  io.WriteCloser // ends the server
	as  *syscall.SysProcAttr
}

// Start makes and starts a server; settings are lines of its configuration,
// such as "fsync=off". It ends when t does. Without PostgreSQL on the machine
// the test is skipped, or fails if the environment has CI.
func Start(t testing.TB, settings ...string) *Server {
	t.Helper()
	s := newServer(t)
	t.Cleanup(s.Stop)
	s.init(t, settings)
	s.Restart(t)
	return s
}

var shared struct {
	sync.Mutex
	server *Server
	n      int
}

// Database makes a new database in a server that all tests of the process
// share, and says how to connect to it. The server ends with the process.
func Database(t testing.TB) (dsn string) {
	t.Helper()
	shared.Lock()
	defer shared.Unlock()
	if shared.server == nil {
		s := newServer(t)
		s.init(t, nil)
		s.Restart(t)
		shared.server = s
	}
	shared.n++
	name := fmt.Sprint("test", shared.n)
	shared.server.mustRun(t, "createdb", "-h", shared.server.Dir, "-U", "carewire", name)
	return shared.server.connect(name)
}

// Copy starts a second server on a copy of s, as restoring a backup does. With
// promote it was a standby, and begins a timeline of its own.
func (s *Server) Copy(t testing.TB, promote bool) *Server {
	t.Helper()
	c := newServer(t)
	t.Cleanup(c.Stop)
	c.mustRun(t, "pg_basebackup", "-D", c.data(), "-h", s.Dir, "-U", "carewire", "-X", "stream", "-c", "fast", "--no-sync")
	c.configure(t, nil)
	if promote {
		c.mustRun(t, "touch", filepath.Join(c.data(), "standby.signal"))
	}
	c.Restart(t)
	if promote {
		c.mustRun(t, "pg_ctl", "promote", "-D", c.data(), "-w", "-t", "300")
	}
	return c
}

// Dump fills the database to with a dump of the database from, and says how to
// connect to it.
func (s *Server) Dump(t testing.TB, from, to string) (dsn string) {
	t.Helper()
	s.mustRun(t, "sh", "-c", `"$0/pg_dump" -h "$1" -U carewire "$2" | "$0/psql" -q -v ON_ERROR_STOP=1 -h "$1" -U carewire "$3"`, s.bin, s.Dir, from, to)
	return s.connect(to)
}

// Give makes a directory the server's own.
func (s *Server) Give(dir string) error {
	if s.as.Credential == nil {
		return nil
	}
	return os.Chown(dir, int(s.as.Credential.Uid), int(s.as.Credential.Gid))
}

// DSN says how to connect, as a superuser.
func (s *Server) DSN() string { return s.connect("postgres") }

func (s *Server) connect(database string) string {
	return "host=" + s.Dir + " user=carewire dbname=" + database
}

// Socket is where the server listens, a unix socket.
func (s *Server) Socket() string { return filepath.Join(s.Dir, ".s.PGSQL.5432") }

// Crash ends the server at once, as a crash does, and waits. The server's
// own processes are told to quit, without a checkpoint.
func (s *Server) Crash() { s.end("quit") }

// Kill ends all processes of the server with SIGKILL, and waits. Linux only.
func (s *Server) Kill() { s.end("kill") }

func (s *Server) end(how string) {
	if s.cmd != nil {
		fmt.Fprintln(s.in, how)
		_ = s.cmd.Wait()
		s.cmd = nil
	}
}

// supervise is the shell that a server runs under. It ends the server and deletes
// its data when this process is gone, however that happened.
const supervise = `
	"$0" -D "$1/data" >>"$1/log" 2>&1 &
	read word
	if [ "$word" = kill ]; then
		kill -STOP $! # that it makes no more of them
		all=$(cat /proc/$!/task/$!/children)
		kill -KILL $! $all
		for one in $all; do # their memory is still in use until they are gone
			while grep -q . /proc/$one/maps; do sleep 0.01; done
		done
	else
		kill -QUIT $!
	fi
	wait $!
	[ "$word" ] || rm -rf "$1"`

// Stop ends the server, and deletes its data.
func (s *Server) Stop() {
	if s.cmd != nil {
		_ = s.in.Close()
		_ = s.cmd.Wait()
		s.cmd = nil
	}
	_ = os.RemoveAll(s.Dir)
}

// Restart crashes the server, if it runs, and starts it.
func (s *Server) Restart(t testing.TB) {
	t.Helper()
	s.Crash()
	s.cmd = exec.Command("/bin/sh", "-c", supervise, filepath.Join(s.bin, "postgres"), s.Dir)
	s.cmd.SysProcAttr, s.cmd.Dir = s.as, s.Dir
	in, err := s.cmd.StdinPipe()
	if err == nil {
		s.in, err = in, s.cmd.Start()
	}
	if err != nil {
		s.cmd = nil
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), process.Patience)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.DSN())
		if err == nil {
			conn.Close(ctx)
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.Dir, "log"))
			t.Fatalf("PostgreSQL does not start: %v\n%s", err, log)
		}
	}
}

func newServer(t testing.TB) *Server {
	bin, err := binaries()
	if err != nil && os.Getenv("CI") == "" {
		t.Skip(err)
	} else if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "pg")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Dir: dir, bin: bin, as: &syscall.SysProcAttr{}}
	if os.Getuid() == 0 { // PostgreSQL refuses to be run by root
		uid, gid, err := nobody()
		if err == nil {
			err = os.Chown(dir, uid, gid)
		}
		if err != nil {
			t.Fatal(err)
		}
		s.as.Credential = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	}
	return s
}

func (s *Server) init(t testing.TB, settings []string) {
	t.Helper()
	s.mustRun(t, "initdb", "-D", s.data(), "-U", "carewire", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")
	s.configure(t, settings)
}

func (s *Server) data() string { return filepath.Join(s.Dir, "data") }

func (s *Server) configure(t testing.TB, settings []string) {
	lines := append([]string{"listen_addresses=''", "unix_socket_directories='" + s.Dir + "'", "max_connections=200"}, settings...)
	s.mustRun(t, "sh", "-c", `printf '%s\n' "$1" >>"$0/postgresql.conf"`, s.data(), strings.Join(lines, "\n"))
}

func (s *Server) mustRun(t testing.TB, name string, args ...string) {
	t.Helper()
	if path := filepath.Join(s.bin, name); exists(path) {
		name = path
	}
	cmd := exec.Command(name, args...)
	cmd.SysProcAttr, cmd.Dir = s.as, s.Dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(name), err, out)
	}
}

// binaries finds the newest PostgreSQL where Debian puts it, or on the PATH.
func binaries() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	slices.SortFunc(found, func(a, b string) int { return version(b) - version(a) })
	if len(found) > 0 {
		return filepath.Dir(found[0]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", fmt.Errorf("PostgreSQL is not on this machine: %w", err)
	}
	return filepath.Dir(path), nil
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

func nobody() (uid, gid int, err error) {
	u, err := user.Lookup("nobody")
	if err != nil {
		return 0, 0, err
	}
	uid, _ = strconv.Atoi(u.Uid)
	gid, _ = strconv.Atoi(u.Gid)
	return uid, gid, nil
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
