package main

import (
	"encoding/json"
	"testing"

	"github.com/carewire/carewire"
)

// What is measured follows from the seed alone.
func TestMonitorSeed(t *testing.T) {
	measure := func(seed uint64) string {
		m := newMonitor("p-02", 1, seed)
		var all []carewire.Vital
		for range 900 {
			all = append(all, m.next()...)
		}
		for i := range all {
			if err := all[i].Validate(); err != nil {
				t.Fatal(err)
			}
		}
		b, err := json.Marshal(all)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	if first, again := measure(1), measure(1); first != again {
		t.Error("the same seed gives other values")
	}
	if measure(1) == measure(2) {
		t.Error("another seed gives the same values")
	}
}

// There is something to see within the first minute or two.
func TestEpisodesSoon(t *testing.T) {
	for _, test := range []struct {
		i, limit int
		code     string
	}{{2, 0, carewire.SpO2.Code}, {6, 1, carewire.HeartRate.Code}} {
		m, l := newMonitor("p", test.i, 99), &limits[test.limit]
		out := 0
		for range 60 { // two minutes
			for _, v := range m.next() {
				if v.Code == test.code && (v.Value.Float64() < l.at) == l.below && v.Value.Float64() != l.at {
					out++
				}
			}
		}
		if out < 15 {
			t.Errorf("%s: out of limits for %d readings", l.key, out)
		}
	}
}
