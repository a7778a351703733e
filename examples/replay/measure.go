package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// An episode is one alert, from being raised to being over. One that was still
// present at the end of the recording ends there.
type episode struct {
	Patient  string            `json:"patient"`
	Raised   time.Time         `json:"raised"`
	Ended    time.Time         `json:"ended"`
	Later    float64           `json:"later_s"` // seconds after the first reading beyond the limit
	Priority carewire.Priority `json:"priority"`
}

// A measure is the burden of one rule in one variant.
type measure struct {
	Rule     string    `json:"rule"`
	Variant  string    `json:"variant"`
	Episodes []episode `json:"episodes"`

	Alerts         int     `json:"alerts"`
	PerPatientDay  float64 `json:"per_patient_day"`
	PerOperator10  float64 `json:"per_operator_10min"`
	MedianSeconds  float64 `json:"median_s"`
	TotalSeconds   float64 `json:"total_s"`
	Flaps          int     `json:"flaps"` // raised again within flapsWithin of being over
	WorstTen       float64 `json:"share_of_worst_ten_patients"`
	MedianLater    float64 `json:"median_later_s"`
	GreatestLater  float64 `json:"greatest_later_s"`
	WithoutAnAlert int     `json:"plain_alerts_without_one"` // plain alerts of which this variant raises none
	split
	operators float64
}

// A split counts alerts by priority, and their floods.
type split struct {
	Priorities map[carewire.Priority]int `json:"priorities"`
	Floods     int                       `json:"floods"` // stretches of floodWithin with floodAlerts or more
}

// The bounds of an alarm that comes again too soon, and of a flood (ISA-18.2,
// IEC 62682).
const (
	flapsWithin = 5 * time.Minute
	floodWithin = 10 * time.Minute
	floodAlerts = 10
)

// A report is the whole result.
type report struct {
	Patients  []string  `json:"patients"`
	Hours     float64   `json:"hours"` // of all recordings together
	Operators float64   `json:"operators"`
	Rules     []measure `json:"rules"`
	split               // of all rules together, as they are
	from, to  map[string]time.Time
}

// add notes a recording.
func (r *report) add(x *recording) {
	if r.from == nil {
		r.from, r.to = map[string]time.Time{}, map[string]time.Time{}
	}
	r.Patients = append(r.Patients, x.Patient)
	r.Hours += x.hours()
	if len(x.vitals) > 0 {
		r.from[x.Patient], r.to[x.Patient] = x.vitals[0].Received, x.vitals[len(x.vitals)-1].Received
	}
}

// add adds the alerts of a rule in one recording.
func (m *measure) add(r *recording, found []rules.Transition) {
	open := -1
	for _, t := range found {
		switch {
		case t.Kind == rules.Cleared && open >= 0:
			m.Episodes[open].Ended, open = t.At, -1
		case t.Kind == rules.Raised:
			open = len(m.Episodes)
			m.Episodes = append(m.Episodes, episode{Patient: r.Patient, Raised: t.At, Later: t.At.Sub(t.Alert.Onset).Seconds(), Priority: t.Alert.Priority})
		case t.Kind == rules.Updated && open >= 0 && t.Alert.Priority == carewire.PriorityHigh:
			m.Episodes[open].Priority = t.Alert.Priority
		}
	}
	if open >= 0 {
		m.Episodes[open].Ended = r.vitals[len(r.vitals)-1].Received
	}
}

// finish counts.
func (m *measure) finish(r *report) {
	var lengths, later []float64
	by := map[string]int{}
	ended := map[string]time.Time{}
	for _, e := range m.Episodes {
		lengths, later = append(lengths, e.Ended.Sub(e.Raised).Seconds()), append(later, e.Later)
		m.TotalSeconds += e.Ended.Sub(e.Raised).Seconds()
		by[e.Patient]++
		if before, ok := ended[e.Patient]; ok && e.Raised.Sub(before) <= flapsWithin {
			m.Flaps++
		}
		ended[e.Patient] = e.Ended
	}
	if m.Alerts = len(m.Episodes); r.Hours > 0 {
		m.PerPatientDay = float64(m.Alerts) / r.Hours * 24
		m.PerOperator10 = float64(m.Alerts) / (r.Hours / float64(len(r.Patients)) * 6) / m.operators
	}
	m.split = splitOf(m.Episodes)
	m.MedianSeconds, _ = middle(lengths)
	m.MedianLater, m.GreatestLater = middle(later)
	counts := []int{}
	for _, n := range by {
		counts = append(counts, n)
	}
	slices.Sort(counts)
	slices.Reverse(counts)
	worst := 0
	for _, n := range counts[:min(10, len(counts))] {
		worst += n
	}
	if m.Alerts > 0 {
		m.WorstTen = float64(worst) / float64(m.Alerts)
	}
	for i := range r.Rules {
		if p := &r.Rules[i]; p.Rule == m.Rule && p.Variant == "plain" {
			m.WithoutAnAlert = p.without(m)
		}
	}
}

// without counts the episodes of p during which m has none.
func (p *measure) without(m *measure) (n int) {
	for _, e := range p.Episodes {
		if !slices.ContainsFunc(m.Episodes, func(x episode) bool {
			return x.Patient == e.Patient && !x.Raised.After(e.Ended) && !x.Ended.Before(e.Raised)
		}) {
			n++
		}
	}
	return n
}

// middle returns the median and the greatest of values.
func middle(values []float64) (median, greatest float64) {
	if len(values) == 0 {
		return 0, 0
	}
	slices.Sort(values)
	return values[len(values)/2], values[len(values)-1]
}

// finish counts over all rules as they are.
func (r *report) finish() {
	var all []episode
	for i := range r.Rules {
		if r.Rules[i].Variant == "both" {
			all = append(all, r.Rules[i].Episodes...)
		}
	}
	r.split = splitOf(all)
}

// splitOf counts the priorities and the floods of alerts.
func splitOf(list []episode) split {
	s := split{Priorities: map[carewire.Priority]int{carewire.PriorityHigh: 0, carewire.PriorityMedium: 0, carewire.PriorityLow: 0}}
	var at []time.Time
	for _, e := range list {
		s.Priorities[e.Priority]++
		at = append(at, e.Raised)
	}
	slices.SortFunc(at, time.Time.Compare)
	for i := 0; i < len(at); {
		n := i
		for n < len(at) && at[n].Sub(at[i]) <= floodWithin {
			n++
		}
		if n-i < floodAlerts {
			i++
			continue
		}
		s.Floods++
		i = n
	}
	return s
}

// String writes the priorities as high/medium/low.
func (s split) String() string {
	return fmt.Sprintf("%d/%d/%d", s.Priorities[carewire.PriorityHigh], s.Priorities[carewire.PriorityMedium], s.Priorities[carewire.PriorityLow])
}

// print writes the table.
func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%d recordings, %.1f hours\n\n", len(r.Patients), r.Hours)
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "rule\tvariant\talerts\t/patient/day\t/operator/10min\tmedian\ttotal\tflaps\tworst ten\thigh/medium/low\tfloods\tlater: median\tmost\tplain without one\t")
	quiet := r.quiet()
	for i := range r.Rules {
		m := &r.Rules[i]
		if slices.Contains(quiet, m.Rule) {
			continue
		}
		fmt.Fprintf(w, "%s\t%s\t%d\t%.1f\t%.2f\t%s\t%s\t%d\t%.0f %%\t%s\t%d\t%s\t%s\t%d\t\n", m.Rule, m.Variant, m.Alerts, m.PerPatientDay, m.PerOperator10,
			seconds(m.MedianSeconds), seconds(m.TotalSeconds), m.Flaps, 100*m.WorstTen, m.split, m.Floods, seconds(m.MedianLater), seconds(m.GreatestLater), m.WithoutAnAlert)
	}
	w.Flush()
	if len(quiet) > 0 {
		fmt.Fprintf(out, "\nnothing found by %s\n", strings.Join(quiet, ", "))
	}
	fmt.Fprintf(out, "\nall as they are: high/medium/low %s; %d floods (%d alerts or more in %s)\n", r.split, r.Floods, floodAlerts, floodWithin)
}

// quiet lists the rules of which no variant has found anything.
func (r *report) quiet() (list []string) {
	for i := range r.Rules {
		key := r.Rules[i].Rule
		found := slices.ContainsFunc(r.Rules, func(m measure) bool { return m.Rule == key && m.Alerts > 0 })
		if !found && !slices.Contains(list, key) {
			list = append(list, key)
		}
	}
	return list
}

func seconds(s float64) string {
	return time.Duration(s * float64(time.Second)).Round(time.Second).String()
}
