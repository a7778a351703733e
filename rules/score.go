package rules

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// Score adds points for several numbers, as an early-warning score does. It is
// data: [NEWS2], [MEWS] and [QSOFA] return three, and a house writes its own,
// with other rows for other ages, in the same form.
//
// Total and points are published as vitals of the patient, when they change; an
// input that is missing or too old makes the total absent. The alert has the
// priority of the highest band that is reached.
type Score struct {
	About
	Timing
	// Code and System of the total as a vital; Code "": it is not published.
	Code, System string
	// Next has the time until the next measurement published too, as NextMeasurement.
	Next bool
	// Parts are added up; required.
	Parts []Part
	// Bands of the total, the lowest first. Those that are not Quiet raise an
	// alert: at most three with Red. Priority of the rule itself does not count.
	Bands []Band
	// Red, if set, is the band of a score with a part of at least RedAt points,
	// for any total. It counts as lower than all Bands that raise an alert, and
	// is reported beside them.
	Red   *Band
	RedAt int
	// MinAge and MaxAge bound the ages, in years, that the score is for; 0: no
	// bound. With a bound, patients whose birth is not known have no score.
	MinAge, MaxAge float64
	// NotPregnant says that the score is not for pregnant patients.
	NotPregnant bool
	// Pause is the shortest time between two publications; 0: 10 s. A total after there
	// was none is published at once.
	Pause time.Duration
}

// Part is one row of a score's chart.
type Part struct {
	// Name, as people read it.
	Name string
	// Code and System of its points as a vital; Code "": they are not published.
	Code, System string
	// Codes of other scales, by the name of the scale.
	Codes map[string]string
	// Inputs: the newest of these counts; required.
	Inputs []Input
	// Unit that the rows are in; "" for codes only.
	Unit string
	// Step that values are rounded to before the rows are looked at, halves up;
	// 0: they are not rounded.
	Step float64
	// MaxAge of an input; an older one is missing. Required.
	MaxAge time.Duration
	// Rows of points: the first that fits counts. A value that fits none is missing.
	Rows []Row
	// Oxygen says that points here mean oxygen is given; see Row.Air.
	Oxygen bool
}

// Input is a number or code that is measured.
type Input struct {
	Code   string
	System string  // "" is LOINC
	Unit   string  // "": the part's
	Less   float64 // taken away from the value: 21 of a concentration of oxygen
}

// Row gives points. All fields that are set must match.
type Row struct {
	Points int
	// Max is the highest value, rounded; nil: any. Rows are in rising order.
	Max *float64
	// Value is a coded value.
	Value carewire.Coding
	// Air is "air" or "oxygen": only while the patient has that.
	Air string
	// Scale that Settings.Scales must prescribe; where nothing is prescribed, the
	// scale is "1". "": any.
	Scale string
	// MinAge is the first age in years that the row is for, MaxAge the first that
	// it is not for any more; 0: no bound.
	MinAge, MaxAge float64
}

// Band is the meaning of a range of totals.
type Band struct {
	Min      int               // the least total; of Red it does not count
	Priority carewire.Priority // "" is medium
	Quiet    bool              // raises nothing: it says how often to measure
	Text     string            // the text for people, beside the total
	Within   time.Duration     // until the next measurement; 0: all the time
}

func (r Score) about() *About { return &r.About }

func (r Score) build(s *Set) (machine, error) {
	m := &scoreMachine{rule: r, air: -1}
	if len(r.Parts) == 0 || len(r.Parts) > partsMax {
		return nil, fmt.Errorf("parts: 1 to %d are required", partsMax)
	}
	if r.Red != nil {
		m.bands = append(m.bands, *r.Red)
		m.bands[0].Min = math.MaxInt
	}
	for _, b := range r.Bands {
		if !b.Quiet {
			m.bands = append(m.bands, b)
		}
	}
	if len(m.bands) > levelsMax {
		return nil, fmt.Errorf("bands: at most %d raise an alert, with red", levelsMax)
	}
	if m.rule.Pause == 0 {
		m.rule.Pause = 10 * time.Second
	}
	for i := range r.Parts {
		p := &r.Parts[i]
		if len(p.Inputs) == 0 || len(p.Rows) == 0 || p.MaxAge <= 0 {
			return nil, fmt.Errorf("parts[%d]: inputs, rows and a maximum age are required", i)
		}
		var codes []int
		if len(p.Rows) > 60 {
			return nil, fmt.Errorf("parts[%d]: more than 60 rows", i)
		}
		for _, in := range p.Inputs {
			n := s.reads(in.System, in.Code)
			codes = append(codes, n)
			s.ages[n] = max(s.ages[n], p.MaxAge)
		}
		m.codes = append(m.codes, codes)
		var coded []int32
		for _, row := range p.Rows {
			coded = append(coded, s.codedAs(row.Value))
		}
		m.coded = append(m.coded, coded)
		if p.Oxygen {
			m.air = i
		}
	}
	return m, nil
}

// codedAs returns the number of a coded value; 0 for none.
func (s *Set) codedAs(v carewire.Coding) int32 {
	if v == (carewire.Coding{}) {
		return 0
	}
	k := codeKey{v.System, v.Code}
	if s.coded[k] == 0 {
		s.coded[k] = int32(len(s.coded) + 1)
	}
	return s.coded[k]
}

const partsMax = 12

type scoreMachine struct {
	rule  Score
	bands []Band    // that raise an alert, Red first
	codes [][]int   // by part: the inputs
	coded [][]int32 // by part and row: the coded value
	air   int       // the part that tells of oxygen; -1: none does
}

// scoreState is where a score stands. Points of -1 are missing ones, of -2
// those that were not published yet.
type scoreState struct {
	points    [partsMax]int8
	input     [partsMax]int32 // the sensor that it comes from, -1: none
	expires   millis          // when the first input is too old
	total     int
	red       bool
	complete  bool
	newest    millis // when the newest input was received
	doubts    uint16 // by part, in bits: its input is questionable
	published [partsMax]int8
	said      int    // the total that was published
	next      int    // the minutes that were; -2: none yet
	scale     string // the scale with which it was, "": not yet
	doubted   uint16 // doubts about the published score
	at        millis // when
	unfit     string // why the score is not for this patient
}

func (m *scoreMachine) timing() *Timing { return &m.rule.Timing }

func (m *scoreMachine) levels(a *About) []level {
	var list []level
	for _, b := range m.bands {
		l := level{b.Priority, a.Text}
		if l.priority == "" {
			l.priority = carewire.PriorityMedium
		}
		list = append(list, l)
	}
	return list
}

func (m *scoreMachine) state(st *state) *scoreState {
	if st.data == nil {
		x := &scoreState{said: -2, next: -2}
		for i := range x.published {
			x.published[i], x.points[i], x.input[i] = -2, -1, -1
		}
		st.data = x
	}
	return st.data.(*scoreState)
}

func (m *scoreMachine) see(c *Case, st *state, r *reading) {
	x := m.state(st)
	for i, codes := range m.codes {
		if !slices.Contains(codes, r.code) {
			continue
		}
		m.part(c, x, i)
		if i == m.air {
			m.count(c, x)
		}
	}
	if c.at < c.now { // an input that is too old now was not then
		m.count(c, x)
	}
	m.judge(c, st, r.seq)
}

func (m *scoreMachine) retract(c *Case, st *state, r *reading) {
	m.count(c, m.state(st))
	m.judge(c, st, c.seq)
}

// forget looks anew for the inputs, for another sensor has the place of one.
func (m *scoreMachine) forget(c *Case, st *state, _ int) { m.count(c, m.state(st)) }

func (m *scoreMachine) tick(c *Case, st *state) {
	st.gate.tick(&m.rule.Timing, c.now)
	m.count(c, m.state(st))
	m.judge(c, st, c.seq)
}

// resume counts the readings that have come while the score was off.
func (m *scoreMachine) resume(c *Case, st *state) {
	m.count(c, m.state(st))
	m.judge(c, st, c.seq)
}

// due is when an input is too old, or something is to be published.
func (m *scoreMachine) due(c *Case, st *state) millis {
	x := m.state(st)
	due := never
	if x.complete || x.expires > c.now {
		due = x.expires
	}
	if m.news(c, x) {
		due = min(due, x.at+span(m.rule.Pause))
	}
	return due
}

// judge adds up the points.
func (m *scoreMachine) judge(c *Case, st *state, seq uint64) {
	x := m.state(st)
	if x.unfit = m.unfit(c); x.unfit != "" {
		x.complete, x.expires, x.doubts, st.until = false, 0, 0, 0
		if x.unfit == unknownAge {
			st.unable(c.now, faultForm)
		}
		for i := range m.rule.Parts {
			x.points[i] = -1
		}
		st.gate = gate{raised: st.raised}
		m.publish(c, st, x, seq)
		return
	}
	m.sum(c, x)
	switch {
	case x.complete:
		st.able(x.expires)
		s := sample{at: c.at, received: c.at, seq: seq}
		for i, b := range m.bands {
			if x.total >= b.Min || i == 0 && m.rule.Red != nil && x.red {
				s.level = int8(i + 1)
			}
		}
		if s.keep = s.level; x.doubts != 0 { // it may show that something is wrong, not that all is well
			s.keep = max(s.keep, st.level)
		}
		st.step(&m.rule.Timing, s)
	case st.until > 0:
		st.until = min(st.until, c.now)
	}
	if st.level > 0 && st.level != st.told {
		st.found = &finding{number: float64(x.total), unit: "{score}", at: c.now, note: m.tell(c, x, int(st.level)), doubt: x.doubts != 0}
	}
	m.publish(c, st, x, seq)
}

// count finds the points of each part anew.
func (m *scoreMachine) count(c *Case, x *scoreState) {
	if m.air >= 0 {
		m.part(c, x, m.air)
	}
	for i := range m.rule.Parts {
		if i != m.air {
			m.part(c, x, i)
		}
	}
}

// sum adds the points up.
func (m *scoreMachine) sum(c *Case, x *scoreState) {
	x.total, x.red, x.complete, x.expires, x.newest, x.doubts = 0, false, true, never, 0, 0
	for i := range m.rule.Parts {
		if k := x.input[i]; k >= 0 && c.at >= c.sensors[k].last.received+span(m.rule.Parts[i].MaxAge) {
			x.points[i] = -1
		}
		n := x.points[i]
		if n < 0 {
			x.complete = false
			continue
		}
		x.total += int(n)
		x.red = x.red || m.rule.Red != nil && int(n) >= m.rule.RedAt
		r := &c.sensors[x.input[i]].last
		x.expires = min(x.expires, r.received+span(m.rule.Parts[i].MaxAge))
		x.newest = max(x.newest, r.received)
		if r.doubtful {
			x.doubts |= 1 << i
		}
	}
}

// airOf says whether the patient has air or oxygen; "" if nobody knows.
func (m *scoreMachine) airOf(x *scoreState) string {
	switch {
	case m.air < 0 || x.points[m.air] < 0:
		return ""
	case x.points[m.air] > 0:
		return "oxygen"
	}
	return "air"
}

// part finds the points of one part.
func (m *scoreMachine) part(c *Case, x *scoreState, i int) {
	p := &m.rule.Parts[i]
	x.points[i], x.input[i] = -1, -1
	newest, from := -1, 0
	for k := range c.sensors {
		s := &c.sensors[k]
		for n, code := range m.codes[i] {
			if s.code == code && s.taken && (newest < 0 || s.last.at > c.sensors[newest].last.at ||
				s.last.at == c.sensors[newest].last.at && s.last.seq > c.sensors[newest].last.seq) {
				newest, from = k, n
			}
		}
	}
	if newest < 0 {
		return
	}
	x.input[i] = int32(newest)
	r := &c.sensors[newest].last
	if c.at >= r.received+span(p.MaxAge) {
		return
	}
	v, ok := r.value, true
	if r.coded == 0 {
		in := &p.Inputs[from]
		if v, ok = convert(r.value, r.unit, cmp.Or(in.Unit, p.Unit)); !ok {
			return
		}
		v = rounded(v-in.Less, p.Step)
	}
	air, scale, age := m.airOf(x), m.scale(c), c.age()
	for k := range p.Rows {
		row := &p.Rows[k]
		if m.coded[i][k] != r.coded || row.Max != nil && (r.coded != 0 || v > *row.Max) || row.Air != "" && row.Air != air ||
			row.Scale != "" && row.Scale != scale || row.MinAge > 0 && age < row.MinAge || row.MaxAge > 0 && age >= row.MaxAge {
			continue
		}
		x.points[i] = int8(row.Points)
		return
	}
}

// scale returns the prescribed scale, "1" if none is. If the prescription has
// no author it returns "", and no row of a scale fits.
func (m *scoreMachine) scale(c *Case) string {
	s := c.settings.Scales[m.rule.Key]
	if s.Name == "" || s.Name == "1" {
		return "1"
	}
	if s.By == "" {
		return ""
	}
	return s.Name
}

// rounded rounds a value to a step, halves up.
func rounded(v, step float64) float64 {
	if step == 0 {
		return v
	}
	per := math.Round(1 / step)
	if per < 1 {
		return math.Floor(v/step+0.5+1e-9) * step
	}
	return math.Floor(v*per+0.5+1e-9) / per
}

// age is the patient's, in years; -1: unknown.
func (c *Case) age() float64 {
	if c.settings.Born.IsZero() {
		return -1
	}
	return c.out(c.now).Sub(c.settings.Born).Hours() / (24 * 365.25)
}

const unknownAge = "the date of birth is not known"

func (m *scoreMachine) bounded() bool { return m.rule.MinAge > 0 || m.rule.MaxAge > 0 }

// unfit says why the score is not for this patient; "" if it is.
func (m *scoreMachine) unfit(c *Case) string {
	age := c.age()
	switch {
	case m.rule.NotPregnant && c.settings.Pregnant:
		return "not for pregnant patients"
	case m.bounded() && age < 0:
		return unknownAge
	case m.rule.MinAge > 0 && age < m.rule.MinAge:
		return fmt.Sprintf("not for patients under %s", number(m.rule.MinAge))
	case m.rule.MaxAge > 0 && age >= m.rule.MaxAge:
		return fmt.Sprintf("not for patients of %s and more", number(m.rule.MaxAge))
	}
	return ""
}
