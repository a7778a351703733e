package carewire

import (
	"math"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// measureTable repeats the table of codes.go from HL7's and LOINC's publications: a
// slip in either shows.
var measureTable = []struct {
	measure Measure
	code    string
	usual   map[string]float64 // unit → an ordinary value
}{
	{HeartRate, "8867-4", map[string]float64{"/min": 72}},
	{RespiratoryRate, "9279-1", map[string]float64{"/min": 14}},
	{OxygenSaturation, "2708-6", map[string]float64{"%": 97}},
	{SpO2, "59408-5", map[string]float64{"%": 97}},
	{OxygenFlow, "3151-8", map[string]float64{"L/min": 2}},
	{OxygenConcentration, "3150-0", map[string]float64{"%": 28}},
	{BodyTemperature, "8310-5", map[string]float64{"Cel": 37, "[degF]": 98.6}},
	{PulseRate, "8889-8", map[string]float64{"/min": 72}},
	{OxygenSetting, "19994-3", map[string]float64{"%": 40}},
	{SystolicPressure, "8480-6", map[string]float64{"mm[Hg]": 120, "kPa": 16}},
	{DiastolicPressure, "8462-4", map[string]float64{"mm[Hg]": 80, "kPa": 10.7}},
	{MeanPressure, "8478-0", map[string]float64{"mm[Hg]": 93, "kPa": 12.4}},
	{AveragedSystolic, "96608-5", map[string]float64{"mm[Hg]": 120, "kPa": 16}},
	{AveragedDiastolic, "96609-3", map[string]float64{"mm[Hg]": 80, "kPa": 10.7}},
	{BodyWeight, "29463-7", map[string]float64{"kg": 70, "[lb_av]": 154, "g": 3400}},
	{BodyHeight, "8302-2", map[string]float64{"cm": 172, "[in_i]": 68}},
	{HeadCircumference, "9843-4", map[string]float64{"cm": 35, "[in_i]": 14}},
	{BodyMassIndex, "39156-5", map[string]float64{"kg/m2": 24}},
	{GlucoseMass, "2339-0", map[string]float64{"mg/dL": 99}},
	{GlucoseMoles, "15074-8", map[string]float64{"mmol/L": 5.5}},
	{CapillaryGlucose, "41653-7", map[string]float64{"mg/dL": 99}},
	{EndTidalCO2, "19891-1", map[string]float64{"mm[Hg]": 38, "kPa": 5}},
	{EndTidalCO2Fraction, "19889-5", map[string]float64{"%": 5}},
	{PainScore, "72514-3", map[string]float64{"{score}": 4}},
	{GlasgowComaScore, "9269-2", map[string]float64{"{score}": 15}},
	{UrineOutput, "9187-6", map[string]float64{"mL": 60}},
}

// invalidAt requires that err is a ValidationError of the given field.
func invalidAt(t *testing.T, field string, err error) {
	t.Helper()
	var v *ValidationError
	require.ErrorAs(t, err, &v)
	require.Equal(t, field, v.Field, v.Reason)
}

// Each measure comes in each of its units, and in no other.
func TestMeasures(t *testing.T) {
	t.Parallel()
	require.Len(t, measureTable, len(measures))
	for _, row := range measureTable {
		t.Run(row.measure.Display, func(t *testing.T) {
			t.Parallel()
			require.Equal(t, row.code, row.measure.Code)
			require.Equal(t, row.code, measures[row.code].Code)
			require.Len(t, row.measure.Units(), len(row.usual))
			for unit, value := range row.usual {
				require.Contains(t, row.measure.Units(), unit)
				v := row.measure.In("p-17", value, unit)
				unlikely, err := v.judge(AgeAdult)
				require.NoError(t, err, unit)
				require.False(t, unlikely, unit)
			}
			first := row.measure.Of("p-17", row.usual[row.measure.Units()[0]])
			require.Equal(t, row.measure.Units()[0], first.Unit)
			require.NoError(t, first.Validate())
			for _, unit := range []string{"", "1", "mmHg", "bpm", "C", "°C", "KPA", "MM[HG]", "[Hg]", " %"} {
				v := row.measure.In("p-17", 40, unit)
				invalidAt(t, "unit", v.Validate())
			}
			for _, not := range []float64{math.NaN(), math.Inf(1), math.Inf(-1)} {
				v := row.measure.Of("p-17", not)
				invalidAt(t, "value", v.Validate())
			}
		})
	}
}

// An impossible value is refused; an implausible one is kept and flagged.
func TestPlausibility(t *testing.T) {
	t.Parallel()
	const (
		usual = iota
		flagged
		refused
	)
	for _, row := range []struct {
		name string
		v    Vital
		want int
	}{
		{"no heart beat", HeartRate.Of("p", 0), usual},
		{"no pulse", PulseRate.Of("p", 0), usual},
		{"a supraventricular tachycardia", HeartRate.Of("p", 270), usual},
		{"highest plausible heart rate", HeartRate.Of("p", 300), usual},
		{"artefact on the heart", HeartRate.Of("p", 301), flagged},
		{"negative heart rate", HeartRate.Of("p", -1), refused},
		{"no breath", RespiratoryRate.Of("p", 0), usual},
		{"breath of a newborn", RespiratoryRate.Of("p", 60), usual},
		{"artefact on the breath", RespiratoryRate.Of("p", 81), flagged},
		{"negative respiratory rate", RespiratoryRate.Of("p", -0.1), refused},
		{"saturation at its top", SpO2.Of("p", 100), usual},
		{"saturation above its top", SpO2.Of("p", 101), refused},
		{"saturation just above its top", SpO2.Of("p", 100.0001), refused},
		{"a dying saturation", SpO2.Of("p", 45), usual},
		{"no saturation at all", SpO2.Of("p", 0), usual},
		{"negative saturation", SpO2.Of("p", -1), refused},
		{"arterial saturation above its top", OxygenSaturation.Of("p", 101), refused},
		{"oxygen thinner than air", OxygenConcentration.Of("p", 15), usual},
		{"oxygen above 100 %", OxygenConcentration.Of("p", 101), refused},
		{"hypothermia", BodyTemperature.Of("p", 28), usual},
		{"the coldest survivor", BodyTemperature.Of("p", 13.7), usual},
		{"a probe that fell off", BodyTemperature.Of("p", 9.9), flagged},
		{"fever in Fahrenheit", BodyTemperature.In("p", 104, "[degF]"), usual},
		{"Fahrenheit called Celsius", BodyTemperature.Of("p", 98.6), flagged},
		{"below absolute zero", BodyTemperature.Of("p", -274), refused},
		{"below absolute zero, Fahrenheit", BodyTemperature.In("p", -460, "[degF]"), refused},
		{"grams called kilograms", BodyWeight.Of("p", 3400), flagged},
		{"negative weight", BodyWeight.In("p", -1, "g"), refused},
		{"pressure of a crisis", BloodPressure.Of("p", 260, 140), usual},
		{"no pressure", BloodPressure.Of("p", 0, 0), usual},
		{"mean pressure of a newborn", MeanPressure.Of("p", 26), usual},
		{"a flushed line", BloodPressure.Of("p", 320, 140), flagged},
		{"diastolic above systolic", BloodPressure.Of("p", 80, 120), flagged},
		{"diastolic equal to systolic", BloodPressure.Of("p", 80, 80), usual},
		{"mean of diastolic above systolic", AveragedBloodPressure.Of("p", 80, 120), flagged},
		{"mm[Hg] called kPa", SystolicPressure.In("p", 120, "kPa"), flagged},
		{"glucose of a coma", GlucoseMass.Of("p", 900), usual},
		{"glucose of a coma, capillary", CapillaryGlucose.Of("p", 900), usual},
		{"glucose of a coma, in moles", GlucoseMoles.Of("p", 50), usual},
		{"mg/dL called mmol/L", GlucoseMoles.Of("p", 120), flagged},
		{"carbon dioxide without circulation", EndTidalCO2.Of("p", 5), usual},
		{"worst pain", PainScore.Of("p", 10), usual},
		{"beyond the worst pain", PainScore.Of("p", 11), refused},
		{"deepest coma", GlasgowComaScore.Of("p", 3), usual},
		{"deeper than the scale", GlasgowComaScore.Of("p", 2), refused},
		{"no urine", UrineOutput.Of("p", 0), usual},
		{"negative pressure", BloodPressure.Of("p", 120, -1), refused},
		{"carbon dioxide above 100 %", EndTidalCO2Fraction.Of("p", 101), refused},
		{"carbon dioxide in mm[Hg]", EndTidalCO2.Of("p", 101), usual},
	} {
		t.Run(row.name, func(t *testing.T) {
			t.Parallel()
			v := row.v
			_, err := v.accept(vitalNow, AgeAdult)
			if row.want == refused {
				require.Error(t, err)
				return
			}
			require.NoError(t, err)
			want := []Quality(nil)
			if row.want == flagged {
				want = []Quality{QualityQuestionable}
			}
			require.Equal(t, want, v.Quality)
			require.Equal(t, row.v.Value, v.Value, "kept as it was")
			require.Equal(t, row.v.Components, v.Components, "kept as they were")
		})
	}
}

// LOINC codes end in a check digit (Luhn's), which catches a mistyped one.
func TestLOINCCheckDigits(t *testing.T) {
	t.Parallel()
	codes := []string{Consciousness}
	for code := range measures {
		codes = append(codes, code)
	}
	for code := range panels {
		codes = append(codes, code)
	}
	for _, code := range codes {
		number, check, _ := strings.Cut(code, "-")
		sum := 0
		for i := range len(number) {
			d := int(number[len(number)-1-i] - '0')
			if i%2 == 0 {
				d *= 2
			}
			sum += d/10 + d%10
		}
		assert.Equal(t, string(rune('0'+(10-sum%10)%10)), check, code)
	}
}

func TestDecimalCheck(t *testing.T) {
	t.Parallel()
	for _, ok := range []Decimal{"0", "0.0", "37", "37.0", "-0.5", "0.10", "123456789012345", "-123456789012345", "0.000000000000001", "1234567.12345678", "1000000000000000", "100000000000000000000000"} {
		assert.NoError(t, ok.check(), string(ok))
	}
	for _, bad := range []Decimal{"", "-", ".", ".5", "5.", "+5", "05", "-05", "00", "1e5", "1E5", "0x10", "1_000", "1,5", "1.2.3", " 1", "1 ", "--1", "1-",
		"NaN", "Inf", "-Inf", "-0", "-0.0", "1234567890123456", "0.1234567890123456", "1000000000000000.0", "1000000000000000000000000", "٣", "0.0000000000000000000000001"} {
		assert.Error(t, bad.check(), string(bad))
	}
}

func TestDecimalOf(t *testing.T) {
	t.Parallel()
	for f, want := range map[float64]Decimal{
		0: "0", math.Copysign(0, -1): "0", 72: "72", 36.6: "36.6", -0.5: "-0.5", 0.1 + 0.2: "0.3", 1.0 / 3: "0.333333333333333",
		123456789012345: "123456789012345", 1e20: "100000000000000000000", 1e-7: "0.0000001", math.Inf(1): "", math.Inf(-1): "",
	} {
		assert.Equal(t, want, DecimalOf(f))
		if want != "" {
			assert.NoError(t, want.check())
			assert.InDelta(t, f, want.Float64(), 1e-15)
		}
	}
	assert.Empty(t, DecimalOf(math.NaN()))
	assert.Error(t, DecimalOf(1e308).check(), "no number of the wire has 309 digits")
	assert.Zero(t, Decimal("").Float64())
	assert.Zero(t, Decimal("no number").Float64())
}
