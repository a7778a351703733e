package pagers_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"time"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/pagers"
)

// A group's page goes to the people on duty: by webhook, and by SMS where that
// fails.
func Example() {
	gateway := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		fmt.Println("the gateway got a signed page:", r.Header.Get("webhook-signature") != "")
	}))
	defer gateway.Close()

	now := time.Now()
	rota := &pagers.Rota{Shifts: []pagers.Shift{{Group: "ward-5", Person: "ada", Start: now.Add(-time.Hour), End: now.Add(7 * time.Hour)}}}
	numbers := func(_ context.Context, to string) ([]string, error) {
		return map[string][]string{"person:ada": {"+15551234567"}}[to], nil
	}
	pager := &pagers.OnCall{
		Rota: func() *pagers.Rota { return rota },
		Next: pagers.NewChain(
			&pagers.Webhook{URL: gateway.URL, Secret: []byte("kept in the host's secret store")},
			&pagers.SMS{URL: "https://sms.example/messages", Numbers: numbers},
		),
	}
	// The host sets it as carewire.Options.Pager. The Hub then calls:
	err := pager.Page(context.Background(), carewire.Page{Key: "a1/1/group:ward-5", To: "group:ward-5", Level: 1, Alert: carewire.Alert{ID: "a1", Priority: carewire.PriorityHigh}})
	fmt.Println("error:", err)
	// Output:
	// the gateway got a signed page: true
	// error: <nil>
}
