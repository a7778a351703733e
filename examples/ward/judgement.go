package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// wardRules are those of all patients, and their numbers only examples: which
// are right for whom is for clinicians to say.
func wardRules() []rules.Rule {
	limit := func(key, text string, m carewire.Measure, side rules.Side, at, margin float64, delay time.Duration, p carewire.Priority) rules.Limit {
		return rules.Limit{About: rules.About{Key: key, Text: text, Priority: p}, Timing: rules.Timing{Delay: delay},
			Code: m.Code, Unit: m.Units()[0], Side: side, At: at, Margin: margin}
	}
	high, medium, low := carewire.PriorityHigh, carewire.PriorityMedium, carewire.PriorityLow
	news2 := rules.NEWS2()
	news2.Delay, news2.Clear = 30*time.Second, 30*time.Second // monitors measure all the time
	return []rules.Rule{
		limit("spo2-low", "Oxygen saturation low", carewire.SpO2, rules.Below, 90, 2, 8*time.Second, high),
		limit("hr-high", "Heart rate high", carewire.HeartRate, rules.Above, 130, 5, 10*time.Second, medium),
		limit("hr-low", "Heart rate low", carewire.HeartRate, rules.Below, 45, 5, 10*time.Second, high),
		limit("rr-high", "Breathing fast", carewire.RespiratoryRate, rules.Above, 28, 3, 15*time.Second, medium),
		limit("rr-low", "Breathing slow", carewire.RespiratoryRate, rules.Below, 8, 2, 15*time.Second, high),
		limit("temp-high", "Fever", carewire.BodyTemperature, rules.Above, 38.5, 0.3, 0, low),
		limit("bp-high", "Blood pressure high", carewire.SystolicPressure, rules.Above, 180, 10, 0, medium),
		limit("bp-low", "Blood pressure low", carewire.SystolicPressure, rules.Below, 90, 5, 0, high),
		news2,
	}
}

// startJudge judges all patients by the ward's rules until ctx ends.
func (w *ward) startJudge(ctx context.Context) error {
	set, err := rules.NewSet(wardRules()...)
	if err != nil {
		return err
	}
	w.judge, err = rules.New(w.hub, set, &rules.Options{
		Patients: func(context.Context) ([]string, error) { return w.people.ids(), nil },
		To: func(id string) []string {
			p, _ := w.people.patient(id)
			return []string{"group:" + p.Group}
		},
		Settings: w.settings,
		Logger:   w.log,
	})
	if err != nil {
		return err
	}
	w.running.Go(func() { w.judge.Run(ctx) })
	return nil
}

// settings are a patient's own limits, which lie where all wards on one store
// find them. Everybody here was born in the same year.
func (w *ward) settings(ctx context.Context, patient string) (rules.Settings, error) {
	s := rules.Settings{Born: time.Date(1961, 4, 1, 0, 0, 0, 0, time.UTC)}
	text, err := w.hub.Share(ctx, "limits."+patient, func([]byte) []byte { return nil })
	if err == nil && text != nil {
		err = json.Unmarshal(text, &s.Limits)
	}
	return s, err
}

// A newLimit is what a clinician sends to change one limit of one patient. At
// nil takes the patient's own limit away.
type newLimit struct {
	Patient string   `json:"patient"`
	Rule    string   `json:"rule"`
	At      *float64 `json:"at"`
	Reason  string   `json:"reason"`
}

// serveRules serves where the rules stand with a patient, and changes of limits.
func (w *ward) serveRules(mux *http.ServeMux) {
	mux.HandleFunc("GET /rules/{patient}", w.known(func(r *http.Request, u carewire.Principal) (any, error) {
		if !w.mayKnow(u, r.PathValue("patient")) {
			return nil, carewire.ErrForbidden
		}
		return w.judge.Explain(r.PathValue("patient"))
	}))
	mux.HandleFunc("PUT /limits", w.known(func(r *http.Request, u carewire.Principal) (any, error) {
		var n newLimit
		d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 4096))
		d.DisallowUnknownFields()
		if err := d.Decode(&n); err != nil {
			return nil, errBadLimit
		}
		return struct{}{}, w.setLimit(r.Context(), u, n)
	}))
}

var errBadLimit = errors.New("not a limit of the ward's rules, with a number and a reason of at most 200 bytes")

// mayKnow reports whether a user is staff and may know of a patient.
func (w *ward) mayKnow(u carewire.Principal, id string) bool {
	return u.Role != carewire.RolePatient && u.Role != carewire.RoleDevice &&
		slices.ContainsFunc(w.people.of(u), func(p patient) bool { return p.ID == id })
}

// setLimit changes a limit. It counts within seconds, at whichever ward judges
// the patient, and the next alert says who has set it.
func (w *ward) setLimit(ctx context.Context, u carewire.Principal, n newLimit) error {
	if u.Role != carewire.RoleClinician || !w.mayKnow(u, n.Patient) {
		return carewire.ErrForbidden
	}
	known := slices.ContainsFunc(wardRules(), func(r rules.Rule) bool { l, ok := r.(rules.Limit); return ok && l.Key == n.Rule })
	if !known || n.Reason == "" || len(n.Reason) > 200 || n.At != nil && (math.IsNaN(*n.At) || math.Abs(*n.At) > 1000) {
		return errBadLimit
	}
	_, err := w.hub.Share(ctx, "limits."+n.Patient, func(old []byte) []byte {
		limits := map[string]rules.LimitSetting{}
		if len(old) > 0 && json.Unmarshal(old, &limits) != nil {
			return nil
		}
		limits[n.Rule] = rules.LimitSetting{At: n.At, By: cmp.Or(u.Name, u.ID), Reason: n.Reason}
		text, _ := json.Marshal(limits)
		return text
	})
	if err == nil {
		w.judge.Changed(n.Patient)
	}
	return err
}
