package rules

import (
	"context"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
)

func TestExplain(t *testing.T) {
	h := chartWith(t, Settings{Born: adult.Born, Off: map[string]Off{"fever": {By: "Dr Gray", Reason: "known", Until: start.Add(time.Hour)}}},
		high(Timing{Delay: 10 * time.Second, Clear: 20 * time.Second}), NEWS2(),
		Limit{About: About{Key: "fever", Text: "Fever"}, Code: carewire.BodyTemperature.Code, Unit: "Cel", Side: Above, At: 38.5})
	of := func(rule string) Standing {
		for _, s := range h.c.Explain(h.now) {
			if s.Rule == rule {
				return s
			}
		}
		return Standing{}
	}
	require.Equal(t, StandingUnknown, of("hr-high").State)
	require.Equal(t, "no reading yet", of("hr-high").Detail)
	h.rate(time.Second, 70, 70)
	require.Equal(t, Standing{Rule: "hr-high", Version: "1", State: StandingOver, Limits: "≤ 180 /min, well at 175, for 10s, clear after 20s"}, of("hr-high"))
	h.rate(time.Second, 200, 200, 200, 200)
	require.Equal(t, StandingWaiting, of("hr-high").State)
	require.Equal(t, "waiting 4 s of 10 s", of("hr-high").Detail)
	h.rate(time.Second, repeat(8, 200)...)
	require.Equal(t, StandingPresent, of("hr-high").State)
	require.Equal(t, start.Add(12*time.Second), of("hr-high").Since)
	h.rate(time.Second, 100, 100, 100)
	require.Equal(t, StandingClearing, of("hr-high").State)
	require.Equal(t, "well for 3 s of 20 s", of("hr-high").Detail)
	require.Equal(t, StandingOff, of("fever").State)
	require.Equal(t, "switched off by Dr Gray until 2026-03-01 09:00 UTC: known", of("fever").Detail)
	require.Contains(t, of("news2").Detail, "temperature is missing")
	h.observe(wellOnAir(nil))
	require.Equal(t, StandingOver, of("news2").State)
	h.wait(9 * time.Hour)
	require.Contains(t, of("news2").Detail, "temperature is 9 h old")
}

// records keeps an audit trail.
type records struct {
	mu   sync.Mutex
	list []carewire.Record
}

func (r *records) Record(_ context.Context, x carewire.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, x)
	return nil
}

// all are the records until now.
func (r *records) all() []carewire.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.list)
}

// A change of a limit is seen within seconds, audited, and told by the next
// alert. nocturne: fields of the rule page that were never evaluated.
func TestChangedSettingsCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		var mu sync.Mutex
		own := Settings{}
		var trail records
		j, _ := w.run(w.hub, Options{Auditor: &trail, Settings: func(context.Context, string) (Settings, error) {
			mu.Lock()
			defer mu.Unlock()
			return own, nil
		}}, high(Timing{}))
		w.rate(160)
		require.Empty(t, w.alerts("hr-high"))
		require.Empty(t, trail.all())
		mu.Lock()
		own = Settings{Limits: map[string]LimitSetting{"hr-high": {At: new(150.0), By: "gray", Reason: "after surgery"}}}
		mu.Unlock()
		j.Changed("p1")
		time.Sleep(3 * time.Second)
		w.rate(160)
		list := w.alerts("hr-high")
		require.Len(t, list, 1)
		require.Contains(t, list[0].Text, "set by gray: after surgery")
		require.Len(t, trail.all(), 1)
		require.Equal(t, AuditSettings, trail.all()[0].Event)
		require.Equal(t, "gray", trail.all()[0].Who.ID)
		require.Equal(t, "hr-high", trail.all()[0].Key)
		standing, err := j.Explain("p1")
		require.NoError(t, err)
		require.Equal(t, StandingPresent, standing[0].State)
		_, err = j.Explain("p2")
		require.ErrorIs(t, err, ErrNotJudged)
	})
}

// The demands of alerts on people are counted, live and from the log alike.
func TestBurden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWard(t, carewire.NewMemoryStore(nil))
		defer w.close()
		j, _ := w.run(w.hub, Options{}, high(Timing{}))
		began := w.hub.Now()
		nurse := carewire.Principal{ID: "nurse", Role: carewire.RoleClinician, Patients: []string{"p1"}}
		answer := func(do carewire.AnswerVerb, a carewire.Answer) {
			a.Do = do
			_, err := w.hub.Answer(context.Background(), nurse, carewire.AlertRef{Patient: "p1", Key: "hr-high"}, a)
			require.NoError(t, err)
		}
		w.rate(200) // accepted after a second
		answer(carewire.AnswerReject, carewire.Answer{})
		answer(carewire.AnswerAccept, carewire.Answer{})
		w.rate(100, 200, 100) // over by itself
		answer(carewire.AnswerAccept, carewire.Answer{})
		w.rate(200)
		answer(carewire.AnswerClose, carewire.Answer{Force: true, Reason: "known"})
		time.Sleep(2 * time.Second)
		live := j.Stats().Rules["hr-high"]
		report, err := Report(context.Background(), w.hub, ReportQuery{Patients: []string{"p1", "p2"}, From: began, To: w.hub.Now().Add(time.Hour), Ward: func(string) string { return "north" }})
		require.NoError(t, err)
		require.Len(t, report, 1)
		b := report[0]
		require.Equal(t, Burden{Day: "2000-01-01", Ward: "north", Rule: "hr-high", Patients: 1, Counts: b.Counts}, b)
		require.Equal(t, live, b.Counts)
		require.Equal(t, uint64(3), live.Raised)
		require.Equal(t, uint64(2), live.Accepted)
		require.Equal(t, uint64(1), live.Rejected)
		require.Equal(t, uint64(1), live.Closed)
		require.Equal(t, uint64(1), live.SelfEnded)
		require.NotZero(t, live.LevelsPaged)
		require.Equal(t, 1500*time.Millisecond, live.MeanToAcceptance().Round(100*time.Millisecond))
	})
}
