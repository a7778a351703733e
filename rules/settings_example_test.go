package rules_test

import (
	"context"
	"fmt"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// The settings of one patient, as a host's callback returns them: here with an own
// limit, NEWS2's scale 2 prescribed, and a rule switched off for an hour.
func ExampleSettings() {
	settings := func(_ context.Context, patient string) (rules.Settings, error) {
		at := 150.0
		return rules.Settings{
			Born:   time.Date(1950, 4, 1, 0, 0, 0, 0, time.UTC),
			Limits: map[string]rules.LimitSetting{"hr-high": {At: &at, By: "Dr Gray", Reason: "after surgery"}},
			Scales: map[string]rules.Scale{"news2": {Name: "2", By: "Dr Gray"}},
			Off:    map[string]rules.Off{"fever": {By: "Nurse Ada", Reason: "known", Until: time.Date(2026, 1, 1, 9, 0, 0, 0, time.UTC)}},
			On:     []string{"meows"},
		}, nil
	}
	set, err := rules.NewSet(
		rules.Limit{About: rules.About{Key: "hr-high", Text: "Heart rate high"}, Code: carewire.HeartRate.Code, Unit: "/min", Side: rules.Above, At: 130},
		rules.Limit{About: rules.About{Key: "fever", Text: "Fever"}, Code: carewire.BodyTemperature.Code, Unit: "Cel", Side: rules.Above, At: 38.5},
		rules.NEWS2(),
	)
	if err != nil {
		panic(err)
	}
	own, err := settings(context.Background(), "p-17") // a Judge asks by itself: rules.Options{Settings: settings}
	if err != nil {
		panic(err)
	}
	c := rules.NewCase(set, "p-17", own)
	now := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	c.Advance(now)
	for _, s := range c.Explain(now) {
		fmt.Println(s.Rule, s.State, s.Limits, s.Detail)
	}
	// Output:
	// hr-high unknown ≤ 150 /min no reading yet
	// fever off ≤ 38.5 °C switched off by Nurse Ada until 2026-01-01 09:00 UTC: known
	// news2 unknown scale 2, prescribed by Dr Gray respiration is missing, oxygen saturation is missing, air or oxygen is missing, systolic pressure is missing, pulse is missing, consciousness is missing, temperature is missing
}

// Consciousness (ACVPU) and air or oxygen, as NEWS2 takes them: coded vitals, of
// the package's own system where no other code is known.
func ExampleNEWS2() {
	set, err := rules.NewSet(rules.NEWS2())
	if err != nil {
		panic(err)
	}
	c := rules.NewCase(set, "p-17", rules.Settings{Born: time.Date(1950, 4, 1, 0, 0, 0, 0, time.UTC)})
	coded := func(code, system, value string) carewire.Vital {
		return carewire.Vital{Patient: "p-17", Code: code, System: system, Coded: &carewire.Coding{System: rules.House, Code: value}}
	}
	now := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	for i, v := range []carewire.Vital{
		carewire.RespiratoryRate.Of("p-17", 22), carewire.SpO2.Of("p-17", 95), carewire.BloodPressure.Of("p-17", 105, 60),
		carewire.HeartRate.Of("p-17", 95), carewire.BodyTemperature.Of("p-17", 37),
		coded(rules.AirOrOxygen, rules.House, "air"), // or a flow: carewire.OxygenFlow.Of("p-17", 0)
		coded(carewire.Consciousness, "", "A"),       // A, C (new confusion), V, P or U
	} {
		v.ID, v.Time, v.Received = fmt.Sprint(i), now, now
		c.Vital(carewire.Position{Seq: uint64(i + 1)}, &v)
	}
	for _, t := range c.Owed() {
		if t.Kind == rules.Raised { // the others publish the score
			fmt.Println(t.Kind, t.Alert.Text)
		}
	}
	// Output:
	// raised NEWS2 (urgent response, total 5, respiration 22 /min: 2, oxygen saturation 95 %: 1, air or oxygen coded: 0, systolic pressure 105 mm[Hg]: 1, pulse 95 /min: 1, consciousness coded: 0, temperature 37 Cel: 0, next measurement by 09:00 UTC)
}

// A score for pregnant patients is data too: Optional, and switched on in their
// Settings. These numbers are no score in use.
func ExampleScore() {
	number := func(f float64) *float64 { return &f }
	meows := rules.Score{
		About: rules.About{Key: "meows", Version: "house 1", Text: "MEOWS", Optional: true},
		Bands: []rules.Band{{Min: 1, Priority: carewire.PriorityMedium, Text: "one trigger", Within: 30 * time.Minute},
			{Min: 2, Priority: carewire.PriorityHigh, Text: "call the obstetrician", Within: 15 * time.Minute}},
		Parts: []rules.Part{
			{Name: "heart rate", Inputs: []rules.Input{{Code: carewire.HeartRate.Code}}, Unit: "/min", Step: 1, MaxAge: 6 * time.Hour,
				Rows: []rules.Row{{Max: number(39), Points: 1}, {Max: number(119)}, {Points: 1}}},
			{Name: "systolic pressure", Inputs: []rules.Input{{Code: carewire.SystolicPressure.Code}}, Unit: "mm[Hg]", Step: 1, MaxAge: 6 * time.Hour,
				Rows: []rules.Row{{Max: number(89), Points: 1}, {Max: number(159)}, {Points: 1}}},
		},
	}
	set, err := rules.NewSet(meows)
	if err != nil {
		panic(err)
	}
	now := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	for _, own := range []rules.Settings{{}, {Pregnant: true, On: []string{"meows"}}} {
		c := rules.NewCase(set, "p-17", own)
		for i, v := range []carewire.Vital{carewire.BloodPressure.Of("p-17", 165, 95), carewire.HeartRate.Of("p-17", 125)} {
			v.ID, v.Time, v.Received = fmt.Sprint(i), now, now
			c.Vital(carewire.Position{Seq: uint64(i + 1)}, &v)
		}
		fmt.Println(c.Explain(now)[0].State, len(c.Owed()))
	}
	// Output:
	// off 0
	// present 1
}
