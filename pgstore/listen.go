package pgstore

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

const (
	wakeEvery  = 20 * time.Millisecond // notifications of a node, and its wake-ups, come no closer than this
	pollEvery  = time.Second           // wake-ups while nothing is heard
	hearWithin = 5 * time.Second       // for a message to oneself
	quietFor   = 20 * time.Second      // before one asks whether the connection still is one

	echo = "echo" // begins the names that a node sends to itself
)

var errDeaf = errors.New("notifications sent through the pool do not arrive: is there a PgBouncer in between, or another database?")

// Wake implements [carewire.Waker]. While the listening connection hears
// nothing, and with [Options.NoListen], it receives nil once a second.
func (s *Store) Wake() <-chan []string { return s.wake }

// poll wakes once a second while nothing is heard, until the store closes.
func (s *Store) poll() {
	for s.sleep(pollEvery) {
		if !s.hearing.Load() {
			s.heard.add(nil)
		}
	}
}

// sleep reports whether the store is still open after d.
func (s *Store) sleep(d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-s.closing:
		return false
	}
}

// channel is the channel to which nodes listen. The name of a channel is not
// longer than that of a schema.
func (s *Store) channel() string {
	return fmt.Sprintf("carewire_%x", sha256.Sum256([]byte(s.schema)))[:40]
}

// listen wakes when other nodes have committed, until the store closes.
func (s *Store) listen(as *pgxpool.Config) {
	told := false
	for {
		err := s.hear(as, func() {
			if told {
				s.log.Info("pgstore: listening again")
			}
			told = false
		})
		s.hearing.Store(false)
		if s.ctx.Err() != nil {
			return
		}
		if !told {
			s.log.Warn("pgstore: not listening, other nodes' entries are looked for once a second", "error", failure("listen", err))
		}
		told = true
		if !s.sleep(pollEvery) {
			return
		}
	}
}

// hear listens on a connection of its own until that fails. It calls heard
// whenever it has heard itself.
func (s *Store) hear(as *pgxpool.Config, heard func()) error {
	ctx, cancel := context.WithTimeout(s.ctx, hearWithin)
	defer cancel()
	config := as.ConnConfig.Copy()
	if as.BeforeConnect != nil {
		if err := as.BeforeConnect(ctx, config); err != nil {
			return err
		}
	}
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return err
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	if _, err := conn.Exec(ctx, `listen `+pgx.Identifier{s.channel()}.Sanitize()); err != nil {
		return err
	}
	for {
		// Nothing is sent to one who is not there: so first it hears itself, and
		// again whenever it is quiet for long.
		if err := s.hearItself(conn); err != nil {
			return err
		}
		s.hearing.Store(true)
		heard()
		s.heard.add(nil) // changes before it listened
		if err := s.hearOthers(conn); err != nil {
			return err
		}
	}
}

func (s *Store) hearItself(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(s.ctx, hearWithin)
	defer cancel()
	if _, err := s.pool.Exec(ctx, `select pg_notify($1, $2)`, s.channel(), echo+" "+s.node); err != nil {
		return err
	}
	for {
		n, err := conn.WaitForNotification(ctx)
		if err != nil && ctx.Err() != nil {
			return errDeaf
		}
		if err != nil || n.Payload == echo+" "+s.node {
			return err
		}
	}
}

// hearOthers returns nil when it has been quiet for long.
func (s *Store) hearOthers(conn *pgx.Conn) error {
	for {
		ctx, cancel := context.WithTimeout(s.ctx, quietFor)
		n, err := conn.WaitForNotification(ctx)
		late := ctx.Err() != nil
		cancel()
		if err != nil && late && s.ctx.Err() == nil && !conn.IsClosed() {
			return nil
		} else if err != nil {
			return err
		}
		if patients, others := s.read(n.Payload); others {
			s.heard.add(patients)
		}
	}
}
