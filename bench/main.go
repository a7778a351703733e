// Command bench measures carewire beside other servers and beside the least
// that could be done. It starts each server as a process of its own and is
// itself the load.
package main

import (
	"flag"
	"fmt"
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
	only := flag.String("only", "", "workloads to run, separated by commas; a name ending in * stands for all that begin so")
	contenders := flag.String("contenders", "", "contenders to run, likewise")
	runs := flag.Int("runs", 5, "how often each is run")
	quick := flag.Bool("quick", false, "one small run of each, to see whether it works; nothing is written")
	var s settings
	flag.StringVar(&s.CPUProfile, "cpuprofile", "", "file for the server's CPU profile of what is measured")
	flag.StringVar(&s.MemProfile, "memprofile", "", "file for the server's heap profile at the end of what is measured")
	flag.Parse()
	if *quick {
		*runs = 1
	}
	failed := false
	for _, w := range workloads {
		if !chosen(*only, w.name) {
			continue
		}
		for k := range *runs {
			for _, e := range entrants {
				if !chosen(*contenders, e.name) || !w.takes(e) {
					continue
				}
				v, err := w.measure(s, e, scale{*quick})
				fmt.Printf("%-16s %d %-22s", w.name, k+1, e.name)
				if err != nil {
					fmt.Printf(" INVALID: %v", err)
					failed = true
				}
				for _, name := range slices.Sorted(maps.Keys(v)) {
					fmt.Printf("  %s %.4g", name, v[name])
				}
				fmt.Println()
			}
		}
	}
	if failed {
		os.Exit(1)
	}
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
