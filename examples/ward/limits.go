package main

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/carewire/carewire"
)

// A limit is the edge of what is normal for one number. An alert is raised when
// the number has been beyond it for a while, and its condition ends when the
// number is back inside by a margin: a number that wavers at its limit gives
// one alert, not many.
type limit struct {
	key      string  // of the alert
	code     string  // of the vital, or of its component
	below    bool    // what is below is out; else what is above
	at       float64 // itself still normal
	margin   float64
	delay    time.Duration // how long it must last
	priority carewire.Priority
	text     string
	rule     string // as people read it
}

// limits are those of all patients, and values of them only examples: which
// are right for whom is for clinicians to say.
var limits = []limit{
	{"spo2-low", carewire.SpO2.Code, true, 90, 2, 8 * time.Second, carewire.PriorityHigh, "Oxygen saturation low", "≥ 90 %"},
	{"hr-high", carewire.HeartRate.Code, false, 130, 5, 10 * time.Second, carewire.PriorityMedium, "Heart rate high", "≤ 130 /min"},
	{"hr-low", carewire.HeartRate.Code, true, 45, 5, 10 * time.Second, carewire.PriorityHigh, "Heart rate low", "≥ 45 /min"},
	{"rr-high", carewire.RespiratoryRate.Code, false, 28, 3, 15 * time.Second, carewire.PriorityMedium, "Breathing fast", "≤ 28 /min"},
	{"rr-low", carewire.RespiratoryRate.Code, true, 8, 2, 15 * time.Second, carewire.PriorityHigh, "Breathing slow", "≥ 8 /min"},
	{"temp-high", carewire.BodyTemperature.Code, false, 38.5, 0.3, 0, carewire.PriorityLow, "Fever", "≤ 38.5 °C"},
	{"bp-high", carewire.SystolicPressure.Code, false, 180, 10, 0, carewire.PriorityMedium, "Blood pressure high", "≤ 180 mmHg systolic"},
	{"bp-low", carewire.SystolicPressure.Code, true, 90, 5, 0, carewire.PriorityHigh, "Blood pressure low", "≥ 90 mmHg systolic"},
}

// silence is how far apart readings may be and still count as lasting.
const silence = 10 * time.Second

// A standing is where a number stands to one of its limits.
type standing struct {
	out    bool      // an alert says that it is out
	since  time.Time // out, but not for long enough yet, since then
	latest time.Time // the last reading
}

// read takes in a reading. It returns raise or clear when the alert is to be
// raised or cleared; the caller then sets out.
func (s *standing) read(l *limit, value float64, at time.Time) (raise, clear bool) {
	beyond := value - l.at // positive: out
	if l.below {
		beyond = -beyond
	}
	if at.Sub(s.latest) > silence { // nobody knows what was in between
		s.since = time.Time{}
	}
	s.latest = at
	switch {
	case beyond <= -l.margin: // well inside
		s.since = time.Time{}
		return false, s.out
	case s.out:
		return false, false
	case beyond > 0 && s.since.IsZero():
		s.since = at
	}
	return !s.since.IsZero() && at.Sub(s.since) >= l.delay, false
}

// A watchman follows all patients within this process, and raises and clears
// alerts when their numbers leave their limits and come back.
type watchman struct {
	hub      *carewire.Hub
	people   *people
	log      *slog.Logger
	standing map[subject]*standing
	joining  map[string]bool // patients of whom the snapshot still comes
}

type subject struct{ patient, key string }

// run watches until ctx ends or the Hub does.
func (w *watchman) run(ctx context.Context) {
	for ctx.Err() == nil {
		w.standing, w.joining = make(map[subject]*standing), make(map[string]bool)
		for e, err := range w.hub.Watch(ctx, carewire.WatchOptions{Patients: w.people.ids()}) {
			if errors.Is(err, carewire.ErrClosed) {
				return
			}
			if err == nil {
				w.see(ctx, &e)
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(time.Second):
		}
	}
}

// see takes an event in. The snapshot with which a watch begins tells which
// alerts are open from before, so that none is raised twice and each is cleared
// in time, and brings old numbers, which are not judged again.
func (w *watchman) see(ctx context.Context, e *carewire.Event) {
	switch e.Type {
	case carewire.EventSync:
		w.joining[e.Patient] = true
		for i := range limits {
			delete(w.standing, subject{e.Patient, limits[i].key})
		}
	case carewire.EventSynced:
		delete(w.joining, e.Patient)
	case carewire.EventAlert:
		if w.joining[e.Patient] && e.Alert.Open() && e.Alert.Condition == carewire.ConditionPresent {
			w.of(e.Patient, e.Alert.Key).out = true
		}
	case carewire.EventVital:
		if v := e.Vital; !w.joining[e.Patient] && !v.Test && v.Absent == "" && (v.Status == "" || v.Status == carewire.VitalFinal) {
			w.judge(ctx, v, v.Code, v.Value, v.Unit)
			for _, c := range v.Components {
				if c.Absent != "" {
					continue
				}
				w.judge(ctx, v, c.Code, c.Value, c.Unit)
			}
		}
	}
}

// of returns how a number of a patient stands.
func (w *watchman) of(patient, key string) *standing {
	k := subject{patient, key}
	if w.standing[k] == nil {
		w.standing[k] = new(standing)
	}
	return w.standing[k]
}

// judge holds one number against its limits. What cannot be raised or cleared
// now is tried again with the next reading.
func (w *watchman) judge(ctx context.Context, v *carewire.Vital, code string, value carewire.Decimal, unit string) {
	for i := range limits {
		l := &limits[i]
		if l.code != code || value == "" {
			continue
		}
		s := w.of(v.Patient, l.key)
		raise, clear := s.read(l, value.Float64(), v.Received)
		var err error
		switch {
		case raise:
			p, _ := w.people.patient(v.Patient)
			_, err = w.hub.Raise(ctx, carewire.Alert{Patient: v.Patient, Key: l.key, Code: code, Text: l.text, Priority: l.priority,
				To: []string{"group:" + p.Group}, Onset: s.since,
				Source: carewire.Source{Rule: l.key, Limits: l.rule, Value: value, Unit: unit, VitalID: v.ID}})
		case clear:
			_, err = w.hub.Clear(ctx, carewire.AlertRef{Patient: v.Patient, Key: l.key})
		default:
			continue
		}
		if err != nil {
			w.log.Warn("an alert could not be raised or cleared", "error", err)
			continue
		}
		s.out, s.since = raise, time.Time{}
	}
}
