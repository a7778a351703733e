package main

import (
	_ "embed"
	"fmt"
	"os"

	"github.com/carewire/carewire/rules"
)

// house are the rules that are run if none are given.
//
//go:embed house.json
var house []byte

// ruleList reads rules from a file, or takes the set of that name that is written in
// Go; with neither, those of house.json.
func ruleList(file, set string) ([]rules.Rule, error) {
	if set != "" {
		written, ok := sets[set]
		if !ok {
			return nil, fmt.Errorf("no set %q is written in Go", set)
		}
		return written(), nil
	}
	text := house
	if file != "" {
		var err error
		if text, err = os.ReadFile(file); err != nil {
			return nil, err
		}
	}
	return rules.Parse(text)
}

// A variant is a rule with or without the settings that make its alerts fewer.
type variant struct {
	name  string
	key   string
	rules []rules.Rule
}

// variants are a Limit's four; other rules have one. A rule without a delay has
// no time to clear either.
func variants(r rules.Rule) []variant {
	l, ok := r.(rules.Limit)
	if !ok {
		return []variant{{"both", key(r), []rules.Rule{r}}}
	}
	with := func(name string, delay, hysteresis bool) variant {
		v := l
		if !delay {
			v.Delay, v.Readings, v.Clear = 0, 0, 0
		}
		if !hysteresis {
			v.Margin = 0
		}
		if name != "both" {
			v.Flaps = -1 // nothing is held back
		}
		return variant{name, l.Key, []rules.Rule{v}}
	}
	return []variant{with("plain", false, false), with("hysteresis", false, true), with("delay", true, false), with("both", true, true)}
}

// key is the rule's.
func key(r rules.Rule) string {
	switch r := r.(type) {
	case rules.Change:
		return r.Key
	case rules.Forecast:
		return r.Key
	case rules.Absent:
		return r.Key
	case rules.Combination:
		return r.Key
	case rules.Score:
		return r.Key
	case rules.Func:
		return r.Key
	}
	return ""
}
