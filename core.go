package carewire

import (
	"context"
	"log/slog"
)

// A core holds the parts that most components of a Hub share: the clock, the logs in the
// Store, the alerts in them, and the index of open entries.
type core struct {
	*background
	log    *slog.Logger
	clock  *clock
	logs   *logs
	alerts *alertLog
	open   *openIndex
}

// newCore returns the core of a Hub. append appends one entry to its patient's
// log and returns once the Store has answered, or ctx ends. Watchers get a gap
// frame instead of a quiet entry.
func newCore(s *guardedStore, c *clock, log *slog.Logger, append func(ctx context.Context, e Entry, quiet bool) (AppendResult, error)) *core {
	b := newBackground()
	open := newOpenIndex(b, s)
	logs := &logs{store: s, now: c.now, append: append}
	return &core{background: b, log: log, clock: c, logs: logs, alerts: &alertLog{logs: logs}, open: open}
}
