package pgtest

import (
	"context"
	"time"

	"github.com/carewire/carewire"
)

// Store has the methods of a *pgstore.Store that a Hub calls.
type Store interface {
	carewire.Store
	carewire.Waker
	carewire.Clock
	carewire.Durable
	carewire.Pruner
	carewire.StateReader
	carewire.Eraser
	carewire.Sizer
}

// WithClock returns s with the time of the process in the place of the
// database's. In a testing/synctest bubble that is the bubble's time: deadlines
// of minutes pass in no time, on a real PostgreSQL.
//
// Call Database outside of the bubble, and make the pool and the Store in it, with
// pgstore.Options.NoListen: a connection that listens keeps the time from passing.
// RaiseTx, PublishTx and Drain are called on s itself. All Hubs of a test that
// share a database must have such a Store, or none.
func WithClock(s Store) Store { return clocked{s} }

type clocked struct{ Store }

func (clocked) Now(context.Context) (time.Time, error) { return time.Now().UTC(), nil }
