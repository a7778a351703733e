package faults

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/faults/proxy"
	"github.com/carewire/carewire/internal/process"
)

// pollPeriod is the time within which an alert reaches the other nodes though nobody
// tells them.
const pollPeriod = time.Second

// A node whose listening connection is cut, or has become a black hole, brings
// alerts of other nodes within the poll period all the same, and loses nothing.
func TestListenerIsCut(t *testing.T) {
	t.Parallel()
	members := cluster(t, database(t), 2)
	startAll(members)
	w := wardOn(t, members, 0)
	w.Load()
	m := members[1]
	for i, cut := range []func(){
		func() { m.hear.SetBoth(proxy.Fault{Hold: true}) },
		func() { m.hear.Set(proxy.Down, proxy.Fault{Hold: true}) },
		func() { m.hear.Forget() },
		func() { m.hear.Refuse(true); m.hear.Reset() },
	} {
		seen := newWitness(t, m, "elsewhere")
		elsewhere := &drive.Caller{URLs: []string{members[0].URL()}, Token: "device-elsewhere"}
		cut()
		for n := range 3 {
			id := fmt.Sprint("heard-", i, "-", n)
			f, _, err := elsewhere.Call(t.Context(), map[string]any{"type": "raise", "event_id": id,
				"alert": map[string]any{"patient": "elsewhere", "key": id, "text": "x", "priority": "high", "test": true}})
			require.NoError(t, err)
			require.Equal(t, "ok", f.Type)
			process.Poll(t, pollPeriod+busy(), func() (bool, string) {
				return seen.count(func(f *drive.Frame) bool {
					var a drive.AlertText
					return f.Type == "alert" && json.Unmarshal(f.Alert, &a) == nil && a.ID == id
				}) > 0, id
			})
		}
		m.hear.Heal()
		seen.Close()
		elsewhere.Move()
	}
	w.Verify()
	w.Finish()
}
