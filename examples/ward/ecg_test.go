package main

import "testing"

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
