package faults

import (
	"testing"
	"time"

	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// All processes of PostgreSQL are killed again and again under load, and it is
// started again. Nothing that was confirmed is lost.
func TestDatabaseIsKilled(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	migrate(t, server.DSN())
	members := cluster(t, server.DSN(), 2)
	startAll(members)
	seed, rng := drive.Seeded(t)
	w := wardOn(t, members, seed)
	w.Load()
	for range 4 {
		moment := time.After(drive.Between(rng, 200*time.Millisecond, 2*time.Second))
		w.Verify()
		<-moment
		for _, m := range members {
			m.Away()
		}
		server.Kill()
		server.Restart(t)
		for _, m := range members {
			m.Back()
		}
	}
	w.Verify()
	w.Finish()
}
