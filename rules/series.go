package rules

// A series is a number over a window of time, in 64 steps at most, so that its
// size does not depend on how often a device measures. It follows one sensor, for
// two differ from each other; another takes its place when that one is silent.
type series struct {
	steps  [seriesMax]step
	first  int // the oldest step
	count  int
	undo   step // the newest step before the newest reading
	grown  bool // that reading began a step
	seq    uint64
	sensor int32
	heard  millis
	keep   keep
}

// keep says which reading of each step is told as an input.
type keep int8

const (
	keepFirst keep = iota
	keepLowest
	keepHighest
)

const seriesMax = 64

type step struct {
	from      millis // of its first reading
	at        millis // of its newest
	min, max  float64
	sum, sumT float64 // of values, and of times since from in seconds
	n         int32
	id        small   // of the reading that is told as an input: keep says which
	idAt      millis  // when that was measured
	kept      float64 // its value
}

// at returns step k, 0 is the oldest.
func (s *series) at(k int) *step { return &s.steps[(s.first+k)%seriesMax] }

// add takes in a reading's value; window is how long values are kept. It reports
// false if it is another sensor's that does not count.
func (s *series) add(c *Case, r *reading, value float64, window millis) bool {
	if s.count > 0 && s.sensor != r.sensor {
		if c.now-s.heard <= c.sensors[s.sensor].life() {
			return false
		}
		s.count = 0
	}
	s.sensor, s.heard, s.seq = r.sensor, c.now, r.seq
	s.trim(r.at - window)
	width := max(window/(seriesMax-2), 1)
	if s.grown = s.count == 0 || r.at-s.at(s.count-1).from >= width; s.grown {
		if s.count == seriesMax {
			s.first, s.count = (s.first+1)%seriesMax, s.count-1
		}
		s.count++
		*s.at(s.count - 1) = step{from: r.at, min: value, max: value}
	} else {
		s.undo = *s.at(s.count - 1)
	}
	p := s.at(s.count - 1)
	if s.grown || s.keep == keepLowest && value < p.kept || s.keep == keepHighest && value > p.kept {
		p.id, p.idAt, p.kept = r.id, r.at, value
	}
	p.at, p.min, p.max = r.at, min(p.min, value), max(p.max, value)
	p.sum += value
	p.sumT += float64(r.at-p.from) / 1000
	p.n++
	return true
}

// trim forgets values that are older than from.
func (s *series) trim(from millis) {
	for s.count > 0 && s.at(0).at < from {
		s.first, s.count = (s.first+1)%seriesMax, s.count-1
	}
}

// retract takes the newest reading back, if it is that.
func (s *series) retract(gone *reading) {
	if s.seq != gone.seq || s.count == 0 {
		return
	}
	if s.grown {
		s.count--
	} else {
		*s.at(s.count - 1) = s.undo
	}
	s.seq = 0
}

// forget begins anew, if the series is of a sensor whose place another has now.
func (s *series) forget(sensor int) {
	if int(s.sensor) == sensor {
		s.count, s.seq = 0, 0
	}
}

// span is how long the series is.
func (s *series) span() millis {
	if s.count == 0 {
		return 0
	}
	return s.at(s.count-1).at - s.at(0).from
}

// extremes returns the lowest and highest value.
func (s *series) extremes() (low, high float64) {
	low, high = s.at(0).min, s.at(0).max
	for k := 1; k < s.count; k++ {
		low, high = min(low, s.at(k).min), max(high, s.at(k).max)
	}
	return low, high
}

// trend fits a line to the steps, and returns its value at the newest one and its
// slope in a second. ok is false with fewer than three steps.
func (s *series) trend() (value, slope float64, ok bool) {
	if s.count < 3 {
		return 0, 0, false
	}
	end := s.at(s.count - 1).at
	var n, st, sv, stt, stv float64
	for k := range s.count {
		p := s.at(k)
		t := float64(p.from-end)/1000 + p.sumT/float64(p.n)
		v := p.sum / float64(p.n)
		n, st, sv, stt, stv = n+1, st+t, sv+v, stt+t*t, stv+t*v
	}
	d := n*stt - st*st
	if d == 0 {
		return 0, 0, false
	}
	slope = (n*stv - st*sv) / d
	return (sv - slope*st) / n, slope, true
}
