package main

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(serveVariable); text != "" { // a server process of a test
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// Each kind of workload runs with few clients; a run that loses or repeats an event fails.
func TestWorkloads(t *testing.T) {
	const kinds = "burst-1,burst-8,burst-batch,paced-tls,connect-20,idle-5000,idle-5000-watching-40,ward,waves-100,beside-100,stuck,storm,durable-64,postgres-64,nodes-100,watched-1000,watchers-10,patients-1000,alerts-10000"
	for _, w := range workloads {
		if !chosen(kinds, w.name) {
			continue
		}
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			for _, e := range entrants {
				peer := !strings.HasPrefix(e.name, "carewire") && !strings.HasPrefix(e.name, "floor")
				if !w.takes(e) || peer && w.name != "burst-1" && w.name != "ward" && w.name != "storm" {
					continue
				}
				v, err := w.measure(settings{Dir: t.TempDir()}, e, scale{quick: true})
				if errors.Is(err, errMissing) {
					t.Skip(err)
				}
				require.NoError(t, err, e.name)
				for _, s := range sections {
					if chosen(strings.Join(s.workloads, ","), w.name) {
						require.Contains(t, v, s.figures[0].name, e.name)
					}
				}
			}
		})
	}
}

func TestEveryWorkloadIsInTheReport(t *testing.T) {
	for _, w := range workloads {
		n := 0
		for _, s := range sections {
			if chosen(strings.Join(s.workloads, ","), w.name) {
				n++
			}
		}
		require.Equal(t, 1, n, w.name)
	}
}

// Frames are counted however they are cut, and every fault in them shows.
func TestClientCounts(t *testing.T) {
	one := func(number int) string { return string(textFrame(event(0, number, time.Now(), 0))) }
	two := string(textFrame([]byte(strings.Repeat(" ", 70) + `"vital_id":"` + eventID(0, 1, time.Now()) + "\"\n" + `"vital_id":"` + eventID(0, 2, time.Now()) + `"`)))
	for _, tt := range []struct {
		name               string
		stream             string
		got, gaps, repeats int64
	}{
		{"in order", one(1) + one(2) + one(3), 3, 0, 0},
		{"two in one frame", two + one(3), 3, 0, 0},
		{"left out", one(1) + one(4), 2, 2, 0},
		{"left out, and as many as should be", one(1) + one(2) + one(4), 3, 1, 0},
		{"first left out", one(2), 1, 1, 0},
		{"again", one(1) + one(2) + one(2), 3, 0, 1},
		{"wrong order", one(2) + one(1), 2, 1, 1},
		{"others between", one(1) + string(textFrame([]byte(readyMessage))) + one(2), 2, 0, 0},
		{"the last is cut", one(1) + one(2)[:100], 1, 0, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			for _, size := range []int{1, 7, 100, 10000} { // bytes that come at once
				c := &crowd{dialect: plain}
				cl := &client{crowd: c, last: make([]int32, 1)}
				var held []byte
				for rest := []byte(tt.stream); len(rest) > 0; {
					n := min(size, len(rest))
					held = append(held, rest[:n]...)
					rest = rest[n:]
					held = held[cl.take(held):]
				}
				require.Equal(t, []int64{tt.got, tt.gaps, tt.repeats}, []int64{c.got.Load(), c.gaps.Load(), c.repeats.Load()}, size)
				require.Equal(t, tt.got == 3 && tt.gaps == 0 && tt.repeats == 0, c.exactly(3) == nil)
			}
		})
	}
}

func TestEventsAreEquallyLong(t *testing.T) {
	require.Len(t, event(0, 1, time.Now(), 0), eventSize)
	require.Len(t, event(0, 123456, time.Now(), centrifugeAdds), eventSize-centrifugeAdds)
}

func TestHistogram(t *testing.T) {
	var h histogram
	for i := range 1000 {
		h.add(time.Duration(i+1) * time.Millisecond)
	}
	for _, q := range []float64{0.001, 0.5, 0.99, 1} {
		require.InEpsilon(t, q*1000, h.quantile(q), 0.01)
	}
	h.add(-1)
	h.add(math.MaxInt64)
	h.reset()
	require.Zero(t, h.quantile(0.5))
}

func TestReport(t *testing.T) {
	dir := t.TempDir()
	var r results
	r.Runs = append(r.Runs, run{Workload: "storm", Contender: "carewire", Day: "a day", Values: values{"caught_up_s": 1}})
	for k, cost := range []float64{100, 130, 110} {
		r.Runs = append(r.Runs,
			run{Workload: "burst-1", Contender: "carewire", Run: k + 1, Day: "a day", Values: values{"cpu_ns": cost, "rss_mb": 9}},
			run{Workload: "burst-1", Contender: "floor-buffered", Run: k + 1, Day: "a day", Values: values{"cpu_ns": cost / 2, "rss_mb": 3}},
			run{Workload: "burst-1", Contender: "centrifuge", Run: k + 1, Day: "a day", Values: values{"cpu_ns": cost * 4, "rss_mb": 5}},
			run{Workload: "watchers-10", Contender: "carewire", Run: k + 1, Day: "a day", Values: values{"cpu_ns": cost}},
			run{Workload: "nodes-100", Contender: "carewire-pgstore-2", Run: k + 1, Day: "another day", Values: values{"p50_ms": 1, "p99_ms": cost, "p999_ms": 3}})
	}
	r.Runs = append(r.Runs, run{Workload: "burst-1", Contender: "melody", Run: 1, Day: "a day", Invalid: "one event is missing"})
	require.NoError(t, r.save(dir))
	again, err := load(dir)
	require.NoError(t, err)
	require.Equal(t, r, again)
	require.NoError(t, again.render(dir))
	text, err := os.ReadFile(filepath.Join(dir, "benchmarks.md"))
	require.NoError(t, err)
	for _, line := range []string{
		"| carewire | **110** (100–130) | 2.00 | 0.25 |",
		"| burst-1 | CPU ns/delivery × floor-buffered | ≤ 1.30 | 2.00 | **no** |",
		"| burst-1 | CPU ns/delivery × centrifuge | ≤ 0.50 | 0.25 | yes |",
		"carewire was measured at a day; nodes-100 at another day.",
		"| melody (**1 of 1 runs invalid**) |",
		"| burst-1 | RSS MB | centrifuge (1.80) |",
		"| watchers-10 | **110** (100–130) |",
		"| carewire-pgstore-2 | **110** (100–130) | 1.00 / 110 / 3.00 |  |",
		"](benchmarks/burst-1.svg)",
	} {
		require.Contains(t, string(text), line)
	}
	for _, name := range []string{"burst-1.svg", "more-watchers.svg"} {
		b, err := os.ReadFile(filepath.Join(dir, "benchmarks", name))
		require.NoError(t, err)
		for d := xml.NewDecoder(strings.NewReader(string(b))); ; {
			if _, err = d.Token(); err != nil {
				break
			}
		}
		require.True(t, errors.Is(err, io.EOF), err)
	}

	require.ErrorContains(t, again.checked(), "burst-1 | CPU ns/delivery × floor-buffered | ≤ 1.30: measured 2.00")
	require.NotContains(t, again.checked().Error(), "centrifuge")
	require.Error(t, new(results).checked(), "nothing was measured")

	again.forget("burst-1", "carewire")
	valid, all := again.of("burst-1", "carewire")
	require.Empty(t, valid)
	require.Zero(t, all)
}
