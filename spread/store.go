// Package spread makes one [carewire.Store] of several, for hosts that have
// outgrown one database: there is still one Hub, one URL and one inbox.
//
//	store, err := spread.Open(ctx, []spread.Member{{Name: "a", Store: one}, {Name: "b", Store: two}}, nil)
//	hub, err := carewire.New(auth, store, nil)
//
// Each patient belongs to one of many small parts, by a hash that never
// changes. A table names the member of each part. It is in the log "@spread" of
// one member, and every node reads it. Each change is a new revision, so that
// concurrent changes do not overwrite each other. The log "@system" is a part
// of its own, and stays with the table.
//
// A Store that is in use becomes the first member: opened alone, it has all
// parts. Members that are added later have none.
package spread

import (
	"context"
	"errors"
	"hash/fnv"
	"io"
	"sync"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

const (
	defaultParts = 256
	maxParts     = 1 << 14
	maxMembers   = 256
	look         = time.Second // how often the table is read again
)

// Member is one of the Stores of which a Store is made.
type Member struct {
	// Name is the member's name in the table, the same in every process: 1 to
	// 64 bytes. It must stay with the Store's contents.
	Name string
	// Store must be a [carewire.Pruner] and a [carewire.Eraser]. It stays the
	// caller's, and is closed after the Store that it is a member of.
	Store carewire.Store
}

// Options of a Store.
type Options struct {
	// Parts is how many parts there are beside that of "@system", at most
	// 16,384. It counts only when the table is made, and never changes. 0: 256.
	Parts int
}

// Store is a [carewire.Store] made of several. Open makes one. All methods are
// safe for concurrent use, and any number of nodes may open the same members.
//
// It implements the optional interfaces of a Store as far as its members do: a
// StateReader asks members that are none key by key, Wake tells of appends to
// members that are Wakers, Now is the time of the member with the table, or this
// machine's, and Durable is true if all members are durable. Size adds members
// up, and fails with errors.ErrUnsupported unless all are Sizers.
//
// An Append or a read of several patients that concerns several members asks
// them at the same time, and fails if one does.
type Store struct {
	members []Member
	home    int // the member with the table
	table   atomic.Pointer[table]
	wake    chan []string
	closing chan struct{}
	once    sync.Once
	running sync.WaitGroup
}

// Open makes one Store of members, which all must answer. If none of them has a
// table yet, it makes one: a single member gets all parts, and members that are
// empty get equally many. Members that are new to the table must be empty, and
// all that have parts must be there. Nil options are all defaults. The error
// matches [ErrMembers], or is a member's.
func Open(ctx context.Context, members []Member, o *Options) (*Store, error) {
	if o == nil {
		o = &Options{}
	}
	parts := o.Parts
	if parts == 0 {
		parts = defaultParts
	}
	if err := usableMembers(members); err != nil {
		return nil, err
	}
	if parts < 1 || parts > maxParts {
		return nil, errors.New("spread: there must be 1 to 16,384 parts")
	}
	s := &Store{members: append([]Member(nil), members...), wake: make(chan []string), closing: make(chan struct{})}
	if err := s.openTable(ctx, parts); err != nil {
		return nil, err
	}
	for _, m := range s.members {
		if w, ok := m.Store.(carewire.Waker); ok {
			s.running.Go(func() { s.forward(w.Wake()) })
		}
	}
	s.running.Go(s.follow)
	return s, nil
}

// Close ends the Store: all further calls return ErrClosed. It leaves the
// members open, and always returns nil.
func (s *Store) Close() error {
	s.once.Do(func() { close(s.closing) })
	s.running.Wait()
	return nil
}

// Parts is how many parts there are, that of "@system" included.
func (s *Store) Parts() int { return len(s.table.Load().Owners) }

// Part is the part of a patient, from 0 to Parts()-1. It never changes. The last
// one is that of "@system".
func (s *Store) Part(patient string) int { return partOf(patient, s.Parts()) }

func partOf(patient string, parts int) int {
	if patient == carewire.SystemPatient || patient == tableLog {
		return parts - 1
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, patient)
	return int(h.Sum64() % uint64(parts-1))
}

// Stores are the members, in the order that Open was given.
func (s *Store) Stores() []Member { return append([]Member(nil), s.members...) }

// Members are the names of the members, in the same order.
func (s *Store) Members() []string {
	names := make([]string, len(s.members))
	for i, m := range s.members {
		names[i] = m.Name
	}
	return names
}

// Owner is the member that has a part now, as an index into Members.
func (s *Store) Owner(part int) int { return s.table.Load().owner[part] }

// usable returns why a call is to fail at once.
func (s *Store) usable(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	select {
	case <-s.closing:
		return carewire.ErrClosed
	default:
		return nil
	}
}

// forward passes on the wake-ups of a member.
func (s *Store) forward(wake <-chan []string) {
	for {
		select {
		case patients := <-wake:
			select {
			case s.wake <- patients:
			case <-s.closing:
				return
			}
		case <-s.closing:
			return
		}
	}
}

// follow reads the table periodically, for changes by other nodes.
func (s *Store) follow() {
	every := time.NewTicker(look)
	defer every.Stop()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		<-s.closing
		cancel()
	}()
	for {
		select {
		case <-every.C:
			_ = s.refresh(ctx) // the known table stays in use
		case <-s.closing:
			return
		}
	}
}

var (
	_ carewire.Store       = (*Store)(nil)
	_ carewire.Spread      = (*Store)(nil)
	_ carewire.Waker       = (*Store)(nil)
	_ carewire.StateReader = (*Store)(nil)
	_ carewire.Clock       = (*Store)(nil)
	_ carewire.Durable     = (*Store)(nil)
	_ carewire.Pruner      = (*Store)(nil)
	_ carewire.Eraser      = (*Store)(nil)
	_ carewire.Sizer       = (*Store)(nil)
	_ io.Closer            = (*Store)(nil)
)
