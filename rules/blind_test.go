package rules

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

// The alert that names the rules that cannot judge outlives a Judge: it ends, begins and
// stays as it would have without a restart.
func TestBlindOverRestarts(t *testing.T) {
	bad, good := flagged(carewire.QualityInvalid), func(*carewire.Vital) {}
	for name, c := range map[string]struct {
		before, meanwhile, after func(*carewire.Vital) // the readings: while one Judge runs, while none does, while the next one runs
		want                     []carewire.Condition  // then
	}{
		"it ends later":     {bad, bad, good, []carewire.Condition{carewire.ConditionOver}},
		"it has ended":      {bad, good, good, []carewire.Condition{carewire.ConditionOver}},
		"it has begun":      {good, bad, bad, []carewire.Condition{carewire.ConditionPresent}},
		"it stays":          {bad, bad, bad, []carewire.Condition{carewire.ConditionPresent}},
		"it stays, silent":  {bad, nil, nil, []carewire.Condition{carewire.ConditionPresent}},
		"there is none":     {good, good, good, nil},
		"it has gone again": {good, bad, good, []carewire.Condition{carewire.ConditionOver}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newWard(t, carewire.NewMemoryStore(nil))
				defer w.close()
				read := func(how func(*carewire.Vital)) {
					for range 5 {
						if how != nil {
							_, err := w.hub.Publish(context.Background(), heart(70, how))
							require.NoError(t, err)
						}
						time.Sleep(10 * time.Minute) // more than is read of the log
					}
				}
				_, stop := w.run(w.hub, Options{Node: "a"}, high(Timing{}))
				w.rate(70)
				time.Sleep(10 * time.Minute)
				w.rate(70)
				time.Sleep(10 * time.Minute)
				read(c.before)
				stop()
				read(c.meanwhile)
				w.run(w.hub, Options{Node: "a"}, high(Timing{}))
				read(c.after)
				var got []carewire.Condition
				for _, a := range w.alerts(blindKey) {
					got = append(got, a.Condition)
				}
				require.Equal(t, c.want, got)
			})
		})
	}
}

// A Case that begins while such an alert stands ends it when the rule that it names
// can judge, and not before. A text that was to be told, and was not, is told.
func TestBlindIsTakenOver(t *testing.T) {
	h := newChart(t, high(Timing{}))
	h.c.Alert(carewire.Position{Epoch: "e", Seq: 1}, &carewire.Alert{Patient: "p1", Key: blindKey, ID: "x", Rev: 1, Kind: carewire.AlertTechnical, Text: "Cannot be judged: hr-high: no reading.",
		Condition: carewire.ConditionPresent, Source: carewire.Source{By: host}, Raised: start.Add(-time.Hour), Updated: start})
	h.seq = 1
	h.c.reconcile()
	h.wait(time.Hour)
	require.NotContains(t, h.story(), "cleared")
	h.rate(time.Second, 70)
	require.Equal(t, "cleared 1h0m0s", h.story())

	// Another rule is named whose key only ends like this one's: nothing is known of this one.
	h = newChart(t, high(Timing{}))
	h.c.Alert(carewire.Position{Epoch: "e", Seq: 1}, &carewire.Alert{Patient: "p1", Key: blindKey, ID: "x", Rev: 1, Kind: carewire.AlertTechnical, Text: "Cannot be judged: spo2-low: no reading; my-hr-high: no reading.",
		Condition: carewire.ConditionPresent, Source: carewire.Source{By: host}, Raised: start.Add(-time.Hour), Updated: start})
	require.Zero(t, h.c.states[0].heard)

	h = newChart(t, high(Timing{}))
	h.rate(time.Second, 70)
	h.c.Advance(start.Add(3 * time.Hour))
	h.c.leave()
	h.c.reconcile()
	h.take()
	require.Equal(t, "raised 3h0m0s medium", h.story())
}
