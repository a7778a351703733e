package carewire

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// A janitor has the Store forget entries that Options.Retention no longer
// keeps, and watches how the Store grows.
type janitor struct {
	store Store
	keep  Retention
	now   func() time.Time
	log   *slog.Logger

	mu    sync.Mutex
	sizes []storeSample // hourly, of a day; the last one is the newest of all
}

type storeSample struct {
	at   time.Time
	size StoreSize
}

func newJanitor(s Store, keep Retention, now func() time.Time, log *slog.Logger) *janitor {
	return &janitor{store: s, keep: keep, now: now, log: log}
}

// run measures each minute and prunes every ten, until quit is closed.
func (j *janitor) run(ctx context.Context, quit <-chan struct{}) {
	if _, ok := j.store.(Pruner); ok {
		j.log.Info("carewire: how long the store keeps entries (Options.Retention)", "vitals", keptFor(j.keep.Vitals), "others", keptFor(j.keep.Others))
	}
	every := time.NewTicker(time.Minute)
	defer every.Stop()
	for minutes := 1; ; minutes++ {
		j.measure(ctx)
		select {
		case <-every.C:
			if minutes%10 == 0 {
				j.prune(ctx)
			}
		case <-quit:
			return
		}
	}
}

// awaitCheck logs the result of the Store's check of its content.
func (j *janitor) awaitCheck(ctx context.Context, quit <-chan struct{}) {
	c, ok := j.store.(Checker)
	if !ok {
		return
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-quit:
			cancel()
		case <-ctx.Done():
		}
	}()
	switch err := c.Checked(ctx); {
	case err == nil:
		j.log.Info("carewire: the store was checked and is not damaged")
	case ctx.Err() == nil:
		j.log.Error("carewire: the store is damaged", "cause", causeOf(err))
	}
}

func keptFor(d time.Duration) string {
	if d == 0 {
		return "for ever"
	}
	return d.String()
}

func (j *janitor) prune(ctx context.Context) {
	p, ok := j.store.(Pruner)
	if !ok || j.keep == (Retention{}) {
		return
	}
	if err := p.Prune(ctx, j.now(), j.keep); err != nil {
		j.log.Warn("carewire: the store could not be pruned")
	}
}

func (j *janitor) measure(ctx context.Context) {
	s, ok := j.store.(Sizer)
	if !ok {
		return
	}
	size, err := s.Size(ctx)
	if err != nil {
		return // the Store's health is checked elsewhere
	}
	now := storeSample{time.Now(), size}
	j.mu.Lock()
	defer j.mu.Unlock()
	if n := len(j.sizes); n > 1 && now.at.Sub(j.sizes[n-2].at) < time.Hour {
		j.sizes = j.sizes[:n-1]
	}
	for len(j.sizes) > 0 && now.at.Sub(j.sizes[0].at) > 24*time.Hour {
		j.sizes = j.sizes[1:]
	}
	j.sizes = append(j.sizes, now)
}

// size returns how large the Store is, by how many bytes a day it grows, and in
// how long it will be full then.
func (j *janitor) size() (used, growth int64, fullIn time.Duration) {
	const day = 24 * time.Hour
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.sizes) == 0 {
		return 0, 0, 0
	}
	first, last := j.sizes[0], j.sizes[len(j.sizes)-1]
	used = last.size.Used
	if span := last.at.Sub(first.at); span > 0 {
		growth = int64(float64(used-first.size.Used) / span.Seconds() * day.Seconds())
	}
	if growth > 0 && last.size.Free >= 0 {
		fullIn = time.Duration(min(float64(last.size.Free)/float64(growth), 36500) * float64(day))
	}
	return used, growth, fullIn
}
