package rules

import (
	"sync/atomic"

	"github.com/carewire/carewire"
)

// tally is what a Judge counts.
type tally struct {
	vitals atomic.Uint64 // judged
	failed atomic.Uint64 // times that something could not be raised or cleared just then
}

func (t *tally) note(c *Case, a *carewire.Alert) {}
