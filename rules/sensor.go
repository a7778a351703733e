package rules

import (
	"strings"
	"time"
)

// sensorsMost is how many sensors of one code a Case keeps.
const sensorsMost = 16

// A sensor is one source of one number: a device at a site.
type sensor struct {
	code         int
	device, site string
	last         reading // the newest usable one
	before       reading // the one before that
	interval     millis  // how often it measures; 0: nobody knows yet
	promised     bool    // interval is the device's promise
	long         millis  // the last gap that was far longer than interval; 0: it was no such gap
	older        millis  // since when all readings are older than last; 0: they are not
	lag          millis  // the least delay by its clock and the network
	taken        bool    // last is set
}

// unknownLife is the life of a sensor whose interval is not known.
const unknownLife = time.Hour

// life is for how long a sensor's newest reading stands for now.
func (s *sensor) life() millis {
	if s.interval == 0 {
		return span(unknownLife)
	}
	return max(3*s.interval, 60_000)
}

// sensorOf returns the place of the sensor of a code. Of too many, the one that
// was heard last of all gives its place to a new one.
func (c *Case) sensorOf(code int, device, site string) int {
	n, oldest := 0, -1
	for i := range c.sensors {
		s := &c.sensors[i]
		if s.code != code {
			continue
		}
		if s.device == device && s.site == site {
			return i
		}
		if n++; oldest < 0 || s.last.received < c.sensors[oldest].last.received {
			oldest = i
		}
	}
	fresh := sensor{code: code, device: strings.Clone(device), site: strings.Clone(site)}
	if n < sensorsMost {
		c.sensors = append(c.sensors, fresh)
		return len(c.sensors) - 1
	}
	c.sensors[oldest] = fresh
	for i := range c.states {
		if m, ok := c.set.rules[i].machine.(interface{ forget(*Case, *state, int) }); ok {
			m.forget(c, &c.states[i], oldest)
		}
	}
	return oldest
}

// setBack reports whether r, which is older than the newest reading, is judged all the
// same: for a while, as long as a reading stands for now, the device has sent only
// such ones, so its clock was set back.
func (s *sensor) setBack(received, measured millis, r *reading) bool {
	if s.older == 0 {
		s.older = received
	}
	if received-s.older < s.life() {
		return false
	}
	s.lag, r.at = received-measured, received
	return true
}

// take makes r the newest reading. Two gaps in a row that are far longer than those
// before show that the device measures less often now; one may be an interruption.
func (s *sensor) take(r *reading, every time.Duration) {
	switch gap := r.at - s.last.at; {
	case every > 0:
		s.interval, s.promised = span(every), true
	case s.promised || !s.taken || gap <= 0:
	case s.interval == 0 || gap < 3*s.interval:
		s.interval, s.long = gap, 0
	case s.long == 0:
		s.long = gap
	default:
		s.interval, s.long = min(gap, s.long), 0
	}
	s.before, s.last, s.taken, s.older = s.last, *r, true, 0
}
