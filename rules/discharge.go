package rules

import (
	"time"

	"github.com/carewire/carewire"
)

// Discharge takes in from the log that the patient has left: all rules begin anew, as
// for another patient, with the entries behind this one. The Settings stay, and owed
// transitions are forgotten. [carewire.Hub.Discharge] writes the entry, and ends the alerts.
func (c *Case) Discharge(p carewire.Position) {
	old := *c
	*c = *NewCase(old.set, old.patient, Settings{})
	c.epoch, c.mark, c.now, c.shift = old.epoch, old.mark, old.now, old.shift
	c.to, c.maxAway, c.unset, c.partial, c.numbers, c.blind.known = old.to, old.maxAway, old.unset, old.partial, old.numbers, old.blind.known
	for i := range c.states {
		c.states[i].known, c.states[i].news, c.states[i].mute = old.states[i].known, old.states[i].news, old.states[i].mute
	}
	c.apply(old.settings)
	c.enter(p, time.Time{}, true)
}
