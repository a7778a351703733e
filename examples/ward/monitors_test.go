package main

import (
	"encoding/json"
	"testing"

	"github.com/carewire/carewire"
)

// The measurements follow from the seed alone.
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
		i   int
		out func(*carewire.Vital) bool
	}{
		{2, func(v *carewire.Vital) bool { return v.Code == carewire.SpO2.Code && v.Value.Float64() < 90 }},
		{6, func(v *carewire.Vital) bool { return v.Code == carewire.HeartRate.Code && v.Value.Float64() > 130 }},
	} {
		m := newMonitor("p", test.i, 99)
		out := 0
		for range 60 { // two minutes
			for _, v := range m.next() {
				if test.out(&v) {
					out++
				}
			}
		}
		if out < 15 {
			t.Errorf("monitor %d: out of limits for %d readings", test.i, out)
		}
	}
}
