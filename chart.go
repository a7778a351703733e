package carewire

import (
	"bytes"
	"context"
	"slices"
	"strings"
	"time"
)

const (
	chartsMost   = 20000              // patients whose charts a lane keeps
	snapshotLife = 7 * 24 * time.Hour // a key that is not heard for so long is no longer shown
	chartLife    = time.Minute        // a chart that others have written to is read again after that
	paceOver     = 10                 // intervals over which a pace is learned
	paceFrom     = 100 * time.Millisecond
	paceTo       = 5 * time.Minute
	clockStep    = time.Second // tolerance of a device's clock before it counts as set back
)

// A chart is a lane's memory of the vitals of one patient.
type chart struct {
	series map[string]*series      // by key
	clocks map[string]*deviceClock // by device
	last   uint64                  // the number of the last entry that this Hub has appended; 0: none yet
	read   int64                   // when it was read from the Store, in ticks
	stale  bool                    // others have written to the log
}

// A series is the vitals of one key.
type series struct {
	clock *deviceClock
	heard time.Time     // when the last one was received
	time  time.Time     // when the newest was measured, by its device's clock
	lag   time.Duration // how long after that it was received
	// The first of those that are older than the newest, and when it was received;
	// zero: there is none.
	odd, oddHeard time.Time

	intervals [paceOver]time.Duration // between the last ones
	count     int                     // how many intervals were seen in all
	pace      time.Duration           // 0: it has none
	listened  time.Time               // until when the device need not be listened for again
}

// A deviceClock is the clock of a device, as its readings show it.
type deviceClock struct {
	back bool // it was set back: its time orders nothing
}

// place returns the time that orders a reading, given its time of measurement
// by the device's clock. back reports that this is the time of receipt, because
// the clock was set back.
//
// A reading from before the previous one came late, or by a clock that was set
// back. Such a clock continues from there at the pace of real time. Readings
// kept during an outage come faster than they were measured, or between newer
// readings.
func (s *series) place(at, received time.Time) (by time.Time, back bool) {
	s.keep(received)
	s.heard = received
	lag := received.Sub(at)
	behind := lag > s.lag+clockStep
	switch {
	case behind && s.clock.back:
		return received, true
	case !behind || !at.Before(s.time):
		s.clock.back, s.time, s.lag, s.odd = false, at, lag, time.Time{}
		return at, false
	case s.odd.IsZero():
		s.odd, s.oddHeard = at, received
		return at, false
	}
	went, took := at.Sub(s.odd), received.Sub(s.oddHeard)
	switch {
	case took < clockStep: // too early to tell
		return at, false
	case went > 0 && (went-took).Abs() <= max(clockStep, took/4):
		s.clock.back = true
		return received, true
	}
	s.odd, s.oddHeard = at, received
	return at, false
}

// keep notes the interval to a reading that is received, and learns the pace: ten
// intervals, none of which is longer or shorter than their median by more than half.
func (s *series) keep(received time.Time) {
	took := received.Sub(s.heard)
	if s.heard.IsZero() || took > 2*paceTo { // it begins
		s.count = 0
		return
	}
	s.intervals[s.count%paceOver] = took
	if s.count++; s.count%paceOver != 0 {
		return
	}
	sorted := s.intervals
	slices.Sort(sorted[:])
	was := s.pace
	s.pace = 0
	if m := sorted[paceOver/2]; m >= paceFrom && m <= paceTo && sorted[0] >= m/2 && sorted[paceOver-1] <= m+m/2 {
		s.pace = m
	}
	if was == 0 && s.pace > 0 {
		s.listened = time.Time{}
	}
}

// readChart reads a patient's chart from the Store.
func (l *lane) readChart(ctx context.Context, patient string) (*chart, error) {
	latest, _, err := l.lanes.store.Latest(ctx, patient)
	if err != nil {
		return nil, ErrUnavailable
	}
	c := &chart{series: make(map[string]*series), clocks: make(map[string]*deviceClock), read: l.lanes.clock.ticks()}
	for i := range latest {
		e := &latest[i]
		if e.Kind != KindVital {
			continue
		}
		s := c.begin(e.Key)
		s.heard, s.time, s.lag = e.Received, e.Time, e.Received.Sub(e.Time)
		if hasQuality(e, QualityClock) {
			s.clock.back = true
		}
	}
	return c, nil
}

// begin adds a series.
func (c *chart) begin(key string) *series {
	s := &series{}
	c.series[key] = s
	device := deviceOf(key)
	if s.clock = c.clocks[device]; s.clock == nil {
		s.clock = &deviceClock{}
		if device != "" {
			c.clocks[device] = s.clock
		}
	}
	return s
}

// deviceOf returns the device that a key of vitals names, marked if it is test
// data; "": none.
func deviceOf(key string) string {
	prefix, _, _ := strings.Cut(key, "/")
	if parts := strings.SplitN(key, " ", 4); len(parts) == 4 && parts[2] != "" {
		return prefix + "/" + parts[2]
	}
	return ""
}

// makeRoom removes the key that has been silent for the longest time, if that
// is longer than life.
func (c *chart) makeRoom(now time.Time, life time.Duration) bool {
	oldest := ""
	for key, s := range c.series {
		if oldest == "" || s.heard.Before(c.series[oldest].heard) {
			oldest = key
		}
	}
	if oldest == "" || now.Sub(c.series[oldest].heard) < life {
		return false
	}
	delete(c.series, oldest)
	return true
}

// goOn takes over from old the parts of a series that the Store does not hold.
func (s *series) goOn(old *series) {
	s.odd, s.oddHeard, s.listened = old.odd, old.oddHeard, old.listened
	s.intervals, s.count, s.pace = old.intervals, old.count, old.pace
	if s.heard.Before(old.heard) {
		s.heard = old.heard
	}
}

// chartOf returns the chart of a patient; nil if it is to be read.
func (l *lane) chartOf(patient string) *chart {
	if c := l.charts[patient]; c != nil && !c.stale {
		return c
	}
	return nil
}

// admitVital refuses a vital of one key too many for its patient, and puts others in
// their place by the clock that counts. Its patient's chart is known. It reports
// whether it is the first of its key.
func (l *lane) admitVital(j *job) (first bool, err error) {
	e := j.entry
	if e.Kind != KindVital || e.Key == "" {
		return false, nil
	}
	c := l.charts[e.Patient]
	s := c.series[e.Key]
	if first = s == nil; first {
		for len(c.series) >= l.lanes.maxKeys {
			if !c.makeRoom(e.Received, l.lanes.keyLife) {
				return false, errLimit
			}
		}
		s = c.begin(e.Key)
		s.time = e.Time
	}
	j.series = s
	if j.vital == nil || j.vital.Replaces != "" {
		return first, nil
	}
	by, back := s.place(e.Time, e.Received)
	if e.Time = by; back {
		flagClock(e)
	}
	return first, nil
}

// appended notes that this Hub has appended an entry. A chart that others have
// written to as well is read again before long.
func (l *lane) appended(j *job, e *Entry, r AppendResult) {
	if j.vital != nil && r.Err == nil { // a refused vital was not heard
		l.lanes.noteHeard(j.vital, j.series, e, r.Repeated)
	}
	c := l.charts[e.Patient]
	if c == nil || r.Err != nil || r.Repeated {
		return
	}
	foreign := c.last > 0 && r.Seq != c.last+1
	c.last = r.Seq
	c.stale = c.stale || foreign && time.Duration(l.lanes.clock.ticks()-c.read) > chartLife
}

// withoutStale leaves out of the newest entries of a patient the vitals whose key has not
// been heard for long.
func withoutStale(entries []Entry, now time.Time) []Entry {
	return slices.DeleteFunc(entries, func(e Entry) bool { return e.Kind == KindVital && now.Sub(e.Received) > snapshotLife })
}

// hasQuality reports whether the vital of e has a flag, which only the Hub sets.
func hasQuality(e *Entry, q Quality) bool {
	if !bytes.Contains(e.Data, []byte(`"`+string(q)+`"`)) {
		return false
	}
	var v Vital
	return v.UnmarshalJSON(e.Data) == nil && slices.Contains(v.Quality, q)
}

// flagClock says in the vital of e that its device's clock was set back: whether it
// is late then is not known.
func flagClock(e *Entry) {
	var v Vital
	if v.UnmarshalJSON(e.Data) != nil {
		return
	}
	v.Quality = append(slices.DeleteFunc(v.Quality, func(q Quality) bool { return q == QualityLate }), QualityClock)
	var w encoder
	v.encode(&w)
	e.Data = w.b
}
