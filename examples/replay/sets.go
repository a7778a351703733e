package main

import (
	"context"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// sets are rule sets written in Go, by name: for rules that JSON cannot express. Add your own.
var sets = map[string]func() []rules.Rule{"shock": shock}

// shock are three rules that look for shock: a limit, a score of the house's own,
// and a model. The numbers are only examples.
func shock() []rules.Rule {
	number := func(f float64) *float64 { return &f }
	lasting := rules.Timing{Delay: time.Minute}
	return []rules.Rule{
		rules.Limit{About: rules.About{Key: "map-low", Text: "Mean pressure low", Priority: carewire.PriorityHigh}, Timing: lasting,
			Code: carewire.MeanPressure.Code, Unit: "mm[Hg]", Side: rules.Below, At: 65, Margin: 5},
		rules.Score{About: rules.About{Key: "shock-points", Text: "Shock points"}, Timing: lasting,
			Bands: []rules.Band{{Min: 2, Priority: carewire.PriorityMedium}},
			Parts: []rules.Part{
				{Name: "heart rate", Inputs: []rules.Input{{Code: carewire.HeartRate.Code}}, Unit: "/min", MaxAge: time.Hour,
					Rows: []rules.Row{{Max: number(100)}, {Points: 1}}},
				{Name: "systolic pressure", Inputs: []rules.Input{{Code: carewire.SystolicPressure.Code}}, Unit: "mm[Hg]", MaxAge: time.Hour,
					Rows: []rules.Row{{Max: number(100), Points: 1}, {}}},
			}},
		rules.Func{About: rules.About{Key: "shock-index", Text: "Shock index high"}, Timing: lasting, Model: "rate by systolic pressure", ModelVersion: "1",
			Inputs: []rules.Input{{Code: carewire.HeartRate.Code}, {Code: carewire.SystolicPressure.Code}}, Window: 5 * time.Minute, Judge: shockIndex},
	}
}

// shockIndex divides the newest heart rate by the newest systolic pressure: more
// than 0.9 is much.
func shockIndex(_ context.Context, vitals []carewire.Vital) (rules.Finding, error) {
	var rate, pressure float64
	for _, v := range vitals {
		switch {
		case v.Value == "":
		case v.Code == carewire.HeartRate.Code:
			rate = v.Value.Float64()
		case v.Code == carewire.SystolicPressure.Code:
			pressure = v.Value.Float64()
		}
	}
	if rate == 0 || pressure == 0 {
		return rules.Finding{Unknown: "rate or pressure is missing"}, nil
	}
	return rules.Finding{Present: rate/pressure > 0.9, Confidence: 1}, nil
}
