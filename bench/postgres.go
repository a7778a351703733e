package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/carewire/carewire/pgstore/pgtest"
)

// errMissing means that something is not on this machine. The contenders that need
// it are left out.
var errMissing = errors.New("left out")

// database makes an empty database in a PostgreSQL server of our own, which
// has its defaults, syncs to disk, and ends with the process.
func database() (dsn string, err error) {
	defer func() {
		if x := recover(); x != nil {
			var ok bool
			if err, ok = x.(error); !ok {
				panic(x)
			}
		}
	}()
	return pgtest.Database(noTest{}), nil
}

// databaseServer starts a further server like that of database, and says how to
// connect to it and how to end it.
func databaseServer() (dsn string, end func(), err error) {
	defer func() {
		if x := recover(); x != nil {
			var ok bool
			if err, ok = x.(error); !ok {
				panic(x)
			}
		}
	}()
	s := pgtest.Start(noTest{})
	return s.DSN(), s.Stop, nil
}

// drop deletes a database that database has made.
func drop(dsn string) {
	ctx := context.Background()
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return
	}
	name := config.Database
	config.Database = "postgres"
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, `drop database `+pgx.Identifier{name}.Sanitize()+` with (force)`); err != nil {
		fmt.Fprintln(os.Stderr, err)
	}
}

// noTest stands where pgtest expects the test that it works for.
type noTest struct{ testing.TB }

func (noTest) Helper()                   {}
func (noTest) Cleanup(func())            {} // the processes that were started end with the run, or with this process
func (noTest) Skip(args ...any)          { panic(fmt.Errorf("%w: %s", errMissing, fmt.Sprint(args...))) }
func (noTest) Fatal(args ...any)         { panic(errors.New(fmt.Sprint(args...))) }
func (noTest) Fatalf(f string, a ...any) { panic(fmt.Errorf(f, a...)) }

// postgresCPU is the time that all processes of the server of dsn have used.
func postgresCPU(dsn string) (sum time.Duration) {
	config, err := pgx.ParseConfig(dsn)
	if err != nil {
		return 0
	}
	b, _ := os.ReadFile(filepath.Join(config.Host, "data", "postmaster.pid"))
	master, _, _ := strings.Cut(string(b), "\n")
	const tick = 10 * time.Millisecond
	files, _ := filepath.Glob("/proc/[0-9]*/stat")
	for _, file := range files {
		b, _ := os.ReadFile(file)
		_, rest, _ := strings.Cut(string(b), ") ") // state, parent, … proc(5) counts them from 3 on
		f := strings.Fields(rest)
		if len(f) < 15 {
			continue
		}
		times := f[11:13] // user and system
		switch {
		case filepath.Base(filepath.Dir(file)) == master:
			times = f[11:15] // and those of children that have ended
		case f[1] != master:
			continue
		}
		for _, one := range times {
			n, _ := strconv.Atoi(one)
			sum += time.Duration(n) * tick
		}
	}
	return sum
}

// startNodes starts as many servers as the contender has nodes.
func startNodes(s settings) (nodes []*server, err error) {
	profile := s.CPUProfile
	for k := range max(s.Nodes, 1) {
		if profile != "" && s.Nodes > 1 {
			s.CPUProfile = fmt.Sprint(profile, ".", k+1)
		}
		p, err := start(s)
		if err != nil {
			stop(nodes)
			return nil, err
		}
		nodes = append(nodes, p)
	}
	return nodes, nil
}

func stop(nodes []*server) {
	for _, p := range nodes {
		p.stop()
	}
}

// A usage is the processor time and memory that the nodes and PostgreSQL have used.
type usage struct {
	nodes    []time.Duration
	postgres time.Duration
}

// used orders all nodes to mark or measure.
func used(nodes []*server, do string) (u usage, err error) {
	for _, p := range nodes {
		r, err := p.do(order{Do: do})
		if err != nil {
			return u, err
		}
		u.nodes = append(u.nodes, r.CPU)
	}
	if dsn := nodes[0].DSN; dsn != "" {
		for _, one := range append(nodes[0].More, dsn) {
			u.postgres += postgresCPU(one)
		}
	}
	return u, nil
}

// since returns the usage after before.
func (u usage) since(before usage) usage {
	spent := usage{postgres: u.postgres - before.postgres}
	for i, t := range u.nodes {
		spent.nodes = append(spent.nodes, t-before.nodes[i])
	}
	return spent
}
