package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// A section of the report: some workloads of one kind. The first figure is
// the main one: it has a plot, its extremes and the ratios.
type section struct {
	title     string
	about     string
	workloads []string // a name ending in * stands for all that begin so
	figures   []figure
	more      bool // more is better
}

// A figure is the content of a column. A name of several words shows them beside each other.
type figure struct{ name, head string }

var sections = []section{
	{"Burst", "1,000 events are published to 1,000 clients as fast as can be. The measure is the server's CPU time for each of the 1,000,000 deliveries. In *burst-1* a goroutine makes one call for each event, " +
		"in *burst-8* eight do, each for a patient of its own, and the clients watch all eight. In *burst-batch* one call of carewire's Publish takes all events; the others have no such call.",
		[]string{"burst-*"}, []figure{{"cpu_ns", "CPU ns/delivery"}, {"took_ms", "until all have all, ms"}, {"rss_mb", "RSS MB"}, {"bytes", "bytes/delivery"}}, false},
	{"Paced", "100 events a second to 1,000 clients. Events cannot be gathered here: each event is one write for each client.",
		[]string{"paced", "paced-tls"}, []figure{{"cpu_ns", "CPU ns/delivery"}, {"p50_ms", "p50 ms"}, {"p99_ms", "p99 ms"}, {"p999_ms", "p99.9 ms"}}, false},
	{"Idle", "The resident memory of the server process per idle connection, without the kernel's socket buffers: *settled* after garbage collection and release to the system (by `debug.FreeOSMemory`; " +
		"Go does it by itself within minutes), *soon* a second after the last has connected, and after a burst of 100 events to all. Servers without topics have nothing to watch; their clients get everything.",
		[]string{"idle-*"}, []figure{{"settled_idle_kb", "settled KB"}, {"idle_kb", "soon KB"}, {"settled_burst_kb", "settled after a burst KB"}, {"burst_kb", "soon after a burst KB"}}, false},
	{"Connecting", "1,000 clients, each of a principal of its own, connect 32 at a time and watch one patient, or twenty. carewire writes audit lines of each connection and each patient that is opened; centrifuge does not.",
		[]string{"connect-*"}, []figure{{"cpu_us", "CPU µs/client"}, {"took_ms", "until all are ready, ms"}}, false},
	{"Ward", "200 patients, each with a device that publishes once a second on its own connection and is answered; 40 clinicians watch 20 patients each. The latency is from the device's sending to the clinician's receipt, through the Store.",
		[]string{"ward"}, []figure{{"p99_ms", "p99 ms"}, {"p50_ms", "p50 ms"}, {"p999_ms", "p99.9 ms"}, {"cpu_us", "CPU µs/event"}}, false},
	{"Waves", "50 patients, each with two electrocardiograms of 250 samples a second (waves-100; none in waves-0), which ten gateways send in chunks of a quarter of a second, and with a vital each second. Twenty clinicians watch all of it, " +
		"so that each lead goes to twenty; twenty others watch the same patients without waves. Two alerts a second are raised besides, each at a moment when all gateways send. The share of one core is that of all of the server's work together, for 20 s.",
		[]string{"waves-*"}, []figure{{"core_pct", "% of a core"}, {"chunks_per_s", "chunks delivered/s"}, {"alert_p50_ms alert_p99_ms", "alerts p50 / p99 ms"}, {"plain_alert_p50_ms plain_alert_p99_ms", "without waves"},
			{"p50_ms p99_ms", "vitals p50 / p99 ms"}, {"plain_p50_ms plain_p99_ms", "without waves"}}, false},
	{"Alerts beside waves", "As before, but seconds with waves and seconds without alternate for 40 s, in each second eight alerts are raised at random moments, and the gateways send one after the other. So both kinds of alerts have the same machine. " +
		"The latency is from the raise to the clinician's receipt; the server has one processor and the load the other: `taskset -c 1 go run ./bench -only beside-100 -apart`. Others used the machine meanwhile; the measured processes had priority over them (`nice -n -15`), here and in waves-*.",
		[]string{"beside-100"}, []figure{{"p50_ratio", "p50, × without waves"}, {"p50_ms p99_ms", "p50 / p99 ms with waves"}, {"quiet_p50_ms quiet_p99_ms", "while none come"},
			{"plain_p50_ms plain_p99_ms", "to clinicians without waves"}, {"plain_quiet_p50_ms plain_quiet_p99_ms", "while none come"}, {"core_pct", "% of a core"}, {"quiet_core_pct", "while none come"}}, false},
	{"Stuck clients", "50 clients, 1,500 events a second. Then a tenth of the clients stops reading, half of them completely, half except one byte a second, for 4 s and 6,000 events. " +
		"The figures are the others' latency, compared with before; their losses; and the memory for each stuck client, in the server and in the kernel (both ends of the socket). Then the stuck clients read again: the number of old events that they are " +
		"given (older than a second), and the number left out for them. carewire's stuck clients watch as screens do (`latest`).",
		[]string{"stuck"}, []figure{{"p99_ratio", "others' p99, × before"}, {"p99_ms", "p99 ms"}, {"p99_before_ms", "before ms"}, {"others_lost", "others lost"}, {"held_kb", "held KB"}, {"kernel_kb", "in the kernel KB"},
			{"cut_share", "share cut off"}, {"old_values", "old events given"}, {"oldest_s", "oldest s"}, {"left_out", "left out"}}, false},
	{"Reconnect storm", "5,000 clients, 50 patients. All connections are cut at once; 8 alerts are raised for each patient, half before and half during the reconnects. The time is until every client has every alert.",
		[]string{"storm"}, []figure{{"caught_up_s", "all caught up after s"}, {"cpu_us", "CPU µs/client"}, {"alerts_lost", "alerts lost"}, {"not_recovered", "not recovered"}}, false},
	{"Durable", "Devices publish one vital at a time and wait for the answer, which comes when the vital is on disk.",
		[]string{"durable-*"}, []figure{{"answers_per_s", "answers/s"}, {"p50_ms", "p50 ms"}, {"p99_ms", "p99 ms"}, {"cpu_us", "CPU µs/answer"}}, true},
	{"Durable, in PostgreSQL", "The same with PostgreSQL, which runs on the same machine, shares its processors with the nodes and the load, and has a column for its CPU time. With three nodes the devices are spread over them; with carewire-spread the patients over one, two or four servers; " +
		"CPU µs/answer is that of all nodes together.",
		[]string{"postgres-*", "databases-*"}, []figure{{"answers_per_s", "answers/s"}, {"p50_ms", "p50 ms"}, {"p99_ms", "p99 ms"}, {"cpu_us", "CPU µs/answer"}, {"pg_cpu_us", "PostgreSQL's CPU µs/answer"}}, true},
	{"The latency of several nodes", "Ten devices send 100 or 500 events a second of 50 patients, every fifth an alert (of priority info), to one node. A clinician watches them all at the last node, which with two nodes is the other one; " +
		"*here* is a clinician at the node that the devices send to. The latency is from the event's due time to the clinician's receipt. A run has 100 or 500 alerts, so their p99.9 is the slowest.",
		[]string{"nodes-*"}, []figure{{"p99_ms", "vitals' p99 ms"}, {"p50_ms p99_ms p999_ms", "vitals p50 / p99 / p99.9 ms"}, {"alert_p50_ms alert_p99_ms alert_p999_ms", "alerts p50 / p99 / p99.9 ms"},
			{"near_p50_ms near_p99_ms near_p999_ms", "vitals here"}, {"near_alert_p50_ms near_alert_p99_ms near_alert_p999_ms", "alerts here"},
			{"cpu_ms_per_s", "CPU ms/s"}, {"far_cpu_ms_per_s", "other node's CPU ms/s"}, {"pg_cpu_ms_per_s", "PostgreSQL's CPU ms/s"}}, false},
	{"More patients watched at another node", "carewire-pgstore-2. 500 vitals a second of the given number of patients come to one node. Clinicians watch all of them on the other node, at most 250 each. With 0 the vitals are of 1,000 patients, and nobody watches: " +
		"the remaining cost is that of wake-ups.",
		[]string{"watched-*"}, []figure{{"far_cpu_ms_per_s", "other node's CPU ms/s"}, {"p50_ms", "p50 ms"}, {"p99_ms", "p99 ms"}, {"p999_ms", "p99.9 ms"}, {"cpu_ms_per_s", "CPU ms/s"}, {"pg_cpu_ms_per_s", "PostgreSQL's CPU ms/s"}}, false},
	{"More watchers", "Batches of 20 events of one patient, to the given number of clients.", []string{"watchers-*"}, []figure{{"cpu_ns", "CPU ns/delivery"}}, false},
	{"More patients", "Batches of 20 events over the given number of patients. Ten clients watch each patient; a client watches at most 250.", []string{"patients-*"}, []figure{{"cpu_ns", "CPU ns/delivery"}}, false},
	{"More open alerts", "The given number of alerts is open (of priority info, which page nobody), over at most 1,000 patients, while batches of 20 vitals go to 50 clients.",
		[]string{"alerts-*"}, []figure{{"cpu_ns", "CPU ns/delivery"}, {"raise_us", "CPU µs/raise"}, {"held_kb", "KB/alert"}, {"stats_us", "Stats µs"}, {"idle_cpu_ms_per_s", "idle CPU ms/s"}}, false},
}

const intro = `# Benchmarks

Made by ` + "`go run ./bench`" + `; do not edit. The raw figures are in [benchmarks/results.json](benchmarks/results.json).

%s
Peers: %s. carewire was measured at %s.

## Method

The server is a separate process, so that CPU time (user and system, from getrusage) and memory (VmRSS) are its own. The load generator is another process on the same machine. Both communicate over loopback and share the processors, which slows down all servers alike.

All clients are the same short program. It counts frames and reads only an ID in each event, which holds the event's number and its due time. **A run in which an event is missing, comes twice or comes out of order is invalid**, and shown as such. All servers' events are as long as carewire's frame of a heart rate with an ID, about 265 bytes; bytes that a server adds count as its own.

Figures are medians of the runs; extremes are in parentheses. All contenders make the first run before any makes the second. Ratios are medians of the ratios of runs with the same number.

There is one call of Publish for each event, for all servers, but where a workload's name says *batch*. One goroutine of the server publishes, but where the name says 8.

The floors do only the unavoidable work: as many writers as there are processors, each with its own connections and no lock except for taking the frames; no queue for a client, no watch, no Store. One
writes each ready frame by itself (*single*). The other copies all ready frames of a client into one buffer of up to 64 KB and writes that (*gathered*; smaller buffers cost more, larger ones save nothing, and writev over the same frames costs twice as much). A third
copies each event into a buffer of each client, whose own goroutine writes what it finds (*buffered*): the least for events that come one at a time.

carewire stores each event before it delivers it, in a MemoryStore unless stated otherwise. Of the others only centrifuge-recovering keeps events.

| contender | configuration |
|---|---|
`

// render writes benchmarks.md and its plots.
func (r *results) render(dir string) error {
	var b strings.Builder
	if len(r.Runs) == 0 {
		return nil
	}
	last := r.Runs[len(r.Runs)-1]
	fmt.Fprintf(&b, intro, last.Machine+".", versions(), r.days())
	for _, e := range entrants {
		fmt.Fprintf(&b, "| %s | %s |\n", e.name, e.about)
	}
	if err := os.MkdirAll(filepath.Join(dir, "benchmarks"), 0o755); err != nil {
		return err
	}
	b.WriteString(r.aimed())
	b.WriteString("\n## Where carewire is behind\n\n" + r.behind())
	for _, s := range sections {
		var names []string
		for _, w := range workloads {
			if slices.ContainsFunc(s.workloads, func(p string) bool { return chosen(p, w.name) }) && r.measured(w.name) {
				names = append(names, w.name)
			}
		}
		if len(names) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", s.title, s.about)
		if one := contendersOf(names[0]); len(one) == 1 {
			r.sizes(&b, s, names, one[0])
			if err := r.plot(&b, dir, s, s.title, names, one); err != nil {
				return err
			}
			continue
		}
		for _, name := range names {
			if len(names) > 1 {
				fmt.Fprintf(&b, "\n### %s\n", name)
			}
			r.table(&b, s, name)
			if err := r.plot(&b, dir, s, name, []string{name}, contendersOf(name)); err != nil {
				return err
			}
		}
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks.md"), []byte(b.String()), 0o644)
}

func (r *results) measured(workload string) bool {
	return slices.ContainsFunc(r.Runs, func(x run) bool { return x.Workload == workload })
}

func contendersOf(name string) (list []string) {
	for _, w := range workloads {
		if w.name != name {
			continue
		}
		for _, e := range entrants {
			if w.takes(e) {
				list = append(list, e.name)
			}
		}
	}
	return list
}

// table compares the contenders of a workload.
func (r *results) table(b *strings.Builder, s section, workload string) {
	contenders := contendersOf(workload)
	bases := slices.DeleteFunc([]string{"floor-gathered", "floor-buffered", "floor-topics", "floor-durable", "floor-pgstore", "centrifuge", "centrifuge-recovering"}, func(name string) bool {
		valid, _ := r.of(workload, name)
		return len(valid) == 0 || strings.HasSuffix(s.figures[0].name, "_ratio")
	})
	b.WriteString("\n| |")
	for i, f := range s.figures {
		fmt.Fprintf(b, " %s |", f.head)
		if i == 0 {
			for _, base := range bases {
				fmt.Fprintf(b, " × %s |", base)
			}
		}
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(s.figures)+len(bases)) + "\n")
	for _, name := range contenders {
		valid, all := r.of(workload, name)
		if all == 0 {
			continue
		}
		fmt.Fprintf(b, "| %s%s |", name, shortfall(len(valid), all))
		for i, f := range s.figures {
			b.WriteString(" " + cell(valid, f.name, i == 0) + " |")
			if i == 0 {
				for _, base := range bases {
					theirs, _ := r.of(workload, base)
					if x, ok := ratio(valid, theirs, f.name); ok && len(valid) > 0 {
						fmt.Fprintf(b, " %.2f |", x)
					} else {
						b.WriteString(" |")
					}
				}
			}
		}
		b.WriteString("\n")
	}
}

// sizes compares carewire with itself.
func (r *results) sizes(b *strings.Builder, s section, names []string, contender string) {
	b.WriteString("\n| |")
	for _, f := range s.figures {
		fmt.Fprintf(b, " %s |", f.head)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(s.figures)) + "\n")
	for _, name := range names {
		valid, all := r.of(name, contender)
		fmt.Fprintf(b, "| %s%s |", name, shortfall(len(valid), all))
		for i, f := range s.figures {
			b.WriteString(" " + cell(valid, f.name, i == 0) + " |")
		}
		b.WriteString("\n")
	}
}

func shortfall(valid, all int) string {
	if valid == all {
		return ""
	}
	return fmt.Sprintf(" (**%d of %d runs invalid**)", all-valid, all)
}

func cell(valid []run, name string, main bool) string {
	if some := strings.Fields(name); len(some) > 1 {
		var shown []string
		for _, one := range some {
			if text := cell(valid, one, false); text != "" {
				shown = append(shown, text)
			}
		}
		return strings.Join(shown, " / ")
	}
	list := figures(valid, name)
	m, least, most := median(list)
	switch {
	case len(list) == 0:
		return ""
	case main && len(list) > 1:
		return fmt.Sprintf("**%s** (%s–%s)", digits3(m), digits3(least), digits3(most))
	}
	return digits3(m)
}

// plot draws the main figure, one bar for each workload and contender.
func (r *results) plot(b *strings.Builder, dir string, s section, title string, names, contenders []string) error {
	var bars []bar
	for _, name := range names {
		for _, c := range contenders {
			valid, _ := r.of(name, c)
			list := figures(valid, s.figures[0].name)
			if len(list) == 0 {
				continue
			}
			label := c
			if len(names) > 1 {
				label = name
			}
			m, least, most := median(list)
			bars = append(bars, bar{label, m, least, most, strings.HasPrefix(c, "carewire")})
		}
	}
	if len(bars) == 0 {
		return nil
	}
	file := strings.ReplaceAll(strings.ToLower(title), " ", "-") + ".svg"
	fmt.Fprintf(b, "\n![%s: %s](benchmarks/%s)\n", title, s.figures[0].head, file)
	return os.WriteFile(filepath.Join(dir, "benchmarks", file), []byte(plot(title+": "+s.figures[0].head, bars)), 0o644)
}

// An aim is a target of carewire: a figure, or its ratio to a base.
type aim struct {
	workload, contender, figure, base string
	least, most                       float64 // one of them
}

var aims = []aim{
	{"burst-1", "carewire", "cpu_ns", "floor-buffered", 0, 1.3},
	{"burst-1", "carewire", "cpu_ns", "centrifuge", 0, 0.5},
	{"burst-8", "carewire", "cpu_ns", "floor-buffered", 0, 1.3},
	{"burst-8", "carewire", "cpu_ns", "centrifuge", 0, 0.5},
	{"burst-batch", "carewire", "cpu_ns", "floor-gathered", 0, 1.3},
	{"paced", "carewire", "cpu_ns", "floor-buffered", 0, 1.1},
	{"paced", "carewire", "cpu_ns", "centrifuge", 0, 0.6},
	{"paced", "carewire", "p99_ms", "floor-gathered", 0, 1.3},
	{"idle-5000", "carewire", "settled_idle_kb", "", 0, 14},
	{"idle-5000-tls", "carewire", "settled_idle_kb", "", 0, 26},
	{"durable-64", "carewire-boltstore", "answers_per_s", "floor-durable", 0.3, 0},
	{"durable-512", "carewire-boltstore", "answers_per_s", "floor-durable", 0.3, 0},
	{"postgres-64", "carewire-pgstore", "answers_per_s", "floor-pgstore", 0.3, 0},
	{"postgres-512", "carewire-pgstore", "answers_per_s", "floor-pgstore", 0.3, 0},
	{"connect-1", "carewire", "cpu_us", "centrifuge", 0, 1.2},
	{"connect-20", "carewire", "cpu_us", "centrifuge", 0, 1.2},
	{"ward", "carewire", "cpu_us", "floor-topics", 0, 1.15},
	{"stuck", "carewire", "p99_ratio", "", 0, 1.2},
	{"waves-100", "carewire", "core_pct", "", 0, 15},
}

// aimAt returns what was measured for an aim; 0: nothing was.
func (r *results) aimAt(a aim) float64 {
	ours, _ := r.of(a.workload, a.contender)
	if a.base == "" {
		got, _, _ := median(figures(ours, a.figure))
		return got
	}
	theirs, _ := r.of(a.workload, a.base)
	got, _ := ratio(ours, theirs, a.figure)
	return got
}

// reached reports whether a figure comes up to the aim, which may be missed by a factor.
func (a aim) reached(got, factor float64) bool {
	if a.least > 0 {
		return got*factor >= a.least
	}
	return got <= a.most*factor
}

func (a aim) String() string {
	unit, limit := "", "≤ "+digits3(a.most)
	if a.base != "" {
		unit = " × " + a.base
	}
	if a.least > 0 {
		limit = "≥ " + digits3(a.least)
	}
	return fmt.Sprintf("%s | %s%s | %s", a.workload, head(a.figure), unit, limit)
}

// aimed compares the aims with the measurements.
func (r *results) aimed() string {
	var b strings.Builder
	b.WriteString("\n## Aims\n\n| workload | figure | aim | measured | reached |\n|---|---|---:|---:|---|\n")
	for _, a := range aims {
		if got := r.aimAt(a); got != 0 {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", a, digits3(got), map[bool]string{true: "yes", false: "**no**"}[a.reached(got, 1)])
		}
	}
	return b.String()
}

// checked fails if nothing that has an aim was measured, or an aim is missed by more
// than half. A shared machine does not allow less.
func (r *results) checked() error {
	var missed []error
	n := 0
	for _, a := range aims {
		got := r.aimAt(a)
		if got == 0 {
			continue
		}
		if n++; !a.reached(got, 1.5) {
			missed = append(missed, fmt.Errorf("%s: measured %s", a, digits3(got)))
		}
	}
	if n == 0 {
		return errors.New("nothing was measured that has an aim")
	}
	return errors.Join(missed...)
}

func head(name string) string {
	for _, s := range sections {
		for _, f := range s.figures {
			if f.name == name {
				return f.head
			}
		}
	}
	return name
}

// behind lists the figures in which another server beats carewire.
func (r *results) behind() string {
	var lines []string
	for _, s := range sections {
		for _, w := range workloads {
			if !slices.ContainsFunc(s.workloads, func(p string) bool { return chosen(p, w.name) }) {
				continue
			}
			ours, _ := r.of(w.name, "carewire")
			for _, f := range s.figures {
				var better []string
				for _, name := range contendersOf(w.name) {
					theirs, _ := r.of(w.name, name)
					x, ok := ratio(ours, theirs, f.name)
					if ok && !strings.HasPrefix(name, "carewire") && !strings.HasPrefix(name, "floor") && (!s.more && x > 1.05 || s.more && x < 0.95) {
						better = append(better, fmt.Sprintf("%s (%.2f)", name, x))
					}
				}
				if len(better) > 0 && f.name != "bytes" {
					lines = append(lines, fmt.Sprintf("| %s | %s | %s |\n", w.name, f.head, strings.Join(better, ", ")))
				}
			}
		}
	}
	if len(lines) == 0 {
		return "No other server was better by more than 5 % in anything that was measured.\n"
	}
	return "All figures in which another server is better by more than 5 %, with carewire's ratio to it:\n\n| workload | figure | better servers |\n|---|---|---|\n" + strings.Join(lines, "")
}
