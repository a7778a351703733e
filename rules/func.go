package rules

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// Func calls a model of the host: a function that looks at a patient's vitals
// and returns a finding. A recogniser of pictures or speech publishes its
// result as a vital with a code, and a Func judges that, with its confidence.
//
// A model must return the same result for the same vitals. It is called in the
// patient's turn, and delays other patients: run a slow model elsewhere and
// publish its results.
type Func struct {
	About
	Timing
	// Model and its version, which every alert tells; required.
	Model, ModelVersion string
	// Recognises is the kind of the model's input, which every alert tells; "" is
	// RecognitionModel: numbers.
	Recognises carewire.RecognitionKind
	// Inputs are the vitals that it is given; required.
	Inputs []Input
	// Window is how far back; 0: the newest vital only. At most 256 are given.
	Window time.Duration
	// Every is the shortest time between two calls; 0: each vital is one.
	Every time.Duration
	// Timeout of a call; 0: one second. A call that takes longer is given up, and
	// none is made for this patient before it has returned. The model then rests for
	// nine times as long, for all patients: they wait for it a tenth of the time at most.
	// Vitals that come meanwhile are judged when it has rested.
	Timeout time.Duration
	// MinConfidence is the confidence from which a finding counts as present;
	// 0: any.
	MinConfidence float64
	// Judge gets the vitals, the oldest first, and must not change them. One
	// goroutine at a time calls it for a patient, several for several patients.
	// The vitals include absent ones, but not invalid or late ones, or those
	// under calibration. A finding after an absent or questionable vital may
	// raise, and does not clear. An error means that it cannot judge; its text
	// is shown to nobody, because it may hold health data. Required.
	Judge func(ctx context.Context, vitals []carewire.Vital) (Finding, error)
}

// Finding is the result of a model.
type Finding struct {
	Present    bool
	Priority   carewire.Priority // "": as the rule has it
	Confidence float64           // 0 to 1; below counts as 0, above as 1
	Text       string            // further information for people, at most 300 bytes
	Unknown    string            // not "": it cannot be judged, for this reason, which people read; at most 100 bytes
}

func (r Func) about() *About { return &r.About }

func (r Func) build(s *Set) (machine, error) {
	switch {
	case r.Model == "" || r.ModelVersion == "" || len(r.Model)+len(r.ModelVersion) > 60:
		return nil, fmt.Errorf("model: name and version are required, at most 60 bytes together")
	case len(r.Inputs) == 0 || r.Judge == nil:
		return nil, fmt.Errorf("inputs: inputs and judge are required")
	case !finite(r.MinConfidence) || r.Window < 0 || r.Every < 0 || r.Timeout < 0 || r.MinConfidence < 0 || r.MinConfidence > 1:
		return nil, fmt.Errorf("window: nothing may be negative, and no confidence more than 1")
	}
	if r.Recognises == "" {
		r.Recognises = carewire.RecognitionModel
	}
	switch r.Recognises {
	case carewire.RecognitionModel, carewire.RecognitionImage, carewire.RecognitionSpeech:
	default:
		return nil, fmt.Errorf("recognises: must be speech, image or model")
	}
	if r.Timeout == 0 {
		r.Timeout = time.Second
	}
	m := &funcMachine{rule: r}
	for _, in := range r.Inputs {
		m.codes = append(m.codes, s.reads(in.System, in.Code))
	}
	s.needs(r.Window + r.Every + r.Delay)
	return m, nil
}

type funcMachine struct {
	rule  Func
	codes []int                     // of its inputs
	rests atomic.Pointer[time.Time] // it is not called before; nil: it does not rest
}

// funcState is a Func's state of a patient.
type funcState struct {
	vitals     []carewire.Vital
	called     millis
	confidence float64
	unknown    string      // why the model cannot judge, in its words
	running    atomic.Bool // a call that was given up has not returned
	waits      reading     // the newest, while the model rests; its seq is 0: none waits
	again      millis      // when it is judged then
}

const funcVitals = 256

func (m *funcMachine) timing() *Timing { return &m.rule.Timing }

// levels are the priorities, for a model may say which.
func (m *funcMachine) levels(a *About) []level {
	return []level{{carewire.PriorityLow, a.Text}, {carewire.PriorityMedium, a.Text}, {carewire.PriorityHigh, a.Text}}
}

func (m *funcMachine) state(st *state) *funcState {
	if st.data == nil {
		st.data = new(funcState)
	}
	return st.data.(*funcState)
}

// seesAbsent reports that see must be called for absent vitals too.
func (m *funcMachine) seesAbsent() bool { return true }

func (m *funcMachine) see(c *Case, st *state, r *reading) {
	x := m.state(st)
	if v := c.current; v != nil && (len(x.vitals) == 0 || x.vitals[len(x.vitals)-1].ID != v.ID || v.ID == "") {
		x.vitals = append(x.vitals, cloneVital(v))
	}
	from := c.out(c.now).Add(-m.rule.Window)
	old := slices.IndexFunc(x.vitals, func(v carewire.Vital) bool { return !v.Received.Before(from) })
	if old < 0 {
		old = len(x.vitals) - 1
	}
	x.vitals = slices.Delete(x.vitals, 0, max(old, len(x.vitals)-funcVitals))
	if len(x.vitals) == 0 || x.called != 0 && c.now-x.called < span(m.rule.Every) {
		return
	}
	m.judge(c, st, r)
}

// judge calls the model for the vitals up to r, now or when it has rested.
func (m *funcMachine) judge(c *Case, st *state, r *reading) {
	x := m.state(st)
	if rest := m.rest(); rest > 0 {
		x.waits, x.again = *r, c.now+span(rest)+1
		x.unknown = "the model rests, for it took too long"
		st.unable(c.now, faultModel)
		st.until = min(st.until, c.now)
		return
	}
	x.waits, x.called = reading{}, c.now
	f, failed := m.call(x)
	x.unknown = strings.Map(printable, clip(f.Unknown, 100))
	switch {
	case failed != "":
		st.unable(c.now, faultForm)
		st.failure = failed
		return
	case x.unknown != "":
		st.unable(c.now, faultModel)
		st.until, st.failure = min(st.until, c.now), ""
		x.confidence = 0
		return
	}
	st.able(r.received + c.sensors[r.sensor].life())
	m.take(c, st, r, &f)
}

// rest is for how long the model still rests after a call that has taken too long.
func (m *funcMachine) rest() time.Duration {
	if until := m.rests.Load(); until != nil {
		return time.Until(*until)
	}
	return 0
}

// retract takes back a vital that was withdrawn or corrected.
func (m *funcMachine) retract(c *Case, st *state, gone *reading) {
	x := m.state(st)
	x.vitals = slices.DeleteFunc(x.vitals, func(v carewire.Vital) bool { return v.ID == gone.id.String() })
	if x.waits.seq == gone.seq {
		x.waits = reading{}
	}
}

// missing says why the model cannot judge.
func (m *funcMachine) missing(c *Case, st *state) string { return m.state(st).unknown }

// take holds a finding against the confidence that is asked for.
func (m *funcMachine) take(c *Case, st *state, r *reading, f *Finding) {
	if !(f.Confidence > 0) { // NaN too
		f.Confidence = 0
	}
	f.Confidence = min(f.Confidence, 1)
	m.state(st).confidence = f.Confidence
	s := sample{at: r.at, received: r.received, interval: c.sensors[r.sensor].interval, seq: r.seq}
	if f.Present && f.Confidence >= m.rule.MinConfidence {
		switch or(f.Priority, m.rule.Priority) {
		case carewire.PriorityHigh:
			s.level = 3
		case carewire.PriorityLow, carewire.PriorityInfo:
			s.level = 1
		default:
			s.level = 2
		}
	}
	if s.keep = s.level; r.doubtful {
		s.keep = max(s.keep, st.level)
	}
	was := st.level
	st.step(&m.rule.Timing, s)
	if st.level > was {
		st.found = findingOf(r)
		st.found.note = strings.Map(printable, clip(f.Text, 300))
		if st.found.note != "" {
			st.found.note += "; "
		}
		st.found.note += fmt.Sprintf("%s %s, confidence %.2f", m.rule.Model, m.rule.ModelVersion, f.Confidence)
	}
}

func or(p, def carewire.Priority) carewire.Priority {
	if p == "" {
		return def
	}
	return p
}

// call calls the model. failed tells the fault in fixed words.
func (m *funcMachine) call(x *funcState) (f Finding, failed string) {
	if x.running.Load() {
		return f, "the model has not returned"
	}
	type result struct {
		f      Finding
		failed string
	}
	ctx, cancel := context.WithTimeout(context.Background(), m.rule.Timeout)
	defer cancel()
	done := make(chan result, 1)
	vitals := slices.Clone(x.vitals)
	x.running.Store(true)
	go func() {
		r := result{failed: "the model has panicked"}
		defer func() {
			recover()
			x.running.Store(false)
			done <- r
		}()
		f, err := m.rule.Judge(ctx, vitals)
		r = result{f: f}
		if err != nil {
			r.failed = "the model has failed"
		}
	}()
	select {
	case r := <-done:
		return r.f, r.failed
	case <-ctx.Done():
		m.rests.Store(new(time.Now().Add(9 * m.rule.Timeout)))
		return f, "the model takes too long"
	}
}

// source names the model, and how sure it is.
func (m *funcMachine) source(c *Case, st *state, src *carewire.Source) {
	src.Recognition = carewire.Recognition{Kind: m.rule.Recognises, Model: m.rule.Model + " " + m.rule.ModelVersion,
		Confidence: carewire.DecimalOf(math.Round(1e4*m.state(st).confidence) / 1e4)}
}

// due is when the model has rested, if a reading waits for that.
func (m *funcMachine) due(c *Case, st *state) millis {
	if x := m.state(st); x.waits.seq != 0 {
		return x.again
	}
	return never
}

func (m *funcMachine) tick(c *Case, st *state) {
	if x := m.state(st); x.waits.seq != 0 && c.now >= x.again {
		r := x.waits
		st.before, st.newest = st.gate, r.seq
		m.judge(c, st, &r)
	}
	st.gate.tick(&m.rule.Timing, c.now)
}

func (m *funcMachine) explain(c *Case, st *state) string {
	return fmt.Sprintf("%s %s, confidence %.2f of %.2f%s", m.rule.Model, m.rule.ModelVersion, m.state(st).confidence, m.rule.MinConfidence, m.rule.Timing.explain())
}

// cloneVital copies a vital with all that it refers to.
func cloneVital(v *carewire.Vital) (c carewire.Vital) {
	if b, err := json.Marshal(v); err == nil {
		json.Unmarshal(b, &c) // written a moment ago
	}
	return c
}
