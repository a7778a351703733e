package main

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// durable lets devices publish as fast as they are answered, each with one
// vital under way, and returns how many answers came a second. They are spread
// over the contender's nodes.
func durable(s settings, devices int, lasting time.Duration) (values, error) {
	nodes, err := startNodes(s)
	if err != nil {
		return nil, err
	}
	defer stop(nodes)
	var answers, refused, asked atomic.Int64
	var over atomic.Bool
	var delay histogram
	next := func(cl *client) { // one goroutine of a client at a time
		asked.Add(1)
		number := int(cl.newest.Add(1))
		cl.sent.Store(time.Now().UnixNano())
		cl.send(0x1, publishRequest(cl.index, number, time.Now()))
	}
	c := newDevices(nodes[0], func(cl *client, answer []byte) {
		if !accepted(answer) {
			refused.Add(1)
			return
		}
		answers.Add(1)
		delay.add(time.Duration(time.Now().UnixNano() - cl.sent.Load()))
		if !over.Load() {
			next(cl)
		}
	})
	c.nodes = nodes
	defer c.leave()
	if err := c.join(devices); err != nil {
		return nil, err
	}
	for _, cl := range c.clients {
		next(cl)
	}
	time.Sleep(lasting / 5) // to warm up, and until all patients are known
	if err := c.until(func() bool { return answers.Load() > int64(3*devices) }, patience, "the first answers"); err != nil {
		return nil, err
	}
	delay.reset()
	before, err := used(nodes, "mark")
	if err != nil {
		return nil, err
	}
	begin, first := time.Now(), answers.Load()
	time.Sleep(lasting)
	n, took := answers.Load()-first, time.Since(begin)
	after, err := used(nodes, "measure")
	if err != nil {
		return nil, err
	}
	over.Store(true)
	if err := c.until(func() bool { return answers.Load()+refused.Load() == asked.Load() }, patience, "the last answers"); err != nil {
		return nil, err
	}
	if refused.Load() > 0 || n == 0 {
		return nil, fmt.Errorf("%d answers, %d refused", n, refused.Load())
	}
	spent := after.since(before)
	var all time.Duration
	for _, t := range spent.nodes {
		all += t
	}
	v := values{"answers_per_s": float64(n) / took.Seconds(), "cpu_us": float64(all) / 1e3 / float64(n), "p50_ms": delay.quantile(0.5), "p99_ms": delay.quantile(0.99)}
	if s.DSN != "" {
		v["pg_cpu_us"] = float64(spent.postgres) / 1e3 / float64(n)
	}
	return v, nil
}

// A durableFloor reads a frame, keeps it together with the other frames
// that have come meanwhile, and writes a ready answer.
type durableFloor struct {
	keep func([]came) error
	mu   sync.Mutex
	came []came
	wake chan struct{}
}

type came struct {
	conn net.Conn
	text []byte
}

// newDurableFloor keeps by one write and one sync.
func newDurableFloor(s settings) (contender, error) {
	f, err := os.Create(filepath.Join(s.Dir, "floor"))
	if err != nil {
		return nil, err
	}
	var buf []byte
	return newKeeper(func(group []came) error {
		buf = buf[:0]
		for _, g := range group {
			buf = append(buf, g.text...)
		}
		_, err := f.Write(buf)
		return errors.Join(err, syscall.Fdatasync(int(f.Fd())))
	}), nil
}

// newPostgresFloor keeps by one INSERT, a row for each. On two connections it
// is no faster.
func newPostgresFloor(s settings) (contender, error) {
	ctx := context.Background()
	conn, err := pgx.Connect(ctx, s.DSN)
	if err != nil {
		return nil, err
	}
	_, err = conn.Exec(ctx, `create table floor (n bigint generated always as identity primary key, frame text not null)`)
	return newKeeper(func(group []came) error {
		frames := make([]string, len(group))
		for i, g := range group {
			frames[i] = string(g.text)
		}
		_, err := conn.Exec(ctx, `insert into floor (frame) select unnest($1::text[])`, frames)
		return err
	}), err
}

func newKeeper(keep func([]came) error) *durableFloor {
	d := &durableFloor{keep: keep, wake: make(chan struct{}, 1)}
	kept := make(chan []came, 1)
	go d.commit(kept)
	go answer(kept)
	return d
}

func (d *durableFloor) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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
		d.mu.Lock()
		d.came = append(d.came, came{conn, text})
		d.mu.Unlock()
		select {
		case d.wake <- struct{}{}:
		default:
		}
	}
}

func (d *durableFloor) commit(kept chan<- []came) {
	for range d.wake {
		d.mu.Lock()
		group := d.came
		d.came = nil
		d.mu.Unlock()
		if len(group) == 0 {
			continue
		}
		if err := d.keep(group); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		kept <- group
	}
}

func answer(kept <-chan []came) {
	ready := textFrame([]byte(`{"type":"ok","req":"1","results":[{"seq":1}]}`))
	for group := range kept {
		for _, g := range group {
			g.conn.Write(ready)
		}
	}
}

func (d *durableFloor) publish(int, int, int, time.Time) error { return errors.ErrUnsupported }

// readMasked reads a short frame of a client.
func readMasked(in *bufio.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(in, head[:2]); err != nil {
		return nil, err
	}
	n := int(head[1] & 0x7f)
	if n == 126 {
		if _, err := io.ReadFull(in, head[2:]); err != nil {
			return nil, err
		}
		n = int(binary.BigEndian.Uint16(head[2:]))
	}
	var mask [4]byte
	if _, err := io.ReadFull(in, mask[:]); err != nil {
		return nil, err
	}
	text := make([]byte, n)
	if _, err := io.ReadFull(in, text); err != nil {
		return nil, err
	}
	for i := range text {
		text[i] ^= mask[i&3]
	}
	return text, nil
}
