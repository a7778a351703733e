// Package ble reads the measurements of Bluetooth Low Energy health devices, as
// their GATT characteristics hold them, and makes vitals of them.
//
// It opens no radio: a host gives it the bytes of each indication or
// notification. The formats are those of the Bluetooth SIG's GATT Specification
// Supplement and of the services for blood pressure, thermometers, pulse
// oximeters, heart rate, weight, glucose and continuous glucose monitoring.
// docs/interop.md lists the losses.
package ble

import (
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/carewire/carewire"
)

// The characteristics that are read, by the number the Bluetooth SIG gave them.
const (
	GlucoseMeasurement      uint16 = 0x2A18
	TemperatureMeasurement  uint16 = 0x2A1C
	IntermediateTemperature uint16 = 0x2A1E
	BloodPressure           uint16 = 0x2A35
	HeartRate               uint16 = 0x2A37
	PulseOximeterSpot       uint16 = 0x2A5E
	PulseOximeterContinuous uint16 = 0x2A5F
	Weight                  uint16 = 0x2A9D
	CGMMeasurement          uint16 = 0x2AA7
)

// ErrCharacteristic means that the characteristic is none of those that are read.
var ErrCharacteristic = errors.New("ble: no such characteristic is read")

// ErrZone means that a measurement has a time, which in Bluetooth never has a
// zone, and that the host has stated none. Nobody guesses at it.
var ErrZone = errors.New("ble: a time needs a zone")

// Error says that the bytes are not a value of the characteristic. It never
// holds any of them.
type Error struct {
	Characteristic uint16
	Reason         string // fixed words
}

// Error returns the characteristic and the reason.
func (e *Error) Error() string { return fmt.Sprintf("ble: %04X: %s", e.Characteristic, e.Reason) }

// Source says whose measurements are read, and from which device.
type Source struct {
	Patient string
	Device  string

	// Zone is the zone of the device's clock. Nil: a measurement with a time is
	// refused with ErrZone. One without a time was taken when it is received.
	Zone *time.Location

	// Session is when the session of a continuous glucose monitor began, from which
	// it counts minutes: the characteristic CGM Session Start Time (2AAA). Zero: its
	// measurements were taken when they are received.
	Session time.Time
}

// Decode returns the vitals in a value of the characteristic: several, one, or
// none if it is not a measurement of a patient, such as a control solution. A
// failed measurement is an absent Vital, and never a number. The Hub decides
// which numbers are plausible.
func (s Source) Decode(characteristic uint16, value []byte) ([]carewire.Vital, error) {
	read, known := map[uint16]func(*reader, *Source) []carewire.Vital{
		GlucoseMeasurement: glucose, TemperatureMeasurement: temperature, IntermediateTemperature: temperature, BloodPressure: bloodPressure,
		HeartRate: heartRate, PulseOximeterSpot: oximeterSpot, PulseOximeterContinuous: oximeterContinuous, Weight: weight, CGMMeasurement: cgm,
	}[characteristic]
	if !known {
		return nil, ErrCharacteristic
	}
	r := &reader{b: value, characteristic: characteristic}
	vitals := read(r, &s)
	if r.err != nil {
		return nil, r.err
	}
	for i := range vitals {
		v := &vitals[i]
		v.Patient, v.Device = s.Patient, s.Device
		if characteristic == IntermediateTemperature {
			v.Quality = append(v.Quality, carewire.QualityEarly)
		}
	}
	return vitals, nil
}

// reader takes values off the front of a characteristic. After an error it
// gives zeros.
type reader struct {
	b              []byte
	characteristic uint16
	err            error
	stored         bool // the measurement comes from the device's memory
}

func (r *reader) fail(reason string) {
	if r.err == nil {
		r.err = &Error{r.characteristic, reason}
	}
}

// uint reads n bytes, the lowest first.
func (r *reader) uint(n int) (u uint32) {
	if len(r.b) < n {
		r.fail("is cut short")
		r.b = nil
		return 0
	}
	for i := range n {
		u |= uint32(r.b[i]) << (8 * i)
	}
	r.b = r.b[n:]
	return u
}

// end requires that nothing is left.
func (r *reader) end() {
	if len(r.b) > 0 {
		r.fail("has bytes that no flag speaks of")
	}
}

// time reads a date and time; zero if the device does not know it.
func (r *reader) time(s *Source) time.Time {
	year, month, day := int(r.uint(2)), int(r.uint(1)), int(r.uint(1))
	hour, minute, second := int(r.uint(1)), int(r.uint(1)), int(r.uint(1))
	switch {
	case r.err != nil, year == 0, month == 0, day == 0:
		return time.Time{}
	case year < 1582 || year > 9998 || month > 12 || hour > 23 || minute > 59 || second > 59:
		r.fail("has no date")
		return time.Time{}
	case s.Zone == nil:
		r.err = ErrZone
		return time.Time{}
	}
	t := time.Date(year, time.Month(month), day, hour, minute, second, 0, s.Zone)
	if t.Day() != day {
		r.fail("has no date")
		return time.Time{}
	}
	return t.UTC()
}

// sfloat reads a number of 16 bits: 4 of exponent, 12 of mantissa.
func (r *reader) sfloat() float {
	u := r.uint(2)
	switch u {
	case 0x07FF, 0x0800, 0x07FE, 0x0801, 0x0802: // not a number, not at this resolution, +infinity, reserved, -infinity
		return float{none: true}
	}
	return float{mantissa: int32(u<<20) >> 20, exponent: int(int8(u>>8)) >> 4}
}

// float reads a number of 32 bits: 8 of exponent, 24 of mantissa.
func (r *reader) float() float {
	u := r.uint(4)
	switch u {
	case 0x007FFFFF, 0x00800000, 0x007FFFFE, 0x00800001, 0x00800002:
		return float{none: true}
	}
	return float{mantissa: int32(u<<8) >> 8, exponent: int(int8(u >> 24))}
}

// float is a number as IEEE 11073-20601 writes them: its digits say how exact it is.
type float struct {
	none     bool // there is no number
	mantissa int32
	exponent int
}

// decimal returns f times 10^shift; ok is false if it has no decent form.
func (f float) decimal(shift int) (d carewire.Decimal, ok bool) {
	exponent := f.exponent + shift
	digits, sign := strconv.Itoa(int(f.mantissa)), ""
	if f.mantissa < 0 {
		digits, sign = digits[1:], "-"
	}
	switch {
	case exponent > 8 || exponent < -12:
		return "", false
	case exponent >= 0 && f.mantissa == 0:
		return "0", true
	case exponent >= 0:
		return carewire.Decimal(sign + digits + zeros(exponent)), true
	}
	if short := 1 - exponent - len(digits); short > 0 {
		digits = zeros(short) + digits
	}
	point := len(digits) + exponent
	return carewire.Decimal(sign + digits[:point] + "." + digits[point:]), true
}

func zeros(n int) string { return "000000000000"[:n] }

// number returns a Vital with the number, or an absent one if there is none.
func (r *reader) number(code string, f float, shift int, unit string) carewire.Vital {
	v := carewire.Vital{Code: code}
	if f.none {
		v.Absent = carewire.AbsentError
		return v
	}
	value, ok := f.decimal(shift)
	if !ok {
		r.fail("has a number out of range")
	}
	v.Value, v.Unit = value, unit
	return v
}

// flag adds a quality that is not there yet.
func flag(v *carewire.Vital, set bool, q carewire.Quality) {
	for _, has := range v.Quality {
		set = set && has != q
	}
	if set {
		v.Quality = append(v.Quality, q)
	}
}
