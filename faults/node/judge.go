package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// crossings are the rules that the fault suite evaluates for itself: at once, and
// after three readings in a row. Flapping holds nothing back, for a crossing is
// what is counted.
func crossings() []rules.Rule {
	limit := func(key string, readings int) rules.Limit {
		return rules.Limit{About: rules.About{Key: key, Text: "Heart rate high"}, Timing: rules.Timing{Readings: readings, Flaps: -1},
			Code: carewire.HeartRate.Code, Unit: "/min", Side: rules.Above, At: 180, Margin: 5}
	}
	return []rules.Rule{limit("at-once", 0), limit("three", 3)}
}

// startJudge runs a Judge until ctx ends, if one is asked for.
func startJudge(ctx context.Context, hub *carewire.Hub, o options, log *slog.Logger) (*sync.WaitGroup, error) {
	var running sync.WaitGroup
	if o.judge == "" {
		return &running, nil
	}
	set, err := rules.NewSet(crossings()...)
	if err != nil {
		return nil, err
	}
	j, err := rules.New(hub, set, &rules.Options{Node: o.judgeName, Logger: log,
		Patients: func(context.Context) ([]string, error) { return strings.Split(o.judge, ","), nil }})
	if err != nil {
		return nil, err
	}
	running.Go(func() { j.Run(ctx) })
	return &running, nil
}
