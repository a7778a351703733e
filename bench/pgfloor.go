package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
)

// A pgFloor reads a frame, commits its bytes as a row together with what else
// has come meanwhile, one INSERT for all, and writes a ready answer.
type pgFloor struct {
	pool *pgxpool.Pool
	mu   sync.Mutex
	came []came
	wake chan struct{}
}

func newPGFloor(s settings) (contender, error) {
	ctx := context.Background()
	pool, err := pgxpool.New(ctx, s.DSN)
	if err != nil {
		return nil, err
	}
	if _, err := pool.Exec(ctx, `create table floor (n bigint generated always as identity primary key, frame text not null)`); err != nil {
		return nil, err
	}
	f := &pgFloor{pool: pool, wake: make(chan struct{}, 1)}
	for range floorWriters {
		committed := make(chan []came, 1)
		go f.commit(committed)
		go answer(committed)
	}
	return f, nil
}

// floorWriters commit at the same time, as many as pgstore has of its own.
const floorWriters = 2

func (f *pgFloor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	conn, in, err := upgrade(w, r)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		text, err := readMasked(in)
		if err != nil {
			return
		}
		f.mu.Lock()
		f.came = append(f.came, came{conn, text})
		f.mu.Unlock()
		select {
		case f.wake <- struct{}{}:
		default:
		}
	}
}

func (f *pgFloor) commit(committed chan<- []came) {
	for range f.wake {
		f.mu.Lock()
		group := f.came
		f.came = nil
		f.mu.Unlock()
		if len(group) == 0 {
			continue
		}
		frames := make([]string, len(group))
		for i, g := range group {
			frames[i] = string(g.text)
		}
		if _, err := f.pool.Exec(context.Background(), `insert into floor (frame) select unnest($1::text[])`, frames); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		committed <- group
	}
}

func (f *pgFloor) publish(int, int, int, time.Time) error { return errors.ErrUnsupported }
