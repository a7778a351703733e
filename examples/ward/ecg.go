package main

import (
	_ "embed"
	"sync"
)

// A real electrocardiogram; ecg.md says where it comes from.
//
//go:embed ecg-mitdb208.i16.gz
var ecgFile []byte

const ecgRate = 360 // samples a second, each in 1/200 mV

// ecg returns the samples of the record.
var ecg = sync.OnceValue(func() []int16 { return unpack(ecgFile) })

// A beatFinder finds heart beats in an electrocardiogram, sample by sample, by
// the energy of its slope (after Pan and Tompkins, 1985): the slope is steep
// only in the QRS complex, so its square, summed over the width of one, has a
// hill at each beat. How high a hill must be follows the hills found.
type beatFinder struct {
	n      int // samples so far
	past   [slopeOver]float64
	energy [window]float64
	sum    float64 // of energy
	hill   float64 // how high beats rise
	peak   float64 // of the hill being climbed; 0 between hills
	top    int     // where that peak is
	beat   int     // where the last beat was
}

const (
	slopeOver  = ecgRate / 36       // 28 ms: steep, but not noise
	window     = ecgRate * 15 / 100 // 150 ms: the width of a QRS complex
	refractory = ecgRate * 3 / 10   // 300 ms: no heart beats again sooner
	learning   = ecgRate * 2        // the first 2 s say how high hills are
	patience   = ecgRate            // 1 s without a beat: lower hills count too
)

// add takes the next sample. It returns true when a beat has been found, a
// moment after its peak.
func (f *beatFinder) add(sample int16) bool {
	x := float64(sample)
	old := &f.past[f.n%slopeOver]
	slope := x - *old
	if *old = x; f.n < slopeOver {
		slope = 0
	}
	e := &f.energy[f.n%window]
	f.sum += slope*slope - *e
	*e = slope * slope
	f.n++
	if f.n < learning {
		f.hill = max(f.hill, f.sum)
		f.beat = f.n
		return false
	}

	high := f.hill / 4
	if waited := f.n - f.beat; waited > patience {
		high *= patience / float64(waited)
	}
	switch {
	case f.sum > high && f.sum > f.peak:
		f.peak, f.top = f.sum, f.n
	case f.peak > 0 && f.sum < f.peak/2: // down the other side
		peak := f.peak
		f.peak = 0
		if f.top-f.beat < refractory {
			return false
		}
		f.beat = f.top
		f.hill += (min(peak, 2*f.hill) - f.hill) / 8
		return true
	}
	return false
}

// A pulse is the heart rate over the last beats.
type pulse struct {
	at []int // samples at which the last beats were found
}

const beatsAveraged = 8

// beat takes in that there was a beat at sample n, and returns the rate per
// minute over the last ones; 0 while there are too few.
func (p *pulse) beat(n int) float64 {
	if k := len(p.at); k > 0 && n-p.at[k-1] > 2*ecgRate {
		p.at = p.at[:0] // the signal was lost: begin again
	}
	if p.at = append(p.at, n); len(p.at) > beatsAveraged+1 {
		p.at = p.at[1:]
	}
	if len(p.at) < 3 {
		return 0
	}
	return 60 * ecgRate * float64(len(p.at)-1) / float64(n-p.at[0])
}
