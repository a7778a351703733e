package rules

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/carewire/carewire"
)

// ruleText is a rule as JSON has it. Which members count depends on kind.
type ruleText struct {
	Kind      string             `json:"kind"`
	Key       string             `json:"key"`
	Version   string             `json:"version"`
	Text      string             `json:"text"`
	Priority  carewire.Priority  `json:"priority"`
	AlertKind carewire.AlertKind `json:"alert_kind"`
	To        []string           `json:"to"`
	Quiet     bool               `json:"quiet"`
	Optional  bool               `json:"optional"`

	Delay    seconds `json:"delay_s"`
	Readings int     `json:"readings"`
	Clear    seconds `json:"clear_s"`
	Hold     seconds `json:"hold_s"`
	Flaps    int     `json:"flaps"`
	Settle   seconds `json:"settle_s"`

	Code      string      `json:"code"`
	System    string      `json:"system"`
	Unit      string      `json:"unit"`
	Side      Side        `json:"side"`
	At        float64     `json:"at"`
	Margin    float64     `json:"margin"`
	Severe    *severeText `json:"severe"`
	Sensors   Sensors     `json:"sensors"`
	Direction Direction   `json:"direction"`
	By        float64     `json:"by"`
	Within    seconds     `json:"within_s"`
	From      seconds     `json:"from_s"`
	For       seconds     `json:"for_s"`
	Required  bool        `json:"required"`
	All       []string    `json:"all"`
	Any       []string    `json:"any"`
}

type severeText struct {
	At       float64           `json:"at"`
	Priority carewire.Priority `json:"priority"`
	Text     string            `json:"text"`
}

// seconds is a duration as a number of seconds.
type seconds float64

func (s seconds) duration() time.Duration { return time.Duration(float64(s) * float64(time.Second)) }

// Parse reads rules from JSON: a list of objects with the kind limit, change,
// forecast, absent, combination, news2, mews or qsofa. Members are named as the
// fields of the Go types, in lower case. Durations are seconds, and their names
// end in _s. An unknown member is an error, which names the rule by its place.
// JSON cannot express a Func or another Score.
func Parse(text []byte) ([]Rule, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	var list []ruleText
	if err := d.Decode(&list); err != nil {
		return nil, fmt.Errorf("rules: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("rules: something follows the list")
	}
	var rules []Rule
	for i := range list {
		r, err := list[i].rule()
		if err != nil {
			return nil, fmt.Errorf("rules: rule %d: %w", i, err)
		}
		rules = append(rules, r)
	}
	return rules, nil
}

func (x *ruleText) rule() (Rule, error) {
	a := About{Key: x.Key, Version: x.Version, Text: x.Text, Priority: x.Priority, Kind: x.AlertKind, To: x.To, Quiet: x.Quiet, Optional: x.Optional}
	t := Timing{Delay: x.Delay.duration(), Readings: x.Readings, Clear: x.Clear.duration(), Hold: x.Hold.duration(), Flaps: x.Flaps, Settle: x.Settle.duration()}
	switch x.Kind {
	case "limit":
		r := Limit{About: a, Timing: t, Code: x.Code, System: x.System, Unit: x.Unit, Side: x.Side, At: x.At, Margin: x.Margin, Sensors: x.Sensors}
		if s := x.Severe; s != nil {
			r.Severe = &Severe{At: s.At, Priority: s.Priority, Text: s.Text}
		}
		return r, nil
	case "change":
		return Change{About: a, Timing: t, Code: x.Code, System: x.System, Unit: x.Unit, Direction: x.Direction, By: x.By, Within: x.Within.duration(), Margin: x.Margin}, nil
	case "forecast":
		return Forecast{About: a, Timing: t, Code: x.Code, System: x.System, Unit: x.Unit, Side: x.Side, At: x.At, Margin: x.Margin, Within: x.Within.duration(), From: x.From.duration()}, nil
	case "absent":
		return Absent{About: a, Code: x.Code, System: x.System, For: x.For.duration(), Required: x.Required}, nil
	case "combination":
		return Combination{About: a, All: x.All, Any: x.Any}, nil
	case "news2", "mews", "qsofa":
		s := map[string]func() Score{"news2": NEWS2, "mews": MEWS, "qsofa": QSOFA}[x.Kind]()
		s.Timing, s.To, s.Optional = t, a.To, a.Optional
		if x.Key != "" {
			s.Key = x.Key
		}
		return s, nil
	}
	return nil, errors.New("kind: must be limit, change, forecast, absent, combination, news2, mews or qsofa")
}
