package carewire

import (
	"math"
	"strconv"
	"strings"
)

// LOINC is the code system of a Vital that names none.
const LOINC = "loinc"

// Decimal is a decimal number that keeps the text it was written with: 37.0
// stays 37.0, for the digits say how exact it is. Its zero value is no number.
type Decimal string

// Float64 returns the number's value; 0 if d is no number.
func (d Decimal) Float64() float64 {
	f, _ := strconv.ParseFloat(string(d), 64)
	return f
}

// DecimalOf returns f in its shortest form that has at most 15 significant
// digits; "" if f is not a number or infinite.
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

// check says whether d has the form of the wire.
func (d Decimal) check() error {
	text := strings.TrimPrefix(string(d), "-")
	whole, frac, point := strings.Cut(text, ".")
	if whole == "" || point && frac == "" || len(whole) > 1 && whole[0] == '0' ||
		strings.Trim(whole, "0123456789") != "" || strings.Trim(frac, "0123456789") != "" {
		return invalid("", "must be a decimal number")
	}
	digits := strings.TrimLeft(whole+frac, "0")
	if len(digits) > 15 || len(text) > 24 {
		return invalid("", "must have at most 15 significant digits")
	}
	if digits == "" && len(text) < len(d) {
		return invalid("", "must not be a negative zero")
	}
	return nil
}

// Measure is a kind of vital sign that carewire knows by name: its code, the
// units it may come in, and what is plausible.
type Measure struct {
	Code    string // LOINC
	Display string // LOINC's name for it
	units   []unit // the first is the usual one
}

// unit is a UCUM unit with the ranges of a measure in it. What lies outside
// low..high is flagged questionable; what lies outside min..max is refused.
type unit struct {
	code      string
	low, high float64
	min, max  float64
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

// The vital signs that carewire knows by name: codes of LOINC and units of
// UCUM as in the HL7 FHIR R4 vital-signs profiles and US Core, and glucose and
// end-tidal CO2, whose units are part of what they mean. Plausible ranges are
// this project's choice: real crises exceed them, so they only flag.
//
// This material contains content from LOINC (http://loinc.org). LOINC is
// copyright © Regenstrief Institute, Inc. and the LOINC Committee.
var (
	HeartRate        = Measure{"8867-4", "Heart rate", []unit{{"/min", 20, 250, 0, inf}}}
	RespiratoryRate  = Measure{"9279-1", "Respiratory rate", []unit{{"/min", 3, 50, 0, inf}}}
	OxygenSaturation = Measure{"2708-6", "Oxygen saturation in Arterial blood", []unit{{"%", 50, 100, 0, 100}}}
	// SpO2 is oxygen saturation as a pulse oximeter shows it.
	SpO2                = Measure{"59408-5", "Oxygen saturation in Arterial blood by Pulse oximetry", []unit{{"%", 50, 100, 0, 100}}}
	OxygenFlow          = Measure{"3151-8", "Inhaled oxygen flow rate", []unit{{"L/min", 0, 80, 0, inf}}}
	OxygenConcentration = Measure{"3150-0", "Inhaled oxygen concentration", []unit{{"%", 21, 100, 0, 100}}}
	BodyTemperature     = Measure{"8310-5", "Body temperature", []unit{{"Cel", 30, 45, -273.15, inf}, {"[degF]", 86, 113, -459.67, inf}}}
	SystolicPressure    = Measure{"8480-6", "Systolic blood pressure", []unit{{"mm[Hg]", 50, 250, 0, inf}}}
	DiastolicPressure   = Measure{"8462-4", "Diastolic blood pressure", []unit{{"mm[Hg]", 20, 150, 0, inf}}}
	MeanPressure        = Measure{"8478-0", "Mean blood pressure", []unit{{"mm[Hg]", 30, 200, 0, inf}}}
	AveragedSystolic    = Measure{"96608-5", "Systolic blood pressure mean", []unit{{"mm[Hg]", 50, 250, 0, inf}}}
	AveragedDiastolic   = Measure{"96609-3", "Diastolic blood pressure mean", []unit{{"mm[Hg]", 20, 150, 0, inf}}}
	BodyWeight          = Measure{"29463-7", "Body weight", []unit{{"kg", 0.3, 400, 0, inf}, {"[lb_av]", 0.6, 880, 0, inf}, {"g", 300, 400000, 0, inf}}}
	BodyHeight          = Measure{"8302-2", "Body height", []unit{{"cm", 20, 250, 0, inf}, {"[in_i]", 8, 99, 0, inf}}}
	HeadCircumference   = Measure{"9843-4", "Head Occipital-frontal circumference", []unit{{"cm", 20, 70, 0, inf}, {"[in_i]", 8, 28, 0, inf}}}
	BodyMassIndex       = Measure{"39156-5", "Body mass index (BMI) [Ratio]", []unit{{"kg/m2", 8, 80, 0, inf}}}
	GlucoseMass         = Measure{"2339-0", "Glucose [Mass/volume] in Blood", []unit{{"mg/dL", 20, 600, 0, inf}}}
	GlucoseMoles        = Measure{"15074-8", "Glucose [Moles/volume] in Blood", []unit{{"mmol/L", 1, 33.3, 0, inf}}}
	EndTidalCO2         = Measure{"19889-5", "Carbon dioxide/Gas total in Exhaled gas", []unit{{"mm[Hg]", 10, 100, 0, inf}, {"%", 1, 14, 0, 100}}}
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
	for _, v := range []Measure{HeartRate, RespiratoryRate, OxygenSaturation, SpO2, OxygenFlow, OxygenConcentration, BodyTemperature,
		SystolicPressure, DiastolicPressure, MeanPressure, AveragedSystolic, AveragedDiastolic, BodyWeight, BodyHeight,
		HeadCircumference, BodyMassIndex, GlucoseMass, GlucoseMoles, EndTidalCO2} {
		m[v.Code] = v
	}
	for _, v := range []Panel{BloodPressure, AveragedBloodPressure} {
		p[v.Code] = v
	}
	return m, p
}()

// judge says whether value in the given unit is impossible for m (an error) or
// unlikely.
func (m Measure) judge(value Decimal, code string) (unlikely bool, err error) {
	for _, u := range m.units {
		if u.code != code {
			continue
		}
		f := value.Float64()
		if f < u.min || f > u.max {
			return false, invalid("value", "impossible for this code")
		}
		return f < u.low || f > u.high, nil
	}
	return false, invalid("unit", "wrong for this code")
}

// notUCUM are unit names in common use that UCUM does not have, or gives
// another meaning.
var notUCUM = map[string]bool{"bpm": true, "mmHg": true, "beats/min": true, "breaths/min": true, "°C": true, "°F": true, "C": true, "F": true, "lbs": true}
