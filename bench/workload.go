package main

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"time"
)

// values are the figures of one run, by name; the name's end is the unit.
type values map[string]float64

// A workload is measured for each of its contenders.
type workload struct {
	name       string
	contenders []string // none: all that are not special
	run        func(settings, scale) (values, error)
}

// scale chooses between a full run and one that only tries whether it works.
type scale struct{ quick bool }

func (s scale) of(full, quick int) int {
	if s.quick {
		return quick
	}
	return full
}

func (s scale) pause(full time.Duration) time.Duration {
	if s.quick {
		return full / 50
	}
	return full
}

func (w *workload) takes(e entrant) bool {
	if w.contenders == nil {
		return !e.special
	}
	return slices.Contains(w.contenders, e.name)
}

// measure makes one run, with a directory of its own on disk.
func (w *workload) measure(s settings, e entrant, z scale) (v values, err error) {
	s.Contender = e.name
	if s.Dir, err = os.MkdirTemp(s.Dir, "carewire-bench"); err != nil {
		return nil, err
	}
	defer os.RemoveAll(s.Dir)
	if s.Nodes = e.nodes; s.Nodes > 0 {
		if s.DSN, err = database(); err != nil {
			return nil, err
		}
		defer drop(s.DSN)
	}
	for range e.databases - 1 {
		dsn, end, err := databaseServer()
		if err != nil {
			return nil, err
		}
		defer end()
		s.More = append(s.More, dsn)
	}
	return w.run(s, z)
}

// The contenders of a benchmark where not all take part: some servers cannot,
// and some show nothing new, which would only take time.
var (
	secured = []string{"carewire", "floor-gathered", "centrifuge", "centrifuge-delayed", "gws", "coder"}
	resting = []string{"carewire", "floor-gathered", "centrifuge", "centrifuge-delayed", "melody", "gws", "gorilla", "coder"}
	many    = []string{"carewire", "floor-gathered", "centrifuge", "gws"}
	topical = []string{"carewire", "centrifuge"}
	queued  = []string{"carewire", "centrifuge", "centrifuge-delayed", "melody", "gws", "gorilla", "coder"}
	alone   = []string{"carewire"}
	shared  = []string{"carewire", "carewire-boltstore", "carewire-pgstore", "carewire-pgstore-2", "carewire-pgstore-2-polling"}
	two     = []string{"carewire-pgstore-2"}
)

var workloads = slices.Concat(
	[]workload{
		{"burst-1", nil, burst(false, 1)}, {"burst-8", nil, burst(false, 8)}, {"burst-1-tls", secured, burst(true, 1)},
		{"burst-batch", nil, burst(false, 0)}, {"burst-batch-tls", secured, burst(true, 0)},
		{"paced", nil, paced(false)}, {"paced-tls", secured, paced(true)},
		{"idle-5000", resting, rest(5000, 1, 100, false)},
		{"idle-5000-tls", secured, rest(5000, 1, 0, true)},
		{"idle-5000-watching-40", topical, rest(5000, 40, 0, false)},
		{"idle-15000", many, rest(15000, 1, 0, false)},
		{"idle-15000-watching-40", alone, rest(15000, 40, 0, false)},
		{"connect-1", topical, connects(1)}, {"connect-20", topical, connects(20)},
		{"ward", []string{"carewire", "carewire-boltstore", "floor-topics", "centrifuge", "centrifuge-delayed"}, func(s settings, z scale) (values, error) {
			return ward(s, z.of(200, 40), z.of(40, 4), z.of(20, 10), z.of(10, 1))
		}},
		{"waves-0", alone, func(s settings, z scale) (values, error) { return withWaves(s, z.of(50, 10), 0, z.of(20, 2)) }},
		{"waves-100", alone, func(s settings, z scale) (values, error) { return withWaves(s, z.of(50, 10), 2, z.of(20, 2)) }},
		{"beside-100", alone, func(s settings, z scale) (values, error) { return alertsBesideWaves(s, z.of(50, 10), 2, z.of(40, 4)) }},
		{"stuck", queued, func(s settings, z scale) (values, error) {
			return withStuck(s, z.of(50, 20), z.of(6000, 60), float64(z.of(1500, 300)))
		}},
		{"storm", []string{"carewire", "carewire-boltstore", "centrifuge-recovering"}, func(s settings, z scale) (values, error) {
			return storm(s, z.of(5000, 40), z.of(50, 5), 8)
		}},
	},
	grown("durable-%d", []int{64, 512}, []string{"carewire-boltstore", "floor-durable"}, func(s settings, devices int, z scale) (values, error) {
		return durable(s, z.of(devices, 8), time.Duration(z.of(2000, 500))*time.Millisecond)
	}),
	grown("postgres-%d", []int{64, 512}, []string{"carewire-pgstore", "carewire-pgstore-3", "floor-pgstore"}, func(s settings, devices int, z scale) (values, error) {
		return durable(s, z.of(devices, 9), time.Duration(z.of(2000, 500))*time.Millisecond)
	}),
	grown("databases-%d", []int{64, 512}, []string{"carewire-pgstore", "carewire-spread-1", "carewire-spread-2", "carewire-spread-4"}, func(s settings, devices int, z scale) (values, error) {
		return durable(s, z.of(devices, 9), time.Duration(z.of(4000, 500))*time.Millisecond)
	}),
	grown("nodes-%d", []int{100, 500}, shared, func(s settings, rate int, z scale) (values, error) {
		return across(s, z.of(50, 10), z.of(50, 10), rate, 5, time.Duration(z.of(5000, 500))*time.Millisecond)
	}),
	grown("watched-%d", []int{0, 10, 1000, 10000}, two, func(s settings, watched int, z scale) (values, error) {
		watched = z.of(watched, min(watched, 500))
		return across(s, cmp.Or(watched, 1000), watched, 500, 0, time.Duration(z.of(4000, 500))*time.Millisecond)
	}),
	grown("watchers-%d", []int{10, 100, 1000, 10000}, alone, func(s settings, n int, z scale) (values, error) {
		return moreWatchers(s, z.of(n, min(n, 30)), z.of(200000, 1000))
	}),
	grown("patients-%d", []int{1, 10, 100, 1000, 10000}, alone, func(s settings, n int, z scale) (values, error) {
		return morePatients(s, z.of(n, min(n, 40)), z.of(50000, 1000))
	}),
	grown("alerts-%d", []int{10, 10000, 100000}, alone, func(s settings, n int, z scale) (values, error) {
		return moreAlerts(s, z.of(n, min(n, 2000)), z.pause(3*time.Second))
	}),
)

// burst has publishers make one call for each event; 0: there is one call for all events.
func burst(tls bool, publishers int) func(settings, scale) (values, error) {
	return func(s settings, z scale) (values, error) {
		s.TLS, s.Queue = tls, 2000
		return fanOut(s, z.of(1000, 20), z.of(104, 16), z.of(1000, 104), 0, publishers)
	}
}

func paced(tls bool) func(settings, scale) (values, error) {
	return func(s settings, z scale) (values, error) {
		s.TLS = tls
		return fanOut(s, z.of(1000, 20), z.of(30, 5), z.of(300, 30), 100, 0)
	}
}

func connects(watch int) func(settings, scale) (values, error) {
	return func(s settings, z scale) (values, error) { return connect(s, z.of(1000, 40), watch) }
}

func rest(clients, watch, burst int, tls bool) func(settings, scale) (values, error) {
	return func(s settings, z scale) (values, error) {
		s.TLS = tls
		return idle(s, z.of(clients, 60), watch, min(burst, z.of(burst, 10)), z.pause(time.Second))
	}
}

// grown returns a workload for each of some sizes.
func grown(name string, sizes []int, contenders []string, run func(settings, int, scale) (values, error)) (list []workload) {
	for _, n := range sizes {
		list = append(list, workload{fmt.Sprintf(name, n), contenders, func(s settings, z scale) (values, error) { return run(s, n, z) }})
	}
	return list
}
