package main

import (
	"context"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// wardRules are the rules of all patients. Their numbers are only examples;
// clinicians must choose the right ones.
func wardRules() []rules.Rule {
	limit := func(key, text string, m carewire.Measure, side rules.Side, at, margin float64, delay time.Duration, p carewire.Priority) rules.Limit {
		return rules.Limit{About: rules.About{Key: key, Text: text, Priority: p}, Timing: rules.Timing{Delay: delay},
			Code: m.Code, Unit: m.Units()[0], Side: side, At: at, Margin: margin}
	}
	high, medium, low := carewire.PriorityHigh, carewire.PriorityMedium, carewire.PriorityLow
	fast := limit("hr-high", "Heart rate high", carewire.HeartRate, rules.Above, 130, 5, 10*time.Second, medium)
	fast.Severe = &rules.Severe{At: 150, Text: "Heart rate very high"}
	news2 := rules.NEWS2()
	news2.Delay, news2.Clear = 30*time.Second, 30*time.Second // monitors measure all the time
	return []rules.Rule{
		limit("spo2-low", "Oxygen saturation low", carewire.SpO2, rules.Below, 90, 2, 8*time.Second, high),
		fast,
		limit("hr-low", "Heart rate low", carewire.HeartRate, rules.Below, 45, 5, 10*time.Second, high),
		limit("rr-high", "Breathing fast", carewire.RespiratoryRate, rules.Above, 28, 3, 15*time.Second, medium),
		limit("rr-low", "Breathing slow", carewire.RespiratoryRate, rules.Below, 8, 2, 15*time.Second, high),
		limit("temp-high", "Fever", carewire.BodyTemperature, rules.Above, 38.5, 0.3, 0, low),
		limit("bp-high", "Blood pressure high", carewire.SystolicPressure, rules.Above, 180, 10, 0, medium),
		limit("bp-low", "Blood pressure low", carewire.SystolicPressure, rules.Below, 90, 5, 0, high),
		news2,
	}
}

// startJudge judges all patients by the ward's rules until ctx ends.
func (w *ward) startJudge(ctx context.Context) error {
	set, err := rules.NewSet(wardRules()...)
	if err != nil {
		return err
	}
	w.judge, err = rules.New(w.hub, set, &rules.Options{
		Patients: func(context.Context) ([]string, error) { return w.people.ids(), nil },
		To: func(id string) []string {
			p, _ := w.people.patient(id)
			return []string{"group:" + p.Group}
		},
		Settings: w.settings,
		Auditor:  w.audit,
		Logger:   w.log,
	})
	if err != nil {
		return err
	}
	w.running.Go(func() { w.judge.Run(ctx) })
	return nil
}
