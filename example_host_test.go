package carewire_test

import (
	"context"
	"fmt"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"time"

	"github.com/carewire/carewire"
)

// A wards is a Directory that says which patients lie on a ward now.
type wards struct {
	patients atomic.Pointer[map[string][]string]
}

func (w *wards) Patients(_ context.Context, group string) ([]string, error) {
	return (*w.patients.Load())[group], nil
}

// A nurse of ward 5 watches the ward. A patient who is admitted comes into view
// once the host says that the ward has changed.
func ExampleDirectory() {
	ctx := context.Background()
	directory := new(wards)
	directory.patients.Store(&map[string][]string{"ward-5": {"p-17"}})
	nurse := carewire.Principal{ID: "ada", Name: "Nurse Ada", Role: carewire.RoleClinician, Groups: []string{"ward-5"}}
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), &carewire.Options{Directory: directory})
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)

	may := func(patient string) bool {
		decisions, err := hub.Authorize(ctx, carewire.Access{Principal: nurse, Action: carewire.ActionWatch, Patients: []string{patient}})
		return err == nil && decisions[0].Allow
	}
	fmt.Println("p-17:", may("p-17"), "p-18:", may("p-18"))
	directory.patients.Store(&map[string][]string{"ward-5": {"p-17", "p-18"}})
	if err := hub.MembersChanged(ctx, "ward-5"); err != nil {
		panic(err)
	}
	fmt.Println("p-17:", may("p-17"), "p-18:", may("p-18"))
	// Output:
	// p-17: true p-18: false
	// p-17: true p-18: true
}

// A nightShift is an Authorizer with the default rules, and break-glass for
// doctors, for half an hour.
type nightShift struct{ hub *carewire.Hub }

func (n *nightShift) Authorize(ctx context.Context, a carewire.Access) ([]carewire.Decision, error) {
	decisions, err := n.hub.DefaultDecision(ctx, a)
	if err != nil || !a.Emergency || !strings.HasPrefix(a.Principal.ID, "dr-") {
		return decisions, err
	}
	for i := range decisions {
		if !decisions[i].Allow {
			decisions[i] = carewire.Decision{Allow: true, Until: time.Now().Add(30 * time.Minute)}
		}
	}
	return decisions, nil
}

// An Authorizer adds break-glass to the default rules.
func ExampleAuthorizer() {
	ctx := context.Background()
	authorizer := new(nightShift)
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), &carewire.Options{Authorizer: authorizer})
	if err != nil {
		panic(err)
	}
	authorizer.hub = hub
	defer hub.Shutdown(ctx)

	doctor := carewire.Principal{ID: "dr-bell", Role: carewire.RoleClinician, Groups: []string{"ward-6"}}
	for _, emergency := range []bool{false, true} {
		decisions, err := authorizer.Authorize(ctx, carewire.Access{
			Principal: doctor, Action: carewire.ActionWatch, Patients: []string{"p-17"},
			Emergency: emergency, Reason: "found unresponsive",
		})
		fmt.Println("emergency:", emergency, "allowed:", decisions[0].Allow, "ends by itself:", !decisions[0].Until.IsZero(), err)
	}
	// Output:
	// emergency: false allowed: false ends by itself: false <nil>
	// emergency: true allowed: true ends by itself: true <nil>
}

// A printer is a Pager that prints its recipients.
type printer chan string

func (p printer) Page(_ context.Context, page carewire.Page) error {
	p <- fmt.Sprint("level ", page.Level, " pages ", page.To)
	return nil
}

// A Policy names the people to tell, step by step, until somebody accepts. Here the
// nurse rejects, so the doctor on call is told at once.
func ExamplePolicy() {
	ctx := context.Background()
	pages := make(printer, 10)
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), &carewire.Options{
		Pager: pages,
		Policy: func(_ context.Context, a carewire.Alert, step int) (carewire.Step, error) {
			switch step {
			case 1:
				return carewire.Step{To: []string{"person:ada"}, After: 30 * time.Second}, nil
			case 2:
				return carewire.Step{To: []string{"person:dr-bell"}, After: time.Minute}, nil
			}
			return carewire.Step{}, carewire.ErrNoStep
		},
	})
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	a, err := hub.Raise(ctx, carewire.Raise{Patient: "p-17", Key: "spo2-low", Priority: carewire.PriorityHigh, Text: "SpO2 low"})
	if err != nil {
		panic(err)
	}
	fmt.Println(<-pages)
	ada := carewire.Principal{ID: "ada", Role: carewire.RoleClinician, Patients: []string{"p-17"}}
	if _, err := hub.Answer(ctx, ada, a.Ref(), carewire.Answer{Do: carewire.AnswerReject, Reason: "with another patient"}); err != nil {
		panic(err)
	}
	fmt.Println(<-pages)
	// Output:
	// level 1 pages person:ada
	// level 2 pages person:dr-bell
}

// Revoke ends access at once, on every node.
func ExampleHub_Revoke() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(hub)
	defer server.Close()
	defer hub.Shutdown(ctx)
	nurse, err := carewire.Dial(ctx, strings.Replace(server.URL, "http", "ws", 1), &carewire.DialOptions{
		Token: func(context.Context) (string, error) { return "nurse-token", nil },
	})
	if err != nil {
		panic(err)
	}
	defer nurse.Close()
	if err := hub.Revoke(ctx, carewire.Revocation{Principal: "ada"}); err != nil {
		panic(err)
	}
	<-nurse.Done()
	fmt.Println(nurse.Err())
	// Output:
	// carewire: the server closed the connection for good: 3003 access ended
}

// Events yields the server's events. After a lost connection the Client resumes
// by itself, and the loop goes on.
func ExampleClient_Events() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	server := httptest.NewServer(hub)
	defer server.Close()
	defer hub.Shutdown(ctx)
	hub.Publish(ctx, carewire.HeartRate.Of("p-17", 72))

	nurse, err := carewire.Dial(ctx, strings.Replace(server.URL, "http", "ws", 1), &carewire.DialOptions{
		Token: func(context.Context) (string, error) { return "nurse-token", nil },
	})
	if err != nil {
		panic(err)
	}
	defer nurse.Close()
	if _, err := nurse.Watch(ctx, carewire.WatchOptions{Patients: []string{"p-17"}}); err != nil {
		panic(err)
	}
	for e, err := range nurse.Events(ctx) {
		switch {
		case err != nil:
			panic(err)
		case e.Type == carewire.EventSync:
			fmt.Println("clear the screen:", !e.Recovered)
		case e.Vital != nil:
			fmt.Println(e.Vital.Code, e.Vital.Value, e.Vital.Unit)
		case e.Type == carewire.EventSynced:
			fmt.Println("up to date")
			return
		}
	}
	// Output:
	// clear the screen: true
	// 8867-4 72 /min
	// up to date
}

// Each vital is taken or refused by itself.
func ExampleHub_Publish() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	wrong := carewire.HeartRate.Of("p-17", 72)
	wrong.Unit = "kg"
	results, _ := hub.Publish(ctx, carewire.SpO2.Of("p-17", 97), wrong)
	for _, r := range results {
		fmt.Println(r.Seq, r.Err)
	}
	// Output:
	// 1 <nil>
	// 0 carewire: unit: wrong for this code
}

// A notice goes to people; a patient's reply names the notice that it answers.
func ExampleHub_Notify() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	if _, err := hub.Notify(ctx, carewire.Notice{Patient: "p-17", To: []string{"person:ada", "patient"}, Text: "Your scan is at three."}); err != nil {
		panic(err)
	}
	page, err := hub.History(ctx, carewire.HistoryQuery{Patient: "p-17", Kinds: []carewire.Kind{carewire.KindNotice}})
	if err != nil {
		panic(err)
	}
	for _, e := range page.Events {
		fmt.Println(e.Notice.To, e.Notice.Text)
	}
	// Output:
	// [person:ada patient] Your scan is at three.
}

// Open lists the open alerts and notices, page by page.
func ExampleHub_Open() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	for _, key := range []string{"spo2-low", "probe-off", "hr-high"} {
		if _, err := hub.Raise(ctx, carewire.Raise{Patient: "p-17", Key: key, Priority: carewire.PriorityMedium, Text: "See the screen"}); err != nil {
			panic(err)
		}
	}
	q := carewire.OpenQuery{Patients: []string{"p-17"}, Limit: 2}
	for more := true; more; more = q.After != "" {
		items, next, err := hub.Open(ctx, q)
		if err != nil {
			panic(err)
		}
		for _, item := range items {
			fmt.Println(item.Alert.Key)
		}
		q.After = next
	}
	// Output:
	// hr-high
	// probe-off
	// spo2-low
}

// Latest is the first content of a screen.
func ExampleHub_Latest() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	for _, rate := range []float64{71, 72, 73} {
		hub.Publish(ctx, carewire.HeartRate.Of("p-17", rate))
	}
	events, head, err := hub.Latest(ctx, "p-17")
	if err != nil {
		panic(err)
	}
	for _, e := range events {
		fmt.Println(e.Vital.Value, "is number", e.Seq, "of", head.Seq)
	}
	// Output:
	// 73 is number 3 of 3
}

// Discharge ends all that waits for something of a patient who goes home.
func ExampleHub_Discharge() {
	ctx := context.Background()
	hub, err := carewire.New(carewire.AuthenticatorFunc(authenticate), carewire.NewMemoryStore(nil), nil)
	if err != nil {
		panic(err)
	}
	defer hub.Shutdown(ctx)
	if _, err := hub.Raise(ctx, carewire.Raise{Patient: "p-17", Key: "probe-off", Priority: carewire.PriorityLow, Text: "Probe off"}); err != nil {
		panic(err)
	}
	if err := hub.Discharge(ctx, "p-17"); err != nil {
		panic(err)
	}
	a, err := hub.Alert(ctx, "p-17", "probe-off")
	fmt.Println(a.Open(), a.Closed.Reason, err)
	// Output:
	// false discharged <nil>
}
