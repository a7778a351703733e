package metrics

import (
	"maps"
	"slices"
	"time"
)

// Issuer has the fields of smartauth.Stats, which is another module's: convert
// one into the other.
type Issuer struct {
	Accepted, Refused, Forbidden, Undecided uint64
	Refusals                                map[string]uint64
	Powerless                               uint64
	KeysAge                                 time.Duration
	KeysFailed                              uint64
	Introspected, Remembered                uint64
	Logouts, LogoutsRefused                 uint64
}

// OfIssuer lists the numbers of a smartauth.Authenticator.
func OfIssuer(s Issuer) []Metric {
	counter := func(name, help, label, value string, n uint64) Metric {
		return Metric{Name: "carewire_issuer_" + name + "_total", Help: help, Kind: Counter, Label: label, Value: value, Number: float64(n)}
	}
	const tokens, introspections, logouts = "Tokens, by result.", "Tokens that are no JWT, by the source of the decision.", "Logout tokens, by result."
	list := []Metric{
		counter("tokens", tokens, "kind", "accepted", s.Accepted), counter("tokens", tokens, "kind", "refused", s.Refused),
		counter("tokens", tokens, "kind", "forbidden", s.Forbidden), counter("tokens", tokens, "kind", "undecided", s.Undecided),
		{Name: "carewire_issuer_keys_age_seconds", Help: "Seconds since the issuer last gave its keys.", Kind: Gauge, Number: s.KeysAge.Seconds()},
		counter("keys_failed", "Times that the issuer's keys could not be fetched.", "", "", s.KeysFailed),
		counter("introspections", introspections, "kind", "asked", s.Introspected), counter("introspections", introspections, "kind", "remembered", s.Remembered),
		counter("logouts", logouts, "kind", "ended", s.Logouts), counter("logouts", logouts, "kind", "refused", s.LogoutsRefused),
		counter("powerless", "Tokens of persons who were let in but may do nothing, for want of scopes.", "", "", s.Powerless),
	}
	for _, reason := range slices.Sorted(maps.Keys(s.Refusals)) {
		list = append(list, counter("refusals", "Refused tokens, by reason.", "reason", reason, s.Refusals[reason]))
	}
	return list
}
