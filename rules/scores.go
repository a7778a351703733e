package rules

import (
	"time"

	"github.com/carewire/carewire"
)

// SNOMED is the system of SNOMED CT's codes.
const SNOMED = "http://snomed.info/sct"

// House is a code system of carewire, for values without another known code.
// Its values of the level of consciousness ([carewire.Consciousness]) are A
// alert, C new confusion, V voice, P pain and U unresponsive. The SNOMED CT
// codes for all except new confusion are understood as well.
const House = "urn:carewire:house"

// AirOrOxygen is the code, in House, of a coded vital with the values "air" and
// "oxygen", in House. Flow (3151-8) and concentration (3150-0) of inhaled
// oxygen have the same meaning.
const AirOrOxygen = "air-or-oxygen"

// NextMeasurement is the code, in House, of the minutes from a score until the
// next measurement is due, as its chart asks for; 0: it asks for continuous
// measurement.
const NextMeasurement = "next-measurement"

// inputsOf are the inputs that the scores here share.
var (
	respirationInput = []Input{{Code: carewire.RespiratoryRate.Code}}
	saturationInput  = []Input{{Code: carewire.SpO2.Code}, {Code: carewire.OxygenSaturation.Code}}
	oxygenInput      = []Input{{Code: carewire.OxygenFlow.Code}, {Code: carewire.OxygenConcentration.Code, Unit: "%", Less: 21}, {Code: AirOrOxygen, System: House}}
	systolicInput    = []Input{{Code: carewire.SystolicPressure.Code}}
	pulseInput       = []Input{{Code: carewire.HeartRate.Code}}
	temperatureInput = []Input{{Code: carewire.BodyTemperature.Code}}
	acvpuInput       = []Input{{Code: carewire.Consciousness}}
)

// upTo is a row of values up to max.
func upTo(max float64, points int) Row { return Row{Max: &max, Points: points} }

// above is the row of all values that are higher than the rows before.
func above(points int) Row { return Row{Points: points} }

// consciousness are the rows for A, C, V, P and U.
func consciousness(a, c, v, p, u int) []Row {
	return []Row{
		{Value: carewire.Coding{System: House, Code: "A"}, Points: a}, {Value: carewire.Coding{System: SNOMED, Code: "248234008"}, Points: a},
		{Value: carewire.Coding{System: House, Code: "C"}, Points: c},
		{Value: carewire.Coding{System: House, Code: "V"}, Points: v}, {Value: carewire.Coding{System: SNOMED, Code: "300202002"}, Points: v},
		{Value: carewire.Coding{System: SNOMED, Code: "255373000"}, Points: v},
		{Value: carewire.Coding{System: House, Code: "P"}, Points: p}, {Value: carewire.Coding{System: SNOMED, Code: "450847001"}, Points: p},
		{Value: carewire.Coding{System: House, Code: "U"}, Points: u}, {Value: carewire.Coding{System: SNOMED, Code: "422768004"}, Points: u},
	}
}

// scale1 are the rows of saturation for everybody else.
func scale1() []Row {
	rows := []Row{upTo(91, 3), upTo(93, 2), upTo(95, 1), above(0)}
	for i := range rows {
		rows[i].Scale = "1"
	}
	return rows
}

// scale2 are the rows of saturation for a prescribed target of 88 to 92 %.
func scale2() []Row {
	rows := []Row{upTo(83, 3), upTo(85, 2), upTo(87, 1), upTo(92, 0), {Air: "air"}, upTo(94, 1), upTo(96, 2), above(3)}
	for i := range rows {
		rows[i].Scale = "2"
		if i > 4 {
			rows[i].Air = "oxygen"
		}
	}
	return rows
}

// NEWS2 is the National Early Warning Score 2 of the Royal College of
// Physicians (2017, charts 1 and 4), whose chart this is, unaltered. Scale 2 of
// the oxygen saturation counts for patients for whom Settings.Scales prescribes
// "2" under the rule's key. It is not for people under 16, nor in pregnancy.
//
// The package decides the points that the chart leaves open. Values are rounded
// to its precision first, halves up. An input may be six hours old. A flow of
// more than 0 L/min, or a coded vital, means oxygen; a patient with neither has
// no score. The lowest priority is that of a red score. For "every 4 to 6
// hours" the next measurement is due after four.
func NEWS2() Score {
	const age = 6 * time.Hour
	return Score{
		About: About{Key: "news2", Version: "RCP 2017", Text: "NEWS2"},
		Code:  "1104051000000101", System: SNOMED, Next: true, MinAge: 16, NotPregnant: true,
		Red:   &Band{Priority: carewire.PriorityMedium, Text: "three points in one parameter", Within: time.Hour},
		RedAt: 3,
		Bands: []Band{
			{Min: 0, Quiet: true, Text: "routine", Within: 12 * time.Hour},
			{Min: 1, Quiet: true, Text: "a registered nurse assesses", Within: 4 * time.Hour},
			{Min: 5, Priority: carewire.PriorityMedium, Text: "urgent response", Within: time.Hour},
			{Min: 7, Priority: carewire.PriorityHigh, Text: "emergency response"},
		},
		Parts: []Part{
			{Name: "respiration", Code: "1104301000000104", System: SNOMED, Inputs: respirationInput, Unit: "/min", Step: 1, MaxAge: age,
				Rows: []Row{upTo(8, 3), upTo(11, 1), upTo(20, 0), upTo(24, 2), above(3)}},
			{Name: "oxygen saturation", Code: "1104311000000102", Codes: map[string]string{"2": "1104321000000108"}, System: SNOMED,
				Inputs: saturationInput, Unit: "%", Step: 1, MaxAge: age,
				Rows: append(scale2(), scale1()...)},
			{Name: "air or oxygen", Code: "1104331000000105", System: SNOMED, Inputs: oxygenInput, Unit: "L/min", MaxAge: age, Oxygen: true,
				Rows: []Row{upTo(0, 0), above(2), {Value: carewire.Coding{System: House, Code: "air"}}, {Value: carewire.Coding{System: House, Code: "oxygen"}, Points: 2}}},
			{Name: "systolic pressure", Code: "1104341000000101", System: SNOMED, Inputs: systolicInput, Unit: "mm[Hg]", Step: 1, MaxAge: age,
				Rows: []Row{upTo(90, 3), upTo(100, 2), upTo(110, 1), upTo(219, 0), above(3)}},
			{Name: "pulse", Code: "1104351000000103", System: SNOMED, Inputs: pulseInput, Unit: "/min", Step: 1, MaxAge: age,
				Rows: []Row{upTo(40, 3), upTo(50, 1), upTo(90, 0), upTo(110, 1), upTo(130, 2), above(3)}},
			{Name: "consciousness", Code: "1104361000000100", System: SNOMED, Inputs: acvpuInput, MaxAge: age, Rows: consciousness(0, 3, 3, 3, 3)},
			{Name: "temperature", Code: "1104371000000107", System: SNOMED, Inputs: temperatureInput, Unit: "Cel", Step: 0.1, MaxAge: age,
				Rows: []Row{upTo(35.0, 3), upTo(36.0, 1), upTo(38.0, 0), upTo(39.0, 1), above(2)}},
		},
	}
}

// MEWS is the Modified Early Warning Score (Subbe and others, QJM
// 2001;94:521-6). The original has no new confusion; here it has the point of
// voice. The score is not published, because it has no known code.
func MEWS() Score {
	const age = 6 * time.Hour
	return Score{
		About: About{Key: "mews", Version: "2001", Text: "MEWS"},
		Bands: []Band{{Min: 5, Priority: carewire.PriorityHigh, Text: "five points or more"}},
		Parts: []Part{
			{Name: "systolic pressure", Inputs: systolicInput, Unit: "mm[Hg]", Step: 1, MaxAge: age,
				Rows: []Row{upTo(70, 3), upTo(80, 2), upTo(100, 1), upTo(199, 0), above(2)}},
			{Name: "heart rate", Inputs: pulseInput, Unit: "/min", Step: 1, MaxAge: age,
				Rows: []Row{upTo(40, 2), upTo(50, 1), upTo(100, 0), upTo(110, 1), upTo(129, 2), above(3)}},
			{Name: "respiration", Inputs: respirationInput, Unit: "/min", Step: 1, MaxAge: age,
				Rows: []Row{upTo(8, 2), upTo(14, 0), upTo(20, 1), upTo(29, 2), above(3)}},
			{Name: "temperature", Inputs: temperatureInput, Unit: "Cel", Step: 0.1, MaxAge: age,
				Rows: []Row{upTo(34.9, 2), upTo(38.4, 0), above(2)}},
			{Name: "consciousness", Inputs: acvpuInput, MaxAge: age, Rows: consciousness(0, 1, 1, 2, 3)},
		},
	}
}

// QSOFA is the quick Sepsis-related Organ Failure Assessment (Singer and
// others, JAMA 2016;315:801-10): two of a respiratory rate of 22 or more, a
// systolic pressure of 100 or less, and altered consciousness. The score is not
// published.
func QSOFA() Score {
	const age = 6 * time.Hour
	return Score{
		About: About{Key: "qsofa", Version: "2016", Text: "qSOFA"},
		Bands: []Band{{Min: 2, Priority: carewire.PriorityHigh, Text: "two criteria or more"}},
		Parts: []Part{
			{Name: "respiration", Inputs: respirationInput, Unit: "/min", Step: 1, MaxAge: age, Rows: []Row{upTo(21, 0), above(1)}},
			{Name: "systolic pressure", Inputs: systolicInput, Unit: "mm[Hg]", Step: 1, MaxAge: age, Rows: []Row{upTo(100, 1), above(0)}},
			{Name: "consciousness", Inputs: acvpuInput, MaxAge: age, Rows: consciousness(0, 1, 1, 1, 1)},
		},
	}
}
