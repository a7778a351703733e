package main

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// judged are the rules that the fault suite evaluates for itself. Flapping holds
// nothing back, because crossings are counted. A house that gives the limits up makes
// them optional.
func judged(optional bool) []rules.Rule {
	often := rules.Timing{Flaps: -1}
	limit := func(key string, readings int) rules.Limit {
		return rules.Limit{About: rules.About{Key: key, Text: "Heart rate high", Optional: optional}, Timing: rules.Timing{Readings: readings, Flaps: -1},
			Code: carewire.HeartRate.Code, Unit: "/min", Side: rules.Above, At: 180, Margin: 5}
	}
	part := func(name string, m carewire.Measure, maxAge time.Duration, rows ...rules.Row) rules.Part {
		return rules.Part{Name: name, Inputs: []rules.Input{{Code: m.Code}}, Unit: m.Units()[0], MaxAge: maxAge, Rows: rows}
	}
	return []rules.Rule{
		limit("at-once", 0), limit("three", 3),
		rules.Change{About: rules.About{Key: "rise", Text: "Heart rate rises"}, Timing: often, Code: carewire.HeartRate.Code, Unit: "/min",
			Direction: rules.Rise, By: 90, Within: time.Hour, Margin: 20},
		rules.Absent{About: rules.About{Key: "spo2-off", Text: "No oxygen saturation"}, Code: carewire.SpO2.Code, For: 2 * time.Second},
		rules.Score{About: rules.About{Key: "score", Text: "Score"}, Timing: often,
			Bands: []rules.Band{{Min: 2, Priority: carewire.PriorityMedium}, {Min: 4, Priority: carewire.PriorityHigh}},
			Parts: []rules.Part{
				part("heart rate", carewire.HeartRate, time.Hour, rules.Row{Max: new(110.0)}, rules.Row{Max: new(180.0), Points: 1}, rules.Row{Points: 2}),
				part("oxygen saturation", carewire.SpO2, 3*time.Second, rules.Row{Max: new(91.0), Points: 2}, rules.Row{}),
			}},
	}
}

// startJudge runs a Judge until ctx ends, if one is asked for.
func startJudge(ctx context.Context, hub *carewire.Hub, o options, log *slog.Logger) (*sync.WaitGroup, error) {
	var running sync.WaitGroup
	if o.judge == "" {
		return &running, nil
	}
	set, err := rules.NewSet(judged(o.judgeOptional)...)
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
