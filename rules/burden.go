package rules

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/carewire/carewire"
)

// Burden counts the alerts of one rule on one ward and day.
type Burden struct {
	Day      string `json:"day"` // 2026-03-01, in the location of the report's From
	Ward     string `json:"ward"`
	Rule     string `json:"rule"`
	Patients int    `json:"patients"` // with such an alert
	Counts
}

// ReportQuery selects the alerts of a report.
type ReportQuery struct {
	Patients []string                    // required
	From, To time.Time                   // From's location decides where a day begins
	Ward     func(patient string) string // nil: all are one ward
	Keys     []string                    // of alerts; nil: all that the host has raised
}

// Report counts the burden of alerts, from the patients' logs, by day, ward and
// rule. An alert counts for the day of its raise, with all answers until To.
// ErrGap means that some entries are no longer kept.
func Report(ctx context.Context, hub *carewire.Hub, q ReportQuery) ([]Burden, error) {
	days := make(map[Burden]*counter) // the key has Day and Ward only
	seen := make(map[Burden]map[string]bool)
	for _, patient := range q.Patients {
		ward := ""
		if q.Ward != nil {
			ward = q.Ward(patient)
		}
		err := alertsOf(ctx, hub, carewire.HistoryQuery{Patient: patient, Kinds: []carewire.Kind{carewire.KindAlert}, From: q.From, To: q.To}, func(a *carewire.Alert) {
			if a.Raised.Before(q.From) || a.Test || a.Source.By != host || q.Keys != nil && !slices.Contains(q.Keys, a.Key) {
				return
			}
			k := Burden{Day: a.Raised.In(q.From.Location()).Format(time.DateOnly), Ward: ward}
			if days[k] == nil {
				days[k] = new(counter)
			}
			days[k].note(a, strings.Contains(a.Text, staysText))
			k.Rule = a.Key
			if seen[k] == nil {
				seen[k] = make(map[string]bool)
			}
			seen[k][patient] = true
		})
		if err != nil {
			return nil, err
		}
	}
	var list []Burden
	for k, n := range days {
		for key, c := range n.snapshot() {
			b := Burden{Day: k.Day, Ward: k.Ward, Rule: key}
			b.Patients, b.Counts = len(seen[b]), c
			list = append(list, b)
		}
	}
	slices.SortFunc(list, func(a, b Burden) int {
		return cmp.Or(cmp.Compare(a.Day, b.Day), cmp.Compare(a.Ward, b.Ward), cmp.Compare(a.Rule, b.Rule))
	})
	return list, nil
}

// alertsOf calls take with each state of a patient's alerts that q asks for.
func alertsOf(ctx context.Context, hub *carewire.Hub, q carewire.HistoryQuery, take func(*carewire.Alert)) error {
	for {
		page, err := hub.History(ctx, q)
		if errors.Is(err, carewire.ErrGap) {
			return carewire.ErrGap
		}
		if err != nil {
			return err
		}
		for i := range page.Events {
			if a := page.Events[i].Alert; a != nil {
				take(a)
			}
		}
		if q.Cursor = page.Next; q.Cursor == 0 {
			return nil
		}
	}
}
