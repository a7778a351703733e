package carewire

import (
	"math"
	"slices"
	"strconv"
	"strings"
)

// The code systems that have a short name. A Vital that names none is of LOINC.
const (
	LOINC  = "loinc"
	MDC    = "mdc"    // IEEE 11073-10101, the language of devices
	SNOMED = "snomed" // SNOMED CT
)

// systems are other names of the code systems that have a short name.
var systems = map[string]string{
	"http://loinc.org": LOINC, "urn:oid:2.16.840.1.113883.6.1": LOINC,
	"urn:iso:std:iso:11073:10101": MDC, "urn:oid:2.16.840.1.113883.6.24": MDC,
	"http://snomed.info/sct": SNOMED, "urn:oid:2.16.840.1.113883.6.96": SNOMED,
}

// shortSystem returns the short name of a code system that has one, and any
// other as it is.
func shortSystem(system string) string {
	if short, ok := systems[system]; ok {
		return short
	}
	return system
}

// Decimal is a decimal number that keeps its text: 37.0 stays 37.0, because the
// digits tell the precision. The zero value is no number.
type Decimal string

// Float64 returns the number's value; 0 if d is no number.
func (d Decimal) Float64() float64 {
	f, _ := strconv.ParseFloat(string(d), 64)
	return f
}

// DecimalOf returns f in its shortest form that has at most 15 significant
// digits, with zeros for further ones before the point; "" if f is not a number
// or infinite.
func DecimalOf(f float64) Decimal {
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return ""
	}
	if f == 0 {
		return "0"
	}
	short := strconv.FormatFloat(f, 'g', 15, 64)
	f, _ = strconv.ParseFloat(short, 64)
	return Decimal(strconv.FormatFloat(f, 'f', -1, 64))
}

// The limits of a number on the wire. Leading zeros, and the trailing ones of a
// whole number, are not significant.
const (
	digitsMost  = 15 // significant ones
	decimalMost = 24 // characters without the sign
)

// rounded returns d within the limits of the wire: with zeros for the digits
// before its point beyond the 15th, and without further places. It returns d
// unchanged if d is no number, or has more than 24 digits before its point.
func (d Decimal) rounded() Decimal {
	if len(d) <= digitsMost || !d.wellFormed() || d.check() == nil {
		return d
	}
	f, err := strconv.ParseFloat(string(d), 64)
	if err != nil {
		return d
	}
	short := strconv.FormatFloat(f, 'e', 14, 64) // with the exponent that rounding leaves
	exponent, err := strconv.Atoi(short[strings.IndexByte(short, 'e')+1:])
	switch {
	case err != nil || exponent >= decimalMost:
		return d
	case exponent >= digitsMost:
		return DecimalOf(f)
	}
	return Decimal(strconv.FormatFloat(f, 'f', min(digitsMost-1-exponent, 22), 64))
}

// wellFormed reports whether d is a number as the wire has it, with any number of
// digits.
func (d Decimal) wellFormed() bool {
	whole, frac, point := strings.Cut(strings.TrimPrefix(string(d), "-"), ".")
	return whole != "" && (frac != "" || !point) && (len(whole) == 1 || whole[0] != '0') &&
		strings.Trim(whole, "0123456789") == "" && strings.Trim(frac, "0123456789") == ""
}

// check says whether d has the form of the wire.
func (d Decimal) check() error {
	if !d.wellFormed() {
		return invalid("", "must be a decimal number")
	}
	text := strings.TrimPrefix(string(d), "-")
	whole, frac, _ := strings.Cut(text, ".")
	digits := strings.TrimLeft(whole+frac, "0")
	if frac == "" {
		digits = strings.TrimRight(digits, "0")
	}
	if len(digits) > digitsMost || len(text) > decimalMost {
		return invalid("", "must have at most 15 significant digits, and 24 characters")
	}
	if digits == "" && len(text) < len(d) {
		return invalid("", "must not be a negative zero")
	}
	return nil
}

// Measure is a kind of vital sign that carewire knows by name: its code, its
// units, and its plausible values.
type Measure struct {
	Code    string // LOINC
	Display string // LOINC's name for it
	units   []unit // the first is the usual one
}

// unit is a UCUM unit and the values of a measure in it. Values outside
// min..max are refused. Values that are implausible at the patient's age are
// flagged.
type unit struct {
	code      string
	min, max  float64
	plausible ages
}

// Units returns the UCUM codes of the units it may come in, the usual one first.
func (m Measure) Units() []string {
	list := make([]string, len(m.units))
	for i, u := range m.units {
		list[i] = u.code
	}
	return list
}

// Of returns a Vital of the patient with the value in the usual unit.
func (m Measure) Of(patient string, value float64) Vital {
	return m.In(patient, value, m.units[0].code)
}

// In returns a Vital of the patient with the value in the given unit, a UCUM code.
func (m Measure) In(patient string, value float64, unit string) Vital {
	return Vital{Patient: patient, Code: m.Code, Value: DecimalOf(value), Unit: unit}
}

// component returns the value as a part of a panel.
func (m Measure) component(value float64) Component {
	return Component{Code: m.Code, Value: DecimalOf(value), Unit: m.units[0].code}
}

var inf = math.Inf(1)

// The vital signs that carewire knows by name. The codes are LOINC and the
// units UCUM, as in the HL7 FHIR R4 vital-signs profiles and US Core, with
// further ones that monitors and nurses report. Glucose and end-tidal CO2 have
// one code for each kind of quantity, because these do not convert into each
// other without more knowledge.
//
// This material contains content from LOINC (http://loinc.org). LOINC is
// copyright © Regenstrief Institute, Inc. and the LOINC Committee.
var (
	HeartRate = Measure{"8867-4", "Heart rate", []unit{{"/min", 0, inf, agesUpTo(300, 320, 350, 350)}}}
	// PulseRate is the heart rate as a pulse oximeter counts it.
	PulseRate        = Measure{"8889-8", "Heart rate by Pulse oximetry", []unit{{"/min", 0, inf, agesUpTo(300, 320, 350, 350)}}}
	RespiratoryRate  = Measure{"9279-1", "Respiratory rate", []unit{{"/min", 0, inf, agesUpTo(80, 100, 120, 150)}}}
	OxygenSaturation = Measure{"2708-6", "Oxygen saturation in Arterial blood", []unit{{"%", 0, 100, allAges(0, 100)}}}
	// SpO2 is oxygen saturation as a pulse oximeter shows it.
	SpO2       = Measure{"59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", []unit{{"%", 0, 100, allAges(0, 100)}}}
	OxygenFlow = Measure{"3151-8", "Inhaled oxygen flow rate", []unit{{"L/min", 0, inf, allAges(0, 100)}}}
	// OxygenConcentration is the fraction of inspired oxygen, FiO2, as measured.
	OxygenConcentration = Measure{"3150-0", "Inhaled oxygen concentration", []unit{{"%", 0, 100, allAges(0, 100)}}}
	// OxygenSetting is the FiO2 that a ventilator is set to.
	OxygenSetting     = Measure{"19994-3", "Oxygen/Total gas setting [Volume Fraction] Ventilator", []unit{{"%", 0, 100, allAges(0, 100)}}}
	BodyTemperature   = Measure{"8310-5", "Body temperature", []unit{{"Cel", -273.15, inf, allAges(10, 47)}, {"[degF]", -459.67, inf, allAges(50, 116.6)}}}
	SystolicPressure  = Measure{"8480-6", "Systolic blood pressure", pressureUnits(300, 250, 200, 160)}
	DiastolicPressure = Measure{"8462-4", "Diastolic blood pressure", pressureUnits(200, 170, 140, 120)}
	MeanPressure      = Measure{"8478-0", "Mean blood pressure", pressureUnits(250, 200, 170, 140)}
	AveragedSystolic  = Measure{"96608-5", "Systolic blood pressure mean", pressureUnits(300, 250, 200, 160)}
	AveragedDiastolic = Measure{"96609-3", "Diastolic blood pressure mean", pressureUnits(200, 170, 140, 120)}
	BodyWeight        = Measure{"29463-7", "Body weight", []unit{{"kg", 0, inf, weightRanges(1)}, {"[lb_av]", 0, inf, weightRanges(2.20462)}, {"g", 0, inf, weightRanges(1000)}}}
	BodyHeight        = Measure{"8302-2", "Body height", []unit{{"cm", 0, inf, allAges(20, 280)}, {"[in_i]", 0, inf, allAges(8, 110)}}}
	HeadCircumference = Measure{"9843-4", "Head Occipital-frontal circumference", []unit{{"cm", 0, inf, allAges(15, 80)}, {"[in_i]", 0, inf, allAges(6, 31)}}}
	BodyMassIndex     = Measure{"39156-5", "Body mass index (BMI) [Ratio]", []unit{{"kg/m2", 0, inf, allAges(5, 210)}}}
	GlucoseMass       = Measure{"2339-0", "Glucose [Mass/volume] in Blood", []unit{{"mg/dL", 0, inf, allAges(0, 2000)}}}
	GlucoseMoles      = Measure{"15074-8", "Glucose [Moles/volume] in Blood", []unit{{"mmol/L", 0, inf, allAges(0, 111)}}}
	// CapillaryGlucose is glucose as a glucometer shows it.
	CapillaryGlucose = Measure{"41653-7", "Glucose [Mass/volume] in Capillary blood by Glucometer", []unit{{"mg/dL", 0, inf, allAges(0, 2000)}}}
	// EndTidalCO2 is end-tidal carbon dioxide as a pressure.
	EndTidalCO2 = Measure{"19891-1", "Carbon dioxide [Partial pressure] in Exhaled gas --at end expiration", pressureUnits(150, 150, 150, 150)}
	// EndTidalCO2Fraction is end-tidal carbon dioxide as a part of the gas.
	EndTidalCO2Fraction = Measure{"19889-5", "Carbon dioxide/Gas.total.at end expiration in Exhaled gas", []unit{{"%", 0, 100, allAges(0, 20)}}}
	PainScore           = Measure{"72514-3", "Pain severity - 0-10 verbal numeric rating [Score] - Reported", []unit{{"{score}", 0, 10, allAges(0, 10)}}}
	GlasgowComaScore    = Measure{"9269-2", "Glasgow coma score total", []unit{{"{score}", 3, 15, allAges(3, 15)}}}
	UrineOutput         = Measure{"9187-6", "Urine output", []unit{{"mL", 0, inf, allAges(0, 20000)}}}
)

// Panel is a vital sign that is made of components: blood pressure.
type Panel struct {
	Code    string // LOINC
	Display string // LOINC's name for it
	parts   []Measure
}

// Of returns a Vital of the patient with both pressures in mm[Hg].
func (p Panel) Of(patient string, systolic, diastolic float64) Vital {
	return Vital{Patient: patient, Code: p.Code, Components: []Component{
		p.parts[0].component(systolic), p.parts[1].component(diastolic)}}
}

// upsideDown reports whether the diastolic pressure is above the systolic one.
func (p Panel) upsideDown(parts []Component) bool {
	var pressures [2]float64
	for i := range pressures {
		at := slices.IndexFunc(parts, func(c Component) bool { return c.Code == p.parts[i].Code && c.Value != "" })
		if at < 0 {
			return false
		}
		if pressures[i] = parts[at].Value.Float64(); parts[at].Unit == "kPa" {
			pressures[i] *= mmHgPerKPa
		}
	}
	return pressures[1] > pressures[0]
}

// The panels that carewire knows by name. A BloodPressure may carry the mean
// pressure as a third component.
var (
	BloodPressure         = Panel{"85354-9", "Blood pressure panel with all children optional", []Measure{SystolicPressure, DiastolicPressure, MeanPressure}}
	AveragedBloodPressure = Panel{"96607-7", "Blood pressure panel mean systolic and mean diastolic", []Measure{AveragedSystolic, AveragedDiastolic}}
)

// Consciousness is the LOINC code of the level of consciousness, a coded vital.
const Consciousness = "80288-4"

var measures, panels = func() (map[string]Measure, map[string]Panel) {
	m, p := make(map[string]Measure), make(map[string]Panel)
	for _, v := range []Measure{HeartRate, PulseRate, RespiratoryRate, OxygenSaturation, SpO2, OxygenFlow, OxygenConcentration, OxygenSetting,
		BodyTemperature, SystolicPressure, DiastolicPressure, MeanPressure, AveragedSystolic, AveragedDiastolic, BodyWeight, BodyHeight,
		HeadCircumference, BodyMassIndex, GlucoseMass, GlucoseMoles, CapillaryGlucose, EndTidalCO2, EndTidalCO2Fraction, PainScore,
		GlasgowComaScore, UrineOutput} {
		m[v.Code] = v
	}
	for _, v := range []Panel{BloodPressure, AveragedBloodPressure} {
		p[v.Code] = v
	}
	return m, p
}()

// judge says whether value in the given unit is impossible for m (an error) or
// unlikely at that age.
func (m Measure) judge(value Decimal, code string, age AgeClass) (unlikely bool, err error) {
	for _, u := range m.units {
		if u.code != code {
			continue
		}
		f := value.Float64()
		if f < u.min || f > u.max {
			return false, invalid("value", "impossible for this code")
		}
		r := u.plausible.of(age)
		return f < r.low || f > r.high, nil
	}
	return false, invalid("unit", "wrong for this code")
}

// notUCUM are unit names in common use that UCUM does not have, or gives
// another meaning.
var notUCUM = map[string]bool{"bpm": true, "mmHg": true, "beats/min": true, "breaths/min": true, "°C": true, "°F": true, "C": true, "F": true, "lbs": true}
