package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// An ownLimit is a patient's own limit, as the store keeps it. Without numbers
// it records the person who restored the usual ones.
type ownLimit struct {
	rules.LimitSetting
	Set time.Time
}

// settings returns the rules' settings of a patient. A patient's own limits are
// kept where all wards on one store find them. Everybody here was born in the
// same year.
func (w *ward) settings(ctx context.Context, patient string) (rules.Settings, error) {
	s := rules.Settings{Born: time.Date(1961, 4, 1, 0, 0, 0, 0, time.UTC), Limits: map[string]rules.LimitSetting{}}
	own, err := w.ownLimits(ctx, patient)
	for key, l := range own {
		s.Limits[key] = l.LimitSetting
	}
	return s, err
}

// ownLimits are a patient's own limits, by rule.
func (w *ward) ownLimits(ctx context.Context, patient string) (own map[string]ownLimit, err error) {
	text, err := w.hub.Share(ctx, "limits."+patient, func([]byte) []byte { return nil })
	if err == nil && len(text) > 0 {
		err = json.Unmarshal(text, &own)
	}
	return own, err
}

// A shownLimit is a limit of one patient, as the page shows it.
type shownLimit struct {
	Rule   string       `json:"rule"`
	Text   string       `json:"text"`
	Side   rules.Side   `json:"side"`
	Unit   string       `json:"unit"`
	Lowest float64      `json:"lowest"` // that may be chosen
	Most   float64      `json:"most"`
	Levels []shownLevel `json:"levels"` // the lowest priority first
	By     string       `json:"by,omitempty"`
	Reason string       `json:"reason,omitempty"`
	Set    time.Time    `json:"set,omitzero"`
}

// A shownLevel is the number beyond which a limit's alert has a priority.
type shownLevel struct {
	Priority carewire.Priority `json:"priority"`
	At       float64           `json:"at"`
	Usual    float64           `json:"usual"`
}

// limits are all limits of a patient as they are now.
func (w *ward) limits(ctx context.Context, patient string) ([]shownLimit, error) {
	own, err := w.ownLimits(ctx, patient)
	if err != nil {
		return nil, err
	}
	list := []shownLimit{}
	for _, r := range limitRules() {
		o, between := own[r.Key], choices[r.Code]
		l := shownLimit{Rule: r.Key, Text: r.Text, Side: r.Side, Unit: r.Unit, Lowest: between[0], Most: between[1], By: o.By, Reason: o.Reason, Set: o.Set}
		at, severe := numbersOf(r, o.LimitSetting)
		l.Levels = append(l.Levels, shownLevel{r.Priority, at, r.At})
		if r.Severe != nil {
			l.Levels = append(l.Levels, shownLevel{cmp.Or(r.Severe.Priority, carewire.PriorityHigh), severe, r.Severe.At})
		}
		list = append(list, l)
	}
	return list, nil
}

// numbersOf returns a limit and its severe one, if it has that, as they are for a patient.
func numbersOf(r rules.Limit, own rules.LimitSetting) (at, severe float64) {
	if at = r.At; own.At != nil {
		at = *own.At
	}
	if r.Severe != nil {
		severe = r.Severe.At
	}
	if own.Severe != nil {
		severe = *own.Severe
	}
	return at, severe
}

// limitRules are those of the ward's rules that have a limit.
func limitRules() (list []rules.Limit) {
	for _, r := range wardRules() {
		if l, ok := r.(rules.Limit); ok {
			list = append(list, l)
		}
	}
	return list
}

// choices are the limits that may be chosen, in the rule's unit: one that is
// farther out is a slip of the finger rather than meant.
var choices = map[string][2]float64{
	carewire.SpO2.Code: {70, 99}, carewire.HeartRate.Code: {30, 220}, carewire.RespiratoryRate.Code: {4, 60},
	carewire.BodyTemperature.Code: {34, 42}, carewire.SystolicPressure.Code: {50, 240},
}

// A newLimit is a clinician's request to change one limit of one patient. Nil
// members mean the usual ones.
type newLimit struct {
	Patient string    `json:"patient"`
	Rule    string    `json:"rule"`
	At      *float64  `json:"at"`
	Severe  *float64  `json:"severe"`
	Reason  string    `json:"reason"`
	Seen    time.Time `json:"seen"` // when the limit that they have looked at was set; zero: never
}

// A badLimit is the fault of a newLimit.
type badLimit string

func (b badLimit) Error() string { return string(b) }

// errChanged means that somebody else was faster.
var errChanged = errors.New("somebody has changed this limit meanwhile: look again")

// check holds a new limit against its rule and the patient's other limits.
func (n *newLimit) check(own map[string]ownLimit) error {
	all := limitRules()
	k := slices.IndexFunc(all, func(r rules.Limit) bool { return r.Key == n.Rule })
	if k < 0 {
		return badLimit("rule: is no limit of this ward")
	}
	r := all[k]
	if n.Reason == "" || len(n.Reason) > 200 {
		return badLimit("reason: say why, in at most 200 letters")
	}
	if n.Severe != nil && r.Severe == nil {
		return badLimit("severe: this limit has no second one")
	}
	between := choices[r.Code]
	for name, x := range map[string]*float64{"at": n.At, "severe": n.Severe} {
		if x != nil && (*x < between[0] || *x > between[1]) {
			return badLimit(fmt.Sprintf("%s: must be from %v to %v", name, between[0], between[1]))
		}
	}
	at, severe := numbersOf(r, rules.LimitSetting{At: n.At, Severe: n.Severe})
	if r.Severe != nil && (r.Side == rules.Above) == (severe <= at) {
		return badLimit("severe: must be farther out than the first limit")
	}
	for _, o := range all {
		other, _ := numbersOf(o, own[o.Key].LimitSetting)
		low, up := at+r.Margin, other-o.Margin // both must leave room for normal values
		if r.Side == rules.Above {
			low, up = other+o.Margin, at-r.Margin
		}
		if o.Code == r.Code && o.Side != r.Side && low >= up {
			return badLimit(fmt.Sprintf("at: is too near to the limit of %q, or beyond it", o.Text))
		}
	}
	return nil
}

// auditLimit is the AuditEvent of a limit that somebody has set, or has tried to.
const auditLimit carewire.AuditEvent = "limit_set"

// setLimit changes a limit, and records the person, also after a failure. It
// takes effect within seconds, at the ward that judges the patient, and the
// next alert names its author.
func (w *ward) setLimit(ctx context.Context, u carewire.Principal, n newLimit) (err error) {
	record := carewire.Record{Time: w.hub.Now(), Event: auditLimit, Outcome: carewire.OutcomeDone, Patient: n.Patient, Key: n.Rule, Reason: n.Reason,
		Who: carewire.Person{ID: u.ID, Name: u.Name, Role: u.Role}}
	defer func() {
		if errors.Is(err, carewire.ErrForbidden) {
			record.Outcome, record.Code = carewire.OutcomeRefused, carewire.CodeForbidden
		} else if err != nil {
			record.Outcome = carewire.OutcomeFailed
		}
		if failed := w.audit.Record(ctx, record); failed != nil {
			w.log.Error("ward: a change of limits could not be recorded", "error", failed)
		}
	}()
	if u.Role != carewire.RoleClinician || !w.mayKnow(u, n.Patient) {
		return carewire.ErrForbidden
	}
	var wrong error
	_, err = w.hub.Share(ctx, "limits."+n.Patient, func(old []byte) []byte {
		own := map[string]ownLimit{}
		if len(old) > 0 {
			wrong = json.Unmarshal(old, &own)
		}
		if wrong == nil {
			wrong = n.check(own)
		}
		if wrong == nil && !own[n.Rule].Set.Equal(n.Seen) {
			wrong = errChanged
		}
		if wrong != nil {
			return nil
		}
		own[n.Rule] = ownLimit{rules.LimitSetting{At: n.At, Severe: n.Severe, By: cmp.Or(u.Name, u.ID), Reason: n.Reason}, w.hub.Now()}
		text, _ := json.Marshal(own)
		return text
	})
	if err == nil {
		err = wrong
	}
	if err == nil {
		w.judge.Changed(n.Patient)
	}
	return err
}

// mayKnow reports whether a user is staff and may know of a patient.
func (w *ward) mayKnow(u carewire.Principal, id string) bool {
	return u.Role != carewire.RolePatient && u.Role != carewire.RoleDevice &&
		slices.ContainsFunc(w.people.of(u), func(p patient) bool { return p.ID == id })
}

// serveRules serves where the rules stand with a patient, the patient's limits,
// and changes of them.
func (w *ward) serveRules(mux *http.ServeMux) {
	// The body names the patient, since URLs stand in logs.
	ofPatient := func(answer func(*http.Request, string) (any, error)) http.HandlerFunc {
		return w.known(func(r *http.Request, u carewire.Principal) (any, error) {
			var of struct{ Patient string }
			if err := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 4096)).Decode(&of); err != nil || !w.mayKnow(u, of.Patient) {
				return nil, carewire.ErrForbidden
			}
			return answer(r, of.Patient)
		})
	}
	mux.HandleFunc("POST /rules", ofPatient(func(_ *http.Request, id string) (any, error) {
		list, err := w.judge.Explain(id)
		if errors.Is(err, rules.ErrNotJudged) { // admitted a moment ago
			return []rules.Standing{}, nil
		}
		return list, err
	}))
	mux.HandleFunc("POST /limits", ofPatient(func(r *http.Request, id string) (any, error) { return w.limits(r.Context(), id) }))
	mux.HandleFunc("PUT /limits", w.known(func(r *http.Request, u carewire.Principal) (any, error) {
		var n newLimit
		d := json.NewDecoder(http.MaxBytesReader(nil, r.Body, 4096))
		d.DisallowUnknownFields()
		if err := d.Decode(&n); err != nil {
			return nil, badLimit("this is not a limit")
		}
		return struct{}{}, w.setLimit(r.Context(), u, n)
	}))
}
