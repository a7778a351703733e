package faults

import (
	"context"
	"fmt"
	"maps"
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

// wander goes from one of the values to another: each lasts for one to most readings.
func wander(rng *rand.Rand, most int, values ...int) func() int {
	value, left := values[0], 0
	return func() int {
		if left == 0 {
			value, left = values[rng.IntN(len(values))], 1+rng.IntN(most)
		}
		left--
		return value
	}
}

func notTaken(r drive.Result) bool { return r.Error != nil }

// readingsLeast is how many readings of each patient make a trial.
const readingsLeast = 60

// measure publishes a patient's heart rates, and oxygen saturations while the probe
// is on, at whichever node answers, until ctx ends and there were enough, each until
// it is confirmed.
func measure(ctx context.Context, t *testing.T, patient string, seed uint64, nodes []*drive.Node) {
	rng := rand.New(rand.NewPCG(seed, uint64(len(patient))+uint64(patient[1])))
	rate := wander(rng, 6, 100, 178, 200)     // well, between the limit and its margin, beyond
	spo2 := wander(rng, 24, 97, 97, 88, 0, 0) // 0: the probe is off
	var line *drive.Line
	defer func() {
		if line != nil {
			line.Close()
		}
	}()
	for i := 0; (ctx.Err() == nil || i < readingsLeast) && after(t.Context(), 150*time.Millisecond); i++ {
		vitals := []any{map[string]any{"patient": patient, "code": carewire.HeartRate.Code, "value": rate(), "unit": "/min",
			"device": "monitor", "vital_id": fmt.Sprint(patient, "-", i)}}
		if v := spo2(); v > 0 {
			vitals = append(vitals, map[string]any{"patient": patient, "code": carewire.SpO2.Code, "value": v, "unit": "%",
				"device": "monitor", "vital_id": fmt.Sprint(patient, "-s", i)})
		}
		for t.Context().Err() == nil {
			if line == nil {
				l, err := drive.Connect(t.Context(), nodes[rng.IntN(len(nodes))].URL(), "device-"+patient, 0, func(*drive.Frame) {})
				if err != nil {
					after(t.Context(), 200*time.Millisecond)
					continue
				}
				line = l
			}
			f, err := line.Ask(map[string]any{"type": "publish", "vitals": vitals})
			if err == nil && f != nil && f.Type == "ok" && len(f.Results) == len(vitals) && !slices.ContainsFunc(f.Results, notTaken) {
				break
			}
			line.Close()
			line = nil
		}
	}
}

// judgeArgs are a node's arguments for a Judge.
func judgeArgs(name string) []string {
	return []string{"-judge", strings.Join(judgedPatients, ","), "-judge-name", name}
}

// judgedKeys are the rules that the tests compare.
func judgedKeys() []string { return slices.Sorted(maps.Keys(references)) }

// logOf reads a patient's vitals, and the alerts of each rule, from the log. A reading
// must stand in it before the alert that it has caused.
func logOf(t testing.TB, store carewire.Store, patient string) (vitals []carewire.Vital, alerts map[string][]carewire.Alert) {
	alerts = make(map[string][]carewire.Alert)
	read := map[string]bool{"": true}
	var at carewire.Position
	for {
		entries, err := store.Read(t.Context(), patient, at, carewire.ReadQuery{Kinds: []carewire.Kind{carewire.KindVital, carewire.KindAlert}})
		require.NoError(t, err)
		for _, e := range entries {
			at = e.Position
			if e.Kind == carewire.KindVital {
				var v carewire.Vital
				require.NoError(t, v.UnmarshalJSON(e.Data))
				v.Received = v.Received.Truncate(time.Millisecond)
				vitals, read[v.ID] = append(vitals, v), true
				continue
			}
			var a carewire.Alert
			require.NoError(t, a.UnmarshalJSON(e.Data))
			require.True(t, read[a.Source.VitalID], "%s was said before it was so", a.Key)
			alerts[a.Key] = append(alerts[a.Key], a)
		}
		if len(entries) == 0 {
			return vitals, alerts
		}
	}
}

// compareWithLog waits until the Judges have found every crossing of the logs, and a
// while longer, and compares: no crossing is lost, none is said twice, and each has
// the time at which it began.
func compareWithLog(t *testing.T, open func() (carewire.Store, func())) {
	differs := func(store carewire.Store) (n map[string]int, diff string, late []time.Duration) {
		n = make(map[string]int)
		for _, patient := range judgedPatients {
			vitals, alerts := logOf(t, store, patient)
			for _, key := range judgedKeys() {
				want, got := references[key](vitals), said(alerts[key])
				n[key] += len(want)
				if i := firstDifference(key, want, got); i >= 0 {
					diff += fmt.Sprintf("%s %s, %d and %d, from %d on\nwant %v\ngot  %v\n", patient, key, len(want), len(got), i, want, got)
					for _, a := range alerts[key] {
						diff += fmt.Sprintf("\t%s rev %d %s by %s since %s at %s\n", a.ID, a.Rev, a.Condition, a.Source.VitalID, a.Onset.Format("15:04:05.000"), a.Updated.Format("15:04:05.000"))
					}
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
	all := 0
	for _, key := range judgedKeys() {
		all += n[key]
		require.True(t, n[key] > 3 || *nodesFor < time.Minute, "too little has happened to %s", key)
	}
	require.Greater(t, all, 20, "too little has happened")
	slices.Sort(late)
	t.Logf("%v crossings; later than the reference: median %v, at most %v", n, late[len(late)/2], late[len(late)-1])
	require.GreaterOrEqual(t, late[0], -clocksApart, "something was said before it was so")
	// How late the last one is says how busy the machine was: TestAnotherJudgeTakesOver
	// of the package rules shows the time within which another Judge takes over.
}

// Three nodes with a Judge each share a database, and are killed at random;
// another Judge takes over the patients of a killed one. The alerts that the
// log shows as raised and cleared agree with a reference that reads the same
// log's readings: each crossing once.
func TestJudgesAreKilledAtRandom(t *testing.T) {
	t.Parallel()
	seed, _ := drive.Seeded(t)
	dsn := database(t)
	members := cluster(t, dsn, 3)
	for i, m := range members {
		m.Args = append(m.Args, judgeArgs(fmt.Sprint("node", i))...)
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
	n := drive.NewNode(t, append([]string{"-data", dir}, judgeArgs("alone")...)...)
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
		after(t.Context(), 13*time.Second) // an absence is said when time goes on by the clock, ten seconds after a start
		n.Stop()                           // only one process may have the file open
		s, err := boltstore.Open(filepath.Join(dir, "node.db"), nil)
		require.NoError(t, err)
		return s, func() {
			require.NoError(t, s.Close())
			n.Start()
		}
	})
}

// A house gives a rule up: its node is killed, and starts again with a Set in which the
// rule is off. No reading comes any more, and the alert that the log shows is cleared.
func TestJudgeGivesARuleUp(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	n := drive.NewNode(t, append([]string{"-data", dir}, judgeArgs("alone")...)...)
	n.Start()
	line, err := drive.Connect(t.Context(), n.URL(), "device-j1", 0, func(*drive.Frame) {})
	require.NoError(t, err)
	f, err := line.Ask(map[string]any{"type": "publish", "vitals": []any{map[string]any{"patient": "j1", "code": carewire.HeartRate.Code,
		"value": 200, "unit": "/min", "device": "monitor", "vital_id": "only"}}})
	require.NoError(t, err)
	require.Len(t, f.Results, 1)
	line.Close()
	becomes := func(want carewire.Condition) {
		t.Helper()
		process.Poll(t, 30*time.Second, func() (bool, string) {
			after(t.Context(), 3*time.Second)
			n.Kill() // only one process may have the file open
			s, err := boltstore.Open(filepath.Join(dir, "node.db"), nil)
			require.NoError(t, err)
			_, alerts := logOf(t, s, "j1")
			require.NoError(t, s.Close())
			n.Start()
			list := alerts["at-once"]
			return len(list) > 0 && list[len(list)-1].Condition == want, fmt.Sprint("the alert is not ", want)
		})
	}
	becomes(carewire.ConditionPresent)
	n.Args = append(n.Args, "-judge-optional")
	n.Kill()
	n.Start()
	becomes(carewire.ConditionOver)
}
