package main

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write examples/replay/data/icu-a103l-rate.csv anew")

// The rate from beat to beat that examples/replay judges is the beat finder's, of
// lead II of record a103l, brought to the finder's samples and units.
func TestRateOfA103l(t *testing.T) {
	lead := icu()
	at := func(i int) float64 { return float64(lead[i*len(leads)]) / 7247 * 200 }
	var find beatFinder
	text, last := "seconds,rate\n", 0
	for n := 0; ; n++ {
		x := float64(n) * icuRate / ecgRate
		i := int(x)
		if (i+2)*len(leads) > len(lead) {
			break
		}
		if !find.add(int16(at(i) + (at(i+1)-at(i))*(x-float64(i)))) {
			continue
		}
		if gap := float64(find.beat-last) / ecgRate; last > 0 && gap <= 3 {
			text += fmt.Sprintf("%.3f,%.1f\n", float64(find.beat)/ecgRate, 60/gap)
		}
		last = find.beat
	}
	const file = "../replay/data/icu-a103l-rate.csv"
	if *update {
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if text != string(want) || strings.Count(text, "\n") < 200 {
		t.Errorf("%d beats, not those of %s", strings.Count(text, "\n")-1, file)
	}
}

// Record 208 has about 98 beats a minute. Some cannot be seen in this excerpt,
// where the electrode was knocked.
func TestBeatFinder(t *testing.T) {
	const seconds = 300
	if n := len(ecg()); n != seconds*ecgRate {
		t.Fatalf("the record has %d samples", n)
	}
	var find beatFinder
	var rate pulse
	beats, plausible, last := 0, 0, 0
	for i, sample := range ecg() {
		if !find.add(sample) {
			continue
		}
		if beats++; beats > 1 && i-last < ecgRate/5 {
			t.Errorf("two beats within 200 ms at %d s", i/ecgRate)
		}
		last = i
		if r := rate.beat(i); r >= 50 && r <= 140 {
			plausible++
		}
	}
	if beats < 460 || beats > 520 {
		t.Errorf("found %d beats", beats)
	}
	if plausible < beats*95/100 {
		t.Errorf("only %d of %d rates are plausible", plausible, beats)
	}
}

// Noise without beats gives no steady pulse, and a flat line none at all.
func TestBeatFinderFlat(t *testing.T) {
	var find beatFinder
	for range 60 * ecgRate {
		if find.add(7) {
			t.Fatal("a beat in a flat line")
		}
	}
}

func TestPulse(t *testing.T) {
	var p pulse
	for i := range 10 { // a beat each second
		want := 60.0
		if i < 2 {
			want = 0
		}
		if got := p.beat(i * ecgRate); got != want {
			t.Errorf("beat %d: %v", i, got)
		}
	}
	if got := p.beat(15 * ecgRate); got != 0 {
		t.Errorf("after a pause: %v", got)
	}
}
