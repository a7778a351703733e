package faults

import (
	"context"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/boltstore"
	"github.com/carewire/carewire/faults/drive"
	"github.com/carewire/carewire/internal/process"
	"github.com/carewire/carewire/pgstore"
)

// judgedPatients are those whom the Judges of these tests judge.
var judgedPatients = []string{"j1", "j2", "j3", "j4", "j5", "j6"}

// The way of a rate that crosses its limit now and then: well, between the limit
// and its margin, beyond. Each value lasts for one to six readings.
func wander(rng *rand.Rand) func() int {
	value, left := 100, 0
	return func() int {
		if left == 0 {
			value, left = []int{100, 178, 200}[rng.IntN(3)], 1+rng.IntN(6)
		}
		left--
		return value
	}
}

// readingsLeast is how many readings of each patient make a trial.
const readingsLeast = 60

// measure publishes a patient's rates at whichever node answers, until ctx ends
// and there were enough, each until it is confirmed.
func measure(ctx context.Context, t *testing.T, patient string, seed uint64, nodes []*drive.Node) {
	rng := rand.New(rand.NewPCG(seed, uint64(len(patient))+uint64(patient[1])))
	next := wander(rng)
	var line *drive.Line
	defer func() {
		if line != nil {
			line.Close()
		}
	}()
	for i := 0; (ctx.Err() == nil || i < readingsLeast) && after(t.Context(), 150*time.Millisecond); i++ {
		vital := map[string]any{"patient": patient, "code": carewire.HeartRate.Code, "value": next(), "unit": "/min",
			"device": "monitor", "vital_id": fmt.Sprint(patient, "-", i)}
		for t.Context().Err() == nil {
			if line == nil {
				l, err := drive.Connect(t.Context(), nodes[rng.IntN(len(nodes))].URL(), "device-"+patient, 0, func(*drive.Frame) {})
				if err != nil {
					after(t.Context(), 200*time.Millisecond)
					continue
				}
				line = l
			}
			f, err := line.Ask(map[string]any{"type": "publish", "vitals": []any{vital}})
			if err == nil && f != nil && f.Type == "ok" && len(f.Results) == 1 && f.Results[0].Error == nil {
				break
			}
			line.Close()
			line = nil
		}
	}
}

// crossing is something that a rule must have said: raised by a reading, or cleared.
type crossing struct {
	raised bool
	by     string    // the vital_id of the reading that completed it; "" of cleared
	at     time.Time // when that was received, or the alert raised
}

// expected is the reference: the two rules, evaluated without the package rules.
func expected(vitals []carewire.Vital, readings int) (list []crossing) {
	present, inARow := false, 0
	for i := range vitals {
		v := &vitals[i]
		rate := v.Value.Float64()
		if inARow++; rate <= 180 {
			inARow = 0
		}
		switch {
		case !present && inARow >= readings:
			present = true
			list = append(list, crossing{raised: true, by: v.ID, at: v.Received})
		case present && rate <= 175:
			present = false
			list = append(list, crossing{at: v.Received})
		}
	}
	return list
}

// said is what the log shows that a rule has said.
func said(alerts []carewire.Alert) (list []crossing) {
	present := false
	for i := range alerts {
		a := &alerts[i]
		if now := a.Condition == carewire.ConditionPresent; now != present {
			present = now
			c := crossing{raised: now, at: a.Updated}
			if now {
				c.by = a.Source.VitalID
			}
			list = append(list, c)
		}
	}
	return list
}

// logOf reads what a patient's log has of vitals, and of each rule's alerts.
func logOf(t testing.TB, store carewire.Store, patient string) (vitals []carewire.Vital, alerts map[string][]carewire.Alert) {
	alerts = make(map[string][]carewire.Alert)
	var at carewire.Position
	for {
		entries, err := store.Read(t.Context(), patient, at, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindVital, carewire.KindAlert}})
		require.NoError(t, err)
		for _, e := range entries {
			at = e.Position
			if e.Kind == carewire.KindVital {
				var v carewire.Vital
				require.NoError(t, v.UnmarshalJSON(e.Data))
				vitals = append(vitals, v)
				continue
			}
			var a carewire.Alert
			require.NoError(t, a.UnmarshalJSON(e.Data))
			alerts[a.Key] = append(alerts[a.Key], a)
		}
		if len(entries) == 0 {
			return vitals, alerts
		}
	}
}

// words writes crossings without their times.
func words(list []crossing) string {
	var w []string
	for _, c := range list {
		w = append(w, map[bool]string{true: "raised by ", false: "cleared"}[c.raised]+c.by)
	}
	return strings.Join(w, ", ")
}

// compareWithLog waits until the Judges have said what the logs ask for, and then
// some, and compares: nothing is lost, and nothing said twice.
func compareWithLog(t *testing.T, open func() (carewire.Store, func())) {
	differs := func(store carewire.Store) (n int, diff string, late []time.Duration) {
		for _, patient := range judgedPatients {
			vitals, alerts := logOf(t, store, patient)
			for key, readings := range map[string]int{"at-once": 1, "three": 3} {
				want, got := expected(vitals, readings), said(alerts[key])
				n += len(want)
				if words(want) != words(got) {
					diff = fmt.Sprintf("%s %s\nwant %s\ngot  %s", patient, key, words(want), words(got))
					continue
				}
				for i := range want {
					late = append(late, got[i].at.Sub(want[i].at))
				}
			}
		}
		return n, diff, late
	}
	process.Poll(t, process.Patience, func() (bool, string) {
		store, done := open()
		defer done()
		_, diff, _ := differs(store)
		return diff == "", diff
	})
	after(t.Context(), 4*time.Second)
	store, done := open()
	defer done()
	n, diff, late := differs(store)
	require.Empty(t, diff, "something was said twice")
	require.Greater(t, n, 20, "too little has happened")
	slices.Sort(late)
	t.Logf("%d crossings; later than the reading: median %v, at most %v", n, late[len(late)/2], late[len(late)-1])
	require.Less(t, late[len(late)-1], 30*time.Second+2*busy(), "a reading is judged too late")
	// How late the last one is says how busy the machine was: TestAnotherJudgeTakesOver
	// of the package rules shows within what time another Judge takes over.
}

// Three nodes with a Judge each share a database, and are killed at random; whom
// one judged, another judges on. What the log shows to have been raised and
// cleared is what a reference says of the same log's readings: each crossing once.
func TestJudgesAreKilledAtRandom(t *testing.T) {
	t.Parallel()
	seed, _ := drive.Seeded(t)
	dsn := database(t)
	members := cluster(t, dsn, 3)
	for i, m := range members {
		m.Args = append(m.Args, "-judge", strings.Join(judgedPatients, ","), "-judge-name", fmt.Sprint("node", i))
	}
	startAll(members)
	ctx, cancel := context.WithTimeout(t.Context(), *nodesFor)
	defer cancel()
	var busyness sync.WaitGroup
	for _, p := range judgedPatients {
		busyness.Go(func() { measure(ctx, t, p, seed, nodesOf(members)) })
	}
	kills := 0
	rng := rand.New(rand.NewPCG(seed, 7))
	for after(ctx, drive.Between(rng, 500*time.Millisecond, 4*time.Second)) {
		m := members[rng.IntN(len(members))]
		m.Kill()
		kills++
		after(t.Context(), drive.Between(rng, 0, 8*time.Second))
		m.Start()
	}
	busyness.Wait()
	t.Log(kills, "kills")
	store, err := pgstore.Open(t.Context(), pool(t, dsn), &pgstore.Options{NoListen: true})
	require.NoError(t, err)
	defer store.Close()
	compareWithLog(t, func() (carewire.Store, func()) { return store, func() {} })
}

// The same of one node on a file, which is killed and starts again.
func TestJudgeIsKilledAndStartsAgain(t *testing.T) {
	t.Parallel()
	seed, rng := drive.Seeded(t)
	dir := t.TempDir()
	n := drive.NewNode(t, "-data", dir, "-judge", strings.Join(judgedPatients, ","), "-judge-name", "alone")
	n.Start()
	ctx, cancel := context.WithTimeout(t.Context(), *nodesFor)
	defer cancel()
	var busyness sync.WaitGroup
	for _, p := range judgedPatients {
		busyness.Go(func() { measure(ctx, t, p, seed, []*drive.Node{n}) })
	}
	for after(ctx, drive.Between(rng, time.Second, 4*time.Second)) {
		n.Kill()
		after(t.Context(), drive.Between(rng, 0, 3*time.Second))
		n.Start()
	}
	busyness.Wait()
	compareWithLog(t, func() (carewire.Store, func()) {
		after(t.Context(), 3*time.Second)
		n.Stop() // only one process may have the file open
		s, err := boltstore.Open(filepath.Join(dir, "node.db"), nil)
		require.NoError(t, err)
		return s, func() {
			require.NoError(t, s.Close())
			n.Start()
		}
	})
}
