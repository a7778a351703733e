package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// A network forgets lines: bytes that are sent on them arrive nowhere, and
// nobody is told. Those that are made later are good.
type network struct {
	mu    sync.Mutex
	lines map[*line]bool // those it knows
	lost  []*line
	cut   int // a message that is longer than this is cut in the middle, and the line forgotten; 0: nothing
}

type line struct {
	net.Conn
	of *network
}

func (n *network) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return nil, err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	l := &line{c, n}
	n.lines[l] = true
	return l, nil
}

func (n *network) forget() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for l := range n.lines {
		n.lost = append(n.lost, l)
	}
	clear(n.lines)
}

// close ends the forgotten lines, for which the pool would wait.
func (n *network) close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, l := range n.lost {
		l.Conn.Close()
	}
}

func (l *line) Write(b []byte) (int, error) {
	n := l.of
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.lines[l] {
		return len(b), nil
	}
	if n.cut > 0 && len(b) > n.cut {
		delete(n.lines, l)
		n.lost = append(n.lost, l)
		_, err := l.Conn.Write(b[:len(b)/2])
		return len(b), err
	}
	return l.Conn.Write(b)
}

// Close tells the other end nothing of a forgotten line.
func (l *line) Close() error {
	l.of.mu.Lock()
	defer l.of.mu.Unlock()
	if !l.of.lines[l] {
		return l.Conn.SetDeadline(time.Unix(1, 0))
	}
	delete(l.of.lines, l)
	return l.Conn.Close()
}

// Calls whose lines were forgotten end, though their caller sets no deadline, as
// a Hub's loops do not; and then there are other lines.
func TestForgottenLines(t *testing.T) {
	dsn := pgtest.Database(t)
	for name, call := range map[string]func(*Store, context.Context) error{
		"append": func(s *Store, ctx context.Context) error {
			_, err := s.Append(ctx, []carewire.Entry{notice("a", "1")})
			return err
		},
		"read": func(s *Store, ctx context.Context) error {
			_, err := s.Read(ctx, "a", carewire.Position{}, carewire.ReadQuery{})
			return err
		},
		"latest": func(s *Store, ctx context.Context) error { _, _, err := s.Latest(ctx, "a"); return err },
		"get": func(s *Store, ctx context.Context) error {
			if _, err := s.Get(ctx, "a", "k"); !errors.Is(err, carewire.ErrNotFound) {
				return err
			}
			return nil
		},
		"heads":   func(s *Store, ctx context.Context) error { _, err := s.Heads(ctx, []string{"a"}); return err },
		"changed": func(s *Store, ctx context.Context) error { _, _, err := s.Changed(ctx, "", 1); return err },
		"waiting": func(s *Store, ctx context.Context) error { _, err := s.Waiting(ctx, start, 1); return err },
		"now":     func(s *Store, ctx context.Context) error { _, err := s.Now(ctx); return err },
		"drain":   func(s *Store, ctx context.Context) error { _, err := s.drainSome(ctx, nil); return err },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			n := &network{lines: map[*line]bool{}}
			config, err := pgxpool.ParseConfig(dsn)
			require.NoError(t, err)
			config.MaxConns, config.ConnConfig.DialFunc = 10, n.dial
			pool, err := pgxpool.NewWithConfig(t.Context(), config)
			require.NoError(t, err)
			t.Cleanup(pool.Close)
			t.Cleanup(n.close)
			s := open(t, pool, &Options{Timeout: 2 * time.Second, NoListen: true})
			require.NoError(t, call(s, t.Context()))
			n.forget()
			ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
			defer cancel()
			require.Error(t, call(s, ctx), "the line was not forgotten")
			for call(s, ctx) != nil {
				require.NoError(t, ctx.Err())
			}
		})
	}
}

// A pool that pings with a timeout has none of its calls wait for idle lines
// that were forgotten, as long as it may make others: pgx keeps their places for
// fifteen seconds.
func TestPingTimeout(t *testing.T) {
	n := &network{lines: map[*line]bool{}}
	config, err := pgxpool.ParseConfig(pgtest.Database(t) + " pool_ping_timeout=100ms")
	require.NoError(t, err)
	config.MaxConns, config.ConnConfig.DialFunc = 10, n.dial
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return true } // not only after a second
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	t.Cleanup(n.close)
	s := open(t, pool, &Options{Timeout: 30 * time.Second, NoListen: true})
	held := make([]*pgxpool.Conn, 6)
	for i := range held {
		held[i], err = pool.Acquire(t.Context())
		require.NoError(t, err)
	}
	for _, c := range held {
		c.Release()
	}
	n.forget()
	ctx, cancel := context.WithTimeout(t.Context(), 14*time.Second)
	defer cancel()
	_, err = s.Append(ctx, []carewire.Entry{notice("a", "1")})
	require.NoError(t, err)
	_, _, err = s.Latest(ctx, "a")
	require.NoError(t, err)
}

// A node that is lost while it sends a transaction leaves the server in the
// middle of it, with the heads of its patients locked. Others are held up no
// longer than by one that stops between its two round trips.
func TestNodeThatIsLostWhileItSends(t *testing.T) {
	dsn := pgtest.Database(t)
	n := &network{lines: map[*line]bool{}}
	config, err := pgxpool.ParseConfig(dsn)
	require.NoError(t, err)
	config.ConnConfig.DialFunc = n.dial
	pool, err := pgxpool.NewWithConfig(t.Context(), config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	t.Cleanup(n.close)
	lost := open(t, pool, &Options{Timeout: 3 * time.Second, NoListen: true})
	var many []carewire.Entry
	for i := range 100 {
		e := notice("a", fmt.Sprint(i))
		e.Data = make([]byte, 1000)
		many = append(many, e)
	}
	mustAppend(t, lost, many...) // so that all is prepared
	n.mu.Lock()
	n.cut = 50_000
	n.mu.Unlock()
	for i := range many {
		many[i].ID += "again"
	}
	_, err = lost.Append(t.Context(), many)
	require.ErrorIs(t, err, carewire.ErrUnknownOutcome)
	require.Len(t, n.lost, 1)
	other := open(t, connect(t, dsn, 10), &Options{Timeout: 500 * time.Millisecond, LockTimeout: 50 * time.Millisecond})
	ctx, cancel := context.WithTimeout(t.Context(), process.Patience)
	defer cancel()
	for {
		got, err := other.Append(ctx, []carewire.Entry{notice("a", "other")})
		if err == nil {
			require.Equal(t, uint64(101), got[0].Seq)
			return
		}
		require.ErrorIs(t, err, carewire.ErrUnknownOutcome)
	}
}
