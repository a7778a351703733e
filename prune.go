package carewire

import (
	"context"
	"log/slog"
	"time"
)

// A janitor has the Store forget what Options.Retention no longer keeps.
type janitor struct {
	store Pruner // nil: nothing is forgotten
	keep  Retention
	now   func() time.Time
	log   *slog.Logger
}

func newJanitor(s Store, keep Retention, now func() time.Time, log *slog.Logger) *janitor {
	j := &janitor{keep: keep, now: now, log: log}
	if keep != (Retention{}) {
		j.store, _ = s.(Pruner)
	}
	return j
}

// run prunes every ten minutes until quit is closed.
func (j *janitor) run(ctx context.Context, quit <-chan struct{}) {
	every := time.NewTicker(10 * time.Minute)
	defer every.Stop()
	for {
		select {
		case <-every.C:
			j.prune(ctx)
		case <-quit:
			return
		}
	}
}

func (j *janitor) prune(ctx context.Context) {
	if j.store == nil {
		return
	}
	if err := j.store.Prune(ctx, j.now(), j.keep); err != nil {
		j.log.Warn("carewire: the store could not be pruned")
	}
}
