package pgstore

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/carewiretest"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore/pgtest"
)

// The server stops under a Hub. Watchers are told and the Hub is not ready; an
// alert that was not answered goes on to its next step all the same; when the
// server is back, so is the Hub, and that step is recorded.
func TestServerStopsUnderAHub(t *testing.T) {
	t.Parallel()
	server := pgtest.Start(t)
	var door carewiretest.Door
	policy := func(_ context.Context, _ carewire.Alert, step int) (carewire.Step, error) {
		if step > 2 {
			return carewire.Step{}, carewire.ErrNoStep
		}
		return carewire.Step{To: []string{fmt.Sprint("person:step-", step)}, After: 3 * time.Second}, nil
	}
	n := newNode(t, server.DSN(), &door, nil, policy)
	nurse := n.server.Dial("/", door.Token(carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}))
	_, err := nurse.Watch(t.Context(), carewire.WatchOptions{Patients: []string{"p1"}})
	require.NoError(t, err)
	a, err := n.hub.Raise(t.Context(), carewire.Raise{Patient: "p1", Key: "k", Text: "x", Priority: carewire.PriorityHigh})
	require.NoError(t, err)
	require.Equal(t, "person:step-1", n.pages.Pages(t, 1)[0].To)
	require.Eventually(t, func() bool {
		now, err := n.hub.Alert(t.Context(), "p1", "k")
		return err == nil && now.Escalation.State == carewire.EscalationNotified
	}, process.Patience, 10*time.Millisecond)

	server.Crash()
	status := func(store string) {
		carewiretest.Await(t, nurse, func(e carewire.Event) bool { return e.Type == carewire.EventStatus && e.Store == store })
	}
	status("failing")
	require.ErrorIs(t, n.hub.Ready(), carewire.ErrUnavailable)
	_, err = n.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 60))
	require.Error(t, err)
	page := n.pages.Pages(t, 2)[1]
	require.Equal(t, "person:step-2", page.To)
	require.Equal(t, fmt.Sprint(a.ID, "/2/person:step-2"), page.Key)

	server.Restart(t)
	status("ok")
	require.NoError(t, n.hub.Ready())
	require.Eventually(t, func() bool {
		now, err := n.hub.Alert(t.Context(), "p1", "k")
		return err == nil && now.Escalation.Level >= 2
	}, process.Patience, 50*time.Millisecond)
	_, err = n.hub.Publish(t.Context(), carewire.HeartRate.Of("p1", 60))
	require.NoError(t, err)
}
