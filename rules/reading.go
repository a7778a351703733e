package rules

import (
	"math"
	"slices"
	"time"

	"github.com/carewire/carewire"
)

// millis is a time as milliseconds of Unix; 0 is none.
type millis int64

const never = millis(math.MaxInt64)

func millisOf(t time.Time) millis {
	if t.IsZero() {
		return 0
	}
	return millis(t.UnixMilli())
}

func (m millis) time() time.Time { return time.UnixMilli(int64(m)).UTC() }

func span(d time.Duration) millis { return millis(d.Milliseconds()) }

func (m millis) duration() time.Duration { return time.Duration(m) * time.Millisecond }

// small is a text of at most 64 bytes that is kept without a pointer.
type small struct {
	n uint8
	b [64]byte
}

func (s *small) set(text string) { s.n = uint8(copy(s.b[:], text)) }

// String returns the text.
func (s *small) String() string { return string(s.b[:s.n]) }

// A reading is one number, or one code, that a patient's log holds.
type reading struct {
	code     int    // which, by its number in the Set
	seq      uint64 // the entry that holds it
	at       millis // when it was measured, in the Hub's time
	received millis
	value    float64
	unit     string
	text     small // the value as it was written
	id       small // vital_id
	coded    int32 // the number of its code in the Set; 0: a number
	doubtful bool  // questionable, an early estimate, or absent
	sensor   int32 // its place in Case.sensors
}

// A fault says why a reading cannot be judged.
type fault uint8

const (
	faultNone fault = iota
	faultSilent
	faultAbsent
	faultInvalid
	faultCalibration
	faultBusy
	faultLate
	faultUnit
	faultForm
	faultModel
)

var faultTexts = [...]string{"", "no reading", "not measured", "readings are invalid", "calibration is under way", "a measurement is under way",
	"readings come late, or the device's clock is behind", "its unit cannot be converted", "not a value that the rule takes", "the model cannot judge"}

// faultOf returns the reason why v as a whole cannot be judged. withhold is the fault
// of a reading that may be judged as present, but never as over.
func faultOf(v *carewire.Vital) fault {
	switch {
	case v.Absent != "":
		return faultAbsent
	case slices.Contains(v.Quality, carewire.QualityInvalid):
		return faultInvalid
	case slices.Contains(v.Quality, carewire.QualityCalibration):
		return faultCalibration
	case slices.Contains(v.Quality, carewire.QualityBusy):
		return faultBusy
	case slices.Contains(v.Quality, carewire.QualityLate):
		return faultLate
	}
	return faultNone
}

func doubtful(v *carewire.Vital) bool {
	return slices.Contains(v.Quality, carewire.QualityQuestionable) || slices.Contains(v.Quality, carewire.QualityEarly)
}

// offScale moves a value that is off the instrument's scale to the side where
// the true one lies.
func offScale(value float64, c carewire.Comparator) float64 {
	switch c {
	case carewire.ComparatorBelow:
		return math.Nextafter(value, math.Inf(-1))
	case carewire.ComparatorAbove:
		return math.Nextafter(value, math.Inf(1))
	}
	return value
}
