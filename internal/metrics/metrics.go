// Package metrics names the numbers of carewire.Stats for systems that collect
// them. It goes by the fields of Stats, so none is left out.
package metrics

import (
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// Kind is the kind of a number.
type Kind int

// A Counter only goes up until the Hub ends; a Gauge is a present value; a Histogram counts
// durations.
const (
	Counter Kind = iota
	Gauge
	Histogram
)

// Metric is one number. No label holds health data or an ID of a person.
type Metric struct {
	Name   string // such as carewire_events_in_total
	Help   string
	Kind   Kind
	Label  string // the label's name; "" for none
	Value  string // the label's value
	Number float64
	Hist   carewire.Histogram // of a Histogram
}

// help describes a field of Stats. A field that is not here is described by its name.
var help = map[string]string{
	"Handshakes":      "WebSocket handshakes and requests by POST, by result.",
	"Limits":          "How often each limit was met.",
	"Connections":     "Open connections, event streams among them.",
	"Watches":         "Patients that are watched, each counted for each client.",
	"EventsIn":        "Events taken in.",
	"EventsOut":       "Events delivered to clients, each counted for each.",
	"Replaced":        "Vitals that a newer one replaced on the way to a slow client.",
	"Skipped":         "Times that a client was farther behind than MaxReplay.",
	"Signals":         "Waves that are live.",
	"WavesIn":         "Chunks of waves taken in.",
	"WavesOut":        "Chunks of waves delivered to clients, each counted for each.",
	"WavesLost":       "Chunks of waves dropped because a client was slow, each counted for each.",
	"SlowClients":     "Connections ended because the client was too slow.",
	"SlowAgain":       "The same of principals to whom it happens again and again.",
	"ReadErrors":      "Reads of the Store that failed while a client caught up.",
	"Panics":          "Panics of the host's code.",
	"OutboxBytes":     "Bytes that wait for all clients together.",
	"AuditWaiting":    "Audit records that wait for the Auditor.",
	"AuditFailed":     "Calls of the Auditor that failed.",
	"AuditLost":       "Audit records that were lost.",
	"AuditRejected":   "Audit records that the Auditor has refused again and again.",
	"AlertsOpen":      "Open alerts.",
	"AlertsOverdue":   "Open alerts that have been due for more than five seconds.",
	"LevelsUnreached": "Levels of alerts that were told to nobody.",
	"PagesSent":       "Pages that the Pager took.",
	"PagesFailed":     "Pages that the Pager did not take.",
	"PagesMoot":       "Pages that were not sent, because nobody needed to be told any more.",
	"Unresolved":      "Vitals and alerts of which the host could not say whose they are.",
	"PolicyFailed":    "Calls of the Policy that failed.",
	"BadAddressees":   "Addressees that a Policy named in an unknown form.",
	"PagersHanging":   "Recipients for whom a call of the Pager hangs.",
	"AlertsUnheard":   "Open alerts whose present level has reached nobody, or that nobody is to be told of.",
	"Append":          "Seconds that the Store took for each append.",
	"StoreState":      "1 for the state that the Store is in.",
	"StoreSince":      "When the Store's state last changed, as Unix time.",
	"MembersFailing":  "Members of a spread Store that fail.",
	"StoreBytes":      "Bytes of the Store that hold entries.",
	"StoreGrowth":     "Bytes a day by which the Store grows.",
	"StoreFullIn":     "Seconds until vitals find no room, as the Store grows now; 0: not known, or it does not grow.",
	"Lag":             "Seconds from another node's taking an event in to having it from the Store here.",
	"Relay":           "Messages between nodes, by outcome.",
	"Delay":           "Seconds from taking an event in to writing it to a client.",
}

// helpOfRules describes a field of rules.Counts.
var helpOfRules = map[string]string{
	"Raised":       "Occurrences of a rule's alert.",
	"Accepted":     "Occurrences that a person has accepted.",
	"Rejected":     "Answers that rejected an alert of the rule.",
	"Closed":       "Occurrences that a person has closed without having accepted.",
	"SelfEnded":    "Occurrences that were over before anybody accepted.",
	"FlapsHeld":    "Alerts that were raised so often that they had to stay.",
	"LevelsPaged":  "Times that people were told, all levels.",
	"ToAcceptance": "Seconds from being raised to being accepted, of all alerts of the rule together.",
}

var storeStates = []string{"ok", "slow", "failing"}

// Of lists the numbers of s, in the order of its fields.
func Of(s carewire.Stats) []Metric {
	return structure(nil, "carewire", reflect.ValueOf(s))
}

// OfRules lists the numbers of a rules.Judge, and those of each rule by its key.
func OfRules(s rules.Stats) []Metric {
	list := []Metric{
		{Name: "carewire_rules_vitals_total", Help: "Vitals that were judged.", Kind: Counter, Number: float64(s.Vitals)},
		{Name: "carewire_rules_patients", Help: "Patients that are judged here.", Kind: Gauge, Number: float64(s.Patients)},
		{Name: "carewire_rules_failed_total", Help: "Times that an alert or a score of a rule could not be written just then.", Kind: Counter, Number: float64(s.Failed)},
	}
	for _, key := range slices.Sorted(maps.Keys(s.Rules)) {
		v := reflect.ValueOf(s.Rules[key])
		for i := range v.NumField() {
			field := v.Type().Field(i)
			first := len(list)
			list = value(list, "carewire_rule_"+snake(field.Name), helpOfRules[field.Name], v.Field(i))
			for n := range list[first:] {
				list[first+n].Label, list[first+n].Value = "rule", key
			}
		}
	}
	return list
}

func structure(list []Metric, prefix string, v reflect.Value) []Metric {
	for i := range v.NumField() {
		field := v.Type().Field(i)
		if field.IsExported() {
			list = value(list, prefix+"_"+snake(field.Name), text(field.Name), v.Field(i))
		}
	}
	return list
}

func text(field string) string {
	if h, ok := help[field]; ok {
		return h
	}
	return "Stats." + field + " of package carewire."
}

// value appends the numbers of one field.
func value(list []Metric, name, help string, v reflect.Value) []Metric {
	switch x := v.Interface().(type) {
	case carewire.Histogram:
		return append(list, Metric{Name: name + "_seconds", Help: help, Kind: Histogram, Hist: x})
	case []carewire.MemberStats: // a name says which database, and no more
		for _, m := range x {
			failing := Metric{Name: "carewire_member_failing", Help: "1 while this member of a spread Store fails.", Kind: Gauge, Label: "member", Value: m.Name}
			if m.State == "failing" {
				failing.Number = 1
			}
			list = append(list, failing, Metric{Name: "carewire_member_parts", Help: "Parts of the patients that this member of a spread Store has.", Kind: Gauge, Label: "member", Value: m.Name, Number: float64(m.Parts)})
		}
		return list
	case time.Time:
		seconds := 0.0
		if !x.IsZero() {
			seconds = float64(x.UnixMilli()) / 1000
		}
		return append(list, Metric{Name: name + "_timestamp_seconds", Help: help, Kind: Gauge, Number: seconds})
	case time.Duration:
		return append(list, Metric{Name: name + "_seconds", Help: help, Kind: Gauge, Number: x.Seconds()})
	case string: // StoreState
		for _, state := range storeStates {
			m := Metric{Name: name, Help: help, Kind: Gauge, Label: "state", Value: state}
			if x == state {
				m.Number = 1
			}
			list = append(list, m)
		}
		return list
	}
	switch v.Kind() {
	case reflect.Bool:
		m := Metric{Name: name, Help: help, Kind: Gauge}
		if v.Bool() {
			m.Number = 1
		}
		return append(list, m)
	case reflect.Uint64:
		return append(list, Metric{Name: name + "_total", Help: help, Kind: Counter, Number: float64(v.Uint())})
	case reflect.Int, reflect.Int64:
		return append(list, Metric{Name: name, Help: help, Kind: Gauge, Number: float64(v.Int())})
	case reflect.Float64:
		return append(list, Metric{Name: name, Help: help, Kind: Gauge, Number: v.Float()})
	case reflect.Struct:
		if counters(v.Type()) {
			return labelled(list, name+"_total", help, v)
		}
		return structure(list, name, v)
	}
	return list
}

// counters reports whether t is a struct of counters alone.
func counters(t reflect.Type) bool {
	for i := range t.NumField() {
		if t.Field(i).Type.Kind() != reflect.Uint64 {
			return false
		}
	}
	return true
}

// labelled makes one counter of a struct of counters, by a label. A sum of the
// others is left out.
func labelled(list []Metric, name, help string, v reflect.Value) []Metric {
	for i := range v.NumField() {
		if f := v.Type().Field(i).Name; f != "Tried" {
			list = append(list, Metric{Name: name, Help: help, Kind: Counter, Label: "kind", Value: snake(f), Number: float64(v.Field(i).Uint())})
		}
	}
	return list
}

// snake turns EventsIn into events_in.
func snake(s string) string {
	var b strings.Builder
	rs := []rune(s)
	for i, r := range rs {
		if unicode.IsUpper(r) && i > 0 && (unicode.IsLower(rs[i-1]) || i+1 < len(rs) && unicode.IsLower(rs[i+1])) {
			b.WriteByte('_')
		}
		b.WriteRune(unicode.ToLower(r))
	}
	return b.String()
}
