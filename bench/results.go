package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"
)

// results are all that was measured, as kept in benchmarks/results.json.
type results struct {
	Runs []run
}

// A run is one measurement. Invalid says why it does not count.
type run struct {
	Workload, Contender string
	Run                 int
	Day                 string
	Machine             string
	Values              values `json:",omitempty"`
	Invalid             string `json:",omitempty"`
}

func load(dir string) (r results, err error) {
	b, err := os.ReadFile(filepath.Join(dir, "benchmarks", "results.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return results{}, nil
	} else if err != nil {
		return results{}, err
	}
	err = json.Unmarshal(b, &r.Runs)
	return r, err
}

// save writes one run a line, so that changes can be read.
func (r *results) save(dir string) error {
	var b strings.Builder
	for i := range r.Runs {
		line, err := json.Marshal(r.Runs[i])
		if err != nil {
			return err
		}
		b.WriteString([]string{"[\n", ",\n"}[min(i, 1)])
		b.Write(line)
	}
	b.WriteString("\n]\n")
	if err := os.MkdirAll(filepath.Join(dir, "benchmarks"), 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(dir, "benchmarks", "results.json"), []byte(b.String()), 0o644)
}

// forget drops the results that are about to be measured anew.
func (r *results) forget(workload, contender string) {
	r.Runs = slices.DeleteFunc(r.Runs, func(x run) bool { return x.Workload == workload && x.Contender == contender })
}

// of returns the valid runs of a contender, and how many there were in all.
func (r *results) of(workload, contender string) (valid []run, all int) {
	for _, x := range r.Runs {
		if x.Workload == workload && x.Contender == contender {
			if all++; x.Invalid == "" {
				valid = append(valid, x)
			}
		}
	}
	return valid, all
}

// machine describes where this is being measured.
func machine() string {
	cpu := "unknown processor"
	b, _ := os.ReadFile("/proc/cpuinfo")
	if _, rest, ok := strings.Cut(string(b), "model name"); ok {
		line, _, _ := strings.Cut(rest, "\n")
		cpu = strings.TrimLeft(line, "\t: ")
	}
	var kb int
	b, _ = os.ReadFile("/proc/meminfo")
	fmt.Sscanf(string(b), "MemTotal: %d", &kb)
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	return fmt.Sprintf("%d × %s, %d GB, Linux %s, %s, GOMAXPROCS %d, no process pinned", runtime.NumCPU(), cpu, (kb+1<<19)>>20, strings.TrimSpace(string(kernel)), runtime.Version(), runtime.GOMAXPROCS(0))
}

// today is the day, and the commit that is measured if git knows it.
func today() string {
	day := time.Now().UTC().Format(time.DateOnly)
	if b, err := exec.Command("git", "rev-parse", "--short", "HEAD").Output(); err == nil {
		day += ", commit " + strings.TrimSpace(string(b))
	}
	return day
}

// days tells the dates of the measurements: the oldest first, then the runs that are newer.
func (r *results) days() string {
	var days []string
	of := map[string][]string{}
	for _, x := range r.Runs {
		if of[x.Day] == nil {
			days = append(days, x.Day)
		}
		if !slices.Contains(of[x.Day], x.Workload) {
			of[x.Day] = append(of[x.Day], x.Workload)
		}
	}
	text := days[0]
	for _, day := range days[1:] {
		text += "; " + strings.Join(of[day], ", ") + " at " + day
	}
	return text
}

// versions lists the peers, as they are linked into this program.
func versions() string {
	var list []string
	info, _ := debug.ReadBuildInfo()
	for _, m := range info.Deps {
		switch m.Path {
		case "github.com/centrifugal/centrifuge", "github.com/olahol/melody", "github.com/lxzan/gws", "github.com/gorilla/websocket",
			"github.com/coder/websocket", "go.etcd.io/bbolt", "github.com/jackc/pgx/v5":
			list = append(list, strings.TrimPrefix(m.Path, "github.com/")+" "+m.Version)
		}
	}
	return strings.Join(list, ", ")
}

// median returns the middle one, and the extremes.
func median(list []float64) (middle, least, most float64) {
	if len(list) == 0 {
		return 0, 0, 0
	}
	list = slices.Sorted(slices.Values(list))
	n := len(list)
	return (list[(n-1)/2] + list[n/2]) / 2, list[0], list[n-1]
}

func figures(runs []run, name string) (list []float64) {
	for _, r := range runs {
		if v, ok := r.Values[name]; ok {
			list = append(list, v)
		}
	}
	return list
}

// ratio is the median ratio of a contender's runs to those of another with the same number.
func ratio(ours, theirs []run, name string) (float64, bool) {
	var list []float64
	for _, a := range ours {
		for _, b := range theirs {
			if a.Run == b.Run && b.Values[name] > 0 {
				list = append(list, a.Values[name]/b.Values[name])
			}
		}
	}
	m, _, _ := median(list)
	return m, len(list) > 0
}
