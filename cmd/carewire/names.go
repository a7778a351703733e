package main

import (
	"errors"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/carewire/carewire"
)

// measures are the vital signs by the names that publish takes.
var measures = map[string]carewire.Measure{
	"heart-rate": carewire.HeartRate, "pulse": carewire.PulseRate, "respiratory-rate": carewire.RespiratoryRate,
	"spo2": carewire.SpO2, "sao2": carewire.OxygenSaturation, "oxygen-flow": carewire.OxygenFlow, "oxygen": carewire.OxygenConcentration,
	"oxygen-setting": carewire.OxygenSetting, "temperature": carewire.BodyTemperature, "systolic": carewire.SystolicPressure,
	"diastolic": carewire.DiastolicPressure, "mean-pressure": carewire.MeanPressure, "weight": carewire.BodyWeight, "height": carewire.BodyHeight,
	"head": carewire.HeadCircumference, "bmi": carewire.BodyMassIndex, "glucose": carewire.CapillaryGlucose, "glucose-moles": carewire.GlucoseMoles,
	"etco2": carewire.EndTidalCO2, "etco2-fraction": carewire.EndTidalCO2Fraction, "pain": carewire.PainScore, "gcs": carewire.GlasgowComaScore,
	"urine": carewire.UrineOutput,
}

// displays are names for people, by code.
var displays = func() map[string]string {
	d := map[string]string{carewire.BloodPressure.Code: "Blood pressure", carewire.Consciousness: "Consciousness"}
	for _, m := range measures {
		d[m.Code], _, _ = strings.Cut(m.Display, " [")
	}
	return d
}()

func measureNames() string {
	return "blood-pressure, " + strings.Join(slices.Sorted(maps.Keys(measures)), ", ")
}

// vital reads NAME=VALUE, such as heart-rate=72, temperature=98.6[degF],
// blood-pressure=120/80 or, with a code of LOINC and a unit of UCUM, 8867-4=72/min.
func vital(patient, text string) (carewire.Vital, error) {
	name, value, ok := strings.Cut(text, "=")
	if !ok {
		return carewire.Vital{}, errors.New("must be NAME=VALUE")
	}
	if name == "blood-pressure" {
		systolic, diastolic, ok := strings.Cut(value, "/")
		high, err := strconv.ParseFloat(systolic, 64)
		low, err2 := strconv.ParseFloat(diastolic, 64)
		if !ok || err != nil || err2 != nil {
			return carewire.Vital{}, errors.New("a blood pressure must be like 120/80")
		}
		return carewire.BloodPressure.Of(patient, high, low), nil
	}
	end := strings.IndexFunc(value, func(r rune) bool { return !strings.ContainsRune("0123456789.-", r) })
	if end < 0 {
		end = len(value)
	}
	v := carewire.Vital{Patient: patient, Code: name, Value: carewire.Decimal(value[:end]), Unit: value[end:]}
	m, known := measures[name]
	for _, other := range measures {
		if other.Code == name {
			m, known = other, true
		}
	}
	if known {
		v.Code = m.Code
		if v.Unit == "" {
			v.Unit = m.Units()[0]
		}
	}
	if v.Unit == "" {
		return carewire.Vital{}, errors.New("is none of " + measureNames() + "; a code of LOINC needs a unit, as in 8867-4=72/min")
	}
	return v, v.Validate()
}
