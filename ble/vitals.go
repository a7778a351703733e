package ble

import (
	"strconv"
	"time"

	"github.com/carewire/carewire"
)

// bloodPressure reads a blood pressure, and the pulse that comes with it.
func bloodPressure(r *reader, s *Source) []carewire.Vital {
	flags := r.uint(1)
	unit := "mm[Hg]"
	if flags&1 != 0 {
		unit = "kPa"
	}
	v := carewire.Vital{Code: carewire.BloodPressure.Code, Method: "cuff"}
	for _, code := range []string{carewire.SystolicPressure.Code, carewire.DiastolicPressure.Code, carewire.MeanPressure.Code} {
		n := r.number(code, r.sfloat(), 0, unit)
		v.Components = append(v.Components, carewire.Component{Code: n.Code, Value: n.Value, Unit: n.Unit, Absent: n.Absent})
	}
	if flags&2 != 0 {
		v.Time = r.time(s)
	}
	vitals := []carewire.Vital{v}
	if flags&4 != 0 {
		pulse := r.number(carewire.HeartRate.Code, r.sfloat(), 0, "/min")
		pulse.Site, pulse.Method, pulse.Time = "pulse", "cuff", v.Time
		vitals = append(vitals, pulse)
	}
	if flags&8 != 0 {
		r.uint(1) // the device's number of the user
	}
	if flags&16 != 0 {
		const moved, loose, misplaced = 1 << 0, 1 << 1, 1 << 5
		status := r.uint(2)
		for i := range vitals {
			flag(&vitals[i], status&(moved|loose|misplaced) != 0, carewire.QualityQuestionable)
		}
	}
	r.end()
	return vitals
}

// sites are the places of a temperature.
var sites = [...]string{1: "axilla", 2: "body", 3: "ear", 4: "finger", 5: "gastro-intestinal tract", 6: "mouth", 7: "rectum", 8: "toe", 9: "tympanum"}

func temperature(r *reader, s *Source) []carewire.Vital {
	flags := r.uint(1)
	unit := "Cel"
	if flags&1 != 0 {
		unit = "[degF]"
	}
	v := r.number(carewire.BodyTemperature.Code, r.float(), 0, unit)
	if flags&2 != 0 {
		v.Time = r.time(s)
	}
	if flags&4 != 0 {
		if place := r.uint(1); place < uint32(len(sites)) {
			v.Site = sites[place]
		}
	}
	r.end()
	return []carewire.Vital{v}
}

// oximeterSpot reads a spot-check measurement of a pulse oximeter.
func oximeterSpot(r *reader, s *Source) []carewire.Vital {
	flags := r.uint(1)
	vitals := saturation(r)
	if flags&1 != 0 {
		if flags&16 != 0 { // the device's clock is not set
			r.uint(4)
			r.uint(3)
		} else {
			vitals[0].Time = r.time(s)
			vitals[1].Time = vitals[0].Time
		}
	}
	if oximeterStatus(r, vitals, flags&2 != 0, flags&4 != 0); vitals[0].Time.IsZero() && r.stored {
		r.fail(withoutTime)
	}
	if flags&8 != 0 {
		r.sfloat() // the amplitude of the pulse
	}
	r.end()
	return vitals
}

// oximeterContinuous reads one of a stream of measurements: the normal pair,
// not the fast and the slow one.
func oximeterContinuous(r *reader, _ *Source) []carewire.Vital {
	flags := r.uint(1)
	vitals := saturation(r)
	for _, pair := range []uint32{1, 2} {
		if flags&pair != 0 {
			r.sfloat()
			r.sfloat()
		}
	}
	oximeterStatus(r, vitals, flags&4 != 0, flags&8 != 0)
	if flags&16 != 0 {
		r.sfloat()
	}
	r.end()
	return vitals
}

func saturation(r *reader) []carewire.Vital {
	return []carewire.Vital{r.number(carewire.SpO2.Code, r.sfloat(), 0, "%"), r.number(carewire.PulseRate.Code, r.sfloat(), 0, "/min")}
}

// oximeterStatus reads an oximeter's status of its measurement and of itself.
func oximeterStatus(r *reader, vitals []carewire.Vital, measurement, device bool) {
	var m, d uint32
	if measurement {
		m = r.uint(2)
		r.stored = m&(1<<9) != 0
	}
	if device {
		d = r.uint(3)
	}
	const (
		irregular = 1<<2 | 1<<3 | 1<<4 | 1<<5 | 1<<6 | 1<<7 | 1<<8 | 1<<10 | 1<<13 // signal, perfusion, pulse, interference, sensor displaced
		broken    = 1<<1 | 1<<11 | 1<<12 | 1<<14 | 1<<15                           // malfunction, sensor unconnected, unknown or disconnected
	)
	for i := range vitals {
		v := &vitals[i]
		flag(v, m&(1<<5) != 0, carewire.QualityBusy)
		flag(v, m&(1<<6) != 0, carewire.QualityEarly)
		flag(v, m&(1<<7) != 0, carewire.QualityValidated)
		flag(v, m&(1<<12) != 0, carewire.QualityCalibration)
		flag(v, m&(1<<14) != 0 || d&irregular != 0, carewire.QualityQuestionable)
		flag(v, m&(1<<15) != 0 || d&broken != 0, carewire.QualityInvalid)
		v.Test = m&(1<<10|1<<11) != 0
		if m&(1<<13) != 0 { // unavailable
			v.Value, v.Unit, v.Absent = "", "", carewire.AbsentTemporary
		}
	}
}

// heartRate reads a heart rate. While the sensor has no contact there is none,
// even if it sends a number; a zero of a sensor that cannot tell is doubtful.
func heartRate(r *reader, _ *Source) []carewire.Vital {
	flags := r.uint(1)
	size := 1
	if flags&1 != 0 {
		size = 2
	}
	f := float{mantissa: int32(r.uint(size))}
	contact, tells := flags&2 != 0, flags&4 != 0
	f.none = tells && !contact
	v := r.number(carewire.HeartRate.Code, f, 0, "/min")
	flag(&v, !tells && f.mantissa == 0, carewire.QualityQuestionable)
	if flags&8 != 0 {
		r.uint(2) // energy
	}
	if flags&16 != 0 && len(r.b)%2 == 0 {
		r.b = nil // intervals between beats
	}
	r.end()
	return []carewire.Vital{v}
}

// weight reads a weight, with height and body mass index where they are there.
func weight(r *reader, s *Source) []carewire.Vital {
	flags := r.uint(1)
	raw := r.uint(2)
	f := float{mantissa: int32(raw) * 5, exponent: -3, none: raw == 0xFFFF}
	unit := "kg"
	if flags&1 != 0 {
		f.mantissa, f.exponent, unit = int32(raw), -2, "[lb_av]"
	}
	vitals := []carewire.Vital{r.number(carewire.BodyWeight.Code, f, 0, unit)}
	if flags&2 != 0 {
		vitals[0].Time = r.time(s)
	}
	if flags&4 != 0 {
		r.uint(1)
	}
	if flags&8 != 0 {
		index, height := float{mantissa: int32(r.uint(2)), exponent: -1}, float{mantissa: int32(r.uint(2)), exponent: -1}
		unit := "cm"
		if flags&1 != 0 {
			unit = "[in_i]"
		}
		for _, v := range []carewire.Vital{r.number(carewire.BodyMassIndex.Code, index, 0, "kg/m2"), r.number(carewire.BodyHeight.Code, height, 0, unit)} {
			v.Time = vitals[0].Time
			vitals = append(vitals, v)
		}
	}
	r.end()
	return vitals
}

// The place and kind of a glucose sample.
var samples = [...]struct {
	mass, moles  string // LOINC codes
	site, method string
}{
	1: {"41653-7", "15074-8", "capillary", ""}, 2: {"41653-7", "15074-8", "capillary", "plasma"},
	3: {"2339-0", "15074-8", "vein", ""}, 4: {"2339-0", "15074-8", "vein", "plasma"},
	5: {"2339-0", "15074-8", "artery", ""}, 6: {"2339-0", "15074-8", "artery", "plasma"},
	7: {"2339-0", "15074-8", "", ""}, 8: {"2339-0", "15074-8", "", "plasma"}, 9: {"99504-3", "105272-9", "", ""},
}

const (
	controlSolution = 10
	withoutTime     = "is from the device's memory, without a time"
)

// glucose reads a measurement of a glucose meter. Its ID follows from the
// meter's own number and time, so one that is read again is recognised. All come
// from the meter's memory: without a time nobody knows how old one is.
func glucose(r *reader, s *Source) []carewire.Vital {
	flags, sequence, at := r.uint(1), r.uint(2), r.time(s)
	if flags&1 != 0 {
		if offset := time.Duration(int16(r.uint(2))) * time.Minute; !at.IsZero() {
			at = at.Add(offset)
		}
	}
	f, kind := float{none: true}, uint32(7)
	if flags&2 != 0 {
		f, kind = r.sfloat(), r.uint(1)
	}
	var status uint32
	if flags&8 != 0 {
		status = r.uint(2)
	}
	r.end()
	switch {
	case kind&0xF == controlSolution:
		return nil
	case at.IsZero():
		r.fail(withoutTime)
	}
	sample := samples[7]
	if k := kind & 0xF; k > 0 && k < uint32(len(samples)) {
		sample = samples[k]
	}
	code, unit, shift := sample.mass, "mg/dL", 5 // from kg/L
	if flags&4 != 0 {
		code, unit, shift = sample.moles, "mmol/L", 3 // from mol/L
	}
	v := r.number(code, f, shift, unit)
	v.System, v.Site, v.Method, v.Time = carewire.LOINC, sample.site, sample.method, at
	if place := map[uint32]string{1: "finger", 2: "alternate site", 3: "earlobe"}[kind>>4]; place != "" {
		v.Site = place
	}
	const tooHigh, tooLow, faults = 1 << 5, 1 << 6, 1<<1 | 1<<2 | 1<<3 | 1<<4 | 1<<7 | 1<<8 | 1<<9 | 1<<10
	const clock = 1 << 11
	offScale(&v, status&tooLow != 0, status&tooHigh != 0)
	flag(&v, status&faults != 0, carewire.QualityInvalid)
	flag(&v, status&clock != 0, carewire.QualityQuestionable)
	v.ID = recordID("gls", s.Device, strconv.Itoa(int(sequence)), at)
	return []carewire.Vital{v}
}

// offScale says that the true value is below or above the device's range.
func offScale(v *carewire.Vital, below, above bool) {
	switch {
	case v.Value == "":
	case below:
		v.Comparator = carewire.ComparatorBelow
	case above:
		v.Comparator = carewire.ComparatorAbove
	}
}

// recordID names a record of a device's memory; "" if that would be no ID.
func recordID(kind, device, number string, at time.Time) string {
	if device == "" || at.IsZero() || len(device) > 30 {
		return ""
	}
	return kind + "." + device + "." + number + "." + strconv.FormatInt(at.Unix(), 10)
}

// cgm reads the measurements of a continuous glucose monitor: there may be
// several, each with its length in front.
func cgm(r *reader, s *Source) (vitals []carewire.Vital) {
	for len(r.b) > 0 && r.err == nil {
		size := int(r.b[0])
		if size < 6 || size > len(r.b) {
			r.fail("has a record of a wrong length")
			return nil
		}
		record := &reader{b: r.b[1:size], characteristic: r.characteristic}
		vitals = append(vitals, cgmRecord(record, s))
		r.err, r.b = record.err, r.b[size:]
	}
	if len(vitals) == 0 {
		r.fail("is cut short")
	}
	return vitals
}

func cgmRecord(r *reader, s *Source) carewire.Vital {
	flags := r.uint(1)
	v := r.number("99504-3", r.sfloat(), 0, "mg/dL")
	v.System = carewire.LOINC
	offset := r.uint(2)
	if !s.Session.IsZero() {
		v.Time = s.Session.UTC().Add(time.Duration(offset) * time.Minute)
		v.ID = recordID("cgm", s.Device, strconv.Itoa(int(offset)), s.Session)
	}
	var status, calibration, warning uint32
	for _, octet := range []struct {
		bit uint32
		to  *uint32
	}{{1 << 7, &status}, {1 << 6, &calibration}, {1 << 5, &warning}} {
		if flags&octet.bit != 0 {
			*octet.to = r.uint(1)
		}
	}
	for _, bit := range []uint32{1, 2} {
		if flags&bit != 0 {
			r.sfloat() // trend, quality
		}
	}
	if len(r.b) == 2 {
		r.b = nil // a checksum, which the radio's own has made needless
	}
	r.end()
	const stopped, broken = 1 << 0, 1<<2 | 1<<3 | 1<<5 // of status: wrong sensor, malfunction, device fault
	const tooWarm, tooCold = 1 << 4, 1 << 5            // of calibration: the sensor
	flag(&v, status&(stopped|broken) != 0 || calibration&(tooWarm|tooCold) != 0, carewire.QualityInvalid)
	flag(&v, calibration&(1<<3) != 0, carewire.QualityQuestionable) // calibration is required
	offScale(&v, warning&(1<<6) != 0, warning&(1<<7) != 0)
	return v
}
