package faults

import (
	"context"
	"flag"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire/faults/drive"
)

var (
	soakKills     = flag.Int("faults.kills", 0, "how often TestSoak kills the node at least; 0: it is skipped")
	soakAlerts    = flag.Int("faults.alerts", 0, "how many alerts it has confirmed at least; a quarter as many answers")
	soakDeadlines = flag.Int("faults.deadlines", 0, "how many levels TestSoakDeadlines has told at least; 0: it is skipped")
	soakRestarts  = flag.Int("faults.restarts", 50, "how often it kills the node at least")
	soakTime      = flag.Duration("faults.time", 75*time.Minute, "the time after which either is given up")
)

// A season is one store's life in the long form: it ends before the log, and
// the memory of it, grows large.
const season = 50 // kills

// The long form of TestKilledUnderLoad: seasons of a ward, each with a new
// store, until there were enough kills, alerts and answers.
func TestSoak(t *testing.T) {
	if *soakKills == 0 {
		t.Skip("-faults.kills runs it")
	}
	began, kills := time.Now(), 0
	var sum drive.Figures
	for kills < *soakKills || sum.Alerts < *soakAlerts || sum.Answers < *soakAlerts/4 {
		require.Less(t, time.Since(began), *soakTime, "%d kills\n%s", kills, sum)
		seed, rng := drive.Seeded(t)
		n := drive.NewNode(t, "-data", t.TempDir(), "-step", "3s", "-reserve", "4194304")
		w := drive.Open(t, drive.Options{Nodes: []*drive.Node{n}, Seed: seed, Beds: 40, Pause: 240 * time.Millisecond,
			Raises: 0.68, Unanswered: 0.8, Open: 12, Slack: 10 * time.Second})
		n.Start()
		w.Load()
		for k := range min(season, *soakKills) {
			moment := time.After(drive.Between(rng, 300*time.Millisecond, 1500*time.Millisecond))
			if k%5 == 4 {
				w.Verify()
			}
			<-moment
			n.Kill()
			n.Start()
			kills++
		}
		w.Finish()
		sum.Add(w.Figures())
		t.Logf("after %v: %d kills\n%s\n", time.Since(began).Round(time.Second), kills, sum)
	}
	t.Logf("%d kills over %d confirmed alerts and %d answers: 0 lost. With 95%% confidence fewer than %.2g of confirmed alerts, and %.2g of answers, are lost (3/n), and fewer than %.2g of kills lose any",
		kills, sum.Alerts, sum.Answers, 3/float64(sum.Alerts), 3/float64(sum.Answers), 3/float64(kills))
}

// The long form of TestKilledBetweenRecordAndPage: nobody answers, and the node
// is killed again and again while levels become due.
func TestSoakDeadlines(t *testing.T) {
	if *soakDeadlines == 0 {
		t.Skip("-faults.deadlines runs it")
	}
	began, kills := time.Now(), 0
	var sum drive.Figures
	for sum.Levels < *soakDeadlines || kills < *soakRestarts {
		require.Less(t, time.Since(began), *soakTime, "%d kills\n%s", kills, sum)
		seed, rng := drive.Seeded(t)
		n := drive.NewNode(t, "-data", t.TempDir(), "-step", "3s", "-reserve", "4194304")
		w := drive.Open(t, drive.Options{Nodes: []*drive.Node{n}, Seed: seed, Beds: 20, Slack: 10 * time.Second})
		n.Start()
		w.Each(func(ctx context.Context, b *drive.Bed) {
			for range 20 {
				b.Raise(ctx)
			}
		})
		for range 10 {
			<-time.After(drive.Between(rng, 500*time.Millisecond, 2500*time.Millisecond))
			n.Kill()
			n.Start()
			kills++
		}
		w.Finish()
		sum.Add(w.Figures())
		t.Logf("after %v: %d kills\n%s\n", time.Since(began).Round(time.Second), kills, sum)
	}
	t.Logf("%d levels due over %d kills: each told once, and paged at least once. With 95%% confidence fewer than %.2g of them are not (3/n)",
		sum.Levels, kills, 3/float64(sum.Levels))
}
