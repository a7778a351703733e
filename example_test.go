package carewire_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/carewire/carewire"
)

func authenticate(r *http.Request) (carewire.Principal, error) {
	switch carewire.Token(r) {
	case "nurse-token":
		return carewire.Principal{ID: "ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Patients: []string{"p-17"}}, nil
	case "monitor-token":
		return carewire.Principal{ID: "monitor-4", Role: carewire.RoleDevice, Patients: []string{"p-17"}}, nil
	}
	return carewire.Principal{}, carewire.ErrUnauthenticated
}

// A host watches in its own process the vitals that it publishes.
func ExampleHub_Watch() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	hub.Publish(ctx, carewire.HeartRate.Of("p-17", 72), carewire.BloodPressure.Of("p-17", 120, 80))
	for e, err := range hub.Watch(ctx, carewire.WatchOptions{Patients: []string{"p-17"}}) {
		if err != nil || e.Type == carewire.EventSynced {
			break
		}
		switch {
		case e.Vital != nil && e.Vital.Value != "":
			fmt.Println(e.Vital.Code, e.Vital.Value, e.Vital.Unit)
		case e.Vital != nil:
			fmt.Println(e.Vital.Code, e.Vital.Components[0].Value, "over", e.Vital.Components[1].Value)
		}
	}
	// Output:
	// 8867-4 72 /min
	// 85354-9 120 over 80
}

// An alert is open until a person accepts responsibility and its condition is over.
func ExampleHub_Raise() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	a, err := hub.Raise(ctx, carewire.Raise{Patient: "p-17", Key: "spo2-low", Priority: carewire.PriorityHigh, Text: "SpO2 low"})
	fmt.Println(a.Condition, a.Responsibility.State, a.Open(), err)

	ada := carewire.Principal{ID: "ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Patients: []string{"p-17"}}
	a, err = hub.Answer(ctx, ada, a.Ref(), carewire.Answer{Do: carewire.AnswerAccept, Reason: "on my way"})
	fmt.Println(a.Condition, a.Responsibility.State, a.Responsibility.By.Name, a.Open(), err)

	a, err = hub.Clear(ctx, a.Ref())
	fmt.Println(a.Condition, a.Open(), err)
	// Output:
	// present undefined true <nil>
	// present accepted Nurse Ada true <nil>
	// over false <nil>
}

// A device gateway publishes; a vital that is published with an ID is there
// once, however often it is sent.
func ExampleDial() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(hub)
	defer server.Close()
	defer hub.Shutdown(ctx)

	device, err := carewire.Dial(ctx, strings.Replace(server.URL, "http", "ws", 1), &carewire.DialOptions{
		Token: func(context.Context) (string, error) { return "monitor-token", nil },
	})
	if err != nil {
		panic(err)
	}
	defer device.Close()
	v := carewire.SpO2.Of("p-17", 97)
	v.ID = "m4-000001"
	for range 2 {
		got, err := device.Publish(ctx, v)
		fmt.Println(got[0].Seq, got[0].Repeated, err)
	}
	// Output:
	// 1 false <nil>
	// 1 true <nil>
}
