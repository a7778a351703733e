package rules_test

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/rules"
)

// A Case judges recorded readings without a Hub: one alert comes of a rate that
// wavers about its limit.
func ExampleCase() {
	set, err := rules.NewSet(rules.Limit{
		About: rules.About{Key: "hr-high", Text: "Heart rate high", Priority: carewire.PriorityHigh},
		Code:  carewire.HeartRate.Code, Unit: "/min", Side: rules.Above, At: 180, Margin: 5,
	})
	if err != nil {
		panic(err)
	}
	c := rules.NewCase(set, "p-17", rules.Settings{})
	begin := time.Date(2026, 1, 1, 8, 0, 0, 0, time.UTC)
	for i, rate := range []float64{179, 181, 180, 181, 174} {
		v := carewire.HeartRate.Of("p-17", rate)
		v.Time = begin.Add(time.Duration(i) * time.Second)
		v.Received = v.Time
		c.Vital(carewire.Position{Seq: uint64(i + 1)}, &v)
		for _, t := range c.Owed() {
			fmt.Println(t.Rule, t.Kind, "at reading", t.Seq)
		}
	}
	// Output:
	// hr-high raised at reading 2
	// hr-high cleared at reading 5
}

// Rules can be written in a file that a hospital owns.
func ExampleParse() {
	list, err := rules.Parse([]byte(`[
		{"kind": "limit", "key": "spo2-low", "text": "SpO2 low", "priority": "high",
		 "code": "59408-5", "unit": "%", "side": "below", "at": 90, "margin": 2, "delay_s": 10},
		{"kind": "news2"}]`))
	if err != nil {
		panic(err)
	}
	_, err = rules.NewSet(list...)
	fmt.Println(len(list), err)
	// Output:
	// 2 <nil>
}

// A Judge runs a Set on a Hub. Explain says of each rule where it stands.
func ExampleJudge() {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	nobody := func(*http.Request) (carewire.Principal, error) {
		return carewire.Principal{}, carewire.ErrUnauthenticated
	}
	hub, err := carewire.New(carewire.AuthenticatorFunc(nobody), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	set, err := rules.NewSet(rules.Limit{
		About: rules.About{Key: "hr-high", Text: "Heart rate high", Priority: carewire.PriorityHigh},
		Code:  carewire.HeartRate.Code, Unit: "/min", Side: rules.Above, At: 180, Margin: 5,
	})
	if err != nil {
		panic(err)
	}
	judge, err := rules.New(hub, set, &rules.Options{
		Patients: func(context.Context) ([]string, error) { return []string{"p-17"}, nil },
	})
	if err != nil {
		panic(err)
	}
	ran := make(chan error, 1)
	go func() { ran <- judge.Run(ctx) }()

	hub.Publish(ctx, carewire.HeartRate.Of("p-17", 190))
	for e, err := range hub.Watch(ctx, carewire.WatchOptions{Patients: []string{"p-17"}}) {
		if err != nil {
			panic(err)
		}
		if e.Alert != nil {
			fmt.Println(e.Alert.Text, e.Alert.Source.Value, e.Alert.Source.Unit)
			break
		}
	}
	standing, err := judge.Explain("p-17")
	if err != nil {
		panic(err)
	}
	for _, s := range standing {
		fmt.Println(s.Rule, s.State)
	}
	stop()
	<-ran
	hub.Shutdown(context.Background())
	// Output:
	// Heart rate high 190 /min
	// hr-high present
}
