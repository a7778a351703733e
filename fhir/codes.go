package fhir

import (
	"strconv"
	"strings"

	"github.com/carewire/carewire"
	"github.com/carewire/carewire/mdc"
)

// Code systems.
const (
	systemLOINC       = "http://loinc.org"
	systemUCUM        = "http://unitsofmeasure.org"
	systemSNOMED      = "http://snomed.info/sct"
	systemCategory    = "http://terminology.hl7.org/CodeSystem/observation-category"
	systemAbsent      = "http://terminology.hl7.org/CodeSystem/data-absent-reason"
	systemReliability = "http://terminology.hl7.org/CodeSystem/v3-ObservationValue"
	systemActReason   = "http://terminology.hl7.org/CodeSystem/v3-ActReason"
	systemMeasurement = "http://hl7.org/fhir/uv/pocd/CodeSystem/measurement-status"
	systemQuality     = "urn:carewire:quality" // of meta.tag
	systemFlagStatus  = "http://hl7.org/fhir/flag-status"
	systemSeverity    = "http://hl7.org/fhir/detectedissue-severity"
	systemDICOM       = "http://dicom.nema.org/resources/ontology/DCM"

	// prefixSystem stands before a code system whose name is no URI.
	prefixSystem = "urn:carewire:system:"
)

// systemURI returns the URI of a Vital's or Alert's code system.
func systemURI(system string) string {
	switch {
	case system == "" || system == carewire.LOINC:
		return systemLOINC
	case system == carewire.MDC:
		return mdc.System
	case system == carewire.SNOMED:
		return systemSNOMED
	case !strings.Contains(system, ":"):
		return prefixSystem + system
	}
	return system
}

// systemName is the reverse of systemURI: the name by which carewire knows a code
// system. LOINC is "".
func systemName(uri string) string {
	switch uri {
	case systemLOINC:
		return ""
	case mdc.System:
		return carewire.MDC
	case systemSNOMED:
		return carewire.SNOMED
	}
	return strings.TrimPrefix(uri, prefixSystem)
}

// A sign is a vital sign that FHIR has a profile or a second coding for.
type sign struct {
	display string
	profile string // of HL7 FHIR R4; "" if there is none
	also    coding // a coding that always goes with it
}

const profileBase = "http://hl7.org/fhir/StructureDefinition/"

// signs are the vital signs that carewire names.
//
// This material contains content from LOINC (http://loinc.org). LOINC is
// copyright © Regenstrief Institute, Inc. and the LOINC Committee.
var signs = map[string]sign{
	carewire.HeartRate.Code:        {profile: "heartrate", display: carewire.HeartRate.Display},
	carewire.RespiratoryRate.Code:  {profile: "resprate", display: carewire.RespiratoryRate.Display},
	carewire.OxygenSaturation.Code: {profile: "oxygensat", display: carewire.OxygenSaturation.Display},
	// The R4 profile demands 2708-6, US Core both.
	carewire.SpO2.Code: {profile: "oxygensat", display: carewire.SpO2.Display,
		also: coding{System: systemLOINC, Code: carewire.OxygenSaturation.Code, Display: carewire.OxygenSaturation.Display}},
	carewire.OxygenFlow.Code:            {display: carewire.OxygenFlow.Display},
	carewire.OxygenConcentration.Code:   {display: carewire.OxygenConcentration.Display},
	carewire.BodyTemperature.Code:       {profile: "bodytemp", display: carewire.BodyTemperature.Display},
	carewire.SystolicPressure.Code:      {display: carewire.SystolicPressure.Display},
	carewire.DiastolicPressure.Code:     {display: carewire.DiastolicPressure.Display},
	carewire.MeanPressure.Code:          {display: carewire.MeanPressure.Display},
	carewire.AveragedSystolic.Code:      {display: carewire.AveragedSystolic.Display},
	carewire.AveragedDiastolic.Code:     {display: carewire.AveragedDiastolic.Display},
	carewire.BodyWeight.Code:            {profile: "bodyweight", display: carewire.BodyWeight.Display},
	carewire.BodyHeight.Code:            {profile: "bodyheight", display: carewire.BodyHeight.Display},
	carewire.HeadCircumference.Code:     {profile: "headcircum", display: carewire.HeadCircumference.Display},
	carewire.BodyMassIndex.Code:         {profile: "bmi", display: carewire.BodyMassIndex.Display},
	carewire.GlucoseMass.Code:           {display: carewire.GlucoseMass.Display},
	carewire.GlucoseMoles.Code:          {display: carewire.GlucoseMoles.Display},
	carewire.EndTidalCO2.Code:           {display: carewire.EndTidalCO2.Display},
	carewire.BloodPressure.Code:         {profile: "bp", display: carewire.BloodPressure.Display},
	carewire.AveragedBloodPressure.Code: {display: carewire.AveragedBloodPressure.Display},
	carewire.Consciousness:              {display: "Level of consciousness"},
}

// metricOf returns the metric that a device measures by a coding of IEEE
// 11073-10101, and its LOINC code for values in the given unit; false if it has
// none.
func metricOf(c coding, unit string) (m mdc.Metric, loinc string, ok bool) {
	n, err := strconv.ParseUint(c.Code, 10, 32)
	if c.System != mdc.System || err != nil {
		return m, "", false
	}
	m, ok = mdc.MetricByCode(uint32(n))
	loinc = m.In(unit)
	return m, loinc, ok && loinc != ""
}

// deviceCoding returns the coding of IEEE 11073-10101 for a device's
// measurement with v's site and method.
func deviceCoding(v *carewire.Vital) (c coding, ok bool) {
	m, ok := mdc.MetricByLOINC(v.Code)
	if !ok || m.Site != "" && m.Site != v.Site || m.Method != "" && m.Method != v.Method || m.In(v.Unit) != v.Code {
		return c, false
	}
	return coding{mdc.System, strconv.FormatUint(uint64(m.Code), 10), m.Name}, true
}

// unitText is the text of a UCUM unit for people, where that differs from its
// code.
var unitText = map[string]string{"mm[Hg]": "mmHg", "Cel": "°C", "[degF]": "°F", "[lb_av]": "lb", "[in_i]": "in", "kg/m2": "kg/m²"}

func textOfUnit(code string) string {
	if text := unitText[code]; text != "" {
		return text
	}
	return code
}

// A flag is a Quality as HL7's device profiles write it.
type flag struct {
	quality   carewire.Quality
	code      string // Observation.interpretation, of systemMeasurement
	display   string
	certainty string // Observation.meta.security, of systemReliability
}

var flags = []flag{
	{carewire.QualityInvalid, "", "", "UNRELIABLE"},
	{carewire.QualityQuestionable, "questionable", "Questionable", "UNCERTREL"},
	{carewire.QualityCalibration, "calibration-ongoing", "Calibration ongoing", "UNCERTREL"},
	{carewire.QualityValidated, "validated-data", "Validated data", "HRELIABLE"},
	{carewire.QualityEarly, "early-indication", "Early indication", ""},
	{carewire.QualityBusy, "msmt-ongoing", "Measurement ongoing", ""},
	{carewire.QualityInAlarm, "in-alarm", "In alarm", ""},
	{carewire.QualityAlarmOff, "al-inhibited", "Alarm inhibited", ""},
}

// tagged are the qualities that HL7's device profiles have no word for.
var tagged = []carewire.Quality{carewire.QualityLate, carewire.QualityFuture, carewire.QualityClock, carewire.QualityRounded}

// absences maps the reasons of FHIR to those of a Vital. Reasons that a Vital
// does not have are listed as lost.
var absences = map[string]carewire.AbsentReason{
	"error": carewire.AbsentError, "temp-unknown": carewire.AbsentTemporary, "not-performed": carewire.AbsentNotPerformed, "unknown": carewire.AbsentUnknown,
	"asked-unknown": carewire.AbsentUnknown, "not-asked": carewire.AbsentUnknown, "asked-declined": carewire.AbsentUnknown, "masked": carewire.AbsentUnknown,
	"not-applicable": carewire.AbsentUnknown, "unsupported": carewire.AbsentUnknown, "as-text": carewire.AbsentUnknown, "not-permitted": carewire.AbsentUnknown,
	"not-a-number": carewire.AbsentError, "negative-infinity": carewire.AbsentError, "positive-infinity": carewire.AbsentError,
}
