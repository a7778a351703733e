// Command bench measures carewire beside other servers and beside the least
// that could be done. It starts each server as a process of its own and is
// itself the load.
package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
)

func main() {
	if text := os.Getenv(serveVariable); text != "" {
		if err := serve(text); err != nil {
			fmt.Fprintln(os.Stderr, "server:", err)
			os.Exit(1)
		}
		return
	}
	var p plan
	flag.StringVar(&p.only, "only", "", "workloads to run, separated by commas; a name ending in * stands for all that begin so")
	flag.StringVar(&p.contenders, "contenders", "", "contenders to run, likewise")
	flag.IntVar(&p.runs, "runs", 5, "how often each is run")
	flag.BoolVar(&p.quick, "quick", false, "one small run of each, to see whether it works; nothing is written")
	flag.StringVar(&p.out, "out", "docs", "directory for benchmarks.md and benchmarks/, in which results that are not measured now are kept; empty: nothing is written")
	flag.StringVar(&p.Dir, "dir", "", "directory on the disk for durable data; empty: that for temporary files")
	flag.StringVar(&p.CPUProfile, "cpuprofile", "", "file for the server's CPU profile during the measurement")
	flag.StringVar(&p.MemProfile, "memprofile", "", "file for the server's heap profile at the end of the measurement")
	flag.BoolVar(&p.Apart, "apart", false, "run the servers on the first processor only; `taskset -c 1` before this command keeps the load away from it")
	flag.BoolVar(&p.check, "check", false, "fail if carewire misses an aim by more than half")
	render := flag.Bool("render", false, "measure nothing, only make the report anew")
	flag.Parse()
	if *render {
		p.runs = 0
	}
	if err := p.run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// A plan is the list of things to measure.
type plan struct {
	settings
	only, contenders string
	runs             int
	quick            bool
	out              string
	check            bool
}

// run measures, workload by workload: run k of every contender before run k+1 of any.
func (p plan) run(log io.Writer) error {
	if p.quick {
		p.runs, p.out = 1, ""
	}
	var all results
	if p.out != "" {
		var err error
		if all, err = load(p.out); err != nil {
			return err
		}
	}
	invalid := 0
	for _, w := range workloads {
		if !chosen(p.only, w.name) {
			continue
		}
		for k := range p.runs {
			for _, e := range entrants {
				if !chosen(p.contenders, e.name) || !w.takes(e) {
					continue
				}
				r := run{Workload: w.name, Contender: e.name, Run: k + 1, Day: today(), Machine: machine()}
				var err error
				if r.Values, err = w.measure(p.settings, e, scale{p.quick}); errors.Is(err, errMissing) {
					fmt.Fprintf(log, "%-22s   %-22s %v\n", w.name, e.name, err)
					continue
				} else if err != nil {
					r.Invalid = err.Error()
					invalid++
				}
				if k == 0 {
					all.forget(w.name, e.name)
				}
				all.Runs = append(all.Runs, r)
				fmt.Fprintf(log, "%-22s %d %-22s %s", r.Workload, r.Run, r.Contender, r.Invalid)
				for _, name := range slices.Sorted(maps.Keys(r.Values)) {
					fmt.Fprintf(log, "  %s %s", name, digits3(r.Values[name]))
				}
				fmt.Fprintln(log)
			}
		}
		if p.out != "" && p.runs > 0 {
			if err := all.save(p.out); err != nil {
				return err
			}
		}
	}
	if p.out != "" {
		if err := all.render(p.out); err != nil {
			return err
		}
	}
	if invalid > 0 {
		return fmt.Errorf("%d runs are invalid", invalid)
	}
	if p.check {
		return all.checked()
	}
	return nil
}

func chosen(list, name string) bool {
	if list == "" {
		return true
	}
	return slices.ContainsFunc(strings.Split(list, ","), func(item string) bool {
		prefix, all := strings.CutSuffix(item, "*")
		return item == name || all && strings.HasPrefix(name, prefix)
	})
}
